"""Tests of manifests: columns in any order, empty cells, given or assigned sets, languages."""

import csv
import json
import re
import unicodedata

import pytest
from published import prepare_corpus, write_sound

from espnet_ext.bin import cli, tokens
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


def test_error_of_an_empty_set_lists_the_languages(tmp_path, capsys):
    """One mistyped language takes the only training utterance away."""
    rows = [
        [f"u{i}", f"s{i}", "sound/a.wav", "text", "en", name] for i, name in enumerate(plain.SETS)
    ]
    rows[0][4] = "enn"
    path = write(tmp_path, ["utt_id", "speaker", "audio", "meaning", "lang", "set"], rows)
    argv = ["plain", "--manifest", str(path), "--data_dir", str(tmp_path / "data")]
    assert cli.run(command.main, argv) == 1
    assert "en: no utterances for train (utterances by language: en 2, enn 1)" in (
        capsys.readouterr().err
    )


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
    texts = ['he said "no", twice', "with, a comma", "a\tb", '"all of it"', "국물"]
    path = saved(tmp_path, rows_of(*texts), encoding)
    read, report = meanings(path)
    assert read == [" ".join(text.split()) for text in texts]
    assert any(note.startswith("3 cells were quoted") for note in report.notes)


def test_cell_with_a_line_break_raises_user_error_with_its_line(tmp_path):
    path = saved(tmp_path, rows_of("plain", "two\nlines", "plain"))
    with pytest.raises(UserError, match=f"{path}:4: .*audio is empty") as caught:
        meanings(path)
    assert "the quotation mark in line 3" in caught.value.remedy


def test_other_quotation_marks_are_part_of_the_text(tmp_path):
    texts = ['"open', 'he "said"', 'end"', '"a" and "b"', '"open too', "last"]
    read, _ = meanings(write(tmp_path, HEAD, rows_of(*texts)))
    assert read == texts


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
        "2 of 3 rows have fewer cells than there are columns (first: line 2)" in note
        for note in report.notes
    )
    assert report.unlabelled["s1-u0"] == {"surface": "the row has too few cells"}
    assert report.unlabelled["s1-u1"] == {"surface": "empty cell in the manifest"}


# -- sets that the table states


def split_table_of(folder, values, column="split", speakers=4):
    rows = [
        [f"u{i:02}", f"s{i % speakers}", "sound/a.wav", f"text {i}", value]
        for i, value in enumerate(values)
    ]
    return write(folder, ["utt_id", "speaker", "audio", "meaning", column], rows)


def ids(sets):
    return {name: [one.utt_id[-3:] for one in part] for name, part in sets.items()}


@pytest.mark.parametrize(
    "names",
    [
        ("train", "validation", "test"),
        ("Train", "dev", "TEST"),
        ("training", "val", "eval"),
        ("train", "valid", "evaluation"),
        ("train", "eval", "test"),  # as in Hugging Face's trainers
    ],
)
@pytest.mark.parametrize("column", ["split", "set", "Split"])
def test_sets_are_those_that_the_table_states(tmp_path, names, column):
    path = split_table_of(tmp_path, [names[i % 3] for i in range(12)], column)
    expected = {name: [f"u{i:02}" for i in range(k, 12, 3)] for k, name in enumerate(plain.SETS)}
    of_set = ids(prepare_corpus(plain, path))
    assert {name: sorted(part) for name, part in of_set.items()} == expected


