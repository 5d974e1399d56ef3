"""RESULTS.md: every figure of an experiment as tables, with what made it."""

from collections.abc import Iterator, Mapping, Sequence

from espnet_ext.document import Section
from espnet_ext.report import (
    beside,
    cross_task,
    diagnostics,
    evidence,
    facts,
    published,
    similarity,
    tasks,
)
from espnet_ext.report.collect import Language, Results, Run
from espnet_ext.report.facts import cell_rows
from espnet_ext.report.summary import interval, percent


def section_markdown(section: Section) -> str:
    """Return a section's findings, tables and notes; figures are not for text."""
    lines = [f"# {_plain(section.title)}", ""]
    lines += [f"- {_plain(text)}" for text in [*section.summary, *section.findings]]
    for table in section.tables:
        lines += ["", f"## {_plain(table.title)}", "", _plain(table.sentence), ""]
        rows = [[f"Caveat: {text}", *[""] * (len(table.header) - 1)] for text in table.caveats]
        lines += _table(table.header, [*table.rows, *rows])
    lines += [f"- {_plain(text)}" for text in section.notes]
    return "\n".join(lines).rstrip() + "\n"


def results_markdown(results: Results) -> str:
    """The whole file."""
    lines = [f"# {_plain(results.title)}", ""]
    lines += [
        "Error rates in percent; in brackets, 95 % intervals of a bootstrap over speakers; own",
        "cells in bold. PER counts phones, CER characters with spaces, WER words. Made by the",
        "command at the end.",
        "",
    ]
    if results.missing:
        lines += ["Not there, and so not shown:", ""]
        lines += [f"- {_plain(item)}" for item in results.missing] + [""]
    lines += _glance(results)
    for language in results.languages:
        lines += _language(language)
    lines += ["## This file", "", *_origin_lines("this file", results.provenance)]
    return "\n".join(lines).rstrip() + "\n"


def _glance(results: Results) -> Iterator[str]:
    """The cells of everything in one table, which is the file's first."""
    every = {(x.name, s): runs for x in results.languages for s, runs in x.sets.items()}
    columns = list(dict.fromkeys(c["name"] for r in every.values() for _, c, _ in cell_rows(r)))
    rows = []
    for (language, name), runs in every.items():
        for system, run in runs.items():
            cells = {cell["name"]: cell for cell in run.score["cells"]}
            shown = [_glance_cell(cells[c]) if c in cells else "–" for c in columns]
            rows.append([language, name, system, *shown])
    heads = [" against ".join(column.split("-")) for column in columns]
    yield from _table(["language", "set", "system", *heads], rows)


def _glance_cell(cell: Mapping) -> str:
    figures = cell["metrics"][cell["metric"]]
    mark = "**" if cell["own"] else ""
    bounds = f" [{interval(figures['interval'])}]" if figures["interval"] else ""
    return f"{cell['metric'].upper()} {mark}{facts.rate(figures)}{mark}{bounds}"


def _language(language: Language) -> Iterator[str]:
    yield from (f"## {_plain(language.name)}", "")
    if language.corpus:
        heads = list(language.corpus[0])
        yield from _table(heads, [[str(row[h]) for h in heads] for row in language.corpus])
    for name, runs in language.sets.items():
        yield from _set(language, name, runs)
    if language.cka:
        yield from _cka(language)
    if language.probes:
        yield from _probes(language)
    if language.swaps:
        yield from _swaps(language)
    if language.diagnostics:
        yield from _diagnostics(language)
    for title, texts, heads, rows, readings in tasks.sections(language):
        yield from (f"### {_plain(language.name)}: {title}", "", *map(_plain, texts), "")
        yield from _table(heads, rows)
        yield from (*(f"- {_plain(said)}" for said in readings), *([""] if readings else []))
    yield from _published(language)
    for runs in language.sets.values():
        yield from _commands(language, runs)


def _set(language: Language, name: str, runs: Mapping[str, Run]) -> Iterator[str]:
    data = next(iter(runs.values())).score["data"]
    yield from (f"### {_plain(language.name)}, {_plain(name)}: cells", "")
    hashes = ", ".join(f"`{h[:16]}`" for h in facts.label_hashes(runs))
    size = f"{data['utterances']} utterances of {data['speakers']} speakers"
    yield from (f"{size}; SHA-256 of the labels {hashes}.", "")
    if len(facts.label_hashes(runs)) > 1:
        yield from (
            "**The systems were scored against different labels; do not compare them.**",
            "",
        )
    yield from _table(
        ["system", "hypothesis", "reference", "metric", "error %", "95 %", "utt", "left out"],
        [_cell_row(*row) for row in cell_rows(runs)],
    )
    for cell, how in facts.conversions(runs).items():
        yield f"- `{cell}` compares phones with phones: {how}."
    yield ""
    yield from _divergence(runs)
    yield from _cross(language, name)
    heads, rows = facts.mdd_rows(runs)
    if rows:
        yield from ("Mispronunciation detection and diagnosis from the surface (percent):", "")
        yield from _table(heads, rows)
    heads, rows = facts.rating_rows(runs)
    if rows:
        yield from (
            "Deviations per canonical unit against human scores (95 % intervals over speakers; the "
            "annotation's own coefficient is about what can be had):",
            "",
        )
        yield from _table(heads, rows)
    heads, rows = facts.run_facts(language, runs)
    if rows:
        yield from ("Training and decoding:", "")
        yield from _table(heads, rows)


def _cell_row(system: str, cell: Mapping, figures: Mapping) -> list[str]:
    mark = "**" if cell["own"] else ""
    return [
        system,
        cell["hypothesis"],
        cell["reference"],
        cell["metric"].upper(),
        f"{mark}{facts.rate(figures)}{mark}",
        interval(figures["interval"]),
        str(cell["utterances"]),
        facts.left_out(cell) or "–",
    ]


