"""The design of a study: conditions, trainings in the order of running, and comparisons.

A *cell* is one training: a system, trained on a share of the training set of one data condition and
language, with one seed.
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError, did_you_mean
from espnet_ext.files import read_yaml
from espnet_ext.scoring.counts import METRICS

AXES = ("conditions", "languages", "shares", "seeds", "systems")
OUTPUTS = ("surface", "meaning")
ANALYSES = ("swaps", "probes")
QUICK_BATCHES = 4  # per epoch, with --quick true


@dataclass(frozen=True, order=True)
class Cell:
    """One training."""

    condition: str
    language: str
    share: float  # share of the fully labelled training utterances
    seed: int
    system: str

    @property
    def model(self) -> str:
        """Name of the model's folder, as in `do_seed0`."""
        return f"{self.system}_seed{self.seed}"

    @property
    def subset(self) -> str:
        """Name of the training set, as in `train_share50`."""
        return f"train_share{percent(self.share)}"

    def __str__(self) -> str:
        return (
            f"{self.condition}, {self.language}, {percent(self.share)} %, {self.system}, "
            f"seed {self.seed}"
        )


@dataclass(frozen=True)
class Setting:
    """What cells have in common that are compared: data condition, language and share."""

    condition: str
    language: str
    share: float

    def __str__(self) -> str:
        return f"{self.condition}, {self.language}, {percent(self.share)} %"


@dataclass(frozen=True)
class Comparison:
    """Two systems whose errors in one output are compared: b − a."""

    name: str
    a: str
    b: str
    output: str
    question: str  # in words, for the report
    primary: bool = False  # tested in the primary family, in the settings of `primary`
    # 0 or 1: both systems have the same head for the output, and the meaning is trained without or
    # with CTC. Such comparisons are in the regression and in the mechanism. None: they are not.
    meaning_ctc: int | None = None


@dataclass(frozen=True)
class Study:
    """The content of study.yaml."""

    recipe: str  # folder of the recipe
    languages: Sequence[str]
    systems: Sequence[str]
    seeds: Sequence[int]
    shares: Sequence[float]
    conditions: Mapping[str, str]  # name → options of run.sh for its data
    batches_per_epoch: Mapping[str, int]  # language → batches
    comparisons: Sequence[Comparison]
    blocks: Sequence[Mapping[str, Any]] = ({},)  # in the order of running; axes → values
    primary: Mapping[str, Any] = field(default_factory=dict)  # settings of the primary family
    train_options: str = ""  # further options of the trainings
    run_options: str = ""  # further options of run.sh
    # output → metric of its errors (cer, wer, per); default: the main one of its token type
    metrics: Mapping[str, str] = field(default_factory=dict)
    drop: Mapping[str, Any] = field(default_factory=lambda: {"output": "surface", "seed": 0})
    diagnose_every: int = 0  # steps between measurements of the gradients; 0: never
    similarity: Sequence[str] = ()  # systems whose encoders are compared by CKA
    analyses: Sequence[str] = ()  # further ones of these systems: swaps, probes
    minutes: Mapping[str, float] = field(default_factory=dict)  # language → of one training
    decode_minutes: float = 0.5  # minutes to decode one set with one system
    parallel: int = 2  # trainings in parallel, for the estimate of hours
    valid_set: str = "valid"
    test_set: str = "test"
    title: str = "A grid of trainings"

    def cells(self) -> list[Cell]:
        """Return all cells in the order of running, each one once."""
        return list(dict.fromkeys(itertools.chain(*map(self._block_cells, self.blocks))))

    def _block_cells(self, block: Mapping[str, Any]) -> Iterator[Cell]:
        axes = [block.get(axis) or list(getattr(self, axis)) for axis in AXES]
        # Seeds before languages: a partial run has all systems of the first seed
        conditions, languages, shares, seeds, systems = axes
        for condition, share, seed, language, system in itertools.product(
            conditions, shares, seeds, languages, systems
        ):
            yield Cell(condition, language, float(share), seed, system)

    def settings(self) -> list[Setting]:
        """Return the settings that have cells, in the order of running."""
        return list(dict.fromkeys(Setting(c.condition, c.language, c.share) for c in self.cells()))

    def is_primary(self, setting: Setting) -> bool:
        """Return whether primary comparisons are tested in the primary family in a setting."""
        first = {"condition": next(iter(self.conditions)), "share": max(self.shares)}
        chosen = {**first, **self.primary}
        return (setting.condition, setting.share) == (chosen["condition"], chosen["share"])

    def hypotheses(self) -> list[tuple[Comparison, Setting, str]]:
        """Return every planned test: comparison, setting and family (primary or secondary).

        A comparison is planned in a setting if the grid has cells of both systems there.
        """
        systems: dict[Setting, set[str]] = {}
        for cell in self.cells():
            setting = Setting(cell.condition, cell.language, cell.share)
            systems.setdefault(setting, set()).add(cell.system)
        return [
            (comparison, setting, "primary" if is_primary else "secondary")
            for setting, available in systems.items()
            for comparison in self.comparisons
            if {comparison.a, comparison.b} <= available
            for is_primary in [comparison.primary and self.is_primary(setting)]
        ]


