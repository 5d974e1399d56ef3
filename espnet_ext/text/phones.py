"""The 39 phones of the CMU Pronouncing Dictionary, as ARPABET, IPA and espeak-ng mnemonics.

A phone string is phones without stress digits, separated by spaces, without word boundaries:
"HH AH L OW".
"""

import re
import unicodedata

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = (
    *("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N"),
    *("NG", "P", "R", "S", "SH", "T", "TH", "V", "W", "Y", "Z", "ZH"),
)
PHONES = tuple(sorted(VOWELS + CONSONANTS))

# Phone → phoneme mnemonic of espeak-ng's voice en-us, for phoneme input inside [[…]].
ESPEAK = {
    **{"AA": "A:", "AE": "a", "AH": "V", "AO": "O:", "AW": "aU", "AY": "aI", "EH": "E"},
    **{"ER": "3:", "EY": "eI", "IH": "I", "IY": "i:", "OW": "oU", "OY": "OI", "UH": "U"},
    **{"UW": "u:", "B": "b", "CH": "tS", "D": "d", "DH": "D", "F": "f", "G": "g", "HH": "h"},
    **{"JH": "dZ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "N", "P": "p", "R": "r"},
    **{"S": "s", "SH": "S", "T": "t", "TH": "T", "V": "v", "W": "w", "Y": "j", "Z": "z"},
    "ZH": "Z",
}

# Phone → International Phonetic Alphabet (General American).
IPA = {
    **{"AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "EH": "ɛ"},
    **{"ER": "ɝ", "EY": "eɪ", "IH": "ɪ", "IY": "i", "OW": "oʊ", "OY": "ɔɪ", "UH": "ʊ"},
    **{"UW": "u", "B": "b", "CH": "tʃ", "D": "d", "DH": "ð", "F": "f", "G": "ɡ", "HH": "h"},
    **{"JH": "dʒ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ"},
    **{"S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j", "Z": "z"},
    "ZH": "ʒ",
}

# Vowels that English never reduces. The other vowels may be reduced in unstressed syllables.
_UNREDUCED = frozenset(VOWELS) - {"AH", "ER", "IH", "UH"}


def strip_stress(phone: str) -> str:
    """Return a phone without its stress digit.

    >>> strip_stress("AH0"), strip_stress("NG")
    ('AH', 'NG')
    """
    return phone[:-1] if phone[-1:] in ("0", "1", "2") else phone


def is_phone(symbol: str) -> bool:
    """Return whether a symbol is one of the 39 phones, without a stress digit.

    >>> is_phone("AH"), is_phone("AH0"), is_phone("ax")
    (True, False, False)
    """
    return symbol in ESPEAK


_JOINTS = re.compile(r"[,;|/.·+–—-]+")
_ONLY_IPA = re.compile("[æðŋθ\u0250-\u02af]")  # letters that ARPABET and spelling lack
_IPA_VOWELS = "aeiouyɑɐɒæɔəɘɚɛɜɝɞɨɪʊʉʌœøɶɤɯʏjwɥ"  # and glides, which begin or end diphthongs
_JOINED_LETTERS = 5  # an IPA symbol has fewer letters


def has_ipa(text: str) -> bool:
    """Return whether a text has letters that only the International Phonetic Alphabet has.

    >>> has_ipa("θin"), has_ipa("thin")
    (True, False)
    """
    return _ONLY_IPA.search(text) is not None


def is_joined(token: str) -> bool:
    """Return whether a token certainly is several phones that are not separated by spaces.

    These are phones of ARPABET with something else than spaces between them, and IPA with a vowel
    between consonants.

    >>> [is_joined(token) for token in ("AY,S,IH1", "ao-th", "aɪsɪŋksoʊ", "lɪv")]
    [True, True, True, True]
    >>> [is_joined(token) for token in ("AO1_B", "t͡ʃʰ", "aɪə", "uɑŋ", "K-pop", "aI@")]
    [False, False, False, False, False, False]
    """
    parts = [part for part in _JOINTS.split(token) if part]
    if len(parts) == 1 and token.count("_") > 1:  # one can be a position mark of Kaldi: AO1_B
        parts = [part for part in token.split("_") if part]
    if len(parts) > 1 and all(is_phone(strip_stress(part.upper())) for part in parts):
        return True
    if not has_ipa(token):
        return False
    letters = [letter for letter in token if unicodedata.category(letter) in ("Ll", "Lo")]
    if len(letters) >= _JOINED_LETTERS:
        return True
    kinds = "".join("V" if letter in _IPA_VOWELS else "C" for letter in letters)
    return re.search("CV+C", kinds) is not None


def is_vowel(symbol: str) -> bool:
    """Return whether a phone is a vowel (including diphthongs and ER).

    >>> is_vowel("ER"), is_vowel("R")
    (True, False)
    """
    return symbol in VOWELS


def to_ipa(text: str) -> str:
    """Return a phone string in the International Phonetic Alphabet.

    Raises:
        KeyError: a symbol is not a phone.

    >>> to_ipa("HH AH L OW")
    'hʌloʊ'
    """
    return "".join(IPA[phone] for phone in text.split())


def to_espeak(text: str) -> str:
    """Return a phone string as phoneme input for espeak-ng (voice en-us).

    espeak-ng merges, reduces and assimilates phonemes. The marks inserted here prevent it, so that
    every phone is spoken as written:

    - `|` separates neighbours, so that T SH does not become CH.
    - `'` keeps a vowel unreduced, and keeps a final IH from becoming IY.
    - `;` keeps N before K and G from becoming NG.
    - `t2` is a T that does not become a flap.

    Raises:
        KeyError: a symbol is not a phone.

    >>> to_espeak("S IH NG IH N G")
    '[[s|I|N|I|n;|g]]'
    """
    phones = text.split()
    mnemonics = [
        _espeak_mnemonic(phone, next_phone)
        for phone, next_phone in zip(phones, [*phones[1:], ""], strict=False)
    ]
    return "[[" + "|".join(mnemonics) + "]]"


def _espeak_mnemonic(phone: str, next_phone: str) -> str:
    mnemonic = ESPEAK[phone]
    if phone in _UNREDUCED or (phone == "IH" and not next_phone):
        return "'" + mnemonic
    if phone == "N" and next_phone in ("K", "G"):
        return mnemonic + ";"
    if phone == "T" and is_vowel(next_phone):
        return "t2"
    return mnemonic
