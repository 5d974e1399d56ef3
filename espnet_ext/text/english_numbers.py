"""English text with digits to spoken words: dates, amounts, times, units, telephone numbers.

Numbers are read as quantities, unless their form or the word before them shows that they are names
(suite 205, zip code 90210, version 3.10), years or digit strings. Dates with slashes are read as
month and day, unless only day and month is possible.
"""

import re

from espnet_ext.text.english_numerals import (
    cardinal,
    digits,
    number_in_pairs,
    ordinal,
    plural,
    year,
)
from espnet_ext.text.number_forms import days_of_range

_MONTHS_ROW = """
    january february march april may june july august september october november december
"""
_MONTHS = _MONTHS_ROW.split()
_MONTH = "(?:" + "|".join(f"{m}|{m[:3]}\\.?" if len(m) > 3 else m for m in _MONTHS) + "|sept\\.?)"
# Month names as they are written after a day
_MONTH_NAME = "(?:" + "|".join(f"{m.title()}|{m[:3].title()}" for m in _MONTHS) + "|Sept)"
_STATES_ROWS = """
    AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY
    NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC PR
"""
_STATES = "(?:" + "|".join(_STATES_ROWS.split()) + ")"  # before a zip code
_MONEY = {
    "$": ("dollar", "cent"),
    "£": ("pound", "pence"),
    "€": ("euro", "cent"),
    "¥": ("yen", ""),
    "₩": ("won", ""),
    "¢": ("cent", ""),
}
_UNITS = {
    "%": "percent",
    "km/h": "kilometers per hour",
    "mph": "miles per hour",
    "km": "kilometers",
    "cm": "centimeters",
    "mm": "millimeters",
    "kg": "kilograms",
    "mg": "milligrams",
    "ml": "milliliters",
    "°c": "degrees celsius",
    "°f": "degrees fahrenheit",
    "°": "degrees",
    "lbs": "pounds",
    "lb": "pounds",
    "oz": "ounces",
    "ft": "feet",
    "hz": "hertz",
    **dict.fromkeys(("hr", "hrs"), "hours"),
    **dict.fromkeys(("min", "mins"), "minutes"),
    **dict.fromkeys(("sec", "secs"), "seconds"),
    "khz": "kilohertz",
    "mhz": "megahertz",
    "ghz": "gigahertz",
    "kb": "kilobytes",
    "mb": "megabytes",
    "gb": "gigabytes",
    "tb": "terabytes",
    "m": "meters",
    "g": "grams",
    **{
        f"{prefix}m{power}": f"{kind} {name}meters"
        for prefix, name in (("", ""), ("k", "kilo"), ("c", "centi"), ("m", "milli"))
        for power, kind in (("²", "square"), ("³", "cubic"))
    },
}
_SHORT_SCALES = {
    "k": "thousand",
    "m": "million",
    "mn": "million",
    "b": "billion",
    "bn": "billion",
    "t": "trillion",
    "tn": "trillion",
}
_NUMBER = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"
_UNIT = "|".join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))
_DASH = "[-–—]"  # of a range
_NUMERIC_DATE = (
    "(?:"
    + "|".join(
        rf"(?<![\d{mark}])(?:\d{{4}}{mark}\d{{1,2}}{mark}\d{{1,2}}|\d{{1,2}}{mark}\d{{1,2}}{mark}\d{{4}})"
        r"(?!\d)"
        for mark in (r"\-", "/", r"\.")
    )
    + ")"
)


