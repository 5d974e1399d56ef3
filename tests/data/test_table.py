"""Kaldi tables: order (compared with `sort`), separators, invalid rows and values."""

import shutil
import subprocess

import pytest

from espnet_ext.data.record import MAX_ID_BYTES, id_problem, is_output_name
from espnet_ext.data.table import normalized, read_table, scan_table, write_table
from espnet_ext.errors import UserError

IDS = ["b", "a-b", "ab", "a_b", "Z", "가-1", "é", "é-1", "\U00020000", "\uffee", "0"]


def test_order_equals_sort_in_the_c_locale(tmp_path):
    path = tmp_path / "text"
    write_table(path, dict.fromkeys(IDS, "x"))
    if shutil.which("sort") is None:
        pytest.skip("no sort command")
    done = subprocess.run(
        ["sort", "-c", path], env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert not scan_table(path)[1]


def test_tabs_repeated_spaces_and_missing_last_newline_are_read(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("a\t가  나\nb   다 \nc 라".encode())
    assert read_table(path) == {"a": "가  나", "b": "다", "c": "라"}


def test_empty_values_are_read_only_if_allowed(tmp_path):
    path = tmp_path / "text"
    write_table(path, {"a": "", "b": "x"})
    assert read_table(path, empty_ok=True) == {"a": "", "b": "x"}
    with pytest.raises(UserError, match=r"text:1: a: has no value"):
        read_table(path)


def test_first_error_names_file_and_line(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"a x\nb \xff\nb y\n")
    with pytest.raises(UserError, match=r"text:2: b: is not UTF-8: byte 0xff at byte 3"):
        read_table(path)


def test_unsorted_tables_are_read(tmp_path):
    path = tmp_path / "text"
    path.write_text("b 2\na 1\n")
    assert list(read_table(path)) == ["a", "b"]


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\x00b", "a\x85b", "a\u2028b", "\udcff"])
def test_values_that_cannot_be_read_back_are_not_written(tmp_path, value):
    with pytest.raises(UserError, match="text: u1: "):
        write_table(tmp_path / "text", {"u1": value})
    assert list(tmp_path.iterdir()) == []


def test_whitespace_around_a_value_is_removed_on_writing(tmp_path):
    write_table(tmp_path / "text", {"u1": " 가 나\u3000", "u2": " "})
    assert (tmp_path / "text").read_text(encoding="utf-8") == "u1 가 나\nu2 \n"


def test_table_is_replaced_atomically(tmp_path):
    path = tmp_path / "text"
    write_table(path, {"a": "old"})
    with pytest.raises(UserError):
        write_table(path, {"a": "new", "b\n": "x"})
    assert path.read_text() == "a old\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", IDS + ["s1-u1", "sp0.9-s1-u1", "a" * MAX_ID_BYTES])
def test_valid_ids(name):
    assert id_problem(name) == ""


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "a\tb",
        "a\u3000b",
        "a\u200bb",
        "\ufeffa",
        "a/b",
        "..//x",
        "a\x00",
        "<na>",
        "e\u0301",
        "a" * (MAX_ID_BYTES + 1),
        "가" * MAX_ID_BYTES,
    ],
)
def test_invalid_ids(name):
    assert id_problem(name)


def test_valid_and_invalid_output_names():
    assert all(map(is_output_name, ["surface", "meaning", "canonical", "tone_2"]))
    assert not any(map(is_output_name, ["", "surface.bak", "2nd", "a-b", "surface~", "a/b"]))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("\u1100\u1161\u11a8", "각"),  # conjoining jamo, which macOS writes
        ("ㄱ ㅏ", "ㄱ ㅏ"),  # single letters are content and are not joined
        (" a\u00a0 b\u3000", "a b"),
        ("cafe\u0301", "café"),
    ],
)
def test_texts_are_normalised(text, expected):
    assert normalized(text) == expected
