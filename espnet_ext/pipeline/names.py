"""Names that follow from the options: sets, tags, configurations, values per language.

Needs only the standard library of Python 3.9; files are looked up, not read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.pipeline.languages import setting_suffix
from espnet_ext.pipeline.options import PER_LANGUAGE
from espnet_ext.pipeline.usage import UsageError

_NAME = re.compile(r"\w[\w.+-]*")  # of a language, set, system or tag: part of folder names

ALL = "all"  # value of --systems
# The systems that it stands for, in the order of the report: references, controls, mitigations.
# Not among them: transducers and task vectors (their choice depends on the corpus), and systems
# that need labels of every utterance (do_experts_band, do_smoe: utt2band; do_lora_l1: utt2l1).
ALL_SYSTEMS = (
    "so_surface",
    "so_meaning",
    "do",
    "so_meaning_attention",
    "do_meaning_ctc",
    "do_equal_weights",
    "do_wide",
    "do_shared_decoder",
    "do_experts_decoder",
    "do_experts",
    "do_tops",
    "do_ctc_layer",
    "do_meaning_reads_surface",
    "do_surface_reads_meaning",
    "do_cross_stitch",
    "do_mmoe",
    "do_ple",
    "do_adapters",
    "do_lora",
    "do_sparse",
    "do_uncertainty",
    "do_dwa",
    "do_gradnorm",
    "do_pcgrad",
    "do_cagrad",
    "do_gradvac",
    "do_gradient_remedy",
    "do_adversarial",
    "do_decorrelation",
)
# part of the model → those of them that cannot have it with pre-trained weights
_NOT_PRETRAINED = {
    "encoder": ("do_wide",),
    "decoder": ("do_shared_decoder", "do_experts_decoder"),
}

SKIPPED_BY: dict[str, Sequence[int]] = {  # option → stages that it skips
    "skip_data_prep": range(1, 6),
    "skip_train": range(6, 12),
    "skip_eval": (12, 13, 17, 18),
    "skip_packing": (14,),
    "skip_upload": (15, 16),
}


@dataclass(frozen=True)
class Places:
    """Folders in which configurations are looked up."""

    root: Path  # folder of the repository
    recipe: Path
    start: Path  # the user's current directory

    def find_config(self, kind: str, name: str) -> str:
        """Return the path of a configuration, as it is written in commands.

        Looked up in the recipe, its conf/, the repository's conf/, the current directory and the
        repository. Paths in the recipe are relative to it.

        Args:
            kind: "train", "train_lm" or "decode": the beginning of such files' names.
        """
        for place in (Path(), Path("conf")):
            if (self.recipe / place / name).is_file():
                return str(place / name)
        for folder in (self.root / "conf", self.start, self.root):
            if (folder / name).is_file():
                return str(folder / name)
        there = {
            path.name
            for folder in (self.recipe / "conf", self.root / "conf")
            for path in folder.glob(f"{kind}*.yaml")
            if kind != "train" or not path.name.startswith("train_lm")
        }
        raise UsageError(
            f"{name}: no such configuration in {self.recipe}/conf or {self.root}/conf",
            f"choose among: {' '.join(sorted(there))}",
        )

    def known_systems(self) -> list[str]:
        """Return the names of all systems of the recipe and the repository."""
        folders = (self.recipe / "conf/systems", self.root / "conf/systems")
        return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})

    def expand_systems(
        self, words: Iterable[str], asr_config: str, outputs: Iterable[str]
    ) -> list[str]:
        """Return names of systems, with those that fit the recipe in place of "all".

        A note names the systems of `ALL_SYSTEMS` that do not fit.

        Args:
            words: value of --systems.
            asr_config: the training configuration.
            outputs: names that have a token type in every language.
        """
        words, outputs = list(words), set(outputs)
        if ALL not in words:
            return words
        config = (self.recipe / asr_config).read_text(encoding="utf-8")
        excluded = {
            system: f"its {part} cannot be pre-trained"
            for part, systems in _NOT_PRETRAINED.items()
            if re.search(rf"^{part}:\s*pretrained\b", config, re.MULTILINE)
            for system in systems
        }
        for system in ALL_SYSTEMS:
            overlay = (self.recipe / self.system_config(system)).read_text(encoding="utf-8")
            if absent := [name for name in outputs_of_overlay(overlay) if name not in outputs]:
                excluded[system] = f"no token type for {' '.join(absent)}"
        for reason in unique(excluded.values()):
            names = [system for system, why in excluded.items() if why == reason]
            print(f"note: --systems all: without {' '.join(names)} ({reason})", file=sys.stderr)
        fitting = [system for system in ALL_SYSTEMS if system not in excluded]
        return unique(name for word in words for name in (fitting if word == ALL else [word]))

    def outputs_of_systems(self, systems: Iterable[str]) -> set[str]:
        """Return the outputs that at least one of some systems has."""
        overlays = [(self.recipe / self.system_config(s)).read_text("utf-8") for s in systems]
        return {name for overlay in overlays for name in outputs_of_overlay(overlay)}

    def system_config(self, system: str) -> str:
        """Return the path of a system's overlay; the recipe's takes precedence."""
        path = Path("conf/systems") / f"{system}.yaml"
        return str(path if (self.recipe / path).is_file() else self.root / path)


def outputs_of_overlay(text: str) -> list[str]:
    """Return the outputs of a system's overlay, which is YAML in block style.

    >>> outputs_of_overlay("outputs:\\n  surface:\\n    branch: ctc\\n  meaning:\\nobjective: dwa")
    ['surface', 'meaning']
    """
    block = re.search(r"^outputs:.*\n((?:[ #].*\n|\n)*)", text + "\n", re.MULTILINE)
    return re.findall(r"^ {2}(\w+):", block[1], re.MULTILINE) if block else []


def unique(words: Iterable[str]) -> list[str]:
    """Return the different words in order.

    >>> unique("train valid test valid".split())
    ['train', 'valid', 'test']
    """
    return list(dict.fromkeys(words))


def braces(words: Iterable[str]) -> str:
    """Return words as a pattern of the shell.

    >>> braces(["ko", "en"]), braces(["en"])
    ('{ko,en}', 'en')
    """
    words = list(words)
    return words[0] if len(words) == 1 else "{" + ",".join(words) + "}"


def tag_of(config: str) -> str:
    """Return the tag of a configuration's file.

    >>> tag_of("conf/train_small.yaml"), tag_of("decode.yaml")
    ('small', 'decode')
    """
    name = Path(config).name
    name = name[: -len(".yaml")] if name.endswith(".yaml") else name
    return name[len("train_") :] if name.startswith("train_") else name


def check_names(option: str, words: Iterable[str]) -> None:
    """Raise a UsageError for a name that cannot be part of a folder's name, or that is repeated."""
    seen = set()
    for word in words:
        if not _NAME.fullmatch(word):
            raise UsageError(
                f"--{option} '{word}': not a name", "use letters, digits, '_', '-', '.' and '+'"
            )
        if word in seen:
            raise UsageError(f"--{option}: duplicate {word}", "name each once")
        seen.add(word)


