"""Written forms of numbers that English and Korean share: symbols, groups of digits, equations."""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping

from espnet_ext.errors import UserError

_FRACTION_SLASH = "\u2044"  # also stands for the slash of a fraction while operators are read
_SPACES = " \u00a0\u2009\u202f"  # a plain, no-break, thin and narrow no-break space
_SPACED_NUMBER = re.compile(
    rf"(?<![\d.,:/])(?<!\d[{_SPACES}])([1-9]\d{{0,2}})((?:([{_SPACES}])\d{{3}})(?:\3\d{{3}})*)"
    rf"(?![{_SPACES}]?\d|[-.]\d{{3}})(?!-\d{{4}}\b)(?=(\.\d)?)(?:,(\d{{1,2}})(?!\d|[.,]\d))?"
)
_OTHER_GROUPS = re.compile(
    r"(?<![\w.,'])(?:"
    r"[1-9]\d{0,2}(?:\.\d{3}){2,}(?![.,\w]?\d)"  # 1.000.000
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
# Before digits with points, these show that the points separate parts
_DOTTED = re.compile(
    r"(?i)\b(?:versions?|ver\.|v\.?|releases?|builds?|firmware|revisions?|sections?|articles?"
    r"|(?:ip(?:v4)?|ip address|address)(?: is)?|버전|주소) ?:? ?$"
)
_IP_PARTS, _IP_MAX = 4, 255
_LAST_HOUR = 12
_AT_HOUR = re.compile(r"(?i)\bat $")  # "at 10 300 people": a time, unless a unit follows
_MEASURED = re.compile(
    r"(?i) ?(?:[kcm]?m|metres?|meters?|k?g|feet|ft|miles?|rpm|hz|volts?|dollars?|euros?|pounds?|won"
    r"|yen|degrees?|%|percent)\b"
)
_CURRENCY = re.compile(r"[$£€¥₩¢＄￦] ?$")


_SQUARED_UNIT = re.compile("[\u2103\u2109\u3371-\u3376\u3380-\u33df]")  # ℃, ㎏, ㎡, …
_FRACTION = re.compile("(\\d?)([\u00bc-\u00be\u2150-\u215e])")  # ½
# 10⁶; ¹ alone is a footnote
_SUPERSCRIPT = re.compile("(?<=\\d)(?!¹(?![⁰¹²³⁴-⁹]))(⁻?[⁰¹²³⁴-⁹]+)")
_AREA = re.compile(r"(?<=\d)( ?[ckm]?m)([23])(?![\w²³]|[.,]\d)")  # 5m2
_SCIENTIFIC = re.compile(
    r"(?<![\w.,])(\d\.\d+(?=[eE]\d)|\d(?:\.\d+)?(?=[eE][-−+]))[eE]\+?([-−]?\d+)\b"
)
_AMBIGUOUS = re.compile(
    r"\d ?([<>≤≥‰‱])|([<>≤≥§]) ?\d"
    r"|(?:^|(?<=[\s(\"]))(?<!\d )(?<!\d[가-힣] )([~∼〜])(?=\d)"
)


def write_out_symbols(text: str) -> str:
    """Return text in which fractions, units and powers are written with ordinary characters.

    >>> write_out_symbols("3½ cups, 30℃, №5, 10⁶, 1.5e-3")
    '3 1/2 cups, 30°C, No. 5, 10^6, 1.5 × 10^-3'
    >>> write_out_symbols("5m2, 10㎡")
    '5m², 10m²'
    """
    if not text.isascii():
        text = _SQUARED_UNIT.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text)
        text = _FRACTION.sub(_write_fraction, text).replace(_FRACTION_SLASH, "/")
        text = _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKC", m[1]), text)
        text = re.sub(r"№ ?(?=\d)", "No. ", text).replace("^−", "^-")
        text = re.sub(r"(?<=\d)[\u2010-\u2012](?=\d)", "-", text)  # hyphens that are not ASCII
    text = re.sub(r"(?<=\d) ?---? ?(?=\d)", "\u2013", text)  # 5--10, a range
    text = _SCIENTIFIC.sub(r"\1 × 10^\2", text)
    return _AREA.sub(lambda m: m[1] + "²³"[int(m[2]) - 2], text)


def is_fraction(numerator: int, denominator: int) -> bool:
    """Return whether numbers are a proper fraction in lowest terms.

    >>> is_fraction(3, 4), is_fraction(5, 10), is_fraction(5, 3)
    (True, False, False)
    """
    return 0 < numerator < denominator and math.gcd(numerator, denominator) == 1


