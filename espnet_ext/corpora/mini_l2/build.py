"""Build the embedded corpus: decide who says what in which set, and make the utterances.

The plan is a pure function of the sentences, the rules and the seeds; `corpus_hash` pins it.
Speakers *and* sentences are disjoint across train, valid and test.
"""

import functools
import hashlib
import importlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType

from espnet_ext.corpora.mini_l2 import synthesis
from espnet_ext.corpora.mini_l2.sentences import drawn, written
from espnet_ext.corpora.mini_l2.speakers import Speaker, speakers
from espnet_ext.corpora.mini_l2.telephone import with_telephone_speech
from espnet_ext.corpora.preparation import REPORT_FILE, CorpusOptions, Report, check_audio
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.files import read_json
from espnet_ext.progress import say

LANGUAGES = {"en": "english", "ko": "korean"}  # lang → its module; the order determines the seeds
SETS = ("train", "valid", "test")
HELD_OUT = {"test": 80, "valid": 40}  # sentences
REPEATS = {"train": 1, "valid": 2, "test": 2}  # number of speakers of each written sentence
DRAWN = {"en": 2600, "ko": 1100}  # training sentences from frames; each has one speaker
QUICK = {"train": 160, "valid": 16, "test": 24}  # utterances with --quick true
EDITION = (
    2  # part of every seed; the second has 16 test speakers and newly drawn held-out sentences
)
_LEVEL_NOTE = "error level "  # note in prepare.json, if the level is not 1
_NARROW_NOTE = "share of telephone speech "  # likewise, if the share is not 0
UNLABELLED = 0.05  # share of training utterances with only one of surface and meaning


@dataclass(frozen=True)
class Options(CorpusOptions):
    """Options of `espnet-ext prepare mini_l2`."""

    langs: tuple[str, ...] = ("ko", "en")
    error_level: float = 1.0  # factor on the error rates of all speakers
    narrow_share: float = 0.0  # share of the utterances of each set and language: telephone speech


@dataclass(frozen=True)
class PlannedUtterance:
    """An utterance before its audio is synthesised."""

    subset: str
    utt_id: str
    speaker: Speaker
    texts: Mapping[str, str]  # by output
    speech: synthesis.Speech


def prepare(options: Options, report: Report) -> dict[str, list[Utterance]]:
    """Return the utterances by set; synthesise their audio to `<data_dir>/mini_l2_audio`.

    Raises:
        UserError: `narrow_share` is above 1, or the data directory has the corpus with another
            level of errors or share of telephone speech.
    """
    if options.narrow_share > 1:
        raise UserError(
            f"narrow_share: {options.narrow_share:g} is not a share", "give a number from 0 to 1"
        )
    notes = {
        _LEVEL_NOTE: (options.error_level, 1.0),
        _NARROW_NOTE: (options.narrow_share, 0.0),
    }
    _require_same_corpus(Path(options.data_dir), options.langs, notes)
    audio_dir = Path(options.data_dir) / "mini_l2_audio"
    requested = options.selected(SETS)
    sets = build_sets(
        audio_dir, options.langs, options.quick, options.nj, requested, options.error_level
    )
    if options.narrow_share:
        sets = {name: _by_language(of_set, options) for name, of_set in sets.items()}
    report.notes += [f"{note}{value:g}" for note, (value, usual) in notes.items() if value != usual]
    utterances = [utterance for of_set in sets.values() for utterance in of_set]
    check_audio(utterances, report)  # for the durations in the report
    return sets


def _by_language(utterances: Sequence[Utterance], options: Options) -> list[Utterance]:
    """Return a set in which a share of the utterances of each language is telephone speech."""
    return [
        utterance
        for lang in dict.fromkeys(utterance.lang for utterance in utterances)
        for utterance in with_telephone_speech(
            [one for one in utterances if one.lang == lang], options.narrow_share
        )
    ]


