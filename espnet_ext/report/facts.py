"""Rows that both RESULTS.md and report.html show: cells, bins, differences, training, commands."""

from collections.abc import Iterator, Mapping

from espnet_ext.report.collect import Language, Run
from espnet_ext.report.summary import interval, percent

BIN_NAMES = {"0": "0", "1-3": "1–3", "4-10": "4–10", ">=11": "≥ 11"}


def rate(figures: Mapping) -> str:
    return percent(figures["rate"])


def left_out(cell: Mapping) -> str:
    """Why utterances are not in a cell, in words; empty if none is left out."""
    words = {
        "unlabelled": "unlabelled",
        "not_comparable": "not comparable",
        "missing_hypotheses": "without hypothesis (counted as empty)",
    }
    return ", ".join(f"{cell[key]} {text}" for key, text in words.items() if cell[key])


def cell_rows(runs: Mapping[str, Run]) -> Iterator[tuple[str, dict, dict]]:
    """(system, cell, own metric's figures) for all cells of all systems."""
    for system, run in runs.items():
        for cell in run.score["cells"]:
            yield system, cell, cell["metrics"][cell["metric"]]


def conversions(runs: Mapping[str, Run]) -> dict[str, str]:
    """What was converted so that like is compared with like: cell name → how."""
    return {c["name"]: c["conversion"] for _, c, _ in cell_rows(runs) if c["conversion"]}


def divergence_bins(runs: Mapping[str, Run]) -> dict | None:
    """The bins of the set (the same for all systems scored against the same labels)."""
    return next((r.score["divergence"] for r in runs.values() if r.score.get("divergence")), None)


def divergence_rows(runs: Mapping[str, Run]) -> Iterator[tuple[str, str, list[dict]]]:
    """(output, system, its own cell's bins), outputs together."""
    found = [
        (name.split("-")[0], system, rows)
        for system, run in runs.items()
        for name, rows in ((run.score.get("divergence") or {}).get("cells") or {}).items()
    ]
    outputs = list(dict.fromkeys(output for output, _, _ in found))
    yield from sorted(found, key=lambda row: outputs.index(row[0]))


def rate_text(figures: Mapping) -> str:
    """A rate with its interval, where there is one."""
    bounds = f" [{interval(figures['interval'])}]" if figures["interval"] else ""
    return rate(figures) + bounds


