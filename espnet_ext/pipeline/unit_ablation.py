"""Ablations of systems that read discrete units: runs of `run.sh` that differ in one option.

A variant has its own k-means, vocabulary and sets where its options need them, and its own model.
`run.sh` skips what is done, so an interrupted ablation continues.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.files import read_json
from espnet_ext.pipeline.command_line import read_command_line
from espnet_ext.pipeline.options import OPTIONS
from espnet_ext.pipeline.recipe import Recipe
from espnet_ext.pipeline.settings import collect_values

BASE = "base"
TAG = "ablation"  # of its k-means and vocabularies, which are not those of the recipe
SEED = "--seed"  # of ESPnet's training


@dataclass(frozen=True)
class Variant:
    """One row of the table: a name, the options in which it differs, and its system."""

    name: str
    system: str
    options: tuple[str, ...] = ()  # options of run.sh

    def arguments(self, seed: int) -> list[str]:
        """Return the options of run.sh that train the variant with a seed.

        >>> Variant("upsample_2", "do", ("--upsample", "2")).arguments(1)[:4]
        ['--upsample', '2', '--systems', 'do']
        """
        return [*self.options, "--systems", self.system, "--asr_tag", self.tag(seed)]

    def tag(self, seed: int) -> str:
        return f"{self.name}_seed{seed}"


@dataclass(frozen=True)
class Factors:
    """Values of each factor. Every value is a variant that differs from the base in it alone."""

    upsample: Sequence[str] = ()
    nclusters: Sequence[str] = ()
    residual_nclusters: Sequence[str] = ()
    kmeans_feature: Sequence[str] = ()  # also layers: MODEL/LAYER
    src_case: Sequence[str] = ()
    without_text: str = ""  # system without text input
    audio_config: str = ""  # training configuration of a system that reads audio
    audio_system: str = field(default="so_meaning")
    text_data: str = ""  # data directories with external text, without audio


def variants(factors: Factors, system: str) -> list[Variant]:
    """Return the base and all variants.

    Raises:
        UserError: if two values have the same name in folders.
    """
    base = ("--km_tag", TAG)
    rows = [Variant(BASE, system, base)]
    for value in factors.upsample:
        name = f"upsample_{value}"
        options = (*base, "--input_tag", f"{TAG}_{name}")
        rows.append(Variant(name, system, ("--upsample", value, *options)))
    for option in ("nclusters", "residual_nclusters", "kmeans_feature", "src_case"):
        for value in getattr(factors, option):
            name = f"{option}_{_as_name(value)}"
            tag = f"{TAG}_{name}"
            rows.append(Variant(name, system, (f"--{option}", value, "--km_tag", tag)))
    if factors.text_data:
        options = (*base, "--input_tag", f"{TAG}_text_data")
        rows.append(Variant("text_data", system, ("--text_data", factors.text_data, *options)))
    if factors.without_text:
        rows.append(Variant("without_text", factors.without_text, base))
    if factors.audio_config:
        audio_options = (
            "--kmeans_feature",
            "",
            "--text_input",
            "",
            "--asr_config",
            factors.audio_config,
        )
        rows.append(Variant("audio", factors.audio_system, audio_options))
    names = [row.name for row in rows]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"duplicate variant: {sorted(twice)[0]}", "name each value once")
    return rows


def training_options(recipe: Recipe, words: Sequence[str]) -> str:
    """Return the options of the trainings: `--asr_args` that run.sh would use with these words.

    They are those of the command line, or else `asr_args` of recipe.conf; with --quick true, those
    of the command line after `quick_asr_args` of recipe.conf. A variant adds its seed, which would
    otherwise replace them.

    Args:
        words: options of run.sh.
    """
    values = read_command_line(words, {**OPTIONS, **recipe.corpus_options})
    return collect_values(recipe, values, recipe.folder)["asr_args"]


def _as_name(value: str) -> str:
    """Return a value as a part of folder names.

    >>> _as_name("microsoft/wavlm-large/21")
    'microsoft-wavlm-large-21'
    """
    return "".join(char if char.isalnum() or char in "._" else "-" for char in value).strip("-")


def results(
    exp: Path, lang: str, row: Variant, seeds: Sequence[int], dset: str, decode_tag: str
) -> dict[str, Any]:
    """Return the errors of a variant's outputs on a set, one per seed, and its cost.

    Returns:
        `rates` (output → metric, list of rates), `seconds` (of training, by seed), `parameters`,
        `rtf` (real-time factors of decoding, by seed).

    Raises:
        UserError: if a result file is missing.
    """
    rates: dict[str, tuple[str, list[float]]] = {}
    costs: dict[str, list[float]] = {"seconds": [], "rtf": [], "parameters": []}
    for seed in seeds:
        model = exp / lang / f"{row.system}_{row.tag(seed)}"
        score = _read(model / decode_tag / dset / "score.json")
        for cell in score["cells"]:
            if cell["own"]:
                metric = cell["metric"]
                _, of_seeds = rates.setdefault(cell["reference"], (metric, []))
                of_seeds.append(cell["metrics"][metric]["rate"])
        training = _read(model / "train.json")
        costs["seconds"].append(training["seconds"])
        costs["parameters"].append(training["parameters"])
        costs["rtf"].append(_read(model / decode_tag / dset / "decode.json")["rtf"])
    return {"rates": rates, **costs}


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such file", "run the ablation again")
    return read_json(path)


def table_rows(
    rows: Sequence[Variant], by_name: Mapping[str, Mapping[str, Any]]
) -> Iterator[list[str]]:
    """Yield the cells of each variant: name, system, errors per output, training time, RTF.

    Args:
        by_name: name of a variant → its `results`.
    """
    outputs = sorted({name for values in by_name.values() for name in values["rates"]})
    yield ["variant", "system", *(f"{name} error" for name in outputs), "training", "RTF"]
    for row in rows:
        values = by_name[row.name]
        cells = [row.name, row.system]
        for name in outputs:
            metric, rates = values["rates"].get(name, ("", []))
            cells.append(f"{metric.upper()} {_mean(rates)}" if rates else "–")
        seconds, rtf = values["seconds"], [value for value in values["rtf"] if value is not None]
        cells.append(f"{sum(seconds) / len(seconds):.0f} s")
        cells.append(f"{sum(rtf) / len(rtf):.3f}" if rtf else "–")
        yield cells


def _mean(rates: Sequence[float]) -> str:
    """Return a mean with the values of the seeds.

    >>> _mean([10.0, 12.0]), _mean([10.0])
    ('11.00 (10.00, 12.00)', '10.00')
    """
    mean = f"{sum(rates) / len(rates):.2f}"
    return f"{mean} ({', '.join(f'{rate:.2f}' for rate in rates)})" if len(rates) > 1 else mean
