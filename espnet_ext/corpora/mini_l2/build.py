"""Who says what in which set: the embedded corpus as a plan, and as utterances with audio.

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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType

from espnet_ext.corpora.mini_l2 import synthesis
from espnet_ext.corpora.mini_l2.sentences import drawn, written
from espnet_ext.corpora.mini_l2.speakers import Speaker, speakers
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.progress import say

LANGUAGES = {"en": "english", "ko": "korean"}  # lang → its module; the order seeds the plans
SETS = ("train", "valid", "test")
HELD_OUT = {"test": 80, "valid": 40}  # sentences
REPEATS = {"train": 1, "valid": 2, "test": 2}  # speakers who say each written sentence
DRAWN = {"en": 2600, "ko": 1100}  # sentences from frames; each said once, to train on
QUICK = {"train": 160, "valid": 16, "test": 24}  # utterances
UNLABELLED = 0.05  # of the training utterances have only one of surface and meaning


@dataclass(frozen=True)
class Planned:
    """One utterance before it is spoken."""

    subset: str
    utt_id: str
    speaker: Speaker
    texts: dict[str, str]
    speech: synthesis.Speech


def language(lang: str) -> ModuleType:
    """The module of a language; an unknown one is a `UserError`."""
    if lang not in LANGUAGES:
        remedy = f"choose among {', '.join(sorted(LANGUAGES))}"
        raise UserError(f"mini_l2 has no language '{lang}'", remedy)
    return importlib.import_module(f"{__package__}.{LANGUAGES[lang]}")


def prepare(
    audio_dir: str | os.PathLike, langs: Sequence[str], quick: bool = False, nj: int = 2
) -> dict[str, list[Utterance]]:
    """The utterances of all languages by set, spoken into `<audio_dir>/<lang>/<speaker>/`.

    What is there already is kept, so that a second call returns at once.
    """
    plans = {lang: plan(lang, quick) for lang in dict.fromkeys(langs)}
    scripts = []
    for lang, planned in plans.items():
        for speaker in dict.fromkeys(one.speaker for one in planned):
            speech = [one.speech for one in planned if one.speaker == speaker]
            scripts.append(_script(audio_dir, lang, speaker, speech))
    made = synthesis.synthesise(scripts, nj)
    total = sum(map(len, plans.values()))
    say(f"mini_l2: {total} utterances in {audio_dir}, {made} of them spoken now")
    sets: dict[str, list[Utterance]] = {name: [] for name in SETS}
    for lang, planned in plans.items():
        for one in planned:
            sets[one.subset].append(_utterance(one, lang, Path(audio_dir) / lang))
    return sets


def _script(
    audio_dir: str | os.PathLike, lang: str, speaker: Speaker, speech: list[synthesis.Speech]
) -> synthesis.Script:
    return synthesis.Script(Path(audio_dir) / lang, language(lang).VOICE, speaker, speech)


def _utterance(one: Planned, lang: str, folder: Path) -> Utterance:
    return Utterance(
        utt_id=one.utt_id,
        speaker=one.speaker.name,
        audio=str(synthesis.audio_path(folder, one.speaker.name, one.utt_id)),
        texts=one.texts,
        lang=lang,
        l1=one.speaker.l1,
        band="wide",
        domain="read",
    )


def plan(lang: str, quick: bool = False) -> list[Planned]:
    """All utterances of a language, sorted by set and id; the quick ones are a part of them.

    >>> len(plan("en", quick=True))
    200
    """
    module = language(lang)
    seed = 1_000_000 * (1 + sorted(LANGUAGES).index(lang))
    sentences = [*written(lang), *drawn(lang, DRAWN[lang], seed)]
    split = split_sentences(written(lang), seed)
    said = {subset: REPEATS[subset] * split[subset] for subset in SETS}
    said["train"] += range(len(written(lang)), len(sentences))
    who = speakers(lang, module.L1S)
    pronounce = functools.cache(module.canonical)
    planned = []
    for subset in SETS:
        of_subset = [speaker for speaker in who if speaker.subset == subset]
        for number, speaker in _assign(said[subset], of_subset, seed):
            own_seed = seed + 10_000 * who.index(speaker) + number
            texts = {"meaning": sentences[number], "canonical": pronounce(sentences[number])}
            planned.append(_plan_one(module, speaker, number, texts, own_seed))
    planned = _unlabel(sorted(planned, key=lambda one: one.utt_id), seed)
    return [
        one
        for subset in SETS
        for one in _evenly(
            [one for one in planned if one.subset == subset], QUICK[subset] if quick else None
        )
    ]


def split_sentences(sentences: Sequence[str], seed: int) -> dict[str, list[int]]:
    """Numbers of the sentences of each set; every word held out stays twice in training if it can.

    Sentences are tried in a random order; one whose words would become too rare goes to training.
    """
    if len(sentences) <= 2 * sum(HELD_OUT.values()):
        raise UserError(f"{len(sentences)} sentences are too few to hold some out", "write more")
    left = Counter(word for sentence in sentences for word in set(sentence.split()))
    order = list(range(len(sentences)))
    random.Random(seed).shuffle(order)
    held: list[int] = []
    for rarest in (2, 1, 0):  # ever less is asked of the words that remain, until enough are held
        for number in order:
            words = set(sentences[number].split())
            if len(held) == sum(HELD_OUT.values()):
                break
            if number not in held and all(left[word] > rarest for word in words):
                held.append(number)
                left.subtract(words)
    test = HELD_OUT["test"]
    train = sorted(set(order) - set(held))
    return {"train": train, "valid": sorted(held[test:]), "test": sorted(held[:test])}


def _assign(
    numbers: Sequence[int], of_subset: Sequence[Speaker], seed: int
) -> Iterator[tuple[int, Speaker]]:
    """A speaker to each sentence, another each time it comes: who has said the fewest so far."""
    rng = random.Random(seed + 1)
    said: dict[Speaker, set[int]] = {speaker: set() for speaker in of_subset}
    for number in sorted(numbers):
        free = [speaker for speaker in of_subset if number not in said[speaker]]
        speaker = min(free, key=lambda one: (len(said[one]), rng.random()))
        said[speaker].add(number)
        yield number, speaker


def _plan_one(
    module: ModuleType, speaker: Speaker, number: int, texts: dict[str, str], seed: int
) -> Planned:
    rng = random.Random(seed)
    rate = speaker.level * rng.uniform(0.5, 1.5)  # nobody speaks equally well all the time
    surface = module.corrupt(texts["canonical"], speaker.l1, rate, rng)
    utt_id = f"{speaker.name}-{number:04d}"
    speech = synthesis.Speech(utt_id, module.espeak_input(surface), seed)
    return Planned(speaker.subset, utt_id, speaker, {"surface": surface, **texts}, speech)


def _unlabel(planned: Sequence[Planned], seed: int) -> list[Planned]:
    """Take the surface or the meaning, by turns, from some of the training utterances."""
    train = [one.utt_id for one in planned if one.subset == "train"]
    chosen = random.Random(seed + 2).sample(train, round(UNLABELLED * len(train)))
    loses = {utt: ("surface", "meaning")[turn % 2] for turn, utt in enumerate(chosen)}
    return [
        replace(one, texts={k: v for k, v in one.texts.items() if k != loses.get(one.utt_id)})
        for one in planned
    ]


def _evenly(planned: Sequence[Planned], count: int | None) -> list[Planned]:
    """`count` of the utterances at even distances; all of them without a count."""
    if count is None or count >= len(planned):
        return list(planned)
    return [planned[index * len(planned) // count] for index in range(count)]


def corpus_hash(lang: str) -> str:
    """SHA-256 over ids, texts and speakers of the whole plan: what the corpus is, audio aside."""
    digest = hashlib.sha256()
    for one in sorted(plan(lang), key=lambda one: one.utt_id):
        row = [one.utt_id, one.subset, one.texts, one.speech.text, asdict(one.speaker)]
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
