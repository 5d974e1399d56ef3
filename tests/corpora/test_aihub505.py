"""Tests of AI Hub 505: folders or archives, encodings, privacy, damaged files, splits."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_korean import encoded, label505, wav, write_aihub, write_aihub_zips, zip_of

from espnet_ext.bin import prepare as command
from espnet_ext.corpora import aihub, aihub505
from espnet_ext.corpora.corpus_files import CorpusFile
from espnet_ext.corpora.database import BadLabel, ParsedLabel
from espnet_ext.data.audio import load_audio
from espnet_ext.data.directory import read_directory
from espnet_ext.data.record import id_problem
from espnet_ext.data.validate import validate_directory
from espnet_ext.errors import UserError
from espnet_ext.overwriting import MARK

STEM = "EN10QC226_EN0005_20210801"
FILE = CorpusFile("", f"1.Training/라벨링데이터/1. 영어/{STEM}.json")
OPTIONS = aihub505.Options()


def read(label, options=OPTIONS, encoding="utf-8"):
    return aihub505.read_label(encoded(label, encoding), FILE, options, key="")


def stem_of(number, speakers=20, topic="QC"):
    return f"EN10{topic}{number:03}_EN{number % speakers:04}_20210801"


def labels(numbers, encoding="utf-8"):
    """Return labels; every third is a free answer."""
    labels_by_stem = {}
    for number in numbers:
        stem = stem_of(number)
        texts = {"reading": f"{number}번 버스를 탔어요.", "transcript": "어/ 버+ 버쓰를 타써요"}
        if number % 3 == 0:
            texts = {"answer": "음/ 저는 잘 모르겠어요 n/"}
        labels_by_stem[stem] = encoded(label505(stem, stem.split("_")[1], **texts), encoding)
    return labels_by_stem


def prepared(corpus, data, *more):
    argv = ["aihub505", "--corpus_dir", str(corpus), "--data_dir", str(data), *more]
    assert command.main(argv) == 0
    report = json.loads((data / "ko/prepare.json").read_text())
    return {name: read_directory(data / "ko" / name) for name in aihub.SETS}, report


def tables(data):
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.name not in ("wav.scp", MARK)
    }


def test_reading_has_both_transcripts():
    transcript = "어/ 저는 하+ 학꾜에 가요*"
    utterance = read(label505(STEM, "EN0005", "저는 학교에 가요.", transcript, language="중국어"))
    assert utterance == ParsedLabel(
        key=STEM,
        utt_id=f"EN0005-{STEM}",
        speaker="EN0005",
        part="train",
        file=FILE.name,
        lang="ko",
        l1="zh",
        domain="read",
        texts={"surface": "어 저는 하 학꾜에 가요", "meaning": "저는 학교에 가요"},
        counts=("readings that differ from their prompt",),
    )


def test_free_answer_has_only_a_surface():
    utterance = read(label505(STEM, "EN0005", answer="음/ 모르겠어요."))
    assert utterance.texts == {"surface": "음 모르겠어요"} and utterance.domain == "answer"
    assert utterance.missing == {"meaning": aihub505.NO_PROMPT}
    dropped = aihub505.Options(disfluencies="drop")
    utterance = read(label505(STEM, "EN0005", answer="음/ 모+ 몰라요"), dropped)
    assert utterance.texts == {"surface": "몰라요"}


@pytest.mark.parametrize(
    ("texts", "missing"),
    [
        (("가", ""), {"surface": "ReadingLabelText is empty"}),
        (("", "가"), {"meaning": "Reading is empty"}),
        (("가", "나 un/"), {"surface": "has unintelligible words (u/ or un/)"}),
        (("가", "(나"), {"surface": "a bracket is not closed"}),
        (("?!", "나"), {"meaning": "has only marks"}),
    ],
)
def test_missing_transcript_has_a_reason(texts, missing):
    assert dict(read(label505(STEM, "EN0005", *texts)).missing) == missing


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "label is not JSON"),
        (b"[1]", "label is not a JSON object"),
        (b"[" * 100_000, "label is nested too deep"),
        (b"\xff\xff", "label is neither UTF-8 nor CP949"),
        (b"{}", "label names no speaker"),
        (encoded(label505(STEM, "")), "label names no speaker"),
        (encoded(label505(STEM, "EN0005")), "AnswerLabelText is empty"),
        (encoded(label505(STEM, "EN0005", "(가", "나)")), "a closing bracket"),
    ],
)
def test_bad_labels_have_a_reason(content, reason):
    label = aihub505.read_label(content, FILE, OPTIONS, key="")
    if isinstance(label, ParsedLabel):  # the prompt is understood
        assert reason in label.missing["surface"]
    else:
        assert label.reason.startswith(reason) and label.key == STEM


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_label_encodings(encoding):
    utterance = read(label505(STEM, "EN0005", "한국", "항국"), encoding=encoding)
    assert utterance.texts == {"surface": "항국", "meaning": "한국"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=4), one, max_size=3),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_read_label_never_raises(data):
    """Put any value anywhere in a label, or use any bytes: the result can be written, or is bad."""
    label = label505(STEM, "EN0005", "가 나", "가 나+")
    if data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 3))):
            inner = [value for value in label.values() if isinstance(value, dict)]
            holder = data.draw(st.sampled_from([label, *inner]))
            if holder:
                holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(JSON)
        content = json.dumps(label).encode()
    else:
        content = data.draw(st.binary(max_size=60))
    personal = aihub505.Options(personal=True)
    result = aihub505.read_label(content, FILE, personal, key="")
    if isinstance(result, BadLabel):
        assert result.reason and result.key
        return
    assert not id_problem(result.utt_id) and result.utt_id.startswith(f"{result.speaker}-")
    assert "-" not in result.speaker and not id_problem(result.speaker)
    assert set(result.texts) | set(result.missing) == {"surface", "meaning"}
    for text in (*result.texts.values(), *result.tables.values(), result.l1):
        text.encode()
        assert text.isprintable()


def test_archives_and_number_of_processes_do_not_change_the_utterances(tmp_path):
    parts = {"train": labels(range(60), "cp949"), "valid": labels(range(60, 90), "utf-8-sig")}
    unpacked = write_aihub(tmp_path / "unpacked", parts)
    packed = write_aihub_zips(tmp_path / "packed", parts)
    sets, report = prepared(unpacked, tmp_path / "a")
    assert {name: len(part) for name, part in sets.items()} == {"train": 54, "valid": 6, "test": 30}
    first = tables(tmp_path / "a")
    again, _ = prepared(unpacked, tmp_path / "a", "--nj", "3")  # over the existing sets
    assert tables(tmp_path / "a") == first and again == sets
    zipped, same = prepared(packed, tmp_path / "b", "--nj", "2")
    assert tables(tmp_path / "b") == first and same == report
    assert [one.utt_id for one in zipped["test"]] == [one.utt_id for one in sets["test"]]
    for one, other in zip(sets["test"], zipped["test"], strict=True):
        assert ".zip:" in other.audio
        assert (load_audio(one.audio)[0] == load_audio(other.audio)[0]).all()
    for name in aihub.SETS:
        findings = validate_directory(tmp_path / "b/ko" / name)
        assert [one for one in findings if one.severity == "error"] == []
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["ko"]
    assert report["sets"]["test"]["labelled"] == {"meaning": 20, "surface": 30}
    assert len(report["unlabelled"]) == 30


def test_one_archive_and_mixed_folders_and_archives(tmp_path):
    parts = {"train": labels(range(30))}
    members = {f"S/02.라벨링데이터/{stem}.json": text for stem, text in parts["train"].items()}
    members |= {f"S/01.원천데이터/{stem}.wav": wav() for stem in parts["train"]}
    archive = zip_of(tmp_path / "Sample.zip", members)
    sets, report = prepared(archive, tmp_path / "a")
    assert sum(map(len, sets.values())) == 30
    assert "of each ten, eight train" in report["notes"][1]
    mixed = write_aihub(tmp_path / "mixed", {"train": labels(range(10))}, group="1. 영어")
    write_aihub_zips(tmp_path / "mixed", {"valid": labels(range(10, 20))})
    sets, _ = prepared(mixed, tmp_path / "b", "--split", "official")
    assert [len(sets[name]) for name in aihub.SETS] == [9, 1, 10]


def test_split_by_speakers_has_disjoint_speakers(tmp_path):
    parts = {"train": labels(range(60)), "valid": labels(range(60, 80))}
    corpus = write_aihub(tmp_path / "c", parts)
    sets, report = prepared(corpus, tmp_path / "a", "--split", "official")
    assert "20 of the 20 speakers of test are in train or valid too" in report["notes"][0]
    assert {one.utt_id.partition("-")[2] for one in sets["test"]} == parts["valid"].keys()
    train, valid = ({one.speaker for one in sets[name]} for name in ("train", "valid"))
    assert not train & valid and len(valid) == 2
    sets, _ = prepared(corpus, tmp_path / "b", "--split", "speakers")
    speakers = [{one.speaker for one in sets[name]} for name in aihub.SETS]
    assert [len(part) for part in speakers] == [16, 2, 2]
    assert len(set.union(*speakers)) == 20


def test_personal_tables_are_written_and_removed_by_option(tmp_path):
    corpus = write_aihub(tmp_path / "c", {"train": labels(range(30))})
    prepared(corpus, tmp_path / "a", "--personal", "true")
    assert (tmp_path / "a/ko/test/utt2birthyear").read_text().splitlines()[0].endswith(" 1994")
    assert {path.name for path in (tmp_path / "a/ko/test").iterdir()} >= set(aihub.PERSONAL_TABLES)
    prepared(corpus, tmp_path / "a")
    written = b"".join(path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file())
    for value in ("1994", "미국", "서울"):
        assert value.encode() not in written
    assert not [path for name in aihub.PERSONAL_TABLES for path in (tmp_path / "a").rglob(name)]


def test_ids_that_may_be_names_become_pseudonyms(tmp_path):
    parts = {"train": {}, "valid": {}}
    for number, name in enumerate(["김철수", "jane doe", "John Smith", "EN0009"] * 6):
        stem = f"{name}_{number:04}"
        part = parts["valid" if number % 2 else "train"]
        part[stem] = encoded(label505(stem, name, "가", "가"))
    corpus = write_aihub(tmp_path / "c", parts)
    sets, _ = prepared(corpus, tmp_path / "a", "--split", "speakers")
    utterances = [utterance for of_set in sets.values() for utterance in of_set]
    speakers = {utterance.speaker for utterance in utterances}
    assert len(utterances) == 24 and len(speakers) == 4 and "EN0009" in speakers
    written = "".join(
        path.read_text()
        for path in (tmp_path / "a").rglob("*")
        if path.is_file() and path.name != "wav.scp"  # which has the file names
    )
    assert not any(name in written for name in ("김", "jane", "doe", "John", "Smith"))
    (tmp_path / "key").write_text("a long secret\n")
    key = ["--pseudonym_key_file", str(tmp_path / "key")]
    keyed, _ = prepared(corpus, tmp_path / "b", "--split", "speakers", *key)
    speakers_with_key = {one.speaker for of_set in keyed.values() for one in of_set}
    assert speakers_with_key & speakers == {"EN0009"}


def test_unmatched_and_duplicate_files_are_reported(tmp_path):
    parts = {"train": labels(range(30))}
    silent, unlabelled = stem_of(1), stem_of(99)
    corpus = write_aihub(tmp_path / "c", parts, silent=(silent,))
    folder = corpus / "01.데이터_new_20220719/1.Training"
    (folder / f"원천데이터/{unlabelled}.wav").write_bytes(wav())
    again = folder / "라벨링데이터/again"
    again.mkdir()
    (again / f"{stem_of(2)}.json").write_bytes(parts["train"][stem_of(2)])
    (again / f"{stem_of(4)}.json").write_bytes(encoded(label505(stem_of(4), "EN0004", "다", "다")))
    (folder / f"원천데이터/{stem_of(5)}.wav").write_bytes(wav())
    (folder / "라벨링데이터/broken.json").write_bytes(b"{")
    (folder / "라벨링데이터/large.json").write_bytes(b" " * (1 << 20) + b"{}")
    (folder / "readme.txt").write_text("hello")
    sets, report = prepared(corpus, tmp_path / "a")
    assert sum(map(len, sets.values())) == 29
    assert {name: why.partition(":")[0] for name, why in report["left_out"].items()} == {
        f"EN0001-{silent}": "no audio",
        unlabelled: "no label",
        f"EN0004-{stem_of(4)} (again)": "another label of this utterance has other content; "
        "the first by path is used",
        aihub.public_stem("broken", ""): "label is not JSON",
        aihub.public_stem("large", ""): "label cannot be read",
    }
    assert report["counts"]["duplicate labels with the same content"] == 1
    assert report["counts"]["duplicate audio files, of which the first by path is used"] == 1
    assert report["counts"]["files that are neither labels nor audio"] == 1


def test_unsupported_audio_formats_raise_user_error(tmp_path, capsys):
    corpus = write_aihub(tmp_path / "c", {"train": labels(range(30))})
    folder = corpus / "01.데이터_new_20220719/1.Training/원천데이터"
    for number, suffix in ((3, ".mp3"), (4, ".MP3"), (5, ".m4a")):
        (path,) = folder.rglob(f"{stem_of(number)}.wav")
        path.rename(path.with_suffix(suffix))
    (folder / f"{stem_of(6)}.mp3").write_bytes(b"of an utterance that also has a .wav")
    (folder / f"{stem_of(98)}.ogg").write_bytes(b"of no label")
    with pytest.raises(UserError) as refused:
        prepared(corpus, tmp_path / "a")
    assert "3 audio files have unsupported formats" in refused.value.message
    assert "\n  .mp3: 2, such as " in refused.value.message
    assert "\n  .m4a: 1, such as " in refused.value.message
    assert "ffmpeg -i NAME.mp3" in refused.value.remedy
    sets, report = prepared(corpus, tmp_path / "a", "--skip_unreadable", "true")
    assert sum(map(len, sets.values())) == 27
    assert sorted(report["left_out"].values()) == [
        "its audio is in an unsupported format, .m4a: convert it",
        "its audio is in an unsupported format, .mp3: convert it",
        "its audio is in an unsupported format, .mp3: convert it",
        "no label",
    ]
    assert report["counts"]["audio files of the unsupported format .mp3"] == 3
    assert "files that are neither labels nor audio" not in report["counts"]


def test_quick_keeps_a_small_part_of_each_set(tmp_path):
    parts = {"train": labels(range(200)), "valid": labels(range(200, 260))}
    corpus = write_aihub(tmp_path / "c", parts)
    sets, report = prepared(corpus, tmp_path / "a", "--quick", "true")
    assert len(sets["train"]) <= 48 and len(sets["valid"]) <= 12 and len(sets["test"]) == 12
    assert min(map(len, sets.values())) > 6
    assert "quick: only a small part of each set is kept" in report["notes"]


KINDS = st.sampled_from(["good", "answer", "silent", "broken", "empty", "truncated"])


@settings(max_examples=15, deadline=None)
@given(st.lists(KINDS, min_size=12, max_size=40))
def test_every_label_is_an_utterance_or_left_out(tmp_path_factory, kinds):
    """The numbers of utterances and of reasons add up, for any errors of the labels."""
    folder = tmp_path_factory.mktemp("corpus")
    parts, silent = {}, []
    for number, kind in enumerate(kinds):
        stem = stem_of(number)
        texts = {"answer": "가"} if kind == "answer" else {"reading": "가", "transcript": "나"}
        texts = {} if kind == "empty" else texts
        content = encoded(label505(stem, stem.split("_")[1], **texts))
        parts[stem] = content[: len(content) // 2] if kind == "truncated" else content
        parts[stem] = b"\xff" if kind == "broken" else parts[stem]
        if kind == "silent":
            silent.append(stem)
    write_aihub_zips(folder / "c", {"train": parts})
    write_aihub(folder / "d", {"train": parts}, silent=tuple(silent))
    training = "01.데이터_new_20220719/1.Training/라벨링데이터"
    for path in (folder / "d" / training).rglob("*.json"):
        path.unlink()
    archive = folder / "c" / training / "TL_1. 영어.zip"
    archive.rename(folder / "d" / training / archive.name)
    good = sum(kind in ("good", "answer") for kind in kinds)
    try:
        sets, report = prepared(folder / "d", folder / "a")
    except UserError as error:
        assert (
            "too few to split" in error.message
            or "no utterances for" in error.message
            or ": no utterances" in error.message
        )
        return
    assert sum(map(len, sets.values())) == good
    assert len(report["left_out"]) == len(kinds) - good


def test_split_official_needs_both_parts(tmp_path):
    corpus = write_aihub(tmp_path / "c", {"valid": labels(range(30))})
    with pytest.raises(UserError, match="the part Training is missing"):
        prepared(corpus, tmp_path / "a", "--split", "official")
    with pytest.raises(UserError, match="1 speakers are too few"):
        prepared(write_aihub(tmp_path / "d", {"train": labels([0])}), tmp_path / "a")
    assert not Path(tmp_path / "a/ko").exists()


def test_value_that_is_not_text_is_a_missing_transcript():
    from espnet_ext.corpora import aihub_l2

    label = {"transcription": {"AnswerLabelText": ["네"], "Reading": "", "ReadingLabelText": None}}
    _, missing, _, _ = aihub505._texts(label, aihub505.Options())
    assert missing["surface"] == "AnswerLabelText is not text"
    label["transcription"]["AnswerLabelText"] = " "
    _, missing, _, _ = aihub505._texts(label, aihub505.Options())
    assert missing["surface"] == "AnswerLabelText is empty"
    label = {"RecordingMetadata": {"prompt": {"text": "가"}, "orthographic": True}}
    options = aihub_l2.Options(read_tasks=("RS",))
    _, missing, _, _ = aihub_l2._texts(label, "KO01RS001_KO0001_20210801", options)
    assert missing["surface"] == "orthographic is not text"


# -- labels as CSV files

READING = ("국물, 주세요", "궁물, 주세요")  # prompt and transcript
CSV_COLUMNS = ("Reading", "ReadingLabelText", "Question", "AnswerLabelText", "motherTongue")


def csv_label(
    stem, *, name="file_name", speaker="", reading=READING, answer="", encoding="cp949", **options
):
    """Return a label as a CSV file with one row; `speaker` is the name of that column."""
    columns = [name, *([speaker] if speaker else []), *CSV_COLUMNS]
    prompt, transcript = ("", "") if answer else reading
    row = [f"{stem}.wav", *([stem.split("_")[1]] if speaker else [])]
    row += [prompt, transcript, "", answer, "중국어"]
    handle = io.StringIO()
    csv.writer(handle, **options).writerows([columns, row])
    return handle.getvalue().encode(encoding)


def with_csv(folder, labels_by_stem, csv_by_stem):
    """Write a corpus of JSON labels, and of CSV labels beside them or without them."""
    corpus = write_aihub(folder, {"train": {**dict.fromkeys(csv_by_stem, b""), **labels_by_stem}})
    for path in corpus.rglob("*.json"):
        if path.stem in csv_by_stem:
            path.with_suffix(".csv").write_bytes(csv_by_stem[path.stem])
        if path.stem not in labels_by_stem:
            path.unlink()
    return corpus


@pytest.mark.parametrize("encoding", ["cp949", "utf-8-sig", "utf-8", "utf-16"])
@pytest.mark.parametrize("name", ["file_name", "fileName", "FileName"])
@pytest.mark.parametrize("speaker", ["", "speakerID", "speaker_id", "SpeakerID"])
def test_csv_labels_instead_of_json(tmp_path, encoding, name, speaker):
    stems = [stem_of(number) for number in range(20)]
    options = {"name": name, "speaker": speaker, "encoding": encoding}
    labels_by_stem = {stem: csv_label(stem, **options) for stem in stems[:19]}
    labels_by_stem[stems[19]] = csv_label(stems[19], answer="음/ 네", **options)
    sets, report = prepared(with_csv(tmp_path / "c", {}, labels_by_stem), tmp_path / "d")
    by_id = {one.utt_id: one for part in sets.values() for one in part}
    assert sorted(by_id) == [f"{stem.split('_')[1]}-{stem}" for stem in stems]
    first, last = by_id[f"EN0000-{stems[0]}"], by_id[f"EN0019-{stems[19]}"]
    assert first.texts == {"surface": "궁물 주세요", "meaning": "국물 주세요"}
    assert (first.l1, first.domain, last.domain) == ("zh", "read", "answer")
    assert last.texts == {"surface": "음 네"} and not report["left_out"]
    count = report["counts"].get("CSV labels without a speaker, which is taken from the file name")
    assert count == (None if speaker else 20)


def test_json_label_is_used_beside_a_csv_label(tmp_path):
    stems = [stem_of(number) for number in range(20)]
    by_json = {
        stem: encoded(label505(stem, stem.split("_")[1], *READING, language="중국어"))
        for stem in stems[:15]
    }
    by_csv = {stem: csv_label(stem) for stem in stems}
    by_csv[stems[2]] = csv_label(stems[2], reading=("국물", "궁물"))
    by_json[stems[3]] = b"{"  # the CSV label is good
    corpus = with_csv(tmp_path / "c", by_json, by_csv)
    sets, report = prepared(corpus, tmp_path / "d", "--nj", "2")
    by_id = {one.utt_id: one.texts["surface"] for part in sets.values() for one in part}
    assert by_id == {f"{stem.split('_')[1]}-{stem}": "궁물 주세요" for stem in stems}
    assert report["counts"]["CSV labels that differ from their JSON labels, which are used"] == 1
    same = "CSV labels with the transcripts of their JSON labels, which are used"
    assert report["counts"][same] == 13
    assert report["counts"]["readings that differ from their prompt"] == 20
    left_out = {name: reason.partition(":")[0] for name, reason in report["left_out"].items()}
    assert left_out == {
        f"EN0002-{stems[2]} (CSV)": "the CSV label has other transcripts than the JSON label, "
        "which is used",
        stems[3]: "label is not JSON",
    }


def test_speaker_of_the_json_label_is_used_also_if_the_csv_label_names_another(tmp_path):
    stem = stem_of(1)
    by_json = {stem: encoded(label505(stem, "EN0777", *READING, language="중국어"))}
    corpus = with_csv(tmp_path / "c", by_json, {stem: csv_label(stem, speaker="speakerID")})
    sets, report = prepared_test(corpus, tmp_path / "d")
    assert [one.speaker for one in sets] == ["EN0777"]
    assert list(report["left_out"].values()) == [
        "the CSV label has another speaker or first language than the JSON label, which is used"
    ]
    assert report["counts"]["CSV labels that differ from their JSON labels, which are used"] == 1


def prepared_test(corpus, data):
    argv = ["aihub505", "--corpus_dir", str(corpus), "--data_dir", str(data), "--sets", "test"]
    assert command.main(argv) == 0
    report = json.loads((data / "ko/prepare.json").read_text())
    return read_directory(data / "ko/test"), report


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has no row after the column names"),
        (b"file_name,ReadingLabelText\n", "has no row after the column names"),
        (b"a,b\n1,2\n", "has no column ReadingLabelText or AnswerLabelText"),
        ('file_name,ReadingLabelText\na.wav,"가\n나"\n'.encode(), "line 2: begins a quoted cell"),
        ("file_name,ReadingLabelText\na.wav,가, 나\n".encode(), "has 3 cells in line 2, but 2"),
        (b"file_name,ReadingLabelText\n,\n", "has no row after the column names"),
        (b"\xff\xfe\x00", "is damaged UTF-16"),
        (b"\xff\xff,\n", "is neither UTF-8 nor CP949"),
        ("file_name,ReadingLabelText\nx.wav,가\n".encode(), "names no speaker"),
    ],
)
def test_bad_csv_labels_have_a_reason(tmp_path, content, reason):
    stems = [stem_of(1), "x"]
    by_csv = {stems[0]: csv_label(stems[0]), "x": content}
    utterances, report = prepared_test(with_csv(tmp_path / "c", {}, by_csv), tmp_path / "d")
    assert [one.utt_id for one in utterances] == [f"EN0001-{stems[0]}"]
    (why,) = report["left_out"].values()
    assert reason in why


def test_csv_label_may_have_rows_of_several_recordings(tmp_path):
    stems = [stem_of(number) for number in range(3)]
    corpus = with_csv(tmp_path / "c", {}, {stem: csv_label(stem) for stem in stems})
    files = sorted(corpus.rglob("*.csv"))
    rows = [path.read_bytes().split(b"\r\n") for path in files]
    rows_of_all = [*rows[0][:2], b",,,,,", rows[1][1], rows[2][1]]  # with an empty row
    files[0].with_name("all.csv").write_bytes(b"\r\n".join(rows_of_all))
    for path in files:
        path.unlink()
    sets, report = prepared(corpus, tmp_path / "d")
    assert not report["left_out"]
    assert sorted(one.utt_id[7:] for part in sets.values() for one in part) == stems


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | st.text('fileName,"\n;가_', max_size=60).map(str.encode))
def test_csv_labels_never_raise(content):
    file = CorpusFile("", f"1.Training/{STEM}.csv")
    labels_of_file = aihub505.read_label(content, file, OPTIONS, key="")
    one = labels_of_file[0] if isinstance(labels_of_file, list) else labels_of_file
    assert isinstance(one, BadLabel | ParsedLabel)