def _require_same_corpus(
    data_dir: Path, langs: Sequence[str], notes: Mapping[str, tuple[float, float]]
) -> None:
    """Raise an error if existing data of a language was made with other options.

    Args:
        notes: beginning of the note in prepare.json → value of the option, and the one without a
            note.
    """
    for lang in langs:
        path = data_dir / lang / REPORT_FILE
        if not path.is_file():
            continue
        recorded = read_json(path).get("notes", [])
        for note, (value, usual) in notes.items():
            values = [text.removeprefix(note) for text in recorded if text.startswith(note)]
            existing = values[0] if values else f"{usual:g}"
            if existing != f"{value:g}":
                raise UserError(
                    f"{data_dir / lang}: has the corpus with {note}{existing}, not {value:g}",
                    "keep each variant in folders of its own: another data directory, and with "
                    "run.sh another dump and experiment folder",
                )


def build_sets(
    audio_dir: str | os.PathLike,
    langs: Sequence[str],
    quick: bool = False,
    nj: int = 2,
    names: Sequence[str] = SETS,
    error_level: float = 1.0,
) -> dict[str, list[Utterance]]:
    """Return the utterances of all languages by set, for the sets with these names.

    The audio is synthesised to `<audio_dir>/<lang>/<speaker>/`, unless it exists there.
    """
    plans = {
        lang: [
            utterance for utterance in plan(lang, quick, error_level) if utterance.subset in names
        ]
        for lang in dict.fromkeys(langs)
    }
    scripts = []
    for lang, planned in plans.items():
        voice = language_module(lang).VOICE
        for speaker in dict.fromkeys(utterance.speaker for utterance in planned):
            speech = [utterance.speech for utterance in planned if utterance.speaker == speaker]
            scripts.append(synthesis.Script(Path(audio_dir) / lang, voice, speaker, speech))
    synthesised = synthesis.synthesise(scripts, nj)
    total = sum(map(len, plans.values()))
    say(f"mini_l2: {total} utterances in {audio_dir}; {synthesised} of them synthesised now")
    sets: dict[str, list[Utterance]] = {name: [] for name in names}
    for lang, planned in plans.items():
        for utterance in planned:
            sets[utterance.subset].append(_as_utterance(utterance, lang, Path(audio_dir) / lang))
    return sets


def _as_utterance(planned: PlannedUtterance, lang: str, folder: Path) -> Utterance:
    return Utterance(
        utt_id=planned.utt_id,
        speaker=planned.speaker.name,
        audio=str(synthesis.audio_path(folder, planned.speaker.name, planned.utt_id)),
        texts=planned.texts,
        lang=lang,
        l1=planned.speaker.l1,
        band="wide",
        domain="read",
    )


def language_module(lang: str) -> ModuleType:
    """Return the module of a language; raise a UserError for an unknown one."""
    if lang not in LANGUAGES:
        remedy = f"choose among {', '.join(sorted(LANGUAGES))}"
        raise UserError(f"mini_l2 has no language '{lang}'", remedy)
    return importlib.import_module(f"{__package__}.{LANGUAGES[lang]}")


# -- plan


def plan(lang: str, quick: bool = False, error_level: float = 1.0) -> list[PlannedUtterance]:
    """Return all utterances of a language, sorted by set and id, or with `quick` a part of them.

    Speakers say the same sentences at every error level.

    >>> len(plan("en", quick=True))
    200
    """
    module = language_module(lang)
    seed = seed_of(lang)
    sentences = [*written(lang), *drawn(lang, DRAWN[lang], seed)]
    split = split_sentences(written(lang), seed)
    numbers = {subset: REPEATS[subset] * split[subset] for subset in SETS}  # of the sentences
    numbers["train"] += range(len(written(lang)), len(sentences))
    all_speakers = speakers(lang, module.L1S)
    canonical = functools.cache(module.canonical)
    planned = []
    for subset in SETS:
        speakers_of_set = [speaker for speaker in all_speakers if speaker.subset == subset]
        for number, speaker in _assign_speakers(numbers[subset], speakers_of_set, seed):
            utterance_seed = seed + 10_000 * all_speakers.index(speaker) + number
            texts = {"meaning": sentences[number], "canonical": canonical(sentences[number])}
            planned.append(
                _plan_utterance(module, speaker, number, texts, utterance_seed, error_level)
            )
    planned = _remove_labels(sorted(planned, key=lambda utterance: utterance.utt_id), seed)
    by_set = {
        subset: [utterance for utterance in planned if utterance.subset == subset]
        for subset in SETS
    }
    return [
        utterance
        for subset in SETS
        for utterance in _evenly_spaced(by_set[subset], QUICK[subset] if quick else None)
    ]