def duration(seconds: float | None) -> str:
    """Seconds for people.

    >>> duration(75), duration(12.3), duration(7322)
    ('1 min 15 s', '12.3 s', '2 h 02 min')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def number(value: float | int | None) -> str:
    """A count with thin separators.

    >>> number(2612345)
    '2,612,345'
    """
    return "–" if value is None else f"{value:,}"


TRAINING = {
    "parameters": ("parameters", number),
    "epochs": ("epochs", str),
    "seconds": ("training time", duration),
}
DECODING = {
    "beam": ("beam", str),
    "audio_seconds": ("audio decoded", duration),
    "seconds": ("decoding time", duration),
    "rtf": ("real-time factor", lambda value: f"{value:.3f}"),
}


def mdd_rows(runs: Mapping[str, Run]) -> tuple[list[str], list[list[str]]]:
    """Mispronunciation detection of every system, with and without a prompt."""
    heads = [
        "system",
        "prompt",
        "F1 detection",
        "F1 diagnosis",
        "F1 without insertions",
        "FRR",
        "FAR",
        "DER",
        "PER",
        "utt",
    ]
    rows = []
    for system, run in runs.items():
        for how, found in run.mdd.items():
            bounds = found.get("intervals") or {}
            scores = [
                percent(value) + (f" [{interval(bounds[name])}]" if bounds.get(name) else "")
                for name, value in found["F1"].items()
            ]
            measures = found["measures"]["with_insertions"]
            rates = [
                percent(value)
                for value in (*(measures[key] for key in ("FRR", "FAR", "DER")), found["PER"])
            ]
            rows.append([system, how.partition(" ")[0], *scores, *rates, str(found["utterances"])])
    return heads, rows


def rating_rows(runs: Mapping[str, Run]) -> tuple[list[str], list[list[str]]]:
    """How deviations go with human scores, of every system that wrote a surface."""
    heads = ["system", "human score", "deviations", "Pearson", "Spearman", "utt"]
    rows = []
    for system, run in runs.items():
        for row in run.mdd.get("with prompt", {}).get("ratings") or ():
            shown = [_coefficient(row, name) for name in ("pearson", "spearman")]
            rows.append([system, row["score"], row["measure"], *shown, str(row["utterances"])])
    return heads, rows


def _coefficient(row: Mapping, name: str) -> str:
    if row[name] is None:
        return "–"
    bounds = row["intervals"][name]
    between = f" [{bounds[0]:.2f} to {bounds[1]:.2f}]" if bounds else ""
    return f"{row[name]:.2f}{between}"


def run_facts(language: Language, runs: Mapping[str, Run]) -> tuple[list[str], list[list[str]]]:
    """What training and decoding took: heads, and a row a system; what is unknown is left out."""
    systems = list(runs)
    columns: list[tuple[str, list[str]]] = []
    for facts, source in ((TRAINING, language.trainings), (DECODING, _decodings(runs))):
        for key, (label, show) in facts.items():
            values = [source.get(system, {}).get(key) for system in systems]
            if any(isinstance(value, int | float) for value in values):
                shown = [show(v) if isinstance(v, int | float) else "–" for v in values]
                columns.append((label, shown))
    heads = ["system", *(label for label, _ in columns)]
    rows = [[s, *(shown[i] for _, shown in columns)] for i, s in enumerate(systems)]
    return (heads, rows) if columns else ([], [])


def _decodings(runs: Mapping[str, Run]) -> dict[str, dict]:
    """decode.json by system, with the beam that its outputs were searched with."""
    found = {}
    for system, run in runs.items():
        if not run.decode:
            continue
        options = run.decode.get("options")
        outputs = options.values() if isinstance(options, Mapping) else ()
        beams = {o.get("beam_size") for o in outputs if isinstance(o, Mapping)}
        beam = beams.pop() if len(beams) == 1 else None  # one that differs by output is not a fact
        found[system] = {"beam": beam, **run.decode}
    return found


def commands(language: Language, runs: Mapping[str, Run]) -> list[tuple[str, dict]]:
    """(what it made, provenance) of every figure of a set, in the order of the pipeline."""
    found = []
    for system, training in language.trainings.items():
        found.append((f"{system}: training", training))
    for system, run in runs.items():
        if run.decode and run.decode.get("command"):
            found.append((f"{system}: decoding", run.decode))
        found.append((f"{system}: scores", run.score))
    found += [(f"cross-task evaluation, {name}", one) for name, one in language.cross.items()]
    for what, made in (
        ("comparison of systems", language.cka),
        ("probes", language.probes),
        ("exchanged encoders", language.swaps),
        ("task vectors", language.vectors),
        ("fewer labels", language.partial),
    ):
        if made:
            found.append((what, made))
    # Some files keep their provenance apart, others among their own keys.
    return [(what, {**value, **(value.get("provenance") or {})}) for what, value in found]


def origin(facts: Mapping) -> str:
    """Commit, versions and machine of one figure, in a line."""
    parts = [f"commit {facts['commit']}"] if facts.get("commit") else []
    versions = facts.get("versions")
    if isinstance(versions, Mapping):
        parts.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    machine = facts.get("machine")
    if isinstance(machine, Mapping):
        parts.append(f"{machine.get('cpu')}, {machine.get('cores')} cores")
        if machine.get("gpu"):
            parts.append(str(machine["gpu"]))
    elif machine:
        parts.append(str(machine))
    if facts.get("date"):
        parts.append(str(facts["date"]))
    return "; ".join(parts)


def label_hashes(runs: Mapping[str, Run]) -> list[str]:
    """The hashes of the labels that the systems were scored against; more than one is a fault."""
    return list(dict.fromkeys(run.score["data"]["sha256"] for run in runs.values()))
