"""Tests of AI Hub's learners' speech: read tasks have two transcripts, free tasks have one."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_korean import encoded, label_l2, wav, write_aihub_zips, zip_of

from espnet_ext.bin import prepare as command
from espnet_ext.corpora import aihub, aihub_l2
from espnet_ext.corpora.corpus_files import CorpusFile
from espnet_ext.corpora.database import BadLabel, ParsedLabel
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import id_problem

OPTIONS = aihub_l2.Options()


def stem_of(number, task="LAR010", country="VI"):
    return f"{number % 12:05}-F-91-{country}-A-{task}-{number:07}"


def read(stem, prompt, transcript, options=OPTIONS, **label):
    content = encoded({**label_l2(stem[:5], prompt, transcript), **label})
    file = CorpusFile("", f"TL_1.zip/lab/{stem}.json")
    return aihub_l2.read_label(content, file, options, key="")


def test_reading_has_both_transcripts_and_an_id_without_year_and_sex():
    stem = "00067-F-91-VI-A-LAR010-0004411"
    utterance = read(stem, "저는 학생입니다.", "저는 하+ 학쌩임니다")
    assert utterance == ParsedLabel(
        key=stem,
        utt_id="00067-LAR010-0004411",
        speaker="00067",
        part="train",
        file=f"TL_1.zip/lab/{stem}.json",
        lang="ko",
        l1="en",
        domain="read",
        texts={"surface": "저는 하 학쌩임니다", "meaning": "저는 학생입니다"},
        counts=("readings that differ from their prompt",),
    )


@pytest.mark.parametrize(
    ("task", "is_read", "reason"),
    [
        ("RS01", True, ""),
        ("RW02", True, ""),
        ("RP03", True, ""),
        ("ATQ004", False, "a free answer (ATQ), which has no prompt"),
        ("SPT01", False, "a free answer (SPT), which has no prompt"),
        ("EIG01", False, "unknown task 'EIG'; --read_tasks lists the tasks that are read"),
        ("odd", False, "unknown task ''; --read_tasks lists the tasks that are read"),
    ],
)
def test_task_determines_whether_the_prompt_is_the_meaning(task, is_read, reason):
    utterance = read(stem_of(1, task), "무엇을 합니까?", "밥을 먹습니다")
    assert ("meaning" in utterance.texts) == is_read and utterance.missing.get(
        "meaning", ""
    ) == reason
    assert utterance.domain == ("read" if is_read else "answer")
    named = aihub_l2.Options(read_tasks=("EIG",))
    assert ("meaning" in read(stem_of(1, task), "가", "나", named).texts) == (task == "EIG01")


def test_english_of_koreans_is_normalized():
    english = aihub_l2.Options(lang="en")
    utterance = read(
        stem_of(1),
        "I don't like it, (well) 3 times.",
        "I don't uh/ li+ like it",
        english,
        SpeakerMetadata={},
    )
    assert utterance.texts == {
        "meaning": "i don't like it 3 times",
        "surface": "i don't uh li like it",
    }
    assert (utterance.lang, utterance.l1) == ("en", "ko")
    other = read(stem_of(1), "국물", "%", english)
    assert (other.texts, other.missing) == ({"meaning": "국물"}, {"surface": "has only marks"})
    assert "meaning in another language than --lang en, kept" in other.counts


def test_first_language_codes():
    for metadata, code in (
        ({"language": "베트남어", "nationality": "베트남"}, "vi"),
        ({"nationality": "독일"}, "독일"),
        ({"language": 3, "nationality": ["x"]}, "3"),
        ({}, ""),
    ):
        assert read(stem_of(1), "가", "나", SpeakerMetadata=metadata).l1 == code


@settings(max_examples=200, deadline=None)
@given(
    st.text("0123456789-ABLRT가 ._", max_size=30),
    st.text(max_size=8),
    st.none() | st.text(max_size=10) | st.integers() | st.lists(st.text()),
)
def test_any_file_name_and_user_give_a_valid_id(stem, user, text):
    result = read(stem, text, text, UserID=user)
    if isinstance(result, BadLabel):
        assert result.reason
        return
    assert not id_problem(result.utt_id) and result.utt_id.startswith(f"{result.speaker}-")
    assert "-" not in result.speaker


def test_archives_are_read_without_unpacking(tmp_path):
    parts = {"train": {}, "valid": {}}
    for number in range(60):
        stem = stem_of(number, "ATQ001" if number % 3 == 0 else "LAR010")
        label = encoded(label_l2(stem[:5], f"문장 {number}", "문장 음/"), "utf-8-sig")
        parts["valid" if number >= 48 else "train"][stem] = label
    corpus = write_aihub_zips(tmp_path / "c", parts, language="유럽어_독일_02", topic="lab")
    argv = ["aihub_l2", "--corpus_dir", str(corpus), "--data_dir", str(tmp_path / "a"), "--nj", "2"]
    assert command.main(argv) == 0
    sets = {name: read_directory(tmp_path / "a/ko" / name) for name in aihub.SETS}
    assert [len(sets[name]) for name in aihub.SETS] == [44, 4, 12]
    written = b"".join(path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert b"-F-91-" not in written and b"1991" not in written
    report = json.loads((tmp_path / "a/ko/prepare.json").read_text())
    assert report["sets"]["test"]["labelled"] == {"meaning": 8, "surface": 12}


def test_corpus_dir_can_be_one_archive(tmp_path):
    members = {}
    for number in range(24):
        stem = stem_of(number)
        label = encoded(label_l2(stem[:5], "가", "나"))
        members[f"Sample/02.라벨링데이터/Speech/lab/{stem}.json"] = label
        members[f"Sample/01.원천데이터/Speech/{stem}.wav"] = wav()
    archive = zip_of(tmp_path / "Sample.zip", members, "cp949")
    argv = ["aihub_l2", "--corpus_dir", str(archive), "--data_dir", str(tmp_path / "a")]
    assert command.main([*argv, "--lang", "en"]) == 0
    assert read_directory(tmp_path / "a/en/test")[0].lang == "en"
