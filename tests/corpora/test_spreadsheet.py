"""Tests of Excel workbooks: cells as they are displayed, and what spreadsheets have replaced."""

import datetime
import subprocess
import sys
import zipfile

import pytest
from published import prepare_corpus, write_sound

from espnet_ext.corpora import plain, spreadsheet
from espnet_ext.corpora.preparation import Report
from espnet_ext.errors import UserError

openpyxl = pytest.importorskip("openpyxl")
HEAD = ["utt_id", "speaker", "audio", "meaning", "set"]


def workbook(folder, *rows, columns=HEAD, change=lambda book: None, name="corpus.xlsx"):
    write_sound(folder / "sound/a.wav")
    book = openpyxl.Workbook()
    book.active.title = "data"
    for row in (columns, *rows):
        book.active.append(row)
    change(book)
    book.save(folder / name)
    return folder / name


def row(number, text, speaker="s1"):
    return [f"u{number}", speaker, "sound/a.wav", text, plain.SETS[number % 3]]


def rows(*texts):
    return [row(number, text) for number, text in enumerate(texts)]


def meanings(path, report=None):
    sets = prepare_corpus(plain, path, report=report or Report("plain"))
    texts = {one.utt_id: one.texts.get("meaning") for part in sets.values() for one in part}
    return [texts[utt_id] for utt_id in sorted(texts)]


def test_workbook_is_read_as_displayed(tmp_path):
    texts = ['he said "no", twice', "a\tb", "two\nlines", "국물", None, 7, 2.5, "#N/A", "'quoted'"]
    report = Report("plain")
    read = meanings(workbook(tmp_path, *rows(*texts)), report)
    assert read[:4] == ['he said "no", twice', "a b", "two lines", "국물"]
    assert read[4:] == [None, "7", "2.5", None, "'quoted'"]
    assert "read from the sheet 'data'" in report.notes


def test_numbers_as_ids_keep_their_leading_zeros(tmp_path):
    def with_format(book):
        for cell in book.active["A"][1:]:
            cell.number_format = "0000"

    table = [[i, 3, "sound/a.wav", "a", name] for i, name in enumerate(plain.SETS)]
    sets = prepare_corpus(plain, workbook(tmp_path, *table, change=with_format))
    assert sets["valid"][0].utt_id == "3-0001" and sets["valid"][0].speaker == "3"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime.datetime(2026, 3, 5), "became a date or time"),
        (datetime.time(3, 15), "became a date or time"),
        (True, "became the truth value TRUE"),
        (1234567890123456789, "more than 15 digits"),
        ("=A1&B1", "formula without a stored value"),
    ],
)
def test_replaced_cells_raise_user_error_with_their_row(tmp_path, value, message):
    path = workbook(tmp_path, *rows("a", value, "c"))
    with pytest.raises(UserError, match=f"{path}:3: meaning .*{message}"):
        meanings(path)


def test_error_cells_raise_user_error(tmp_path):
    def with_error(book):
        book.active["D3"].value = "#NAME?"
        book.active["D3"].data_type = "e"

    with pytest.raises(UserError, match=":3: meaning is the error #NAME"):
        meanings(workbook(tmp_path, *rows("a", "b", "c"), change=with_error))


def test_merged_cells_raise_user_error(tmp_path):
    with pytest.raises(UserError, match=r":4: speaker is merged with other cells \(B2:B4\)"):
        meanings(
            workbook(
                tmp_path,
                *rows("a", "b", "c"),
                change=lambda book: book.active.merge_cells("B2:B4"),
            )
        )


def test_replaced_cells_of_ignored_columns_do_not_matter(tmp_path):
    table = [[*one, datetime.date(2026, 1, 1)] for one in rows("a", "b", "c")]
    assert meanings(workbook(tmp_path, *table, columns=[*HEAD, "recorded"])) == ["a", "b", "c"]


def test_sheet_with_the_columns_is_read(tmp_path):
    def with_notes(book):
        book.create_sheet("notes", 0).append(["do not", "read this"])

    assert meanings(workbook(tmp_path, *rows("a", "b", "c"), change=with_notes)) == ["a", "b", "c"]

    def with_copy(book):
        book.copy_worksheet(book["data"])

    with pytest.raises(UserError, match="several sheets have the columns.*'data', 'data Copy'"):
        meanings(workbook(tmp_path, *rows("a", "b", "c"), change=with_copy))


def test_damaged_and_other_workbooks_raise_user_error(tmp_path):
    path = tmp_path / "corpus.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<no")
    with pytest.raises(UserError, match="cannot read the workbook"):
        meanings(path)
    path.write_bytes(b"PK\x03\x04 and no more \xff")
    with pytest.raises(UserError, match=r"probably a spreadsheet file \(ods, xls\)"):
        meanings(path)


def test_too_large_workbook_raises_user_error(tmp_path, monkeypatch):
    monkeypatch.setattr(spreadsheet, "MAX_BYTES", 100)
    with pytest.raises(UserError, match="which is too large"):
        meanings(workbook(tmp_path, *rows("a", "b", "c")))


def test_missing_library_is_named(tmp_path):
    path = workbook(tmp_path, *rows("a", "b", "c"))
    code = (
        "import sys; sys.modules['openpyxl'] = None\n"
        "from espnet_ext.bin import cli, prepare\n"
        f"sys.exit(cli.run(prepare.main, ['plain', '--manifest', {str(path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert 'pip install "espnet-ext[tables]"' in done.stderr


def test_workbook_with_another_suffix_is_read(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    workbook = openpyxl.Workbook()
    workbook.active.append(["utt_id", "=1+1"])
    workbook.save(tmp_path / "a.xlsx")
    path = (tmp_path / "a.xlsx").rename(tmp_path / "a.csv")
    assert spreadsheet.is_workbook(path)
    assert spreadsheet.read_sheets(path)[0].rows[0][1][0] == "utt_id"
