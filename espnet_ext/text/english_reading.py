"""English text to spoken words: numbers, dates, amounts, times, units, abbreviations, symbols.

This is text normalisation (verbalisation) for English G2P.
"""

import re

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
_MONTHS_ROW = """
    january february march april may june july august september october november december
"""
_MONTHS = _MONTHS_ROW.split()
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
# Abbreviations that are recognised without a full stop too, because they are not words
_WITHOUT_STOP = ("mr", "mrs", "dr", "vs", "etc", "prof", "sgt", "capt", "dept")
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
# After these names, a Roman numeral of one letter is an ordinal too
_REGNAL_ROWS = """
    Albert Alexander Alfonso Benedict Carl Carlos Catherine Charles Christian Clement Constantine
    Edward Elizabeth Ferdinand Francis Frederick George Gregory Gustav Henry Innocent Ivan James
    Joseph Juan Justinian Leo Leopold Louis Mary Maximilian Mehmed Napoleon Nicholas Otto Paul Peter
    Philip Pius Ptolemy Ramses Richard Robert Rudolf Sixtus Urban Wilhelm William
"""
_REGNAL = frozenset(_REGNAL_ROWS.split())
# After these words, a Roman numeral is a cardinal
_NUMBERED_ROWS = """
    Act Appendix Article Book Chapter Class Division Episode Figure Grade Group Level Part Phase
    Round Scene Section Series Stage Step Table Title Type Vol Volume War
"""
_NUMBERED = frozenset(_NUMBERED_ROWS.split())
# Words that are capitalised at the start of a sentence but are not names
_NOT_NAMES_ROWS = """
    A After All An And Any As At Before But By For From Get Give He Her His I If In Into It Its My
    No Not Of On Or Our She So Start Stop That The Their Then They This To Use We When Why With You
    Your
"""
_NOT_NAMES = frozenset(_NOT_NAMES_ROWS.split())
_DOMAIN = r"(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|info|io|ai|kr|uk|jp|de|fr|eu|tv|app|dev)"
_NUMBER = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"


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


def spell_out(text: str) -> str:
    """Return `text` with numbers, dates, amounts, abbreviations and symbols as words.

    >>> spell_out("Dr. Lee paid $3.50 on May 5, 2024")
    'doctor Lee paid three dollars and fifty cents on may fifth twenty twenty four'
    """
    text = text.replace("’", "'").replace("‘", "'").replace("＇", "'")
    text = re.sub(rf"(?i)(?<![\w.])[\w.+-]+@{_DOMAIN}\b", _read_address, text)
    text = re.sub(
        rf"(?<![\w.@])(?:https?://(?:[\w-]+\.)+\w+(?:/[\w./-]*\w|/)?|{_DOMAIN}\b)",
        _read_address,
        text,
    )
    text = re.sub(r"(?:\b(\w[\w']*) )?\bSt\b(?:\.|(?= [A-Z]|$))", _read_st, text)
    text = re.sub(
        r"\b([A-Z][a-z]+) (X{0,2}(?:IX|IV|V?I{0,3}))\b(?![.-]\w)", _read_roman_numeral, text
    )
    text = re.sub(
        r"(?i)\b(" + "|".join(_ABBREVIATIONS) + r")\.(?=[\s,)]|$)", _read_abbreviation, text
    )
    text = re.sub(r"(?i)\b(" + "|".join(_WITHOUT_STOP) + r")\b(?!')", _read_abbreviation, text)
    text = re.sub(r"\b(?:[A-Za-z]\.){2,}(?:[A-Za-z](?![A-Za-z]))?", _read_initials, text)
    if re.search(r"\d", text):
        text = _read_numbers(text)
    return re.sub(r"[&+=@×÷]", lambda m: _SYMBOLS[m[0]], re.sub(r"[ \t]+", " ", text))


def _read_initials(match: re.Match) -> str:
    """Read U.S. as "u. s. ". In the CMU dictionary, "u." is the name of the letter."""
    return "".join(f"{letter}. " for letter in match[0].lower() if letter != ".")


