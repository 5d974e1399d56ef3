"""Gather the result files of an experiment folder; what is not there is named, not invented.

Read, per language and system: `<exp>/<lang>/<system>_<train tag>/train.json` and, per set,
`<decode tag>/<set>/{score,utterances,decode,mdd,mdd_no_prompt}.json`, and `diagnostics.jsonl` of a
training that was diagnosed; per language `<exp>/<lang>/analysis/<what>.json`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.files import read_json, read_json_lines

LANGUAGES = {"ko": "Korean", "en": "English"}
MDD = {"with prompt": "mdd", "without prompt": "mdd_no_prompt"}
_REQUIRED = {
    "score": ("cells", "data", "token_types"),
    "utterances": ("utterances",),
    "cka": ("pairs", "models"),
    "probes": ("rows", "tasks", "models"),
    "swaps": ("rows", "metric", "models"),
    "vectors": ("systems", "models"),
    "partial": ("rows", "output", "differences"),
    "mdd": ("F1", "counts", "measures"),
    "cross": ("systems", "divergence", "articulatory", "differences", "consistency", "lacks"),
}


# What stage 17 says of a language's systems, and what of it is made only when asked for.
ANALYSES = {
    "cka": "comparison of systems",
    "probes": "probes",
    "swaps": "exchanged encoders",
    "vectors": "task vectors",
    "partial": "fewer labels",
}
ON_REQUEST = ("swaps", "vectors", "partial")
OF_ONE = ("vectors", "partial")  # they need no second system


@dataclass
class Run:
    """One system's results on one set; None for a file that is not there."""

    folder: Path
    score: dict
    utterances: dict | None
    decode: dict | None
    mdd: dict[str, dict] = field(default_factory=dict)  # "with prompt" → mdd.json


@dataclass
class Language:
    """All results of one language."""

    code: str
    sets: dict[str, dict[str, Run]] = field(default_factory=dict)  # set → system → run
    trainings: dict[str, dict] = field(default_factory=dict)  # system → train.json
    diagnostics: dict[str, list[dict]] = field(default_factory=dict)  # system → lines, by step
    cka: dict | None = None
    probes: dict | None = None
    swaps: dict | None = None
    vectors: dict | None = None
    partial: dict | None = None
    cross: dict[str, dict] = field(default_factory=dict)  # set → its cross-task evaluation
    corpus: list[dict] = field(default_factory=list)  # rows: set, utterances, speakers, hours, …

    @property
    def name(self) -> str:
        return LANGUAGES.get(self.code, self.code)


@dataclass
class Results:
    """What a report is made from."""

    title: str
    languages: list[Language]
    missing: list[str]
    provenance: dict


def collect(
    exp_dir: str | Path,
    languages: Sequence[str],
    systems: Sequence[str],
    train_tag: str,
    decode_tag: str,
    sets: Sequence[str],
    *,
    title: str = "Results",
    provenance: dict | None = None,
) -> Results:
    """Read everything that is there; UserError if there is no score at all or a file is broken."""
    missing: list[str] = []
    found = [
        _language(Path(exp_dir), code, systems, train_tag, decode_tag, sets, missing)
        for code in languages
    ]
    if not any(language.sets for language in found):
        where = Path(exp_dir) / "<lang>" / f"<system>_{train_tag}" / decode_tag / "<set>"
        raise UserError(f"no {where}/score.json found", "score at least one system (stage 13)")
    return Results(title, [one for one in found if one.sets], missing, provenance or {})


