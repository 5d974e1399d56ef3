"""Write small corpora in their published layouts; the audio is noise."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import soundfile

from espnet_ext.corpora.preparation import Report

RATE = 16000


def prepare_corpus(module, *arguments, report=None, **options):
    """Call `prepare` of a corpus; the arguments and options are those of its `Options`."""
    report = report or Report(module.__name__.rpartition(".")[2])
    return module.prepare(module.Options(*arguments, **options), report)


def write_sound(path: Path, seconds: float = 0.5, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, int(seconds * rate))
    soundfile.write(path, noise, rate, format="FLAC" if path.suffix == ".flac" else "WAV")


def long_textgrid(**tiers: list[str]) -> str:
    """Return a TextGrid in the long format; the intervals divide three seconds evenly."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", "xmax = 3"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, labels) in enumerate(tiers.items(), 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"']
        lines += [f'        name = "{name}"', "        xmin = 0", "        xmax = 3"]
        lines += [f"        intervals: size = {len(labels)}"]
        for index, label in enumerate(labels):
            quoted = label.replace('"', '""')
            lines += [f"        intervals [{index + 1}]:"]
            lines += [f"            xmin = {3 * index / len(labels)}"]
            lines += [f"            xmax = {3 * (index + 1) / len(labels)}"]
            lines += [f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def short_textgrid(**tiers: list[str]) -> str:
    """Return the same TextGrid in the short format."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", "3", "<exists>"]
    lines += [str(len(tiers))]
    for name, labels in tiers.items():
        lines += ['"IntervalTier"', f'"{name}"', "0", "3", str(len(labels))]
        for index, label in enumerate(labels):
            quoted = label.replace('"', '""')
            bounds = [3 * index / len(labels), 3 * (index + 1) / len(labels)]
            lines += [str(bounds[0]), str(bounds[1]), f'"{quoted}"']
    return "\n".join(lines) + "\n"


def write_l2arctic(root: Path, utterances: dict[str, dict[str, tuple]]) -> Path:
    """Write L2-ARCTIC: speaker → stem → (transcript, labels of the phones tier or None)."""
    for speaker, stems in utterances.items():
        for folder in ("wav", "transcript", "annotation"):
            (root / speaker / folder).mkdir(parents=True, exist_ok=True)
        for stem, (words, labels) in stems.items():
            write_sound(root / speaker / "wav" / f"{stem}.wav", rate=44100)
            (root / speaker / "transcript" / f"{stem}.txt").write_text(words, encoding="utf-8")
            if labels is not None:
                grid = long_textgrid(words=["", *words.split(), ""], phones=labels)
                (root / speaker / "annotation" / f"{stem}.TextGrid").write_text(grid)
    return root


def word(text: str, phones: str, *wrong: tuple[int, str, str | None]) -> dict:
    """Return a word of scores.json.

    Each of `wrong` is (index, canonical phone, pronounced phone) of a mispronunciation.
    """
    entry = {"text": text, "phones": phones.split(), "phones-accuracy": [2.0] * len(phones.split())}
    if wrong:
        keys = ("index", "canonical-phone", "pronounced-phone")
        entry["mispronunciations"] = [dict(zip(keys, one, strict=True)) for one in wrong]
    return entry


def detail(words: list[dict], *strings: list[str]) -> dict:
    """Return an entry of scores-detail.json: the scores of five experts.

    `words` are as in scores.json; `strings` are, per word, the strings of the first experts. The
    other experts perceived no deviation.
    """
    entry = {name: [8.0, 9.0, 7.0, 8.0, 8.0] for name in ("accuracy", "fluency", "prosodic")}
    entry |= {"total": [7.6, 9.0, 7.9, 8.0, 9.1], "completeness": [1.0] * 5}
    entry["text"] = " ".join(one["text"] for one in words)
    strings_of_words = [*strings, *([[]] * (len(words) - len(strings)))]
    entry["words"] = [
        {
            **{name: [10.0] * 5 for name in ("accuracy", "stress", "total")},
            "text": word["text"],
            "ref-phones": " ".join(word["phones"]),
            "phones": [*first, *([" ".join(word["phones"])] * (5 - len(first)))],
        }
        for word, first in zip(words, strings_of_words, strict=True)
    ]
    return entry


def write_speechocean762(root: Path, parts: dict[str, dict[str, list[tuple]]]) -> Path:
    """Write speechocean762: "train"/"test" → speaker → (utterance, words of scores.json).

    Speakers with odd numbers are 8 years old, the others 30.
    """
    scores = {}
    for part, speakers in parts.items():
        rows = {name: [] for name in ("wav.scp", "utt2spk", "text", "spk2age")}
        for speaker, utterances in speakers.items():
            rows["spk2age"].append(f"{speaker}\t{8 if int(speaker) % 2 else 30}")
            for name, words in utterances:
                sound = f"WAVE/SPEAKER{speaker}/{name}.WAV"
                write_sound(root / sound)
                sentence = " ".join(one["text"] for one in words)
                rows["wav.scp"].append(f"{name}\t{sound}")
                rows["utt2spk"].append(f"{name}\t{speaker}")
                rows["text"].append(f"{name}\t{sentence}")
                scores[name] = {"text": sentence, "words": words}
        (root / part).mkdir(parents=True, exist_ok=True)
        for name, lines in rows.items():
            (root / part / name).write_text("".join(f"{line}\n" for line in sorted(lines)))
    (root / "resource").mkdir(exist_ok=True)
    (root / "resource/scores.json").write_text(json.dumps(scores))
    return root


CV_COLUMNS = (
    "client_id",
    "path",
    "sentence_id",
    "sentence",
    "sentence_domain",
    "up_votes",
    "down_votes",
    "age",
    "gender",
    "accents",
    "variant",
    "locale",
    "segment",
)


def client(name: str) -> str:
    """Return a client_id of Common Voice: 128 hexadecimal digits."""
    return hashlib.sha512(name.encode()).hexdigest()


def write_commonvoice(root: Path, tables: dict[str, list[tuple]], locale: str = "en") -> Path:
    """Write Common Voice: train, dev, … → rows (speaker, clip, sentence, accents), clips as MP3."""
    folder = root / locale
    for table, rows in tables.items():
        lines = ["\t".join(CV_COLUMNS)]
        for speaker, clip, sentence, accents in rows:
            path = folder / "clips" / f"{clip}.mp3"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16000)
                soundfile.write(path, noise, 32000, format="MP3")
            cells = {
                "client_id": client(speaker),
                "path": path.name,
                "sentence": sentence,
                "accents": accents,
                "locale": locale,
                "up_votes": "2",
            }
            lines.append("\t".join(cells.get(name, "") for name in CV_COLUMNS))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{table}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


EPADB_REFERENCES = """
TEXT 1: Our toy
TRANSCRIPTION 1: AA R  Th OY
TRANSCRIPTION 1: AW R/ER  Th OY

TEXT 2: Hot tea
TRANSCRIPTION 2: HH AO/AA Th/CH/0  Th/CH IY
"""


def write_epadb(root: Path, parts: dict[str, dict[str, dict[str, tuple]]]) -> Path:
    """Write EpaDB: "train"/"test"/"" → speaker → sentence → (prompt, annotated labels or None)."""
    for part, speakers in parts.items():
        for speaker, sentences in speakers.items():
            for number, (prompt, labels) in sentences.items():
                folder, stem = root / part / speaker, f"{speaker}_{number}"
                write_sound(folder / "waveforms" / f"{stem}.wav", rate=44100)
                for name in ("transcriptions", "annotations_1"):
                    (folder / name).mkdir(exist_ok=True)
                if prompt:
                    (folder / "transcriptions" / f"{stem}.lab").write_text(prompt)
                if labels is not None:
                    words = ["", *prompt.lower().split(), ""]
                    annotation = ["sil", *labels, "sp", ""]
                    grid = long_textgrid(words=words, annotation=annotation, score=["5/5"])
                    # as published: all items have the same number, and there is no final newline
                    grid = re.sub(r"item \[\d+\]:", "item [1]:", grid).rstrip("\n")
                    (folder / "annotations_1" / f"{stem}.TextGrid").write_text(grid)
    place = root / "train" if (root / "train").is_dir() else root
    (place / "reference_transcriptions.txt").write_text(EPADB_REFERENCES)
    return root


STM_HEAD = ';; CATEGORY "0" "" ""\n;; LABEL "O" "Overall" "Overall"\n;;\n'


def write_speakandimprove(root: Path, sets: dict[str, dict[str, dict]]) -> Path:
    """Write Speak & Improve: train, dev → recording → description.

    A description has "seconds", "phrases" [(start, end, asr, fluent, gec)] and optionally "marks",
    a Transcript. A phrase with None for fluent or gec is not in that STM.
    """
    materials = root / "reference-materials"
    for folder in ("stms", "annotations", "flists.flac"):
        (materials / folder).mkdir(parents=True, exist_ok=True)
    for name, recordings in sets.items():
        stms: dict[str, list[str]] = {"asr": [], "fluent": [], "gec": []}
        listed, marked = [], []
        for recording, one in recordings.items():
            sound = f"data/flac/{name}/01/{recording}.flac"
            write_sound(root / sound, one["seconds"])
            listed.append(f"{recording}\t{sound}")
            speaker = recording.rpartition("-")[0]
            for start, end, *texts in one["phrases"]:
                label = f"<o,Q5,B2,{recording.rpartition('-')[2][:2]}>"
                for stm, text in zip(stms, texts, strict=True):
                    if text is not None:
                        times = f"{start:.2f} {end:5.2f}"
                        stms[stm].append(f"{recording} 1 {speaker} {times} {label} {text}")
            if one.get("marks") is not None:
                question = json.dumps({"text": "Why?", "speaking-time": 20, "thinking-time": 0})
                marked.append(
                    {"File-id": recording, "Transcript": one["marks"], "Question": question}
                )
        for stm, lines in stms.items():
            text = STM_HEAD + "".join(f"{line}\n" for line in lines)
            (materials / "stms" / f"{name}-{stm}.stm").write_text(text)
        (materials / "flists.flac" / f"{name}-asr.tsv").write_text(
            "".join(f"{line}\n" for line in listed)
        )
        (materials / "annotations" / f"{name}-trans-ref.json").write_text(
            json.dumps({"ref-type": "transcription", "files": marked})
        )
    return root


def write_must_c(root: Path, splits: dict[str, list[tuple]], pair: str = "en-de") -> Path:
    """Write MuST-C: split → segments (talk, offset, duration, transcript, translation)."""
    source, target = pair.split("-")
    for split, segments in splits.items():
        folder = root / pair / "data" / split
        (folder / "txt").mkdir(parents=True)
        for talk in dict.fromkeys(segment[0] for segment in segments):
            write_sound(folder / f"wav/ted_{talk}.wav", 2.0)
        rows = [
            f"- {{duration: {duration:.6f}, offset: {offset:.6f}, rW: 1, speaker_id: spk.{talk}, "
            f"wav: ted_{talk}.wav}}"
            for talk, offset, duration, _, _ in segments
        ]
        for suffix, lines in (
            ("yaml", rows),
            (source, [segment[3] for segment in segments]),
            (target, [segment[4] for segment in segments]),
        ):
            text = "".join(f"{line}\n" for line in lines)
            (folder / f"txt/{split}.{suffix}").write_text(text, encoding="utf-8")
    return root
