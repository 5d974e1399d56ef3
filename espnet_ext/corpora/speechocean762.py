"""speechocean762 (Zhang et al., Interspeech 2021; CC BY 4.0): English read by Mandarin speakers.

`train/` and `test/` are Kaldi directories, `resource/scores.json` holds words, canonical phones and
mispronunciations. Meaning are the words, canonical the phones without stress, surface the canonical
phones with every mispronounced one replaced or deleted; where `resource/scores-detail.json` is,
inserted phones stand where most of the five experts heard the same one. Human scores are kept.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_ext import files
from espnet_ext.corpora.expert_scores import insertions, scores_of
from espnet_ext.corpora.preparation import (
    UNIDENTIFIED,
    Report,
    Sets,
    by_turns,
    check_audio,
    english_words,
    known_sentences,
    read_phone,
    require_folder,
)
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError

URL = "https://www.openslr.org/resources/101/speechocean762.tar.gz"
SCORES, DETAILS = "resource/scores.json", "resource/scores-detail.json"
MAX_JSON = 256 << 20  # bytes; the published files have some 10 MB
ARCHIVE_BYTES = 520_810_923  # as Kaldi's gop_speechocean762 recipe has it; no checksum is published
DELETED = "<DEL>"
UNKNOWN = "<unk>"
ADULT = 16  # years; younger speakers get the domain "child" (the corpus is half children)
HOW_TO_GET = f"get it with --download true, or from {URL}"


def prepare(
    corpus_dir: str | os.PathLike,
    *,
    skip_unreadable: bool = False,
    nj: int = 1,
    report: Report | None = None,
) -> Sets:
    """The corpus as train, valid and test: the published test set; a tenth of the training speakers
    validate, dealt out within children and adults so that both sets have the same mixture. `nj`
    sound files are looked at at a time; the rest is a table or two, and one file of scores.
    """
    report = report if report is not None else Report("speechocean762")
    root = Path(require_folder(corpus_dir, "speechocean762", HOW_TO_GET))
    for name in ("train/wav.scp", "test/wav.scp", "resource/scores.json"):
        if not (root / name).is_file():
            remedy = "expected train/, test/, WAVE/ and resource/scores.json as published; "
            raise UserError(f"{root}: has no {name}", remedy + HOW_TO_GET)
    scores = _read_json(root / SCORES)
    details: dict[str, Any] = {}
    if (root / DETAILS).is_file():
        details = _read_json(root / DETAILS)
    else:
        report.notes.append(f"without {DETAILS} no inserted phone is known")
    train = _read_part(root, "train", scores, details, report)
    test = _read_part(root, "test", scores, details, report)
    told = {name for part in ("train", "test") for name in read_table(root / part / "wav.scp")}
    report.counts["entries of scores.json without an utterance"] += len(scores.keys() - told)
    if both := {one.speaker for one in train} & {one.speaker for one in test}:
        report.notes.append(f"speakers in train and in test: {' '.join(sorted(both))}")
    train = check_audio(train, report, skip_unreadable=skip_unreadable, nj=nj)
    test = check_audio(test, report, skip_unreadable=skip_unreadable, nj=nj)
    ages = {one.speaker: one.domain or "" for one in train}
    place: dict[str, str] = {}
    for group in sorted(set(ages.values())):
        members = sorted(speaker for speaker in ages if ages[speaker] == group)
        place |= by_turns(members, {"valid": 1}) if len(members) > 1 else {members[0]: "train"}
    sets: Sets = {"train": [], "valid": [], "test": test}
    for one in train:
        sets[place[one.speaker]].append(one)
    report.notes.append(
        "split by speakers: the published test set; of the published training speakers, sorted by "
        "age group and name, every tenth is valid"
    )
    report.notes.append(known_sentences(sets))
    return sets


def _read_json(path: Path) -> dict[str, Any]:
    """A map of utterances; a file beyond reason is not read."""
    if path.stat().st_size > MAX_JSON:
        message = f"{path}: {path.stat().st_size} bytes are too many for scores of 5,000 utterances"
        raise UserError(message, HOW_TO_GET)
    try:
        found = files.read_json(path)
    except (RecursionError, ValueError) as error:  # nested, or a number, beyond what Python reads
        raise UserError(f"{path}: cannot be read: {error}", HOW_TO_GET) from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a map of utterances", HOW_TO_GET)
    return found


def _read_part(
    root: Path, part: str, scores: Mapping[str, Any], details: Mapping[str, Any], report: Report
) -> list[Utterance]:
    """Utterances of `train/` or `test/`, ids prefixed by speaker as Kaldi's order asks for."""
    folder = root / part
    audio = read_table(folder / "wav.scp")
    speakers = read_table(folder / "utt2spk")
    words = read_table(folder / "text")
    ages = read_table(folder / "spk2age") if (folder / "spk2age").is_file() else {}
    utterances = []
    for name, source in audio.items():
        if name not in speakers:
            raise UserError(f"{folder}/utt2spk: {name}: has no row", "take it from a fresh copy")
        utt_id = f"{speakers[name]}-{name}"
        if source.rstrip().endswith("|"):
            message = f"{folder}/wav.scp: {name}: is a command, not a file"
            raise UserError(message, "name the sound file; commands are not run")
        entry, detail = scores.get(name), details.get(name)
        texts = read_scores(entry, words.get(name, ""), utt_id, report, detail)
        if not texts:
            report.left_out[utt_id] = "no transcript of any kind"
            report.unlabelled.pop(utt_id, None)
            continue
        # An absolute path in wav.scp stands as it is.
        sound = str(root / source)
        domain = _domain(ages.get(speakers[name]))
        score = scores_of(entry, detail) or None
        utterances.append(
            Utterance(utt_id, speakers[name], sound, texts, "en", "zh", domain=domain, score=score)
        )
    for name in sorted(words.keys() - audio.keys()):
        report.left_out[f"{speakers.get(name, part)}-{name}"] = "no audio"
    return utterances


