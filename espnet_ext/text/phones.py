"""The 39 phones of the CMU Pronouncing Dictionary (no stress digits), and other ways to write them.

A phone text is phones with a space between, without word boundaries: "HH AH L OW".
"""

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = (
    *("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N"),
    *("NG", "P", "R", "S", "SH", "T", "TH", "V", "W", "Y", "Z", "ZH"),
)
PHONES = tuple(sorted(VOWELS + CONSONANTS))

# Phone → phoneme mnemonic of espeak-ng's voice en-us, for input within [[…]].
ESPEAK = {
    **{"AA": "A:", "AE": "a", "AH": "V", "AO": "O:", "AW": "aU", "AY": "aI", "EH": "E"},
    **{"ER": "3:", "EY": "eI", "IH": "I", "IY": "i:", "OW": "oU", "OY": "OI", "UH": "U"},
    **{"UW": "u:", "B": "b", "CH": "tS", "D": "d", "DH": "D", "F": "f", "G": "g", "HH": "h"},
    **{"JH": "dZ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "N", "P": "p", "R": "r"},
    **{"S": "s", "SH": "S", "T": "t", "TH": "T", "V": "v", "W": "w", "Y": "j", "Z": "z"},
    "ZH": "Z",
}

# Phone → International Phonetic Alphabet (General American values).
IPA = {
    **{"AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "EH": "ɛ"},
    **{"ER": "ɝ", "EY": "eɪ", "IH": "ɪ", "IY": "i", "OW": "oʊ", "OY": "ɔɪ", "UH": "ʊ"},
    **{"UW": "u", "B": "b", "CH": "tʃ", "D": "d", "DH": "ð", "F": "f", "G": "ɡ", "HH": "h"},
    **{"JH": "dʒ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ"},
    **{"S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j", "Z": "z"},
    "ZH": "ʒ",
}

# Vowels that English gives full weight wherever they stand; the others may be reduced.
_FULL = frozenset(VOWELS) - {"AH", "ER", "IH", "UH"}


def strip_stress(phone: str) -> str:
    """A phone without its stress digit.

    >>> strip_stress("AH0"), strip_stress("NG")
    ('AH', 'NG')
    """
    return phone[:-1] if phone[-1:] in ("0", "1", "2") else phone


def is_phone(symbol: str) -> bool:
    """Whether a symbol is one of the 39 phones, without stress.

    >>> is_phone("AH"), is_phone("AH0"), is_phone("ax")
    (True, False, False)
    """
    return symbol in ESPEAK


def is_vowel(symbol: str) -> bool:
    """Whether a phone is a vowel (diphthongs and ER included).

    >>> is_vowel("ER"), is_vowel("R")
    (True, False)
    """
    return symbol in VOWELS


def to_ipa(text: str) -> str:
    """A phone text in the International Phonetic Alphabet; KeyError for what is no phone.

    >>> to_ipa("HH AH L OW")
    'hʌloʊ'
    """
    return "".join(IPA[phone] for phone in text.split())


def to_espeak(text: str) -> str:
    """A phone text as phoneme input for espeak-ng (voice en-us), every phone as it is written.

    espeak-ng joins, reduces and assimilates phonemes; the marks that prevent it are placed here:
    `|` keeps neighbours apart (T SH is not CH), `'` keeps a vowel full and a final IH from
    becoming IY, `;` keeps N before K and G from becoming NG, and `t2` is a T that is not flapped.

    >>> to_espeak("S IH NG IH N G")
    '[[s|I|N|I|n;|g]]'
    """
    phones = text.split()
    pairs = zip(phones, [*phones[1:], ""][: len(phones)], strict=True)
    return "[[" + "|".join(_spoken(*pair) for pair in pairs) + "]]"


def _spoken(phone: str, following: str) -> str:
    mnemonic = ESPEAK[phone]
    if phone in _FULL or (phone == "IH" and not following):
        return "'" + mnemonic
    if phone == "N" and following in ("K", "G"):
        return mnemonic + ";"
    if phone == "T" and is_vowel(following):
        return "t2"
    return mnemonic
