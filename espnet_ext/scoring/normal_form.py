"""The form in which references and hypotheses are compared: one rule for both sides.

1. Every text is normalised (`text.unicode.normalize`): NFC, full-width and half-width characters,
   invisible marks, single spaces.
2. Phones (token type `phone`) lose the stress digits of the CMU dictionary: `AH0` becomes `AH`.
   Other symbols, lower-case phones among them, stay.
3. Non-linguistic symbols such as `<noise>` are removed if they are listed, as in ESPnet's scoring.

`Changes` counts the texts that the rule changed, so that no change is silent.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet_ext.data.directory import text_files
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import normalized
from espnet_ext.progress import say
from espnet_ext.text.phones import is_phone, strip_stress

PHONE = "phone"
CANONICAL = "canonical"


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
class Changes:
    """Counts the texts that `comparison_form` changed, per file."""

    counts: dict[str, int] = field(default_factory=dict)  # name → changed texts, if there are any
    symbols: Sequence[str] = ()  # non-linguistic symbols

    def apply(self, name: str, texts: Mapping[str, str], token_type: str) -> dict[str, str]:
        """Return utterance → text in the form for comparison, and print how many were changed.

        Args:
            name: what the texts are, for the count and the message.
        """
        compared = {
            utt_id: comparison_form(text, token_type, self.symbols)
            for utt_id, text in texts.items()
        }
        changed = [utt_id for utt_id, text in texts.items() if compared[utt_id] != text]
        if changed:
            self.counts[name] = len(changed)
            say(
                f"note: {name}: {len(changed)} of {len(texts)} texts were normalised for scoring "
                f"(the first is {changed[0]})"
            )
        return compared


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
        rows = {i: item.texts[kind] for i, item in utterances.items() if kind in item.texts}
        token_type = token_type_of(kind, token_types)
        for utt_id, text in changes.apply(str(files[kind]), rows, token_type).items():
            texts[utt_id][kind] = text
        if empty := [utt_id for utt_id in rows if not texts[utt_id][kind]]:
            say(
                f"note: {files[kind]}: {len(empty)} of {len(rows)} references are empty (the first "
                f"is {empty[0]}); all tokens of their hypotheses count as insertions"
            )
    return {i: dataclasses.replace(item, texts=texts[i]) for i, item in utterances.items()}