def read_numbers(text: str) -> str:
    """Replace everything that contains digits by words. The order of the patterns matters."""
    sub = re.sub
    text = sub(rf"({_NUMERIC_DATE}) ?{_DASH} ?(?={_NUMERIC_DATE})", r"\1 to ", text)
    text = sub(r"(?<!\d)(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d)", _read_iso_date, text)
    text = sub(r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)(?![\d/])", _read_slash_date, text)
    text = sub(r"(?<![\d.])(\d{1,2})\.(\d{1,2})\.(\d{4})(?!\d|\.\d)", _read_dotted_date, text)
    text = sub(rf"(?<=:\d\d) ?{_DASH} ?(?=\d{{1,2}}(?::\d\d|(?![\d:])))", " to ", text)
    text = sub(rf"(?<![\d:.-])(\d{{1,2}}) ?{_DASH} ?(?=\d{{1,2}}:\d\d)", r"\1 to ", text)
    text = _read_digit_strings(text)
    text = _read_date_ranges(text)
    text = sub(rf"\b(\d{{1,2}}) ({_MONTH_NAME})\b\.?(?: (\d{{4}})\b)?", _read_day_and_month, text)
    text = sub(
        rf"(?i)\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (\d{{4}})\b)?", _read_date, text
    )
    text = _read_money_ranges(text)
    text = sub(
        rf"(?:\b([A-Z]{{1,2}}))?([$£€¥₩¢]) ?({_NUMBER}|(?=\.\d))(?:\.(\d+))?"
        r"( (?:million|billion|trillion|thousand)\b|(?i:k|mn?|bn?|tn?)\b)?",
        _read_money,
        text,
    )
    text = sub(r"(?<![\d.,'])(\d+)['′] ?(\d|1[01])(?:\"|''|[”″]|(?![\w'′]))", _read_feet, text)
    text = sub(r"(?<![\d.,])(\d+) ?ft\.? ?(\d|1[01]) ?in\b\.?", _read_feet, text)
    text = sub(r"(?<=\d)′", " ft", sub(r"(?<=\d)″", " inches", text))
    text = sub(
        r"(?<![\d:])(\d{1,2}):(\d{2})(?![\d:])(?=( ?[ap]\.? ?m\b)?)", _read_clock, text, flags=re.I
    )
    text = sub(r"(?<![\d:])(\d{1,4}):(\d{1,4})(?![\d:])", r"\1 to \2", text)
    text = sub(rf"(?<=\dst|\dnd|\drd|\dth) ?{_DASH} ?(?=\d)", " to ", text)
    text = sub(rf"(?<=\d0s) ?{_DASH} ?(?='?\d+0s\b)", " to ", text)
    text = sub(rf"\b({_NUMBER})(?:st|nd|rd|th)\b", lambda m: ordinal(_integer(m[1])), text)
    text = sub(r"\b(1\d|20)(\d0)'?s\b", lambda m: plural(year(int(m[1] + m[2]))), text)
    text = sub(r"'?\b(\d0)'?s\b", lambda m: plural(cardinal(int(m[1]))), text)
    text = sub(r"(?<![\w.])'0([1-9])\b", lambda m: f"oh {digits(m[1])}", text)
    text = sub(r"(?<![\d./])(?:24/7|9/11|50/50)(?![\d/])", lambda m: m[0].replace("/", " "), text)
    day = r"(\d{1,2})/(\d{1,2})"
    text = sub(rf"(?<![\d./]){day} ?{_DASH} ?{day}(?![\d/])", _read_range_of_days, text)
    text = sub(rf"(?<![\d./])(\d{{1,3}}/\d{{1,3}}) ?{_DASH} ?(?=\.?\d)", r"\1 to ", text)
    text = sub(
        r"(?i)\b(on|by|until|till|since|from|before|after) (\d{1,2})/(\d{1,2})(?![\d/])",
        _read_month_and_day,
        text,
    )
    text = sub(r"(?<![\d./])(?:(\d+) )?(\d{1,3})/(\d{1,3})(?![\d/])", _read_fraction, text)
    text = sub(rf"(?<=\d)(?:{_DASH}| {_DASH} )(?=\d)", " to ", text)
    text = sub(r"(?<=\d)x(?=\d)", " by ", sub(r"(?<=\d)x\b", " times", text))
    text = sub(r"(?<=\d)\^(?=[-−]?\d)", " to the power of ", text)
    text = sub(r"(?<=\d) ?(bn|mn|tn)\b", lambda m: f" {_SHORT_SCALES[m[1]]}", text)
    text = sub(
        rf"(?i)(?<=\d)( ?(?:{_UNIT})) ?{_DASH} ?(?=[-−]?\.?\d)",
        lambda m: m[0] if m[1] in ("M", "G") else f"{m[1]} to ",
        text,
    )
    text = sub(
        rf"(?i)((?:{_NUMBER})?(?<=\d)(?:\.\d+)?|(?<![\w.])\.\d+) ?({_UNIT})(?![A-Za-z])",
        lambda m: m[0] if m[2] in "MG" else f"{m[1]} {_unit_name(m[1], m[2].lower())}",
        text,
    )
    text = sub(r"#(?=\d)|\b[Nn]o\. ?(?=\d)", "number ", text)
    text = sub(r"(?<![\w.])[-−](?=\.?\d)", "minus ", text)
    text = sub(
        rf"({_NUMBER})\.(\d+)", lambda m: f" {cardinal(_integer(m[1]))} point {digits(m[2])} ", text
    )
    text = sub(r"(?<![\w.])\.(\d+)", lambda m: f" point {digits(m[1])} ", text)
    text = sub(
        r"(?i)\b(in|since|year|until|circa) (10\d\d)(?!\d|[,.]\d|\s(?:\w+s)\b)",
        lambda m: f"{m[1]} {year(int(m[2]))}",
        text,
    )
    text = sub(
        r"(?<![\d,])(1[1-9]\d\d|20\d\d)(?!\d|,\d|\s(?:\w+s)\b)",
        lambda m: f" {year(int(m[1]))} ",
        text,
    )
    text = sub(_NUMBER, lambda m: f" {_read_integer(m[0])} ", text)
    return sub(r"(?<=[a-z]) +'(?=s\b)", "'", text)  # of 1984's: the ending belongs to the last word


