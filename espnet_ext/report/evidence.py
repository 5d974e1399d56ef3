"""Rows and readings of probes.json and swaps.json. For both reports."""

from collections.abc import Iterator, Mapping

from espnet_ext.report.summary import interval, percent

TASKS = {
    "surface": "surface tokens",
    "meaning": "meaning tokens",
    "deviates": "whether a surface token deviates",
    "l1": "first language",
    "speaker": "speaker",
}


def probe_tables(probes: Mapping) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(what is asked, heads, a row a system): accuracy by layer, and the control's."""
    for task, about in probes["tasks"].items():
        own = [row for row in probes["rows"] if row["task"] == task]
        layers = list(dict.fromkeys(row["layer"] for row in own))
        rows = []
        for system in dict.fromkeys(row["system"] for row in own):
            found = {row["layer"]: row for row in own if row["system"] == system}
            rows.append([system, *(_accuracy(found.get(layer)) for layer in layers)])
        chance = own[0]["chance"] if own else 0.0
        title = (
            f"{TASKS.get(task, task)} ({about['classes']} kinds, chance {percent(chance)}; "
            f"{about['train']} rows to learn from, {about['test']} tested"
        )
        title += f"; placed by {about['aligned_by']}'s CTC)" if about.get("aligned_by") else ")"
        yield title, ["encoder of", *layers], rows


def _accuracy(row: Mapping | None) -> str:
    if row is None:
        return "–"
    bounds = f" [{interval(row['interval'])}]" if row["interval"] else ""
    beside = "" if row["control"] is None else f", control {percent(row['control'])}"
    if row.get("alone") is not None:
        beside += f", tokens alone {percent(row['alone'])}"
    return f"{percent(row['accuracy'])}{bounds}{beside}"


def probe_readings(probes: Mapping) -> list[str]:
    """Of each task, where it is read best and by whom in the last layer; then what is missing."""
    found = []
    for task in probes["tasks"]:
        own = [row for row in probes["rows"] if row["task"] == task]
        last = {row["system"]: row for row in own}  # rows come in the order of layers
        ranked = sorted(last.values(), key=lambda row: -row["accuracy"])
        order = ", ".join(f"{row['system']} {percent(row['accuracy'])}" for row in ranked)
        text = f"Last layer, {TASKS.get(task, task)}: {order}."
        if all(_at_chance(row) for row in own):
            text += " All of this is chance."
        elif all((row.get("alone") or 0.0) >= row["accuracy"] for row in own):
            text += " The tokens alone say as much: this shows nothing of the encoders."
        elif all((row["selectivity"] or 1.0) <= 0 for row in own):
            text += " Random labels are learnt as well: what is read may be learnt by heart."
        found.append(text)
    return [*found, *probes.get("notes", ())]


def _at_chance(row: Mapping) -> bool:
    low = row["interval"][0] if row["interval"] else row["accuracy"]
    return low <= row["chance"]


def swap_rows(swaps: Mapping) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row for each decoder, encoder and way."""
    heads = ["output", "decoder of", "encoder of", "way", "error %", "95 %", "R² of the map"]
    rows = [
        [
            row["output"],
            row["decoder"],
            row["encoder"],
            row["way"],
            "–" if row["rate"] is None else percent(row["rate"]),
            interval(row["interval"]) if row["interval"] else "–",
            "–" if row["r2"] is None else f"{row['r2']:.2f}",
        ]
        for row in sorted(swaps["rows"], key=lambda row: (row["output"], row["decoder"]))
    ]
    return heads, rows


def swap_readings(swaps: Mapping) -> list[str]:
    """What each exchange says of where the incompatibility sits; no more than rates show."""
    table = {(r["output"], r["decoder"], r["encoder"], r["way"]): r for r in swaps["rows"]}
    found = []
    for (output, decoder, encoder, way), row in table.items():
        own = table.get((output, decoder, decoder, "own"))
        if way != "stitched" or own is None or row["rate"] is None or own["rate"] is None:
            continue
        direct = table.get((output, decoder, encoder, "direct"))
        told = f"{output}, {decoder}'s decoder on {encoder}'s encoder: "
        if direct is not None and direct["rate"] is not None:
            told += f"{percent(direct['rate'])} % as it is, "
        told += f"{percent(row['rate'])} % through a linear map, "
        told += f"{percent(own['rate'])} % on its own"
        if _apart(own, row):
            told += "; this map leaves a gap: what it needs may not all be linearly there."
        elif direct is not None and _apart(row, direct):
            told += "; what it needs is there in other coordinates."
        else:
            told += "; the intervals do not tell these apart."
        found.append(told)
    return found


def _apart(better: Mapping, worse: Mapping) -> bool:
    """Whether the second is worse beyond both intervals."""
    if not (better["interval"] and worse["interval"]):
        return False
    return worse["interval"][0] > better["interval"][1]