def percent(share: float) -> str:
    """Return a share in percent.

    >>> percent(0.25), percent(1.0), percent(0.125)
    ('25', '100', '12.5')
    """
    return f"{100 * share:g}"


def folder_of(root: str | os.PathLike, cell: Cell) -> Path:
    """Return the folder of a cell's model.

    >>> folder_of("exp", Cell("normal", "ko", 0.5, 1, "do")).as_posix()
    'exp/normal/ko/share50/ko/do_seed1'
    """
    share = f"share{percent(cell.share)}"
    return Path(root) / cell.condition / cell.language / share / cell.language / cell.model


def analysis_file(root: str | os.PathLike, setting: Setting, seed: int, analysis: str) -> Path:
    """Return the result file of an analysis (`cka`, …) of a setting's models of one seed."""
    share = f"share{percent(setting.share)}"
    folder = Path(root) / setting.condition / setting.language / share / setting.language
    return folder / f"analysis/{analysis}_seed{seed}.json"


def read_study(path: str | os.PathLike, quick: bool = False) -> Study:
    """Read study.yaml.

    Args:
        quick: replace the number of batches per epoch by a few, as `--quick true` trains.

    Raises:
        UserError: a key is unknown or missing, or a value names something that does not exist.
    """
    values = read_yaml(path)
    known = {item.name: item for item in fields(Study)}
    for key in values:
        if key not in known:
            raise UserError(f"{path}: unknown key '{key}'", did_you_mean(key, known, "remove it"))
    required = [
        *("recipe", "languages", "systems", "seeds", "shares", "conditions"),
        *("batches_per_epoch", "comparisons"),
    ]
    if missing := [key for key in required if not values.get(key)]:
        raise UserError(f"{path}: lacks {', '.join(missing)}", "add these keys")
    _check_types(path, values)
    values["drop"] = {"output": "surface", "seed": 0, **values.get("drop", {})}
    values["conditions"] = {name: text or "" for name, text in values["conditions"].items()}
    values["comparisons"] = [_comparison(path, row, values) for row in values["comparisons"]]
    if quick:
        values["batches_per_epoch"] = dict.fromkeys(values["languages"], QUICK_BATCHES)
    study = Study(**values)
    _check(path, study)
    return study