def _read_abbreviation(match: re.Match) -> str:
    return _ABBREVIATIONS[match[1].lower()]


def _read_address(match: re.Match) -> str:
    """Read an e-mail or web address with its punctuation: a@b.com as "a. at b. dot com"."""
    address = re.sub(r"(?i)^(https?)://", r"\1 ", match[0])
    parts = re.findall(r"[a-z]+|\d+|[^\w\s]|_", address, re.I)
    names = {".": "dot", "@": "at", "-": "dash", "_": "underscore", "/": "slash", "+": "plus"}
    words = (
        names.get(part) or (f"{part}." if re.fullmatch("[A-Za-z]", part) else part)
        for part in parts
    )
    return " ".join(words)


def _read_st(match: re.Match) -> str:
    """Read "St." as "street" after a name (Main St.) and as "saint" before a name (St. John)."""
    before, after = match[1] or "", match.string[match.end() :]
    ends_name = (before[:1].isupper() and before not in _NOT_NAMES) or re.match(r"\d", before)
    next_name = re.match(r" ([A-Z][a-z]+)", after)
    starts_name = next_name and next_name[1] not in _NOT_NAMES
    if not before and not starts_name and not match[0].endswith("."):
        return match[0]
    word = "street" if ends_name and not starts_name else "saint"
    return f"{before} {word}".strip()


def _read_roman_numeral(match: re.Match) -> str:
    """Read Henry VIII as "Henry the eighth" and World War II as "World War two"."""
    name, numeral = match.groups()
    number = _ROMAN.get(numeral)
    if not number or name in _NOT_NAMES:
        return match[0]
    if name in _NUMBERED and numeral != "I":
        return f"{name} {cardinal(number)}"
    if len(numeral) == 1 and name not in _REGNAL:
        return match[0]
    # "I" is a pronoun ("as Henry I know") unless what follows can follow a name
    if numeral == "I" and not re.match(
        r"(?:'s\b|\s*(?:[^\w\s']|$)| (?:was|is|of|and|reigned|ruled|died|became)\b)",
        match.string[match.end() :],
    ):
        return match[0]
    return f"{name} the {ordinal(number)}"


def _read_numbers(text: str) -> str:
    """Replace everything that contains digits by words. The order of the patterns matters."""
    sub = re.sub
    text = sub(r"(?<!\d)(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)", _read_iso_date, text)
    text = sub(
        rf"(?i)\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (\d{{4}})\b)?", _read_date, text
    )
    text = sub(rf"(?<![$£€¥₩\d.,])((?:{_NUMBER})(?:\.\d+)?) ?([£€¥₩])(?!\d)", r"\2\1", text)
    text = sub(
        rf"([$£€¥₩]) ?({_NUMBER})(?:\.(\d+))?"
        r"( (?:million|billion|trillion|thousand)\b|(?i:k|mn?|bn?|tn?)\b)?",
        _read_money,
        text,
    )
    text = sub(r"(?<![\d.,'])(\d+)['′] ?(\d|1[01])(?:\"|''|[”″]|(?![\w'′]))", _read_feet, text)
    text = sub(r"(?<=\d)′", " ft", sub(r"(?<=\d)″", " inches", text))
    text = sub(r"(?<![\d:])(\d{1,2}):(\d{2})(?![\d:])", _read_clock, text)
    text = sub(
        r"(?<![\d-])(?:\(?(\d{3})\)?[- ])?(\d{3})-(\d{4})(?![\d-])",
        lambda m: " ".join(digits(part) for part in m.groups() if part),
        text,
    )
    text = sub(rf"\b({_NUMBER})(?:st|nd|rd|th)\b", lambda m: ordinal(_integer(m[1])), text)
    text = sub(r"\b(1\d|20)(\d0)s\b", lambda m: _plural(year(int(m[1] + m[2]))), text)
    text = sub(r"'?\b(\d0)s\b", lambda m: _plural(cardinal(int(m[1]))), text)
    text = sub(r"(?<![\d./])(\d{1,3})/(\d{1,3})(?![\d/])", _read_fraction, text)
    text = sub(r"(?<=\d)(?:[-–]| [-–] )(?=\d)", " to ", text)
    units = "|".join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))
    text = sub(
        rf"(?i)((?:{_NUMBER})(?:\.\d+)?) ?({units})(?![A-Za-z])",
        lambda m: f"{m[1]} {_unit_name(m[1], m[2].lower())}",
        text,
    )
    text = sub(r"#(?=\d)", "number ", text)
    text = sub(r"(?<![\w.])[-−](?=\d)", "minus ", text)
    text = sub(
        rf"({_NUMBER})\.(\d+)", lambda m: f" {cardinal(_integer(m[1]))} point {digits(m[2])} ", text
    )
    text = sub(
        r"(?<![\d,])(1[1-9]\d\d|20\d\d)(?!\d|,\d|\s(?:\w+s)\b)",
        lambda m: f" {year(int(m[1]))} ",
        text,
    )
    return sub(_NUMBER, lambda m: f" {_read_integer(m[0])} ", text)


