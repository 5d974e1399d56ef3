"""Published error rates and similarities (arXiv 2606.06065), beside those of this experiment.

The published numbers are for the authors' corpora (AI Hub second-language read speech), as
secondary sources report them. Both outputs are character error rates there; the English surface is
phones here. Directions of differences can be compared, sizes cannot. A layer is compared with the
published layer at the same relative depth.
"""

from collections.abc import Iterator, Mapping, Sequence

from espnet_ext.document import (
    Figure,
    Item,
    Point,
    Section,
    Table,
    interval,
    number,
    signed,
    signed_with_interval,
)
from espnet_ext.report.collect import Language, cells_of
from espnet_ext.report.scores import BIN_NAMES

SOURCE = "Cho & Kim, arXiv 2606.06065, as reported by a secondary source; AI Hub corpora, CER %"
OUTPUTS = ("surface", "meaning")
ERROR_RATES = {  # system → language → (surface, meaning)
    "Conformer SO": {"ko": (11.14, 1.60), "en": (13.78, 3.87)},
    "Conformer DO": {"ko": (11.34, 0.77), "en": (15.08, 3.19)},
    "Whisper-base SO": {"ko": (10.05, 4.62), "en": (11.39, 0.55)},
    "Whisper-small SO": {"ko": (6.76, 0.54), "en": (11.20, 0.27)},
}
DIVERGENCE = {  # share of utterances by surface–meaning distance, percent
    "ko": {"0": 38.8, "1-3": 35.4, "4-10": 20.6, ">=11": 5.2},
    "en": {"0": 26.1, "1-3": 40.3, "4-10": 29.5, ">=11": 4.2},
}
CKA = {  # encoders of the two single-output systems, by layer of 12
    "ko": {"0": 0.95, "3": 0.43, "6": 0.56, "9": 0.45, "11": 0.56},
    "en": {"0": 0.91, "3": 0.89, "6": 0.75, "9": 0.66, "11": 0.40},
}
DECODER_CKA = {  # (system and output, system and output) → (layer of 8, value)
    "en": {
        ("so_meaning meaning", "do meaning"): ("7", 0.24),
        ("so_surface surface", "so_meaning meaning"): ("7", 0.39),
    },
}
DIFFERENCE_BY_DISTANCE = {  # DO − SO in percentage points: output → bin → value
    "en": {"surface": {"0": 0.28, ">=11": 6.72}, "meaning": {"0": -0.20, ">=11": -3.51}},
}
Row = list[str]


def section(language: Language, caveats: Sequence[str] = ()) -> Section | None:
    """Return the published numbers beside ours; None for a language without any.

    Args:
        caveats: limits of our numbers.
    """
    if language.code not in DIVERGENCE:
        return None
    rates = [
        [system, *map(number, by_language[language.code])]
        for system, by_language in ERROR_RATES.items()
    ]
    beside = Table(
        "This experiment beside the published one",
        "Other speakers, amounts of data and models: only the direction of a difference can be "
        "compared.",
        ["number", "here", "published"],
        rows(language),
        caveats=[f"here: {text}" for text in caveats],
        details=True,
    )
    items: list[Item] = [
        *_figure(language),
        Table("Published error rates", f"{SOURCE}.", ["system", *OUTPUTS], rates, details=True),
        beside,
    ]
    notes = list(_notes(language.code))
    return Section("Published results", items=items, notes=notes, topic="published")


def _notes(code: str) -> Iterator[str]:
    """Yield the published numbers that have no table."""
    shares = ", ".join(f"{BIN_NAMES[name]}: {share} %" for name, share in DIVERGENCE[code].items())
    yield f"Published shares of utterances by surface–meaning distance: {shares}."
    values = ", ".join(f"{layer}: {value:.2f}" for layer, value in CKA[code].items())
    yield f"Published CKA of the single-output encoders, by layer of 12: {values}."
    for (a, b), (layer, value) in DECODER_CKA.get(code, {}).items():
        yield f"Published CKA of the decoders {a} – {b}, layer {layer} of 8: {value:.2f}."


def rows(language: Language) -> list[Row]:
    """Return (quantity, our value with interval, published value) of all that both have."""
    made = (_rates, _differences, _shares, _encoders, _decoders)
    return [row for make in made for row in make(language)]


