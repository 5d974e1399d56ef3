"""report.html: one page without scripts that loads nothing; rendered by Jinja2 with autoescape."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from markupsafe import Markup, escape

from espnet_ext.document import Item, Section, Table
from espnet_ext.report.contents import Report, origin
from espnet_ext.report.examples import Example
from espnet_ext.report.plots import svg

TEMPLATES = Path(__file__).parent / "templates"
# The page may show what it carries and nothing else, even if something slipped through escaping.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def report_page(
    report: Report, examples: Mapping[str, Sequence[tuple[Example, str | None]]] | None = None
) -> str:
    """Return the page; `examples` has (example, audio as data URI or None) per language code."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = iter(range(1_000_000))
    environment.filters |= {
        "cell": cell,
        "figure_rows": figure_rows,
        "groups": groups,
        "headings": headings,
        "origin": origin,
        "svg": lambda item: Markup(svg(item, f"f{next(numbers)}-", report.systems)),
    }
    return environment.get_template("report.html").render(
        report=report,
        examples=examples or {},
        policy=POLICY,
        css=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
    )


def cell(text: str) -> Markup:
    """Return a cell with its interval on a line of its own, and `**` as bold.

    >>> cell("CER **3.29** [1.40–6.08]")
    Markup('CER <b>3.29</b><small>1.40–6.08</small>')
    """
    value, _, bounds = text.partition(" [")
    parts = [escape(part) for part in value.split("**")]
    shown = "".join(f"<b>{part}</b>" if i % 2 else part for i, part in enumerate(parts))
    return Markup(shown + f"<small>{escape(bounds.replace(']', '', 1))}</small>" * bool(bounds))


def groups(section: Section) -> list[tuple[bool, list[Item]]]:
    """Return runs of items that are folded together, or shown together: (folded, items)."""
    return [(folded, list(run)) for folded, run in groupby(section.items, attrgetter("details"))]


def figure_rows(items: Sequence[Item]) -> list[tuple[str, list[Item]]]:
    """Return tables one by one, and figures with the same sentence together: (sentence, items)."""

    def key(item: Item) -> tuple[str, str]:
        return item.sentence, item.title if isinstance(item, Table) else ""

    return [(sentence, list(run)) for (sentence, _), run in groupby(items, key)]


def headings(items: Sequence[Item]) -> str:
    """Return the titles of items, without what tells several of one kind apart."""
    return "; ".join(dict.fromkeys(item.title.partition(":")[0] for item in items))