def _read_digit_strings(text: str) -> str:
    """Read telephone numbers, versions, and numbers that are names (suite 205, zip code 90210)."""
    sub = re.sub
    text = sub(
        r"\+(\d{1,3}(?:[-. ]\(?\d{1,4}\)?){2,4})(?!\d)",
        lambda m: f"plus {_read_groups(m[1])}",
        text,
    )
    text = sub(
        r"(?<![\d.-])(?:1[-. ])?\(?\d{3}\)?(?:[-.]| (?=\d{3}-))\d{3}[-.]\d{4}(?![\d-])",
        _spell_match,
        text,
    )
    text = sub(r"\((\d{3})\) ?(\d{3})[- ](\d{4})(?!\d)", _spell_match, text)
    text = sub(r"(?<![\d-])1-(8\d\d)-(?=[A-Z\d])", lambda m: f"one {digits(m[1])} ", text)
    text = sub(r"(?<![\d-])\d{3}-\d{4}(?![\d-])", _spell_match, text)
    text = sub(r"(?<![\d.,])0\d{1,4} \d{3,4} \d{3,4}(?!\d)", _spell_match, text)
    text = sub(r"(?<![\d-])\d+(?:-\d+){2,}(?![\d-])", _spell_match, text)
    text = sub(
        r"(?i)\b((?:call|dial|called|calling|dialed|dialing|phone) )(\d11|999|112)\b",
        lambda m: m[1] + digits(m[2]),
        text,
    )
    text = sub(
        r"(?i)\b((?:post ?code|zip(?: ?code)?|(?:pass|area |access |door |pin )?code|pin|password"
        r"|extension)(?: is| number)?:? )(\d{3,})\b(?:-(\d{4})\b)?",
        lambda m: m[1] + " ".join(digits(part) for part in m.groups()[1:] if part),
        text,
    )
    text = sub(
        rf"\b({_STATES}) (\d{{5}})(?:-(\d{{4}}))?\b",
        lambda m: f"{m[1]} " + " ".join(digits(part) for part in m.groups()[1:] if part),
        text,
    )
    text = sub(
        r"(?i)\b((?:flight|suite|apartment|apt\.?|route|highway|interstate|bus|boeing|airbus"
        r"|locker|(?:hotel )?[r]oom"
        r")(?: number| no\.)? )([A-Z]{1,2} ?(?=\d{3}))?(\d{3,4})(?![\d,.]\d|\d)"
        rf"(?: ?{_DASH} ?(\d{{3,4}})\b)?",
        _read_named_number,
        text,
    )
    text = sub(
        r"(?<![\d,.])(\d{3,4})(?= (?:[A-Z][a-z]+ ){1,3}"
        r"(?:[Ss]treet|[Aa]venue|Ave|[Rr]oad|Rd|[Bb]oulevard|Blvd|[Ll]ane|[Dd]rive)\b)",
        lambda m: number_in_pairs(m[1]),
        text,
    )
    text = sub(r"(?<![\w.])v?\d+(?:\.\d+){2,}(?![\w.]*\d)", _read_version, text)
    text = sub(
        r"(?i)\b(v|(?:version|ver\.|release|python|update) )(\d+\.\d+)(?![\d.])",
        _read_version,
        text,
    )
    # Letters of a name before digits are spelled: CO2, MP3, BA2490
    return sub(r"\b([A-Z]{2,3})(?=\d)", lambda m: "".join(f"{c}. " for c in m[1].lower()), text)


