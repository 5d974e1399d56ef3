"""What an analysis declares: its inputs, its options, and the tables and figures that it yields."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ext.document import Column, Figure, Heatmap, Section, Table, tabulate

Result = dict[str, Any]  # the numbers of an analysis, as its JSON file holds them


@dataclass(frozen=True)
class Input:
    """An input, and the command-line option that names it.

    Args:
        per_system: the option takes NAME=DIR for each system, else it takes one path.
        depends_on: files below each DIR that decide whether a result is up to date; empty: the
            path itself does.
        path: where stage 17 of run.sh finds it, a template such as "{data}/text.canonical" (see
            VALUES); empty: stage 17 cannot name it.
        only_if: variable of run.sh that must be true for stage 17 to name it; empty: always.
        result_file: the one of several result files that needs it; empty: all of them.
        adds_systems: it names systems beside those of the first input, not the same ones.
        remedy: how to make it, for the note of stage 17 that it is missing.
    """

    option: str
    help: str
    per_system: bool = False
    required: bool = True
    depends_on: Sequence[str] = ()
    metavar: str | None = None
    path: str = ""
    only_if: str = ""
    result_file: str = ""
    adds_systems: bool = False
    remedy: str = ""

    @property
    def argument(self) -> str:
        """The name of the argument of `run` that receives the input."""
        return self.option.removeprefix("--")


_MODEL = ("model.pth", "config.yaml")
# What a template of an input or option may name, besides the variables of run.sh
# (`{stress_output}`) and, without "_of", those by language (`{lexicon}`)
VALUES = {
    "data": "the formatted directory of the test set",
    "train": "the formatted directory of the training set",
}
SYSTEM_VALUES = {  # one per system
    "model": "the model directory of a system",
    "decoding": "the scored decoding directory of a system on the test set",
    "twin": "the model directory of a system's twin",
    "baseline": "the scored hypotheses of a baseline on the test set",
    "stress_decoding": "the scored decoding directory of a training of the stress test",
}

MODELS = Input(
    "--models", "model directory of each system", True, depends_on=_MODEL, path="{model}"
)
TWINS = Input(
    "--twins",
    "the same systems trained from another seed; their similarity is a ceiling",
    per_system=True,
    required=False,
    depends_on=_MODEL,
    path="{twin}",
)
HYPOTHESES = Input(
    "--hypotheses",
    "decoding directory (with text.<output>) of each system, from the same data",
    per_system=True,
    required=False,
    depends_on=["decode.json"],
    path="{decoding}",
)
SCORED_DECODINGS = Input(
    "--systems",
    "scored decoding directory (with utterances.json) of each system",
    per_system=True,
    depends_on=["utterances.json"],
    path="{decoding}",
)
BASELINES = Input(
    "--baselines",
    "scored hypotheses (with utterances.json) of other recognisers, to compare each system with",
    per_system=True,
    required=False,
    depends_on=["utterances.json"],
    path="{baseline}",
    adds_systems=True,
)
DATA = Input("--data", "formatted data directory (dump/raw/…) to analyse", path="{data}")
TRAINING_DATA = Input(
    "--train", "formatted data directory that probes or maps are fitted to", path="{train}"
)
DECODING_CONFIG = Input(
    "--config", "decoding configuration (YAML)", required=False, path="{inference_config}"
)
LEXICON = Input(
    "--lexicon", "words and their phones, to pronounce meanings", required=False, path="{lexicon}"
)

SYMBOLS = Input(
    "--nlsyms_txt",
    "non-linguistic symbols, one per line: removed from references and hypotheses",
    required=False,
    path="{nlsyms_txt}",
)


@dataclass(frozen=True)
class Option:
    """An option of one analysis; its `run` receives the value under the name without dashes.

    Args:
        value: what stage 17 of run.sh gives it, a template as for `Input.path`; empty: the default.
        result_file: the one of several result files that it is for; empty: all of them.
    """

    option: str
    help: str
    default: Any = None
    type: Callable[[str], Any] = str
    choices: Sequence[str] | None = None
    required: bool = False
    value: str = ""
    result_file: str = ""

    @property
    def argument(self) -> str:
        return self.option.removeprefix("--")


@dataclass(frozen=True)
class Output:
    """A table or figure that an analysis yields, with the sentence that explains it."""

    title: str
    sentence: str

    def table(
        self,
        columns: Mapping[str, Column] | Sequence[str],
        rows: Iterable[Any],
        *,
        about: str = "",
        **fields: Any,
    ) -> Table:
        """Return the table.

        Args:
            columns: how each column is made of a row (`document.tabulate`); or the header, if
                `rows` hold texts.
            about: tells several tables of one kind apart in the title.
        """
        header, cells = list(columns), list(rows)
        if isinstance(columns, Mapping):
            header, cells = tabulate(columns, cells)
        return Table(self._titled(about), self.sentence, header, cells, **fields)

    def figure(self, kind: str, series, *, about: str = "", **fields) -> Figure:
        """Return a figure of `document.Figure`'s kinds."""
        return Figure(kind, self._titled(about), self.sentence, series=series, **fields)

    def heatmap(self, row_names, column_names, values, *, about: str = "") -> Heatmap:
        return Heatmap(self._titled(about), self.sentence, row_names, column_names, values)

    def _titled(self, about: str) -> str:
        return f"{self.title}: {about}" if about else self.title


