"""Tests of manifests: columns in any order, empty cells, given or assigned sets, languages."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published import prepare_corpus, write_sound

from espnet_ext.bin import prepare as command
from espnet_ext.corpora import plain
from espnet_ext.corpora.preparation import Report, assign_sets
from espnet_ext.corpora.transcripts import english_words, read_phone
from espnet_ext.data.directory import read_directory
from espnet_ext.data.validate import validate_directory
from espnet_ext.errors import UserError


def write(folder, columns, rows):
    write_sound(folder / "sound/a.wav")
    text = "\n".join("\t".join(cells) for cells in [columns, *rows])
    path = folder / "corpus.tsv"
    path.write_text(
        "\ufeff" + text.replace("\n", "\r\n"), encoding="utf-8"
    )  # as spreadsheets write it
    return path


def test_columns_in_any_order_and_empty_cells(tmp_path):
    columns = ["meaning", "audio", "l1", "speaker", "surface", "utt_id", "set", "text.gloss"]
    rows = [
        ["국물", "sound/a.wav", "en", "s1", "궁물", "1", "train", "soup"],
        ['say "a"', "sound/a.wav", "", "s1", "", "s1-2", "valid", ""],
        ["", "sound/a.wav", "", "s2", "<na>", "3", "test"],
    ]
    report = Report("plain")
    sets = prepare_corpus(plain, write(tmp_path, columns, rows), lang="ko", report=report)
    train, valid, test = (sets[name][0] for name in ("train", "valid", "test"))
    assert (train.utt_id, train.lang, train.l1) == ("s1-1", "ko", "en")
    assert train.texts == {"surface": "궁물", "meaning": "국물", "gloss": "soup"}
    assert (valid.utt_id, valid.texts) == ("s1-2", {"meaning": 'say "a"'})
    assert test.texts == {}
    assert set(report.unlabelled["s2-3"]) == {"surface", "meaning", "gloss"}
    assert train.audio == str(tmp_path / "sound/a.wav")


def test_split_by_speakers_has_disjoint_speakers(tmp_path):
    rows = [[f"u{i}", f"s{i % 20:02}", "sound/a.wav", f"text {i}"] for i in range(100)]
    sets = prepare_corpus(plain, write(tmp_path, ["utt_id", "speaker", "audio", "meaning"], rows))
    speakers = {name: {one.speaker for one in part} for name, part in sets.items()}
    assert [len(speakers[name]) for name in ("train", "valid", "test")] == [16, 2, 2]
    assert not speakers["train"] & speakers["test"]
    assert sum(len(part) for part in sets.values()) == 100


def test_few_speakers_are_split_by_utterances_with_a_note(tmp_path):
    rows = [[f"u{i:02}", "s1", "sound/a.wav", f"text {i}"] for i in range(20)]
    report = Report("plain")
    path = write(tmp_path, ["utt_id", "speaker", "audio", "meaning"], rows)
    sets = prepare_corpus(plain, path, report=report)
    assert [len(sets[name]) for name in ("train", "valid", "test")] == [16, 2, 2]
    assert "the sets share speakers" in report.notes[0]


def test_command_writes_one_folder_per_language(tmp_path):
    rows = [
        [f"{lang}{i}", f"{lang}{i}", "sound/a.wav", "text", lang, name]
        for lang in ("ko", "en")
        for i, name in enumerate(plain.SETS)
    ]
    path = write(tmp_path, ["utt_id", "speaker", "audio", "meaning", "lang", "set"], rows)
    data = tmp_path / "data"
    assert command.main(["plain", "--manifest", str(path), "--data_dir", str(data)]) == 0
    for lang in ("ko", "en"):
        for name in plain.SETS:
            (utterance,) = read_directory(data / lang / name)
            assert utterance.lang == lang
            findings = validate_directory(data / lang / name)
            assert not [one for one in findings if one.severity == "error"]


def test_quick_keeps_a_small_part_of_each_set(tmp_path):
    rows = [[f"u{i:03}", f"s{i % 20:02}", "sound/a.wav", "text"] for i in range(200)]
    path = write(tmp_path, ["utt_id", "speaker", "audio", "meaning"], rows)
    argv = ["plain", "--manifest", str(path), "--data_dir", str(tmp_path / "d"), "--quick", "true"]
    assert command.main(argv) == 0
    train = read_directory(tmp_path / "d/en/train")
    assert len(train) == 40 and len({one.speaker for one in train}) > 8


@pytest.mark.parametrize("count", range(3, 40))
def test_assign_sets_fills_every_set(count):
    items = [str(i) for i in range(count)]
    sets = assign_sets(items, {"valid": 1, "test": 1})
    sizes = [list(sets.values()).count(name) for name in ("train", "valid", "test")]
    assert sum(sizes) == count and min(sizes) >= 1
    assert sizes[1] <= -(-count // min(10, count)) and sizes[2] <= sizes[1] <= sizes[0]


def test_english_words_keep_apostrophes_only():
    assert english_words("“God bless ’em,” he said -- IT'S well-known; 'quoted'.") == (
        "god bless 'em he said it's well known quoted"
    )
    assert english_words(" ... ' ") == ""


def test_read_phone_accepts_the_39_phones_only():
    from espnet_ext.text.phones import PHONES

    for phone in PHONES:
        assert read_phone(f" {phone.lower()}1 ") == (phone, False)
    for label in ("PHONE", "A H", "1", "AH IH", "AXR", "ㄱ"):
        assert read_phone(label)[0] is None


def test_long_and_invisible_transcripts(tmp_path):
    rows = [
        ["1", "s1", "sound/a.wav", "a" * 200_000],
        ["2", "s1", "sound/a.wav", "\u200b"],
        ["3", "s1", "sound/a.wav", "b"],
    ]
    report = Report("plain")
    path = write(tmp_path, ["utt_id", "speaker", "audio", "meaning"], rows)
    sets = prepare_corpus(plain, path, report=report)
    texts = {one.utt_id: one.texts for part in sets.values() for one in part}
    assert len(texts["s1-1"]["meaning"]) == 200_000
    assert texts["s1-2"] == {} and "meaning" in report.unlabelled["s1-2"]


@pytest.mark.parametrize("lang", ["../../evil", "en us", "한", "-x"])
def test_language_that_cannot_name_a_folder_raises_user_error(tmp_path, lang):
    rows = [["1", "s1", "sound/a.wav", "a", "en"], ["2", "s1", "sound/a.wav", "a", lang]]
    path = write(tmp_path, ["utt_id", "speaker", "audio", "meaning", "lang"], rows)
    with pytest.raises(UserError, match=f"{path}:3: s1-2: lang '{lang}'"):
        prepare_corpus(plain, path)
    with pytest.raises(UserError, match=f"--lang '{lang}'"):
        prepare_corpus(plain, path, lang=lang)


HEAD = ["utt_id", "speaker", "audio", "meaning", "set"]


def saved(folder, rows, encoding="utf-8", columns=HEAD):
    """Write a table as a spreadsheet saves it: with quoted cells where necessary."""
    write_sound(folder / "sound/a.wav")
    path = folder / "corpus.tsv"
    with open(path, "w", encoding=encoding, newline="") as handle:
        csv.writer(handle, delimiter="\t").writerows([columns, *rows])
    return path


def rows_of(*texts):
    return [[f"u{i}", "s1", "sound/a.wav", text, plain.SETS[i % 3]] for i, text in enumerate(texts)]


def meanings(path):
    report = Report("plain")
    sets = prepare_corpus(plain, path, report=report)
    texts = {one.utt_id: one.texts.get("meaning") for part in sets.values() for one in part}
    return [texts[utt_id] for utt_id in sorted(texts)], report


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_quoted_cells_of_spreadsheets(tmp_path, encoding):
    texts = ['he said "no", twice', "with, a comma", "a\tb", "two\nlines", '"all of it"', "국물"]
    path = saved(tmp_path, rows_of(*texts), encoding)
    read, report = meanings(path)
    assert read == [" ".join(text.split()) for text in texts]
    assert any(note.startswith("4 cells were quoted") for note in report.notes)


def test_other_quotation_marks_are_part_of_the_text(tmp_path):
    texts = ['"open', 'he "said"', 'end"', '"a" and "b"', '"open too', "last"]
    read, _ = meanings(write(tmp_path, HEAD, rows_of(*texts)))
    assert read == texts


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text('ab"\t\n, 가', max_size=8), min_size=1, max_size=6))
def test_split_cells_restores_the_cells_that_csv_wrote(texts):
    rows = [["head", "text", "end"], *(["x", text, "y"] for text in texts)]
    handle = io.StringIO()
    csv.writer(handle, delimiter="\t", lineterminator="\n").writerows(rows)
    read, _ = plain._split_cells(handle.getvalue().removesuffix("\n"))
    assert [cells for _, cells in read] == rows


@pytest.mark.parametrize(
    ("encoding", "text", "name"),
    [
        ("cp949", "국물", "CP949"),
        ("cp1252", "café", "Windows-1252"),
        ("utf-16-le", "국물", "UTF-16"),
    ],
)
def test_other_encodings_raise_user_error_with_line_and_name(tmp_path, encoding, text, name):
    with pytest.raises(UserError, match=rf"corpus.tsv:\d: not UTF-8; probably {name}"):
        meanings(saved(tmp_path, rows_of("plain", text, "plain"), encoding))


def test_columns_in_any_case_and_unknown_columns(tmp_path):
    columns = ["UTT_ID", "Speaker", "audio", "Meaning", "Set", "age", "TEXT.gloss"]
    rows = [[*row, "7", "g"] for row in rows_of("a", "b", "c")]
    read, report = meanings(write(tmp_path, columns, rows))
    assert read == ["a", "b", "c"]
    assert "ignored columns: 'age'" in report.notes


@pytest.mark.parametrize(
    ("misspelt", "known"), [("surfce", "surface"), ("Meanings", "meaning"), ("sets", "set")]
)
def test_misspelt_column_raises_user_error(tmp_path, misspelt, known):
    rows = [[*row, "x"] for row in rows_of("a", "b", "c")]
    with pytest.raises(UserError, match=f"'{misspelt}' is similar to {known}"):
        meanings(write(tmp_path, [*HEAD, misspelt], rows))


def test_short_rows_are_noted(tmp_path):
    columns = ["utt_id", "speaker", "audio", "set", "meaning", "surface"]
    rows = [
        ["u0", "s1", "sound/a.wav", "train", "a"],
        ["u1", "s1", "sound/a.wav", "valid", "b", ""],
        ["u2", "s1", "sound/a.wav", "test"],
    ]
    _, report = meanings(write(tmp_path, columns, rows))
    assert any(
        "2 rows have fewer cells than there are columns (first: line 2)" in note
        for note in report.notes
    )
    assert report.unlabelled["s1-u0"] == {"surface": "the row has too few cells"}
    assert report.unlabelled["s1-u1"] == {"surface": "empty cell in the manifest"}
