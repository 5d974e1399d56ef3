"""Read the result files of an experiment directory.

Read, per language and system: `<exp>/<lang>/<system>_<train tag>/train.json`, `diagnostics.jsonl`
and `calibration.json`; per test set, `<decode tag>/<set>/{score,utterances,decode}.json` and every
other JSON file there that carries tables; per language, every `<exp>/<lang>/analysis/*.json`. A
file that is missing, out of date or without tables is named in the report, and so are the analyses
that `analysis/not_run.json` names, with its reasons.
"""

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ext.document import Section, is_too_few
from espnet_ext.errors import UserError
from espnet_ext.files import read_json, read_json_lines, sha256_of
from espnet_ext.report.training_overlap import overlap_caveats
from espnet_ext.report.utterances import UtteranceSet

LANGUAGES = {"ko": "Korean", "en": "English"}
NOT_RUN = "not_run.json"  # stage 17 writes it: kind → name of an analysis → why it cannot run
_REQUIRED = {"score.json": ("cells", "data", "token_types"), "utterances.json": ("utterances",)}


@dataclass(frozen=True)
class Analysed:
    """A result file of an analysis: its content, and the section that it carries."""

    path: Path
    content: Mapping[str, Any]
    section: Section

    @property
    def kind(self) -> str:
        return self.content.get("kind", self.path.stem)


@dataclass
class Run:
    """One system's results on one test set; None for a missing file."""

    folder: Path
    score: dict
    decode: dict | None
    analyses: list[Analysed] = field(default_factory=list)

    @property
    def knows_prompt(self) -> bool:
        """Whether it was decoded with canonical forms of the prompt."""
        return bool(((self.decode or {}).get("canonical") or {}).get("prompt"))


@dataclass
class Language:
    """All results of one language."""

    code: str
    sets: dict[str, dict[str, Run]] = field(default_factory=dict)  # set → system → run
    utterances: dict[str, UtteranceSet] = field(default_factory=dict)  # by set
    overlaps: dict[str, list[str]] = field(default_factory=dict)  # set → what training shares
    trainings: dict[str, dict] = field(default_factory=dict)  # system → train.json
    diagnostics: dict[str, list[dict]] = field(default_factory=dict)  # system → lines, by step
    calibrations: dict[str, dict] = field(default_factory=dict)  # system → calibration.json
    analyses: list[Analysed] = field(default_factory=list)
    baselines: list[str] = field(default_factory=list)  # systems that are other recognisers

    @property
    def name(self) -> str:
        return LANGUAGES.get(self.code, self.code)

    def of_kind(self, kind: str) -> Mapping[str, Any] | None:
        """Return the content of the first result file of an analysis."""
        return next((one.content for one in self.analyses if one.kind == kind), None)


@dataclass
class Results:
    """What a report is made from.

    Args:
        missing: files that are missing or cannot be shown, one text each.
        not_run: analyses that could not be run, with the reason, one text each.
        caveats: limits that hold for all numbers, such as synthetic speech.
        systems: all systems, in order.
    """

    title: str
    languages: list[Language]
    missing: list[str]
    provenance: dict
    caveats: Sequence[str] = ()
    systems: Sequence[str] = ()
    not_run: Sequence[str] = ()