def _read_date_ranges(text: str) -> str:
    """Read the dash between two days: May 5-10 as "may fifth to tenth"."""
    last_day = rf"({_MONTH} \d{{1,2}})(?:st|nd|rd|th)? ?{_DASH} ?(\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)"
    text = re.sub(
        rf"(?i)\b{last_day}",
        lambda m: (
            f"{m[1]} to {ordinal(int(m[2]))}"
            if 0 < int(m[2]) < 32 and not m[1].startswith(("may ", "march "))  # verbs
            else m[0]
        ),
        text,
    )
    text = re.sub(
        rf"(?i)\b({_MONTH} \d{{1,2}}(?:st|nd|rd|th)?) ?{_DASH} ?(?={_MONTH} \d)", r"\1 to ", text
    )
    return re.sub(
        rf"(?<![\d.,:-])(\d{{1,2}}) ?{_DASH} ?(?=\d{{1,2}} {_MONTH_NAME}\b)",
        lambda m: f"the {ordinal(int(m[1]))} to " if 0 < int(m[1]) < 32 else m[0],
        text,
    )


def _read_money_ranges(text: str) -> str:
    """Write currency symbols before the amounts, and read the dash between two amounts."""
    sign, after = "[$£€¥₩¢]", r"(?: ?[£€¥₩¢](?!\d)|\$(?! ?\d))"
    amount = rf"(?:{_NUMBER})(?:\.\d+)?"
    scale = r"(?: (?:million|billion|trillion|thousand)\b|(?i:k|mn?|bn?|tn?)\b)"
    first = rf"(?<![$£€¥₩¢\d.,])({amount})"
    text = re.sub(
        rf"{first} ?{_DASH} ?({amount})({after})",
        lambda m: f"{m[3].strip()}{m[1]}-{m[3].strip()}{m[2]}",
        text,
    )
    text = re.sub(rf"{first}({after})", lambda m: f"{m[2].strip()}{m[1]}", text)

    def read_range(match: re.Match) -> str:
        country, symbol, low, low_scale, high = match.groups()
        symbol = country + symbol
        if "." in low and not re.match(scale, match.string[match.end() :]):
            return f"{symbol}{low} to {symbol}{high}"  # $1.50-$2: the first amount has cents
        word = low_scale.strip() if low_scale else ""
        word = _SHORT_SCALES.get(word.lower(), word)
        return f" {low} {word} to {symbol}{high}" if word else f" {low} to {symbol}{high}"

    text = re.sub(
        rf"((?:\b[A-Z]{{1,2}})?)({sign}) ?({amount})({scale})? ?{_DASH} ?(?:\1?\2)? ?({amount})"
        r"(?!\d)(?! ?[-/]\d)",
        read_range,
        text,
    )
    return re.sub(
        rf"({sign} ?{amount}{scale}?) ?{_DASH} ?(?=[A-Z]{{0,2}}{sign} ?\.?\d)", r"\1 to ", text
    )


