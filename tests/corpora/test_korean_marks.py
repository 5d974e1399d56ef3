"""Tests of marked Korean transcripts: published examples, generated transcripts, random text."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ext.corpora import korean_marks
from espnet_ext.data.table import normalized

REFUSED = [
    ("(70%) (칠십)", "a bracket is not part of a pair: '70%'"),
    ("(70%)/ 칠십", "a bracket is not part of a pair: '70%'"),
    ("(가)/(나)/(다)", "a bracket is not part of a pair: '다'"),
    ("(가", "a bracket is not closed"),
    ("(가)/(나", "a bracket is not closed"),
    ("가)", "a closing bracket has no opening bracket"),
    ("(가))/(나)", "a closing bracket has no opening bracket"),
    ("((가)/(나)", "a bracket is not closed"),
    ("(" * 30 + ")" * 30, "brackets are nested too deep"),
    ("b/ n/ *", "has only marks"),
    ("", "has only marks"),
    ("u/ 네", korean_marks.UNINTELLIGIBLE),
    ("네 un/", korean_marks.UNINTELLIGIBLE),
]


@pytest.mark.parametrize(
    ("raw", "spelled", "pronounced"),
    [
        # from descriptions of the corpus and of tools for it
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
        # common errors of transcribers
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
        # symbols
        ("hello/ 그/+", "hello 그", "hello 그"),
        (
            "'KBS'에서, 「정말」 그랬어요… 010-1234",
            "KBS에서 정말 그랬어요 010 1234",
            "KBS에서 정말 그랬어요 010 1234",
        ),
        ("ㅋㅋ 하ㄱ교", "ㅋㅋ 하ㄱ교", "ㅋㅋ 하ㄱ교"),
    ],
)
def test_parse_returns_both_spellings(raw, spelled, pronounced):
    transcript = korean_marks.parse(raw)
    assert (transcript.spelled.text, transcript.pronounced.text) == (spelled, pronounced)
    assert not transcript.spelled.problem and not transcript.pronounced.problem


@pytest.mark.parametrize(("raw", "problem"), REFUSED)
def test_parse_rejects_malformed_transcripts_with_the_reason(raw, problem):
    transcript = korean_marks.parse(raw)
    assert transcript.spelled == transcript.pronounced == korean_marks.Spelling("", problem)


def test_fillers_and_repetitions_can_be_dropped_from_one_or_both_spellings():
    raw = "어/ 저+ 저는 (3개)/(세 개)+ (3개)/(세 개) (뭐)/(모)/ +가 n/ 요"
    both = korean_marks.parse(raw)
    assert both.pronounced.text == "어 저 저는 세 개 세 개 모 가 요"
    surface = korean_marks.parse(raw, disfluent=("pronounced",))
    assert surface.pronounced == both.pronounced and surface.spelled.text == "저는 3개 가 요"
    assert korean_marks.parse(raw, disfluent=()).pronounced.text == "저는 세 개 가 요"
    assert korean_marks.parse("저 +저", disfluent=()).spelled.text == "저"  # means "저+ 저"


def test_unintelligible_words_can_be_dropped():
    assert korean_marks.parse("네 un/ 그래요 u/", unintelligible="drop").spelled.text == "네 그래요"
    transcript = korean_marks.parse("(u/)/(삼) 번")
    assert transcript.spelled.problem == korean_marks.UNINTELLIGIBLE
    assert transcript.pronounced.text == "삼 번"


def test_empty_spelling_leaves_the_other_one():
    transcript = korean_marks.parse("( )/(응) 네")
    assert transcript.spelled == korean_marks.Spelling(
        "", "one spelling of a pair is empty (spelled)"
    )
    assert transcript.pronounced.text == "응 네"


def test_corrected_errors_are_counted():
    transcript = korean_marks.parse("(가)(나) (다)/(다) ((라)/(마))/(바)")
    assert set(transcript.counts) == {
        "pairs of brackets without a slash",
        "pairs of identical spellings",
        "nested brackets",
    }


def test_gloss_in_brackets_can_be_dropped():
    assert korean_marks.parse("밀라노(Milano)에", single_bracket="drop").spelled.text == "밀라노에"


# -- transcripts generated from parts whose spellings are known
# Each part is (marked text, [(spelled, fluent)], [(pronounced, fluent)]).

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


def joined(parts, index, disfluent):
    return " ".join(text for part in parts for text, fluent in part[index] if disfluent or fluent)


@settings(max_examples=400, deadline=None)
@given(PARTS, st.sampled_from([(), ("pronounced",), ("spelled",), korean_marks.SPELLINGS]))
def test_parse_restores_the_parts_of_generated_transcripts(parts, disfluent):
    transcript = korean_marks.parse(" ".join(part[0] for part in parts), disfluent=disfluent)
    for index, name in enumerate(korean_marks.SPELLINGS, 1):
        assert getattr(transcript, name).text == joined(parts, index, name in disfluent)


@settings(max_examples=200, deadline=None)
@given(st.text("가나ㄱab1 /+*.", max_size=30))
def test_parse_keeps_all_hangul_letters(raw):
    transcript = korean_marks.parse(raw, unintelligible="drop")
    assert re.findall("[가-힣ㄱ]", transcript.spelled.text) == re.findall("[가-힣ㄱ]", raw)


CHARACTERS = st.sampled_from("()/+*bnolus아가 1.%\ue000\u200b'\"\n") | st.characters()
ANY_TEXT = st.text(CHARACTERS, max_size=40)


@settings(max_examples=600, deadline=None)
@given(ANY_TEXT, st.sampled_from(["unlabelled", "drop"]), st.sampled_from(["refuse", "drop"]))
def test_any_text_gives_a_clean_spelling_or_a_reason(raw, unintelligible, single_bracket):
    transcript = korean_marks.parse(
        raw, unintelligible=unintelligible, single_bracket=single_bracket
    )
    for text, problem in (transcript.spelled, transcript.pronounced):
        assert bool(text) != bool(problem)
        assert text == normalized(text) == korean_marks.clean(text)
        assert not re.search(r"[()+*\x00-\x1f]", text)
        text.encode()  # no lone surrogates
        assert unicodedata.is_normalized("NFC", text)


def test_noises_in_square_brackets_are_marks():
    transcript = korean_marks.parse("[noise] 네 [웃음]맞아요 [ Laughter ]")
    assert transcript.spelled.text == transcript.pronounced.text == "네 맞아요"
    assert transcript.counts == ("noises named in square brackets",)
    assert korean_marks.parse("[KBS] 뉴스").spelled.text == "KBS 뉴스"
    assert korean_marks.parse("[unk] 네").spelled == korean_marks.Spelling(
        "", korean_marks.UNINTELLIGIBLE
    )
    assert korean_marks.parse("[unk] 네", unintelligible="drop").spelled.text == "네"
    assert korean_marks.parse("[noise]").spelled.problem == "has only marks"