_NUMBER, _NAME = "a number above 0", "a name (in quotes)"
_COUNT, _POSITIVE = "a whole number, 0 or more", "a whole number, 1 or more"
_LISTS = {  # key of study.yaml → what its values are
    **dict.fromkeys(("languages", "systems", "similarity", "analyses"), _NAME),
    **{"seeds": _COUNT, "shares": _NUMBER, "comparisons": "a mapping", "blocks": "a mapping"},
}
_MAPPINGS = {
    **{"conditions": "text or nothing", "batches_per_epoch": _POSITIVE, "metrics": _NAME},
    **{"primary": "", "drop": "", "minutes": _NUMBER},
}
_SINGLE = {
    **dict.fromkeys(("recipe", "train_options", "run_options", "title"), "text"),
    **dict.fromkeys(("valid_set", "test_set"), _NAME),
    **{"diagnose_every": _COUNT, "decode_minutes": _NUMBER, "parallel": _POSITIVE},
}
_KEYS = {"primary": ("condition", "share"), "drop": ("output", "seed")}


def _check_types(path: str | os.PathLike, values: Mapping[str, Any]) -> None:
    """Raise an error if a value has another type, as one language instead of a list of one."""
    for key, value in values.items():
        where = f"{path}: {key}"
        if key in _SINGLE:
            _require(value, _SINGLE[key], where)
        elif key in _LISTS:
            if not isinstance(value, list):
                raise UserError(f"{where}: {value!r} is not a list", f"write {key}: [{value}]")
            for item in value:
                _require(item, _LISTS[key], where)
            if repeated := [item for item in value if value.count(item) > 1]:
                raise UserError(f"{where}: duplicate value {repeated[0]}", "remove one of them")
        elif not isinstance(value, Mapping):
            raise UserError(f"{where}: {value!r} is not a mapping", "write key: value below it")
        else:
            known = _KEYS.get(key, tuple(value))
            for name, item in value.items():
                if name not in known:
                    remedy = did_you_mean(str(name), known, f"choose among {', '.join(known)}")
                    raise UserError(f"{where}: unknown key '{name}'", remedy)
                _require(item, _MAPPINGS[key], f"{where}.{name}")