def _integer(text: str) -> int:
    return int(text.replace(",", ""))


def _read_integer(text: str) -> str:
    return digits(text) if len(text) > 1 and text.startswith("0") else cardinal(_integer(text))


def _plural(words: str) -> str:
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


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
    month = next(m for m in _MONTHS if m.startswith(match[1].lower().rstrip(".")[:3]))
    day = int(match[2])
    words = f"{month} {ordinal(day) if 0 < day < 32 else cardinal(day)}"
    if not match[3]:
        return words
    is_year = 1000 <= int(match[3]) < 3000
    return f"{words} {year(int(match[3])) if is_year else digits(match[3])}"


def _read_iso_date(match: re.Match) -> str:
    numbers = [int(part) for part in match.groups()]
    if not (1000 <= numbers[0] < 3000 and 1 <= numbers[1] <= 12 and 1 <= numbers[2] <= 31):
        return " ".join(digits(part) for part in match.groups())
    return f"{_MONTHS[numbers[1] - 1]} {ordinal(numbers[2])} {year(numbers[0])}"


def _read_money(match: re.Match) -> str:
    unit, subunit = _MONEY[match[1]]
    whole, fraction, scale = _integer(match[2]), match[3], match[4] or ""
    if scale and not scale.startswith(" "):
        scale = " " + _SHORT_SCALES[scale.lower()]
    plural = unit if unit in ("yen", "won") else unit + "s"
    if fraction and (scale or len(fraction) != 2):
        return f"{cardinal(whole)} point {digits(fraction)}{scale} {plural}"
    words = f"{cardinal(whole)}{scale} {unit if whole == 1 and not scale else plural}"
    cents = int(fraction) if fraction else 0
    if not cents:
        return words
    name = subunit if subunit == "pence" or cents == 1 else subunit + "s"
    return f"{words} and {cardinal(cents)} {name}" if whole else f"{cardinal(cents)} {name}"


def _read_clock(match: re.Match) -> str:
    hour, minute = int(match[1]), int(match[2])
    if hour > 24 or minute > 59:
        return f"{cardinal(hour)} to {cardinal(minute)}"
    if not minute:
        return f"{cardinal(hour)} o'clock" if 0 < hour < 13 else f"{cardinal(hour)} hundred"
    return f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"


def _read_feet(match: re.Match) -> str:
    feet, inches = int(match[1]), int(match[2])
    return (
        f" {cardinal(feet)} {'foot' if feet == 1 else 'feet'} "
        f"{cardinal(inches)} {'inch' if inches == 1 else 'inches'} "
    )


def _read_fraction(match: re.Match) -> str:
    numerator, denominator = int(match[1]), int(match[2])
    if denominator == 2:
        return f"{cardinal(numerator)} {'half' if numerator == 1 else 'halves'}"
    if denominator < 2 or numerator >= denominator or denominator > 100:
        return f"{cardinal(numerator)} over {cardinal(denominator)}"
    name = "quarter" if denominator == 4 else ordinal(denominator)
    return f"{cardinal(numerator)} {name}{'' if numerator == 1 else 's'}"
