"""English words in Korean text as Korean says them: file → 파일, by the rules for loan words.

The rules are those of the Loan Word Orthography (외래어 표기법, chapter 3, section 1) applied to a
word's phones. Established loans that do not follow them (coffee: 커피) are beyond it.
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
_STOPS = {"P": "ㅂ", "T": "ㅅ", "K": "ㄱ"}  # section 1, item 1: tails after short vowels
_LONG = ("IY", "UW", "AW", "AY", "EY", "OY", "OW", "ER", "AO")
_Y = {"ㅏ": "ㅑ", "ㅐ": "ㅒ", "ㅓ": "ㅕ", "ㅔ": "ㅖ", "ㅗ": "ㅛ", "ㅜ": "ㅠ", "ㅣ": "ㅣ"}
_W = {"ㅏ": "ㅘ", "ㅐ": "ㅙ", "ㅓ": "ㅝ", "ㅔ": "ㅞ", "ㅗ": "ㅝ", "ㅜ": "ㅜ", "ㅣ": "ㅟ"}


@functools.lru_cache(maxsize=20_000)
def hangul_of(word: str) -> str:
    """An English word in Hangul, by the phones that `english_g2p` gives it.

    >>> hangul_of("file"), hangul_of("computer"), hangul_of("team")
    ('파일', '컴퓨터', '팀')
    """
    from espnet_ext.text import english_g2p  # here: Korean without Latin letters needs no lexicon

    phones = english_g2p.phones_of(word)[0].split()
    if "a" not in word.lower():  # the vowel of shop is written ㅗ
        phones = ["OW" if phone == "AA" else phone for phone in phones]
    return transcribe(phones)


def transcribe(phones: list[str]) -> str:
    """Phones without stress in Hangul.

    >>> transcribe("S T R AY K".split()), transcribe("F L AE SH".split())
    ('스트라이크', '플래시')
    """
    said: list[list[str]] = []  # lead, vowel, tail of each syllable
    lead, glide = "", ""
    for number, phone in enumerate(phones):
        before = phones[number - 1] if number else ""
        after = phones[number + 1] if number + 1 < len(phones) else ""
        if phone in _VOWELS:
            schwa = phone == "AH" and phones[number + 1 :] == ["L"] and lead
            for place, vowel in enumerate("ㅡ" if schwa else _VOWELS[phone]):  # apple: 애플
                if not place and glide:
                    vowel = {"Y": _Y, "W": _W}[glide][vowel]
                said.append([lead if not place and lead else "ㅇ", vowel, ""])
            lead, glide = "", ""
        elif phone in ("Y", "W"):
            glide = phone
        elif after in _VOWELS or (after in ("Y", "W") and number + 2 < len(phones)):
            if phone == "L" and said and not said[-1][2]:
                said[-1][2] = "ㄹ"  # item 6: ㄹㄹ within a word
            lead = "" if phone == "NG" else _LEADS[phone]
            if phone == "NG":
                _tail(said, "ㅇ")
            glide = "Y" if phone == "SH" and after in _VOWELS else ""
        else:
            _close(said, phone, before, after)
    return "".join(hangul.join(*syllable) for syllable in said)


def _tail(said: list[list[str]], tail: str) -> bool:
    if said and not said[-1][2]:
        said[-1][2] = tail
        return True
    return False


def _close(said: list[list[str]], phone: str, before: str, after: str) -> None:
    """A consonant that no vowel follows: a tail, or a syllable of its own."""
    if phone == "R":
        return
    if phone in _TAILS and _tail(said, _TAILS[phone]):
        return
    short = before in _VOWELS and before not in _LONG
    stop = phone in _STOPS and short and after not in ("L", "R", "M", "N")
    if stop and _tail(said, _STOPS[phone]):
        return
    if phone in ("SH", "CH", "JH", "ZH"):
        vowel = "ㅠ" if phone == "SH" and after else "ㅣ"
    else:
        vowel = "ㅡ"
    lead = _LEADS[phone] if phone != "NG" else "ㅇ"
    if phone == "L" and said:
        said[-1][2] = said[-1][2] or "ㄹ"
    said.append([lead, vowel, "ㄹ" if after == "L" else ""])