def _read_groups(text: str) -> str:
    """Read all digits of a text, one by one."""
    return " ".join(digits(group) for group in re.findall(r"\d+", text))


def _spell_match(match: re.Match) -> str:
    return _read_groups(match[0])


def _read_named_number(match: re.Match) -> str:
    """Read the number of a room or flight, or the first and last one of several."""
    name, letters, number, last = match.groups()
    spelled = "".join(f"{letter}. " for letter in (letters or "").strip().lower())
    to_last = f" to {number_in_pairs(last)}" if last else ""
    return f"{name}{spelled}{number_in_pairs(number)}{to_last}"


def _read_version(match: re.Match) -> str:
    """Read every part of a version as a number: 3.10 as "three point ten"."""
    prefix, version = re.fullmatch(r"([^\d]*)([\d.]+)", match[0]).groups()  # type: ignore[union-attr]
    if re.fullmatch(r"\d{3}\.\d{3}\.\d{4}", version):
        return _read_groups(version)
    parts = version.split(".")
    separator = " dot " if len(parts) > 3 else " point "
    spelled = "v. " if prefix == "v" else prefix
    return spelled + separator.join(cardinal(int(part)) for part in parts)


def _integer(text: str) -> int:
    return int(text.replace(",", ""))


def _read_integer(text: str) -> str:
    return digits(text) if len(text) > 1 and text.startswith("0") else cardinal(_integer(text))


def _unit_name(number: str, unit: str) -> str:
    """Return the name of a unit, in the singular after the number 1."""
    name = _UNITS[unit]
    if number == "1":
        name = {"feet": "foot", "hertz": "hertz", "percent": "percent"}.get(
            name,
            re.sub(r"s\b", "", name, count=1) if name.endswith("s") or " per " in name else name,
        )
    return name


def _read_date(match: re.Match) -> str:
    is_verb = match[1] in ("may", "march") and not match[3]  # you may 3 times
    if is_verb and not match[0].endswith(("st", "nd", "rd", "th")):
        return match[0]
    month = _month_of(match[1])
    day = int(match[2])
    words = f"{month} {ordinal(day) if 0 < day < 32 else cardinal(day)}"
    if not match[3]:
        return words
    is_year = 1000 <= int(match[3]) < 3000
    return f"{words} {year(int(match[3])) if is_year else digits(match[3])}"


def _read_day_and_month(match: re.Match) -> str:
    """Read 5 May 2024 as "the fifth of may twenty twenty four"."""
    day, name, year_digits = match.groups()
    if not 0 < int(day) < 32:
        return match[0]
    words = f"the {ordinal(int(day))} of {_month_of(name)}"
    return f"{words} {year(int(year_digits))}" if year_digits else words


def _month_of(name: str) -> str:
    return next(month for month in _MONTHS if month.startswith(name.lower().rstrip(".")[:3]))


def _read_slash_date(match: re.Match) -> str:
    """Read 4/5/2024 as month, day and year; 25/12/2024 can only be day, month and year."""
    first, second, last = (int(part) for part in match.groups())
    month, day = (first, second) if first <= 12 else (second, first)
    if not (1 <= month <= 12 and 1 <= day <= 31) or 99 < last < 1000:
        return match[0]
    words = year(last) if last > 99 else digits(match[3]) if last < 10 else cardinal(last)
    return f"{_MONTHS[month - 1]} {ordinal(day)} {words}"


def _read_dotted_date(match: re.Match) -> str:
    """Read 4.5.2024 as day, month and year, as it is written in Europe."""
    day, month, last = (int(part) for part in match.groups())
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"the {ordinal(day)} of {_MONTHS[month - 1]} {year(last)}"


