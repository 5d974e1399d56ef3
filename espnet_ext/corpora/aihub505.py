"""AI Hub 505, 외국인 한국어 발화 음성 데이터: Korean of foreigners, 4,300 hours, read and answered.

A label is a JSON file. For read speech, `transcription.Reading` is the prompt (meaning) and
`ReadingLabelText` the transcript (surface). For a free answer there is only `AnswerLabelText`
(surface). File names are `<L1><topic>Q<set><no>_<speaker>_<date>`.

Some deliveries have labels as CSV files, beside the JSON files or instead of them: a row of column
names, which are the names of the JSON fields, and a row for the utterance. A JSON label is used
rather than the CSV label of the same recording.
"""

import re
from dataclasses import dataclass

from espnet_ext.corpora import aihub
from espnet_ext.corpora.aihub import LearnerOptions, value_at, why_no_value
from espnet_ext.corpora.corpus_files import CorpusFile, decode_korean
from espnet_ext.corpora.database import BadLabel, ParsedLabel
from espnet_ext.corpora.delimited import split_table
from espnet_ext.corpora.languages import language_code
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.missing import MISSING

HOW_TO_GET = (
    "apply for data set 505 at AI Hub, https://aihub.or.kr (open to residents of Korea); "
    "its zip archives need not be unpacked"
)
NO_PROMPT = "a free answer, which has no prompt"
CSV = ".csv"  # suffix of labels as tables
# Column of a CSV label, in lower case without `_`, → place of its value in a JSON label.
_JSON_PATHS = {
    "filename": ("fileName",),
    "speakerid": ("SpeakerID",),
    **{
        name.lower(): ("transcription", name)
        for name in ("Reading", "ReadingLabelText", "AnswerLabelText")
    },
    **{name.lower(): ("skill_info", name) for name in ("motherTongue", "languageClass")},
    "birthyear": ("basic_info", "birthYear"),
    "gender": ("basic_info", "gender"),
    "country": ("residence_info", "country"),
    "topikgrade": ("skill_info", "topikGrade"),
}
# Names of columns that also have the names of the outer objects, such as transcription.Reading.
_LAST_NAME = {"".join(path).replace("_", "").lower(): name for name, path in _JSON_PATHS.items()}
_LAST_NAME |= {"fileinfospeakerid": "speakerid", "speaker": "speakerid"}
_SPEAKER_OF_NAME = re.compile(r"[^_]+_([A-Za-z]{1,4}\d{2,8})_\d+(?:_.*)?")
_L1_OF_NAME = {"EN": "en", "CN": "zh", "JP": "ja", "VN": "vi", "TH": "th"}


@dataclass(frozen=True)
class Options(LearnerOptions):
    """Options of `espnet-ext prepare aihub505`."""


def prepare(options: Options, report: Report) -> None:
    """Write `<data_dir>/ko/{train,valid,test}` and the report; see `aihub.split` for the split."""
    aihub.prepare_learners(
        options,
        report,
        title="AI Hub 505",
        how_to_get=HOW_TO_GET,
        read_label=read_label,
        public_stem=aihub.public_stem,
        suffixes=(".json", CSV),
    )


def read_label(content: bytes, file: CorpusFile, options: LearnerOptions, key: str) -> aihub.Labels:
    """Return the utterance of a label, of a CSV file a list; never raises.

    See `aihub.LabelReader`.
    """
    stem = file.stem
    try:
        if file.suffix == CSV:
            labels = load_csv_label(content)
            return [_parse_label(label, file, options, key) for label in labels]
        label = aihub.load_label(content)
    except ValueError as error:
        return BadLabel(aihub.public_stem(stem, key), stem, f"label {error}")
    return _parse_label(label, file, options, key)


