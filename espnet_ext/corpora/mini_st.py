"""The embedded corpus for speech translation: generated English sentences, spoken by espeak-ng.

A sentence is a choice of subject, verb, object, place and time. Its Korean translation has the same
parts in another order, with particles: `my mother bought a bag at the market yesterday` becomes
`어제 어머니가 시장에서 가방을 샀어요` (time, subject, place, object, verb).

`prepare` writes the corpus in the layout of MuST-C, and reads it as `must_c` does. Speakers and
sentences are disjoint across train, valid and test.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ext import files
from espnet_ext.corpora import must_c
from espnet_ext.corpora.mini_l2 import english, synthesis
from espnet_ext.corpora.mini_l2.speakers import Speaker, speakers
from espnet_ext.corpora.preparation import CorpusOptions, Report, Sets
from espnet_ext.data.audio import encode_audio, load_audio

LANG, TARGET = "en", "ko"
SIZES = {"train": 1600, "valid": 120, "test": 160}  # sentences
QUICK_SIZES = {"train": 160, "valid": 16, "test": 24}
SEED = 30_000_000
PAUSE = 0.25  # seconds of silence between the segments of a recording
SUBJECTS = {
    "my mother": "어머니",
    "my father": "아버지",
    "the teacher": "선생님",
    "my friend": "친구",
    "the doctor": "의사",
    "the children": "아이들",
    "the woman": "여자",
    "the old man": "할아버지",
}
_THINGS = {
    "the keys": "열쇠",
    "the bag": "가방",
    "the phone": "전화기",
    "the glasses": "안경",
    "the tickets": "표",
    "the hat": "모자",
}
OBJECTS = {  # verb, its translation → its objects
    ("bought", "샀어요"): {
        "a bag": "가방",
        "a shirt": "셔츠",
        "a hat": "모자",
        "flowers": "꽃",
        "a car": "차",
        "a chair": "의자",
    },
    ("lost", "잃어버렸어요"): _THINGS,
    ("found", "찾았어요"): _THINGS,
    ("had", "먹었어요"): {
        "bread": "빵",
        "rice": "밥",
        "fish": "생선",
        "soup": "수프",
        "eggs": "계란",
    },
    ("watched", "봤어요"): {"a film": "영화", "television": "텔레비전", "football": "축구"},
    ("washed", "씻었어요"): {"the cups": "컵", "the car": "차", "the window": "창문"},
}
PLACES = {
    "": "",
    "in the park": "공원에서",
    "at school": "학교에서",
    "at home": "집에서",
    "at the hotel": "호텔에서",
    "in the city": "도시에서",
    "at the station": "역에서",
    "at the market": "시장에서",
}
TIMES = {
    "": "",
    "yesterday": "어제",
    "today": "오늘",
    "last week": "지난주에",
    "this morning": "오늘 아침에",
    "on sunday": "일요일에",
    "on monday": "월요일에",
}


@dataclass(frozen=True)
class Options(CorpusOptions):
    """Options of `espnet-ext prepare mini_st`."""


@dataclass(frozen=True)
class Line:
    """A sentence with its translation and speaker."""

    utt_id: str
    speaker: Speaker
    english: str
    korean: str

    @property
    def speech(self) -> synthesis.Speech:
        text = english.espeak_input(english.canonical(self.english))
        return synthesis.Speech(self.utt_id, text, SEED + int(self.utt_id.rpartition("-")[2]))


def prepare(options: Options, report: Report) -> Sets:
    """Return the utterances by set; write the corpus to `<data_dir>/mini_st_corpus`."""
    planned = plan(options.quick)
    root = Path(options.data_dir) / "mini_st_corpus"
    audio = root / "sentences"
    scripts = []
    for name in options.selected(must_c.DEFAULT_SETS):
        for speaker, lines in _by_speaker(planned[name]).items():
            speech = [line.speech for line in lines]
            scripts.append(synthesis.Script(audio, english.VOICE, speaker, speech))
    synthesis.synthesise(scripts, options.nj)
    for name in options.selected(must_c.DEFAULT_SETS):
        write_split(root / f"{LANG}-{TARGET}/data", must_c.SPLITS[name], planned[name], audio)
    report.notes.append("generated sentences, synthetic speech; no sentence is in two sets")
    return must_c.prepare(
        must_c.Options(
            data_dir=options.data_dir,
            sets=options.sets,
            nj=options.nj,
            corpus_dir=root,
            lang=LANG,
            tgt_lang=TARGET,
        ),
        report,
    )


def sentences() -> list[tuple[str, str]]:
    """Return all sentences with their translations.

    >>> sentences()[1]
    ('my mother bought a bag yesterday', '어제 어머니가 가방을 샀어요')
    """
    parts = itertools.product(
        SUBJECTS.items(),
        [(verb, thing) for verb, things in OBJECTS.items() for thing in things.items()],
        PLACES.items(),
        TIMES.items(),
    )
    pairs = []
    for subject, (verb, thing), place, time in parts:
        source = (subject[0], verb[0], thing[0], place[0], time[0])
        target = (
            time[1],
            with_particle(subject[1], "이", "가"),
            place[1],
            with_particle(thing[1], "을", "를"),
            verb[1],
        )
        pairs.append((" ".join(filter(None, source)), " ".join(filter(None, target))))
    return pairs


def with_particle(noun: str, after_consonant: str, after_vowel: str) -> str:
    """Return a Korean noun with the form of a particle that its last sound requires.

    >>> with_particle("빵", "을", "를"), with_particle("표", "을", "를")
    ('빵을', '표를')
    """
    has_final_consonant = (ord(noun[-1]) - ord("가")) % 28
    return noun + (after_consonant if has_final_consonant else after_vowel)


def plan(quick: bool = False) -> dict[str, list[Line]]:
    """Return the sentences of each set, assigned to its speakers in turn."""
    pairs = sentences()
    random.Random(SEED).shuffle(pairs)
    planned: dict[str, list[Line]] = {}
    number = 0
    for name, size in SIZES.items():
        members = [one for one in speakers(LANG, english.L1S) if one.subset == name]
        planned[name] = []
        for turn in range(QUICK_SIZES[name] if quick else size):
            speaker = members[turn % len(members)]
            utt_id = f"{speaker.name}-{number + turn:05d}"
            planned[name].append(Line(utt_id, speaker, *pairs[number + turn]))
        number += size
    return planned


def _by_speaker(lines: Sequence[Line]) -> Mapping[Speaker, list[Line]]:
    by_speaker: dict[Speaker, list[Line]] = {}
    for line in lines:
        by_speaker.setdefault(line.speaker, []).append(line)
    return by_speaker


def write_split(folder: Path, split: str, lines: Sequence[Line], audio: Path) -> None:
    """Write a split in the layout of MuST-C: one recording per speaker, segment list and texts.

    Args:
        folder: folder of the pair of languages.
        lines: sentences, whose audio is below `audio`.
    """
    import numpy as np

    rows: dict[str, list[str]] = {"yaml": [], LANG: [], TARGET: []}
    for speaker, of_speaker in _by_speaker(lines).items():
        parts: list[np.ndarray] = []
        samples = rate = 0
        for line in of_speaker:
            wave, rate = load_audio(str(synthesis.audio_path(audio, speaker.name, line.utt_id)))
            rows["yaml"].append(
                f"- {{duration: {len(wave) / rate:.6f}, offset: {samples / rate:.6f}, "
                f"speaker_id: {speaker.name}, wav: {speaker.name}.wav}}"
            )
            rows[LANG].append(line.english)
            rows[TARGET].append(line.korean)
            parts += [wave, np.zeros(int(PAUSE * rate), dtype=wave.dtype)]
            samples += sum(map(len, parts[-2:]))
        content = encode_audio(np.concatenate(parts), rate, ".wav")
        target = folder / split / "wav" / f"{speaker.name}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or target.read_bytes() != content:
            with files.atomic_write(target, "wb") as handle:
                handle.write(content)
    for suffix, texts in rows.items():
        path = folder / split / "txt" / f"{split}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, "".join(f"{text}\n" for text in texts))
