"""Import the hypotheses of another recogniser (a baseline) for scoring beside the systems.

`import_hypotheses` writes `text.<output>` and `baseline.json`::

    {"kind": "baseline", "version": 1, "set": "test", "utterances": 160,
     "outputs": {"meaning": {"source": "<file>", "search": "<of its decoding here, or empty>",
                             "sha256", "hypotheses": 158, "missing": 2, "extra": 0, "cleaned": 0,
                             "unread": 0}},
     "left_out": {"surface": "<why it is not compared>"},
     "section": …}

`missing` utterances of the set have no hypothesis, and `extra` hypotheses belong to no utterance.
`unread` hypotheses have digits or symbols, such as %, that no reference has.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ext.data.directory import PLAIN_TEXT_OUTPUT, read_directory, text_files
from espnet_ext.data.record import NA, Utterance, is_output_name
from espnet_ext.data.table import read_table, write_table
from espnet_ext.document import Section, Table
from espnet_ext.errors import UserError
from espnet_ext.files import read_json, sha256_of, write_json
from espnet_ext.overwriting import OutputFolder
from espnet_ext.progress import say
from espnet_ext.scoring.normal_form import PHONE
from espnet_ext.text.english_reading import spell_numbers
from espnet_ext.text.phones import is_phone, strip_stress

RESULT = "baseline.json"
FROM_DECODING = ("decode.json", "failed")  # of a decoding by this package
# Files of one output: a Kaldi table; the output of a stock model decoded here; asr_inference's
PLAIN_FILES = ("text", "text.text", "1best_recog/text")
_FILES = r"text\.[A-Za-z][A-Za-z0-9_]*|baseline\.json|decode\.json|failed"  # what is written
_MANY_PHONES = 0.9  # share of phones from which on written words are taken for phones
_FEW_PHONES = 0.5  # share of phones of the references below which phones are taken for others
_TOKEN_MARKS = {"▁": "SentencePiece tokens", "<space>": "tokens of characters", "@@": "BPE tokens"}
_SPOKEN_PUNCTUATION = "%‰&@#§"
_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "‘": "'"})


class NotComparableError(Exception):
    """Why the hypotheses of one output cannot be compared; `remedy` says what to do."""

    def __init__(self, reason: str, remedy: str):
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True)
class Source:
    """A folder with the hypotheses of a set.

    Args:
        output: the output that they are compared as; empty: as the file names say.
    """

    folder: Path
    output: str = ""

    @classmethod
    def parse(cls, word: str) -> "Source":
        """Return the source of `OUTPUT=DIR` or `DIR`.

        >>> Source.parse("meaning=hyp/test")
        Source(folder=PosixPath('hyp/test'), output='meaning')
        """
        output, equals, folder = word.partition("=")
        if equals and is_output_name(output):
            return cls(Path(folder), output)
        return cls(Path(word))


@dataclass(frozen=True)
class Cleaning:
    """How hypotheses are adapted to the references.

    Args:
        is_wanted: adapt them; otherwise, differences are only counted.
        lang: their language; numbers are read in English only.
    """

    is_wanted: bool
    lang: str = ""

    @property
    def reads_numbers(self) -> bool:
        return re.split("[-_]", self.lang)[0].lower() in ("en", "eng", "english")


@dataclass
class _Import:
    """The hypotheses of a set by output, and what is said about them."""

    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # output → reason
    remedies: list[str] = field(default_factory=list)  # remedies of `left_out`
    findings: list[str] = field(default_factory=list)


def import_hypotheses(
    sources: Sequence[Source],
    data: str | Path,
    output_dir: str | Path,
    token_types: Mapping[str, str],
    *,
    clean: bool = False,
    lang: str = "",
    overwrite: bool = False,
    allow_nothing: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the hypotheses of the utterances of `data`, and return the contents of `baseline.json`.

    A warning names utterances without a hypothesis and hypotheses of other utterances, which are
    left out. It also names outputs that cannot be compared; the other outputs are.

    Args:
        sources: folders with `text.<output>`, or with one of PLAIN_FILES.
        data: data directory with the references.
        output_dir: where the files are written.
        token_types: output → token type of its references.
        clean: adapt case, punctuation and, in English, numbers to the references (`text_cleaner`).
        lang: language of the hypotheses; default: that of the utterances, if they have one.
        overwrite: replace files in `output_dir` that no earlier import wrote.
        allow_nothing: if no output can be compared, write `baseline.json` with the reasons, instead
            of an error. `score_directory` then scores nothing.
        provenance: stored in `baseline.json`.

    Raises:
        UserError: no output can be compared; there is no such folder, or a file is damaged.
    """
    utterances = read_directory(data, empty_texts=True)
    languages = {utterance.lang for utterance in utterances}
    if not lang and len(languages) == 1:
        lang = languages.pop() or ""
    cleaning = Cleaning(clean, lang)
    inputs = [data, *(source.folder for source in sources)]
    with OutputFolder(output_dir, "baseline", _FILES, inputs=inputs, overwrite=overwrite) as target:
        collected = _Import()
        for source in sources:
            for output, file in _files_of(source, token_types, collected):
                try:
                    _add(collected, output, file, utterances, Path(data), token_types, cleaning)
                except NotComparableError as error:
                    _leave_out(collected, output, f"{file}: {error}", error.remedy)
        if not collected.texts and not allow_nothing:
            raise UserError("; ".join(collected.left_out.values()), collected.remedies[0])
        for path in [*text_files(target).values(), *(target / name for name in FROM_DECODING)]:
            path.unlink(missing_ok=True)
        for output, texts in collected.texts.items():
            write_table(target / f"text.{output}", texts)
        for name in FROM_DECODING:
            _copy_only(name, [source.folder for source in sources], target)
        result = {
            "kind": "baseline",
            "version": 1,
            "set": target.resolve().name,
            "utterances": len(utterances),
            "outputs": collected.facts,
            "left_out": collected.left_out,
            "provenance": dict(provenance or {}),
            "section": _section(collected, len(utterances)).to_json(),
        }
        write_json(target / RESULT, result)  # last: if it exists, all other files do
    return result