def test_stated_test_set_is_kept_when_the_validation_set_is_missing(tmp_path):
    path = split_table_of(tmp_path, ["test" if i < 4 else "train" for i in range(40)], speakers=8)
    report = Report("plain")
    sets = prepare_corpus(plain, path, report=report)
    assert ids(sets)["test"] == ["u00", "u01", "u02", "u03"]
    valid = {one.speaker for one in sets["valid"]}
    assert len(valid) == 1 and not valid & {one.speaker for one in sets["train"]}
    assert any("states no validation set, which is taken from train" in n for n in report.notes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("train valid eval test", "has a validation set, eval and test"),
        ("train valid", "no utterances for test"),
        ("test", "no utterances for train and valid"),
        ("train valid exam", "set is 'exam', not one of train, valid"),
        ("train valid test ", "set is '', not one of"),
    ],
)
def test_incomplete_sets_raise_user_error(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        prepare_corpus(plain, split_table_of(tmp_path, names.split(" ")))


@pytest.mark.parametrize("column", ["subset", "partition", "Fold", "Group"])
def test_other_column_that_states_sets_raises_user_error(tmp_path, column):
    """It would be ignored, and another test set drawn."""
    path = split_table_of(tmp_path, ["train", "dev", "test", ""] * 3, column)
    with pytest.raises(UserError, match=f"'{column}' states sets .dev, test, train.") as caught:
        prepare_corpus(plain, path)
    assert "rename it to split" in caught.value.remedy
    prepare_corpus(plain, split_table_of(tmp_path, ["train", "dev", "tests"] * 4, column))


def test_set_and_split_together_raise_user_error(tmp_path):
    path = write(tmp_path, [*HEAD, "split"], [[*row, "train"] for row in rows_of("a", "b", "c")])
    with pytest.raises(UserError, match="two columns set .set and split."):
        meanings(path)


# -- one set


def test_table_without_sets_is_the_one_set_that_is_requested(tmp_path):
    rows = [[f"u{i}", "s1", "sound/a.wav", f"text {i}"] for i in range(5)]
    path = write(tmp_path, ["utt_id", "speaker", "audio", "meaning"], rows)
    report = Report("plain")
    sets = prepare_corpus(plain, path, report=report, sets=("test",))
    assert {name: len(part) for name, part in sets.items()} == {"test": 5}
    assert "no sets are stated: all utterances are in test" in report.notes
    sets = prepare_corpus(plain, path, sets=("train", "valid"))
    assert {name: len(part) for name, part in sets.items()} == {"train": 4, "valid": 1}


def test_requested_set_needs_no_audio_of_the_others(tmp_path):
    path = write(tmp_path, HEAD, rows_of("a", "b", "c"))
    path.write_text(path.read_text().replace("sound/a.wav", "no.wav", 2))
    sets = prepare_corpus(plain, path, sets=("test",))
    assert ids(sets) == {"test": ["-u2"]}


def test_utterances_that_are_in_another_set_there_raise_user_error(tmp_path, capsys):
    """A table that was split before is not also a test set."""
    rows = [[f"u{i}", f"s{i}", "sound/a.wav", f"text {i}"] for i in range(10)]
    path = write(tmp_path, ["utt_id", "speaker", "audio", "meaning"], rows)
    argv = ["plain", "--manifest", str(path), "--data_dir", str(tmp_path / "d")]
    assert command.main(argv) == 0
    with pytest.raises(UserError, match="8 utterances of test are also in train"):
        command.main([*argv, "--sets", "test"])
    assert command.main([*argv[:-1], str(tmp_path / "e"), "--sets", "test"]) == 0
    assert [path.name for path in (tmp_path / "e/en").iterdir() if path.is_dir()] == ["test"]


# -- cells


def test_cells_that_mean_nothing_are_empty_and_counted(tmp_path):
    texts = ["nan", "None", "NA", "#N/A", "None of them", "none", "nano"]
    report_columns = [*HEAD, "l1"]
    rows = [[*row, "NaN"] for row in rows_of(*texts)]
    report = Report("plain")
    sets = prepare_corpus(plain, write(tmp_path, report_columns, rows), report=report)
    by_id = {one.utt_id: one for part in sets.values() for one in part}
    read = [by_id[f"s1-u{i}"].texts.get("meaning") for i in range(len(texts))]
    assert read == [None] * 4 + ["None of them", "none", "nano"]
    assert {one.l1 for one in by_id.values()} == {None}
    assert report.counts["cells 'nan', taken as empty (--missing)"] == 1
    assert report.counts["cells 'NaN', taken as empty (--missing)"] == 7
    assert report.counts["transcripts that are only 'none', kept as text (--missing)"] == 1
    sets = prepare_corpus(plain, write(tmp_path, HEAD, rows_of(*texts)), missing=("none",))
    texts_kept = {one.texts.get("meaning") for part in sets.values() for one in part}
    assert texts_kept == {"nan", "None", "NA", "#N/A", "None of them", None, "nano"}


@pytest.mark.parametrize("column", ["utt_id", "speaker", "audio"])
def test_required_cells_that_mean_nothing_raise_user_error(tmp_path, column):
    rows = rows_of("a", "b", "c")
    rows[1][HEAD.index(column)] = "nan"
    with pytest.raises(UserError, match=f":3: {column} 'nan' means an empty cell"):
        meanings(write(tmp_path, HEAD, rows))


def test_errors_of_spreadsheets_raise_user_error(tmp_path):
    with pytest.raises(UserError, match=":3: meaning is the error #NAME. of a spreadsheet"):
        meanings(write(tmp_path, HEAD, rows_of("a", "#NAME?", "c")))


@pytest.mark.parametrize("name", ["English", "EN", "eng", "en-US", "영어"])
def test_languages_by_name_are_codes(tmp_path, name):
    rows = [[*row, name] for row in rows_of("a", "b", "c")]
    report = Report("plain")
    sets = prepare_corpus(plain, write(tmp_path, [*HEAD, "lang"], rows), report=report)
    assert {one.lang for part in sets.values() for one in part} == {"en"}
    assert report.counts[f"lang '{name}', read as en"] == 3
    sets = prepare_corpus(plain, write(tmp_path, HEAD, rows_of("a", "b", "c")), lang=name)
    assert {one.lang for part in sets.values() for one in part} == {"en"}


def test_unknown_language_is_counted_with_a_question(tmp_path):
    """A typing error would otherwise put utterances into another folder without a word."""
    rows = [
        [*row, name] for row, name in zip(rows_of("a", "b", "c"), ["en", "enn", "xx"], strict=True)
    ]
    report = Report("plain")
    prepare_corpus(plain, write(tmp_path, [*HEAD, "lang"], rows), report=report)
    assert report.counts["lang 'enn', which is not a known language: did you mean 'en'?"] == 1
    assert report.counts["lang 'xx', which is not a known language: is it a typing error?"] == 1
    assert not [what for what in report.counts if "'en'," in what]


def test_table_without_any_transcript_raises_user_error(tmp_path):
    with pytest.raises(UserError, match="no row has a transcript .meaning.") as caught:
        prepare_corpus(plain, write(tmp_path, HEAD, rows_of("", "", "")))
    assert caught.value.remedy == "fill in these columns"


# -- phones


def surfaces(folder, *texts, report=None, **options):
    columns = [*HEAD[:3], "surface", "set"]
    report = report or Report("plain")
    sets = prepare_corpus(plain, write(folder, columns, rows_of(*texts)), report=report, **options)
    by_id = {one.utt_id: one.texts.get("surface") for part in sets.values() for one in part}
    return [by_id[utt_id] for utt_id in sorted(by_id)]


def test_phones_in_other_notations_are_normalised_and_counted(tmp_path):
    report = Report("plain")
    read = surfaces(tmp_path, "HH AH0 L OW1", "t uw1 sil", "TH_B AX_E", report=report)
    assert read == ["HH AH L OW", "T UW", "TH AH"]
    assert {what.partition(": ")[2][:15]: n for what, n in report.counts.items()} == {
        "phones with a s": 4,
        "phones in lower": 1,
        "labels of silen": 1,
        "phones AX, read": 1,
    }


def test_unknown_phones_raise_user_error_with_lines_unless_they_are_kept(tmp_path):
    texts = ["HH AH0 L OW1", "T UW1 axr", "HH AH0 L OW1"]
    with pytest.raises(UserError, match=":3: s1-u1: surface: 'axr' is not one of") as caught:
        surfaces(tmp_path, *texts)
    assert "--phones keep" in caught.value.remedy
    assert surfaces(tmp_path, *texts, phones="keep") == texts


def test_words_and_letters_are_not_phones(tmp_path):
    for texts in (("we see", "er uh", "two"), ("b e d", "t o p", "d o g"), ("궁물", "a", "b")):
        assert surfaces(tmp_path, *texts) == list(texts)


# -- other tables


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_other_separators(tmp_path, separator, encoding):
    texts = ['he said "no", twice', "with; and, both", "국물", "“x”"]
    write_sound(tmp_path / "sound/a.wav")
    path = tmp_path / "corpus.csv"
    with open(path, "w", encoding=encoding, newline="") as handle:
        csv.writer(handle, delimiter=separator).writerows([HEAD, *rows_of(*texts)])
    assert meanings(path)[0] == texts


def test_open_quotation_mark_in_a_comma_table_raises_user_error_with_its_line(tmp_path):
    write_sound(tmp_path / "sound/a.wav")
    path = tmp_path / "corpus.csv"
    lines = [",".join(cells) for cells in (HEAD, *rows_of("a", '"b', "c"))]
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=f"{path}:3: begins a quoted cell"):
        meanings(path)


