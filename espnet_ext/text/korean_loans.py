"""English words in Hangul, as Korean pronounces loan words: file → 파일 pa-il.

Source: Loan Word Orthography (외래어 표기법), chapter 3, section 1, applied to the phones of a
word. Established loan words that do not follow these rules are not covered (coffee: 커피 keo-pi).
"""

import functools

from espnet_ext.text import hangul

_VOWELS = {
    **{"AA": "ㅏ", "AE": "ㅐ", "AH": "ㅓ", "AO": "ㅗ", "EH": "ㅔ", "ER": "ㅓ", "IH": "ㅣ"},
    **{"IY": "ㅣ", "OW": "ㅗ", "UH": "ㅜ", "UW": "ㅜ"},
    **{"AW": "ㅏㅜ", "AY": "ㅏㅣ", "EY": "ㅔㅣ", "OY": "ㅗㅣ"},
}
_LEADS = {
    **{"P": "ㅍ", "B": "ㅂ", "T": "ㅌ", "D": "ㄷ", "K": "ㅋ", "G": "ㄱ", "F": "ㅍ", "V": "ㅂ"},
    **{"TH": "ㅅ", "DH": "ㄷ", "S": "ㅅ", "Z": "ㅈ", "SH": "ㅅ", "ZH": "ㅈ", "CH": "ㅊ"},
    **{"JH": "ㅈ", "HH": "ㅎ", "M": "ㅁ", "N": "ㄴ", "L": "ㄹ", "R": "ㄹ", "NG": "ㅇ"},
}
_TAILS = {"M": "ㅁ", "N": "ㄴ", "NG": "ㅇ", "L": "ㄹ"}
_STOP_TAILS = {"P": "ㅂ", "T": "ㅅ", "K": "ㄱ"}  # item 1: after short vowels
_LONG_VOWELS = ("IY", "UW", "AW", "AY", "EY", "OY", "OW", "ER", "AO")
# Vowel → the vowel after a glide Y or W
_Y = {"ㅏ": "ㅑ", "ㅐ": "ㅒ", "ㅓ": "ㅕ", "ㅔ": "ㅖ", "ㅗ": "ㅛ", "ㅜ": "ㅠ", "ㅣ": "ㅣ"}
_W = {"ㅏ": "ㅘ", "ㅐ": "ㅙ", "ㅓ": "ㅝ", "ㅔ": "ㅞ", "ㅗ": "ㅝ", "ㅜ": "ㅜ", "ㅣ": "ㅟ"}


@functools.lru_cache(maxsize=20_000)
def english_to_hangul(word: str) -> str:
    """Return an English word in Hangul. Its phones come from `english_g2p`.

    Of a word with several readings, Korean borrows the noun or adjective: live is 라이브.

    >>> english_to_hangul("file"), english_to_hangul("computer"), english_to_hangul("team")
    ('파일', '컴퓨터', '팀')
    """
    # here: most Korean text needs no English dictionary
    from espnet_ext.text import english_g2p, english_homographs
    from espnet_ext.text.phones import strip_stress

    by_class = english_homographs.homographs().get(word.lower(), {})
    noun = by_class.get("noun") or by_class.get("adj")
    pronunciation = noun or english_g2p.pronunciations(word)[0]
    phones = [strip_stress(phone) for phone in pronunciation.split()]
    if "a" not in word.lower():  # the vowel of "shop" is written ㅗ o
        phones = ["OW" if phone == "AA" else phone for phone in phones]
    return phones_to_hangul(phones)


def phones_to_hangul(phones: list[str]) -> str:
    """Return phones without stress digits in Hangul.

    A consonant without a vowel after it becomes a tail, or a syllable with ㅡ eu or ㅣ i of its
    own.

    >>> phones_to_hangul("S T R AY K".split()), phones_to_hangul("F L AE SH".split())
    ('스트라이크', '플래시')
    """
    syllables: list[list[str]] = []  # [lead, vowel, tail]
    lead, glide = "", ""
    for index, phone in enumerate(phones):
        previous_phone = phones[index - 1] if index else ""
        next_phone = phones[index + 1] if index + 1 < len(phones) else ""
        if phone in _VOWELS:
            is_schwa = phone == "AH" and phones[index + 1 :] == ["L"] and lead
            for position, vowel in enumerate("ㅡ" if is_schwa else _VOWELS[phone]):  # apple: 애플
                if not position and glide:
                    vowel = {"Y": _Y, "W": _W}[glide][vowel]
                syllables.append([lead if not position and lead else "ㅇ", vowel, ""])
            lead, glide = "", ""
        elif phone in ("Y", "W"):
            glide = phone
        elif next_phone in _VOWELS or (next_phone in ("Y", "W") and index + 2 < len(phones)):
            if phone == "L" and syllables and not syllables[-1][2]:
                syllables[-1][2] = "ㄹ"  # item 6: L between vowels is written twice
            lead = "" if phone == "NG" else _LEADS[phone]
            if phone == "NG":
                _add_tail(syllables, "ㅇ")
            glide = "Y" if phone == "SH" and next_phone in _VOWELS else ""
        else:
            _add_coda(syllables, phone, previous_phone, next_phone)
    return "".join(hangul.join(*syllable) for syllable in syllables)


def _add_tail(syllables: list[list[str]], tail: str) -> bool:
    """Give the last syllable a tail if it has none. Return whether it was added."""
    if syllables and not syllables[-1][2]:
        syllables[-1][2] = tail
        return True
    return False


def _add_coda(syllables: list[list[str]], phone: str, previous_phone: str, next_phone: str) -> None:
    """Add a consonant that no vowel follows: as a tail, or as a syllable of its own."""
    if phone == "R":
        return
    if phone in _TAILS and _add_tail(syllables, _TAILS[phone]):
        return
    after_short_vowel = previous_phone in _VOWELS and previous_phone not in _LONG_VOWELS
    is_stop_tail = (
        phone in _STOP_TAILS and after_short_vowel and next_phone not in ("L", "R", "M", "N")
    )
    if is_stop_tail and _add_tail(syllables, _STOP_TAILS[phone]):
        return
    if phone in ("SH", "CH", "JH", "ZH"):
        vowel = "ㅠ" if phone == "SH" and next_phone else "ㅣ"
    else:
        vowel = "ㅡ"
    lead = _LEADS[phone] if phone != "NG" else "ㅇ"
    if phone == "L" and syllables:
        syllables[-1][2] = syllables[-1][2] or "ㄹ"
    syllables.append([lead, vowel, "ㄹ" if next_phone == "L" else ""])