def has_nothing(folder: Path) -> bool:
    """Return whether a folder has the import of a baseline of which no output can be compared."""
    path = folder / RESULT
    return path.is_file() and not read_json(path).get("outputs")


def refuse_data_directory(folder: Path) -> None:
    """Raise a `UserError` if a folder of hypotheses is a data directory."""
    if (folder / "wav.scp").is_file() and not (folder / FROM_DECODING[0]).is_file():
        raise UserError(
            f"{folder}: is a data directory: its transcripts are references, not hypotheses",
            "name the folder that the recogniser wrote",
        )


def _leave_out(collected: _Import, output: str, reason: str, remedy: str) -> None:
    collected.left_out[output] = reason
    collected.remedies.append(remedy)
    collected.findings.append(f"{output} is not compared: {reason}.")
    say(f"warning: {reason}; {output} is not compared\n  remedy: {remedy}")


def _files_of(
    source: Source, token_types: Mapping[str, str], collected: _Import
) -> list[tuple[str, Path]]:
    """Return (output, file) for the hypotheses in a folder.

    Raises:
        UserError: there is no such folder, or no file in it.
    """
    folder, output = source.folder, source.output
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder",
            "name the folder with one subfolder per test set, each with a Kaldi file `text`",
        )
    refuse_data_directory(folder)
    named = {name: path for name, path in text_files(folder).items() if path.name != "text"}
    named.pop("text", None)  # the only output of a stock model
    plain = [folder / name for name in PLAIN_FILES if (folder / name).is_file()]
    if output:
        candidates = [*([named[output]] if output in named else []), *plain]
        if not candidates and len(named) == 1:
            candidates = list(named.values())
        if not candidates:
            raise UserError(
                f"{folder}: neither text.{output} nor text", "write the hypotheses into `text`"
            )
        files = {output: candidates[0]}
    elif named:
        files = named
    elif plain:
        if PLAIN_TEXT_OUTPUT not in token_types:
            raise UserError(
                f"{plain[0]}: which output these hypotheses are of is not clear",
                f"name the output, as in {next(iter(token_types))}=DIR",
            )
        files = {PLAIN_TEXT_OUTPUT: plain[0]}
    else:
        raise UserError(
            f"{folder}: neither text nor text.<output>",
            "write the hypotheses as a Kaldi file `text`: one line per utterance, its id first",
        )
    result = []
    for name, path in files.items():
        if name in token_types:
            result.append((name, path))
        else:
            _leave_out(
                collected,
                name,
                f"{path}: the outputs here are {', '.join(token_types)}, not {name}",
                f"name the output that it is, as in {next(iter(token_types))}=DIR",
            )
    return result