def _read_month_and_day(match: re.Match) -> str:
    """Read "on 12/25" as a date if the numbers are a month and a day."""
    month, day = int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"{match[1]} {_MONTHS[month - 1]} {ordinal(day)}"


def _read_range_of_days(match: re.Match) -> str:
    days = days_of_range(match)
    if days is None:
        return match[0]
    return " to ".join(f"{_MONTHS[month - 1]} {ordinal(day)}" for month, day in days)


def _read_iso_date(match: re.Match) -> str:
    parts = match[1], match[3], match[4]
    numbers = [int(part) for part in parts]
    if not (1000 <= numbers[0] < 3000 and 1 <= numbers[1] <= 12 and 1 <= numbers[2] <= 31):
        return " ".join(map(digits, parts))
    return f"{_MONTHS[numbers[1] - 1]} {ordinal(numbers[2])} {year(numbers[0])}"


def _read_money(match: re.Match) -> str:
    country, symbol, whole_digits, fraction, scale = match.groups()
    unit, subunit = _MONEY[symbol]
    whole, scale = _integer(whole_digits or "0"), scale or ""
    if scale and not scale.startswith(" "):
        scale = " " + _SHORT_SCALES[scale.lower()]
    prefix = f"{country} " if country else ""
    unit = prefix + unit
    plural_unit = unit if symbol in "¥₩" else unit + "s"
    if fraction and (scale or len(fraction) != 2 or not subunit):
        words = f"{cardinal(whole)} point" if whole_digits else "point"
        return f"{words} {digits(fraction)}{scale} {plural_unit}"
    words = f"{cardinal(whole)}{scale} {unit if whole == 1 and not scale else plural_unit}"
    cents = int(fraction) if fraction else 0
    if not cents:
        return words
    name = subunit if subunit == "pence" or cents == 1 else subunit + "s"
    return f"{words} and {cardinal(cents)} {name}" if whole else f"{cardinal(cents)} {name}"


def _read_clock(match: re.Match) -> str:
    hour, minute, half_of_day = int(match[1]), int(match[2]), match[3]
    if hour > 24 or minute > 59:
        return f"{cardinal(hour)} to {cardinal(minute)}"
    space = " " if half_of_day else ""
    if not minute and half_of_day:
        return cardinal(hour) + space
    if not minute:
        return f"{cardinal(hour)} o'clock" if 0 < hour < 13 else f"{cardinal(hour)} hundred"
    return f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}{space}"


def _read_feet(match: re.Match) -> str:
    feet, inches = int(match[1]), int(match[2])
    return (
        f" {cardinal(feet)} {'foot' if feet == 1 else 'feet'} "
        f"{cardinal(inches)} {'inch' if inches == 1 else 'inches'} "
    )


def _read_fraction(match: re.Match) -> str:
    """Read 3/4 as "three quarters" and 1 1/2 as "one and a half"."""
    whole, numerator, denominator = match[1], int(match[2]), int(match[3])
    if whole and 0 < numerator < denominator <= 100:
        article = "a" if numerator == 1 and denominator in (2, 4) else cardinal(numerator)
        name = _fraction_name(numerator, denominator)
        return f"{cardinal(int(whole))} and {article} {name}"
    prefix = f"{cardinal(int(whole))} " if whole else ""
    if numerator == denominator:
        return f"{prefix}{cardinal(numerator)} out of {cardinal(denominator)}"
    is_ratio = denominator < 2 or numerator > denominator or denominator > 100
    if is_ratio and denominator != 2:
        return f"{prefix}{cardinal(numerator)} over {cardinal(denominator)}"
    return f"{prefix}{cardinal(numerator)} {_fraction_name(numerator, denominator)}"


def _fraction_name(numerator: int, denominator: int) -> str:
    if denominator == 2:
        return "half" if numerator == 1 else "halves"
    name = "quarter" if denominator == 4 else ordinal(denominator)
    return name if numerator == 1 else name + "s"
