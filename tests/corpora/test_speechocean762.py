"""Tests of speechocean762: surfaces from mispronunciations; unknown phones stay unlabelled."""

import json
import os
from pathlib import Path

import pytest
from published import prepare_corpus, word, write_speechocean762

from espnet_ext.bin import prepare as command
from espnet_ext.corpora import speechocean762
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.directory import read_directory


def read(words, text=None):
    report = Report("speechocean762")
    text = " ".join(one["text"] for one in words) if text is None else text
    texts = speechocean762.read_scores({"words": words}, text, "1-1", report)
    return texts, report.unlabelled.get("1-1", {}), report


def test_surface_has_substitutions_and_deletions():
    words = [
        word("IT'S", "IH0 T S", (1, "T", "D"), (2, "S", "<DEL>")),
        word("FISH", "F IH1 SH", (0, "F", "P")),
    ]
    texts, missing, _ = read(words)
    assert texts == {
        "meaning": "it's fish",
        "canonical": "IH T S F IH SH",
        "surface": "IH D P IH SH",
    }
    assert missing == {}


def test_surface_of_a_correct_word_is_canonical():
    texts, _, _ = read([word("WE", "W IY0")])
    assert texts["surface"] == texts["canonical"] == "W IY"


def test_near_phone_is_read_as_the_phone_and_counted():
    texts, missing, report = read([word("RED", "R EH1 D", (0, "R", "R*"), (1, "EH", "AE*"))])
    assert texts["surface"] == "R AE D" and not missing
    assert report.counts["near phones (X*), read as the phone"] == 2


@pytest.mark.parametrize(
    ("pronounced", "reason"),
    [
        (None, "a pronounced phone is null"),
        ("<unk>", "a pronounced phone is <unk>"),
        ("QX", "pronounced phone 'QX' is not a phone"),
        ("err", "pronounced phone 'err' is not a phone"),
        ("", "pronounced phone '' is not a phone"),
    ],
)
def test_unknown_phone_leaves_only_the_surface_unlabelled(pronounced, reason):
    words = [word("RED", "R EH1 D", (0, "R", pronounced), (2, "D", "T"))]
    texts, missing, _ = read(words)
    assert texts == {"meaning": "red", "canonical": "R EH D"}
    assert missing == {"surface": reason}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (None, "no entry in scores.json"),
        ({}, "malformed entry"),
        ({"words": [word("BLUE", "B L UW1")]}, "the words of scores.json and of text differ"),
        ({"words": [word("RED", "R EH1 X")]}, "not all are phones: 'R EH1 X'"),
        ({"words": [word("RED", "R EH1 D", (1, "R", "L"))]}, "is not its canonical-phone"),
        ({"words": [word("RED", "R EH1 D", (7, "R", "L"))]}, "malformed entry"),
        ({"words": [word("RED", "R EH1 D", (-3, "R", "L"))]}, "is not its canonical-phone"),
        ({"words": [{"text": "RED"}]}, "malformed entry"),
    ],
)
def test_inconsistent_entries_give_no_phones(entry, reason):
    report = Report("speechocean762")
    assert speechocean762.read_scores(entry, "RED", "1-1", report) == {"meaning": "red"}
    assert reason in report.unlabelled["1-1"]["surface"]
    assert reason in report.unlabelled["1-1"]["canonical"]


def corpus(root: Path, train_speakers: int = 40) -> Path:
    words = [word("RED", "R EH1 D", (0, "R", "L"))]
    unknown = [word("BLUE", "B L UW1", (1, "L", None))]

    def speakers(numbers):
        return {
            f"{n:04}": [(f"{n:04}{i:05}", words if i else unknown) for i in range(2)]
            for n in numbers
        }

    return write_speechocean762(
        root,
        {"train": speakers(range(1, train_speakers + 1)), "test": speakers((101, 102))},
    )


def test_split_has_published_test_set_and_every_tenth_speaker_in_valid(tmp_path):
    sets = prepare_corpus(speechocean762, corpus(tmp_path))
    speakers = {name: {one.speaker for one in part} for name, part in sets.items()}
    assert {name: len(of_set) for name, of_set in speakers.items()} == {
        "train": 36,
        "valid": 4,
        "test": 2,
    }
    assert not speakers["train"] & speakers["valid"]
    assert [one.domain for one in sets["valid"]].count("child") == 4  # and 4 adults
    one = sets["test"][1]
    assert (one.utt_id, one.speaker, one.l1, one.lang) == ("0101-010100001", "0101", "zh", "en")
    assert one.texts == {"meaning": "red", "canonical": "R EH D", "surface": "L EH D"}
    assert one.audio == str(tmp_path / "WAVE/SPEAKER0101/010100001.WAV")


def test_command_writes_sets_and_report(tmp_path):
    root, data = corpus(tmp_path / "corpus"), tmp_path / "data"
    argv = ["speechocean762", "--corpus_dir", str(root), "--data_dir", str(data)]
    assert command.main(argv) == 0
    for name, count in (("train", 72), ("valid", 8), ("test", 4)):
        assert len(read_directory(data / "en" / name)) == count
    report = json.loads((data / "en/prepare.json").read_text())
    assert report["sets"]["test"]["labelled"] == {"canonical": 4, "meaning": 4, "surface": 2}
    assert report["sets"]["test"]["hours"] == pytest.approx(4 * 0.5 / 3600, abs=1e-3)
    assert len(report["unlabelled"]) == 42
    surface = (data / "en/test/text.surface").read_text()
    assert surface == "0101-010100001 L EH D\n0102-010200001 L EH D\n"


SPEECHOCEAN762 = os.environ.get("SPEECHOCEAN762", "")


@pytest.mark.skipif(not SPEECHOCEAN762, reason="SPEECHOCEAN762 does not name the corpus")
def test_all_labels_of_the_published_corpus_are_understood():
    """Compare with an independent count of phones and mispronunciations in scores.json."""
    report = Report("speechocean762")
    sets = prepare_corpus(speechocean762, SPEECHOCEAN762, report=report)
    scores = json.loads((Path(SPEECHOCEAN762) / "resource/scores.json").read_text())
    utterances = {one.utt_id.partition("-")[2]: one for part in sets.values() for one in part}
    assert not report.left_out
    for name, entry in scores.items():
        if name not in utterances:
            continue
        wrong = [
            one["pronounced-phone"]
            for each in entry["words"]
            for one in each.get("mispronunciations", [])
        ]
        texts = utterances[name].texts
        count = sum(len(each["phones"]) for each in entry["words"])
        assert len(texts["canonical"].split()) == count
        if None in wrong or "<unk>" in wrong:
            assert "surface" not in texts
            continue
        surface = texts["surface"].split()
        assert len(surface) == count - wrong.count("<DEL>")
        if "<DEL>" not in wrong:
            differ = sum(a != b for a, b in zip(surface, texts["canonical"].split(), strict=True))
            assert differ == sum(not one.endswith("*") for one in wrong)


def contents(folder):
    """Return path → bytes of all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_number_of_files_in_parallel_does_not_change_the_bytes(tmp_path):
    root = corpus(tmp_path / "corpus")
    for name, nj in (("a", "1"), ("b", "2"), ("b", "3")):
        argv = ["speechocean762", "--corpus_dir", str(root), "--data_dir", str(tmp_path / name)]
        assert command.main([*argv, "--nj", nj]) == 0
        assert contents(tmp_path / "a") == contents(tmp_path / name)
