"""Korean numerals: Sino-Korean, native, and digit by digit."""

DIGITS = "영일이삼사오육칠팔구"
_TENS = ("", "십", "백", "천")
MYRIADS = ("", "만", "억", "조", "경")
_NATIVE_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")


def sino_korean(number: int) -> str:
    """Return a number in Sino-Korean numerals.

    >>> sino_korean(2024), sino_korean(10000), sino_korean(305), sino_korean(0)
    ('이천이십사', '만', '삼백오', '영')
    """
    if number == 0:
        return DIGITS[0]
    numeral = ""
    for power, group in enumerate(_groups_of_four(number)):
        words = "".join(
            ("" if digit == "1" and exponent else DIGITS[int(digit)]) + _TENS[exponent]
            for exponent, digit in zip((3, 2, 1, 0), f"{group:04d}", strict=True)
            if digit != "0"
        )
        if power == 1 and number < 20000:
            words = ""  # 10,000 is 만 man, not 일만 il-man
        numeral = (words + MYRIADS[power] if group else "") + numeral
    return numeral


def _groups_of_four(number: int) -> list[int]:
    """Return the groups of four digits of a number, the least significant group first."""
    groups = []
    while number:
        number, group = divmod(number, 10000)
        groups.append(group)
    return groups


def native(number: int) -> str:
    """Return a number from 1 to 99 in native numerals, in their form before a counter.

    Raises:
        ValueError: the number is out of range.

    >>> native(3), native(20), native(25)
    ('세', '스무', '스물다섯')
    """
    if not 0 < number < 100:
        raise ValueError(f"no native numeral: {number}")
    tens, ones = divmod(number, 10)
    return "스무" if number == 20 else _NATIVE_TENS[tens] + _NATIVE_ONES[ones]


def digits(text: str) -> str:
    """Read digits one by one. Zero is 공 gong, as in telephone numbers.

    >>> digits("010")
    '공일공'
    """
    return "".join("공" if digit == "0" else DIGITS[int(digit)] for digit in text)