def days_of_range(match: re.Match) -> list[tuple[int, int]] | None:
    """Return (month, day) of both days of a matched range such as 5/3-5/10.

    None if one is not a day, or if both are proper fractions in lowest terms (1/2-3/4).
    """
    numbers = [int(group) for group in match.groups()]
    days = [(numbers[0], numbers[1]), (numbers[2], numbers[3])]
    if all(is_fraction(*day) for day in days):
        return None
    return days if all(1 <= month <= 12 and 1 <= day <= 31 for month, day in days) else None


def _write_fraction(match: re.Match) -> str:
    before, symbol = match.groups()
    fraction = unicodedata.normalize("NFKC", symbol).replace(_FRACTION_SLASH, "/")
    return f"{before} {fraction}" if before else fraction


def reject_ambiguous(text: str) -> None:
    """Raise `UserError` for signs beside numbers that have several readings.

    `~5` can mean "about five" or "up to five".

    >>> reject_ambiguous("~5")
    Traceback (most recent call last):
    ...
    espnet_ext.errors.UserError: cannot pronounce '~' in '~5': it has several readings
      remedy: replace it with the words that are spoken
    """
    match = _AMBIGUOUS.search(text)
    if match:
        sign = next(group for group in match.groups() if group)
        raise UserError(
            f"cannot pronounce '{sign}' in {text!r}: it has several readings",
            "replace it with the words that are spoken",
        )


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
    return _OTHER_GROUPS.sub(_join_group, text)


def _join_group(match: re.Match) -> str:
    """Return digits without separators, unless points separate the parts of a version or address.

    Four parts are a number if they cannot be an IP address, or if the last part is 000.
    """
    if "." in match[0]:
        if _DOTTED.search(match.string[: match.start()]):
            return match[0]
        parts = match[0].split(".")
        is_address = all(int(part) <= _IP_MAX for part in parts) and parts[-1] != "000"
        if len(parts) == _IP_PARTS and is_address:
            return match[0]
    return re.sub(r"\D", "", match[0])


def _join_spaced(match: re.Match) -> str:
    first, groups, space, decimals, comma_decimals = match.groups()
    later = re.findall(r"\d{3}", groups)
    before, after = match.string[: match.start()], match.string[match.end() :]
    if comma_decimals is not None and not _NUMBERED.search(before):  # 1 000,50
        return f"{first}{''.join(later)}.{comma_decimals}"
    is_hour = _AT_HOUR.search(before) and len(later) == 1 and int(first) <= _LAST_HOUR
    if is_hour and space == " " and decimals is None and not _MEASURED.match(after):
        return match[0]
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
    quotient below 1 without spaces is a fraction (1/2). The hyphen of a name
    (B-12, without `=`) is not an operator. Nor is that of a range after a plural noun (pages 12-14
    = 3), unless the equation is true.

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
        if "=" not in expression:
            expression = _NAME_WITH_NUMBER.sub(rf"\1{_HYPHEN}", expression)
        range_ = _RANGE.match(expression)
        if range_ and _PLURAL.search(match.string[: match.start()]) and not _is_true(range_):
            expression = f"{range_[1]}{_HYPHEN}{range_[2]}{expression[range_.end(2) :]}"
        words = _BETWEEN.sub(read_operator, expression)
        words = re.sub(r"(?<=\d)(?=[a-z](?![A-Za-z]))", " ", words)  # 2x is not "two times"
        return words.replace(_FRACTION_SLASH, "/").replace("−", "-").replace(_HYPHEN, "-")

    return _EQUATION.sub(read, text)


_HYPHEN = "\u2010"  # stands for a hyphen that is not an operator while operators are read
_NAME_WITH_NUMBER = re.compile(r"(?<![\w)])([A-Z])-(?=\d)")  # B-12
_RANGE = re.compile(r"(\d+)-(\d+)(?![\d.,])(?: ?= ?(\d+)?)?")
_PLURAL = re.compile(r"(?i)\b[a-z]{3,}s $")


def _is_true(match: re.Match) -> bool:
    """Return whether a range is a true difference (5-3 = 2), or one that goes down (5-3)."""
    first, second, result = match.groups()
    if int(first) >= int(second):
        return True
    return result is not None and int(first) - int(second) == int(result)


def _protect(match: re.Match) -> str:
    is_proper = 0 < int(match[1]) < int(match[2])
    return f"{match[1]}{_FRACTION_SLASH}{match[2]}" if is_proper else match[0]