def _language(exp_dir, code, systems, train_tag, decode_tag, sets, missing) -> Language:
    language = Language(code)
    for system in systems:
        folder = exp_dir / code / f"{system}_{train_tag}"
        if training := _optional(folder / "train.json"):
            language.trainings[system] = training
        if diagnosed := _diagnostics(folder / "diagnostics.jsonl"):
            language.diagnostics[system] = diagnosed
        for name in sets:
            run_folder = folder / decode_tag / name
            score = _optional(run_folder / "score.json", "score")
            if score is None:
                missing.append(f"{code}, {system}, {name}: {run_folder / 'score.json'}")
                continue
            utterances = _optional(run_folder / "utterances.json", "utterances")
            decode = _optional(run_folder / "decode.json")
            mdd = {how: _optional(run_folder / f"{stem}.json", "mdd") for how, stem in MDD.items()}
            mdd = {how: judged for how, judged in mdd.items() if judged is not None}
            run = Run(run_folder, score, utterances, decode, mdd)
            language.sets.setdefault(name, {})[system] = run
    trained = {(code, f"{system}_{train_tag}") for system in systems}
    if language.sets:
        for kind, what in ANALYSES.items():
            if len(systems) == 1 and kind not in OF_ONE:
                continue  # one alone has nothing to compare with
            path = exp_dir / code / "analysis" / f"{kind}.json"
            found = _optional(path, kind)
            if found is not None and _is_of(found, kind, trained):
                setattr(language, kind, found)
            elif found is not None or kind not in ON_REQUEST:
                stale = " is of other models: run stage 17 again" if found else ""
                missing.append(f"{code}, {what}: {path}{stale}")
    for name, runs in language.sets.items():
        path = exp_dir / code / "analysis" / f"cross_{name}.json"
        cross = _optional(path, "cross")
        folders = {(code, f"{system}_{train_tag}", decode_tag, name) for system in runs}
        labels = {run.score["data"]["sha256"] for run in runs.values()}
        given = cross["systems"].values() if cross else ()
        evaluated = {Path(folder).parts[-4:] for folder in given}
        if cross and evaluated == folders and labels == {cross["data_sha256"]}:
            language.cross[name] = cross
        else:
            stale = " is of other systems or labels: run stage 17 again" if cross else ""
            missing.append(f"{code}, {name}, cross-task evaluation: {path}{stale}")
    return language


def _is_of(analysis: dict, kind: str, trained: set[tuple[str, ...]]) -> bool:
    """Whether an analysis is of the systems reported: all, or those of them that it concerns."""
    if kind == "partial":  # of trainings of its own
        return True
    models = _models_of(analysis)
    return models <= trained if kind == "vectors" else models == trained


def _models_of(analysis: dict) -> set[tuple[str, ...]]:
    """(language, system and training) of the models compared, without twins."""
    models = [one for one in analysis["models"].values() if not one.get("twin_of")]
    return {Path(one.get("directory", "")).parts[-2:] for one in models}


def _optional(path: Path, kind: str | None = None) -> dict | None:
    """A JSON file's object, None without the file, UserError if it is not what it should be."""
    if not path.exists():
        return None
    value = read_json(path)
    lacking = [key for key in _REQUIRED.get(kind, ()) if key not in value]
    if not isinstance(value, dict) or lacking:
        lacks = f"has no {', '.join(lacking)}" if lacking else "is not a JSON object"
        raise UserError(f"{path}: {lacks}", "remove it and run its stage again")
    return value


def _diagnostics(path: Path) -> list[dict]:
    """The lines of a training's diagnoses, none without the file."""
    found = read_json_lines(path) if path.exists() else []
    for number, line in enumerate(found, 1):
        keys = line.keys() if isinstance(line, dict) else ()
        if not {"step", "gradients", "cka"} <= set(keys):
            message = f"{path}:{number}: is no diagnosis of a step"
            raise UserError(message, "remove the file, and train again to have it")
    return found


def metric_of(score: dict, hypothesis: str, reference: str) -> tuple[dict, dict] | None:
    """(cell, figures of its own metric) of a score.json, or None."""
    for cell in score["cells"]:
        if (cell["hypothesis"], cell["reference"]) == (hypothesis, reference):
            return cell, cell["metrics"][cell["metric"]]
    return None


def kinds(runs: dict[str, Run]) -> tuple[list[str], list[str]]:
    """Hypothesis and reference kinds of a set's runs, in the order in which they were scored."""
    cells = [cell for run in runs.values() for cell in run.score["cells"]]
    references = list(dict.fromkeys(cell["reference"] for cell in cells))
    hypotheses = list(dict.fromkeys(cell["hypothesis"] for cell in cells))
    return sorted(hypotheses, key=[*references, *hypotheses].index), references
