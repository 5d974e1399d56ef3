"""Rows and readings on outputs as tasks: transfer, tags, task vectors, fewer labels.

For both reports.
"""

from collections.abc import Iterator, Mapping, Sequence

from espnet_ext.report.collect import Language
from espnet_ext.report.cross_task import only_here, side
from espnet_ext.report.summary import interval, percent, signed, signed_interval

Section = tuple[str, list[str], list[str], list[list[str]], list[str]]


def sections(language: Language) -> Iterator[Section]:
    """(title, texts, heads, rows, readings) of everything that there is to tell."""
    for name, cross in language.cross.items():
        outputs = {
            system: {cell["hypothesis"] for cell in run.score["cells"]}
            for system, run in language.sets[name].items()
        }
        branches = {
            system: training.get("branches") or {}
            for system, training in language.trainings.items()
        }
        heads, rows = transfer_rows(cross["differences"], outputs, branches)
        if rows:
            yield (
                f"{name}: what a further output does to the others",
                [
                    "Error of an output without and with another one beside it in the model; "
                    "“here”: a permutation test does not show it for other speakers."
                ],
                heads,
                rows,
                [],
            )
    for name, runs in language.sets.items():
        heads, rows = tag_rows({system: run.score for system, run in runs.items()})
        if rows:
            text = "Tags in transcripts: utterances whose tag is wrong or missing, in percent."
            yield f"{name}: tags", [text], heads, rows, []
    if language.vectors and language.vectors["systems"]:
        yield (
            "task vectors",
            [
                "Length of each vector as it is added, beside the mean length of the frames that "
                "it is added to, and the cosines to the other vectors; first and second principal "
                "component."
            ],
            *vector_rows(language.vectors),
            [*left_out(language.vectors), *vector_readings(language.vectors)],
        )
        epochs = history_rows(language.vectors)
        if epochs[1]:
            text = "As they were learnt, before any normalisation, after each epoch."
            yield "length of task vectors over training", [text], *epochs, []
        leaks = leakage_rows(language.vectors)
        if leaks[1]:
            text = (
                "Leakage: the share of utterances in which an output writes a tag while the "
                "tag's vector is off; beside it, while it is on."
            )
            yield "tags with their vectors off", [text], *leaks, []
        off = off_rows(language.vectors)
        if off[1]:
            text = (
                "Error of an output with its vector on, and with it off while the others are "
                "active. A branch writes whatever it is told, because training never shows it "
                "silence: a larger error with the vector off says that the branch depends on "
                "it, and an equal one that it does without."
            )
            yield "outputs with their vectors off", [text], *off, []
    if language.partial:
        what = language.partial["output"]
        yield (
            f"fewer labels of {what}",
            [
                f"Labels of {what} were taken away from so many percent of its training "
                f"utterances; errors on {language.partial.get('set', 'the first test set')}; "
                "“complete”: trained on the utterances alone that have all outputs left, with as "
                "many updates in as many epochs. Differences to that, paired by speaker, in "
                f"percentage points. {_trainings(language.partial)}. "
                "Chance in training is in no interval."
            ],
            *partial_rows(language.partial),
            partial_readings(language.partial),
        )


def transfer_rows(
    comparisons: Sequence[Mapping],
    outputs: Mapping[str, set[str]],
    branches: Mapping[str, Mapping[str, str]],
) -> tuple[list[str], list[list[str]]]:
    """A row for each output and each one other output that a system has more.

    Args:
        comparisons: differences of systems; outputs: of each system; branches: their kinds, where
            that is known. Where they differ, the difference is not of the further output alone.
    """
    rows = []
    for c in comparisons:
        further = outputs.get(c["b"], set()) - outputs.get(c["a"], set())
        if len(further) != 1:
            continue
        for row in c["cells"]:
            output, _, reference = row["name"].partition("-")
            if row["bin"] is None and output == reference:
                kinds = [branches.get(c[which], {}).get(output) for which in "ab"]
                rows.append(
                    [
                        output,
                        min(further),
                        f"{c['b']} − {c['a']}",
                        percent(row["rate_a"]),
                        percent(row["rate_b"]),
                        signed(row["difference"]),
                        signed_interval(row["interval"]) if row["interval"] else "–",
                        _verdict(row, kinds),
                    ]
                )
    heads = [
        "output",
        "beside it",
        "systems",
        "without %",
        "with %",
        "difference",
        "95 %",
        "transfer",
    ]
    return heads, sorted(rows, key=lambda row: row[:2])


