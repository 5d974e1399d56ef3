"""Markdown: RESULTS.md (one page) and RESULTS_details.md (everything else)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from espnet_ext.document import Section, Table
from espnet_ext.report.contents import Report, origin

HOW_MADE = "## How this file was made"
DETAILS = ": details"  # end of the title of RESULTS_details.md


def is_results_page(text: str) -> bool:
    """Return whether a text was written by `results_page`."""
    return HOW_MADE in text.splitlines()


def is_details_page(text: str) -> bool:
    """Return whether a text was written by `details_page`."""
    title = text.partition("\n")[0]
    return title.startswith("# ") and title.endswith(DETAILS)


def results_page(report: Report, details: str, page: str) -> str:
    """Return RESULTS.md: findings, the main ones first, error rates, tables that are not details.

    Args:
        details, page: names of the details file and of the HTML page, for links.
    """
    lines = [f"# {plain(report.title)}", "", *_listed("Missing, and so not shown:", report.missing)]
    for part in report.languages:
        lines += [f"**{plain(part.name)}.** {plain(part.headline)}", ""] if part.headline else []
    if report.caveats and any(part.headline for part in report.languages):
        lines += [f"_Limits: {plain('; '.join(report.caveats))}._", ""]
    if report.summary:
        lines += [*(f"- {plain(text)}" for text in report.summary), ""]
    lines += ["## Error rates", "", *_table(report.cells)]
    for part in report.languages:
        tables = [(s.title, t) for s in part.sections for t in s.tables if not t.details]
        titles = [table.title for _, table in tables]
        lines += [f"## {plain(part.name)}", ""]
        for section_title, table in tables:
            several = f" ({section_title})" if titles.count(table.title) > 1 else ""
            lines += [f"### {plain(table.title + several)}", "", *_table(table)]
        more = [s.title for s in part.sections if s.findings or s.figures or _has_details(s)]
        lines += [f"More in [{details}]({details}) and {page}: {plain('; '.join(more))}.", ""]
    lines += _listed("Not analysed:", report.not_run)
    lines += [HOW_MADE, "", *_command("this file", report.provenance)]
    lines += [
        "",
        f"The command, commit and machine behind each number are in [{details}]({details}), "
        "where recorded.",
    ]
    return _joined(lines)


def _has_details(section: Section) -> bool:
    return any(table.details for table in section.tables)


def details_page(report: Report) -> str:
    """Return RESULTS_details.md: all findings, the tables that are details, and commands."""
    lines = [f"# {plain(report.title)}{DETAILS}", ""]
    lines += _listed("Missing, and so not shown:", report.missing)
    lines += _listed("Not analysed:", report.not_run)
    for part in report.languages:
        lines += [f"## {plain(part.name)}", ""]
        for section in part.sections:
            tables = [table for table in section.tables if table.details]
            lines += _section(section, tables, "###")
        lines += [f"### Commands, {plain(part.name)}", ""]
        for what, made in part.commands:
            lines += _command(what, made)
        lines.append("")
    return _joined(lines)


def section_markdown(section: Section) -> str:
    """Return a section's findings, tables and notes; figures are left out."""
    return _joined(list(_section(section, section.tables, "#")))


def _section(section: Section, tables: Sequence[Table], level: str) -> Iterator[str]:
    sentences = [*section.summary, *section.findings]
    if not (sentences or tables or section.notes):
        return
    yield from (f"{level} {plain(section.title)}", "")
    if sentences:
        yield from (*(f"- {plain(text)}" for text in sentences), "")
    for table in tables:
        yield from (f"{level}# {plain(table.title)}", "", *_table(table))
    if section.notes:
        yield from (*(f"- {plain(text)}" for text in section.notes), "")


def _listed(heading: str, texts: Sequence[str]) -> list[str]:
    return [heading, "", *(f"- {plain(text)}" for text in texts), ""] if texts else []


def _command(what: str, made: Mapping[str, Any]) -> Iterator[str]:
    command = _code(made["command"]) if made.get("command") else "command not recorded"
    yield f"- {plain(what)}: {command}"
    yield f"  - {plain(origin(made))}"


def _table(table: Table) -> Iterator[str]:
    """Yield the sentence, then the table with its caveats as its last rows."""
    if table.sentence:
        yield from (plain(table.sentence), "")
    empty = [""] * (len(table.header) - 1)
    yield from _rows(table.header, [*table.rows, *([f"_{c}_", *empty] for c in table.caveats)])
    yield ""


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(plain(cell) for cell in header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(plain(cell) for cell in row) + " |"


def plain(text: str) -> str:
    """Return text that can break neither a table nor the page that renders it."""
    text = " ".join(str(text).split()).replace("|", "\\|")
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    return "`" + " ".join(str(text).split()).replace("`", "'") + "`"


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"