@dataclass(frozen=True)
class Analysis:
    """One analysis: what it needs, how its numbers are computed, and how they are shown.

    Args:
        name: the subcommand of `espnet-ext analyze`, and the `kind` of the result file.
        description: one line.
        inputs: what the result depends on.
        outputs: every table and figure that `section` may return.
        run: computes the numbers; receives inputs and options by keyword. It may import torch,
            but the module that defines it must not do so when it is imported.
        section: makes tables, figures and findings of the numbers.
        result_files: where stage 17 of run.sh writes results, below exp/<lang>. With `{set}`, the
            analysis runs for every test set, else for the first one. With `{decoding}` (a decoding
            directory), it runs for every system and test set.
        unprompted_files: those of `result_files` that assume that the system does not know the
            prompt. Decodings that know it have none.
        min_systems: fewer systems than that cannot be analysed.
        requested_by: the option of run.sh that asks for it; or `KEY=VALUE` of a system's
            configuration, to analyse only systems with it; empty for one that is always made.
        verb: the command of its own, besides `espnet-ext analyze <name>`.
        uses_device: `run` takes `batch_size` and `device`.
        plain_heads: it runs the heads on encoder output alone. Stage 17 leaves out systems whose
            heads read more (`model.heads.side_inputs`).
    """

    name: str
    description: str
    inputs: Sequence[Input]
    outputs: Sequence[Output]
    run: Callable[..., Result]
    section: Callable[[Mapping[str, Any]], Section]
    result_files: Sequence[str]
    options: Sequence[Option] = ()
    min_systems: int = 1
    requested_by: str = ""
    uses_device: bool = False
    verb: str = ""
    unprompted_files: Sequence[str] = ()
    plain_heads: bool = False

    def cannot_read(self, config: Mapping[str, Any]) -> str:
        """Return why a model with this configuration cannot be analysed; empty if it can."""
        if config.get("frontend") == "units":
            return "it reads discrete units, and the analysis is for systems that read audio"
        if self.plain_heads:
            from espnet_ext.model.heads.side_input_options import side_inputs_of

            return side_inputs_of(config)
        return ""

    @property
    def modules(self) -> list[str]:
        """The modules that compute and show the numbers."""
        return sorted({self.run.__module__, self.section.__module__})

    def result(self, **arguments: Any) -> Result:
        """Run the analysis and return its numbers with their tables and figures.

        `inputs` of the result names the systems and labels, so that a report can leave out a
        result that is out of date.

        Raises:
            ValueError: if `section` yields a table or figure that `outputs` does not declare.
        """
        numbers = self.run(**arguments)
        section = self.section(numbers)
        declared = tuple(output.title for output in self.outputs)
        for item in section.items:
            if not item.title.startswith(declared):
                raise ValueError(f"{self.name}: '{item.title}' is not among its declared outputs")
        inputs = self._describe_inputs(arguments)
        return {"kind": self.name, **numbers, "inputs": inputs, "section": section.to_json()}

    def _describe_inputs(self, arguments: Mapping[str, Any]) -> Result:
        """Return `{"systems": {name: [directory, …]}, "labels": [[set, SHA-256], …], "files": …}`.

        The hashes of labels are `data.source_sha256` of score.json. `files` has those of the
        weights and of the scored hypotheses: `{directory: {file: SHA-256}}`.
        """
        from espnet_ext.data.directory import stream_directory
        from espnet_ext.files import read_json, sha256_of
        from espnet_ext.scoring.references import labels_sha256

        systems: dict[str, list[str]] = {}
        for source in self.inputs:
            folders = arguments.get(source.argument)
            if source.per_system and source != TWINS and isinstance(folders, Mapping):
                for name, folder in folders.items():
                    systems.setdefault(name, []).append(str(folder))
        labels: list[list[str]] = []
        scored = [folder for folders in systems.values() for folder in folders]
        for source in self.inputs:
            if source.per_system and source.metavar:  # words that end in =DIR
                scored += [word.partition("=")[2] for word in arguments.get(source.argument) or ()]
        for folder in map(Path, scored):
            if (folder / "score.json").is_file():
                data = read_json(folder / "score.json").get("data", {})
                if "source_sha256" in data:
                    labels.append([folder.resolve().name, data["source_sha256"]])
        folder = Path(arguments.get(DATA.argument) or "")
        if DATA in self.inputs and (folder / "wav.scp").is_file():
            digest = labels_sha256(stream_directory(folder, empty_texts=True))
            labels.append([folder.resolve().name, digest])
        files = {
            str(folder): {name: sha256_of(folder / name)}
            for folder in map(Path, dict.fromkeys(scored))
            for name in ("model.pth", "utterances.json")
            if (folder / name).is_file()
        }
        return {
            "systems": systems,
            "files": files,
            "labels": [list(pair) for pair in dict.fromkeys(map(tuple, labels))],
        }


def count(text: str) -> int:
    """Return a whole number from 0 (a type for argparse)."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: not a whole number from 0")
    return int(text)


def max_utterances(default: int) -> Option:
    """Return the option that limits the analysed utterances."""
    return Option("--max_utterances", "evenly spread over the speakers; 0: all", default, count)


def max_train(default: int) -> Option:
    """Return the option that limits the utterances that are fitted to."""
    return Option(
        "--max_train", "evenly spread over the speakers; 0: all", default, count, value="300"
    )