def _verdict(row: Mapping, kinds: Sequence[str | None]) -> str:
    if not row["interval"]:
        return "–"
    found = {1: "negative", 0: "not shown", -1: "positive"}[side(row)]
    if only_here(row):
        found += " here"
    if None not in kinds and kinds[0] != kinds[1]:
        found += f", but {kinds[0]} became {kinds[1]}"
    return found


def tag_rows(scores: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """A row for each system and kind of tag."""
    rows = [
        [
            system,
            row["output"],
            row["tag"],
            percent(row["rate"]),
            interval(row["interval"]) if row["interval"] else "–",
            str(row["missing"]),
            str(row["invented"]),
            str(row["utterances"]),
        ]
        for system, score in scores.items()
        for row in score.get("tags", ())
    ]
    return ["system", "in", "tag", "wrong %", "95 %", "missing", "invented", "utt"], rows


def learnt(place: Mapping) -> list[int]:
    """The numbers of the vectors of a place that training saw; without a word on it, all."""
    trained = place.get("trained", [True] * len(place["labels"]))
    return [i for i, known in enumerate(trained) if known]


def left_out(vectors: Mapping) -> list[str]:
    """A sentence for each place with vectors that were never trained."""
    return [
        f"{system['system']}, {place['place']}: {count} of {len(place['labels'])} vectors are of "
        "combinations that training never saw, were never learnt, and are left out."
        for system in vectors["systems"]
        for place in system["places"]
        if (count := len(place["labels"]) - len(learnt(place)))
    ]


def learnt_norms(place: Mapping) -> dict[str, list[float]]:
    """Lengths over the epochs, by vector, of those that training saw."""
    names = [place["labels"][i] for i in learnt(place)]
    return {name: place["history"]["norms"][name] for name in names}


def vector_rows(vectors: Mapping) -> tuple[list[str], list[list[str]]]:
    """A row for each vector that was learnt."""
    rows = []
    for system in vectors["systems"]:
        for place in system["places"]:
            states = "–" if place["states"] is None else f"{place['states']:.2f}"
            for i in learnt(place):
                label = place["labels"][i]
                others = [
                    f"{place['labels'][j]} {place['cosine'][i][j]:+.2f}".replace("-", "−")
                    for j in learnt(place)
                    if j != i
                ]
                x, y = (f"{value:+.2f}".replace("-", "−") for value in place["points"][i])
                rows.append(
                    [
                        system["system"],
                        place["place"],
                        label,
                        f"{place['norms'][i]:.2f}",
                        states,
                        ", ".join(others) or "–",
                        f"{x}, {y}",
                    ]
                )
    return ["system", "added after", "vector", "length", "frames", "cosine", "components"], rows


def vector_readings(vectors: Mapping) -> list[str]:
    """Whether vectors are still growing at the end of the training."""
    found = []
    for system in vectors["systems"]:
        for place in system["places"]:
            for label, norms in learnt_norms(place).items():
                if len(norms) > 2 and norms[0] > 0:
                    last = norms[-1] / norms[-2] - 1 if norms[-2] else 0.0
                    found.append(
                        f"{system['system']}, {place['place']}, {label}: length {norms[0]:.2f} "
                        f"after the first epoch, {norms[-1]:.2f} after the last "
                        f"({signed(100 * last)} % in that one)."
                    )
    return found


def history_rows(vectors: Mapping) -> tuple[list[str], list[list[str]]]:
    """A row for each vector that was learnt, a column an epoch."""
    places = [(s, p) for s in vectors["systems"] for p in s["places"]]
    epochs = sorted({epoch for _, place in places for epoch in place["history"]["epochs"]})
    rows = []
    for system, place in places:
        for label, norms in learnt_norms(place).items():
            known = dict(zip(place["history"]["epochs"], norms, strict=True))
            shown = [f"{known[epoch]:.2f}" if epoch in known else "–" for epoch in epochs]
            if known:
                rows.append([f"{system['system']}, {place['place']}, {label}", *shown])
    return ["vector", *map(str, epochs)], rows


def leakage_rows(vectors: Mapping) -> tuple[list[str], list[list[str]]]:
    """A row for each kind of tag of each system."""
    rows = [
        [
            system["system"],
            row["tag"],
            "+".join(row["active"]) or "none",
            percent(row["share"]),
            percent(row["share_on"]),
            "yes" if row["trained"] else "no",
            str(row["utterances"]),
        ]
        for system in vectors["systems"]
        for row in system["leakage"]
        if "tag" in row
    ]
    heads = [
        "system",
        "tag",
        "active",
        "written while off %",
        "while on %",
        "set was trained",
        "utt",
    ]
    return heads, rows


def off_rows(vectors: Mapping) -> tuple[list[str], list[list[str]]]:
    """A row for each output of each system."""
    rows = [
        [
            system["system"],
            row["output"],
            "+".join(row["active"]) or "none",
            percent(row["rate_on"]),
            percent(row["rate_off"]),
            signed_interval(row["interval"]) if row["interval"] else "–",
            "yes" if row["trained"] else "no",
            str(row["utterances"]),
        ]
        for system in vectors["systems"]
        for row in system.get("off", ())
    ]
    heads = [
        "system",
        "output",
        "active",
        "error on %",
        "error off %",
        "difference, 95 %",
        "set was trained",
        "utt",
    ]
    return heads, rows


def _trainings(partial: Mapping) -> str:
    most = max((len(row.get("trainings", [0])) for row in partial["rows"]), default=1)
    if most == 1:
        return "One training of each"
    return f"Errors of up to {most} trainings of each are put together, each one's rate is beside"


def partial_rows(partial: Mapping) -> tuple[list[str], list[list[str]]]:
    """A row for each output, percentage and way."""
    differences = {
        (row["percent"], row["way"], row["output"]): row for row in partial["differences"]
    }
    outputs = list(dict.fromkeys(row["output"] for row in partial["rows"]))
    several = any(len(row.get("trainings", ())) > 1 for row in partial["rows"])
    rows = []
    for row in sorted(partial["rows"], key=lambda r: (outputs.index(r["output"]), r["percent"])):
        other = differences.get((row["percent"], row["way"], row["output"]))
        shown = ["–", "–", "–", "–"]
        if other is not None and other["interval"]:
            shown = [
                signed(other["difference"]),
                signed_interval(other["interval"]),
                f"{other['p_value']:.3f}",
                "–" if other["p_permutation"] is None else f"{other['p_permutation']:.3f}",
            ]
        rows.append(
            [
                row["output"],
                str(row["percent"]),
                row["way"],
                f"{row['metric'].upper()} {percent(row['rate'])}",
                interval(row["interval"]) if row["interval"] else "–",
                *shown,
                *([", ".join(map(percent, row["trainings"]))] if several else []),
            ]
        )
    heads = [
        "output",
        "taken away %",
        "trained",
        "error %",
        "95 %",
        "to complete",
        "95 %",
        "p",
        "permuted",
        *(["single trainings"] if several else []),
    ]
    return heads, rows


def partial_readings(partial: Mapping) -> list[str]:
    """A sentence for each difference; no more than its interval shows."""
    verdicts = {1: "is worse than", 0: "cannot be told from", -1: "is better than"}
    return [
        f"{row['percent']} % taken away, {row['output']}: {row['way']} {verdicts[side(row)]} the "
        f"complete part alone: {signed(row['difference'])} points "
        f"[{signed_interval(row['interval'])}].{only_here(row)}"
        for row in partial["differences"]
        if row["interval"]
    ]


def partial_curves(partial: Mapping, output: str) -> tuple[list[str], dict[str, list]]:
    """Percentages, and for each way its error rates at them."""
    own = [row for row in partial["rows"] if row["output"] == output]
    percents = sorted({row["percent"] for row in own})
    ways = dict.fromkeys(row["way"] for row in own)
    known = {(row["way"], row["percent"]): row["rate"] for row in own}
    return list(map(str, percents)), {w: [known.get((w, p)) for p in percents] for w in ways}
