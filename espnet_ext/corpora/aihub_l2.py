"""AI Hub's learners' speech for education: 71469 (Korean of English speakers), 71479 (Asian), ….

All data sets of the series have the same labels: `RecordingMetadata.orthographic` is the transcript
(surface), `prompt` the text to be read (meaning) or the question that was answered. The task is in
the file name, `<user>-<sex>-<year of birth>-<country>-<level>-<task><no>-<serial>`: LAR, RS, RW and
RP are read, ATQ, SPT and PDT are free. The English of Koreans (71463) has the same layout.
"""

import re
from dataclasses import dataclass

from espnet_ext.corpora import aihub
from espnet_ext.corpora.aihub import LearnerOptions, value_at, why_no_value
from espnet_ext.corpora.corpus_files import CorpusFile
from espnet_ext.corpora.database import BadLabel, ParsedLabel
from espnet_ext.corpora.languages import language_code
from espnet_ext.corpora.preparation import Report
from espnet_ext.corpora.transcripts import english_words

HOW_TO_GET = (
    "apply for data sets 71469 to 71479 at AI Hub, https://aihub.or.kr (open to residents of "
    "Korea); their zip archives need not be unpacked"
)
READ_TASKS = ("LAR", "RS", "RW", "RP")
FREE_TASKS = ("ATQ", "SPT", "PDT")
_TASK = re.compile(r"([A-Z]{2,4})(\d{0,6})")
_HANGUL = re.compile("[가-힣]")


@dataclass(frozen=True)
class Options(LearnerOptions):
    """Options of `espnet-ext prepare aihub_l2`."""

    lang: str = "ko"  # spoken language: "ko" or "en"
    read_tasks: tuple[str, ...] = READ_TASKS  # tasks whose prompt is the meaning


def prepare(options: Options, report: Report) -> None:
    """Write `<data_dir>/<lang>/{train,valid,test}` and the report."""
    aihub.prepare_learners(
        options,
        report,
        title="AI Hub learners' speech",
        how_to_get=HOW_TO_GET,
        read_label=read_label,
        public_stem=public_stem,
    )


def task_of(stem: str) -> str:
    """Return the code of the task in a file's stem, or "".

    >>> task_of("00067-F-91-VI-A-LAR010-0004411"), task_of("a")
    ('LAR', '')
    """
    tokens = stem.split("-")
    for token in tokens:
        match = _TASK.fullmatch(token)
        if match and match[1] in (*READ_TASKS, *FREE_TASKS):
            return match[1]
    match = _TASK.fullmatch(tokens[5]) if len(tokens) > 5 else None
    return match[1] if match else ""


def public_stem(stem: str, key: str) -> str:
    """Return a stem without sex, year of birth and country; a pseudonym if it has another form.

    >>> public_stem("00067-F-91-VI-A-LAR010-0004411", "")
    '00067-LAR010-0004411'
    """
    tokens = stem.split("-")
    if (
        len(tokens) == 7
        and _TASK.fullmatch(tokens[5])
        and all(re.fullmatch(r"\d{1,12}", tokens[index]) for index in (0, 6))
    ):
        return "-".join((tokens[0], *tokens[5:]))
    return aihub.public_stem(stem, key)


def read_label(
    content: bytes, file: CorpusFile, options: Options, key: str
) -> ParsedLabel | BadLabel:
    """Return the utterance of a label; never raises. See `aihub.LabelReader`."""
    stem = file.stem
    public = public_stem(stem, key)
    try:
        label = aihub.load_label(content)
    except ValueError as error:
        return BadLabel(public, stem, f"label {error}")
    first_token = stem.partition("-")[0]
    speaker = value_at(label, "UserID") or (first_token if first_token.isdecimal() else "")
    if not speaker:
        return BadLabel(public, stem, "label names no speaker")
    speaker = aihub.public_speaker(speaker, key)
    texts, missing, domain, counts = _texts(label, stem, options)
    utt_id = f"{speaker}-{public.removeprefix(speaker + '-')}"
    if not texts:
        return BadLabel(utt_id, stem, missing["surface"])
    names = (value_at(label, "SpeakerMetadata", name) for name in ("language", "nationality"))
    l1 = language_code(*names)
    return ParsedLabel(
        key=stem,
        utt_id=utt_id,
        speaker=speaker,
        part=aihub.part_of(file.name),
        file=file.name,
        lang=options.lang,
        l1=l1 or ("ko" if options.lang == "en" else ""),
        domain=domain,
        texts=texts,
        missing=missing,
        tables=_personal_tables(label) if options.personal else {},
        counts=tuple(counts),
    )


def _texts(
    label: dict, stem: str, options: Options
) -> tuple[dict[str, str], dict[str, str], str, list[str]]:
    """Return transcripts by output, reasons of missing ones, the domain, and irregularities."""
    prompt = value_at(label, "RecordingMetadata", "prompt")
    transcript = value_at(label, "RecordingMetadata", "orthographic")
    task = task_of(stem)
    is_read = task in options.read_tasks
    surface = aihub.parse_surface(transcript, options)
    counts = list(surface.counts)
    texts: dict[str, str] = {}
    missing: dict[str, str] = {}
    if text := _in_language(surface.pronounced.text, options.lang):
        texts["surface"] = text
    else:
        missing["surface"] = _reason(surface.pronounced.problem, transcript, label, "orthographic")
    if is_read:
        meaning, counts_of_prompt = aihub.parse_prompt(prompt)
        counts += counts_of_prompt
        if text := _in_language(meaning.text, options.lang):
            texts["meaning"] = text
        else:
            missing["meaning"] = _reason(meaning.problem, prompt, label, "prompt")
    elif task in FREE_TASKS:
        missing["meaning"] = f"a free answer ({task}), which has no prompt"
    else:
        missing["meaning"] = f"unknown task '{task}'; --read_tasks lists the tasks that are read"
    for output, text in texts.items():
        if bool(_HANGUL.search(text)) == (options.lang == "en"):
            counts.append(f"{output} in another language than --lang {options.lang}, kept")
    if len(texts) == 2 and texts["surface"] != texts["meaning"]:
        counts.append("readings that differ from their prompt")
    return texts, missing, "read" if is_read else "answer", counts


def _reason(problem: str, raw: str, label: dict, field: str) -> str:
    if not raw:
        return why_no_value(label, "RecordingMetadata", field)
    return problem or "has only marks"


def _in_language(text: str, lang: str) -> str:
    return english_words(text) if lang == "en" else text


def _personal_tables(label: dict) -> dict[str, str]:
    names = ("birth_year", "nationality", "gender", "topik_level")
    return aihub.personal_tables(*(value_at(label, "SpeakerMetadata", name) for name in names))
