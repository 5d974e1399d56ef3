"""AI Hub 505, 외국인 한국어 발화 음성 데이터: foreigners' Korean, 4,300 hours, read and answered.

A label is a JSON file beside none of its sounds: `transcription.Reading` is what was to be read
(meaning), `ReadingLabelText` what transcribers heard (surface); of a free answer there is only
`AnswerLabelText` (surface). Names are `<L1><topic>Q<set><no>_<speaker>_<date>`.
"""

import os
from dataclasses import dataclass, field
from functools import partial

from espnet_ext.corpora import aihub, marks
from espnet_ext.corpora.aihub import Privacy, no_text, value_of
from espnet_ext.corpora.delivered import Place
from espnet_ext.corpora.large import Entry, Fault, Store

HOW_TO_GET = (
    "AI Hub gives it to those in Korea who apply, https://aihub.or.kr, data set 505; "
    "its zip archives need not be unpacked"
)
NO_PROMPT = "a free answer: nothing was given to be read"
_L1_OF_NAME = {"EN": "en", "CN": "zh", "JP": "ja", "VN": "vi", "TH": "th"}


@dataclass(frozen=True)
class Options:
    """How transcripts become texts."""

    disfluencies: str = "keep"  # fillers and repetitions in the surface: "keep" or "drop"
    unintelligible: str = "unlabelled"  # a surface with un/: "unlabelled", or without it: "drop"
    privacy: Privacy = field(default_factory=Privacy)


def prepare(
    corpus_dir: str | os.PathLike,
    data_dir: str | os.PathLike,
    *,
    split: str = "auto",
    options: Options | None = None,
    skip_unreadable: bool = False,
    quick: bool = False,
    nj: int = 1,
) -> None:
    """Write `data_dir/ko/{train,valid,test}` and the account; see `aihub.split` for the split."""
    options = options or Options()
    root = aihub.require_corpus(str(corpus_dir), "AI Hub 505", HOW_TO_GET)
    public_name = partial(aihub.public_stem, key=options.privacy.key)
    with Store(data_dir, "aihub505") as store:
        aihub.gather(store, root, partial(read_label, options=options), public_name, nj)
        store.resolve(public_name, skip_unreadable=skip_unreadable)
        store.check_audio(nj, skip_unreadable=skip_unreadable)
        place = aihub.split(store, split)
        store.write(place, aihub.SETS, tables=aihub.PERSONAL_TABLES, quick=quick)


def read_label(content: bytes, place: Place, options: Options) -> Entry | Fault:
    """The utterance of a label; never raises, whatever the file holds."""
    privacy = options.privacy
    stem = place.stem
    public = aihub.public_stem(stem, privacy.key)
    try:
        label = aihub.load_label(content)
    except ValueError as error:
        return Fault(public, stem, f"label {error}")
    named = Place("", value_of(label, "fileName").replace("\\", "/")).stem
    counts = []
    if named and named != stem:
        counts.append("labels with a fileName that is not their own; it names the sound")
        stem, public = named, aihub.public_stem(named, privacy.key)
    speaker = value_of(label, "file_info", "speakerID") or value_of(label, "SpeakerID")
    if not speaker:
        return Fault(public, stem, "label names no speaker")
    if speaker not in stem:
        counts.append("speakers that are another than the file's name says; the label counts")
    speaker = aihub.public_speaker(speaker, privacy.key)
    texts, missing, domain, more = _texts(label, options)
    if not texts:
        return Fault(f"{speaker}-{public}", stem, missing["surface"])
    return Entry(
        key=stem,
        utt_id=f"{speaker}-{public}",
        speaker=speaker,
        part=aihub.part_of(place.name),
        place=place.name,
        lang="ko",
        l1=_first_language(label, stem),
        domain=domain,
        texts=texts,
        missing=missing,
        tables=_personal(label) if privacy.personal else {},
        counts=(*counts, *more),
    )


def _texts(label: dict, options: Options) -> tuple[dict, dict, str, list[str]]:
    """Transcripts by output, why one is missing, the domain, and what was odd."""
    prompt = value_of(label, "transcription", "Reading")
    heard = value_of(label, "transcription", "ReadingLabelText")
    answer = value_of(label, "transcription", "AnswerLabelText")
    is_read = bool(prompt or heard)
    counts = []
    if is_read and answer:
        counts.append("labels with a reading and an answer; read as a reading")
    texts, missing = {}, {}
    surface = marks.read(
        heard if is_read else answer,
        disfluent=marks.SIDES if options.disfluencies == "keep" else (),
        unintelligible=options.unintelligible,
        alone="drop",
    )
    counts += surface.counts
    name = "ReadingLabelText" if is_read else "AnswerLabelText"
    outputs = [("surface", surface.pronounced, name, heard if is_read else answer)]
    if is_read:
        meaning, odd = aihub.prompt_text(prompt)
        counts += odd
        outputs.append(("meaning", meaning, "Reading", prompt))
    else:
        missing["meaning"] = NO_PROMPT
    for output, side, name, given in outputs:
        if side.text:
            texts[output] = side.text
        else:
            missing[output] = side.problem if given else no_text(label, "transcription", name)
    if len(texts) == 2 and texts["surface"] != texts["meaning"]:
        counts.append("readings that were said otherwise than they are written")
    return texts, missing, "read" if is_read else "answer", counts


def _first_language(label: dict, stem: str) -> str:
    names = (value_of(label, "skill_info", name) for name in ("motherTongue", "languageClass"))
    return aihub.language_of(*names) or _L1_OF_NAME.get(stem[:2], "")


def _personal(label: dict) -> dict[str, str]:
    values = {
        "utt2birthyear": aihub.birth_year(value_of(label, "basic_info", "birthYear")),
        "utt2country": marks.clean(value_of(label, "residence_info", "country")),
        "utt2gender": marks.clean(value_of(label, "basic_info", "gender")),
        "utt2topik": marks.clean(value_of(label, "skill_info", "topikGrade")),
    }
    return {name: value for name, value in values.items() if value}
