"""What transcripts contain: Unicode form, writing system, characters, phones.

Blocks of rows are checked as a whole first (which characters are in them?), and row by row only if
something in them needs it. Most transcripts therefore cost little more than being read.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from espnet_ext.data.checks.context import Checked, Place, TextRow
from espnet_ext.data.checks.findings import ERROR, NOTE, WARNING
from espnet_ext.data.directory import text_files, text_languages
from espnet_ext.data.record import NA
from espnet_ext.data.table import Block, is_nfc, normalized, stream_table
from espnet_ext.text.phones import has_ipa, is_phone

# Scripts that a language is written in; for other languages the most frequent one is expected.
SCRIPTS = {
    "ko": {"Hangul"},
    "ja": {"Hiragana", "Katakana", "Han"},
    "zh": {"Han"},
    "yue": {"Han"},
    "ru": {"Cyrillic"},
    "uk": {"Cyrillic"},
    "el": {"Greek"},
    "ar": {"Arabic"},
    "th": {"Thai"},
    "hi": {"Devanagari"},
    "he": {"Hebrew"},
    **dict.fromkeys(
        ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "pl", "vi", "tr", "id"), {"Latin"}
    ),
}
_SCRIPT_OF_NAME = {"Cjk": "Han", "Ideographic": "Han"}  # by the first word of the Unicode name
# Scripts with letters of the same shape; both in one word are a typing or recognition error.
_SIMILAR = ({"Latin", "Cyrillic"}, {"Latin", "Greek"}, {"Cyrillic", "Greek"})
_IPA_SYMBOLS = set("θβχːˑˈˌʰʲʷ̃")  # of the IPA, but not in Latin script
CURLY_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
_RESERVED = re.compile(r"(?<!\S)(?:</?s>|#0|<blank>|<unk>|<space>|<sos/eos>)(?!\S)")
_MARKUP = frozenset("<>[]{}()|\\/@#*_=~^")
_PHONE_LIKE = frozenset(("ERR", "SIL", "SPN", "SP"))
_MAX_EXAMPLES = 1000  # rows per script, held until it is known which script is expected
_PHONETIC_SHARE = 0.9  # an output with more phonetic rows than this is in phones
_CHARACTER_FINDINGS = {
    "digits": ("are not pronounced as written", "write numbers as words, as they were said"),
    "markup": ("may be annotation marks", "resolve or remove the marks before training"),
    "foreign-characters": ("are in no script of the language", "check whether they are intended"),
    "other-forms": ("are full- or half-width forms", "write the ordinary characters (NFKC)"),
}


@cache
def script_of(character: str) -> str:
    """Return the script of a letter; "" for other characters.

    >>> [script_of(character) for character in "가ㄱaé漢ж1"]
    ['Hangul', 'Hangul', 'Latin', 'Latin', 'Han', 'Cyrillic', '']
    """
    if not character.isalpha():
        return ""
    name = unicodedata.name(character, "UNKNOWN")
    first = name.removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ").split(" ")[0].title()
    return _SCRIPT_OF_NAME.get(first, first)


def scripts_of(characters: Iterable[str]) -> set[str]:
    """Return the scripts of all letters among some characters."""
    return {script_of(character) for character in set(characters)} - {""}


def is_phonetic(text: str) -> bool:
    """Return whether all tokens of a transcript are phones.

    >>> is_phonetic("HH AH L OW"), is_phonetic("a cat")
    (True, False)
    """
    return all(map(_is_phone_like, text.split()))


def _is_phone_like(token: str) -> bool:
    return is_phone(token) or token in _PHONE_LIKE


def check_transcripts(checked: Checked) -> None:
    """Check the transcripts of all outputs; fill in `labelled` and `characters`."""
    translations = text_languages(checked.folder)
    for name, file in text_files(checked.folder).items():
        labelled = checked.labelled[name] = bytearray(len(checked.ids))
        characters: Counter[str] = Counter()
        scripts = _Scripts(translations.get(name, checked.languages))
        for block in checked.scan(file):
            checked.add_missing_words(file, block)
            rows = _labelled_rows(checked, name, file, block)
            for _, key, _ in rows:
                if key in checked.ids:
                    labelled[checked.ids[key]] = 1
            rows = [row for row in rows if row[2]] if "" in block.values else rows
            counts = _count_characters("".join(text for _, _, text in rows))
            characters.update(counts)
            scripts.add(rows, counts.keys())
        checked.characters[name] = characters
        expected = scripts.report(checked, file)
        _check_characters(checked, file, characters, expected)


def _count_characters(text: str) -> dict[str, int]:
    """Count characters as `Counter(text)` does, several times as fast."""
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    counts = np.bincount(codes)
    return {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}


def _labelled_rows(checked: Checked, name: str, file: Path, block: Block) -> list[TextRow]:
    """Return the rows of a block that have a transcript; report problems of their form."""
    rows = list(block.rows())
    joined = " ".join(block.values)
    if block.is_normal and "<" not in joined and "#0" not in joined and "" not in block.values:
        return rows
    return [
        row
        for row in rows
        if row[2] != NA and _check_form(checked, name, (file, row[0], row[1]), row[2])
    ]


def _check_form(checked: Checked, name: str, place: Place, text: str) -> bool:
    """Report what is wrong with the form of a transcript; return False if it must not be used."""
    remedy = (
        "write the transcript, or remove the row: without a row it is unlabelled; if nothing is "
        "said, only a set to decode may contain it (validate --empty_texts true)"
    )
    if not text and checked.options.empty_texts:
        message = f"the {name} transcript is empty: all that is recognised counts as insertions"
        severity = checked.options.empty_severity
        checked.add(severity, "empty-text", place, message, "none needed if nothing is said")
        return True
    if not text:
        checked.add(ERROR, "empty-text", place, f"the {name} transcript is empty", remedy)
        return False
    normal = normalized(text)
    if not is_nfc(text):
        message = "not in Unicode normal form C (decomposed Hangul or accents)"
        how = "stages 3 and 4 normalise it; by hand: uconv -x any-nfc, or unicodedata.normalize"
        checked.add(ERROR, "not-nfc", place, message, how)
    elif not normal:
        message = f"the {name} transcript has no visible character"
        checked.add(ERROR, "empty-text", place, message, remedy)
        return False
    elif normal != text:
        message = "repeated whitespace, invisible characters, conjoining or half-width jamo"
        checked.add(WARNING, "whitespace", place, message, "stages 3 and 4 normalise it")
    if NA in text:
        message = f"the sentinel {NA} is part of a transcript"
        how = f"remove {NA}; a row that consists of it alone is unlabelled"
        checked.add(ERROR, "sentinel", place, message, how)
    elif reserved := _RESERVED.search(text):
        message = f"the transcript contains {reserved[0]}, a special symbol of models"
        checked.add(
            WARNING, "reserved-symbol", place, message, "remove it, or spell it differently"
        )
    return True


def _mixes_scripts(word: str) -> bool:
    """Return whether a word has letters of two similar scripts, and is not IPA.

    >>> _mixes_scripts("cаt"), _mixes_scripts("wiθ")  # with a Cyrillic а
    (True, False)
    """
    if not any(pair <= scripts_of(word) for pair in _SIMILAR):
        return False
    others = scripts_of(set(word) - _IPA_SYMBOLS)
    return others != {"Latin"} or not has_ipa(word)


class _Scripts:
    """Counts rows by script. A block in one script is counted as a whole."""

    def __init__(self, languages: str | Mapping[str, str]):
        self.languages = languages  # of all rows, or by utterance id
        self.only: Counter[str] = Counter()  # script → rows in this script only
        self.partly: Counter[str] = Counter()  # script → rows in this and other scripts
        self.examples: dict[str, list[TextRow]] = {}  # script → rows in this script only
        self.mixed_words: list[TextRow] = []  # line, id, a word in two similar scripts
        self.phonetic = self.not_phonetic = 0  # rows in Latin letters that are, or aren't, phones
        self.not_phonetic_rows: list[TextRow] = []

    def add(self, rows: list[TextRow], characters: Iterable[str]) -> None:
        """Count some rows; `characters` are those in all of them together."""
        if not rows:
            return
        scripts = scripts_of(characters)
        if scripts == {"Latin"}:
            self._count_phonetic(rows)
        if len(scripts) == 1 and isinstance(self.languages, str):
            (script,) = scripts
            self._count(script, rows)
            return
        for row in rows:
            scripts = scripts_of(row[2])
            self._find_mixed_word(row, scripts)
            if len(scripts) == 1:
                self._count(scripts.pop(), [row])
            else:
                self.partly.update(scripts)

    def _count(self, script: str, rows: list[TextRow]) -> None:
        self.only[script] += len(rows)
        examples = self.examples.setdefault(script, [])
        examples += rows[: max(0, _MAX_EXAMPLES - len(examples))]

    def _find_mixed_word(self, row: TextRow, scripts: set[str]) -> None:
        line, key, text = row
        if any(pair <= scripts for pair in _SIMILAR):
            for word in text.split():
                if _mixes_scripts(word):
                    self.mixed_words.append((line, key, word))
                    return

    def _count_phonetic(self, rows: list[TextRow]) -> None:
        tokens = set(" ".join(text for _, _, text in rows).split())
        if all(map(_is_phone_like, tokens)):
            self.phonetic += len(rows)
        elif any(token.isupper() for token in tokens):
            for row in rows:
                if is_phonetic(row[2]):
                    self.phonetic += 1
                else:
                    self.not_phonetic += 1
                    if len(self.not_phonetic_rows) < _MAX_EXAMPLES:
                        self.not_phonetic_rows.append(row)
        else:
            self.not_phonetic += len(rows)

    @property
    def _is_phonetic(self) -> bool:
        """Whether nearly all rows in Latin letters are phones."""
        return self.phonetic > _PHONETIC_SHARE * (self.phonetic + self.not_phonetic)

    def report(self, checked: Checked, file: Path) -> set[str]:
        """Report rows in an unexpected script or unit; return the expected scripts."""
        for line, key, word in self.mixed_words:
            message = f"'{word}' mixes letters of two similar scripts"
            remedy = "type it again in one script"
            checked.add(WARNING, "mixed-scripts", (file, line, key), message, remedy)
        if self._is_phonetic:
            for line, key, text in self.not_phonetic_rows:
                message = f"is not phones, unlike the other rows: '{text[:60]}'"
                remedy = "check whether it is the transcript of another output"
                checked.add(WARNING, "not-phones", (file, line, key), message, remedy)
        counts = self.only + self.partly
        if not counts:
            return set()
        if isinstance(self.languages, str):
            return self._report_one_language(checked, file, counts, self.languages)
        for script, rows in self.examples.items():
            for line, key, text in rows:
                language = self.languages.get(key, "")
                if script not in SCRIPTS.get(language, {script}) and not is_phonetic(text):
                    _report_script(checked, (file, line, key), script, language, text)
        return set(counts)

    def _report_one_language(
        self, checked: Checked, file: Path, counts: Counter[str], language: str
    ) -> set[str]:
        """Report rows in a script that `language` does not use; return the expected scripts.

        Args:
            language: language of all rows; "" if unknown: the most frequent script is expected.
        """
        most, rows_of_most = counts.most_common(1)[0]
        usual = {most} if most not in SCRIPTS["ja"] else SCRIPTS["ja"]
        expected = SCRIPTS.get(language, usual)
        if self._is_phonetic:
            expected = expected | usual
        if not expected & usual:
            share = 100 * rows_of_most / max(1, counts.total())
            message = f"most rows ({share:.0f} %) are in {most}, but utt2lang says {language}"
            remedy = "check whether the text is of another language or of another output"
            checked.add(WARNING, "script", (file, 0, ""), message, remedy)
            return usual
        for script in self.examples.keys() - expected:
            for line, key, text in self.examples[script]:
                _report_script(checked, (file, line, key), script, language, text)
        return expected


def _report_script(checked: Checked, place: Place, script: str, language: str, text: str) -> None:
    contrast = f"but its language is {language}" if language else "unlike the other rows"
    message = f"is wholly in {script}, {contrast}: '{text[:60]}'"
    remedy = "check whether the text is of another language or of another row"
    checked.add(WARNING, "script", place, message, remedy)


def _check_characters(
    checked: Checked, file: Path, characters: Counter[str], expected_scripts: set[str]
) -> None:
    """Report the inventory of characters, and digits, marks and foreign letters in it."""
    by_kind: dict[str, list[str]] = {}
    ipa = _IPA_SYMBOLS if any(map(has_ipa, characters)) and "Latin" in expected_scripts else set()
    for character in sorted(characters.keys() - ipa):
        if kind := _kind_of(character, expected_scripts):
            by_kind.setdefault(kind, []).append(character)
    first_rows = _find_first_rows(file, by_kind) if by_kind else {}
    for kind, members in by_kind.items():
        count = sum(characters[character] for character in members)
        explanation, remedy = _CHARACTER_FINDINGS[kind]
        listed = " ".join(members[:20]) + (" …" if len(members) > 20 else "")
        place = (file, *first_rows.get(kind, (0, "")))
        checked.add(WARNING, kind, place, f"{listed} ({count} times in all) {explanation}", remedy)
    cases = {c.isupper() for c in characters if script_of(c) == "Latin" and c.upper() != c.lower()}
    if len(cases) == 2:
        message = "has upper- and lower-case letters, which are different tokens for a model"
        remedy = "write one case, if the difference does not matter"
        checked.add(WARNING, "both-cases", (file, 0, ""), message, remedy)
    if "'" in characters and CURLY_APOSTROPHE in characters:
        first_rows = _find_first_rows(file, {"curly": [CURLY_APOSTROPHE]})
        first = first_rows.get("curly", (0, ""))
        counts = " and ".join(f"{c} ({characters[c]} times)" for c in ("'", CURLY_APOSTROPHE))
        message = f"has the apostrophes {counts}, which are different tokens for a model"
        checked.add(WARNING, "two-apostrophes", (file, *first), message, "write all as '")
    if characters:
        frequent = " ".join(c for c, _ in characters.most_common(31) if c != " ")[:61]
        message = f"{len(characters)} different characters, the most frequent are {frequent}"
        remedy = "none needed: the JSON report lists all, with counts"
        checked.add(NOTE, "characters", (file, 0, ""), message, remedy)


def _kind_of(character: str, expected_scripts: set[str]) -> str:
    """Return the code of the finding for a character; "" if there is none."""
    if character.isdigit():
        return "digits"
    if character in _MARKUP:
        return "markup"
    if unicodedata.decomposition(character).startswith(("<wide>", "<narrow>")):
        return "other-forms"
    script = script_of(character)
    is_foreign = script and expected_scripts and script not in expected_scripts
    return "foreign-characters" if is_foreign else ""


def _find_first_rows(file: Path, by_kind: Mapping[str, list[str]]) -> dict[str, tuple[int, str]]:
    """Return, by kind, line and id of the first row with one of its characters."""
    patterns = {
        kind: re.compile("[" + re.escape("".join(characters)) + "]")
        for kind, characters in by_kind.items()
    }
    first_rows: dict[str, tuple[int, str]] = {}
    for block in stream_table(file, []):
        for line, key, text in block.rows():
            for kind in patterns.keys() - first_rows.keys():
                if text != NA and patterns[kind].search(text):
                    first_rows[kind] = line, key
        if len(first_rows) == len(patterns):
            break
    return first_rows
