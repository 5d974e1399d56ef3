"""What checking finds: one record a finding, and how a list of them is told to the user."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from espnet_ext.errors import UserError

ERROR = "error"  # would make a stage fail, or train on what is not there
WARNING = "warning"  # is probably not meant
NOTE = "note"  # good to know
SHOWN = {ERROR: 20, WARNING: 3, NOTE: 1}  # of each kind; all of them stand in the JSON file


@dataclass(frozen=True)
class Finding:
    """One thing that checking found in one place.

    >>> print(Finding(ERROR, "no-audio", "d/wav.scp", 3, "s1-u1", "no such file: a.wav", "fix it"))
    d/wav.scp:3: error: s1-u1: no such file: a.wav [no-audio]
    """

    severity: str  # ERROR, WARNING or NOTE
    code: str  # a short name for this kind of finding, stable across versions
    file: str
    line: int  # from 1; 0: the file as a whole
    utt_id: str  # empty: not about one utterance
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        who = f"{self.utt_id}: " if self.utt_id else ""
        return f"{place}: {self.severity}: {who}{self.message} [{self.code}]"

    def as_error(self) -> UserError:
        place = f"{self.file}:{self.line}" if self.line else self.file
        who = f"{self.utt_id}: " if self.utt_id else ""
        return UserError(f"{place}: {who}{self.message}", self.remedy)


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == ERROR]


def describe(findings: Iterable[Finding]) -> list[str]:
    """Lines for the reader: findings by kind, errors first, each followed by its remedy.

    >>> describe([Finding(ERROR, "bom", "text", 1, "", "begins with a BOM", "remove it")])
    ['text:1: error: begins with a BOM [bom]', '  remedy: remove it']
    """
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: list(SHOWN).index(finding.severity)):
        kinds.setdefault((finding.severity, finding.code), []).append(finding)
    lines = []
    for kind in kinds.values():
        shown = kind[: SHOWN[kind[0].severity]]
        for remedy in dict.fromkeys(finding.remedy for finding in shown):
            lines += [str(finding) for finding in shown if finding.remedy == remedy]
            lines.append(f"  remedy: {remedy}")
        if len(kind) > len(shown):
            lines.append(f"  … and {len(kind) - len(shown)} more of [{kind[0].code}]")
    return lines


def as_json(findings: Iterable[Finding]) -> list[dict]:
    return [asdict(finding) for finding in findings]
