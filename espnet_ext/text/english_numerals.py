"""English numerals as words: cardinals, ordinals, years and digit by digit."""

_ONES_ROW = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
"""
_ONES = _ONES_ROW.split()
_TENS_ROW = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = ("", "", *_TENS_ROW.split())
_SCALES = ("", " thousand", " million", " billion", " trillion", " quadrillion")
_ORDINAL = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def cardinal(number: int) -> str:
    """Return a number in words, in American English (without "and").

    >>> cardinal(1234), cardinal(0), cardinal(-21)
    ('one thousand two hundred thirty four', 'zero', 'minus twenty one')
    """
    if number < 0:
        return "minus " + cardinal(-number)
    if number >= 1000 ** len(_SCALES):
        return digits(str(number))
    if number < 20:
        return _ONES[number]
    groups = []
    for scale in _SCALES:
        number, group = divmod(number, 1000)
        if group:
            groups.append(_hundreds(group) + scale)
    return " ".join(reversed(groups))


def _hundreds(number: int) -> str:
    """Return a number from 1 to 999 in words."""
    hundreds, remainder = divmod(number, 100)
    words = [_ONES[hundreds] + " hundred"] if hundreds else []
    if 0 < remainder < 20:
        words.append(_ONES[remainder])
    elif remainder:
        tens, ones = divmod(remainder, 10)
        words.append(_TENS[tens] + (" " + _ONES[ones] if ones else ""))
    return " ".join(words)


def ordinal(number: int) -> str:
    """Return an ordinal number in words.

    >>> ordinal(1), ordinal(20), ordinal(113)
    ('first', 'twentieth', 'one hundred thirteenth')
    """
    first_words, _, last = cardinal(number).rpartition(" ")
    last = _ORDINAL.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return f"{first_words} {last}".strip()


def year(number: int) -> str:
    """Return a year from 1000 to 2999 in words.

    >>> year(1905), year(2007), year(2024), year(1900)
    ('nineteen oh five', 'two thousand seven', 'twenty twenty four', 'nineteen hundred')
    """
    century, year_of_century = divmod(number, 100)
    if 2000 <= number < 2010 or number % 1000 == 0:
        return cardinal(number)
    if not year_of_century:
        return cardinal(century) + " hundred"
    zero = "oh " if year_of_century < 10 else ""
    return f"{cardinal(century)} {zero}{cardinal(year_of_century)}"


def digits(text: str) -> str:
    """Return digits as words, one by one.

    >>> digits("0451")
    'zero four five one'
    """
    return " ".join(_ONES[int(digit)] for digit in text)


def number_in_pairs(number: str) -> str:
    """Read a number that is a name: 205 as "two oh five", 815 as "eight fifteen".

    >>> [number_in_pairs(number) for number in ("205", "815", "1204", "300")]
    ['two oh five', 'eight fifteen', 'twelve oh four', 'three hundred']
    """
    first, last = int(number[:-2]), int(number[-2:])
    if number.startswith("0"):
        return digits(number)
    if not last:
        return cardinal(int(number)) if first % 10 == 0 else f"{cardinal(first)} hundred"
    return f"{cardinal(first)} {'oh ' if last < 10 else ''}{cardinal(last)}"


def plural(words: str) -> str:
    return words[:-1] + "ies" if words.endswith("y") else words + "s"
