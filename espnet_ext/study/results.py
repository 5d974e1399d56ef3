"""The results of a study as arrays, and its planned comparisons with Holm's correction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from espnet_ext.errors import UserError
from espnet_ext.scoring.significance import holm
from espnet_ext.study.design import Cell, Comparison, Setting, Study
from espnet_ext.study.effects import Effect, compare

LEVEL = 0.05
FAMILIES = ("primary", "secondary")


@dataclass(frozen=True)
class Row:
    """A planned comparison in one setting."""

    comparison: Comparison
    setting: Setting
    family: str
    effect: Effect | None  # None: a system has no results there
    p_holm: float | None  # over the family; missing tests count as p = 1
    p_permutation_holm: float | None

    @property
    def is_confirmed(self) -> bool:
        """Whether both tests are significant after Holm's correction."""
        return all(p is not None and p < LEVEL for p in (self.p_holm, self.p_permutation_holm))


class Results:
    """Errors of the cells of one set, from `cells.json`."""

    def __init__(self, content: Mapping[str, Any], dset: str):
        self.content = content
        self.dset = dset
        self._cells: dict[tuple, dict] = {}
        for cell in content["cells"]:
            if cell["set"] == dset:
                key = (cell["condition"], cell["language"], cell["share"], cell["system"])
                self._cells.setdefault(key, {})[cell["seed"]] = cell
        if not self._cells:
            raise UserError(f"no cell has results of set '{dset}'", "decode it, and collect again")

    def data(self, setting: Setting) -> dict[str, Any]:
        """Return what is known of the references of a setting."""
        return self.content["data"][f"{self.dset} {setting.condition} {setting.language}"]

    def metrics(self) -> dict[str, str]:
        """Return output → metric, where it is not the main one of the token type."""
        of_set = [
            data for name, data in self.content["data"].items() if name.startswith(f"{self.dset} ")
        ]
        return dict(of_set[0].get("metrics", {})) if of_set else {}

    def bins(self, setting: Setting, output: str) -> list[str]:
        """Return the bins of divergence that have utterances."""
        order = ("0", "1-3", "4-10", ">=11", "none")
        return sorted(self.data(setting)["tokens"][output], key=order.index)

    def tokens(self, setting: Setting, output: str, of_bin: str | None = None) -> np.ndarray:
        """Return the reference tokens per speaker, (S,)."""
        by_bin = self.data(setting)["tokens"][output]
        return _summed(by_bin, of_bin)

    def seeds(self, setting: Setting, system: str) -> list[int]:
        """Return the seeds of a system that have results."""
        return sorted(self._of(setting, system))

    def _of(self, setting: Setting, system: str) -> dict[int, dict]:
        key = (setting.condition, setting.language, setting.share, system)
        return self._cells.get(key, {})

    def errors(
        self, setting: Setting, system: str, output: str, of_bin: str | None = None
    ) -> np.ndarray | None:
        """Return the errors per training and speaker, (R, S); None without results."""
        cells = self._of(setting, system)
        rows = [
            _summed(cells[seed]["errors"][output], of_bin)
            for seed in sorted(cells)
            if output in cells[seed]["errors"]
        ]
        return np.stack(rows) if rows else None

    def trainings(self, setting: Setting, system: str) -> dict[int, dict]:
        """Return what is recorded of the trainings, by seed."""
        return {seed: cell["training"] for seed, cell in self._of(setting, system).items()}

    def first_languages(self, setting: Setting) -> dict[str, np.ndarray]:
        """Return which speakers, (S,), have each first language that is known, in its order."""
        l1s = np.array([l1 or "" for l1 in self.data(setting).get("l1") or ()])
        return {str(l1): l1s == l1 for l1 in np.unique(l1s) if l1}

    def effect(
        self,
        comparison: Comparison,
        setting: Setting,
        of_bin: str | None = None,
        speakers: np.ndarray | None = None,
    ) -> Effect | None:
        """Return the difference of a comparison, or None if a system has no results.

        Args:
            of_bin: only the utterances of this bin of divergence.
            speakers: only these speakers, (S,) booleans.
        """
        a, b = (
            self.errors(setting, system, comparison.output, of_bin)
            for system in (comparison.a, comparison.b)
        )
        if a is None or b is None:
            return None
        tokens = self.tokens(setting, comparison.output, of_bin)
        return compare(a, b, tokens if speakers is None else np.where(speakers, tokens, 0))


def of_design(study: Study, content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the content of `cells.json` with what is missing of the design as it is now.

    The design may have got further cells since the results were collected.

    Args:
        name: name of the file, for messages.

    Raises:
        UserError: the results are of another study, or have cells that are not in the design.
    """
    if content["title"] != study.title:
        raise UserError(
            f"{name}: is of the study '{content['title']}', not of '{study.title}'",
            "name its study.yaml",
        )
    for described, data in content["data"].items():
        if data.get("metrics", {}) != study.metrics:
            raise UserError(
                f"{name}: {described}: errors were counted with metrics "
                f"{data.get('metrics', {})}, study.yaml has {dict(study.metrics)}",
                "collect again",
            )
    planned = study.cells()
    available = set()
    for row in content["cells"]:
        values = {field: row[field] for field in ("condition", "language", "seed", "system")}
        cell = Cell(**values, share=float(row["share"]))
        available.add((cell, row["set"]))
    if foreign := sorted({cell for cell, _ in available} - set(planned)):
        raise UserError(
            f"{name}: {foreign[0]}: is not in the design of the study",
            "add its system, seed, share or condition to study.yaml, or collect again",
        )
    sets = list(dict.fromkeys(row["set"] for row in content["cells"]))
    missing = [
        f"{cell} ({dset})" for cell in planned for dset in sets if (cell, dset) not in available
    ]
    return {**content, "missing": missing}


def _summed(by_bin: Mapping[str, Sequence[int]], of_bin: str | None) -> np.ndarray:
    if of_bin is None:
        return np.sum([np.asarray(values) for values in by_bin.values()], axis=0)
    return np.asarray(by_bin[of_bin])


def planned_rows(study: Study, results: Results) -> list[Row]:
    """Return all planned comparisons, each test corrected over its family.

    A test that has no p value yet counts as p = 1, so that leaving out cells never makes others
    significant.
    """
    tests = [
        (comparison, setting, family, results.effect(comparison, setting))
        for comparison, setting, family in study.hypotheses()
    ]
    rows = []
    for family in FAMILIES:
        members = [test for test in tests if test[2] == family]
        effects = [effect for *_, effect in members]
        adjusted = [
            holm([1.0 if p is None else p for p in values])
            for values in (
                [effect.p_value if effect else None for effect in effects],
                [effect.p_permutation if effect else None for effect in effects],
            )
        ]
        for (comparison, setting, name, effect), p, p_permutation in zip(
            members, *adjusted, strict=True
        ):
            known = effect is not None and effect.p_value is not None
            tested = effect is not None and effect.p_permutation is not None
            row = Row(
                *(comparison, setting, name, effect),
                p if known else None,
                p_permutation if tested else None,
            )
            rows.append(row)
    return rows
