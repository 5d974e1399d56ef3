"""Recognise outputs that are English phones, and write them as the 39 phones of the CMU dictionary.

Read without doubt: stress digits (`AO1`), lower case (`ao`), position marks of Kaldi (`AO1_B`), AX
as AH, IPA symbols with one phone each (`θ`, `tʃ`, `iː`), and labels of silence (`SIL`, `SP`), which
are removed. Symbols with several readings are not guessed: `e` or `ɒ` of the IPA, the mixed case of
`Th`, and symbols of larger sets (`axr`, `dx`).

An output is phones if at least 80 % of its tokens are, with at least 3 different phones. Words,
spelled letters and larger phone sets are below that. A meaning is never phones.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from espnet_ext.corpora.preparation import Report
from espnet_ext.corpora.transcripts import NEAREST, UNIDENTIFIED
from espnet_ext.data.record import Utterance
from espnet_ext.text.phones import IPA, is_joined, is_phone, is_vowel

MODES = ("cmu", "keep")  # of the option --phones: normalise, or keep the symbols as written
MIN_SHARE = 0.8  # of the tokens of an output of phones
MIN_PHONES = 3  # different ones
NOTED_SHARE = 0.5  # from this share on, the report notes that the other tokens are not phones
REMEDY = (
    "write the 39 phones of the CMU dictionary (AA, AE, ..., ZH), or keep the symbols as they are: "
    "--phones keep"
)

_CMU = re.compile(r"([A-Z]+|[a-z]+)([012]?)(_[BIES])?")
_SILENCES = ("SIL", "SP")
_ALIGNMENT_MARKS = ("spn", "nsn", "<eps>", "<sil>", "<unk>", "[sil]", "|", "#", "+")
_IPA_MARKS = str.maketrans("", "", "ˈˌː'͜͡ˑ\u032f")  # stress, length, ties, non-syllabic
# Symbols beyond those of `text.phones.IPA` that stand for one English phone.
_IPA_VARIANTS = {
    "ə": "AH",
    "ɜ": "ER",
    "ɚ": "ER",
    "əʊ": "OW",
    "ou": "OW",
    "ei": "EY",
    "ai": "AY",
    "au": "AW",
    "ɔi": "OY",
    "g": "G",
    "r": "R",
    "ʧ": "CH",
    "ʤ": "JH",
}
_IPA_PHONES = {symbol: phone for phone, symbol in IPA.items()} | _IPA_VARIANTS
_ONLY_IPA = re.compile("[\u00e6\u00f0\u014b\u03b8\u0250-\u02af]")  # letters that ARPABET lacks

STRESS = "phones with a stress digit or position mark (AO1, AO_B), read as the phone"
CASE = "phones in lower case, read as the phone"
NEAR = "phones AX, read as AH"
SYMBOLS = "IPA symbols, read as the phone"
SILENCE = "labels of silence (SIL, SP) among phones, removed"


def read_arpabet(symbol: str) -> tuple[str | None, str]:
    """Return the phone of a symbol of ARPABET, and how it was normalised.

    Returns:
        The phone: "" for silence, None for a symbol that is not understood. The second item is the
        description of the change for the report, or "".

    >>> read_arpabet("AO1")[0], read_arpabet("ao")[0], read_arpabet("Th")[0], read_arpabet("sil")[0]
    ('AO', 'AO', None, '')
    """
    match = _CMU.fullmatch(symbol)
    if not match:
        return None, ""
    phone = match[1].upper()
    if phone in _SILENCES:
        return "", SILENCE
    if phone == UNIDENTIFIED:
        return UNIDENTIFIED, "" if symbol == UNIDENTIFIED else CASE
    nearest = NEAREST.get(phone, phone)
    if not is_phone(nearest) or (match[2] and not is_vowel(nearest)):
        return None, ""
    if nearest != phone:
        return nearest, NEAR
    if match[2] or match[3]:
        return phone, STRESS
    return phone, "" if symbol == phone else CASE


def read_ipa(symbol: str) -> tuple[str | None, str]:
    """Return the phone of an IPA symbol, as `read_arpabet` does.

    >>> read_ipa("ˈiː")[0], read_ipa("t͡ʃ")[0], read_ipa("e")[0], read_ipa("j")[0]
    ('IY', 'CH', None, 'Y')
    """
    if symbol.upper() in _SILENCES:
        return "", SILENCE
    phone = _IPA_PHONES.get(symbol.translate(_IPA_MARKS))
    return phone, SYMBOLS if phone else ""


@dataclass
class PhoneOutput:
    """An output as phones, or as it was if it is not phones."""

    texts: dict[str, str]  # by utterance id
    share: float = 0.0  # share of the tokens that are phones
    counts: Counter = field(default_factory=Counter)  # what was normalised
    unknown: dict[str, str] = field(default_factory=dict)  # utterance id → first unknown symbol
    is_ipa: bool = False  # the notation of the output, which has a single one
    others: list[str] = field(default_factory=list)  # most common tokens that are not phones


def normalize_output(texts: Mapping[str, str]) -> PhoneOutput:
    """Return the transcripts of an output with normalised phones, if it is phones.

    >>> normalize_output({"u1": "HH AH0 L OW1", "u2": "t uw"}).texts
    {'u1': 'HH AH L OW', 'u2': 'T UW'}
    >>> normalize_output({"u1": "we see", "u2": "two"}).texts
    {'u1': 'we see', 'u2': 'two'}
    """
    tokens: Counter = Counter(token for text in texts.values() for token in text.split())
    # One IPA symbol in a corpus in ARPABET must not change how the rest is read.
    has_ipa = any(_ONLY_IPA.search(token) for token in tokens)
    ipa = _count_phones(tokens, read_ipa) if has_ipa else 0
    read = read_ipa if ipa > _count_phones(tokens, read_arpabet) else read_arpabet
    readings = {token: read(token) for token in tokens}
    if read is read_ipa and "ɹ" in tokens and "r" in tokens:  # then r is another sound: a trill
        readings["r"] = (None, "")
    phones = {token for token, (phone, _) in readings.items() if phone is not None}
    total = tokens.total()
    share = sum(tokens[token] for token in phones) / total if total else 0.0
    others = [token for token, _ in tokens.most_common() if token not in phones]
    different = {phone for phone, _ in readings.values() if phone}
    only_letters = read is read_arpabet and all(len(phone) == 1 for phone in different)
    if len(different) < MIN_PHONES or only_letters:  # spelled words have letters: b, k, t, ...
        share = 0.0
    if share < MIN_SHARE:
        return PhoneOutput(dict(texts), share, others=others)
    result = PhoneOutput({}, share, others=others, is_ipa=read is read_ipa)
    for utt_id, text in texts.items():
        written = []
        for token in text.split():
            phone, change = readings[token]
            if phone is None:
                result.unknown.setdefault(utt_id, token)
            if change:
                result.counts[change] += 1
            written.append(token if phone is None else phone)
        result.texts[utt_id] = " ".join(filter(None, written))
    return result


def _count_phones(tokens: Counter, read: Callable) -> int:
    """Return the number of tokens that are phones in one notation."""
    return sum(n for token, n in tokens.items() if read(token)[0] is not None)


def normalize_phones(
    utterances: Sequence[Utterance], report: Report, *, langs: Iterable[str | None] = ("en",)
) -> tuple[list[Utterance], list[tuple[str, str]]]:
    """Normalise the English phones of utterances; count the changes in the report.

    Args:
        utterances: The utterances of all sets.
        report: The report of the corpus.
        langs: Languages of the utterances whose phones are English.

    Returns:
        The utterances; and for each transcript with a symbol that is not understood, the utterance
        id and what is wrong.
    """
    english = [utterance for utterance in utterances if utterance.lang in set(langs)]
    outputs = sorted({output for one in english for output in one.texts} - {"meaning"})
    changed: dict[str, dict[str, str]] = {}  # id → output → text
    problems = []
    for output in outputs:
        texts = {one.utt_id: one.texts[output] for one in english if output in one.texts}
        result = normalize_output(texts)
        if NOTED_SHARE <= result.share < MIN_SHARE:
            report.notes.append(
                f"{output}: {100 * result.share:.0f} % of the tokens are English phones, the "
                f"others ({' '.join(result.others[:8])}) are not; the output is kept as written"
            )
        elif result.share < NOTED_SHARE and (words := _joined_phones(texts)):
            report.notes.append(
                f"{output}: has phones that are not separated by spaces ({words}); kept as "
                "written, and an error with the token type phone. Separate them to have them read"
            )
        report.counts.update({f"{output}: {what}": n for what, n in result.counts.items()})
        for utt_id, symbol in result.unknown.items():
            what = f"{output}: '{symbol}' is not one of the 39 English phones"
            problems.append((utt_id, what + _explain(symbol, result.is_ipa)))
        for utt_id, text in result.texts.items():
            if text != texts[utt_id]:
                changed.setdefault(utt_id, {})[output] = text
    if not changed:
        return list(utterances), problems
    return [_with_texts(one, changed.get(one.utt_id, {}), report) for one in utterances], problems


def _explain(symbol: str, is_ipa: bool) -> str:
    """Return why a symbol is not read in an output whose notation is the IPA or ARPABET.

    >>> _explain("iː", is_ipa=False), _explain("axr", is_ipa=False)
    (' (it is IPA, the other phones are ARPABET: use one notation)', '')
    """
    if symbol.lower() in _ALIGNMENT_MARKS:
        return " (it is a mark of an alignment: remove it, as only SIL and SP are removed)"
    is_of_other = (read_arpabet if is_ipa else read_ipa)(symbol)[0] is not None
    notation, other = ("IPA", "ARPABET") if is_ipa else ("ARPABET", "IPA")
    if is_of_other:
        return f" (it is {other}, the other phones are {notation}: use one notation)"
    return ""


def _joined_phones(texts: Mapping[str, str]) -> str:
    """Return the first token that is several phones; "" if less than half of them are."""
    tokens = Counter(token for text in texts.values() for token in text.split())
    joined = [token for token in tokens if is_joined(token)]
    many = 2 * sum(tokens[token] for token in joined) >= tokens.total()
    return joined[0] if many else ""


def normalize_upper_case_phones(utterances: Sequence[Utterance], report: Report) -> list[Utterance]:
    """Normalise outputs of utterances without a language if they are English phones for certain.

    These are outputs of which every token is an upper-case phone of ARPABET (`AO1`, `AO_B`).
    Lower-case phones and IPA may belong to another language; a note names such outputs.
    """
    without = [utterance for utterance in utterances if not utterance.lang]
    outputs = sorted({output for one in without for output in one.texts} - {"meaning"})
    changed: dict[str, dict[str, str]] = {}  # id → output → text
    for output in outputs:
        texts = {one.utt_id: one.texts[output] for one in without if output in one.texts}
        result = normalize_output(texts)
        if result.texts == texts:
            continue
        tokens = {token for text in texts.values() for token in text.split()}
        if any(token != token.upper() or read_arpabet(token)[0] is None for token in tokens):
            report.notes.append(
                f"{output}: looks like English phones in another notation, but the language is not "
                "stated; kept as written. If they are English, give --lang =en"
            )
            continue
        report.counts.update({f"{output}: {what}": n for what, n in result.counts.items()})
        for utt_id, text in result.texts.items():
            changed.setdefault(utt_id, {})[output] = text
    return [_with_texts(one, changed.get(one.utt_id, {}), report) for one in utterances]


def _with_texts(utterance: Utterance, texts: Mapping[str, str], report: Report) -> Utterance:
    """Return an utterance with other transcripts; an empty one makes the output unlabelled."""
    for output, text in texts.items():
        if not text:
            report.mark_unlabelled(utterance.utt_id, output, "only labels of silence")
    kept = {output: text for output, text in {**utterance.texts, **texts}.items() if text}
    return replace(utterance, texts=kept)