def test_trailing_empty_cells_are_ignored(tmp_path):
    rows = [[*row, "", ""] for row in rows_of("a", "b", "c")]
    assert meanings(write(tmp_path, HEAD, rows))[0] == ["a", "b", "c"]


# -- columns of other tools


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("utt_id spk audio meaning", "no column speaker; 'spk' is probably speaker"),
        ("id speaker path meaning", "'id' is probably utt_id; 'path' is probably audio"),
        ("utt_id speaker audio text", "no transcript; 'text' is probably meaning"),
        ("utt_id speaker audio phones", "no transcript; 'phones' is probably surface"),
    ],
)
def test_columns_of_other_tools_are_suggested(tmp_path, columns, message):
    with pytest.raises(UserError, match=message) as caught:
        meanings(write(tmp_path, columns.split(), [["u1", "s1", "sound/a.wav", "a"]]))
    assert "similar" not in caught.value.message


@pytest.mark.parametrize("column", ["sex", "age", "seg", "L2", "speaker_id", "path", "id", "text"])
def test_other_columns_are_not_taken_for_misspelt_ones(tmp_path, column):
    rows = [[*row, "7"] for row in rows_of("a", "b", "c")]
    _, report = meanings(write(tmp_path, [*HEAD, column], rows))
    assert f"ignored columns: '{column}'" in report.notes