def for_language(
    option: str, lang: str, values: Mapping[str, str], on_command_line: Mapping[str, str]
) -> str:
    """Return the value of an option for a language.

    The command line takes precedence over recipe.conf, and there and here `<option>_<lang>` over
    `<option>`.
    """
    assert option in PER_LANGUAGE
    special = f"{option}_{setting_suffix(lang)}"
    if option in on_command_line and special not in on_command_line:
        return values[option]
    return values.get(special) or values[option]


def selected_stages(values: Mapping[str, str]) -> list[int]:
    """Return the stages that the options --stage, --stop_stage and --skip_* select."""
    skipped = {int(number) for number in values["skip_stages"].split()}
    for option, stages in SKIPPED_BY.items():
        if values[option] == "true":
            skipped.update(stages)
    first, last = int(values["stage"]), int(values["stop_stage"])
    return [number for number in range(1, 19) if first <= number <= last and number not in skipped]


def check_stages(values: Mapping[str, str], stages: Sequence[int]) -> None:
    """Check that a stage is selected.

    A note is printed if the selected stages have nothing to do.
    """
    if not stages:
        chosen = [f"--stage {values['stage']}"]
        chosen += [f"--stop_stage {values['stop_stage']}"] if int(values["stop_stage"]) < 18 else []
        is_range = int(values["stage"]) <= min(int(values["stop_stage"]), 18)
        remedy = (
            "see the options --skip_*, which skip them all"
            if is_range
            else "the first stage must not be after the last one; there are stages 1 to 18"
        )
        for name in ("skip_stages", *SKIPPED_BY):
            unused = "" if name == "skip_stages" else "false"
            if selected_stages({**values, name: unused}):
                chosen.append(f"--{name} {values[name]}")
                remedy = f"write --{name} {unused}" if unused else f"leave out --{name}"
        raise UsageError(f"{' '.join(chosen)}: no stage would run", remedy)
    inactive = {
        **({} if values["speed_perturb_factors"].strip() else {2: "--speed_perturb_factors"}),
        **({} if values["use_lm"] == "true" else dict.fromkeys((6, 7, 8), "--use_lm true")),
        **({} if values["use_ngram"] == "true" else {9: "--use_ngram true"}),
    }
    if all(number in inactive for number in stages):
        for number in stages:
            print(f"note: stage {number} does nothing without {inactive[number]}", file=sys.stderr)


def mark_quick_report(values: dict[str, str]) -> None:
    """Let the heading and every table of the report say that the run was a quick one."""
    caveat = "one short training (--quick true): the numbers mean nothing"
    values["caveat"] = "; ".join(filter(None, [caveat, values["caveat"]]))
    title = values["title"] or "Two transcripts per utterance: results"  # the report's default
    values["title"] = f"{title} (quick run)"
