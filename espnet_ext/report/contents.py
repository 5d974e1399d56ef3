"""The contents of a report: what RESULTS.md, RESULTS_details.md and report.html show, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espnet_ext.document import TOPICS, Section, Table
from espnet_ext.report import calibration, published, quick_run, scores, training_diagnostics
from espnet_ext.report.collect import Analysed, Language, Results
from espnet_ext.report.comparison import comparison_section

MAX_SENTENCES = 8  # of the summary; further findings are with their tables


@dataclass(frozen=True)
class LanguagePart:
    """The part of a report about one language.

    Args:
        headline: the main finding in one sentence.
        commands: (what it made, its provenance), in the order of the pipeline.
    """

    code: str
    name: str
    headline: str
    sections: list[Section]
    commands: list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Report:
    """Everything that a report shows.

    Args:
        summary: the most important findings, one plain sentence each.
        cells: the error rates of all systems.
        missing: result files that are missing or cannot be shown.
        not_run: analyses that could not be run, with the reason.
        systems: all systems, in order.
        caveats: limits that hold for all numbers.
    """

    title: str
    summary: list[str]
    cells: Table
    languages: list[LanguagePart]
    missing: list[str]
    provenance: Mapping[str, Any]
    systems: Sequence[str] = ()
    not_run: Sequence[str] = ()
    caveats: Sequence[str] = ()

    def by_topic(self) -> list[tuple[str, list[tuple[LanguagePart, list[Section]]]]]:
        """Return the sections of all languages by topic, in the order of `TOPICS`.

        A section is divided if its items are of several topics. Its findings and notes stay with
        its own topic.
        """
        topics = []
        for topic in TOPICS:
            parts = [
                (part, [one for s in part.sections if (one := _of_topic(s, topic))])
                for part in self.languages
            ]
            if parts := [(part, sections) for part, sections in parts if sections]:
                topics.append((topic, parts))
        return topics


def is_folded(section: Section) -> bool:
    """Return whether all that a section shows is folded."""
    sentences = [*section.summary, *section.findings, *section.notes]
    return not sentences and all(item.details for item in section.items)


def _of_topic(section: Section, topic: str) -> Section | None:
    """Return the part of a section that belongs to a topic; None if there is none."""
    default = section.topic if section.topic in TOPICS else ""
    items = [i for i in section.items if ((i.topic in TOPICS and i.topic) or default) == topic]
    if default == topic:
        return replace(section, items=items)
    return Section(section.title, items=items) if items else None


def build(
    results: Results, dump_dir: str | Path, *, quick: bool = False, with_published: bool = True
) -> Report:
    """Return the contents of a report.

    Args:
        dump_dir: the formatted data of each language.
        quick: of a quick run, from whose numbers nothing is concluded.
        with_published: show published results of Korean and English, too.
    """
    parts, summary = [], []
    for language in results.languages:
        caveats = [*results.caveats, *scores.prompt_caveats(language)]
        sections = _sections(language, Path(dump_dir), caveats, with_published)
        if quick:
            sections = [quick_run.without_conclusions(section) for section in sections]
        headlines = [section.headline for section in sections if section.headline]
        comparisons = [s.headline for s in sections if s.headline and s.topic == "differences"]
        headline = quick_run.HEADLINE if quick else next(iter([*comparisons, *headlines]), "")
        commands = _commands(language)
        parts.append(LanguagePart(language.code, language.name, headline, sections, commands))
        for section in sections:
            where = " ".join([language.name, *_set_of(section, language)])
            summary += [f"{where}: {text}" for text in section.summary]
    if len(summary) > MAX_SENTENCES:
        summary[MAX_SENTENCES:] = ["Further differences are in the tables below."]
    return Report(
        results.title,
        summary,
        scores.cells_table(results),
        parts,
        results.missing,
        results.provenance,
        results.systems,
        results.not_run,
        results.caveats,
    )


def _set_of(section: Section, language: Language) -> list[str]:
    """Return the test set in the title of a section; nothing if the language has only one set."""
    names = list(language.sets) if len(language.sets) > 1 else []
    return [name for name in names if section.title.endswith(f" on {name}")]


def _sections(
    language: Language, dump_dir: Path, caveats: list[str], with_published: bool
) -> list[Section]:
    measured = [scores.score_section(language, name, caveats) for name in language.sets]
    overviews = [comparison_section(language, name) for name in language.sets]
    measured += [section for section in overviews if section]
    measured += [_with_baselines(analysed, language.baselines) for analysed in language.analyses]
    measured += [section for name in language.sets for section in _of_decodings(language, name)]
    if diagnostics := training_diagnostics.section(language):
        measured.append(diagnostics)
    if probabilities := calibration.section(language):
        measured.append(probabilities)
    others = [
        published.section(language, caveats) if with_published else None,
        scores.cost_section(language),
        scores.data_section(dump_dir / language.code),
    ]
    sections = [_with_caveats(section, caveats) for section in measured]
    return sections + [section for section in others if section]


def _with_baselines(analysed: Analysed, baselines: Sequence[str]) -> Section:
    """Return the section of an analysis; one of hidden states says that baselines have none."""
    section = analysed.section
    if not baselines or not isinstance(analysed.content.get("models"), Mapping):
        return section
    note = f"{', '.join(baselines)}: hypotheses only, so without hidden states to analyse."
    return replace(section, notes=[*section.notes, note])


def _of_decodings(language: Language, name: str) -> list[Section]:
    """Return one section per kind of decoding result, with the systems' tables joined."""
    by_title: dict[str, list[tuple[str, Section]]] = {}
    for system, run in language.sets[name].items():
        for analysed in run.analyses:
            by_title.setdefault(analysed.section.title, []).append((system, analysed.section))
    sections = []
    for title, parts in by_title.items():
        tables: dict[tuple[str, ...], Table] = {}
        for system, section in parts:
            for table in section.tables:
                rows = [[system, *row] for row in table.rows]
                key = (table.title, *table.header)
                first = tables.setdefault(
                    key,
                    replace(
                        table,
                        header=["system", *table.header],
                        rows=[],
                        text_columns=table.text_columns + 1,
                    ),
                )
                tables[key] = replace(first, rows=[*first.rows, *rows])
        findings = [f"{system}: {text}" for system, s in parts for text in s.findings]
        figures = [figure for _, section in parts for figure in section.figures]
        items = [*figures, *tables.values()]
        topic = parts[0][1].topic
        sections.append(Section(f"{title} on {name}", findings, items, topic=topic))
    return sections


