"""Tests of separated text: which tables are quoted, and that no row is ever swallowed."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ext.corpora.delimited import split_table

HEADER = ["id", "text", "end"]


def written(rows, **options):
    handle = io.StringIO()
    csv.writer(handle, **options).writerows(rows)
    return handle.getvalue()


def cells(text):
    result = split_table(text)
    assert not result.faults
    return [row for _, row in result.rows]


def tabs(*texts, newline="\n"):
    return newline.join(["id\ttext\tend", *(f"{i}\t{text}\tx" for i, text in enumerate(texts))])


TEXTS = st.lists(st.text("ab\",;' 가\t", max_size=8), min_size=1, max_size=6)


@settings(max_examples=400, deadline=None)
@given(
    TEXTS,
    st.sampled_from("\t,;"),
    st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    st.sampled_from(("\n", "\r\n")),
)
def test_tables_of_csv_writers_are_restored(texts, separator, quoting, newline):
    """Without line breaks in cells, all that Python's csv module writes is read back."""
    if separator == "\t" and newline == "\r\n":  # there, a comma alone is a reason to quote
        texts = [text.replace(",", "") for text in texts]
    rows = [HEADER, *([f"{i}", text, "x"] for i, text in enumerate(texts))]
    options = {"delimiter": separator, "quoting": quoting, "lineterminator": newline}
    assert cells(written(rows, **options)) == rows


@settings(max_examples=400, deadline=None)
@given(st.lists(st.text('ab", 가', max_size=8), min_size=1, max_size=8))
def test_every_line_is_a_row_or_a_fault(texts):
    """In tables of tabs that nothing has quoted, no line disappears and no row is joined."""
    result = split_table(tabs(*texts))
    if result.faults:
        ((line, reason),) = result.faults
        assert 2 <= line <= len(texts) + 1 and "quot" in reason
        return
    assert [line for line, _ in result.rows] == list(range(1, len(texts) + 2))
    assert [row[0] for _, row in result.rows[1:]] == [str(i) for i in range(len(texts))]
    if '""' not in "".join(texts):  # nothing that can only be a quoted cell
        assert [row[1] for _, row in result.rows[1:]] == texts


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "texts",
    [
        ['"well she said', "one", 'in the middle"', "two"],  # over several lines
        ["one", "two", '"a stray mark in the last row'],
        ["one", '5" disk', 'a 12" one'],
        ['"Yes," he said', "one, two"],
        ['"open', 'he "said"', 'end"', '"a" and "b"', "last, one"],
        ["''single''", "“typographic”", "‟x"],
    ],
)
def test_quotation_marks_are_part_of_unquoted_tables(texts, newline):
    result = split_table(tabs(*texts, newline=newline))
    assert [row[1] for _, row in result.rows[1:]] == texts and not result.faults


def test_mark_that_closes_in_another_column_does_not_join_columns():
    assert cells('a\tb\tc\n1\t"she said\tend"\n') == [["a", "b", "c"], ["1", '"she said', 'end"']]


def test_tab_inside_quotation_marks_is_part_of_the_cell():
    assert cells('a\tb\n1\t"x\ty"\n2\tz') == [["a", "b"], ["1", "x\ty"], ["2", "z"]]


def test_quoted_sentences_without_other_signs_keep_their_marks_with_a_note():
    result = split_table(tabs('"Hello there"', "Hello, you"))
    assert result.rows[1][1][1] == '"Hello there"'
    assert "1 cells begin and end with quotation marks (first: line 2)" in result.notes[0]


def test_excel_quotes_cells_with_commas():
    """With Windows line ends, if every cell with a comma is quoted; else the marks are text."""
    texts = ['"Yes, I do"', "No"]
    assert cells(tabs(*texts, newline="\r\n"))[1][1] == "Yes, I do"
    assert cells(tabs(*texts))[1][1] == '"Yes, I do"'
    assert cells(tabs(*texts, "oh, no", newline="\r\n"))[1][1] == '"Yes, I do"'


def test_table_that_is_quoted_and_is_not_is_a_fault():
    result = split_table(tabs('"say ""a"""', "b", '"stray'))
    assert result.faults == [
        (4, "its quotation marks are not those of a quoted cell, but line 2 is quoted")
    ]


def test_empty_quoted_cells_are_empty():
    assert cells(tabs('""', 'a "b"'))[1][1] == ""


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize(
    ("line", "good"), [('1,"a\n b",x', False), ('1,"a" b,x', False), ('1, "a,b" ,x', True)]
)
def test_quoted_cells_end_in_their_line(separator, line, good):
    text = ("id,text,end\n0,a,x\n" + line).replace(",", separator)
    result = split_table(text)
    assert [number for number, _ in result.faults] == ([] if good else [3])
    if good:
        assert result.rows[-1][1] == ["1", f"a{separator}b", "x"]


def test_line_numbers_count_empty_lines_and_the_hint_for_excel():
    text = "\r\nsep=;\r\nid;text\r\n\r\n1;a\r\n"
    assert split_table(text).rows == [(3, ["id", "text"]), (5, ["1", "a"])]


def test_old_line_ends_and_separators():
    assert cells("a\tb\r1\t2\r") == [["a", "b"], ["1", "2"]]
    assert cells("a;b,c;d\n1;2;3")[1] == ["1", "2", "3"]
    assert split_table("").rows == [] and split_table(" \n").rows == []
