"""What transcripts hold: form, script, characters, and whether an output's are another's.

A file's blocks are looked at as wholes first (which characters are in them?), rows only where that
raises a question; so most transcripts cost no more than being read.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from espnet_ext.data.checking import Check
from espnet_ext.data.directory import text_files
from espnet_ext.data.findings import ERROR, NOTE, WARNING
from espnet_ext.data.record import NA
from espnet_ext.data.table import Block, is_nfc, normalized, stream_table
from espnet_ext.text.phones import is_phone

# Scripts that a language is written in; for others the most frequent one counts.
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
_NAMES = {"Cjk": "Han", "Ideographic": "Han"}
# Letters of these look alike: both in one word are a slip of the keyboard or of recognition.
_ALIKE = ({"Latin", "Cyrillic"}, {"Latin", "Greek"}, {"Cyrillic", "Greek"})
_RESERVED = re.compile(r"(?<!\S)(?:</?s>|#0|<blank>|<unk>|<space>|<sos/eos>)(?!\S)")
_MARKUP = frozenset("<>[]{}()|\\/@#*_=~^")
_PHONE_LIKE = frozenset(("ERR", "SIL", "SPN", "SP"))
_EXAMPLES = 1000  # rows of one script kept until it is known which script they should have
_KINDS = {
    "digits": ("are not said as they are written", "write numbers as words, as they were said"),
    "markup": ("may be marks of an annotation", "resolve or remove the marks before training"),
    "foreign-characters": ("are of no script that the language is written in", "are they meant?"),
    "other-forms": ("are full- or half-width forms", "write the ordinary characters (NFKC)"),
}


@cache
def script_of(character: str) -> str:
    """The script of a letter, "" for what is no letter.

    >>> [script_of(character) for character in "가ㄱaé漢ж1"]
    ['Hangul', 'Hangul', 'Latin', 'Latin', 'Han', 'Cyrillic', '']
    """
    if not character.isalpha():
        return ""
    name = unicodedata.name(character, "UNKNOWN")
    first = name.removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ").split(" ")[0].title()
    return _NAMES.get(first, first)


def is_phonetic(text: str) -> bool:
    """Whether a transcript is phones, each a token.

    >>> is_phonetic("HH AH L OW"), is_phonetic("a cat")
    (True, False)
    """
    return all(is_phone(token) or token in _PHONE_LIKE for token in text.split())


def check_texts(
    check: Check, name: str, file: Path, blocks: Iterable[Block], langs: str | Mapping[str, str]
) -> bytearray:
    """Check the transcripts of an output; returns, by place in wav.scp, which are there."""
    covered = bytearray(len(check.ids))
    check.labelled[name] = 0  # in the order of files, whatever is found
    characters: Counter[str] = Counter()
    scripts = _Scripts(langs)
    for block in blocks:
        rows = _labelled(check, name, file, block)
        for _, key, _ in rows:
            if key in check.ids:
                covered[check.ids[key]] = 1
        found = _count("".join(value for _, _, value in rows))
        characters.update(found)
        scripts.add(rows, found.keys())
    check.labelled[name] = sum(covered)
    check.characters[name] = characters
    expected = scripts.report(check, file)
    _check_characters(check, file, characters, expected)
    return covered


def _count(text: str) -> dict[str, int]:
    """How often each character is in a text: a `Counter` of it, several times as fast."""
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    counts = np.bincount(codes)
    return {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}


def _labelled(check: Check, name: str, file: Path, block: Block) -> list[tuple[int, str, str]]:
    """The rows of a block that hold a transcript; what is wrong with their form is noted."""
    rows = list(zip(block.lines, block.keys, block.values, strict=True))
    joined = " ".join(block.values)
    odd = not block.tame or "<" in joined or "#0" in joined or "" in block.values
    if not odd:
        return rows
    kept = []
    for row in rows:
        if row[2] == NA:
            continue
        if _check_form(check, name, (file, row[0], row[1]), row[2]):
            kept.append(row)
    return kept


def _check_form(check: Check, name: str, place: tuple, text: str) -> bool:
    """Note what is wrong with the writing of a transcript; whether there is one at all."""
    remedy = "write the transcript, or remove the row: without one it is unlabelled"
    if not text:
        check.add(ERROR, "empty-text", place, f"the {name} transcript is empty", remedy)
        return False
    normal = normalized(text)
    if not is_nfc(text):
        message = "not in Unicode normal form C (decomposed Hangul or accents)"
        how = "stages 3 and 4 normalise it; by hand: uconv -x any-nfc, or unicodedata.normalize"
        check.add(ERROR, "not-nfc", place, message, how)
    elif not normal:
        message = f"the {name} transcript has no visible character"
        check.add(ERROR, "empty-text", place, message, remedy)
        return False
    elif normal != text:
        message = "repeated whitespace, invisible characters, conjoining or half-width jamo"
        check.add(WARNING, "whitespace", place, message, "stages 3 and 4 normalise it")
    if NA in text:
        message = f"the sentinel {NA} stands within a transcript"
        how = f"remove {NA}; alone in its row it means: unlabelled"
        check.add(ERROR, "sentinel", place, message, how)
    elif reserved := _RESERVED.search(text):
        message = f"{reserved[0]} stands within a transcript, and means something else to a model"
        check.add(WARNING, "reserved-symbol", place, message, "remove it, or spell it differently")
    return True


class _Scripts:
    """Which scripts rows are written in; blocks of one script are counted, not read."""

    def __init__(self, langs: str | Mapping[str, str]):
        self.langs = langs
        self.rows: Counter[str] = Counter()  # script → rows wholly in it
        self.examples: dict[str, list[tuple[int, str, str]]] = {}
        self.mixed: list[tuple[int, str, str]] = []  # with a word in two that look alike
        self.phonetic = self.wordy = 0
        self.wordy_rows: list[tuple[int, str, str]] = []

    def add(self, rows: list[tuple[int, str, str]], characters: Iterable[str]) -> None:
        if not rows:
            return
        scripts = {script_of(character) for character in characters} - {""}
        if scripts == {"Latin"}:
            self._add_phonetic(rows)
        if len(scripts) == 1 and isinstance(self.langs, str):
            (script,) = scripts
            self.rows[script] += len(rows)
            if len(kept := self.examples.setdefault(script, [])) < _EXAMPLES:
                kept += rows[: _EXAMPLES - len(kept)]
            return
        for row in rows:
            own = {script_of(character) for character in set(row[2])} - {""}
            if any(pair <= own for pair in _ALIKE):
                for word in row[2].split():
                    if any(pair <= set(map(script_of, word)) for pair in _ALIKE):
                        self.mixed.append((row[0], row[1], word))
                        break
            for script in own:
                whole = script if len(own) == 1 else f"{script}+"
                self.rows[whole] += 1
                if len(own) == 1 and len(kept := self.examples.setdefault(script, [])) < _EXAMPLES:
                    kept.append(row)

    def _add_phonetic(self, rows: list[tuple[int, str, str]]) -> None:
        tokens = set(" ".join(value for _, _, value in rows).split())
        if all(is_phone(token) or token in _PHONE_LIKE for token in tokens):
            self.phonetic += len(rows)
        elif any(token.isupper() for token in tokens):
            for row in rows:
                if is_phonetic(row[2]):
                    self.phonetic += 1
                else:
                    self.wordy += 1
                    self.wordy_rows += [row] * (len(self.wordy_rows) < _EXAMPLES)
        else:
            self.wordy += len(rows)

    def report(self, check: Check, file: Path) -> set[str]:
        """Note rows in another script or unit than the others; the scripts that are right."""
        for line, key, word in self.mixed:
            message = f"'{word}' mixes letters of scripts that look alike"
            remedy = "type it again in one script"
            check.add(WARNING, "mixed-scripts", (file, line, key), message, remedy)
        if self.phonetic > 9 * self.wordy:
            for line, key, value in self.wordy_rows:
                message = f"is not phones, as the other rows are: '{value[:60]}'"
                remedy = "is it another output's transcript?"
                check.add(WARNING, "not-phones", (file, line, key), message, remedy)
        total = Counter[str]()
        for script, count in self.rows.items():
            total[script.rstrip("+")] += count
        if not total:
            return set()
        most = total.most_common(1)[0][0]
        usual = {most} if most not in ("Hiragana", "Katakana", "Han") else SCRIPTS["ja"]
        if isinstance(self.langs, str):
            expected = SCRIPTS.get(self.langs, usual)
            phonetic = self.phonetic > 9 * self.wordy
            if not expected & usual and not phonetic:
                share = 100 * total[most] / max(1, sum(total.values()))
                message = f"most rows ({share:.0f} %) are in {most}, but utt2lang says {self.langs}"
                remedy = "is it another language's, or another output's, text?"
                check.add(WARNING, "script", (file, 0, ""), message, remedy)
            expected = expected | usual if phonetic else expected
            if not expected & usual:
                return usual
            for script in self.examples.keys() - expected:
                for line, key, value in self.examples[script]:
                    self._unexpected(check, (file, line, key), script, self.langs, value)
            return expected
        for script, rows in self.examples.items():
            for line, key, value in rows:
                lang = self.langs.get(key, "")
                if script not in SCRIPTS.get(lang, {script}) and not is_phonetic(value):
                    self._unexpected(check, (file, line, key), script, lang, value)
        return set(total)

    @staticmethod
    def _unexpected(check: Check, place: tuple, script: str, lang: str, value: str) -> None:
        of = f"of language {lang}" if lang else "as the other rows are not"
        message = f"is wholly in {script}, {of}: '{value[:60]}'"
        check.add(
            WARNING, "script", place, message, "is it another language's, or another row's, text?"
        )


def _check_characters(
    check: Check, file: Path, characters: Counter[str], expected: set[str]
) -> None:
    """The inventory, and what in it is seldom meant: digits, marks, strange letters."""
    kinds: dict[str, list[str]] = {}
    for character in sorted(characters):
        if kind := _kind(character, expected):
            kinds.setdefault(kind, []).append(character)
    first = _first_rows(file, kinds) if kinds else {}
    for kind, found in kinds.items():
        count = sum(characters[character] for character in found)
        why, remedy = _KINDS[kind]
        listed = " ".join(found[:20]) + (" …" if len(found) > 20 else "")
        place = (file, *first.get(kind, (0, "")))
        check.add(WARNING, kind, place, f"{listed} ({count} times in all) {why}", remedy)
    cases = {c.isupper() for c in characters if script_of(c) == "Latin" and c.upper() != c.lower()}
    if len(cases) == 2:
        message = "has letters in both cases, which a model learns as different ones"
        remedy = "write one case, if the difference does not matter"
        check.add(WARNING, "both-cases", (file, 0, ""), message, remedy)
    if characters:
        most = " ".join(c for c, _ in characters.most_common(31) if c != " ")[:61]
        message = f"{len(characters)} different characters, most often {most}"
        check.add(NOTE, "characters", (file, 0, ""), message, "the JSON file has all, with counts")


def _kind(character: str, expected: set[str]) -> str:
    if character.isdigit():
        return "digits"
    if character in _MARKUP:
        return "markup"
    if unicodedata.decomposition(character).startswith(("<wide>", "<narrow>")):
        return "other-forms"
    script = script_of(character)
    return "foreign-characters" if script and expected and script not in expected else ""


def _first_rows(file: Path, kinds: Mapping[str, list[str]]) -> dict[str, tuple[int, str]]:
    """Line and id of the first row with a character of each kind."""
    wanted = {kind: re.compile("[" + re.escape("".join(cs)) + "]") for kind, cs in kinds.items()}
    found: dict[str, tuple[int, str]] = {}
    for block in stream_table(file, []):
        for line, key, value in zip(block.lines, block.keys, block.values, strict=True):
            for kind in wanted.keys() - found.keys():
                if value != NA and wanted[kind].search(value):
                    found[kind] = line, key
        if len(found) == len(wanted):
            break
    return found


def rows_of(folder: Path, name: str) -> Iterator[tuple[int, str, str]]:
    """Line, id and transcript, in normal form, of an output's labelled rows."""
    for block in stream_table(text_files(folder)[name], []):
        for line, key, value in zip(block.lines, block.keys, block.values, strict=True):
            if value and value != NA:
                yield line, key, value if block.tame else normalized(value)
