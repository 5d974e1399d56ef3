"""Any English text to phones: the CMU dictionary, then inflection and spelling, then a network.

A word is looked up in the dictionary (`cmudict`, and a few newer words), as a form of a word in it
(ending, possessive, parts of a hyphenated word or of one with capitals inside), spelled out if it
is an abbreviation in capitals, and otherwise read by a network (`letters`). Phones are CMU's
(ARPABET), with stress digits or without.
"""

import functools
import re
import unicodedata
from dataclasses import dataclass

from espnet_ext.errors import UserError
from espnet_ext.text import cmudict, letters, unicode
from espnet_ext.text.english_reading import spell_out
from espnet_ext.text.phones import strip_stress

LETTER_NAMES = {
    "A": "EY1",
    "B": "B IY1",
    "C": "S IY1",
    "D": "D IY1",
    "E": "IY1",
    "F": "EH1 F",
    "G": "JH IY1",
    "H": "EY1 CH",
    "I": "AY1",
    "J": "JH EY1",
    "K": "K EY1",
    "L": "EH1 L",
    "M": "EH1 M",
    "N": "EH1 N",
    "O": "OW1",
    "P": "P IY1",
    "Q": "K Y UW1",
    "R": "AA1 R",
    "S": "EH1 S",
    "T": "T IY1",
    "U": "Y UW1",
    "V": "V IY1",
    "W": "D AH1 B AH0 L Y UW0",
    "X": "EH1 K S",
    "Y": "W AY1",
    "Z": "Z IY1",
}
# In capitals among small letters, these are abbreviations although words are spelled like them
_SPELLED = frozenset(
    ("AC", "AI", "AM", "CD", "DC", "DJ", "EU", "ID", "IQ", "IT", "MC", "OS", "PA", "PC", "PE", "PM")
    + ("TV", "UN", "US", "WHO")
)
# Words that are younger than the dictionary, transcribed by hand
_NEWER = {
    "airbnb": "EH2 R B IY2 AH0 N B IY1",
    "chatgpt": "CH AE2 T JH IY2 P IY2 T IY1",
    "covid": "K OW1 V IH0 D",
    "emoji": "IH0 M OW1 JH IY0",
    "https": "EY2 CH T IY2 T IY2 P IY2 EH1 S",
    "iot": "AY2 OW2 T IY1",
    "openai": "OW2 P AH0 N EY2 AY1",
    "tiktok": "T IH1 K T AA2 K",
    "vlog": "V L AA1 G",
    "www": "D AH2 B AH0 L Y UW0 D AH2 B AH0 L Y UW0 D AH1 B AH0 L Y UW0",
}
_CAMEL = re.compile(r"[A-Z]{2,}(?:'?s)?(?![a-z])|[A-Z](?![a-z])|[A-Z]?[a-z]+(?:'[a-z]+)*")
_VOICELESS, _SIBILANT = ("P", "T", "K", "F", "TH"), ("S", "Z", "SH", "ZH", "CH", "JH")
_LETTER = re.compile(r"[A-Za-z]\.")
_BETWEEN = re.compile(
    r"(?:[\s,;:!?\"“”()\[\]{}<>…—–/\\|*#~^_`«»]|(?<!\b[A-Za-z])\.|\.(?=[^\s,;:!?)\"”]))+"
)
DICTIONARY, FORM, SPELLED, NETWORK = "dictionary", "form", "spelled", "network"


@dataclass(frozen=True)
class Spoken:
    """A word with its pronunciations (phones with stress, the usual first) and their source."""

    word: str
    variants: tuple[str, ...]
    source: str  # dictionary, form, spelled, network


def words(text: str) -> list[str]:
    """The words that a text is spoken as; UserError names what cannot be spoken.

    >>> words("It's 5 o'clock — TV time!")
    ["It's", 'five', "o'clock", 'TV', 'time']
    """
    unicode.check_symbols(text, ("Nd",))  # before they are read as numbers
    plain = spell_out(unicode.audible(text))
    unicode.check_symbols(plain)
    plain = "".join(" , " if _is_pause(char) else char for char in plain)
    found = []
    for token in _BETWEEN.split(plain):
        word = token if _LETTER.fullmatch(token) else token.strip("'-‐‑")
        if token.startswith("'") and token.lower() in cmudict.lexicon():
            word = token  # 'cause
        word = word.replace("‐", "-").replace("‑", "-")
        if not word:
            continue
        bare = "".join(
            c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c)
        )
        if not re.fullmatch(r"[A-Za-z'-]+|[A-Za-z]\.", bare):
            raise UserError(
                f"cannot pronounce '{word}' in {text!r}: not English letters",
                "spell it out in English, or remove it",
            )
        found.append(bare)
    return found


def _is_pause(char: str) -> bool:
    """Punctuation of any script; that of words (‐, ‑) and of ASCII is dealt with elsewhere."""
    return not char.isascii() and char not in "‐‑" and unicodedata.category(char)[0] == "P"