def _with_caveats(section: Section, caveats: list[str]) -> Section:
    """Return the section with the report's caveats in every table."""
    items = [
        replace(item, caveats=list(dict.fromkeys([*caveats, *item.caveats])))
        if isinstance(item, Table)
        else item
        for item in section.items
    ]
    return replace(section, items=items)


def _commands(language: Language) -> list[tuple[str, dict[str, Any]]]:
    """Return what made every number of a language."""
    commands: list[tuple[str, dict[str, Any]]] = []
    for system, made in language.trainings.items():
        commands.append((f"training of {system}", made))
        restarts = made.get("restarts", ())
        commands += [(f"training of {system}, started again", start) for start in restarts]
    for name, runs in language.sets.items():
        for system, run in runs.items():
            if run.decode:
                commands.append((f"decoding of {name} with {system}", run.decode))
            commands.append((f"scores of {system} on {name}", run.score))
            commands += [
                (f"{analysed.path.stem} of {system} on {name}", dict(analysed.content))
                for analysed in run.analyses
            ]
    commands += [
        (f"analysis {analysed.path.stem}", dict(analysed.content)) for analysed in language.analyses
    ]
    # Some files keep their provenance apart, others among their own keys.
    return [(what, {**made, **(made.get("provenance") or {})}) for what, made in commands]


def origin(made: Mapping[str, Any]) -> str:
    """Return commit, versions, machine and date of a number in one line."""
    if not any(made.get(key) for key in ("commit", "versions", "machine", "date")):
        return "commit, versions, machine and date were not recorded"
    parts = [f"commit {made['commit']}"] if made.get("commit") else []
    versions, machine = made.get("versions"), made.get("machine")
    if isinstance(versions, Mapping):
        parts.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    if isinstance(machine, Mapping):
        parts.append(f"{machine.get('cpu')}, {machine.get('cores')} cores")
        parts += [str(machine["gpu"])] if machine.get("gpu") else []
    elif machine:
        parts.append(str(machine))
    if made.get("date"):
        parts.append(str(made["date"]))
    return "; ".join(parts)
