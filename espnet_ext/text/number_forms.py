"""Written forms of numbers that English and Korean share: groups of digits, and equations."""

import re
from collections.abc import Callable, Mapping

_SPACES = " \u00a0\u2009\u202f"  # a plain, no-break, thin and narrow no-break space
_SPACED_NUMBER = re.compile(
    rf"(?<![\d.,:/])(?<!\d[{_SPACES}])([1-9]\d{{0,2}})((?:([{_SPACES}])\d{{3}})(?:\3\d{{3}})*)"
    rf"(?![{_SPACES}]?\d|[-.]\d{{3}})(?!-\d{{4}}\b)(?=(\.\d)?)"
)
_OTHER_GROUPS = re.compile(
    r"(?<![\w.,'])(?:"
    r"[1-9]\d{0,2}(?:\.\d{3}){2}(?![.,\w]?\d)"  # 1.000.000; four parts would be an IP address
    r"|[1-9]\d{0,2}(?:['’]\d{3})+(?!['’]?\d)"  # 1'000'000
    r"|[1-9]\d?(?:,\d{2})+,\d{3}(?!,?\d)"  # 10,00,000, as in India
    r")"
)
_EUROPEAN = re.compile(r"(?<![\w.,])([1-9]\d{0,2}(?:\.\d{3})+),(\d{1,2})(?![\d.,])")  # 1.000,50
# Before a number, these show that the digits after a space belong to another number
_NUMBERED = re.compile(
    r"(?i)(?:\b(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\.?"
    r"|\b(?:page|chapter|[r]oom|flight|bus|route|line|gate|grade|class|level|unit|lesson|part|step"
    r"|question|number|no\.|age|aged|day|week|version)s?|#|제|[+＋]) ?$"
)
_CURRENCY = re.compile(r"[$£€¥₩¢＄￦] ?$")


def join_groups(text: str) -> str:
    """Return text in which numbers have no spaces, points or apostrophes between groups of digits.

    Two numbers beside each other can look like one number in groups. A number whose groups are
    separated by plain spaces is joined if a later group starts with 0, if it stands beside a
    currency symbol or has decimals, or if its first group is too short for the start of a list of
    hundreds.

    >>> join_groups("1 000 000 people, 12 500 km, 100 200 300, 1'000, 10,00,000")
    '1000000 people, 12500 km, 100 200 300, 1000, 1000000'
    """
    text = _SPACED_NUMBER.sub(_join_spaced, text)
    text = _EUROPEAN.sub(lambda match: f"{match[1].replace('.', '')}.{match[2]}", text)
    return _OTHER_GROUPS.sub(lambda match: re.sub(r"\D", "", match[0]), text)


def _join_spaced(match: re.Match) -> str:
    first, groups, space, decimals = match.groups()
    later = re.findall(r"\d{3}", groups)
    before = match.string[: match.start()]
    is_sum = before.endswith("+") and re.search(r"\d ?\+$", before)  # otherwise a country code
    if _NUMBERED.search(before) and not is_sum:
        return match[0]
    is_one = (
        space != " "
        or any(group.startswith("0") for group in later)
        or len(first) == 2
        or (len(first) == 1 and len(later) > 1)
        or decimals is not None
        or _CURRENCY.search(before) is not None
    )
    return first + "".join(later) if is_one else match[0]


_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
_OPERAND = rf"\(*[-−]?(?:{_NUMBER}(?:[a-z](?![A-Za-z]))?|[A-Za-z](?![A-Za-z]))\)*"
_OPERATOR = " ?[-−–+×÷*/=xX] ?"
_EQUATION = re.compile(rf"(?<![\w.,%$£€¥₩+]){_OPERAND}(?:{_OPERATOR}{_OPERAND})+(?: ?= ?(?=\?|$))?")
_BETWEEN = re.compile(
    r"(?P<left>[\w)]) ?(?P<operator>[-−–+×÷*/xX=]) ?(?=[-−]?(?:[\d(]|[A-Za-z]\b)|\?|$)"
)
_DATE_OR_TELEPHONE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|(?<![\d.])0\d")
_PROPER_FRACTION = re.compile(r"(?<![\d.,])(\d+)/(\d+)(?![\d.,])")


def read_equations(
    text: str, operators: Mapping[str, str], equals: Callable[[str], str] | None = None
) -> str:
    """Return text with the operators of arithmetic expressions as words; the numbers stay.

    A hyphen or a slash between two numbers is an operator only in an expression that has one of
    `= + × ÷ *` too. Otherwise it can be a range (5-3), a date or a fraction. In an expression, a
    quotient below 1 without spaces is a fraction (1/2).

    Args:
        operators: words for `-`, `+`, `×`, `÷` and `=`, with spaces around them where needed.
        equals: returns the words for `=` from the text on its left, which ends with a number or
            letter; default: those in `operators`.

    >>> words = {"-": " minus ", "+": " plus ", "=": " equals "}
    >>> read_equations("5-3=2, but pages 5-3", words)
    '5 minus 3 equals 2, but pages 5-3'
    """
    signs = {"−": "-", "–": "-", "*": "×", "x": "×", "X": "×", "/": "÷"}

    def read_operator(match: re.Match) -> str:
        symbol = signs.get(match["operator"], match["operator"])
        if symbol == "=" and equals is not None:
            left = match.string[: match.end("left")].replace(_FRACTION_SLASH, "/")
            return match["left"] + equals(left)
        return match["left"] + operators[symbol]

    def read(match: re.Match) -> str:
        expression = match[0]
        is_equation = re.search(r"[=+×÷]|\d ?\* ?\d", expression) and re.search(r"\d", expression)
        if not is_equation or _DATE_OR_TELEPHONE.search(expression):
            return expression
        expression = _PROPER_FRACTION.sub(_protect, expression)
        words = _BETWEEN.sub(read_operator, expression)
        words = re.sub(r"(?<=\d)(?=[a-z](?![A-Za-z]))", " ", words)  # 2x is not "two times"
        return words.replace(_FRACTION_SLASH, "/").replace("−", "-")

    return _EQUATION.sub(read, text)


_FRACTION_SLASH = "\u2044"  # stands for the slash of a fraction while operators are read


def _protect(match: re.Match) -> str:
    is_fraction = 0 < int(match[1]) < int(match[2])
    return f"{match[1]}{_FRACTION_SLASH}{match[2]}" if is_fraction else match[0]
