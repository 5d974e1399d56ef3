"""KsponSpeech (Bang et al., Applied Sciences 2020): native speakers' spontaneous Korean, 1,000 h.

`{train,dev,eval_clean,eval_other}.trn` have lines `<path>.pcm :: <transcript>`, and beside each
sound lies the same transcript, in CP949. Sounds are headerless. What is transcribed twice,
`(70%)/(칠 십 퍼센트)`, is meaning as spelled and surface as pronounced (`marks`).
"""

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from espnet_ext.corpora import aihub, marks
from espnet_ext.corpora.delivered import (
    FOREIGN_SOUNDS,
    MAX_LABEL,
    SOUNDS,
    Place,
    Reader,
    chunks,
    decoded,
    spread,
    walk,
)
from espnet_ext.corpora.large import Entry, Fault, Store
from espnet_ext.data import zips
from espnet_ext.errors import UserError

SETS = ("train", "dev", "eval_clean", "eval_other")
TRAINING = 620_000  # utterances of the published training list; the numbers after it are dev
HOW_TO_GET = (
    "AI Hub gives it to those in Korea who apply, https://aihub.or.kr, data set 123; "
    "its zip archives need not be unpacked"
)
_LINE = re.compile(r"\s*(\S.*?)\s*::\s*(.*?)\s*", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*")
_NUMBER = re.compile(r"KsponSpeech_(\d{6})")
_CHUNK = 500  # transcripts that a process reads between two reports


@dataclass(frozen=True)
class Options:
    """How transcripts become texts."""

    disfluencies: str = "keep"  # fillers, repetitions: "keep", in "surface" alone, or "drop"
    unintelligible: str = "unlabelled"  # texts with u/: "unlabelled", or without it: "drop"

    @property
    def disfluent(self) -> tuple[str, ...]:
        return {"keep": marks.SIDES, "surface": ("pronounced",), "drop": ()}[self.disfluencies]


def prepare(
    corpus_dir: str | os.PathLike,
    data_dir: str | os.PathLike,
    *,
    labels: str = "auto",
    options: Options | None = None,
    skip_unreadable: bool = False,
    quick: bool = False,
    nj: int = 1,
) -> None:
    """Write `data_dir/ko/{train,dev,eval_clean,eval_other}`, the published sets, and the account.

    `labels`: "trn", the lists; "txt", the files beside the sounds, of which those in a folder
    `eval_…` test and those numbered above 620,000 are dev; "auto": the lists, if there are any.
    """
    options = options or Options()
    root = aihub.require_corpus(str(corpus_dir), "KsponSpeech", HOW_TO_GET)
    with Store(data_dir, "ksponspeech") as store:
        lists, texts = _sounds_and_lists(store, root)
        if labels == "trn" and not lists:
            message = f"{root}: has no {{{','.join(SETS)}}}.trn"
            raise UserError(message, f"--labels txt takes the .txt files; {HOW_TO_GET}")
        if lists and labels != "txt":
            found = sorted(lists, key=lambda place: place.name)
            store.notes.append(f"transcripts from {' '.join(place.name for place in found)}")
            work = partial(read_lines, options=options)
            for place in found:
                for results in spread(work, _lines(place), nj):
                    store.add(results)
        elif texts:
            store.notes.append(
                "transcripts from the .txt files; dev are those numbered above "
                f"{TRAINING}, the length of the published training list"
            )
            work = partial(read_texts, options=options)
            wanted = (place for place in walk(root, lambda *_: None) if _is(place, ".txt"))
            for results in spread(work, chunks(wanted, _CHUNK), nj):
                store.add(results)
        store.notes.append("the corpus does not say who speaks: every utterance is a speaker")
        store.resolve(_public, skip_unreadable=skip_unreadable)
        store.check_audio(nj, skip_unreadable=skip_unreadable)
        store.write(lambda part, speaker: part, SETS, quick=quick)


def _is(place: Place, suffix: str) -> bool:
    return place.name.lower().endswith(suffix)


def _sounds_and_lists(store: Store, root: str) -> tuple[list[Place], int]:
    """All sounds into the store; the lists of transcripts, and how many .txt files there are."""
    lists: list[Place] = []
    texts = 0
    for part in chunks(walk(root, store.found), 1000):
        store.add_audio(place for place in part if place.suffix in SOUNDS)
        for place in part:
            if place.suffix in FOREIGN_SOUNDS:
                store.add_foreign(place)
            texts += _is(place, ".txt")
            if not _is(place, ".trn"):
                continue
            if place.stem in SETS:
                lists.append(place)
            else:
                store.found(place.name, "a list of no published set")
    return lists, texts


def _lines(place: Place) -> Iterator[tuple[str, str, list[tuple[int, bytes]]]]:
    """A list's set, name and numbered lines, some at a time."""
    try:
        raw = open(place.path, "rb")  # noqa: SIM115 closed below
        if place.offset >= 0:
            member = zips.open_member(raw, place.offset, place.packed, place.size)
            raw = io.BufferedReader(member)
        with raw:
            numbered = enumerate(iter(partial(raw.readline, MAX_LABEL), b""), 1)
            for chunk in chunks(numbered, _CHUNK):
                yield place.stem, place.name, chunk
            if place.offset >= 0 and member.error:
                raise ValueError(member.error)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{place.name}: cannot be read: {reason}", "fetch it again") from None


def read_lines(
    work: tuple[str, str, list[tuple[int, bytes]]], options: Options
) -> list[Entry | Fault]:
    """Entries of some lines of a list; never raises, whatever stands in it."""
    part, name, lines = work
    results: list[Entry | Fault] = []
    for number, line in lines:
        if not line.strip(b"\xef\xbb\xbf \t\r\n"):
            continue
        where = f"{name}:{number}"
        try:
            match = _LINE.fullmatch(decoded(line))
        except ValueError as error:
            results.append(Fault(where, where, f"line {error}"))
            continue
        if not match:
            results.append(Fault(where, where, "line has no '::'"))
            continue
        stem = Place("", match[1].replace("\\", "/")).stem
        results.append(_entry(stem, match[2], part, where, options))
    return results


def read_texts(places: list[Place], options: Options) -> list[Entry | Fault]:
    """Entries of some .txt files; never raises, whatever they hold."""
    reader = Reader()
    results: list[Entry | Fault] = []
    for place in places:
        stem = place.stem
        try:
            text = decoded(reader.read(place))
        except (OSError, ValueError) as error:
            reason = f"transcript {getattr(error, 'strerror', None) or error}"
            results.append(Fault(_public(stem), stem, reason))
            continue
        part = next((name for name in SETS[2:] if f"{name}/" in place.name), "train")
        number = _NUMBER.fullmatch(stem)
        if part == "train" and number and int(number[1]) > TRAINING:
            part = "dev"
        results.append(_entry(stem, text, part, place.name, options))
    reader.close()
    return results


def _entry(stem: str, text: str, part: str, where: str, options: Options) -> Entry | Fault:
    heard = marks.read(text, disfluent=options.disfluent, unintelligible=options.unintelligible)
    sides = {"surface": heard.pronounced, "meaning": heard.spelled}
    texts = {output: side.text for output, side in sides.items() if side.text}
    missing = {output: side.problem for output, side in sides.items() if not side.text}
    name = _public(stem)
    if not text.strip():
        return Fault(name, stem, "the transcript is empty")
    counts = list(heard.counts)
    if "surface" in texts and not marks.is_spelled_out(texts["surface"]):
        counts.append("surfaces with digits, signs or Latin letters, kept as they are")
    if len(texts) == 2 and texts["surface"] != texts["meaning"]:
        counts.append("utterances with two spellings")
    return Entry(
        stem, name, name, part, where, "ko", "ko", "spontaneous", texts, missing, {}, tuple(counts)
    )


def _public(stem: str) -> str:
    """An id of a file's name, which is one in the published corpus."""
    return stem if _NAME.fullmatch(stem) and len(stem) <= 80 else f"u{aihub.pseudonym(stem, '')}"
