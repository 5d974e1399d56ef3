"""One table per test set in which every system is one row: errors, cost, similarity of encoders."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from espnet_ext.document import (
    Section,
    Table,
    is_too_few,
    number,
    signed_with_interval,
    speaker_caveats,
    with_interval,
)
from espnet_ext.report.collect import Language, Run, cells_of, has_too_few
from espnet_ext.report.scores import (
    BIN_NAMES,
    OTHER_LABELS,
    divergences,
    duration,
    label_hashes,
)

SURFACE, MEANING = "surface", "meaning"
# output → systems of which the best is the reference of the differences
REFERENCES = {SURFACE: ("so_surface",), MEANING: ("so_meaning", "so_meaning_attention", "do")}
# With these alone, the tables of errors, differences and cost say it all on the front page.
STANDARD = ("so_surface", "so_meaning", "do")
TWIN = "~twin"  # suffix of a system's second training in the analysis of similarity
TITLE = "Comparison of systems"
SENTENCE = (
    "Differences are in percentage points over the same utterances, system minus reference: below "
    "zero, the system is better, and an interval that contains zero shows no difference."
)
SIMILARITY = (
    "CKA compares two encoders frame by frame: its ceiling is the CKA of two trainings of one "
    "system with different seeds, and its null the highest one after frames are shifted in time."
)
SEPARATE = (
    "Of a system whose outputs have separate encoder outputs, that of the column's output is "
    "compared."
)
OF_OUTPUTS = "CKA of two outputs"
Row = Mapping[str, Any]


@dataclass
class _Reasons:
    """Why cells are empty: (column, reason) → systems."""

    systems: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def dash(self, system: str, column: str, reason: str) -> str:
        """Return an empty cell, and remember why it is empty."""
        self.systems.setdefault((column, reason), []).append(system)
        return "–"

    def texts(self) -> list[str]:
        return [
            f"no {column} of {', '.join(systems)}: {reason}"
            for (column, reason), systems in self.systems.items()
        ]


def comparison_section(language: Language, name: str) -> Section | None:
    """Return the comparison of all systems on a test set; None if there is only one system."""
    runs = language.sets[name]
    if len(runs) < 2:
        return None
    reasons = _Reasons()
    columns: dict[str, list[str]] = {"system": list(runs)}
    references: dict[str, str] = {}
    caveats: list[str] = []
    for output in (SURFACE, MEANING):
        rates = _own_cells(runs, output)
        if not rates:
            continue
        metric = next(iter(rates.values()))["metric"].upper()
        column = f"{output} {metric} % [95 %]"
        columns[column] = [_rate(system, rates, output, reasons) for system in runs]
        if reference := _reference(rates, output):
            references[output] = reference
            columns[f"{output} − {reference} [95 %]"] = [
                _difference(language, name, system, reference, output, rates, reasons)
                for system in runs
            ]
        else:
            absent = " and ".join(REFERENCES[output])
            caveats.append(f"no {output} differences: no {absent} in this report")
    columns |= dict(_surface_by_divergence(runs))
    columns |= _costs(language, runs, reasons)
    similarities = dict(_similarities(language, runs, reasons))
    columns |= similarities
    caveats += [*_machines(language, runs), *reasons.texts()]
    caveats += [OTHER_LABELS] if len(label_hashes(runs)) > 1 else []
    caveats += speaker_caveats(next(iter(runs.values())).score["data"]["speakers"])
    caveats += language.overlaps.get(name, ())
    table = Table(
        TITLE if len(language.sets) == 1 else f"{TITLE} on {name}",
        " ".join(
            [SENTENCE, *_about_references(references, runs), *_about_similarities(similarities)]
        ),
        list(columns),
        [list(row) for row in zip(*columns.values(), strict=True)],
        caveats=caveats,
        details=_is_standard(language, runs),
    )
    findings = list(_findings(language, name, runs, references))
    return Section(f"{TITLE} on {name}: overview", findings, [table], topic="errors")


def _is_standard(language: Language, runs: Mapping[str, Run]) -> bool:
    """Return whether there are no models beside the standard ones, baselines, and their variants.

    The decodings of a model are in one folder.
    """
    models = {run.folder.parts[-3] for name, run in runs.items() if name not in language.baselines}
    return len(models) <= len(STANDARD)


def _own_cells(runs: Mapping[str, Run], output: str) -> dict[str, dict]:
    """Return system → the cell of an output against its own reference, with its counts."""
    return {
        system: {**counts, **cell}
        for system, cell, counts in cells_of(runs)
        if cell["own"] and cell["hypothesis"] == output
    }


def _rate(system: str, rates: Mapping[str, dict], output: str, reasons: _Reasons) -> str:
    cell = rates.get(system)
    if cell is None:
        return reasons.dash(system, f"{output} error", "it has no such output")
    if has_too_few(cell):
        return reasons.dash(system, f"{output} error", "too few utterances can be compared")
    if cell["rate"] is None:
        return reasons.dash(system, f"{output} error", "no utterance can be compared")
    return with_interval(cell["rate"], cell["interval"])


# -- differences


def _reference(rates: Mapping[str, dict], output: str) -> str | None:
    """Return the reference of an output's differences: of the possible ones, the best here."""
    known = [
        name
        for name in REFERENCES[output]
        if name in rates and rates[name]["rate"] is not None and not has_too_few(rates[name])
    ]
    return min(known, key=lambda name: rates[name]["rate"], default=None)