def test_ignored_label_is_suggested(tmp_path):
    rows = [[*row, "Korean"] for row in rows_of("a", "b", "c")]
    _, report = meanings(write(tmp_path, [*HEAD, "native_language"], rows))
    assert any("'native_language' is probably l1: rename it" in note for note in report.notes)


# -- paths


def test_relative_paths_say_where_they_start(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    path = write(tmp_path, HEAD, rows_of("a", "b", "c"))
    table = path.rename(tmp_path / "tables/corpus.tsv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        meanings(table)
    assert ":2: s1-u0: audio 'sound/a.wav': no such file, but there is one in the current" in (
        caught.value.message
    )
    assert f"relative to the folder of the table, {tmp_path / 'tables'}" in caught.value.remedy


def test_windows_paths(tmp_path):
    rows = rows_of("a", "b", "c")
    for row in rows:
        row[2] = r"sound\\a.wav".replace("\\\\", "\\")
    read, report = meanings(write(tmp_path, HEAD, rows))
    assert read == ["a", "b", "c"]
    assert report.counts["audio paths with backslashes, read as /"] == 3
    rows[1][2] = r"C:\data\a.wav"
    with pytest.raises(UserError, match="'C:.data.a.wav' is a path of Windows") as caught:
        meanings(write(tmp_path, HEAD, rows))
    assert str(tmp_path) in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sound/A.wav", "no such file, but there is a.wav"),
        ("sound/a.flac", "no such file, but there is a.wav"),
        ("https://host/a.wav", "is a URL"),
        ("no/a.wav", "no such file: the folder .*no does not exist$"),
    ],
)
def test_missing_audio_is_described(tmp_path, name, message):
    rows = rows_of("a", "b", "c")
    rows[2][2] = name
    with pytest.raises(UserError) as caught:
        meanings(write(tmp_path, HEAD, rows))
    assert re.search(message, caught.value.message)