def _add(
    collected: _Import,
    output: str,
    file: Path,
    utterances: Sequence[Utterance],
    data: Path,
    token_types: Mapping[str, str],
    cleaning: Cleaning,
) -> None:
    """Add the hypotheses of one output.

    Raises:
        NotComparableError: they are of another set, or of another kind than the references.
        UserError: the output is given twice, or the file is damaged.
    """
    if output in collected.texts:
        raise UserError(f"{file}: {output} is given twice", "name each output once")
    rows = {i: text for i, text in read_table(file, empty_ok=True).items() if text != NA}
    ids = [utterance.utt_id for utterance in utterances]
    texts = {utt_id: rows[utt_id] for utt_id in ids if utt_id in rows}
    if not texts:
        first = f"; its first utterance is {next(iter(rows))}" if rows else ""
        raise NotComparableError(
            f"none of its {len(rows)} hypotheses is of an utterance of {data}{first}, that of the "
            f"set is {ids[0]}",
            f"give hypotheses of the set {data.name}, with the ids in {data}/wav.scp",
        )
    references = [u.texts[output] for u in utterances if output in u.texts]
    _check_token_kind(texts, references, token_types[output])
    cleaned, unread = 0, 0
    if token_types[output] != PHONE and references:
        texts, cleaned = _clean(collected, output, file, texts, references, cleaning)
        unread = _warn_unread(collected, output, file, texts, references, cleaning)
    missing = [utt_id for utt_id in ids if utt_id not in rows]
    extra = [utt_id for utt_id in rows if utt_id not in texts]
    if missing:
        say(
            f"warning: {file}: {len(missing)} of {len(ids)} utterances of {data} have no "
            f"hypothesis (the first is {missing[0]}); they are left out of this baseline's "
            "error rates and differences"
        )
        collected.findings.append(
            f"{len(missing)} of {len(ids)} utterances have no {output} hypothesis. Its error rates "
            "are over the others and its differences over the utterances that both systems have."
        )
    if extra:
        say(
            f"note: {file}: {len(extra)} hypotheses are of no utterance of {data} (the first is "
            f"{extra[0]}); they are left out"
        )
    collected.texts[output] = texts
    collected.facts[output] = {
        "source": str(file),
        "search": _search_of(file.parent),
        "sha256": sha256_of(file),
        "hypotheses": len(texts),
        "missing": len(missing),
        "extra": len(extra),
        "cleaned": cleaned,
        "unread": unread,
    }


def _clean(
    collected: _Import,
    output: str,
    file: Path,
    texts: dict[str, str],
    references: Sequence[str],
    cleaning: Cleaning,
) -> tuple[dict[str, str], int]:
    """Return the texts, adapted if that is wanted, and how many changed; else warn of them."""
    rule = text_cleaner(references, cleaning.is_wanted and cleaning.reads_numbers)
    changed = {i: new for i, text in texts.items() if (new := rule(text)) != text}
    if cleaning.is_wanted:
        return {**texts, **changed}, len(changed)
    if changed:
        utt_id = next(iter(changed))
        say(
            f"warning: {file}: {len(changed)} of {len(texts)} hypotheses have capital letters "
            "or punctuation that no reference has, which count as errors (the first is "
            f"{utt_id}: {texts[utt_id]})\n"
            "  remedy: to adapt them to the references, give --baseline_clean true"
        )
        collected.findings.append(
            f"{len(changed)} of {len(texts)} {output} hypotheses have capital letters or "
            "punctuation that no reference has; they count as errors."
        )
    return texts, 0


def _warn_unread(
    collected: _Import,
    output: str,
    file: Path,
    texts: Mapping[str, str],
    references: Sequence[str],
    cleaning: Cleaning,
) -> int:
    """Warn of digits and symbols that no reference has; return how many texts have some."""
    known = set("".join(references))
    has_digits = any(map(str.isdigit, known))
    unread = [
        utt_id
        for utt_id, text in texts.items()
        if any(
            not has_digits if char.isdigit() else _is_read_as_word(char)
            for char in set(text) - known
        )
    ]
    if unread:
        remedy = "write them as words in the hypotheses, as in the references"
        if cleaning.reads_numbers and not cleaning.is_wanted:
            remedy = "to write them as English words, give --baseline_clean true"
        say(
            f"warning: {file}: {len(unread)} of {len(texts)} hypotheses have digits or symbols "
            f"that no reference has, which count as errors (the first is {unread[0]}: "
            f"{texts[unread[0]]})\n  remedy: {remedy}"
        )
        collected.findings.append(
            f"{len(unread)} of {len(texts)} {output} hypotheses have digits or symbols that no "
            "reference has; they count as errors."
        )
    return len(unread)


