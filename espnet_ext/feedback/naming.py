"""Names of deviations for a reader: `TH → S in "think"`, `받침 ㄱ 탈락`."""

from espnet_ext.feedback.comparison import (
    DELETION,
    INSERTION,
    MISSING_SYLLABLE,
    MISSING_WORD,
    Deviation,
    unit_class,
)
from espnet_ext.feedback.expected import ENGLISH, KOREAN, Units
from espnet_ext.text import hangul

_POSITIONS = {"lead": "초성", "vowel": "모음", "tail": "받침", "letter": "낱자"}
_GLOSSES = {
    "lead": "initial consonant",
    "vowel": "vowel",
    "tail": "final consonant",
    "letter": "letter",
}
_SILENT = "\u110b"  # ㅇ before a vowel


def name(deviation: Deviation, word: str, language: str) -> str:
    """Return the name of a deviation, in English for English and in Korean for Korean.

    >>> name(Deviation("deletion", (8,), 4, ("R",), ()), "here", "en")
    'R missing in "here"'
    >>> name(Deviation("deletion", (2,), 0, ("\\u11a8",), ()), "국물", "ko")
    "'국물'의 받침 ㄱ 탈락"
    """
    if language == ENGLISH:
        return _english(deviation, word)
    expected, recognised = deviation.expected, deviation.recognised
    if deviation.kind == MISSING_WORD:
        return f"'{word}' 누락"
    if deviation.kind == MISSING_SYLLABLE:
        return f"'{word}'의 음절 '{show_units(expected, KOREAN)}' 탈락"
    if deviation.kind == INSERTION and len(recognised) > 1:
        return f"'{word}'에 '{show_units(recognised, KOREAN)}' 첨가"
    kind, before, after = _korean_change(deviation)
    if kind == DELETION:
        return f"'{word}'의 {_position(before)} 탈락"
    if kind == INSERTION:
        return f"'{word}'에 {_position(after)} 첨가"
    same_position = unit_class(before, KOREAN) == unit_class(after, KOREAN)
    target = hangul.to_letter(after) if same_position else _position(after)
    return f"'{word}'의 {_position(before)} → {target}"


def gloss(deviation: Deviation, word: str) -> str:
    """Return an English name of a deviation in Korean.

    >>> gloss(Deviation("deletion", (2,), 0, ("\\u11a8",), ()), "국물")
    'final consonant ㄱ missing in "국물"'
    """
    expected, recognised = deviation.expected, deviation.recognised
    if deviation.kind == MISSING_WORD:
        return f'word "{word}" missing'
    if deviation.kind == MISSING_SYLLABLE:
        return f'syllable "{show_units(expected, KOREAN)}" missing in "{word}"'
    if deviation.kind == INSERTION and len(recognised) > 1:
        return f'"{show_units(recognised, KOREAN)}" added in "{word}"'
    kind, before, after = _korean_change(deviation)
    if kind == DELETION:
        return f'{_gloss_unit(before)} missing in "{word}"'
    if kind == INSERTION:
        return f'{_gloss_unit(after)} added in "{word}"'
    return f'{_gloss_unit(before)} → {_gloss_unit(after)} in "{word}"'


def show_units(units: Units, language: str) -> str:
    """Return units as text: phones, or Korean syllables and letters.

    >>> show_units(("\\u1112", "\\u1161", "\\u11ab"), "ko")
    '한'
    """
    return " ".join(units) if language == ENGLISH else hangul.from_jamo("".join(units))


def _english(deviation: Deviation, word: str) -> str:
    expected, recognised = " ".join(deviation.expected), " ".join(deviation.recognised)
    if deviation.kind == MISSING_WORD:
        return f'word "{word}" missing'
    if deviation.kind == DELETION:
        return f'{expected} missing in "{word}"'
    if deviation.kind == INSERTION:
        return f'{recognised} added in "{word}"'
    return f'{expected} → {recognised} in "{word}"'


def _korean_change(deviation: Deviation) -> tuple[str, str, str]:
    """Return kind, expected and recognised unit; a silent ㅇ counts as no unit."""
    before = deviation.expected[0] if deviation.expected else ""
    after = deviation.recognised[0] if deviation.recognised else ""
    if before and after == _SILENT:
        return DELETION, before, ""
    if after and before == _SILENT:
        return INSERTION, "", after
    return deviation.kind, before, after


def _position(unit: str) -> str:
    return f"{_POSITIONS[unit_class(unit, KOREAN)]} {hangul.to_letter(unit)}"


def _gloss_unit(unit: str) -> str:
    return f"{_GLOSSES[unit_class(unit, KOREAN)]} {hangul.to_letter(unit)}"
