"""Marks in Korean transcripts: published examples, transcripts made from known parts, and noise."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ext.corpora import marks
from espnet_ext.data.table import normalized

REFUSED = [
    ("(70%) (칠십)", "a bracket without its partner: '70%'"),
    ("(70%)/ 칠십", "a bracket without its partner: '70%'"),
    ("(가)/(나)/(다)", "a bracket without its partner: '다'"),
    ("(가", "a bracket is not closed"),
    ("(가)/(나", "a bracket is not closed"),
    ("가)", "a bracket is closed that was not opened"),
    ("(가))/(나)", "a bracket is closed that was not opened"),
    ("((가)/(나)", "a bracket is not closed"),
    ("(" * 30 + ")" * 30, "brackets within brackets without end"),
    ("b/ n/ *", "nothing but marks"),
    ("", "nothing but marks"),
    ("u/ 네", marks.UNINTELLIGIBLE),
    ("네 un/", marks.UNINTELLIGIBLE),
]


@pytest.mark.parametrize(
    ("raw", "spelled", "pronounced"),
    [
        # from the descriptions of the corpus and of tools that read it
        (
            "b/ 아/ 모+ 몬 소리야 (70%)/(칠 십 퍼센트) 확률이라니 n/",
            "아 모 몬 소리야 70% 확률이라니",
            "아 모 몬 소리야 칠 십 퍼센트 확률이라니",
        ),
        (
            "(뭐 뭔)/(모 몬) 소리야 진짜 (100%)/(백 프로)가 왜 안돼?",
            "뭐 뭔 소리야 진짜 100%가 왜 안돼",
            "모 몬 소리야 진짜 백 프로가 왜 안돼",
        ),
        ("(8.15)/(팔 일 오)", "8.15", "팔 일 오"),
        # slips of transcribers
        ("(3개) / (세 개)만", "3개만", "세 개만"),
        ("(3개)(세 개)", "3개", "세 개"),
        ("(네)/(네)", "네", "네"),
        ("((KBS)/(케이비에스) 뉴스)/(케이비에스 뉴스)를", "KBS 뉴스를", "케이비에스 뉴스를"),
        ("(3+ 세)/(세+ 세)", "3 세", "세 세"),
        ("아/근데", "아 근데", "아 근데"),
        ("한+국", "한 국", "한 국"),
        ("뭐* *뭐", "뭐 뭐", "뭐 뭐"),
        ("b/아니n/", "아니", "아니"),
        ("(1/2)/(이 분의 일) 1/2", "1/2 1/2", "이 분의 일 1/2"),
        # signs
        ("hello/ 그/+", "hello 그", "hello 그"),
        (
            "'KBS'에서, 「정말」 그랬어요… 010-1234",
            "KBS에서 정말 그랬어요 010 1234",
            "KBS에서 정말 그랬어요 010 1234",
        ),
        ("ㅋㅋ 하ㄱ교", "ㅋㅋ 하ㄱ교", "ㅋㅋ 하ㄱ교"),
    ],
)
def test_what_both_sides_say(raw, spelled, pronounced):
    read = marks.read(raw)
    assert (read.spelled.text, read.pronounced.text) == (spelled, pronounced)
    assert not read.spelled.problem and not read.pronounced.problem


@pytest.mark.parametrize(("raw", "problem"), REFUSED)
def test_what_is_not_understood_is_refused_with_its_reason(raw, problem):
    read = marks.read(raw)
    assert read.spelled == read.pronounced == marks.Side("", problem)


def test_fillers_and_repetitions_can_go_on_one_side_or_both():
    raw = "어/ 저+ 저는 (3개)/(세 개)+ (3개)/(세 개) (뭐)/(모)/ +가 n/ 요"
    both = marks.read(raw)
    assert both.pronounced.text == "어 저 저는 세 개 세 개 모 가 요"
    surface = marks.read(raw, disfluent=("pronounced",))
    assert surface.pronounced == both.pronounced and surface.spelled.text == "저는 3개 가 요"
    assert marks.read(raw, disfluent=()).pronounced.text == "저는 세 개 가 요"
    assert marks.read("저 +저", disfluent=()).spelled.text == "저"  # for "저+ 저"


def test_words_that_could_not_be_told_can_be_ignored():
    assert marks.read("네 un/ 그래요 u/", unintelligible="drop").spelled.text == "네 그래요"
    one = marks.read("(u/)/(삼) 번")
    assert one.spelled.problem == marks.UNINTELLIGIBLE and one.pronounced.text == "삼 번"


def test_an_empty_side_is_missing_alone():
    read = marks.read("( )/(응) 네")
    assert read.spelled == marks.Side("", "one side of a pair is empty (spelled)")
    assert read.pronounced.text == "응 네"


def test_slips_are_counted():
    read = marks.read("(가)(나) (다)/(다) ((라)/(마))/(바)")
    assert set(read.counts) == {
        "pairs of brackets without their slash",
        "pairs with identical sides",
        "brackets within brackets",
    }


def test_a_gloss_in_brackets():
    assert marks.read("밀라노(Milano)에", alone="drop").spelled.text == "밀라노에"


# -- transcripts made from parts whose two sides are known

WORDS = st.text("가나다라국물", min_size=1, max_size=4)
PHRASES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
NOISES = st.sampled_from(["b/", "l/", "n/", "o/", "sn/"]).map(lambda mark: (mark, [], []))
SPOKEN = WORDS.map(lambda word: (word, [(word, True)], [(word, True)]))
FILLERS = WORDS.map(lambda word: (f"{word}/", [(word, False)], [(word, False)]))
BROKEN = WORDS.map(lambda word: (f"{word}+", [(word, False)], [(word, False)]))
NOISY = WORDS.map(lambda word: (f"{word}*", [(word, True)], [(word, True)]))
PAIRS = st.builds(
    lambda left, right, slash, particle, mark: (
        f"({left}){slash}({right}){particle}{mark}",
        [(left + particle, not mark)],
        [(right + particle, not mark)],
    ),
    PHRASES | st.sampled_from(["70%", "3.5", "KBS"]),
    PHRASES,
    st.sampled_from(["/", " / ", "/ ", ""]),
    st.just("") | WORDS,
    st.sampled_from(["", "+", "/"]),
)
PARTS = st.lists(SPOKEN | FILLERS | BROKEN | NOISY | NOISES | PAIRS, min_size=1, max_size=8)


def joined(parts, side, disfluent):
    return " ".join(text for part in parts for text, fluent in part[side] if disfluent or fluent)


@settings(max_examples=400, deadline=None)
@given(PARTS, st.sampled_from([(), ("pronounced",), ("spelled",), marks.SIDES]))
def test_transcripts_made_from_parts_come_apart_again(parts, disfluent):
    read = marks.read(" ".join(part[0] for part in parts), disfluent=disfluent)
    for number, side in enumerate(marks.SIDES, 1):
        assert getattr(read, side).text == joined(parts, number, side in disfluent)


@settings(max_examples=200, deadline=None)
@given(st.text("가나ㄱab1 /+*.", max_size=30))
def test_no_letter_of_hangul_is_lost(raw):
    read = marks.read(raw, unintelligible="drop")
    assert re.findall("[가-힣ㄱ]", read.spelled.text) == re.findall("[가-힣ㄱ]", raw)


CHARACTERS = st.sampled_from("()/+*bnolus아가 1.%\ue000\u200b'\"\n") | st.characters()
NASTY = st.text(CHARACTERS, max_size=40)


@settings(max_examples=600, deadline=None)
@given(NASTY, st.sampled_from(["unlabelled", "drop"]), st.sampled_from(["refuse", "drop"]))
def test_whatever_is_written_gives_a_clean_text_or_a_reason(raw, unintelligible, alone):
    read = marks.read(raw, unintelligible=unintelligible, alone=alone)
    for side in (read.spelled, read.pronounced):
        assert bool(side.text) != bool(side.problem)
        assert side.text == normalized(side.text) == marks.clean(side.text)
        assert not re.search(r"[()+*\x00-\x1f]", side.text)
        side.text.encode()  # no lone surrogates
        assert unicodedata.is_normalized("NFC", side.text)


def test_noises_named_in_square_brackets_are_marks():
    heard = marks.read("[noise] 네 [웃음]맞아요 [ Laughter ]")
    assert heard.spelled.text == heard.pronounced.text == "네 맞아요"
    assert heard.counts == ("noises named in square brackets",)
    assert marks.read("[KBS] 뉴스").spelled.text == "KBS 뉴스"
    assert marks.read("[unk] 네").spelled == marks.Side("", marks.UNINTELLIGIBLE)
    assert marks.read("[unk] 네", unintelligible="drop").spelled.text == "네"
    assert marks.read("[noise]").spelled.problem == "nothing but marks"