def collect(
    exp_dir: str | Path,
    languages: Sequence[str],
    systems: Sequence[str],
    train_tag: str,
    decode_tag: str,
    sets: Sequence[str],
    *,
    analyses: Mapping[str, bool] | None = None,
    names: Mapping[str, str] | None = None,
    title: str = "Results",
    provenance: dict | None = None,
    caveats: Sequence[str] = (),
    variants: Collection[str] = (),
    baselines: Sequence[str] = (),
    dump_dir: str | Path | None = None,
) -> Results:
    """Read all result files.

    Args:
        analyses: names of files in `analysis/`, in the order in which they are shown, and whether
            a missing one is reported. `{set}` stands for each set. Other files
            are shown after them.
        names: those files → name of the analysis that writes it. If it could not be run, its files
            are not reported as missing.
        variants: SYSTEM:VARIANT, systems that were also decoded in another way, with results in
            `<decode tag>_<variant>`. They are those of a system of its own, `<system>_<variant>`.
        baselines: other recognisers, whose results are in `baseline_<name>/<decode tag>/<set>`.
        dump_dir: formatted data. What its sets share with training becomes a caveat.

    Raises:
        UserError: if there is no score at all, or a file is broken.
    """
    missing: list[str] = []
    not_run: list[str] = []
    collected = []
    variants_of: dict[str, list[str]] = {system: [] for system in systems}
    for system, _, variant in (word.rpartition(":") for word in variants):
        variants_of.setdefault(system, []).append(variant)
    for code in languages:
        language = Language(code)
        for system in systems:
            tags = {system: decode_tag}
            tags |= {f"{system}_{name}": f"{decode_tag}_{name}" for name in variants_of[system]}
            folder = Path(exp_dir) / code / f"{system}_{train_tag}"
            _read_system(language, folder, system, tags, sets, missing)
        for name in baselines if language.sets else ():
            folder = Path(exp_dir) / code / f"baseline_{name}"
            if folder.is_dir():  # baselines need not have every language
                _read_system(language, folder, name, {name: decode_tag}, sets, missing)
            if any(name in runs for runs in language.sets.values()):
                language.baselines.append(name)
                model = folder.parent / f"{name}_{train_tag}"  # of `--train_baseline`
                is_its = all(
                    _is_decoded_by(runs.get(name), model) for runs in language.sets.values()
                )
                if is_its and (training := _optional(model / "train.json")):
                    language.trainings[name] = training
        if language.sets:
            for name in language.sets if dump_dir else ():
                language.overlaps[name] = overlap_caveats(Path(dump_dir or "") / code / name)
            known = {
                name.format(set=set_name): is_expected
                for name, is_expected in (analyses or {}).items()
                for set_name in language.sets
            }
            folder = Path(exp_dir) / code / "analysis"
            reasons = _reasons(folder / NOT_RUN)
            not_run += [f"{code}: {name}: {reason}" for name, reason in reasons.items()]
            for file, analysis in (names or {}).items():
                for name in {file.format(set=set_name) for set_name in language.sets}:
                    known[name] = known.get(name, False) and analysis not in reasons
            _read_analyses(language, folder, known, missing)
            collected.append(language)
    if not collected:
        where = Path(exp_dir) / "<lang>" / f"<system>_{train_tag}" / decode_tag / "<set>"
        raise UserError(f"no {where}/score.json found", "score at least one system (stage 13)")
    all_systems = [
        name
        for system in systems
        for name in (system, *(f"{system}_{variant}" for variant in variants_of[system]))
    ]
    all_systems += baselines
    made = provenance or {}
    return Results(title, collected, missing, made, caveats, all_systems, not_run)


def _reasons(path: Path) -> dict[str, str]:
    """Return name → reason of the analyses that stage 17 could not run."""
    return {
        name: str(reason)
        for reasons in (_optional(path) or {}).values()
        if isinstance(reasons, Mapping)
        for name, reason in reasons.items()
    }


def _read_system(
    language: Language,
    folder: Path,
    system: str,
    tags: Mapping[str, str],
    sets: Sequence[str],
    missing: list[str],
) -> None:
    """Read the training of a system, and its decodings: tag by name of the results."""
    if training := _optional(folder / "train.json"):
        language.trainings[system] = training
    if diagnosed := _diagnostics(folder / "diagnostics.jsonl"):
        language.diagnostics[system] = diagnosed
    if (calibration := _optional(folder / "calibration.json")) is not None:
        digest = (calibration.get("facts") or {}).get("model_sha256")
        if _has_changed(folder / "model.pth", digest):
            why = "is of other weights: run espnet-ext calibrate again"
            missing.append(f"{language.code}: {folder / 'calibration.json'} {why}")
        else:
            language.calibrations[system] = calibration
    for set_name in sets:
        for name, tag in tags.items():
            decoding = folder / tag / set_name
            if run := _read_run(decoding):
                language.sets.setdefault(set_name, {})[name] = run
                _read_utterances(language, set_name, name, run)
            else:
                missing.append(f"{language.code}, {name}, {set_name}: {decoding / 'score.json'}")