def seed_of(lang: str) -> int:
    """Return the seed of a language's plan; utterances add 10,000 times their speaker's index."""
    return 10_000_000 * EDITION + 1_000_000 * (1 + sorted(LANGUAGES).index(lang))


def split_sentences(sentences: Sequence[str], seed: int) -> dict[str, list[int]]:
    """Return the numbers of the sentences of each set.

    Sentences are held out in a random order, if each of their words then remains in at least two
    training sentences. If these are too few, one or no remaining sentence suffices.
    """
    if len(sentences) <= 2 * sum(HELD_OUT.values()):
        message = f"{len(sentences)} sentences are too few to hold some out"
        raise UserError(message, "write more")
    remaining = Counter(word for sentence in sentences for word in set(sentence.split()))
    order = list(range(len(sentences)))
    random.Random(seed).shuffle(order)
    held_out: list[int] = []
    for minimum in (2, 1, 0):  # remaining sentences of each word
        for number in order:
            words = set(sentences[number].split())
            if len(held_out) == sum(HELD_OUT.values()):
                break
            if number not in held_out and all(remaining[word] > minimum for word in words):
                held_out.append(number)
                remaining.subtract(words)
    test = HELD_OUT["test"]
    train = sorted(set(order) - set(held_out))
    return {"train": train, "valid": sorted(held_out[test:]), "test": sorted(held_out[:test])}


def _assign_speakers(
    numbers: Sequence[int], speakers_of_set: Sequence[Speaker], seed: int
) -> Iterator[tuple[int, Speaker]]:
    """Assign sentence numbers to the speakers with the fewest so far; no speaker repeats one."""
    rng = random.Random(seed + 1)
    assigned: dict[Speaker, set[int]] = {speaker: set() for speaker in speakers_of_set}
    for number in sorted(numbers):
        candidates = [speaker for speaker in speakers_of_set if number not in assigned[speaker]]
        speaker = min(candidates, key=lambda speaker: (len(assigned[speaker]), rng.random()))
        assigned[speaker].add(number)
        yield number, speaker


def _plan_utterance(
    module: ModuleType,
    speaker: Speaker,
    number: int,
    texts: Mapping[str, str],
    seed: int,
    error_level: float,
) -> PlannedUtterance:
    rng = random.Random(seed)
    rate = error_level * speaker.level * rng.uniform(0.5, 1.5)  # a speaker's error rate varies
    surface = module.corrupt(texts["canonical"], speaker.l1, rate, rng)
    utt_id = f"{speaker.name}-{number:04d}"
    speech = synthesis.Speech(utt_id, module.espeak_input(surface), seed)
    return PlannedUtterance(speaker.subset, utt_id, speaker, {"surface": surface, **texts}, speech)


def _remove_labels(planned: Sequence[PlannedUtterance], seed: int) -> list[PlannedUtterance]:
    """Remove the surface or the meaning, in turn, of some training utterances."""
    train = [utterance.utt_id for utterance in planned if utterance.subset == "train"]
    chosen = random.Random(seed + 2).sample(train, round(UNLABELLED * len(train)))
    removed = {utt_id: ("surface", "meaning")[turn % 2] for turn, utt_id in enumerate(chosen)}
    result = []
    for utterance in planned:
        output = removed.get(utterance.utt_id)
        texts = {name: text for name, text in utterance.texts.items() if name != output}
        result.append(replace(utterance, texts=texts))
    return result


def _evenly_spaced(
    planned: Sequence[PlannedUtterance], count: int | None
) -> list[PlannedUtterance]:
    """Return `count` evenly spaced utterances, or all of them if there are not more."""
    if count is None or count >= len(planned):
        return list(planned)
    return [planned[index * len(planned) // count] for index in range(count)]


def corpus_hash(lang: str) -> str:
    """Return the SHA-256 of ids, texts and speakers of the whole plan; audio is not included."""
    digest = hashlib.sha256()
    for utterance in sorted(plan(lang), key=lambda utterance: utterance.utt_id):
        row = [
            utterance.utt_id,
            utterance.subset,
            utterance.texts,
            utterance.speech.text,
            asdict(utterance.speaker),
        ]
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
