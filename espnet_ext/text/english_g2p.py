"""G2P for any English text: the CMU dictionary, then inflected forms, spelling, a neural network.

The pronunciation of a word comes from the first of these sources that has it:

1. `dictionary`: the CMU Pronouncing Dictionary (`cmudict`) and a few newer words.
2. `form`: an inflected form, a possessive, a hyphenated word or a CamelCase word made of words in
   the dictionary.
3. `spelled`: an abbreviation in capitals, read letter by letter.
4. `network`: a neural network that reads the letters (`neural_g2p`).

Phones are those of the CMU dictionary (ARPABET), with or without stress digits. Among several
readings of a word, the neighbouring words decide (`english_homographs`).
"""

import functools
import re
import unicodedata
from dataclasses import dataclass

from espnet_ext.errors import UserError
from espnet_ext.text import cmudict, english_homographs, neural_g2p, unicode
from espnet_ext.text.english_homographs import Token, with_s
from espnet_ext.text.english_reading import spell_out
from espnet_ext.text.number_forms import reject_ambiguous
from espnet_ext.text.phones import is_vowel, strip_stress

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
# In capitals these are abbreviations, although there are words with the same spelling
_ABBREVIATIONS = frozenset(
    ("AC", "AI", "AM", "CD", "DC", "DJ", "EU", "ID", "IQ", "IT", "MC", "OS", "PA", "PC", "PE", "PM")
    + ("TV", "UN", "US", "WHO")
)
# Words that are newer than the dictionary, transcribed by hand
_ADDED_WORDS = {
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
# Accents that distinguish words: without them, these would be other words or names
_ACCENTED_WORDS = {
    "attaché": "AE2 T AH0 SH EY1",
    "beyoncé": "B IY0 AA1 N S EY0",
    "exposé": "EH2 K S P OW0 Z EY1",
    "lamé": "L AA0 M EY1",
    "maté": "M AA1 T EY2",
    "pâté": "P AA0 T EY1",
    "piqué": "P IH0 K EY1",
    "résumé": "R EH1 Z AH0 M EY2",
    "rosé": "R OW0 Z EY1",
    "touché": "T UW0 SH EY1",
}
# Standard forms of words that the dictionary does not list: weak forms, and houses with two Z
_FURTHER_FORMS = {
    "am": ("AH0 M",),
    "are": ("ER0",),
    "at": ("AH0 T",),
    "as": ("AH0 Z",),
    "because": ("B IH0 K AH0 Z",),
    "could": ("K AH0 D",),
    "do": ("D AH0",),
    "had": ("HH AH0 D",),
    "have": ("HH AH0 V",),
    "houses": ("HH AW1 Z IH0 Z",),
    "shall": ("SH AH0 L",),
    "should": ("SH AH0 D",),
    "will": ("W AH0 L",),
    "would": ("W AH0 D",),
    "you": ("Y AH0",),
    "your": ("Y ER0",),
}
# Letters that are not decomposed into a letter and an accent
_LETTERS = str.maketrans({"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ı": "i"})
_LIGATURES = {"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe"}
_CAMEL = re.compile(r"[A-Z]{2,}(?:'?s)?(?![a-z])|[A-Z](?![a-z])|[A-Z]?[a-z]+(?:'[a-z]+)*")
_VOICELESS = ("P", "T", "K", "F", "TH", "S", "SH", "CH")
_INITIAL = re.compile(r"[A-Za-z]\.")
_WORD_SEPARATORS = re.compile(
    r"((?:[\s,;:!?\"“”()\[\]{}<>…—–/\\|*#~^_`«»]|(?<!\b[A-Za-z])\.|\.(?=[^\s,;:!?)\"”]))+)"
)
_QUOTES_OR_SPACE = re.compile(r"[\s\"“”«»*_~`^]*")  # separators that do not end a phrase
DICTIONARY, FORM, SPELLED, NETWORK = "dictionary", "form", "spelled", "network"
# How the pronunciation of a word in a sentence was chosen
ONLY, CONTEXT, COMMONER = "only", "context", "commoner"


@dataclass(frozen=True)
class WordPronunciations:
    """The pronunciations of a word."""

    word: str
    variants: tuple[str, ...]  # phones with stress digits; the most common variant first
    source: str  # DICTIONARY, FORM, SPELLED or NETWORK


@dataclass(frozen=True)
class SpokenWord:
    """A word of a sentence, and the pronunciation that was chosen for it."""

    word: str
    phones: str
    variants: tuple[str, ...]  # all pronunciations of the word
    source: str  # DICTIONARY, FORM, SPELLED or NETWORK
    # ONLY: the word has one pronunciation. CONTEXT: the neighbouring words decided.
    # COMMONER: they did not, and the most common pronunciation was chosen.
    choice: str


def words(text: str) -> list[str]:
    """Return the words that are spoken for a text.

    Raises:
        UserError: the text contains something that is not English and has no reading.

    >>> words("It's 5 o'clock — TV time!")
    ["It's", 'five', "o'clock", 'TV', 'time']
    """
    return [token.word for token in _tokens(text)]


def _tokens(text: str) -> list[Token]:
    """Return the words that are spoken for a text, see `words`."""
    unicode.reject_symbols(text, ("Nd",))  # before `spell_out`, which reads digits of any script
    reject_ambiguous(unicode.remove_silent(text))
    plain = spell_out(unicode.remove_silent(text))
    unicode.reject_symbols(plain)
    plain = "".join(_separator(char) if _is_separator(char) else char for char in plain)
    result: list[Token] = []
    after_punctuation = False
    for position, token in enumerate(_WORD_SEPARATORS.split(plain)):
        if position % 2:  # a separator
            after_punctuation |= not _QUOTES_OR_SPACE.fullmatch(token)
            continue
        word = token if _INITIAL.fullmatch(token) else token.strip("'-‐‑")
        if token.startswith("'") and token.lower() in cmudict.lexicon():
            word = token  # a word with an apostrophe of its own: 'cause
        word = word.replace("‐", "-").replace("‑", "-")
        if not word:
            continue
        accented = word.lower()
        if accented not in _ACCENTED_WORDS and re.sub("'?s$", "", accented) not in _ACCENTED_WORDS:
            ascii_word = _without_accents(word)
            if not re.fullmatch(r"[A-Za-z'-]+|[A-Za-z]\.", ascii_word):
                raise UserError(
                    f"cannot pronounce '{word}' in {text!r}: not English letters",
                    "spell it out in English, or remove it",
                )
            word = ascii_word
        result.append(Token(word, after_punctuation))
        after_punctuation = False
    return result


def _without_accents(word: str) -> str:
    word = "".join(_LIGATURES.get(char, char) for char in word.translate(_LETTERS))
    decomposed = unicodedata.normalize("NFD", word)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _separator(char: str) -> str:
    """Return an ASCII separator for non-ASCII punctuation: a quotation mark, or a comma."""
    return ' " ' if unicodedata.category(char) in ("Pi", "Pf") else " , "


def _is_separator(char: str) -> bool:
    """Return whether a character is non-ASCII punctuation other than a hyphen (‐, ‑)."""
    return not char.isascii() and char not in "‐‑" and unicodedata.category(char)[0] == "P"


@functools.lru_cache(maxsize=200_000)
def look_up(word: str) -> WordPronunciations:
    """Return the pronunciations of a word from the first source that has it.

    Case matters only for abbreviations and CamelCase words.

    >>> look_up("tomato").variants
    ('T AH0 M EY1 T OW2', 'T AH0 M AA1 T OW2')
    >>> look_up("BBQs").variants, look_up("BBQs").source
    (('B IY1 B IY1 K Y UW1 Z',), 'spelled')
    """
    lexicon = cmudict.lexicon()
    lower = word.lower()
    capitals = re.fullmatch(r"([A-Z]{2,6})(s|'s)?", word)
    added = {**_ADDED_WORDS, **_ACCENTED_WORDS}
    if lower in added:
        return WordPronunciations(word, (added[lower],), DICTIONARY)
    if (singular := re.sub("'?s$", "", lower)) in added:
        return WordPronunciations(word, (with_s(added[singular]),), FORM)
    if capitals and capitals[1] in _ABBREVIATIONS:
        return WordPronunciations(word, (_spell(*capitals.groups()),), SPELLED)
    if len(word) == 1 and word.isupper() and word not in "AI":
        return WordPronunciations(word, (LETTER_NAMES[word],), SPELLED)
    if lower in lexicon or english_homographs.readings(lower):
        return WordPronunciations(word, _variants(lower), DICTIONARY)
    if capitals and len(capitals[1]) <= 5 and not _inflect(capitals[1].lower()):
        return WordPronunciations(word, (_spell(*capitals.groups()),), SPELLED)
    if inflected := _inflect(lower):
        return WordPronunciations(word, inflected, FORM)
    if "-" in lower:
        parts = [look_up(part) for part in word.split("-") if part]
        source = NETWORK if any(part.source == NETWORK for part in parts) else FORM
        phones = " ".join(part.variants[0] for part in parts)
        return WordPronunciations(word, (phones,), source)
    if camel_case := _read_camel_case(word):
        return WordPronunciations(word, (camel_case,), FORM)
    predicted = " ".join(neural_g2p.default_model().predict(lower.replace("'", "")))
    return WordPronunciations(word, (predicted or _spell(lower.upper()),), NETWORK)


def _variants(word: str) -> tuple[str, ...]:
    """Return the pronunciations of a word in the dictionary, the most common one first."""
    lexicon = cmudict.lexicon()
    listed = _FURTHER_FORMS.get(word, ())
    if word in lexicon:
        listed = (*lexicon[word], *listed)
    if word.endswith("'s"):  # of a homograph, the dictionary has one reading only
        listed = (*listed, *map(with_s, english_homographs.readings(word[:-2])))
    return tuple(dict.fromkeys((*english_homographs.readings(word), *listed)))


def _read_camel_case(word: str) -> str | None:
    """Read ChatGPT as Chat + G P T and PayPal as Pay + Pal. Return None for any other word.

    A name is not divided if its parts are not words (LaBeouf).
    """
    parts = _CAMEL.findall(word)
    if len(parts) < 2 or "".join(parts) != word:
        return None
    phones, has_abbreviation = [], False
    for part in parts:
        if match := re.fullmatch(r"([A-Z]{2,})('?s)?", part):
            has_abbreviation = True
            phones.append(_spell(*match.groups()))
        elif len(part) == 1:
            phones.append(_spell(part.upper()))
        else:
            phones.append(look_up(part).variants[0])
    all_known = all(look_up(part).source != NETWORK for part in parts if len(part) > 1)
    return " ".join(phones) if has_abbreviation or all_known else None


def _spell(capitals: str, plural: str | None = None) -> str:
    """Return the names of letters, with the sound of a plural s if `plural` is not empty."""
    phones = " ".join(LETTER_NAMES[letter] for letter in capitals if letter in LETTER_NAMES)
    return with_s(phones) if plural else phones


def _with_d(phones: str) -> str:
    """Add the ending -ed: IH0 D after T and D, T after a voiceless phone, otherwise D."""
    last = phones.split()[-1]
    return phones + (" IH0 D" if last in ("T", "D") else " T" if last in _VOICELESS else " D")


_CONTRACTIONS = {
    "'ll": " AH0 L",
    "'ve": " V",
    "'re": " ER0",
    "'d": " D",
    "n't": " AH0 N T",
    "'m": " M",
}


def _inflect(word: str) -> tuple[str, ...] | None:
    """Return the pronunciations of a form of a dictionary word, or None if it is not one.

    Forms are contractions, possessives and the endings in _ENDINGS.
    """
    lexicon = cmudict.lexicon()
    for ending, phones in _CONTRACTIONS.items():
        if word.endswith(ending) and word[: -len(ending)] in lexicon:
            return tuple(base + phones for base in lexicon[word[: -len(ending)]])
    if word.endswith("s'") and word[:-1] in lexicon:
        return lexicon[word[:-1]]
    if word.endswith("'s") and word[:-2] in lexicon:
        return tuple(map(with_s, _variants(word[:-2])))
    for ending, restored, add_ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            base = word[: -len(ending)] + restored
            is_doubled = len(base) > 3 and base[-1] == base[-2] and base[:-1] in lexicon
            for candidate in (base, base[:-1] if is_doubled and not restored else ""):
                if candidate in lexicon:
                    return tuple(map(add_ending, lexicon[candidate]))
    return None


# Ending, letters of the base word that it replaces, function that adds the sound of the ending
_ENDINGS = (
    ("ies", "y", with_s),
    ("es", "", with_s),
    ("s", "", with_s),
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
    """Return the phones of a text, without word boundaries.

    Args:
        stress: whether to keep stress digits.

    Raises:
        UserError: see `words`.

    >>> pronounce("I'd like 2 tickets")
    'AY D L AY K T UW T IH K AH T S'
    """
    return " ".join(spoken.phones for spoken in transcribe(text, stress))


def transcribe(text: str, stress: bool = False) -> list[SpokenWord]:
    """Return the words of a text with their pronunciations.

    Args:
        stress: whether to keep stress digits.

    Raises:
        UserError: see `words`.

    >>> [(word.word, word.phones, word.choice) for word in transcribe("I live here")]
    [('I', 'AY', 'only'), ('live', 'L IH V', 'context'), ('here', 'HH IY R', 'only')]
    """
    tokens = _tokens(text)
    spoken: list[SpokenWord] = []
    for index in reversed(range(len(tokens))):  # "the" needs the pronunciation of the next word
        token = tokens[index]
        follows = bool(spoken) and not tokens[index + 1].after_punctuation
        entry = look_up(token.word)
        chosen = english_homographs.choose(tokens, index) if entry.source != SPELLED else None
        if token.word.lower() == "the" and follows:
            chosen = (
                "DH IY0" if is_vowel(strip_stress(spoken[-1].phones.split()[0])) else "DH AH0",
                True,
            )
        phones, is_determined = chosen or (entry.variants[0], False)
        variants = tuple(pronunciations(token.word, stress))
        choice = CONTEXT if is_determined else COMMONER
        spoken.append(
            SpokenWord(
                token.word,
                phones if stress else _without_stress(phones),
                variants,
                entry.source,
                choice if len(variants) > 1 else ONLY,
            )
        )
    return spoken[::-1]


def pronunciations(word: str, stress: bool = False) -> list[str]:
    """Return all pronunciations of a word as phone strings, the most common one first.

    >>> pronunciations("either")
    ['IY DH ER', 'AY DH ER']
    """
    variants = look_up(word).variants
    if not stress:
        variants = tuple(map(_without_stress, variants))
    return list(dict.fromkeys(variants))


def _without_stress(phones: str) -> str:
    return " ".join(map(strip_stress, phones.split()))