def _read_run(decoding: Path) -> Run | None:
    """Return the results of one decoding; None if it was not scored."""
    score = _optional(decoding / "score.json")
    if score is None:
        return None
    run = Run(decoding, score, _optional(decoding / "decode.json"))
    for path in sorted(decoding.glob("*.json")):
        if path.name not in (*_REQUIRED, "decode.json"):
            content = _optional(path) or {}
            if "section" in content and not _assumes_no_prompt(run, content):
                run.analyses.append(_analysed(path, content))
    return run


def _assumes_no_prompt(run: Run, content: Mapping[str, Any]) -> bool:
    """Whether a result, such as mdd_no_prompt.json, contradicts how the system was decoded."""
    return run.knows_prompt and content.get("prompted") is False


def _read_utterances(language: Language, set_name: str, system: str, run: Run) -> None:
    path = run.folder / "utterances.json"
    if content := _optional(path):
        utterances = language.utterances.setdefault(set_name, UtteranceSet())
        utterances.add(system, run.score, content["utterances"], path)


def _is_decoded_by(run: Run | None, model: Path) -> bool:
    """Return whether the hypotheses of a baseline are those of a model that was trained here."""
    return run is None or (run.decode or {}).get("model") == model.name


def _read_analyses(
    language: Language, folder: Path, known: Mapping[str, bool], missing: list[str]
) -> None:
    """Read every file of the folder, the known ones first."""
    files = (path.name for path in sorted(folder.glob("*.json")))
    others = [name for name in files if name not in known and name != NOT_RUN]
    for name in [*known, *others]:
        path = folder / name
        content = _optional(path)
        if content is None:
            missing += [f"{language.code}: {path}"] if known[name] else []
        elif "section" not in content:
            missing.append(
                f"{language.code}: {path} has no tables, an older version wrote it: run its "
                "analysis again (stage 17)"
            )
        elif content.get("set", next(iter(language.sets))) not in language.sets:
            missing.append(f"{language.code}: {path} is about a set that is not in this report")
        elif reason := _why_outdated(language, content):
            missing.append(f"{language.code}: {path} {reason}")
        else:
            language.analyses.append(_analysed(path, content))


def _analysed(path: Path, content: dict) -> Analysed:
    try:
        return Analysed(path, content, Section.from_json(content["section"]))
    except ValueError as error:
        raise UserError(f"{path}: {error}", "remove it and run its analysis again") from error


def _why_outdated(language: Language, content: Mapping[str, Any]) -> str:
    """Say why a result does not belong to the report's systems and labels; empty if it does."""
    known = dict.fromkeys(system for runs in language.sets.values() for system in runs)
    if others := [name for name in _systems_of(content) if name not in known]:
        return (
            f"is about {', '.join(_systems_of(content))}. It is not shown: this report has no "
            f"scores of {', '.join(others)}"
        )
    if not _is_current(language, content):
        return "is about other models or labels: run its analysis again (stage 17)"
    return ""


def _systems_of(content: Mapping[str, Any]) -> list[str]:
    """Return the names of the systems that a result is about."""
    names: list[str] = list((content.get("inputs") or {}).get("systems", ()))
    for key in ("models", "systems"):
        if isinstance(content.get(key), Mapping):
            names += [
                name
                for name, model in content[key].items()
                if not (isinstance(model, Mapping) and model.get("twin_of"))
            ]
    return list(dict.fromkeys(names))