def _is_read_as_word(char: str) -> bool:
    """Return whether a character that is not a letter or digit is spoken: %, &, €, ½."""
    return char in _SPOKEN_PUNCTUATION or unicodedata.category(char)[0] in "SN"


def _check_token_kind(texts: Mapping[str, str], references: Sequence[str], token_type: str) -> None:
    """Raise NotComparableError if texts are tokens, or phones instead of words or vice versa."""
    for mark, kind in _TOKEN_MARKS.items():
        if utt_id := next((i for i, text in texts.items() if mark in text), None):
            raise NotComparableError(
                f"{utt_id}: these are {kind} ('{mark}'), not text",
                "give the text: ESPnet writes it as `text`, beside `token`",
            )
    symbols = [strip_stress(symbol) for text in texts.values() for symbol in text.split()]
    example = next((f"{i}: {text}" for i, text in texts.items() if text), "")
    if not symbols:
        return
    if token_type == PHONE:
        known = {strip_stress(symbol) for text in references for symbol in text.split()}
        share = sum(is_phone(symbol) or symbol in known for symbol in symbols) / len(symbols)
        if share < _FEW_PHONES:
            raise NotComparableError(
                f"{100 * share:.0f} % of the symbols are phones of the references: these are "
                f"words, or phones in another notation ({example})",
                "convert the phones, or name the output that the words are: meaning=DIR",
            )
    elif sum(map(is_phone, symbols)) / len(symbols) >= _MANY_PHONES:
        raise NotComparableError(
            f"the references are written text, and these are phones ({example})",
            "name the output that they are: surface=DIR",
        )


def text_cleaner(references: Iterable[str], numbers: bool = False) -> Callable[[str], str]:
    """Return a function that brings case and punctuation of a text to those of references.

    Where no reference has a capital letter, letters become small; where none has a small letter,
    they become capital. Punctuation that no reference has is removed; dashes and slashes become
    spaces. Punctuation that is spoken (`%`, `&`) stays.

    Args:
        references: texts of the set.
        numbers: where no reference has a digit, also write numbers and symbols as English words.

    >>> text_cleaner(["it's well known", "yes"])("It’s WELL-known: yes!")
    "it's well known yes"
    >>> text_cleaner(["ten percent"], numbers=True)("For the 23rd time: 10%.")
    'for the twenty third time ten percent'
    """
    references = list(references)
    known = set("".join(references))
    numbers = numbers and not any(map(str.isdigit, known))
    has_capitals, has_small_letters = any(map(str.isupper, known)), any(map(str.islower, known))

    def clean_char(char: str) -> str:
        category = unicodedata.category(char)
        if not category.startswith("P") or char in known or char in _SPOKEN_PUNCTUATION:
            return char
        return " " if category == "Pd" or char == "/" else ""

    def clean(text: str) -> str:
        if numbers:
            text = spell_numbers(text, keep=known)
        if "'" in known and "’" not in known:
            text = text.translate(_APOSTROPHES)
        if has_capitals != has_small_letters:
            text = text.upper() if has_capitals else text.lower()
        return " ".join("".join(map(clean_char, text)).split())

    return clean


def _copy_only(name: str, folders: Iterable[Path], target: Path) -> None:
    """Copy a file that one of the folders has.

    If several have it, none is copied: the times of one decoding are not those of all outputs.
    """
    files = [folder / name for folder in dict.fromkeys(folders) if (folder / name).is_file()]
    if len(files) == 1:
        (target / name).write_bytes(files[0].read_bytes())


def _search_of(folder: Path) -> str:
    """Return the search that wrote a folder of hypotheses; empty for hypotheses from elsewhere."""
    path = folder / FROM_DECODING[0]
    return read_json(path).get("search") or "search of this project" if path.is_file() else ""


def _section(collected: _Import, utterances: int) -> Section:
    rows = [
        [
            output,
            fact["source"],
            fact["search"] or "–",
            f"{fact['hypotheses']} of {utterances}",
            str(fact["extra"]),
            str(fact["cleaned"]),
        ]
        for output, fact in collected.facts.items()
    ]
    table = Table(
        "Imported hypotheses",
        "Hypotheses of other recognisers, scored like those of the systems. Hypotheses of no "
        "utterance of the set are left out; those that are adapted had other case, punctuation "
        "or numbers than the references.",
        ["output", "file", "decoded by", "utterances", "of no utterance", "adapted"],
        rows,
        text_columns=3,
        details=True,
    )
    return Section("Baselines", collected.findings, [table])
