"""Findings: one record per problem that a check reports, and how a list of them is printed."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from espnet_ext.errors import UserError

ERROR = "error"  # a stage would fail, or a model would be trained on wrong data
WARNING = "warning"  # probably a mistake
NOTE = "note"  # information
# Findings printed per severity and code; the JSON report has all of them.
MAX_PRINTED = {ERROR: 20, WARNING: 3, NOTE: 1}


@dataclass(frozen=True)
class Finding:
    """One problem in one place.

    >>> print(Finding(ERROR, "no-audio", "d/wav.scp", 3, "s1-u1", "no such file: a.wav", "fix it"))
    d/wav.scp:3: error: s1-u1: no such file: a.wav [no-audio]
    """

    severity: str  # ERROR, WARNING or NOTE
    code: str  # short name of this kind of problem; the same in all versions
    file: str
    line: int  # from 1; 0: the whole file
    utt_id: str  # empty if the finding is not about one utterance
    message: str
    remedy: str
    share: str = ""  # what a report cites: "3 of 16 speakers (30 utterances)"

    def __str__(self) -> str:
        return f"{self._location}: {self.severity}: {self._subject}{self.message} [{self.code}]"

    def as_error(self) -> UserError:
        return UserError(f"{self._location}: {self._subject}{self.message}", self.remedy)

    @property
    def _location(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def _subject(self) -> str:
        return f"{self.utt_id}: " if self.utt_id else ""


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == ERROR]


def describe(findings: Iterable[Finding]) -> list[str]:
    """Return lines to print: findings by code, errors first, each with its remedy.

    >>> describe([Finding(ERROR, "bom", "text", 1, "", "begins with a BOM", "remove it")])
    ['text:1: error: begins with a BOM [bom]', '  remedy: remove it']
    """
    severities = list(MAX_PRINTED)
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: severities.index(finding.severity)):
        groups.setdefault((finding.severity, finding.code), []).append(finding)
    lines = []
    for (severity, code), group in groups.items():
        printed = group[: MAX_PRINTED[severity]]
        for remedy in dict.fromkeys(finding.remedy for finding in printed):
            lines += [str(finding) for finding in printed if finding.remedy == remedy]
            lines.append(f"  remedy: {remedy}")
        if len(group) > len(printed):
            lines.append(f"  … and {len(group) - len(printed)} more of [{code}]")
    return lines


def as_json(findings: Iterable[Finding]) -> list[dict]:
    return [asdict(finding) for finding in findings]