@functools.lru_cache(maxsize=200_000)
def spoken(word: str) -> Spoken:
    """A word's pronunciations, wherever they come from; case matters only for abbreviations.

    >>> spoken("tomato").variants
    ('T AH0 M EY1 T OW2', 'T AH0 M AA1 T OW2')
    >>> spoken("BBQs").variants, spoken("BBQs").source
    (('B IY1 B IY1 K Y UW1 Z',), 'spelled')
    """
    known = cmudict.lexicon()
    low = word.lower()
    capitals = re.fullmatch(r"([A-Z]{2,6})(s|'s)?", word)
    if low in _NEWER:
        return Spoken(word, (_NEWER[low],), DICTIONARY)
    if (singular := re.sub("'?s$", "", low)) in _NEWER:
        return Spoken(word, (_with_s(_NEWER[singular]),), FORM)
    if capitals and capitals[1] in _SPELLED:
        return Spoken(word, _named(capitals[1], capitals[2]), SPELLED)
    if len(word) == 1 and word.isupper() and word not in "AI":
        return Spoken(word, (LETTER_NAMES[word],), SPELLED)
    if low in known:
        return Spoken(word, known[low], DICTIONARY)
    if capitals and len(capitals[1]) <= 5 and not _form(capitals[1].lower()):
        return Spoken(word, _named(capitals[1], capitals[2]), SPELLED)
    if made := _form(low):
        return Spoken(word, made, FORM)
    if "-" in low:
        parts = [spoken(part) for part in word.split("-") if part]
        source = NETWORK if any(part.source == NETWORK for part in parts) else FORM
        return Spoken(word, (" ".join(part.variants[0] for part in parts),), source)
    if made := _camel(word):
        return Spoken(word, (made,), FORM)
    read = " ".join(letters.reader().read(low.replace("'", "")))
    return Spoken(word, (read or _named(low.upper(), None)[0],), NETWORK)


def _camel(word: str) -> str | None:
    """ChatGPT as Chat and the letters G P T, PayPal as Pay and Pal; None for any other word.

    Names such as LaBeouf, whose parts are no words, are not divided.
    """
    parts = _CAMEL.findall(word)
    if len(parts) < 2 or "".join(parts) != word:
        return None
    said, letters_inside = [], False
    for part in parts:
        found = re.fullmatch(r"([A-Z]{2,})('?s)?", part)
        if found:
            letters_inside = True
            said.append(_named(found[1], found[2])[0])
        else:
            said.append(
                _named(part.upper(), None)[0] if len(part) == 1 else spoken(part).variants[0]
            )
    known = all(spoken(part).source != NETWORK for part in parts if len(part) > 1)
    return " ".join(said) if letters_inside or known else None


def _named(capitals: str, plural: str | None) -> tuple[str, ...]:
    said = " ".join(LETTER_NAMES[letter] for letter in capitals if letter in LETTER_NAMES)
    return (_with_s(said) if plural else said,)


def _with_s(phones: str) -> str:
    last = phones.split()[-1]
    return phones + (" IH0 Z" if last in _SIBILANT else " S" if last in _VOICELESS else " Z")


def _with_d(phones: str) -> str:
    last = phones.split()[-1]
    voiceless = last in _VOICELESS or last in ("S", "SH", "CH")
    return phones + (" IH0 D" if last in ("T", "D") else " T" if voiceless else " D")


_CONTRACTIONS = {
    "'ll": " AH0 L",
    "'ve": " V",
    "'re": " ER0",
    "'d": " D",
    "n't": " AH0 N T",
    "'m": " M",
}


def _form(word: str) -> tuple[str, ...] | None:
    """The word as an inflected or derived form of one in the dictionary, or None."""
    known = cmudict.lexicon()
    for ending, phones in _CONTRACTIONS.items():
        if word.endswith(ending) and word[: -len(ending)] in known:
            return tuple(base + phones for base in known[word[: -len(ending)]])
    if word.endswith("'s") or word.endswith("s'"):
        bases = [word[:-2] if word.endswith("'s") else word[:-1]]
        stem = bases[0]
        if stem in known:
            base = known[stem]
            return base if word.endswith("s'") else tuple(map(_with_s, base))
    for ending, restored, add in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            base = word[: -len(ending)] + restored
            doubled = len(base) > 3 and base[-1] == base[-2] and base[:-1] in known
            for candidate in (base, base[:-1] if doubled and not restored else ""):
                if candidate in known:
                    return tuple(map(add, known[candidate]))
    return None


_ENDINGS = (
    ("ies", "y", _with_s),
    ("es", "", _with_s),
    ("s", "", _with_s),
    ("ied", "y", _with_d),
    ("ed", "", _with_d),
    ("ed", "e", _with_d),
    ("ing", "", lambda p: p + " IH0 NG"),
    ("ing", "e", lambda p: p + " IH0 NG"),
    ("ness", "", lambda p: p + " N AH0 S"),
    ("less", "", lambda p: p + " L AH0 S"),
    ("ly", "", lambda p: p + (" IY0" if p.split()[-1] == "L" else " L IY0")),
)


def pronounce(text: str, stress: bool = False) -> str:
    """The phones of a text, words joined without a boundary; with stress digits if asked for.

    >>> pronounce("I'd like 2 tickets")
    'AY D L AY K T UW T IH K AH T S'
    """
    return " ".join(phones for word in words(text) for phones in phones_of(word, stress)[:1])


def phones_of(word: str, stress: bool = False) -> list[str]:
    """All pronunciations of one word, each a phone text.

    >>> phones_of("either")
    ['IY DH ER', 'AY DH ER']
    """
    plain = (
        one if stress else " ".join(map(strip_stress, one.split())) for one in spoken(word).variants
    )
    return list(dict.fromkeys(plain))