def _domain(age: str | None) -> str | None:
    """Age group of a speaker.

    >>> _domain("6"), _domain("30"), _domain("?")
    ('child', 'adult', None)
    """
    if age is None or not age.strip().isdecimal():
        return None
    return "child" if int(age) < ADULT else "adult"


def read_scores(
    entry: Any, text: str, utt_id: str, report: Report, detail: Any = None
) -> dict[str, str]:
    """Transcripts by output from an utterance's words and its entries in the files of scores.

    A near phone (`R*`) is read as that phone, as in L2-ARCTIC. `<unk>` and null leave the surface
    unlabelled. Where the entry contradicts the words or itself, phones are not taken from it.
    """
    texts = {}
    if words := english_words(text):
        texts["meaning"] = words
    else:
        report.miss(utt_id, "meaning", "no words in text")
    try:
        canonical, surface, problem = _phones(entry, text, report, detail)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        canonical, surface, problem = [], [], f"malformed entry in scores.json: '{error}'"
    if canonical:
        texts["canonical"] = " ".join(canonical)
    else:
        report.miss(utt_id, "canonical", problem)
    if surface and not problem:
        texts["surface"] = " ".join(surface)
    else:
        report.miss(utt_id, "surface", problem or "all phones were deleted")
    return texts


def _phones(entry: Any, text: str, report: Report, detail: Any) -> tuple[list[str], list[str], str]:
    """Canonical and surface phones, and why the surface is not known; no canonical: not known."""
    if entry is None:
        return [], [], "no entry in scores.json"
    words = entry["words"]
    if english_words(" ".join(word["text"] for word in words)) != english_words(text):
        return [], [], "scores.json has other words than text"
    canonical: list[str] = []
    surface: list[str] = []
    problem = ""
    noted = detail.get("words") if isinstance(detail, Mapping) else None
    if not isinstance(noted, list) or len(noted) != len(words):
        noted = [None] * len(words)
    for word, experts in zip(words, noted, strict=True):
        written = word["phones"]  # a list, or in early releases one string
        written = written.split() if isinstance(written, str) else written
        phones = [read_phone(phone)[0] for phone in written]
        if not all(phones) or UNIDENTIFIED in phones:
            return [], [], f"no phones: '{' '.join(written)}'"
        heard: list[str] = list(phones)
        wrong: set[int] = set()
        for one in word.get("mispronunciations", ()):
            index = one["index"]
            if index in wrong:
                return [], [], f"phone {index} of '{word['text']}' is mispronounced twice"
            wrong.add(index)
            if index < 0 or read_phone(one["canonical-phone"])[0] != phones[index]:
                return [], [], f"phone {index} of '{word['text']}' is not its canonical-phone"
            heard[index], reason = _pronounced(one["pronounced-phone"], report)
            problem = problem or reason
        hearings = experts.get("phones") if isinstance(experts, Mapping) else None
        added, minority, reason = insertions(hearings, phones)
        problem = problem or reason
        report.counts["inserted phones that most experts heard"] += sum(map(len, added.values()))
        report.counts["inserted phones that a minority heard, passed over"] += minority
        canonical += phones
        for place in range(len(phones) + 1):
            surface += added.get(place, [])
            surface += [phone for phone in heard[place : place + 1] if phone]
    return canonical, surface, problem


def _pronounced(label: str | None, report: Report) -> tuple[str, str]:
    """A pronounced phone ("" is deleted) and, if it is not known, why."""
    if label is None:
        return "", "a pronounced phone is null"
    if label.strip() == DELETED:
        return "", ""
    if label.strip() == UNKNOWN:
        return "", "a pronounced phone is <unk>"
    phone, marked = read_phone(label)
    if not phone or phone == UNIDENTIFIED:
        return "", f"pronounced phone '{label}' is no phone"
    report.counts["near phones (X*), read as the phone"] += marked
    return phone, ""