def _about_references(references: Mapping[str, str], runs: Mapping[str, Run]) -> Iterator[str]:
    reference = references.get(MEANING)
    names = [name for name in REFERENCES[MEANING] if name in runs]
    if reference is not None and len(names) > 1:
        yield (
            f"The reference of {MEANING} is the one with the lowest error on this set among "
            f"{', '.join(names)}, which favours {reference}."
        )


def _row(language: Language, name: str, system: str, reference: str, output: str) -> Row | None:
    """Return the difference of a system from a reference over all utterances, if stage 17 has it.

    The keys are `difference`, `interval`, `utterances` and `left_out`.
    """
    cell_name = f"{output}-{output}"
    for content in (one.content for one in language.analyses if one.kind == "cross"):
        if content.get("set") != name:
            continue
        for comparison in content["differences"]:
            pair = (comparison["a"], comparison["b"])
            if pair not in ((reference, system), (system, reference)):
                continue
            for cell in comparison["cells"]:
                if cell["by"] is None and cell["name"] == cell_name:
                    left_out = sum(
                        comparison.get(key, {}).get(cell_name, 0)
                        for key in ("not_comparable", "no_hypothesis")
                    )
                    row = {**cell, "left_out": left_out}
                    return row if pair == (reference, system) else _negated(row)
    return None


def _negated(row: Row) -> Row:
    """Return the difference of the first from the second system."""
    bounds = row["interval"]
    return {
        **row,
        "difference": None if row["difference"] is None else -row["difference"],
        "interval": None if bounds is None else [-bounds[1], -bounds[0]],
    }


def _difference(
    language: Language,
    name: str,
    system: str,
    reference: str,
    output: str,
    rates: Mapping[str, dict],
    reasons: _Reasons,
) -> str:
    if system == reference:
        return "reference"
    column = f"{output} difference"
    if system not in rates:
        return "–"  # the column of the error says why
    row = _row(language, name, system, reference, output)
    if row is None:
        runs = language.sets[name]
        why = f"stage 17 has not compared it with {reference}"
        if runs[system].knows_prompt != runs[reference].knows_prompt:
            why = "it knows the prompt, and the reference does not"
        return reasons.dash(system, column, why)
    if is_too_few(row["utterances"], row["left_out"]):
        return reasons.dash(system, column, "too few utterances can be compared")
    return signed_with_interval(row["difference"], row["interval"])