def _has_changed(path: Path, digest: str | None) -> bool:
    """Return whether a file is there and has another SHA-256 than the recorded one, if any."""
    if digest is None or not path.is_file():
        return False
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size) != digest


@functools.cache
def _digest(path: Path, changed: int, size: int) -> str:
    """Return the SHA-256 of a file, computed once per time of change and size."""
    return sha256_of(path)


def _is_current(language: Language, content: Mapping[str, Any]) -> bool:
    """Whether the models, decodings and labels that a result names are those of the report."""
    runs = [run for systems in language.sets.values() for run in systems.values()]
    models = {run.folder.parts[-4:-2]: run.folder.parents[1] for run in runs}
    decodings = {run.folder.parts[-4:]: run.folder for run in runs}
    inputs = content.get("inputs") or {}
    for used_folder, digests in (inputs.get("files") or {}).items():
        parts = Path(used_folder).parts
        present = models.get(parts[-2:]) or decodings.get(parts[-4:])
        if present and any(_has_changed(present / name, sha) for name, sha in digests.items()):
            return False
    for folder in (Path(one) for folders in inputs.get("systems", {}).values() for one in folders):
        if folder.parts[-2:] not in models and folder.parts[-4:] not in decodings:
            return False
    for set_name, digest in inputs.get("labels", ()):
        scored = language.sets.get(set_name, {}).values()
        known = {run.score["data"].get("source_sha256") for run in scored} - {None}
        if known and known != {digest}:
            return False
    if isinstance(content.get("models"), Mapping):
        trained = [one for one in content["models"].values() if not one.get("twin_of")]
        used = {Path(one.get("directory", "")).parts[-2:] for one in trained}
        if not used or not used <= models.keys():
            return False
    of_set = [run for run in runs if run.folder.name == content.get("set", run.folder.name)]
    if isinstance(content.get("systems"), Mapping):
        used = {Path(folder).parts[-4:] for folder in content["systems"].values()}
        if used != {run.folder.parts[-4:] for run in of_set}:
            return False
    labels = {run.score["data"]["sha256"] for run in of_set}
    return "data_sha256" not in content or labels == {content["data_sha256"]}


def _optional(path: Path) -> dict | None:
    """Return a JSON file's object; None without the file.

    Raises:
        UserError: if the file holds something else.
    """
    if not path.exists():
        return None
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: is not a JSON object", "remove it and run its stage again")
    if absent := [key for key in _REQUIRED.get(path.name, ()) if key not in value]:
        message = f"{path}: has no {', '.join(absent)}"
        raise UserError(message, "remove it and run its stage again")
    return value


def _diagnostics(path: Path) -> list[dict]:
    """Return the lines of a training's diagnostics; none without the file."""
    lines = read_json_lines(path) if path.exists() else []
    for number, line in enumerate(lines, 1):
        keys = line.keys() if isinstance(line, dict) else ()
        if not {"step", "gradients", "cka"} <= set(keys):
            message = f"{path}:{number}: not the diagnostics of a step"
            raise UserError(message, "remove the file, and train again to have it")
    return lines


def cells_of(runs: Mapping[str, Run]) -> Iterator[tuple[str, dict, dict]]:
    """Yield (system, cell, counts of the cell's own metric) for all cells of all systems."""
    for system, run in runs.items():
        for cell in run.score["cells"]:
            yield system, cell, cell["metrics"][cell["metric"]]


def comparable(cell: Mapping[str, Any]) -> tuple[int, int]:
    """Return the numbers of labelled utterances that are compared and not comparable in a cell."""
    return cell["utterances"], cell["not_comparable"] + cell.get("no_hypothesis", 0)


def has_too_few(cell: Mapping[str, Any]) -> bool:
    """Return whether the rates of a cell are not shown, because they are of too few utterances."""
    return is_too_few(*comparable(cell))
