"""AI Hub's learners' speech for education: 71469 (English speakers' Korean), 71479 (Asian), ….

All data sets of that series have one label: `RecordingMetadata.orthographic` is what was said
(surface), `prompt` what was to be read (meaning) or the question that was answered. The task is in
the file's name, `<user>-<sex>-<year of birth>-<country>-<level>-<task><no>-<serial>`: read are LAR,
RS, RW and RP, free are ATQ, SPT and PDT. Their English by Koreans (71463) is read alike.
"""

import os
import re
from dataclasses import dataclass, field
from functools import partial

from espnet_ext.corpora import aihub, marks
from espnet_ext.corpora.aihub import Privacy, no_text, value_of
from espnet_ext.corpora.delivered import Place
from espnet_ext.corpora.large import Entry, Fault, Store
from espnet_ext.corpora.preparation import english_words

HOW_TO_GET = (
    "AI Hub gives it to those in Korea who apply, https://aihub.or.kr, data sets 71469 to 71479; "
    "its zip archives need not be unpacked"
)
READ_TASKS = ("LAR", "RS", "RW", "RP")
FREE_TASKS = ("ATQ", "SPT", "PDT")
_TASK = re.compile(r"([A-Z]{2,4})(\d{0,6})")
_HANGUL = re.compile("[가-힣]")


@dataclass(frozen=True)
class Options:
    """How labels become utterances."""

    lang: str = "ko"  # that is spoken: "ko" or "en"
    read_tasks: tuple[str, ...] = READ_TASKS  # whose prompt is what was to be said
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
    """Write `data_dir/<lang>/{train,valid,test}` and the account."""
    options = options or Options()
    root = aihub.require_corpus(str(corpus_dir), "AI Hub learners' speech", HOW_TO_GET)
    public_name = partial(public_stem, key=options.privacy.key)
    with Store(data_dir, "aihub_l2") as store:
        aihub.gather(store, root, partial(read_label, options=options), public_name, nj)
        store.resolve(public_name, skip_unreadable=skip_unreadable)
        store.check_audio(nj, skip_unreadable=skip_unreadable)
        place = aihub.split(store, split)
        store.write(place, aihub.SETS, tables=aihub.PERSONAL_TABLES, quick=quick)


def task_of(stem: str) -> str:
    """The code of a task, from a file's name; "" if there is none.

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
    """A file's name without sex, year of birth and country; a pseudonym if it is not of the form.

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


def read_label(content: bytes, place: Place, options: Options) -> Entry | Fault:
    """The utterance of a label; never raises, whatever the file holds."""
    stem, key = place.stem, options.privacy.key
    public = public_stem(stem, key)
    try:
        label = aihub.load_label(content)
    except ValueError as error:
        return Fault(public, stem, f"label {error}")
    first = stem.partition("-")[0]
    speaker = value_of(label, "UserID") or (first if first.isdecimal() else "")
    if not speaker:
        return Fault(public, stem, "label names no speaker")
    speaker = aihub.public_speaker(speaker, key)
    texts, missing, domain, counts = _texts(label, stem, options)
    name = f"{speaker}-{public.removeprefix(speaker + '-')}"
    if not texts:
        return Fault(name, stem, missing["surface"])
    names = (value_of(label, "SpeakerMetadata", name) for name in ("language", "nationality"))
    l1 = aihub.language_of(*names)
    return Entry(
        key=stem,
        utt_id=name,
        speaker=speaker,
        part=aihub.part_of(place.name),
        place=place.name,
        lang=options.lang,
        l1=l1 or ("ko" if options.lang == "en" else ""),
        domain=domain,
        texts=texts,
        missing=missing,
        tables=_personal(label) if options.privacy.personal else {},
        counts=tuple(counts),
    )


def _texts(label: dict, stem: str, options: Options) -> tuple[dict, dict, str, list[str]]:
    """Transcripts by output, why one is missing, the domain, and what was odd."""
    prompt = value_of(label, "RecordingMetadata", "prompt")
    said = value_of(label, "RecordingMetadata", "orthographic")
    task = task_of(stem)
    is_read = task in options.read_tasks
    surface = marks.read(
        said,
        disfluent=marks.SIDES if options.disfluencies == "keep" else (),
        unintelligible=options.unintelligible,
        alone="drop",
    )
    counts = list(surface.counts)
    texts, missing = {}, {}
    if text := _in_language(surface.pronounced.text, options.lang):
        texts["surface"] = text
    else:
        missing["surface"] = _why(surface.pronounced.problem, said, label, "orthographic")
    if is_read:
        meaning, odd = aihub.prompt_text(prompt)
        counts += odd
        if text := _in_language(meaning.text, options.lang):
            texts["meaning"] = text
        else:
            missing["meaning"] = _why(meaning.problem, prompt, label, "prompt")
    elif task in FREE_TASKS:
        missing["meaning"] = f"a free answer ({task}): nothing was given to be read"
    else:
        missing["meaning"] = f"the task '{task}' is not known; --read_tasks names what is read"
    for output, text in texts.items():
        if bool(_HANGUL.search(text)) == (options.lang == "en"):
            counts.append(f"{output} in another language than --lang {options.lang}, kept")
    if len(texts) == 2 and texts["surface"] != texts["meaning"]:
        counts.append("readings that were said otherwise than they are written")
    return texts, missing, "read" if is_read else "answer", counts


def _why(problem: str, given: str, label: dict, name: str) -> str:
    if not given:
        return no_text(label, "RecordingMetadata", name)
    return problem or "nothing but marks"


def _in_language(text: str, lang: str) -> str:
    return english_words(text) if lang == "en" else text


def _personal(label: dict) -> dict[str, str]:
    about = ("SpeakerMetadata",)
    values = {
        "utt2birthyear": aihub.birth_year(value_of(label, *about, "birth_year")),
        "utt2country": marks.clean(value_of(label, *about, "nationality")),
        "utt2gender": marks.clean(value_of(label, *about, "gender")),
        "utt2topik": marks.clean(value_of(label, *about, "topik_level")),
    }
    return {name: value for name, value in values.items() if value}