def _cross(language: Language, name: str) -> Iterator[str]:
    """The cross-task evaluation of a set."""
    if name not in language.cross:
        return
    for block in cross_task.blocks(language.cross[name]):
        yield from (f"#### {_plain(block.title)}", "")
        yield from (f"- {_plain(said)}" for said in block.readings)
        yield from ("", _plain(block.note), "")
        yield from _table(block.heads, block.rows)
    if lacks := cross_task.lacking(language.cross[name]):
        yield from (*(f"- {_plain(said)}" for said in lacks), "")


def _divergence(runs: Mapping[str, Run]) -> Iterator[str]:
    divergence = facts.divergence_bins(runs)
    if divergence is None:
        return
    between, said = divergence["between"]
    unit = "phones" if divergence["metric"] == "per" else "characters"
    yield from (f"Error by divergence (edit distance of {said} from {between}, in {unit}):", "")
    shares = [
        f"{facts.BIN_NAMES[b['bin']]} ({b['utterances']} utt, {100 * b['share']:.1f} %)"
        for b in divergence["bins"]
    ]
    rows = [
        [output, system, *(facts.rate_text(b) for b in bins)]
        for output, system, bins in facts.divergence_rows(runs)
    ]
    yield from _table(["output", "system", *shares], rows)


def _cka(language: Language) -> Iterator[str]:
    cka = language.cka
    yield from (f"### {_plain(language.name)}: what the systems share inside, layer by layer", "")
    yield f"Linear CKA over {cka['utterances']} utterances, {cka['frames']} frames of"
    yield f"`{_plain(cka['data'])}`: encoders frame by frame. `embed` is the output of subsampling,"
    yield "0 that of the first block. Debiased: without what few rows beside wide layers add;"
    yield from ("intervals by leaving out each speaker (or each of 20 groups).", "")
    layers = similarity.layer_names(cka["pairs"])
    rows = []
    for key, note in (("cka", ""), ("debiased", ", debiased")):
        rows += [[row[0] + note, *row[1:]] for row in similarity.curve_rows(cka["pairs"], key)]
    yield from _table(["encoders", *layers], rows)
    for text, pairs in similarity.decoder_groups(cka):
        yield from (f"Decoders, {text} (debiased):", "")
        heads = ["decoders", *similarity.layer_names(pairs)]
        yield from _table(heads, similarity.curve_rows(pairs))
    heads, rows = similarity.measure_rows(cka["pairs"])
    if rows:
        count = cka["sampled"]["rows"]
        yield f"Other measures of the encoders, of {count} frames at most; interval"
        yield "by leaving out each speaker, null from other moments of the same speaker:"
        yield from ("", *_table(heads, rows))
    yield from (*(f"- {_plain(said)}" for said in similarity.readings(cka)), "")


def _probes(language: Language) -> Iterator[str]:
    yield from (f"### {_plain(language.name)}: what linear probes read off the encoders", "")
    yield "Balanced accuracy in percent by layer; the control's labels are random, fixed for each"
    yield from ("kind of row: what a probe can learn by heart.", "")
    for title, heads, rows in evidence.probe_tables(language.probes):
        yield from (f"{_plain(title[0].upper() + title[1:])}:", "", *_table(heads, rows))
    yield from (*(f"- {_plain(said)}" for said in evidence.probe_readings(language.probes)), "")


def _swaps(language: Language) -> Iterator[str]:
    swaps = language.swaps
    yield from (f"### {_plain(language.name)}: encoders exchanged", "")
    yield f"Each decoder on each encoder, {swaps['utterances']} utterances; maps fitted to"
    yield from (f"{swaps['train_utterances']} training utterances.", "")
    yield from _table(*evidence.swap_rows(swaps))
    yield from (*(f"- {_plain(said)}" for said in evidence.swap_readings(swaps)), "")


def _diagnostics(language: Language) -> Iterator[str]:
    yield from (f"### {_plain(language.name)}: while training", "")
    yield from (diagnostics.INTRODUCTION, "")
    yield from _table(*diagnostics.table_of(language))
    yield from (*(f"- {_plain(said)}" for said in diagnostics.readings(language)), "")


def _published(language: Language) -> Iterator[str]:
    code = language.code
    if not any(code in rates for rates in published.ERROR_RATES.values()):
        return
    yield from (f"### {_plain(language.name)}: published figures, for the authors' corpora", "")
    yield from (f"{published.SOURCE}; other data and models, not comparable in size.", "")
    yield from _table(
        ["system", "surface", "meaning"],
        [
            [system, *(percent(value) for value in rates[code])]
            for system, rates in published.ERROR_RATES.items()
        ],
    )
    yield from (" ".join(similarity.published_text(code)), "")
    yield from ("Ours beside them, layers by relative depth:", "")
    yield from _table(beside.HEADS, beside.rows(language))


def _commands(language: Language, runs: Mapping[str, Run]) -> Iterator[str]:
    yield from (f"### {_plain(language.name)}: commands", "")
    for what, value in facts.commands(language, runs):
        yield from _origin_lines(what, value)
    yield ""


def _origin_lines(what: str, value: Mapping) -> Iterator[str]:
    yield f"- {_plain(what)}: {_code(value.get('command', 'command not recorded'))}"
    if line := facts.origin(value):
        yield f"  - {_plain(line)}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(_plain(head) for head in heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(_plain(cell) for cell in row) + " |"
    yield ""


def _plain(text: str) -> str:
    """Text that can break neither a table nor the page it is rendered on."""
    text = " ".join(str(text).split()).replace("|", "\\|")
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    return "`" + " ".join(str(text).split()).replace("`", "'") + "`"
