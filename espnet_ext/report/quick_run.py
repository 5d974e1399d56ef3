"""The report of a quick run (`run.sh --quick true`): numbers, and nothing concluded from them."""

import re
from dataclasses import replace

from espnet_ext.document import Section, Table

HEADLINE = (
    "This was a quick run (--quick true): it shows that all parts work, and its numbers mean "
    "nothing."
)
_VERDICT = re.compile(r"\bp \(|^second system$")  # header of a column: p values, "better"


def without_conclusions(section: Section) -> Section:
    """Return the section without findings, p values, and words such as "better".

    >>> table = Table("Differences", "", ["a", "p (permutation)"], [["1", "0.01"]])
    >>> without_conclusions(Section("t", ["b is better."], [table])).tables[0].rows
    [['1']]
    """
    items = [_without_verdicts(i) if isinstance(i, Table) else i for i in section.items]
    return replace(section, findings=[], summary=[], headline="", items=items)


def _without_verdicts(table: Table) -> Table:
    kept = [i for i, text in enumerate(table.header) if not _VERDICT.search(text)]
    rows = [[row[i] for i in kept] for row in table.rows]
    return replace(table, header=[table.header[i] for i in kept], rows=rows)