def _require(value: Any, kind: str, where: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_valid = {
        "": True,
        _NUMBER: is_number and value > 0,
        _COUNT: isinstance(value, int) and is_number and value >= 0,
        _POSITIVE: isinstance(value, int) and is_number and value >= 1,
        _NAME: isinstance(value, str) and value != "",
        "text": isinstance(value, str),
        "text or nothing": value is None or isinstance(value, str),
        "a mapping": isinstance(value, Mapping),
    }
    if not is_valid[kind]:
        raise UserError(f"{where}: {value!r} is not {kind}", f"write {kind}")


def _comparison(path: str | os.PathLike, row: Any, values: Mapping[str, Any]) -> Comparison:
    try:
        comparison = Comparison(**row)
    except TypeError as error:
        raise UserError(f"{path}: comparisons: {row}: {error}", "correct this row") from None
    for system in (comparison.a, comparison.b):
        if system not in values["systems"]:
            remedy = did_you_mean(system, values["systems"], "add it to systems")
            raise UserError(f"{path}: {comparison.name}: no system '{system}'", remedy)
    if comparison.output not in OUTPUTS:
        raise UserError(
            f"{path}: {comparison.name}: output '{comparison.output}'",
            f"choose {' or '.join(OUTPUTS)}",
        )
    if not isinstance(comparison.primary, bool) or comparison.meaning_ctc not in (None, 0, 1):
        raise UserError(
            f"{path}: {comparison.name}: primary {comparison.primary}, "
            f"meaning_ctc {comparison.meaning_ctc}",
            "write true or false, and 0, 1 or nothing",
        )
    return comparison


def _check(path: str | os.PathLike, study: Study) -> None:
    axes = {axis: list(getattr(study, axis)) for axis in AXES}
    for block in study.blocks:
        for axis, values in block.items():
            if not isinstance(values, list):
                raise UserError(
                    f"{path}: blocks: {axis}: {values!r} is not a list", f"write [{values}]"
                )
            if axis not in axes:
                raise UserError(
                    f"{path}: blocks: unknown axis '{axis}'", f"choose among {', '.join(AXES)}"
                )
            for value in values:
                if value not in axes[axis]:
                    raise UserError(f"{path}: blocks: {axis} has no {value}", f"add it to {axis}")
    for share in study.shares:
        if not 0 < share <= 1:
            raise UserError(f"{path}: share {share}", "write shares above 0, up to 1")
    if lacking := [lang for lang in study.languages if lang not in study.batches_per_epoch]:
        raise UserError(f"{path}: batches_per_epoch lacks {', '.join(lacking)}", "add it")
    for output, metric in study.metrics.items():
        if output not in OUTPUTS:
            raise UserError(
                f"{path}: metrics: no output '{output}'", f"choose {' or '.join(OUTPUTS)}"
            )
        if metric not in METRICS:
            raise UserError(
                f"{path}: metrics: {output} has no metric '{metric}'",
                f"choose among {', '.join(METRICS)}",
            )
    for key, axis in (("condition", "conditions"), ("share", "shares")):
        if key in study.primary and study.primary[key] not in axes[axis]:
            raise UserError(
                f"{path}: primary: no {key} {study.primary[key]!r}: no test would be primary",
                f"choose among {axis}: {', '.join(map(str, axes[axis]))}",
            )
    if study.drop["output"] not in OUTPUTS:
        remedy = f"choose {' or '.join(OUTPUTS)}"
        raise UserError(f"{path}: drop: output '{study.drop['output']}'", remedy)
    _require(study.drop["seed"], _COUNT, f"{path}: drop.seed")
    names = [comparison.name for comparison in study.comparisons]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{path}: comparisons: two are named {min(repeated)}", "rename one")
    if unknown := [name for name in study.analyses if name not in ANALYSES]:
        remedy = did_you_mean(unknown[0], ANALYSES, f"choose among {', '.join(ANALYSES)}")
        raise UserError(f"{path}: analyses: no analysis '{unknown[0]}'", remedy)
    if study.analyses and not study.similarity:
        raise UserError(f"{path}: analyses without systems", "name the systems in similarity")
    if unknown := [system for system in study.similarity if system not in study.systems]:
        raise UserError(f"{path}: similarity: no system '{unknown[0]}'", "add it to systems")


def select(cells: Sequence[Cell], study: Study, words: Sequence[str]) -> list[Cell]:
    """Return the cells that a filter names.

    Args:
        words: `axis=value[,value…]` for each restricted axis. Shares may be in percent: `50%`.

    Raises:
        UserError: an axis or value does not exist.
    """
    allowed: dict[str, set[str]] = {}
    for word in words:
        axis, _, values = word.partition("=")
        if axis not in AXES or not values:
            raise UserError(
                f"--cells: '{word}' is not AXIS=VALUE[,VALUE]", f"axes: {', '.join(AXES)}"
            )
        known = [_as_text(value) for value in getattr(study, axis)]
        allowed[axis] = set()
        for value in values.split(","):
            named = _share(value) if axis == "shares" else value
            if named not in known:
                raise UserError(
                    f"--cells: {axis} has no '{value}'", f"choose among {', '.join(known)}"
                )
            allowed[axis].add(named)

    def is_selected(cell: Cell) -> bool:
        values = {
            "conditions": cell.condition,
            "languages": cell.language,
            "shares": _as_text(cell.share),
            "seeds": str(cell.seed),
            "systems": cell.system,
        }
        return all(values[axis] in names for axis, names in allowed.items())

    return [cell for cell in cells if is_selected(cell)]


def _share(text: str) -> str:
    """Return a share as `_as_text` writes it.

    >>> _share("1.0"), _share("50%"), _share("half")
    ('1', '0.5', 'half')
    """
    try:
        return _as_text(float(text[:-1]) / 100 if text.endswith("%") else float(text))
    except ValueError:
        return text


def _as_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
