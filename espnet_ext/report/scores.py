"""Tables and figures of the scores: cells, bins, tags, cost of training and decoding, data."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet_ext.document import (
    MANY_SPEAKERS,
    Column,
    Figure,
    Item,
    Point,
    Section,
    Table,
    interval,
    number,
    speaker_caveats,
    tabulate,
    with_interval,
)
from espnet_ext.report.collect import (
    Language,
    Results,
    Run,
    cells_of,
    comparable,
    has_too_few,
)
from espnet_ext.report.error_breakdown import breakdowns
from espnet_ext.report.terminal import LEFT_OUT, no_rate

BIN_NAMES = {"0": "0", "1-3": "1–3", "4-10": "4–10", ">=11": "≥ 11"}
SETS = ("train", "valid", "dev", "test")
NA = "<na>"
CELLS = (
    "Error rates in percent of a hypothesis (first word) against a reference (second word), with "
    "95 % intervals of a bootstrap over speakers; a system's own outputs are in bold. PER counts "
    "phones, CER characters and spaces, WER words."
)
# Languages that do not separate words by spaces, so that a word error rate means nothing
NO_WORD_SPACES = frozenset(
    ["zh", "cmn", "zho", "yue", "ja", "jpn", "th", "tha", "lo", "lao", "km", "khm", "my", "mya"]
)
SELECTED = (
    "only utterances whose recognised words are all in the lexicon, which favours those that were "
    "recognised well: do not compare systems here"
)
WITH_PROMPT = (
    "decoded with the canonical form of the prompt, which the other systems do not know: compare "
    "them with systems that know the prompt"
)
OTHER_LABELS = "the systems were scored against different labels: do not compare them"


def cells_table(results: Results) -> Table:
    """Return the cells of all languages, sets and systems in one table."""
    sets = [
        (lang.name, name, runs) for lang in results.languages for name, runs in lang.sets.items()
    ]
    overlaps = {
        f"{lang.name} {name}": texts
        for lang in results.languages
        for name, texts in lang.overlaps.items()
    }
    names = dict.fromkeys(cell["name"] for *_, runs in sets for _, cell, _ in cells_of(runs))
    rows = []
    few: dict[str, int] = {}
    for language, name, runs in sets:
        speakers = next(iter(runs.values())).score["data"]["speakers"]
        few |= {f"{language} {name}": speakers} if speakers < MANY_SPEAKERS else {}
        for system, run in runs.items():
            cells = {cell["name"]: cell for cell in run.score["cells"]}
            texts = [_cell_text(cells[cell]) if cell in cells else "–" for cell in names]
            rows.append([language, name, system, *texts, str(speakers)])
    of_sets: dict[str, list[str]] = {}  # caveat → sets
    for speakers in sorted(set(few.values())):
        for text in speaker_caveats(speakers):
            of_sets[text] = [name for name, count in few.items() if count == speakers]
    for language, name, runs in sets:
        texts = [OTHER_LABELS] if len(label_hashes(runs)) > 1 else []
        texts += overlaps.get(f"{language} {name}", [])
        for text in [*texts, *_empty_caveats(runs), *_selected_caveats(runs)]:
            of_sets.setdefault(text, []).append(f"{language} {name}")
    prompted = [text for one in results.languages for text in prompt_caveats(one)]
    caveats = [*results.caveats, *dict.fromkeys(prompted)]
    caveats += (f"{', '.join(w)}: {text}" for text, w in of_sets.items())
    header = ["language", "set", "system", *(name.replace("-", " against ") for name in names)]
    return Table("Error rates", CELLS, [*header, "speakers"], rows, text_columns=3, caveats=caveats)


def prompt_caveats(language: Language) -> list[str]:
    """Return the caveat of systems that were decoded with the prompt; none if there is none."""
    names = dict.fromkeys(
        system
        for runs in language.sets.values()
        for system, run in runs.items()
        if run.knows_prompt
    )
    return [f"{', '.join(names)}: {WITH_PROMPT}"] if names else []


def _cell_text(cell: Mapping) -> str:
    """Return metric, rate and interval, and the number of utterances if some are left out."""
    counts = cell["metrics"][cell["metric"]]
    if reason := no_rate(cell):
        return f"{cell['metric'].upper()}: {reason}"
    if has_too_few(cell):
        return "–"
    bounds = f" [{interval(counts['interval'])}]" if counts["interval"] else ""
    text = f"{cell['metric'].upper()} {_rate({**counts, **cell})}{bounds}"
    left_out = cell["unlabelled"] + cell["not_comparable"] + cell.get("no_hypothesis", 0)
    if left_out:
        text += f", {cell['utterances']} of {cell['utterances'] + left_out} utt"
    return text


def _empty_caveats(runs: Mapping[str, Run]) -> list[str]:
    """Return the caveat of baselines without a hypothesis that can be compared."""
    return [
        f"{system}: nothing of it can be compared; the reason is in the details, under Baselines"
        for system, run in runs.items()
        if not run.score["cells"]
    ]


def _selected_caveats(runs: Mapping[str, Run]) -> list[str]:
    """Return the caveats of cells that leave out utterances that other systems have."""
    partial: dict[str, dict] = {}  # system → its cell without most hypotheses
    for system, cell, _ in cells_of(runs):
        absent = cell.get("no_hypothesis", 0)
        if (
            cell["own"]
            and not has_too_few(cell)
            and absent > partial.get(system, {}).get("no_hypothesis", 0)
        ):
            partial[system] = cell
    few = [
        f"{cell['name'].replace('-', ' against ')} ({system}): no rate is shown, as only "
        f"{cell['utterances']} of {sum(comparable(cell))} utterances can be compared"
        for system, cell, _ in cells_of(runs)
        if has_too_few(cell)
    ]
    without_hypotheses = [
        f"{system}: {cell['no_hypothesis']} utterances have no hypothesis and are left out; the "
        "differences are over the same utterances"
        for system, cell in partial.items()
    ]
    return [*few, *without_hypotheses, *_not_comparable_caveats(runs)]


def _not_comparable_caveats(runs: Mapping[str, Run]) -> list[str]:
    """Return the caveat of the cells without the utterances that have no known pronunciation."""
    selected: dict[str, dict[str, int]] = {}  # cell → system → utterances left out
    for system, cell, _ in cells_of(runs):
        if cell["not_comparable"] and cell["utterances"] and not has_too_few(cell):
            selected.setdefault(cell["name"], {})[system] = cell["not_comparable"]
    return [
        f"{name.replace('-', ' against ')} ({', '.join(systems)}): {SELECTED}"
        for name, systems in selected.items()
    ]


def _rate(cell: Mapping) -> str:
    rate = number(cell["rate"])
    return f"**{rate}**" if cell["own"] else rate


def label_hashes(runs: Mapping[str, Run]) -> list[str]:
    """Return the hashes of the labels that the systems were scored against; should be one."""
    return list(dict.fromkeys(run.score["data"]["sha256"] for run in runs.values()))


def score_section(language: Language, name: str, caveats: list[str]) -> Section:
    """Return the cells of a set, the error by divergence, and the errors of inline tags."""
    runs = language.sets[name]
    data = next(iter(runs.values())).score["data"]
    caveats = [*caveats, *speaker_caveats(data["speakers"]), *language.overlaps.get(name, ())]
    hashes = label_hashes(runs)
    if len(hashes) > 1:
        caveats.append(OTHER_LABELS)
    selected = _selected_caveats(runs)
    notes = [
        f"{data['utterances']} utterances of {data['speakers']} speaker"
        f"{'s' * (data['speakers'] != 1)}; SHA-256 of the labels "
        f"{', '.join(h[:16] for h in hashes)}."
    ]
    conversions = {c["name"]: c["conversion"] for _, c, _ in cells_of(runs) if c["conversion"]}
    notes += [
        f"{cell.replace('-', ' against ')} compares phones with phones: {conversion}."
        for cell, conversion in conversions.items()
    ]
    items: list[Item] = [
        *_own_cells(runs),
        *_bin_figures(runs),
        _cells(runs, [*caveats, *selected], language.code not in NO_WORD_SPACES),
    ]
    items += [*_bins(runs, caveats), *_tags(runs, caveats), *breakdowns(runs, caveats)]
    title = f"Scores on {name}"
    return Section(title, items=items, notes=notes, topic="errors", headline=_headline(runs, name))


def _headline(runs: Mapping[str, Run], name: str) -> str:
    """Return the lowest error of each output in one sentence; empty without any error rate.

    Rates that are not comparable are left out: those of too few utterances, against different
    labels, and of systems that know the prompt if others do not.
    """
    if len(label_hashes(runs)) > 1:
        return ""
    unprompted = {system: run for system, run in runs.items() if not run.knows_prompt}
    best: dict[str, tuple[float, str, str]] = {}  # output → rate, metric, system
    for system, cell, counts in cells_of(unprompted or runs):
        if cell["own"] and counts["rate"] is not None and not has_too_few(cell):
            row = (counts["rate"], cell["metric"].upper(), system)
            best[cell["hypothesis"]] = min(row, best.get(cell["hypothesis"], row))
    texts = [
        f"{output} with {metric} {number(rate)} % ({system})"
        for output, (rate, metric, system) in best.items()
    ]
    of = " of systems that do not know the prompt" if 0 < len(unprompted) < len(runs) else ""
    return f"On {name}, the lowest error rates{of} are: {', '.join(texts)}." if texts else ""


def _own_cells(runs: Mapping[str, Run]) -> Iterator[Figure]:
    series: dict[str, dict[str, list[Point]]] = {}
    metrics = {}
    for system, cell, counts in cells_of(runs):
        if cell["own"] and counts["rate"] is not None and not has_too_few(cell):
            bounds = counts["interval"] or (None, None)
            metrics[cell["hypothesis"]] = cell["metric"].upper()
            series.setdefault(cell["hypothesis"], {})[system] = [Point(0, counts["rate"], *bounds)]
    for output, points in series.items():
        yield Figure(
            "intervals",
            f"{output} error of each system",
            "Error rate against the output's own reference, with its 95 % interval.",
            f"{metrics[output]} %",
            "",
            points,
        )


def _cells(runs: Mapping[str, Run], caveats: list[str], has_words: bool) -> Table:
    columns: dict[str, Column] = {
        "system": "system",
        "hypothesis": "hypothesis",
        "reference": "reference",
        "metric": lambda cell: cell["metric"].upper(),
        "error %": lambda cell: no_rate(cell) or ("–" if has_too_few(cell) else _rate(cell)),
        "95 %": lambda cell: "–" if has_too_few(cell) else interval(cell["interval"]),
        "utt": "utterances",
        "left out": lambda cell: _left_out(cell) or "–",
    }
    if has_words and any("wer" in _further(cell) for _, cell, _ in cells_of(runs)):
        columns["WER % [95 %]"] = _word_error
    rows = [{**counts, **cell, "system": system} for system, cell, counts in cells_of(runs)]
    table = tabulate(columns, rows)
    return Table("Every cell", CELLS, *table, text_columns=4, caveats=caveats, details=True)


def _further(cell: Mapping) -> dict[str, Mapping]:
    """Return the counts of the metrics of a cell beside its own."""
    return {name: counts for name, counts in cell["metrics"].items() if name != cell["metric"]}


def _word_error(cell: Mapping) -> str:
    counts = _further(cell).get("wer")
    if counts is None or counts["rate"] is None or has_too_few(cell):
        return "–"
    return with_interval(counts["rate"], counts["interval"])


def _left_out(cell: Mapping) -> str:
    """Say why utterances are not in a cell; empty if none is left out."""
    return ", ".join(f"{cell[key]} {text}" for key, text in LEFT_OUT.items() if cell.get(key))


def divergences(runs: Mapping[str, Run]) -> dict[str, dict]:
    """Return the divergence of each system, without its cells of too few utterances."""
    few = {(system, cell["name"]) for system, cell, _ in cells_of(runs) if has_too_few(cell)}
    of_systems = {}
    for system, run in runs.items():
        if divergence := run.score.get("divergence"):
            cells = divergence["cells"] or {}
            shown = {name: rows for name, rows in cells.items() if (system, name) not in few}
            of_systems[system] = {**divergence, "cells": shown}
    return of_systems


def _outputs_in_bins(of_systems: Mapping[str, dict]) -> list[str]:
    cells = [name for divergence in of_systems.values() for name in divergence["cells"]]
    return list(dict.fromkeys(cells))


def _bin_figures(runs: Mapping[str, Run]) -> Iterator[Figure]:
    of_systems = divergences(runs)
    for cell in _outputs_in_bins(of_systems):
        bins = next(iter(of_systems.values()))["bins"]
        series = {
            system: [
                Point(x, part["rate"]) for x, part in enumerate(divergence["cells"].get(cell, ()))
            ]
            for system, divergence in of_systems.items()
        }
        yield Figure(
            "lines",
            f"{cell.partition('-')[0]} error by divergence",
            "Error rate of utterances by the edit distance between their references.",
            "edit distance",
            "error %",
            series,
            ticks=[BIN_NAMES[part["bin"]] for part in bins],
            topic="divergence",
        )


def _bins(runs: Mapping[str, Run], caveats: list[str]) -> Iterator[Table]:
    of_systems = divergences(runs)
    if not of_systems:
        return
    first = next(iter(of_systems.values()))
    reference, compared = first["between"]
    unit = "phones" if first["metric"] == "per" else "characters"
    rows = [
        [cell.partition("-")[0], system]
        + [with_interval(part["rate"], part["interval"]) for part in divergence["cells"][cell]]
        for cell in _outputs_in_bins(of_systems)
        for system, divergence in of_systems.items()
        if cell in divergence["cells"]
    ]
    shares = [
        f"{BIN_NAMES[part['bin']]} ({part['utterances']} utt, {100 * part['share']:.1f} %)"
        for part in first["bins"]
    ]
    yield Table(
        "Error by divergence",
        f"Error rate by the edit distance of {compared} from {reference}, in {unit}.",
        ["output", "system", *shares],
        rows,
        text_columns=2,
        caveats=caveats,
        details=True,
        topic="divergence",
    )


def _tags(runs: Mapping[str, Run], caveats: list[str]) -> Iterator[Table]:
    columns: dict[str, Column] = {
        "system": "system",
        "output": "output",
        "tag": "tag",
        "wrong % [95 %]": lambda row: with_interval(row["rate"], row["interval"]),
        "missing": "missing",
        "invented": "invented",
        "utt": "utterances",
    }
    rows = [{**row, "system": s} for s, run in runs.items() for row in run.score.get("tags", ())]
    if rows:
        sentence = "Utterances whose tag is wrong or missing, in percent."
        table = tabulate(columns, rows)
        yield Table("Tags in transcripts", sentence, *table, text_columns=3, caveats=caveats)


# -- cost and data


def duration(seconds: float) -> str:
    """Return a duration as text.

    >>> duration(75), duration(12.3), duration(7322)
    ('1 min 15 s', '12.3 s', '2 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


_Facts = Mapping[str, tuple[str, Callable[[Any], str]]]
_TRAINING: _Facts = {
    "parameters": ("parameters", "{:,}".format),
    "epochs": ("epochs", str),
    "seconds": ("training time", duration),
}
_DECODING: _Facts = {
    "beam": ("beam", str),
    "audio_seconds": ("audio decoded", duration),
    "seconds": ("decoding time", duration),
    "rtf": ("real-time factor", "{:.3f}".format),
}


def cost_section(language: Language) -> Section | None:
    """Return what training and decoding took; None if no training or decoding tells."""
    tables = [table for name in language.sets for table in _costs(language, name)]
    return Section("Cost", items=tables, topic="data") if tables else None


def _costs(language: Language, name: str) -> Iterator[Table]:
    runs = language.sets[name]
    decodings = {system: _decoding(run) for system, run in runs.items()}
    columns = []
    for facts, source in ((_TRAINING, language.trainings), (_DECODING, decodings)):
        for key, (label, text) in facts.items():
            values = [source.get(system, {}).get(key) for system in runs]
            if any(isinstance(value, int | float) for value in values):
                texts = [text(v) if isinstance(v, int | float) else "–" for v in values]
                columns.append((label, texts))
    if columns:
        yield Table(
            f"Cost of training, and of decoding {name}",
            "The machine of each training and decoding is beside its command, if it was recorded.",
            ["system", *(label for label, _ in columns)],
            [[s, *(texts[i] for _, texts in columns)] for i, s in enumerate(runs)],
        )


def _decoding(run: Run) -> dict:
    """Return decode.json with the beam size, if all outputs have the same."""
    if not run.decode:
        return {}
    options = run.decode.get("options")
    outputs = options.values() if isinstance(options, Mapping) else ()
    beams = {one.get("beam_size") for one in outputs if isinstance(one, Mapping)}
    return {"beam": beams.pop() if len(beams) == 1 else None, **run.decode}


def data_section(folder: Path) -> Section | None:
    """Return the size of every set in a language's dump directory, from its tables.

    Speed-perturbed copies (`…_sp`) are left out.
    """
    sets = [
        path.parent for path in folder.glob("*/wav.scp") if not path.parent.name.endswith("_sp")
    ]
    order = {name: place for place, name in enumerate(SETS)}
    sets.sort(key=lambda path: (order.get(path.name, len(SETS)), path.name))
    outputs = sorted(
        {file.name.removeprefix("text.") for path in sets for file in path.glob("text.*")}
    )
    rows = []
    for path in sets:
        seconds = [float(value) for value in _values(path / "utt2dur")]
        labelled = [sum(v != NA for v in _values(path / f"text.{name}")) for name in outputs]
        rows.append(
            [
                path.name,
                str(len(_values(path / "wav.scp"))),
                str(len(set(_values(path / "utt2spk")))),
                f"{sum(seconds) / 3600:.2f}" if seconds else "–",
                *map(str, labelled),
            ]
        )
    if not rows:
        return None
    header = ["set", "utterances", "speakers", "hours", *(f"with {name}" for name in outputs)]
    sentence = "Utterances, speakers and hours after filtering, and utterances with each text."
    return Section("Data", items=[Table("Data sets", sentence, header, rows)], topic="data")


def _values(path: Path) -> list[str]:
    """Return the values of a Kaldi table; none for a missing file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [pair[1].strip() for line in lines if len(pair := line.split(maxsplit=1)) == 2]