def _rates(language: Language) -> Iterator[Row]:
    runs = next(iter(language.sets.values()), {})
    cells = {(s, c["hypothesis"]): (c, counts) for s, c, counts in cells_of(runs) if c["own"]}
    for output in OUTPUTS:
        for system, kind in ((f"so_{output}", "SO"), ("do", "DO")):
            if (system, output) in cells:
                cell, counts = cells[system, output]
                bounds = f" [{interval(counts['interval'])}]" if counts["interval"] else ""
                yield [
                    f"{system}, {output}: error %",
                    f"{cell['metric'].upper()} {number(counts['rate'])}{bounds}",
                    f"CER {number(_rate(kind, language.code, output))}",
                ]


def _rate(kind: str, code: str, output: str) -> float:
    return ERROR_RATES[f"Conformer {kind}"][code][OUTPUTS.index(output)]


def _differences(language: Language) -> Iterator[Row]:
    by_distance = DIFFERENCE_BY_DISTANCE.get(language.code, {})
    cross = language.of_kind("cross")
    for comparison in cross["differences"] if cross else ():
        output = comparison["a"].removeprefix("so_")
        if comparison["b"] != "do" or output not in OUTPUTS or output == comparison["a"]:
            continue
        for row in comparison["cells"]:
            published, where = None, ""
            if row["name"] != f"{output}-{output}" or row["difference"] is None:
                continue
            if row["by"] is None:
                published = _rate("DO", language.code, output) - _rate("SO", language.code, output)
            elif row["by"] == "distance":
                published = by_distance.get(output, {}).get(row["bin"])
                where = f", distance {BIN_NAMES[row['bin']]}"
            if published is not None:
                yield [
                    f"do − so_{output}, {output}{where}: points",
                    signed_with_interval(row["difference"], row["interval"]),
                    signed(published),
                ]


def _shares(language: Language) -> Iterator[Row]:
    cross = language.of_kind("cross")
    divergence = cross["divergence"] if cross else {"pairs": {}, "main": None}
    for part in divergence["pairs"].get(divergence["main"], {}).get("bins", ()):
        yield [
            f"utterances at distance {BIN_NAMES[part['bin']]}: %",
            f"{100 * part['share']:.1f}",
            f"{DIVERGENCE[language.code][part['bin']]:.1f}",
        ]


def _encoder_blocks(language: Language) -> list[Mapping]:
    """Return the measured CKA of `so_surface` and `so_meaning`, one point per encoder block."""
    for pair in (language.of_kind("cka") or {"pairs": ()})["pairs"]:
        if {pair["a"], pair["b"]} == {"so_surface", "so_meaning"}:
            return [point for point in pair["curve"] if point["layer"].isdigit()]
    return []


def _cka_text(point: Mapping) -> str:
    bounds = " [{:.2f}–{:.2f}]".format(*point["interval"]) if point["interval"] else ""
    return number(point["debiased"]) + bounds


def _encoders(language: Language) -> Iterator[Row]:
    blocks, layers = _encoder_blocks(language), list(CKA[language.code].items())
    for point, (layer, value) in zip(
        blocks[:1] + blocks[-1:], layers[:1] + layers[-1:], strict=False
    ):
        what = f"CKA so_surface – so_meaning, encoder layer {point['layer']} (published: {layer})"
        yield [what, _cka_text(point), number(value)]


def _decoders(language: Language) -> Iterator[Row]:
    published = DECODER_CKA.get(language.code, {})
    for pair in (language.of_kind("cka") or {"decoders": ()})["decoders"]:
        names = tuple(f"{pair[side]} {pair[f'output_{side}']}" for side in "ab")
        how = (pair["how"], pair["rows"])
        if how == ("teacher-forced", "utterances") and pair["curve"] and names in published:
            layer, value = published[names]
            last = pair["curve"][-1]
            what = f"CKA {' – '.join(names)}, decoder layer {last['layer']} (published: {layer})"
            yield [what, _cka_text(last), number(value)]


def _figure(language: Language) -> Iterator[Figure]:
    ours = _encoder_blocks(language)
    if len(ours) > 1:
        depth = len(ours) - 1
        published = CKA[language.code].items()
        yield Figure(
            "lines",
            "Similarity of the single-output encoders, here and published",
            "CKA of so_surface and so_meaning over relative depth: 0 the first block, 1 the last.",
            "relative depth",
            "CKA",
            {
                "here": [Point(int(p["layer"]) / depth, p["debiased"]) for p in ours],
                "published, 12 layers": [Point(int(n) / 11, value) for n, value in published],
            },
            y_range=(0.0, 1.0),
        )
