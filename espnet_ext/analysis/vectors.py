"""Task vectors: their lengths and angles, and what is recognised when one of them is off."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from espnet_ext.analysis import definition
from espnet_ext.analysis.definition import Analysis, Output, Result
from espnet_ext.document import (
    Column,
    Item,
    Point,
    Section,
    Table,
    number,
    signed,
    signed_interval,
    speaker_caveats,
)

LENGTHS = Output(
    "Task vectors",
    "Length of each vector as it is added, the mean length of the frames that it is added to, and "
    "its cosines with the other vectors.",
)
COMPONENTS = Output(
    "Task vectors in two dimensions",
    "First two principal components of the vectors; close points mean similar vectors.",
)
HISTORY = Output(
    "Length of the task vectors during training",
    "Length of each vector before any normalisation, at the validation of each epoch.",
)
LEAKAGE = Output(
    "Tags with their task vectors off",
    "Share of utterances in which an output writes a tag while the tag's vector is off, beside the "
    "share while it is on; a low first share means that the vector controls the tag.",
)
OUTPUTS_OFF = Output(
    "Outputs with their task vectors off",
    "Error rate of an output with its vector on, and with it off while the others are on. A larger "
    "error with the vector off means that the output depends on its vector.",
)
_Place = tuple[Mapping, Mapping]  # a system, and one place at which it adds vectors


def run(
    models: Mapping[str, str],
    data: str,
    *,
    config: str | None,
    nlsyms_txt: str | None = None,
    **options: Any,
) -> Result:
    """Inspect every system that has task vectors (`computation.task_vectors`)."""
    from espnet_ext.analysis.computation.task_vectors import inspect_vectors
    from espnet_ext.decoding.options import read_options
    from espnet_ext.text.tokenizers import read_symbols

    search = read_options(config) if config else {}
    symbols = read_symbols(nlsyms_txt) if nlsyms_txt else ()
    return inspect_vectors(models, data, search, symbols=symbols, **options)


def section(result: Mapping[str, Any]) -> Section:
    """Return lengths, angles, their course over training, and errors with vectors off."""
    places = [(system, place) for system in result["systems"] for place in system["places"]]
    caveats = [f"{result['utterances']} utterances", *speaker_caveats(result.get("speakers"))]
    items: list[Item] = [
        COMPONENTS.figure(
            "points",
            {place["labels"][i]: [Point(*place["points"][i])] for i in _trained(place)},
            about=_place_name(system, place),
            x_label=f"first component ({100 * place['explained'][0]:.0f} % of the variance)",
            y_label=f"second component ({100 * place['explained'][1]:.0f} %)",
        )
        for system, place in places
    ]
    items += [
        HISTORY.figure(
            "lines",
            {
                name: [Point(x, norm) for x, norm in zip(_epochs(place), norms, strict=True)]
                for name, norms in _trained_norms(place).items()
            },
            about=_place_name(system, place),
            x_label="epoch",
            y_label="length",
        )
        for system, place in places
        if _epochs(place)
    ]
    tables = [_lengths(places), _history(places), _leakage(result, caveats), _off(result, caveats)]
    items += [table for table in tables if table.rows]
    return Section("Task vectors", list(_findings(places)), items, topic="models")


def _place_name(system: Mapping, place: Mapping) -> str:
    return f"{system['system']}, added to the {place['place']}"


def _epochs(place: Mapping) -> list[int]:
    return place["history"]["epochs"]


def _trained(place: Mapping) -> list[int]:
    """Return the indices of the vectors that training used, or all if that is not recorded."""
    trained = place.get("trained", [True] * len(place["labels"]))
    return [i for i, known in enumerate(trained) if known]


def _trained_norms(place: Mapping) -> dict[str, list[float]]:
    names = [place["labels"][i] for i in _trained(place)]
    return {name: place["history"]["norms"][name] for name in names}


def _lengths(places: Sequence[_Place]) -> Table:
    def cosines(vector: tuple[Mapping, Mapping, int]) -> str:
        _, place, i = vector
        others = [j for j in _trained(place) if j != i]
        return ", ".join(f"{place['labels'][j]} {signed(place['cosine'][i][j])}" for j in others)

    columns: dict[str, Column] = {
        "system": lambda v: v[0]["system"],
        "added to": lambda v: v[1]["place"],
        "vector": lambda v: v[1]["labels"][v[2]],
        "length": lambda v: number(v[1]["norms"][v[2]]),
        "frames": lambda v: number(v[1]["states"]),
        "cosines": lambda v: cosines(v) or "–",
        "components": lambda v: "{:+.2f}, {:+.2f}".format(*v[1]["points"][v[2]]).replace("-", "−"),
    }
    vectors = [(system, place, i) for system, place in places for i in _trained(place)]
    return LENGTHS.table(columns, vectors, text_columns=3, details=True)


def _history(places: Sequence[_Place]) -> Table:
    epochs = sorted({epoch for _, place in places for epoch in _epochs(place)})
    rows = []
    for system, place in places:
        for label, norms in _trained_norms(place).items():
            by_epoch = dict(zip(_epochs(place), norms, strict=True))
            if by_epoch:
                name = f"{system['system']}, {place['place']}, {label}"
                rows.append([name, *(number(by_epoch.get(epoch)) for epoch in epochs)])
    return HISTORY.table(["vector", *map(str, epochs)], rows, details=True)


def _with_system(result: Mapping, key: str) -> list[dict]:
    return [{**row, "system": s["system"]} for s in result["systems"] for row in s[key]]


_ACTIVE: dict[str, Column] = {"active": lambda row: "+".join(row["active"]) or "none"}
_COUNTS: dict[str, Column] = {
    "trained set": lambda row: "yes" if row["trained"] else "no",
    "utt": "utterances",
}


def _leakage(result: Mapping, caveats: list[str]) -> Table:
    columns: dict[str, Column] = {
        "system": "system",
        "tag": "tag",
        **_ACTIVE,
        "off: written %": lambda row: number(row["share"]),
        "on: written %": lambda row: number(row["share_on"]),
        **_COUNTS,
    }
    rows = _with_system(result, "leakage")
    return LEAKAGE.table(columns, rows, text_columns=3, caveats=caveats, details=True)


def _off(result: Mapping, caveats: list[str]) -> Table:
    columns: dict[str, Column] = {
        "system": "system",
        "output": "output",
        **_ACTIVE,
        "on: error %": lambda row: number(row["rate_on"]),
        "off: error %": lambda row: number(row["rate_off"]),
        "difference, 95 %": lambda row: signed_interval(row["interval"]),
        **_COUNTS,
    }
    rows = _with_system(result, "off")
    return OUTPUTS_OFF.table(columns, rows, text_columns=3, caveats=caveats, details=True)


def _findings(places: Sequence[_Place]) -> Iterator[str]:
    for system, place in places:
        untrained = len(place["labels"]) - len(_trained(place))
        if untrained:
            yield (
                f"{system['system']}, {place['place']}: {untrained} of {len(place['labels'])} "
                "vectors belong to combinations that training never used; they are left out."
            )
    for system, place in places:
        for label, norms in _trained_norms(place).items():
            if len(norms) > 2 and norms[0] > 0:
                change = norms[-1] / norms[-2] - 1 if norms[-2] else 0.0
                yield (
                    f"{system['system']}, {place['place']}, {label}: length {norms[0]:.2f} after "
                    f"the first epoch, {norms[-1]:.2f} after the last "
                    f"({signed(100 * change)} % in the last epoch)."
                )


ANALYSIS = Analysis(
    name="vectors",
    description="task vectors: lengths, angles, and recognition with one of them off",
    inputs=[definition.MODELS, definition.DATA, definition.DECODING_CONFIG, definition.SYMBOLS],
    options=[definition.max_utterances(200)],
    outputs=[LENGTHS, COMPONENTS, HISTORY, LEAKAGE, OUTPUTS_OFF],
    run=run,
    section=section,
    result_files=["analysis/vectors.json"],
    requested_by="conditioning=vectors",
    uses_device=True,
)
