"""report.html: one page that loads nothing but recordings; rendered by Jinja2 with autoescape.

The page carries its styles, scripts, figures and data. Its content security policy allows the
scripts and styles of this package by their hashes, and no others.
"""

import base64
import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Sequence
from itertools import count, groupby
from operator import attrgetter
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup, escape

from espnet_ext.document import TOPICS, Item, Section, Table
from espnet_ext.report.contents import Report, is_folded, origin
from espnet_ext.report.plots import svg
from espnet_ext.report.shown_utterances import Utterances

TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("style.css", "utterances.css")
SCRIPTS = (  # in the order of their use; together they are one module
    "data.js",
    "alignment.js",
    "player.js",
    "filters.js",
    "list.js",
    "detail.js",
    "browser.js",
    "page.js",
)
OWN_IDS = ("content", "findings", "examples", "utterances", "browser", "analyses", "provenance")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb]+")
_FORMULA = re.compile(r"[=@+-](?![\d.,]*\d[\d.,]*%?$)")  # a cell that a spreadsheet would compute


def is_report_page(text: str) -> bool:
    """Return whether a text was written by `report_page`."""
    return "<title>" in text and '<div class="made">' in text


def report_page(report: Report, utterances: Utterances | None = None) -> str:
    """Return the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = count()
    slugs = dict.fromkeys([*OWN_IDS, *TOPICS], 1)
    environment.filters |= {
        "cell": cell,
        "csv": csv_uri,
        "figure_rows": figure_rows,
        "groups": groups,
        "is_folded": is_folded,
        "headings": headings,
        "hangul": hangul,
        "origin": origin,
        "slug": lambda text: slug(text, slugs),
        "svg": lambda item: Markup(svg(item, f"f{next(numbers)}-", report.systems)),
    }
    css, script = _joined(STYLES), _joined(SCRIPTS)
    return environment.get_template("report.html").render(
        report=report,
        topics=TOPICS,
        utterances=utterances or Utterances(),
        policy=policy(css, script),
        css=Markup(css),
        script=Markup(script),
    )


def policy(css: str, script: str) -> str:
    """Return the content security policy of a page with this style sheet and script.

    Style attributes are allowed because the figures have them. Recordings may be files.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src-elem '{_digest(css)}'",
            "style-src-attr 'unsafe-inline'",
            "img-src data:",
            "media-src data: 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _joined(names: Sequence[str]) -> str:
    """Return the files as the text of one element, line breaks at both ends included."""
    return "\n" + "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def slug(text: str, used: dict[str, int]) -> str:
    """Return a heading's id; the second heading of the same text gets a number.

    >>> used = {}
    >>> slug("Scores on test", used), slug("Scores on test", used), slug("오류", used)
    ('scores-on-test', 'scores-on-test-2', '오류')
    """
    words = unicodedata.normalize("NFC", text).lower()
    name = re.sub(r"[^\w]+", "-", words).strip("-") or "section"
    used[name] = used.get(name, 0) + 1
    return name if used[name] == 1 else slug(f"{name}-{used[name]}", used)


def hangul(text: str) -> Markup:
    """Return text in which Korean words are marked as Korean, for fonts and screen readers.

    >>> hangul("ㅓ → ㅗ <3")
    Markup('<span lang="ko">ㅓ</span> → <span lang="ko">ㅗ</span> &lt;3')
    """
    shown, end = [], 0
    for match in _HANGUL.finditer(text):
        shown += [escape(text[end : match.start()]), f'<span lang="ko">{match[0]}</span>']
        end = match.end()
    return Markup("".join(map(str, [*shown, escape(text[end:])])))


def cell(text: str) -> Markup:
    """Return a cell with its interval on a line of its own, and `**` as bold.

    >>> cell("CER **3.29** [1.40–6.08]")
    Markup('CER\xa0<b>3.29</b><small>1.40–6.08</small>')
    """
    value, _, bounds = _unbroken(text).replace("\u00a0[", " [").partition(" [")
    parts = [hangul(part) for part in value.split("**")]
    shown = "".join(f"<b>{part}</b>" if i % 2 else part for i, part in enumerate(parts))
    return Markup(shown + f"<small>{escape(bounds.replace(']', '', 1))}</small>" * bool(bounds))


def _unbroken(text: str) -> str:
    """Return text whose parts with digits are broken into lines between parts only.

    >>> _unbroken("PER 4 [1–8], 7 of 9 utt; no canonical forms").replace("\u00a0", "_")
    'PER_4_[1–8], 7_of_9_utt; no canonical forms'
    """
    parts = re.split(r"([,;] )", text)
    return "".join(
        part.replace(" ", "\u00a0") if re.search("[0-9]", part) else part for part in parts
    )


def csv_uri(table: Table) -> str:
    """Return a table as CSV in a data URI; a cell that a spreadsheet would compute is quoted.

    >>> csv_uri(Table("t", "", ["system", "CER"], [["do", "**3.2** [1–6]"], ["=a", "-1"]]))
    'data:text/csv;charset=utf-8,system%2CCER%0D%0Ado%2C3.2%20%5B1%E2%80%936%5D%0D%0A%27%3Da%2C-1%0D%0A'
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for row in [table.header, *table.rows]:
        cells = [text.replace("**", "") for text in row]
        writer.writerow([f"'{text}" if _FORMULA.match(text) else text for text in cells])
    return "data:text/csv;charset=utf-8," + quote(buffer.getvalue(), safe="")


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
