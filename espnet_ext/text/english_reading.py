"""English text to spoken words: numbers, dates, amounts, times, units, abbreviations, symbols."""

import re

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
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
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = "(?:" + "|".join(f"{m}|{m[:3]}\\.?" if len(m) > 3 else m for m in _MONTHS) + "|sept\\.?)"
_MONEY = {
    "$": ("dollar", "cent"),
    "£": ("pound", "pence"),
    "€": ("euro", "cent"),
    "¥": ("yen", ""),
    "₩": ("won", ""),
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
    "khz": "kilohertz",
    "mhz": "megahertz",
    "ghz": "gigahertz",
    "kb": "kilobytes",
    "mb": "megabytes",
    "gb": "gigabytes",
    "tb": "terabytes",
    "m": "meters",
    "g": "grams",
}
_ABBREVIATIONS = {
    "mr": "mister",
    "mrs": "missus",
    "ms": "miz",
    "dr": "doctor",
    "st": "saint",
    "jr": "junior",
    "sr": "senior",
    "vs": "versus",
    "etc": "et cetera",
    "prof": "professor",
    "gen": "general",
    "capt": "captain",
    "lt": "lieutenant",
    "sgt": "sergeant",
    "col": "colonel",
    "rev": "reverend",
    "gov": "governor",
    "sen": "senator",
    "rep": "representative",
    "mt": "mount",
    "dept": "department",
    "approx": "approximately",
    "inc": "incorporated",
    "ltd": "limited",
    "co": "company",
    "corp": "corporation",
}
# Without a full stop these are no words, so that they need none
_BARE = ("mr", "mrs", "dr", "vs", "etc", "prof", "sgt", "capt", "dept")
_SYMBOLS = {
    "&": " and ",
    "+": " plus ",
    "=": " equals ",
    "@": " at ",
    "×": " times ",
    "÷": " divided by ",
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
_ROMAN_ROW = "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX"
_ROMAN = {numeral: number for number, numeral in enumerate(_ROMAN_ROW.split(), 1)}
_NAME_ROWS = {
    "regnal": """Albert Alexander Alfonso Benedict Carl Carlos Catherine Charles Christian Clement
        Constantine Edward Elizabeth Ferdinand Francis Frederick George Gregory Gustav Henry
        Innocent Ivan James Joseph Juan Justinian Leo Leopold Louis Mary Maximilian Mehmed Napoleon
        Nicholas Otto Paul Peter Philip Pius Ptolemy Ramses Richard Robert Rudolf Sixtus Urban
        Wilhelm William""",
    "numbered": """Act Appendix Article Book Chapter Class Division Episode Figure Grade Group Level
        Part Phase Round Scene Section Series Stage Step Table Title Type Vol Volume War""",
    "none": """A After All An And Any As At Before But By For From Get Give He Her His I If In Into
        It Its My No Not Of On Or Our She So Start Stop That The Their Then They This To Use We When
        Why With You Your""",
}
# After a name of _REGNAL, single letters are numbers too; what is _NUMBERED takes cardinals
_REGNAL, _NUMBERED, _NO_NAMES = (frozenset(row.split()) for row in _NAME_ROWS.values())
_DOMAIN = r"(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|info|io|ai|kr|uk|jp|de|fr|eu|tv|app|dev)"
_NUMBER = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"


def cardinal(number: int) -> str:
    """A number in words, as American English says it (no "and").

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
    hundreds, rest = divmod(number, 100)
    words = [_ONES[hundreds] + " hundred"] if hundreds else []
    if 0 < rest < 20:
        words.append(_ONES[rest])
    elif rest:
        words.append(_TENS[rest // 10] + (" " + _ONES[rest % 10] if rest % 10 else ""))
    return " ".join(words)


def ordinal(number: int) -> str:
    """A number's ordinal.

    >>> ordinal(1), ordinal(20), ordinal(113)
    ('first', 'twentieth', 'one hundred thirteenth')
    """
    before, _, last = cardinal(number).rpartition(" ")
    last = _ORDINAL.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return f"{before} {last}".strip()


def year(number: int) -> str:
    """A year from 1000 to 2999.

    >>> year(1905), year(2007), year(2024), year(1900)
    ('nineteen oh five', 'two thousand seven', 'twenty twenty four', 'nineteen hundred')
    """
    century, rest = divmod(number, 100)
    if 2000 <= number < 2010 or number % 1000 == 0:
        return cardinal(number)
    if not rest:
        return cardinal(century) + " hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def digits(text: str) -> str:
    """Digits one by one.

    >>> digits("0451")
    'zero four five one'
    """
    return " ".join(_ONES[int(one)] for one in text)


def spell_out(text: str) -> str:
    """Return `text` with what is not words written as words.

    >>> spell_out("Dr. Lee paid $3.50 on May 5, 2024")
    'doctor Lee paid three dollars and fifty cents on may fifth twenty twenty four'
    """
    text = text.replace("’", "'").replace("‘", "'").replace("＇", "'")
    text = re.sub(rf"(?i)(?<![\w.])[\w.+-]+@{_DOMAIN}\b", _address, text)
    text = re.sub(
        rf"(?<![\w.@])(?:https?://(?:[\w-]+\.)+\w+(?:/[\w./-]*\w|/)?|{_DOMAIN}\b)", _address, text
    )
    text = re.sub(r"(?:\b(\w[\w']*) )?\bSt\b(?:\.|(?= [A-Z]|$))", _street, text)
    text = re.sub(r"\b([A-Z][a-z]+) (X{0,2}(?:IX|IV|V?I{0,3}))\b(?![.-]\w)", _regnal, text)
    text = re.sub(r"(?i)\b(" + "|".join(_ABBREVIATIONS) + r")\.(?=[\s,)]|$)", _abbreviation, text)
    text = re.sub(r"(?i)\b(" + "|".join(_BARE) + r")\b(?!')", _abbreviation, text)
    text = re.sub(r"\b(?:[A-Za-z]\.){2,}(?:[A-Za-z](?![A-Za-z]))?", _letters, text)
    if re.search(r"\d", text):
        text = _numbers(text)
    return re.sub(r"[&+=@×÷]", lambda m: _SYMBOLS[m[0]], re.sub(r"[ \t]+", " ", text))


def _letters(found: re.Match) -> str:
    """U.S. as "u. s. ", the names of letters in the CMU dictionary."""
    return "".join(f"{letter}. " for letter in found[0].lower() if letter != ".")


def _abbreviation(found: re.Match) -> str:
    return _ABBREVIATIONS[found[1].lower()]


def _address(found: re.Match) -> str:
    """An electronic address, every sign of it: a@b.com as "a. at b. dot com"."""
    parts = re.findall(r"[a-z]+|\d+|[^\w\s]|_", re.sub(r"(?i)^(https?)://", r"\1 ", found[0]), re.I)
    names = {".": "dot", "@": "at", "-": "dash", "_": "underscore", "/": "slash", "+": "plus"}
    said = (
        names.get(part) or (f"{part}." if re.fullmatch("[A-Za-z]", part) else part)
        for part in parts
    )
    return " ".join(said)


def _street(found: re.Match) -> str:
    """St. at the end of a name (Main St.) is Street, before one (St. John) Saint."""
    before, after = found[1] or "", found.string[found.end() :]
    ends_name = before[:1].isupper() and before not in _NO_NAMES or re.match(r"\d", before)
    named = re.match(r" ([A-Z][a-z]+)", after)
    starts_name = named and named[1] not in _NO_NAMES
    if not before and not starts_name and not found[0].endswith("."):
        return found[0]
    said = "street" if ends_name and not starts_name else "saint"
    return f"{before} {said}".strip()


def _regnal(found: re.Match) -> str:
    """Henry VIII as "Henry the eighth", World War II as "World War two"."""
    name, numeral = found.groups()
    number = _ROMAN.get(numeral)
    if not number or name in _NO_NAMES:
        return found[0]
    if name in _NUMBERED and numeral != "I":
        return f"{name} {cardinal(number)}"
    if len(numeral) == 1 and name not in _REGNAL:
        return found[0]
    if (
        numeral == "I"
        and not re.match(  # "as Henry I know"
            r"(?:'s\b|\s*(?:[^\w\s']|$)| (?:was|is|of|and|reigned|ruled|died|became)\b)",
            found.string[found.end() :],
        )
    ):
        return found[0]
    return f"{name} the {ordinal(number)}"


def _numbers(text: str) -> str:
    sub = re.sub
    text = sub(r"(?<!\d)(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)", _iso_date, text)
    text = sub(rf"(?i)\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (\d{{4}})\b)?", _date, text)
    text = sub(rf"(?<![$£€¥₩\d.,])((?:{_NUMBER})(?:\.\d+)?) ?([£€¥₩])(?!\d)", r"\2\1", text)
    text = sub(
        rf"([$£€¥₩]) ?({_NUMBER})(?:\.(\d+))?"
        r"( (?:million|billion|trillion|thousand)\b|(?i:k|mn?|bn?|tn?)\b)?",
        _money,
        text,
    )
    text = sub(r"(?<![\d.,'])(\d+)['′] ?(\d|1[01])(?:\"|''|[”″]|(?![\w'′]))", _feet, text)
    text = sub(r"(?<=\d)′", " ft", sub(r"(?<=\d)″", " inches", text))
    text = sub(r"(?<![\d:])(\d{1,2}):(\d{2})(?![\d:])", _clock, text)
    text = sub(
        r"(?<![\d-])(?:\(?(\d{3})\)?[- ])?(\d{3})-(\d{4})(?![\d-])",
        lambda m: " ".join(digits(part) for part in m.groups() if part),
        text,
    )
    text = sub(rf"\b({_NUMBER})(?:st|nd|rd|th)\b", lambda m: ordinal(_whole(m[1])), text)
    text = sub(r"\b(1\d|20)(\d0)s\b", lambda m: _plural(year(int(m[1] + m[2]))), text)
    text = sub(r"'?\b(\d0)s\b", lambda m: _plural(cardinal(int(m[1]))), text)
    text = sub(r"(?<![\d./])(\d{1,3})/(\d{1,3})(?![\d/])", _fraction, text)
    text = sub(r"(?<=\d)(?:[-–]| [-–] )(?=\d)", " to ", text)
    units = "|".join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))
    text = sub(
        rf"(?i)((?:{_NUMBER})(?:\.\d+)?) ?({units})(?![A-Za-z])",
        lambda m: f"{m[1]} {_unit(m[1], m[2].lower())}",
        text,
    )
    text = sub(r"#(?=\d)", "number ", text)
    text = sub(r"(?<![\w.])[-−](?=\d)", "minus ", text)
    text = sub(
        rf"({_NUMBER})\.(\d+)", lambda m: f" {cardinal(_whole(m[1]))} point {digits(m[2])} ", text
    )
    text = sub(
        r"(?<![\d,])(1[1-9]\d\d|20\d\d)(?!\d|,\d|\s(?:\w+s)\b)",
        lambda m: f" {year(int(m[1]))} ",
        text,
    )
    return sub(_NUMBER, lambda m: f" {_plain(m[0])} ", text)


def _whole(text: str) -> int:
    return int(text.replace(",", ""))


def _plain(text: str) -> str:
    return digits(text) if len(text) > 1 and text.startswith("0") else cardinal(_whole(text))


def _plural(words: str) -> str:
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def _unit(number: str, unit: str) -> str:
    name = _UNITS[unit]
    if number == "1":
        name = {"feet": "foot", "hertz": "hertz", "percent": "percent"}.get(
            name,
            re.sub(r"s\b", "", name, count=1) if name.endswith("s") or " per " in name else name,
        )
    return name


def _date(found: re.Match) -> str:
    month = next(m for m in _MONTHS if m.startswith(found[1].lower().rstrip(".")[:3]))
    day = int(found[2])
    said = f"{month} {ordinal(day) if 0 < day < 32 else cardinal(day)}"
    return said + (
        f" {year(int(found[3]))}"
        if found[3] and 1000 <= int(found[3]) < 3000
        else f" {digits(found[3])}"
        if found[3]
        else ""
    )


def _iso_date(found: re.Match) -> str:
    numbers = [int(part) for part in found.groups()]
    if not (1000 <= numbers[0] < 3000 and 1 <= numbers[1] <= 12 and 1 <= numbers[2] <= 31):
        return " ".join(digits(part) for part in found.groups())
    return f"{_MONTHS[numbers[1] - 1]} {ordinal(numbers[2])} {year(numbers[0])}"


def _money(found: re.Match) -> str:
    unit, small = _MONEY[found[1]]
    whole, fraction, scale = _whole(found[2]), found[3], found[4] or ""
    if scale and not scale.startswith(" "):
        scale = " " + _SHORT_SCALES[scale.lower()]
    plural = unit if unit in ("yen", "won") else unit + "s"
    if fraction and (scale or len(fraction) != 2):
        return f"{cardinal(whole)} point {digits(fraction)}{scale} {plural}"
    said = f"{cardinal(whole)}{scale} {unit if whole == 1 and not scale else plural}"
    cents = int(fraction) if fraction else 0
    if not cents:
        return said
    name = small if small == "pence" or cents == 1 else small + "s"
    return f"{said} and {cardinal(cents)} {name}" if whole else f"{cardinal(cents)} {name}"


def _clock(found: re.Match) -> str:
    hour, minute = int(found[1]), int(found[2])
    if hour > 24 or minute > 59:
        return f"{cardinal(hour)} to {cardinal(minute)}"
    if not minute:
        return f"{cardinal(hour)} o'clock" if 0 < hour < 13 else f"{cardinal(hour)} hundred"
    return f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"


def _feet(found: re.Match) -> str:
    feet, inches = int(found[1]), int(found[2])
    return (
        f" {cardinal(feet)} {'foot' if feet == 1 else 'feet'} "
        f"{cardinal(inches)} {'inch' if inches == 1 else 'inches'} "
    )


def _fraction(found: re.Match) -> str:
    above, below = int(found[1]), int(found[2])
    if below == 2:
        return f"{cardinal(above)} {'half' if above == 1 else 'halves'}"
    if below < 2 or above >= below or below > 100:
        return f"{cardinal(above)} over {cardinal(below)}"
    name = "quarter" if below == 4 else ordinal(below)
    return f"{cardinal(above)} {name}{'' if above == 1 else 's'}"