def _findings(
    language: Language, name: str, runs: Mapping[str, Run], references: Mapping[str, str]
) -> Iterator[str]:
    """Yield which systems with both outputs are worse than a reference, and which are not."""
    if set(references) != {SURFACE, MEANING}:
        return
    cells = {output: _own_cells(runs, output) for output in references}
    # (outputs, whether worse in one) → systems with both outputs; a reference is not compared with
    # itself
    compared: dict[tuple[tuple[str, ...], bool], list[str]] = {}
    for system in runs:
        outputs = tuple(output for output, reference in references.items() if system != reference)
        if not all(system in of_output for of_output in cells.values()):
            continue
        rows = [_row(language, name, system, references[output], output) for output in outputs]
        known = [row["interval"] for row in rows if row and row["interval"] is not None]
        if known and len(known) == len(outputs):
            is_worse = any(low > 0 for low, _ in known)
            compared.setdefault((outputs, is_worse), []).append(system)
    for (outputs, is_worse), systems in sorted(compared.items(), key=lambda item: item[0][1]):
        limits = [f"a higher {output} error than {references[output]}" for output in outputs]
        names = ", ".join(systems)
        if is_worse:
            yield f"With {' or '.join(limits)}: {names}."
        elif len(limits) == 1:
            yield f"{limits[0].replace('a higher', 'No higher', 1)} is shown for: {names}."
        else:
            yield f"Neither {' nor '.join(limits)} is shown for: {names}."


# -- errors by divergence, cost


def _surface_by_divergence(runs: Mapping[str, Run]) -> Iterator[tuple[str, list[str]]]:
    """Yield the column of the surface error of utterances by the divergence of their references."""
    cell = f"{SURFACE}-{SURFACE}"
    of_systems = divergences(runs)
    if not any(cell in divergence["cells"] for divergence in of_systems.values()):
        return
    bins = next(iter(of_systems.values()))["bins"]
    heading = " / ".join(BIN_NAMES[part["bin"]] for part in bins)
    values = []
    for system in runs:
        parts = of_systems.get(system, {"cells": {}})["cells"].get(cell)
        values.append(" / ".join(number(part["rate"], 1) for part in parts) if parts else "–")
    yield f"surface % at a divergence of {heading}", values


def _costs(language: Language, runs: Mapping[str, Run], reasons: _Reasons) -> dict[str, list[str]]:
    """Return the columns of parameters, time of training, and real-time factor of decoding."""
    parameters, times, factors = [], [], []
    for system, run in runs.items():
        training = language.trainings.get(system)
        if training is None:
            parameters.append(reasons.dash(system, "cost of training", "no train.json"))
            times.append("–")
        else:
            parameters.append(f"{training['parameters']:,}" if "parameters" in training else "–")
            times.append(_training_time(training))
        factor = (run.decode or {}).get("rtf")
        if isinstance(factor, int | float):
            factors.append(number(factor, 3))
        else:
            why = "decode.json is missing or has no rtf"
            factors.append(reasons.dash(system, "real-time factor", why))
    return {
        "parameters": parameters,
        "training time (per epoch)": times,
        "real-time factor of decoding": factors,
    }


def _training_time(training: Mapping[str, Any]) -> str:
    seconds, epochs = training.get("seconds"), training.get("epochs")
    if not isinstance(seconds, int | float):
        return "–"
    return duration(seconds) + (f" ({duration(seconds / epochs)})" if epochs else "")


def _machines(language: Language, runs: Mapping[str, Run]) -> Iterator[str]:
    """Yield a caveat for times that were taken on different machines."""
    trained = {name: language.trainings.get(name) for name in runs}
    for what, records in (
        ("training times", trained),
        ("real-time factors", {name: run.decode for name, run in runs.items()}),
    ):
        machines = {_machine(record) for record in records.values() if record}
        if len(machines) > 1:
            yield f"{what} are of different machines or numbers of threads: do not compare them"


def _machine(record: Mapping[str, Any]) -> str:
    made = {**record, **(record.get("provenance") or {})}
    return f"{made.get('machine')}, {made.get('torch_threads')}"


# -- similarity of encoders