def test_file_names_in_either_unicode_form(tmp_path):
    name = unicodedata.normalize("NFD", "발화.wav")
    write_sound(tmp_path / "sound" / name)
    rows = rows_of("a", "b", "c")
    for row in rows:
        row[2] = "sound/발화.wav"
    sets = prepare_corpus(plain, write(tmp_path, HEAD, rows))
    assert {one.audio for part in sets.values() for one in part} == {f"{tmp_path}/sound/{name}"}


def test_table_without_a_surface_names_the_options_for_training(tmp_path):
    _, report = meanings(write(tmp_path, HEAD, rows_of("a", "b", "c")))
    assert any('--token_types "meaning=char" --systems so_meaning' in n for n in report.notes)
    report = Report("plain")
    surfaces(tmp_path, "W IY", "S IY", "T UW", report=report)
    assert any('--token_types "surface=phone" --systems so_surface' in n for n in report.notes)


def run_plain(folder, content, *options, name="corpus.tsv"):
    write_sound(folder / "sound/a.wav")
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    argv = ["plain", "--manifest", folder / name, "--data_dir", folder / "data", *options]
    return cli.run(command.main, [str(word) for word in argv])


HEADER = "utt_id,speaker,audio,meaning\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            HEADER + "u1,s1,sound/a.wav,well, I see\n",
            "4 columns\n  remedy: correct these lines; write a cell that contains ',' in quotation",
        ),
        (HEADER.replace(",", "|"), "its first line is 'utt_id|speaker|audio|meaning'"),
        ("u1\ts1\tsound/a.wav\twe see\n", r"its first line is 'u1\ts1\tsound/a.wav\twe see'"),
        ("", "corpus.tsv: is empty\n"),
        ("id,spk,path,text\nu1,s1,sound/a.wav,we\n", "'text' is probably meaning"),
        (HEADER + "u1,s1,Sound/a.wav,we\n", "no such file: the folder "),
    ],
)
def test_malformed_tables_name_the_cause(tmp_path, capsys, content, message):
    assert run_plain(tmp_path, content) == 1
    assert message in capsys.readouterr().err


def test_ipa_that_is_not_separated_is_named(tmp_path, capsys):
    rows = [f"u{i},s{i},sound/a.wav,laɪk hoʊm naʊ,i like\n" for i in range(3)]
    content = "utt_id,speaker,audio,surface,meaning\n" + "".join(rows)
    assert run_plain(tmp_path, content) == 0
    error = capsys.readouterr().err
    assert "surface: has phones that are not separated by spaces (laɪk)" in error


def test_tokens_of_an_unlabelled_output_name_both_options(tmp_path, capsys):
    rows = [f"u{i},s{i},sound/a.wav,i like\n" for i in range(3)]
    assert run_plain(tmp_path, HEADER + "".join(rows)) == 0
    data = tmp_path / "data/en/train"
    (data / "text.surface").write_text("s0-u0 <na>\n")
    argv = ["--input", data, "--output_name", "surface", "--token_type", "phone", "--token_dir"]
    assert cli.run(tokens.main, [*map(str, argv), str(tmp_path / "tokens")]) == 1
    error = capsys.readouterr().err
    assert '--token_types "meaning=char" --systems so_meaning' in error


