"""speechocean762: English of Mandarin speakers (Zhang et al., Interspeech 2021; CC BY 4.0).

Layout: `train/` and `test/` are Kaldi directories; `resource/scores.json` holds words, canonical
phones and mispronunciations. Meaning is the words, canonical the phones without stress, surface the
canonical phones with every mispronounced one replaced or deleted. If `resource/scores-detail.json`
exists, surface also has the inserted phones on which most of the five experts agree. Human scores
are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ext import files
from espnet_ext.corpora.download import ArchiveOptions, Source, corpus_folder
from espnet_ext.corpora.expert_scores import insertions, utterance_scores
from espnet_ext.corpora.preparation import (
    Report,
    Sets,
    assign_sets,
    check_audio,
    require_folder,
    sentence_overlap,
)
from espnet_ext.corpora.transcripts import UNIDENTIFIED, english_words, read_phone
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError

URL = "https://www.openslr.org/resources/101/speechocean762.tar.gz"
SETS = ("train", "valid", "test")
SCORES, DETAILS = "resource/scores.json", "resource/scores-detail.json"
MAX_JSON = 256 << 20  # bytes; the published files have about 10 MB
ARCHIVE_BYTES = 520_810_923  # as in Kaldi's gop_speechocean762 recipe; no checksum is published
DELETED = "<DEL>"
UNKNOWN = "<unk>"
ADULT = 16  # years; younger speakers have the domain "child" (half of the speakers)
HOW_TO_GET = f"get it with --download true, or from {URL}"


@dataclass(frozen=True)
class Options(ArchiveOptions):
    """Options of `espnet-ext prepare speechocean762`."""


def prepare(options: Options, report: Report) -> Sets:
    """Return the utterances by set: train, valid and test.

    Test is the published test set. Valid consists of every tenth published training speaker,
    counted separately among children and adults, so that train and valid have the same share of
    both.
    """
    source = Source("speechocean762", SCORES, HOW_TO_GET, URL, size=ARCHIVE_BYTES)
    root = Path(require_folder(corpus_folder(options, source), "speechocean762", HOW_TO_GET))
    requested = options.selected(SETS)
    needed = {"test" if name == "test" else "train" for name in requested}
    for name in (*(f"{part}/wav.scp" for part in sorted(needed)), SCORES):
        if not (root / name).is_file():
            remedy = "expected train/, test/, WAVE/ and resource/scores.json as published; "
            raise UserError(f"{root}: has no {name}", remedy + HOW_TO_GET)
    scores = _read_json(root / SCORES)
    details: dict[str, Any] = {}
    if (root / DETAILS).is_file():
        details = _read_json(root / DETAILS)
    else:
        report.notes.append(f"no {DETAILS}, so inserted phones are not known")
    parts = {part: _read_part(root, part, scores, details, report) for part in sorted(needed)}
    if len(parts) == 2:
        ids = {utt_id for part in parts for utt_id in read_table(root / part / "wav.scp")}
        report.counts["entries of scores.json without an utterance"] += len(scores.keys() - ids)
        speakers = {part: {one.speaker for one in utterances} for part, utterances in parts.items()}
        if both := speakers["train"] & speakers["test"]:
            report.notes.append(f"speakers in train and in test: {' '.join(sorted(both))}")
    train, test = (
        check_audio(
            parts.get(part, ()), report, skip_unreadable=options.skip_unreadable, nj=options.nj
        )
        for part in ("train", "test")
    )
    set_of = _split_by_age_group(train)
    sets: Sets = {"train": [], "valid": [], "test": test}
    for utterance in train:
        sets[set_of[utterance.speaker]].append(utterance)
    report.notes.append(
        "split by speakers: the published test set; of the published training speakers, sorted by "
        "age group and name, every tenth is valid"
    )
    if len(parts) == 2:
        report.notes.append(sentence_overlap(sets))
    return {name: sets[name] for name in requested}


def _split_by_age_group(utterances: list[Utterance]) -> dict[str, str]:
    """Return speaker → "train" or "valid"; every tenth speaker of each age group validates."""
    age_groups = {utterance.speaker: utterance.domain or "" for utterance in utterances}
    sets: dict[str, str] = {}
    for group in sorted(set(age_groups.values())):
        members = sorted(speaker for speaker in age_groups if age_groups[speaker] == group)
        sets |= assign_sets(members, {"valid": 1}) if len(members) > 1 else {members[0]: "train"}
    return sets


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object of utterances; the size of the file is limited."""
    if path.stat().st_size > MAX_JSON:
        message = f"{path}: {path.stat().st_size} bytes is too large for scores of 5,000 utterances"
        raise UserError(message, HOW_TO_GET)
    try:
        value = files.read_json(path)
    except (RecursionError, ValueError) as error:  # nested too deep, or a number that is too long
        raise UserError(f"{path}: cannot read: {error}", HOW_TO_GET) from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not an object of utterances", HOW_TO_GET)
    return value


