"""report.html: one self-contained page; no scripts, nothing fetched, everything escaped."""

from collections.abc import Mapping, Sequence

from espnet_ext.report import (
    beside,
    diagnostics,
    facts,
    inside,
    page_tasks,
    published,
    sections,
)
from espnet_ext.report.collect import Language, Results
from espnet_ext.report.markup import Markup, element, join
from espnet_ext.report.style import CSS

# The page may show what it carries and nothing else, even if something slipped through escaping.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def report_page(
    results: Results, examples: Mapping[str, Sequence[tuple]] | None = None, lang: str = "en"
) -> str:
    """The page; `examples` holds per language code (Example, audio data URI or None)."""
    examples = examples or {}
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", results.title),
        element("style", Markup(CSS)),
    )
    body = element(
        "body",
        _header(results),
        element(
            "main",
            [_language(one, examples.get(one.code, ())) for one in results.languages],
            _published(results),
            _commands(results),
        ),
        _footer(results),
    )
    return "<!DOCTYPE html>\n" + element("html", head, "\n", body, lang=lang) + "\n"


def _header(results: Results) -> Markup:
    links = [(one.code, one.name) for one in results.languages]
    links += [("published", "Published figures"), ("commands", "How it was made")]
    missing = None
    if results.missing:
        missing = element(
            "div",
            element("strong", "Not there, and so not shown"),
            element("ul", [element("li", item) for item in results.missing]),
            class_="notice",
        )
    return element(
        "header",
        element("h1", results.title),
        element(
            "p",
            "What second-language speakers said, what they meant, and how well each system writes "
            "down both. Error rates are in percent, with 95\u202f% intervals of a bootstrap over "
            "speakers.",
            class_="lead",
        ),
        element(
            "nav",
            element("ul", [element("li", element("a", t, href=f"#{i}")) for i, t in links]),
            aria_label="Contents",
        ),
        missing,
    )


def _language(language: Language, examples: Sequence[tuple]) -> Markup:
    parts: list = [element("h2", language.name), sections.corpus(language)]
    for name, runs in language.sets.items():
        several = f", {name}" if len(language.sets) > 1 else ""
        parts += [
            sections.cells(language, runs, several),
            sections.divergence(runs, several),
            sections.cross(language, name, several),
            sections.mispronunciations(language, runs, several),
        ]
    parts += [inside.section(language), inside.probes(language), inside.swaps(language)]
    parts.append(diagnostics.section(language))
    parts += [page_tasks.section(language)]
    parts.append(sections.examples(examples))
    for runs in language.sets.values():
        parts.append(sections.effort(language, runs))
    return element("section", parts, id=language.code)


def _published(results: Results) -> Markup | None:
    codes = [one.code for one in results.languages if one.code in published.CKA]
    if not codes:
        return None
    names = {one.code: one.name for one in results.languages}
    heads = [f"{names[code]} {kind}" for code in codes for kind in ("surface", "meaning")]
    rows = [
        [system, *(f"{value:.2f}" for code in codes for value in rates[code])]
        for system, rates in published.ERROR_RATES.items()
    ]
    return element(
        "section",
        element("h2", "Published figures"),
        element(
            "p",
            f"{published.SOURCE}, as secondary sources report them. Other speakers, other amounts "
            "of data, larger models: the direction of a difference can be compared, its size can "
            "not. English surface is characters there and phones here.",
        ),
        sections.table(["system", *heads], rows),
        [
            join(
                [
                    element("h3", f"{one.name}: ours beside them"),
                    beside.figure(one),
                    sections.table(beside.HEADS, beside.rows(one), label="ours and published"),
                ]
            )
            for one in results.languages
            if one.code in codes
        ],
        id="published",
    )


def _commands(results: Results) -> Markup:
    parts = [element("h2", "How it was made")]
    for language in results.languages:
        parts.append(element("h3", language.name))
        seen = set()
        for runs in language.sets.values():
            for what, value in facts.commands(language, runs):
                if (what, value.get("command")) not in seen:
                    seen.add((what, value.get("command")))
                    parts.append(_made(what, value))
    return element("section", parts, id="commands")


def _made(what: str, value: Mapping) -> Markup:
    return element(
        "div",
        element("p", what),
        element("pre", element("code", value.get("command") or "command not recorded")),
        element("p", facts.origin(value), class_="facts"),
        class_="made",
    )


def _footer(results: Results) -> Markup:
    return element("footer", join([_made("This page", results.provenance)]), class_="facts")