def test_ignored_transcripts_name_their_probable_column(tmp_path, capsys):
    rows = [f"u{i},s{i},sound/a.wav,i like,AY\n" for i in range(3)]
    assert run_plain(tmp_path, HEADER.replace("meaning", "meaning,phones") + "".join(rows)) == 0
    error = capsys.readouterr().err
    assert "ignored columns: 'phones'; 'phones' is probably surface: rename it to use it" in error


def test_rows_of_empty_cells_are_ignored(tmp_path):
    rows = [f"u{i},s{i},sound/a.wav,i like\n,,,\n" for i in range(3)]
    assert run_plain(tmp_path, ",,,\n" + HEADER + "".join(rows)) == 0
    sets = ("train", "valid", "test")
    assert sum(len(read_directory(tmp_path / f"data/en/{name}")) for name in sets) == 3


def test_all_faults_of_a_table_are_listed_at_once_by_line(tmp_path, capsys):
    (tmp_path / "sound").mkdir()
    (tmp_path / "sound/b.wav").write_bytes(b"RIFF no sound")
    lines = [
        "u1,s1,sound/a.wav,HH AH L OW,hello",
        "u2,s1,sound/b.wav,HH AH L OW,hello",  # unreadable audio
        "u3,s2,sound/a.wav,HH AH XX OW,hello",  # unknown phone
        "u4,s2,sound/c.wav,HH AH L OW,hello",  # no audio
        "u5,s3,sound/a.wav,HH AH L OW,hello,and",  # a comma
        "u1,s1,sound/a.wav,HH AH L OW,hello",  # the same id
    ]
    content = "\n".join(["utt_id,speaker,audio,surface,meaning", *lines])
    assert run_plain(tmp_path, content) == 1
    error = capsys.readouterr().err
    path = tmp_path / "corpus.tsv"
    expected = [
        f"{path}: 5 faults:",
        f"{path}:3: s1-u2: unreadable audio: {tmp_path}/sound/b.wav: cannot be read",
        f"{path}:4: s2-u3: surface: 'XX' is not one of the 39 English phones",
        f"{path}:5: s2-u4: audio 'sound/c.wav': no such file",
        f"{path}:6: 6 cells, but 5 columns",
        f"{path}:7: s1-u1: line 2 has the same utt_id",
        "remedy: correct these lines; ",
    ]
    places = [error.find(text) for text in expected]
    assert -1 not in places and places == sorted(places)
    for option in ("--phones keep", "--skip_unreadable true", "in quotation marks"):
        assert option in error[places[-1] :]


def test_unreadable_audio_that_is_left_out_is_named_with_its_file(tmp_path, capsys):
    rows = [f"u{i},s{i},sound/{'ab'[i == 3]}.wav,i like\n" for i in range(4)]
    options = ["--skip_unreadable", "true"]
    assert run_plain(tmp_path, HEADER + "".join(rows), *options) == 0
    assert "left out: 1 × unreadable audio (s3-u3)" in capsys.readouterr().err
    (report,) = (json.loads(one.read_text()) for one in tmp_path.glob("data/en/prepare.json"))
    assert f"unreadable audio: {tmp_path}/sound/b.wav" in report["left_out"]["s3-u3"]


def test_hint_for_a_missing_output_names_the_ignored_column(tmp_path, capsys):
    rows = [f"u{i},s{i},sound/a.wav,HH AH L OW,hello\n" for i in range(3)]
    assert run_plain(tmp_path, "utt_id,speaker,audio,surface,text\n" + "".join(rows)) == 0
    error = capsys.readouterr().err
    assert "--systems so_surface; 'text' is probably meaning: rename it to use it" in error
