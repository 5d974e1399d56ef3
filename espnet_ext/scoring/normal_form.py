"""The form in which references and hypotheses are compared: one rule for both sides.

1. Every text is normalised (`text.unicode.normalize`): NFC, full-width and half-width characters,
   invisible marks, single spaces.
2. Phones (token type `phone`) lose the stress digits of the CMU dictionary: `AH0` becomes `AH`.
   Other symbols, lower-case phones among them, stay.
3. Non-linguistic symbols such as `<noise>` are removed if they are listed, as in ESPnet's scoring.

`Changes` counts the texts that the rule changed, so that no change is silent. Texts can be brought
to the form one at a time (`FileChanges`), or all of a file at once (`Changes.apply`).
"""

import dataclasses
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from espnet_ext.data.directory import text_files
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import normalized
from espnet_ext.progress import say
from espnet_ext.text.phones import is_phone, strip_stress

PHONE = "phone"
CANONICAL = "canonical"
_CASES = {"lower": str.islower, "upper": str.isupper}


def comparison_form(text: str, token_type: str, symbols: Sequence[str] = ()) -> str:
    """Return a text as it is compared with others. The function is idempotent.

    Args:
        symbols: non-linguistic symbols, which are removed.

    >>> comparison_form("\\uff34\\uff36 on", "char"), comparison_form("HH AH0 L OW1", "phone")
    ('TV on', 'HH AH L OW')
    """
    for symbol in symbols:
        text = text.replace(symbol, "")
    text = normalized(text)
    if token_type == PHONE and any(digit in text for digit in "012"):
        return " ".join(map(_without_stress, text.split()))
    return text


def _without_stress(symbol: str) -> str:
    plain = strip_stress(symbol)
    return plain if is_phone(plain) else symbol


@dataclass
class FileChanges:
    """Brings the texts of one file to the form for comparison, and counts what that changes."""

    name: str  # of the file, for the count and messages
    token_type: str
    symbols: Sequence[str] = ()  # non-linguistic symbols
    texts: int = 0
    changed: int = 0
    first_changed: str = ""  # utterance
    empty: int = 0  # texts that are empty in this form
    first_empty: str = ""  # utterance
    phones: set[str] = field(default_factory=set)  # different phones of more than one letter

    def apply(self, utt_id: str, text: str) -> str:
        """Return a text in the form for comparison."""
        compared = comparison_form(text, self.token_type, self.symbols)
        self.texts += 1
        if compared != text:
            self.changed += 1
            self.first_changed = self.first_changed or utt_id
        if not compared:
            self.empty += 1
            self.first_empty = self.first_empty or utt_id
        if self.token_type == PHONE:
            self.phones.update(symbol for symbol in compared.split() if len(symbol) > 1)
        return compared

    def report_empty(self) -> None:
        """Print how many texts are empty, which are references."""
        if self.empty:
            say(
                f"note: {self.name}: {self.empty} of {self.texts} references are empty (the first "
                f"is {self.first_empty}); all tokens of their hypotheses count as insertions"
            )


@dataclass
class Changes:
    """Counts the texts that `comparison_form` changed, per file."""

    counts: dict[str, int] = field(default_factory=dict)  # name → changed texts, if there are any
    symbols: Sequence[str] = ()  # non-linguistic symbols
    _cases: dict[str, str] = field(default_factory=dict)  # case → name of the first texts with it

    def apply(self, name: str, texts: Mapping[str, str], token_type: str) -> dict[str, str]:
        """Return utterance → text in the form for comparison, and print how many were changed.

        Args:
            name: what the texts are, for the count and the message.
        """
        file = self.file(name, token_type)
        compared = {utt_id: file.apply(utt_id, text) for utt_id, text in texts.items()}
        self.report(file)
        return compared

    def file(self, name: str, token_type: str) -> FileChanges:
        """Return an object that brings the texts of a file to this form, one at a time."""
        return FileChanges(name, token_type, self.symbols)

    def report(self, file: FileChanges) -> None:
        """Print how many texts of a file were changed, and keep the number."""
        if file.changed:
            self.counts[file.name] = file.changed
            say(
                f"note: {file.name}: {file.changed} of {file.texts} texts were normalised for "
                f"scoring (the first is {file.first_changed})"
            )
        self._compare_case(file.name, file.phones)

    def _compare_case(self, name: str, phones: Set[str]) -> None:
        """Warn, once, if phones are in lower case in some texts and in upper case in others.

        Phones of one letter are not considered: X-SAMPA uses both s and S.
        """
        if len(self._cases) == len(_CASES):
            return
        for case, in_case in _CASES.items():
            if any(in_case(phone) and is_phone(strip_stress(phone.upper())) for phone in phones):
                self._cases.setdefault(case, name)
        if len(self._cases) == len(_CASES):
            say(
                f"warning: {self._cases['lower']} has phones in lower case, and "
                f"{self._cases['upper']} in upper case: they count as different phones\n"
                "  remedy: write the phones of all files in upper case"
            )


def token_type_of(kind: str, token_types: Mapping[str, str]) -> str:
    """Return the token type of a kind of text, or "" if it has none.

    Canonical forms are written like the surface.

    >>> token_type_of("canonical", {"surface": "phone"})
    'phone'
    """
    return token_types.get("surface" if kind == CANONICAL else kind, "")


def normalise_references(
    utterances: Mapping[str, Utterance],
    token_types: Mapping[str, str],
    data: str | Path,
    changes: Changes,
) -> dict[str, Utterance]:
    """Return utterances with their texts in the form for comparison.

    Prints how many texts of which file were changed, and how many are empty.

    Args:
        utterances: the utterances of `data` by id.
        token_types: kind → token type.
        data: their data directory, for messages.
    """
    files = text_files(data)
    texts: dict[str, dict[str, str]] = {utt_id: {} for utt_id in utterances}
    for kind in dict.fromkeys(kind for item in utterances.values() for kind in item.texts):
        file = changes.file(str(files[kind]), token_type_of(kind, token_types))
        for utt_id, item in utterances.items():
            if kind in item.texts:
                texts[utt_id][kind] = file.apply(utt_id, item.texts[kind])
        changes.report(file)
        file.report_empty()
    return {i: dataclasses.replace(item, texts=texts[i]) for i, item in utterances.items()}
