"""English text to spoken words: abbreviations, addresses, names with numerals, symbols, numbers.

This is text normalisation (verbalisation) for English G2P. `english_numbers` reads digits.
"""

import re
from collections.abc import Collection

from espnet_ext.text.english_numbers import read_numbers
from espnet_ext.text.english_numerals import cardinal, ordinal
from espnet_ext.text.number_forms import join_groups, read_equations, write_out_symbols

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
    "%": " percent ",
    "&": " and ",
    "+": " plus ",
    "=": " equals ",
    "@": " at ",
    "×": " times ",
    "÷": " divided by ",
}
_OPERATORS = {
    "-": " minus ",
    "+": " plus ",
    "×": " times ",
    "÷": " divided by ",
    "=": " equals ",
}  # in equations
_DASH = "[-–—]"
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
    text = write_out_symbols(text)
    if re.search(r"\d", text):
        text = read_equations(join_groups(text), _OPERATORS)
    text = re.sub(r"(?:\b(\w[\w']*) )?\bSt\b(?:\.|(?= [A-Z]|$))", _read_st, text)
    text = re.sub(
        r"\b([A-Z][a-z]+) (X{0,2}(?:IX|IV|V?I{0,3}))\b(?![.-]\w)", _read_roman_numeral, text
    )
    text = re.sub(
        r"(?i)\b(" + "|".join(_ABBREVIATIONS) + r")\.(?=[\s,)]|$)", _read_abbreviation, text
    )
    text = re.sub(r"(?i)\b(" + "|".join(_WITHOUT_STOP) + r")\b(?!')", _read_abbreviation, text)
    text = re.sub(
        rf"(?i)(?<=\d)( ?[ap]\.? ?m\.?) ?{_DASH} ?(?=\d|noon\b|midnight\b)", r"\1 to ", text
    )
    text = re.sub(rf"(?i)\b(noon|midnight) ?{_DASH} ?(?=\d)", r"\1 to ", text)
    text = re.sub(
        r"(?<=\d) ?([ap])\.? ?m(?![\w']|\.\w)\.?(?=[\s,;:!?)]|$)", r" \1.m.", text, flags=re.I
    )
    text = re.sub(r"\b(?:[A-Za-z]\.){2,}(?:[A-Za-z](?![A-Za-z]))?", _read_initials, text)
    if re.search(r"\d", text):
        text = read_numbers(text)
    text = re.sub(r"[ \t]+", " ", text)
    return re.sub(r"[%&+=@×÷]", lambda m: _SYMBOLS[m[0]], text)


def spell_numbers(text: str, keep: Collection[str] = ()) -> str:
    """Return `text` with numbers, amounts, units and symbols as words; abbreviations stay.

    Args:
        keep: symbols that stay, unless they belong to a number.

    >>> spell_numbers("For the 23rd time, Mr. Lee & I paid $5, or 10%.")
    'For the twenty third time, Mr. Lee and I paid five dollars, or ten percent.'
    """
    text = write_out_symbols(text)
    if not re.search(r"[\d%&+=@×÷]", text):
        return text
    result = text
    if re.search(r"\d", text):
        result = read_numbers(read_equations(join_groups(text), _OPERATORS))
    symbols = {**_SYMBOLS, **{symbol: symbol for symbol in keep}}
    result = re.sub(r"[%&+=@×÷]", lambda m: symbols[m[0]], result)
    result = re.sub(r" +(?=[.,;:!?](?:\s|$))", "", " ".join(result.split()))
    words = set(re.findall(r"[A-Za-z]+", text))  # "May" in "May 5" keeps its capital letter

    def restore(match: re.Match) -> str:
        capitalised = match[0].capitalize()
        return capitalised if match[0] not in words and capitalised in words else match[0]

    return re.sub(r"[a-z]+", restore, result)


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
