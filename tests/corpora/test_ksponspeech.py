"""Tests of KsponSpeech: both spellings, published sets, lists or files, headerless audio."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_korean import pcm, write_ksponspeech, zip_of

from espnet_ext.bin import prepare as command
from espnet_ext.corpora import ksponspeech
from espnet_ext.corpora.database import BadLabel, ParsedLabel
from espnet_ext.data.audio import load_audio
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import id_problem
from espnet_ext.data.validate import validate_directory
from espnet_ext.errors import UserError

RAW = "b/ 아/ 모+ 몬 소리야 (70%)/(칠 십 퍼센트) 확률이라니 n/"
OPTIONS = ksponspeech.Options()


def corpus(folder, **more):
    sets = {
        "train": {f"KsponSpeech_{number:06}": f"{RAW} {number % 2}" for number in range(1, 6)},
        "dev": {f"KsponSpeech_{number:06}": "그 (3개)/(세 개)" for number in (620001, 622545)},
        "eval_clean": {f"KsponSpeech_E{number:05}": "네 o/ 맞아요." for number in (1, 2)},
        "eval_other": {f"KsponSpeech_E{number:05}": "u/ 뭐라고?" for number in (16, 5054)},
    }
    sets["eval_other"]["KsponSpeech_E05055"] = "뭐라고?"
    return write_ksponspeech(folder, sets, **more)


def prepared(root, data, *more):
    argv = ["ksponspeech", "--corpus_dir", str(root), "--data_dir", str(data), *more]
    assert command.main(argv) == 0
    report = json.loads((data / "ko/prepare.json").read_text())
    return {name: read_directory(data / "ko" / name) for name in ksponspeech.SETS}, report


def lines(*rows, name="train", options=OPTIONS):
    numbered = list(enumerate(rows, 1))
    return ksponspeech.read_lines((name, f"scripts/{name}.trn", numbered), options)


def test_line_of_a_list():
    (utterance,) = lines(
        f"KsponSpeech_01/KsponSpeech_0001/KsponSpeech_000001.pcm :: {RAW}\n".encode()
    )
    assert utterance == ParsedLabel(
        key="KsponSpeech_000001",
        utt_id="KsponSpeech_000001",
        speaker="KsponSpeech_000001",
        part="train",
        file="scripts/train.trn:1",
        lang="ko",
        l1="ko",
        domain="spontaneous",
        texts={
            "surface": "아 모 몬 소리야 칠 십 퍼센트 확률이라니",
            "meaning": "아 모 몬 소리야 70% 확률이라니",
        },
        counts=("utterances with two spellings",),
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no transcript here\n", "line has no '::'"),
        (b"a.pcm ::\n", "the transcript is empty"),
        (b":: x\n", "line has no '::'"),
        (b"a.pcm :: \xff\xfe\n", "line is neither UTF-8 nor CP949"),
    ],
)
def test_bad_lines_have_a_reason(line, reason):
    (label,) = lines(line)
    assert isinstance(label, BadLabel) and label.reason == reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.pcm :: (가)/(나\n", "a bracket is not closed"),
        ("a.pcm :: u/ 가\n", "has unintelligible words (u/ or un/)"),
        ("a.pcm :: n/ o/\n", "has only marks"),
    ],
)
def test_lines_without_a_transcript_are_unlabelled_utterances(line, reason):
    (utterance,) = lines(line.encode(), name="eval_clean")
    assert (
        isinstance(utterance, ParsedLabel)
        and utterance.part == "eval_clean"
        and utterance.texts == {}
    )
    assert utterance.missing == {"surface": reason, "meaning": reason}


def test_unusual_lines_are_understood():
    rows = ["\ufeffa.pcm :: 가 :: 나\n".encode("utf-8"), "b\\c.pcm::다".encode("cp949"), b" \r\n"]
    first, second = lines(*rows)
    assert (first.key, first.texts["surface"]) == ("a", "가 나")
    assert (second.key, second.texts["surface"]) == ("c", "다")


def test_fillers_can_be_kept_in_the_surface_only():
    surface_only = ksponspeech.Options(disfluencies="surface")
    (utterance,) = lines(f"a.pcm :: {RAW}".encode(), options=surface_only)
    assert utterance.texts["meaning"] == "몬 소리야 70% 확률이라니"
    assert utterance.texts["surface"].startswith("아 모 몬")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.text("가a./:()+*u \n", max_size=40).map(str.encode)))
def test_every_line_is_an_utterance_or_a_bad_label(rows):
    results = lines(*rows)
    assert len(results) == sum(bool(row.strip(b"\xef\xbb\xbf \t\r\n")) for row in rows)
    for label in results:
        if isinstance(label, ParsedLabel):
            assert not id_problem(label.utt_id) and "-" not in label.utt_id
            assert set(label.texts) | set(label.missing) == {"surface", "meaning"}
        else:
            assert label.reason


def test_published_sets_and_their_audio(tmp_path, capsys):
    root = corpus(tmp_path / "c", sound=pcm() + b"\x01")
    sets, report = prepared(root, tmp_path / "a", "--nj", "2")
    assert {name: len(part) for name, part in sets.items()} == {
        "train": 5,
        "dev": 2,
        "eval_clean": 2,
        "eval_other": 3,
    }
    reason = "has unintelligible words (u/ or un/)"
    assert report["left_out"] == {} and report["unlabelled"] == {
        f"KsponSpeech_E{number}": {"surface": reason, "meaning": reason}
        for number in ("00016", "05054")
    }
    assert [report["sets"][name]["unlabelled"] for name in ksponspeech.SETS] == [0, 0, 0, 2]
    lines = capsys.readouterr().err
    assert f"eval_other: unlabelled surface: 2 × {reason}" in lines
    assert "2 without any transcript" in lines
    count = "audio files with an odd number of bytes, whose last byte is ignored"
    assert report["counts"][count] == 12
    expected = np.frombuffer(pcm(), "<i2")
    for part in sets.values():
        for one in part:
            samples, rate = load_audio(one.audio)
            assert rate == 16000 and np.array_equal(samples * 32768, expected)
    for name in ksponspeech.SETS:
        findings = validate_directory(tmp_path / "a/ko" / name)
        assert not [one for one in findings if one.severity == "error"]
        assert ("no-text" in {one.code for one in findings}) == (name == "eval_other")
    assert sets["dev"][0].texts == {"surface": "그 세 개", "meaning": "그 3개"}
    not_hangul = "surfaces with digits, symbols or Latin letters, kept as they are"
    assert report["counts"][not_hangul] == 5


def test_text_files_give_the_same_as_the_lists(tmp_path):
    root = corpus(tmp_path / "c")
    by_list, _ = prepared(root, tmp_path / "a")
    by_file, report = prepared(root, tmp_path / "b", "--labels", "txt")
    assert by_file == by_list
    assert "dev are those numbered above 620000" in report["notes"][0]
    without_lists = corpus(tmp_path / "d", lists=False)
    again, _ = prepared(without_lists, tmp_path / "e")
    assert {k: [u.utt_id for u in v] for k, v in again.items()} == {
        k: [u.utt_id for u in v] for k, v in by_list.items()
    }
    with pytest.raises(UserError, match=r"has no \{train,dev,eval_clean,eval_other\}.trn"):
        prepared(without_lists, tmp_path / "f", "--labels", "trn")


def test_archives_are_read_without_unpacking(tmp_path):
    root = corpus(tmp_path / "c")
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        members = {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        zip_of(tmp_path / "z" / f"{folder.name}.zip", members, "cp949")
    unpacked, _ = prepared(root, tmp_path / "a")
    packed, _ = prepared(tmp_path / "z", tmp_path / "b", "--nj", "2")
    for name, part in unpacked.items():
        for one, other in zip(part, packed[name], strict=True):
            assert (one.utt_id, one.texts) == (other.utt_id, other.texts)
            assert np.array_equal(load_audio(one.audio)[0], load_audio(other.audio)[0])


def test_list_and_audio_that_do_not_match(tmp_path):
    root = corpus(tmp_path / "c")
    with open(root / "KsponSpeech_scripts/train.trn", "ab") as handle:
        handle.write("KsponSpeech_01/KsponSpeech_0001/KsponSpeech_000099.pcm :: 없다\n".encode())
        handle.write(b"no separator\n")
    (root / "KsponSpeech_01/KsponSpeech_0001/KsponSpeech_000100.pcm").write_bytes(pcm())
    _, report = prepared(root, tmp_path / "a")
    assert report["left_out"]["KsponSpeech_000099"] == "no audio"
    assert report["left_out"]["KsponSpeech_000100"] == "no label"
    assert report["left_out"]["KsponSpeech_scripts/train.trn:7"] == "line has no '::'"


def test_set_without_transcripts_raises_user_error(tmp_path):
    names = [f"KsponSpeech_E{number:05}" for number in range(3)]
    sets = {
        "train": {"KsponSpeech_000001": "가"},
        "dev": {"KsponSpeech_620001": "나"},
        "eval_clean": dict.fromkeys(names, "u/ 다"),
        "eval_other": {"KsponSpeech_E00009": "라"},
    }
    root = write_ksponspeech(tmp_path / "c", sets)
    with pytest.raises(
        UserError, match=r"no utterance of eval_clean has a transcript:\n +3 × unlabelled surface"
    ):
        prepared(root, tmp_path / "a")
    for name in names:
        sets["eval_clean"][name] = ""
    root = write_ksponspeech(tmp_path / "d", sets)
    with pytest.raises(UserError, match=r"for eval_clean; left out:\n +3 × the transcript is"):
        prepared(root, tmp_path / "b")


def test_bad_labels_of_one_name_are_all_reported(tmp_path):
    root = corpus(tmp_path / "c")
    for number in (1, 2):
        (root / f"more{number}").mkdir()
        (root / f"more{number}/KsponSpeech_000077.txt").write_bytes(b"" if number == 1 else b"\xff")
    _, report = prepared(root, tmp_path / "a", "--labels", "txt")
    assert {name: reason for name, reason in report["left_out"].items() if "000077" in name} == {
        "KsponSpeech_000077": "the transcript is empty",
        "KsponSpeech_000077 (2)": "transcript is neither UTF-8 nor CP949",
    }


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_nj_must_be_at_least_one(tmp_path, capsys, count):
    for corpus_name in ("ksponspeech", "mini_l2", "commonvoice"):
        with pytest.raises(SystemExit) as stop:
            command.main([corpus_name, "--nj", count])
        assert stop.value.code == 2
        assert f"'{count}' is not a whole number from 1" in capsys.readouterr().err