def _read_part(
    root: Path, part: str, scores: Mapping[str, Any], details: Mapping[str, Any], report: Report
) -> list[Utterance]:
    """Return the utterances of `train/` or `test/`; ids get the speaker as prefix (Kaldi order)."""
    folder = root / part
    audio = read_table(folder / "wav.scp")
    speakers = read_table(folder / "utt2spk")
    words = read_table(folder / "text")
    ages = read_table(folder / "spk2age") if (folder / "spk2age").is_file() else {}
    utterances = []
    for name, source in audio.items():
        if name not in speakers:
            raise UserError(
                f"{folder}/utt2spk: {name}: has no row", "replace the file with a fresh copy"
            )
        speaker = speakers[name]
        utt_id = f"{speaker}-{name}"
        if source.rstrip().endswith("|"):
            message = f"{folder}/wav.scp: {name}: is a command, not a file"
            raise UserError(message, "give the path of the sound file; commands are not run")
        entry, detail = scores.get(name), details.get(name)
        texts = read_scores(entry, words.get(name, ""), utt_id, report, detail)
        if not texts:
            report.leave_out(utt_id, "no transcript of any kind")
            continue
        path = str(root / source)  # an absolute source stays as it is
        domain = _age_group(ages.get(speaker))
        score = utterance_scores(entry, detail) or None
        utterances.append(
            Utterance(utt_id, speaker, path, texts, "en", "zh", domain=domain, score=score)
        )
    for name in sorted(words.keys() - audio.keys()):
        report.leave_out(f"{speakers.get(name, part)}-{name}", "no audio")
    return utterances


def _age_group(age: str | None) -> str | None:
    """Return the age group of a speaker, which is the domain of the utterances.

    >>> _age_group("6"), _age_group("30"), _age_group("?")
    ('child', 'adult', None)
    """
    if age is None or not age.strip().isdecimal():
        return None
    return "child" if int(age) < ADULT else "adult"


def read_scores(
    entry: Any, text: str, utt_id: str, report: Report, detail: Any = None
) -> dict[str, str]:
    """Return the transcripts of an utterance by output; report why one is missing.

    A near phone (`R*`) is read as that phone, as in L2-ARCTIC. `<unk>` and null leave the surface
    unlabelled. If the entry contradicts the words or itself, its phones are not used.

    Args:
        entry: Entry of scores.json.
        text: The words, as in the file `text`.
        detail: Entry of scores-detail.json, for inserted phones.
    """
    texts = {}
    if words := english_words(text):
        texts["meaning"] = words
    else:
        report.mark_unlabelled(utt_id, "meaning", "no words in text")
    try:
        canonical, surface, problem = _phones(entry, text, report, detail)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        canonical, surface, problem = [], [], f"malformed entry in scores.json: '{error}'"
    if canonical:
        texts["canonical"] = " ".join(canonical)
    else:
        report.mark_unlabelled(utt_id, "canonical", problem)
    if surface and not problem:
        texts["surface"] = " ".join(surface)
    else:
        report.mark_unlabelled(utt_id, "surface", problem or "all phones were deleted")
    return texts


def _phones(entry: Any, text: str, report: Report, detail: Any) -> tuple[list[str], list[str], str]:
    """Return canonical phones, surface phones, and why the surface is not known.

    Canonical is empty if it is not known either.
    """
    if entry is None:
        return [], [], "no entry in scores.json"
    words = entry["words"]
    if english_words(" ".join(word["text"] for word in words)) != english_words(text):
        return [], [], "the words of scores.json and of text differ"
    canonical: list[str] = []
    surface: list[str] = []
    problem = ""
    details = detail.get("words") if isinstance(detail, Mapping) else None
    if not isinstance(details, list) or len(details) != len(words):
        details = [None] * len(words)
    for word, detail_of_word in zip(words, details, strict=True):
        labels = word["phones"]  # a list; one string in early releases
        labels = labels.split() if isinstance(labels, str) else labels
        phones = [read_phone(label)[0] or "" for label in labels]
        if not all(phones) or UNIDENTIFIED in phones:
            return [], [], f"not all are phones: '{' '.join(labels)}'"
        perceived = list(phones)  # "" for a deleted phone
        mispronounced: set[int] = set()
        for mispronunciation in word.get("mispronunciations", ()):
            index = mispronunciation["index"]
            if index in mispronounced:
                return [], [], f"phone {index} of '{word['text']}' is mispronounced twice"
            mispronounced.add(index)
            label = mispronunciation["canonical-phone"]
            if index < 0 or read_phone(label)[0] != phones[index]:
                return [], [], f"phone {index} of '{word['text']}' is not its canonical-phone"
            perceived[index], reason = _perceived(mispronunciation["pronounced-phone"], report)
            problem = problem or reason
        strings = detail_of_word.get("phones") if isinstance(detail_of_word, Mapping) else None
        inserted, minority, reason = insertions(strings, phones)
        problem = problem or reason
        report.counts["inserted phones that most experts perceived"] += sum(
            map(len, inserted.values())
        )
        report.counts["inserted phones that a minority of experts perceived, ignored"] += minority
        canonical += phones
        for position in range(len(phones) + 1):
            surface += inserted.get(position, [])
            surface += [phone for phone in perceived[position : position + 1] if phone]
    return canonical, surface, problem


def _perceived(label: str | None, report: Report) -> tuple[str, str]:
    """Return a pronounced phone ("" if deleted), and why it is not known."""
    if label is None:
        return "", "a pronounced phone is null"
    if label.strip() == DELETED:
        return "", ""
    if label.strip() == UNKNOWN:
        return "", "a pronounced phone is <unk>"
    phone, marked = read_phone(label)
    if not phone or phone == UNIDENTIFIED:
        return "", f"pronounced phone '{label}' is not a phone"
    report.counts["near phones (X*), read as the phone"] += marked
    return phone, ""