def _similarities(
    language: Language, runs: Mapping[str, Run], reasons: _Reasons
) -> Iterator[tuple[str, list[str]]]:
    """Yield the CKA of the last encoder layers with those of the single-output systems.

    Of a system with an encoder output per output, that of the column's output counts. A further
    column has the CKA of its two encoder outputs. If a system was trained with two seeds, a last
    column has the CKA of its two encoders.
    """
    result = language.of_kind("cka")
    if result is None:
        return
    pairs = result["pairs"]
    why = "stage 17 has not compared its encoder"
    for output, names in REFERENCES.items():
        reference = next((name for name in names if name in runs), None)
        if reference is None:
            continue
        of = f"CKA with {reference}"
        values = []
        for system in runs:
            value = _last(pairs, system, reference, output)
            if system == reference:
                values.append("reference")
            elif value is None:
                values.append(reasons.dash(system, of, why))
            else:
                values.append(number(value))
        yield f"{of}, last encoder layer ({_limits(pairs, reference)})", values
    within = {system: _of_outputs(pairs, system) for system in runs}
    if any(value is not None for value in within.values()):
        why = "they read one encoder output, or it was not compared"
        yield (
            f"{OF_OUTPUTS} of the system, last encoder layer",
            [
                reasons.dash(system, OF_OUTPUTS, why) if value is None else number(value)
                for system, value in within.items()
            ],
        )
    ceilings = {system: _seeds(pairs, system) for system in runs}
    if any(ceilings.values()):
        of = "CKA of two seeds"
        yield (
            f"{of} of the system, last encoder layer",
            [
                ceiling or reasons.dash(system, of, "it was trained with one seed, or not compared")
                for system, ceiling in ceilings.items()
            ],
        )


def _seeds(pairs: Sequence[Mapping[str, Any]], system: str) -> str:
    """Return the CKA of a system's two encoders, of each output if it has one per output."""
    values = {output: _last(pairs, system, system + TWIN, output) for output in (SURFACE, MEANING)}
    texts = {output: number(value) for output, value in values.items() if value is not None}
    if len(set(texts.values())) < 2:
        return next(iter(texts.values()), "")
    return ", ".join(f"{output} {text}" for output, text in texts.items())


def _about_similarities(columns: Mapping[str, list[str]]) -> Iterator[str]:
    if columns:
        yield SIMILARITY
    if any(name.startswith(OF_OUTPUTS) for name in columns):
        yield SEPARATE


def _limits(pairs: Sequence[Mapping[str, Any]], reference: str) -> str:
    """Return the ceiling of the CKA with a system, and the null if it was computed."""
    ceiling = _last(pairs, reference, reference + TWIN)
    texts = [f"ceiling {'not available: one seed' if ceiling is None else number(ceiling)}"]
    nulls = [
        pair["curve"][-1]["measures"]["cka"]["null"]["highest"]
        for pair in pairs
        if reference in (pair["a"], pair["b"])
        and pair["curve"]
        and (pair["curve"][-1]["measures"].get("cka") or {}).get("null")
    ]
    return "; ".join([*texts, f"null {number(max(nulls))}"] if nulls else texts)


def _last(
    pairs: Sequence[Mapping[str, Any]], a: str, b: str, output: str | None = None
) -> float | None:
    """Return the debiased CKA of the last layers of two systems.

    Args:
        output: leave out encoders that serve another output only; None: leave out none.
    """
    for pair in pairs:
        read = {pair.get(f"output_{side}") or output for side in "ab"}
        is_right = output is None or read == {output}
        if {pair["a"], pair["b"]} == {a, b} and pair["debiased"] and is_right:
            return pair["debiased"][-1][-1]
    return None


def _of_outputs(pairs: Sequence[Mapping[str, Any]], system: str) -> float | None:
    """Return the debiased CKA of the last layers that the two outputs of a system read."""
    for pair in pairs:
        read = {pair.get("output_a"), pair.get("output_b")}
        if pair["a"] == pair["b"] == system and read == {SURFACE, MEANING} and pair["debiased"]:
            return pair["debiased"][-1][-1]
    return None
