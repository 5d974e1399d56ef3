"""Tests of the TextGrid parser: both formats and all encodings agree; deviations are errors."""

import pytest
from published import long_textgrid, short_textgrid

from espnet_ext.corpora.textgrid import Interval, Tier, parse_textgrid, read_textgrid
from espnet_ext.errors import UserError

# Labels that look like parts of the format, or have characters that it must escape.
ODD = ["AH0", "", " sil, T ,a", '""', 'a "b" c', "intervals [2]:", "xmin = 3", "! no", "a\nb", "é"]


@pytest.mark.parametrize("form", [long_textgrid, short_textgrid])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_formats_encodings_and_line_ends_are_equivalent(tmp_path, form, encoding, newline):
    path = tmp_path / "a.TextGrid"
    with open(path, "w", encoding=encoding, newline=newline) as handle:
        handle.write(form(words=["one"], phones=ODD))
    tiers = read_textgrid(path)
    assert list(tiers) == ["words", "phones"]
    assert [one.label for one in tiers["phones"].intervals] == ODD
    assert tiers["phones"].intervals[1].start == pytest.approx(0.3)
    assert tiers["phones"].disorder() == ""


def test_point_tiers_and_comments():
    text = (
        '"ooTextFile" "TextGrid" ! a comment with "a quotation mark\n0 3 <exists> 2\n'
        '"TextTier" "notes" 0 3 1 1.5 "hm"\n"IntervalTier" "phones" 0 3 1 0 3 "AH"'
    )
    tiers = parse_textgrid(text)
    assert tiers["notes"].intervals == (Interval(1.5, 1.5, "hm"),)
    assert tiers["phones"].intervals == (Interval(0, 3, "AH"),)


LONG = long_textgrid(phones=["AH0", "B", "K"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ":1: the file ends where the file type is expected"),
        ("not a textgrid", "the file ends"),
        (LONG.replace("ooTextFile", "ooBinary"), "not a Praat TextGrid"),
        (LONG.replace("<exists>", "<absent>"), "no tiers"),
        (LONG.replace("size = 3", "size = 4"), "the start time of interval 4 of tier 'phones'"),
        (LONG.replace("size = 3", "size = 2"), "after the last declared tier"),
        (LONG.replace("size = 3", "size = 2.5"), "the number of intervals of tier 'phones' is 2.5"),
        (LONG[:-10], "the file ends where"),  # cut within the last label's line
        (LONG.replace('"B"', '"B'), "quotation mark"),
        (LONG.replace("xmin = 1.0", "xmin ="), "where the end time of interval 2"),
        (LONG.replace('class = "IntervalTier"', 'class = "Odd"'), "'Odd' is not a class of tiers"),
        (LONG.replace(" = ", "="), "where the file type is expected"),  # values need spaces
    ],
)
def test_errors_name_file_and_line(tmp_path, text, complaint):
    path = tmp_path / "a.TextGrid"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_textgrid(path)
    assert str(caught.value).startswith(f"{path}:")
    assert complaint in caught.value.message
    assert caught.value.remedy


def test_error_names_the_right_line(tmp_path):
    path = tmp_path / "a.TextGrid"
    path.write_text(LONG.replace('text = "K"', "text = 7"))
    with pytest.raises(UserError) as caught:
        read_textgrid(path)
    line = int(caught.value.message.split(":")[1])
    assert path.read_text().splitlines()[line - 1].strip() == "text = 7"


def test_other_encodings_and_missing_files_raise_user_error(tmp_path):
    path = tmp_path / "a.TextGrid"
    path.write_bytes(LONG.replace("AH0", "é").encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8"):
        read_textgrid(path)
    with pytest.raises(UserError, match="cannot read: No such file"):
        read_textgrid(tmp_path / "b.TextGrid")


def test_two_tiers_of_one_name_raise_an_error(tmp_path):
    text = LONG.replace("size = 1", "size = 2") + LONG[LONG.index("    item [1]") :]
    with pytest.raises(Exception, match="two tiers are named 'phones'"):
        parse_textgrid(text)


def test_disorder_reports_times_out_of_order():
    overlapping = Tier("t", (Interval(0, 1.2, "a"), Interval(1, 2, "b")))
    reversed_ = Tier("t", (Interval(2, 1, "a"),))
    touching = Tier("t", (Interval(0, 1.0004, "a"), Interval(1, 1, "b"), Interval(1, 2, "c")))
    assert "interval 2 (b)" in overlapping.disorder()
    assert "interval 1 (a) ends" in reversed_.disorder()
    assert touching.disorder() == ""