def load_csv_label(content: bytes) -> list[dict]:
    """Return the rows of a CSV label in the form of JSON labels; otherwise raise ValueError.

    >>> text = "file_name,Reading,ReadingLabelText\\r\\na.wav,국물,궁물\\r\\n"
    >>> load_csv_label(text.encode("cp949"))[0]["transcription"]
    {'Reading': '국물', 'ReadingLabelText': '궁물'}
    """
    table = split_table(decode_korean(content))
    if table.faults:
        raise ValueError(f"is not a CSV table: line {table.faults[0][0]}: {table.faults[0][1]}")
    if not any(cell.strip() for _, cells in table.rows[1:] for cell in cells):
        raise ValueError("has no row after the column names")
    columns = [re.sub(r"[\W_]", "", name).lower() for name in table.rows[0][1]]
    columns = [_LAST_NAME.get(name, name) for name in columns]
    if not {"readinglabeltext", "answerlabeltext"} & set(columns):
        raise ValueError("has no column ReadingLabelText or AnswerLabelText")
    labels = []
    for line, cells in table.rows[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            raise ValueError(f"has {len(cells)} cells in line {line}, but {len(columns)} columns")
        row = dict(zip(columns, cells, strict=False))
        label: dict = {}
        for name, path in _JSON_PATHS.items():
            if name in row and row[name].strip() not in MISSING:
                *outer, inner = path
                place = label
                for part in outer:
                    place = place.setdefault(part, {})
                place[inner] = row[name]
        labels.append(label)
    return labels


def _parse_label(
    label: dict, file: CorpusFile, options: LearnerOptions, key: str
) -> ParsedLabel | BadLabel:
    """Return the utterance of a label, given as the JSON object."""
    stem = file.stem
    public = aihub.public_stem(stem, key)
    is_csv = file.suffix == CSV
    file_name = value_at(label, "fileName").replace("\\", "/")
    audio_stem = CorpusFile("", file_name).stem
    counts = []
    if audio_stem and audio_stem != stem:
        counts.append("labels whose fileName differs from their own name; it names the audio")
        stem, public = audio_stem, aihub.public_stem(audio_stem, key)
    speaker = value_at(label, "file_info", "speakerID") or value_at(label, "SpeakerID")
    if not speaker and is_csv and (match := _SPEAKER_OF_NAME.fullmatch(stem)):
        speaker = match[1]
        counts.append("CSV labels without a speaker, which is taken from the file name")
    if not speaker:
        return BadLabel(public, stem, "label names no speaker")
    if speaker not in stem:
        counts.append("labels whose speaker differs from the file name; the label is used")
    speaker = aihub.public_speaker(speaker, key)
    texts, missing, domain, counts_of_texts = _texts(label, options)
    if not texts:
        return BadLabel(f"{speaker}-{public}", stem, missing["surface"])
    return ParsedLabel(
        key=stem,
        utt_id=f"{speaker}-{public}",
        speaker=speaker,
        part=aihub.part_of(file.name),
        file=file.name,
        lang="ko",
        l1=_first_language(label, stem),
        domain=domain,
        texts=texts,
        missing=missing,
        tables=_personal_tables(label) if options.personal else {},
        counts=(*counts, *counts_of_texts),
        secondary=is_csv,
    )


def _texts(
    label: dict, options: LearnerOptions
) -> tuple[dict[str, str], dict[str, str], str, list[str]]:
    """Return transcripts by output, reasons of missing ones, the domain, and irregularities."""
    prompt = value_at(label, "transcription", "Reading")
    reading = value_at(label, "transcription", "ReadingLabelText")
    answer = value_at(label, "transcription", "AnswerLabelText")
    is_read = bool(prompt or reading)
    counts = []
    if is_read and answer:
        counts.append("labels with a reading and an answer, taken as a reading")
    texts: dict[str, str] = {}
    missing: dict[str, str] = {}
    field, transcript = ("ReadingLabelText", reading) if is_read else ("AnswerLabelText", answer)
    surface = aihub.parse_surface(transcript, options)
    counts += surface.counts
    outputs = [("surface", surface.pronounced, field, transcript)]
    if is_read:
        meaning, counts_of_prompt = aihub.parse_prompt(prompt)
        counts += counts_of_prompt
        outputs.append(("meaning", meaning, "Reading", prompt))
    else:
        missing["meaning"] = NO_PROMPT
    for output, spelling, field, raw in outputs:
        if spelling.text:
            texts[output] = spelling.text
        else:
            reason = spelling.problem if raw else why_no_value(label, "transcription", field)
            missing[output] = reason
    if len(texts) == 2 and texts["surface"] != texts["meaning"]:
        counts.append("readings that differ from their prompt")
    return texts, missing, "read" if is_read else "answer", counts


def _first_language(label: dict, stem: str) -> str:
    names = (value_at(label, "skill_info", name) for name in ("motherTongue", "languageClass"))
    return language_code(*names) or _L1_OF_NAME.get(stem[:2], "")


def _personal_tables(label: dict) -> dict[str, str]:
    return aihub.personal_tables(
        value_at(label, "basic_info", "birthYear"),
        value_at(label, "residence_info", "country"),
        value_at(label, "basic_info", "gender"),
        value_at(label, "skill_info", "topikGrade"),
    )
