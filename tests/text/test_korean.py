"""Korean G2P compared with published pronunciations."""

from pathlib import Path

import pytest

from espnet_ext.errors import UserError
from espnet_ext.text import hangul, korean_words
from espnet_ext.text.korean import CONNECTED_SPEECH, LEARNER, Style, pronounce, strip_punctuation
from espnet_ext.text.korean_words import marked_words

# Spelling and pronunciation, checked by hand against the articles of the Standard Pronunciation.
# Most are examples of the standard.
TABLE = {
    "neutralisation (arts. 8, 9)": """
        닦다 닥따, 키읔 키윽, 옷 옫, 웃다 욷따, 있다 읻따, 젖 젇, 꽃 꼳, 솥 솓, 앞 압, 덮다 덥따,
        빚다 빋따, 쫓다 쫃따, 뱉다 밷따""",
    "clusters (arts. 10, 11)": """
        넋 넉, 넋과 넉꽈, 앉다 안따, 여덟 여덜, 넓다 널따, 외곬 외골, 핥다 할따, 값 갑,
        없다 업따, 밟다 밥따, 밟소 밥쏘, 밟지 밥찌, 밟는 밤는, 밟고 밥꼬, 넓죽하다 넙쭈카다,
        넓둥글다 넙뚱글다, 닭 닥, 흙과 흑꽈, 맑다 막따, 늙지 늑찌, 삶 삼, 젊다 점따, 읊고 읍꼬,
        읊다 읍따, 맑게 말께, 묽고 물꼬, 읽거나 일꺼나, 여덟도 여덜도""",
    "ㅎ (art. 12)": """
        놓고 노코, 좋던 조턴, 쌓지 싸치, 많고 만코, 않던 안턴, 닳지 달치, 각하 가카,
        먹히다 머키다, 밝히다 발키다, 맏형 마텽, 좁히다 조피다, 넓히다 널피다, 꽂히다 꼬치다,
        앉히다 안치다, 닿소 다쏘, 많소 만쏘, 싫소 실쏘, 놓는 논는, 쌓네 싼네, 않네 안네,
        뚫네 뚤레, 낳은 나은, 놓아 노아, 쌓이다 싸이다, 많아 마나, 않은 아는, 닳아 다라,
        싫어도 시러도, 좋다 조타, 못하다 모타다, 깨끗하다 깨끄타다, 따뜻해요 따뜨태요, 전화 전화,
        좋습니다 조씀니다, 닭하고 다카고, 부엌하고 부어카고""",
    "liaison (arts. 13-16)": """
        깎아 까까, 옷이 오시, 있어 이써, 낮이 나지, 꽂아 꼬자, 꽃을 꼬츨, 쫓아 쪼차, 밭에 바테,
        앞으로 아프로, 덮이다 더피다, 넋이 넉씨, 앉아 안자, 닭을 달글, 젊어 절머, 곬이 골씨,
        핥아 할타, 읊어 을퍼, 값을 갑쓸, 없어 업써, 값이 갑씨, 맛없다 마덥따, 겉옷 거돋,
        디귿이 디그시, 지읒을 지으슬, 키읔에 키으게, 히읗이 히으시, 강아지 강아지, 읽어요 일거요""",
    "palatalisation (art. 17)": """
        곧이듣다 고지듣따, 굳이 구지, 미닫이 미다지, 땀받이 땀바지, 밭이 바치, 벼훑이 벼훌치,
        굳히다 구치다, 닫히다 다치다, 묻히다 무치다, 같이 가치, 해돋이 해도지, 붙여 부처,
        닫혔다 다첟따, 잊혀 이처""",
    "nasals (arts. 18, 19)": """
        먹는 멍는, 국물 궁물, 깎는 깡는, 키읔만 키응만, 몫몫이 몽목씨, 긁는 긍는, 흙만 흥만,
        닫는 단는, 짓는 진는, 옷맵시 온맵씨, 있는 인는, 맞는 만는, 쫓는 쫀는, 붙는 분는,
        잡는 잠는, 앞마당 암마당, 밟는 밤는, 읊는 음는, 없는 엄는, 담력 담녁, 침략 침냑,
        강릉 강능, 대통령 대통녕, 막론 망논, 백리 뱅니, 협력 혐녁, 십리 심니, 독립 동닙,
        먹는다 멍는다, 합니다 함니다""",
    "liquids (art. 20)": """
        난로 날로, 신라 실라, 천리 철리, 대관령 대괄령, 칼날 칼랄, 물난리 물랄리, 줄넘기 줄럼끼,
        닳는 달른, 뚫는 뚤른, 핥네 할레, 의견란 의견난, 생산량 생산냥, 상견례 상견녜, 않는 안는,
        한라산 할라산, 연락 열락""",
    "tense (arts. 23-28)": """
        국밥 국빱, 깎다 깍따, 넋받이 넉빠지, 삯돈 삭똔, 닭장 닥짱, 칡범 칙뻠, 뻗대다 뻗때다,
        옷고름 옫꼬름, 있던 읻떤, 꽂고 꼳꼬, 꽃다발 꼳따발, 낯설다 낟썰다, 밭갈이 받까리,
        곱돌 곱똘, 옆집 엽찝, 값지다 갑찌다, 앉고 안꼬, 얹다 언따, 닮고 담꼬, 젊지 점찌,
        넓게 널께, 떫지 떨찌, 갈등 갈뜽, 발전 발쩐, 절도 절또, 할게요 할께요, 인기 인끼,
        할인기간 하린기간, 한자 한짜, 한자리 한자리, 할수록 할쑤록, 길게 길게, 학교 학꾜,
        신습니다 신씀니다, 남습니다 남씀니다, 식당 식땅, 문법 문뻡, 손바닥 손빠닥, 물고기 물꼬기""",
    "ㄴ inserted (art. 29)": """
        한여름 한녀름, 색연필 생년필, 담요 담뇨, 꽃잎 꼰닙, 깻잎 깬닙, 물약 물략, 서울역 서울력,
        나뭇잎 나문닙, 식용유 시굥뉴, 솔잎 솔립""",
    "vowels (art. 5)": """
        가져 가저, 쪄 쩌, 다쳐 다처, 희망 히망, 무늬 무니, 띄어쓰기 띠어쓰기, 의사 의사,
        주의 주의, 문의 무늬, 시계 시계, 예의 예의, 강의의 강의의""",
}
PAIRS = [(k, *p.split()) for k, row in TABLE.items() for p in row.split(",")]


def test_table_has_over_200_distinct_pairs():
    words = [(group, word) for group, word, _ in PAIRS]
    assert len(words) == len(set(words)) > 200


@pytest.mark.parametrize(("group", "spelled", "expected"), PAIRS)
def test_standard_pronunciation(group, spelled, expected):
    assert pronounce(spelled) == expected


def test_default_style_does_not_cross_spaces():
    # In connected speech, 옷 안 is [오단] and 밥 먹는다 is [밤멍는다].
    assert pronounce("옷 안 밥 먹는다") == "옫 안 밥 멍는다"


def test_h_tail_before_h_lead_is_aspirated():
    # No Korean word is spelled like this, but a learner's transcript may be.
    assert pronounce("곻하 않하 잃하") == "고타 안하 일하"


def test_punctuation_is_removed_and_spaces_are_squeezed():
    assert pronounce(" “네”,  좋아요!\n같이… 가요? ") == "네 조아요 가치 가요"
    assert strip_punctuation("...") == ""


def test_nfd_input_gives_the_same_pronunciation():
    import unicodedata

    assert pronounce(unicodedata.normalize("NFD", "국물이 좋다")) == "궁무리 조타"


def test_no_rule_crosses_lone_letters():
    assert pronounce("ㅋㅋ 국ㄴ물 옷ㅏ") == "ㅋㅋ 국ㄴ물 옫ㅏ"


@pytest.mark.parametrize("text", ["漢字", "né", "옷 ß"])
def test_character_that_is_not_hangul_raises_user_error(text):
    with pytest.raises(UserError, match="not Hangul") as error:
        pronounce(text)
    assert "spell" in error.value.remedy


def test_word_list_entries_keep_the_number_of_syllables():
    assert len(marked_words()) > 800
    for word in marked_words():
        for text in (word, word + "이", word + "도"):
            for style in (Style(), CONNECTED_SPEECH, LEARNER):
                assert len(pronounce(text, style)) == len(text)


def test_repeated_or_unequal_word_list_entry_raises_user_error(tmp_path, monkeypatch):
    for text, match in (
        ("꽃~잎 꽃|잎", "lexicon.txt:1: '꽃잎' is listed twice"),
        ("# x\n디귿=디", "lexicon.txt:2: '디귿=디' is not a word"),
    ):
        broken = tmp_path / "lexicon.txt"
        broken.write_text(text)
        monkeypatch.setattr(korean_words, "WORDS", broken)
        with pytest.raises(UserError, match=match):
            korean_words.marked_words.__wrapped__()


def test_sino_korean_pairs_have_the_expected_letters():
    pairs = korean_words.sino_korean_pairs()
    assert len(pairs) > 900
    for pair in pairs:
        (_, _, tail), (lead, _, _) = map(hangul.split, pair)
        assert tail == "ㄹ" and lead in ("ㄷ", "ㅅ", "ㅈ")
    text = korean_words.SINO.read_text(encoding="utf-8")
    assert "Choe Hwanjin" in text and "Redistributions of source code" in text


# -- published examples and everyday words, from korean_pronunciation.txt


def read_published() -> list[tuple[str, str, str]]:
    rows = []
    file = Path(__file__).with_name("korean_pronunciation.txt")
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            group, _, pairs = line.partition(": ")
            rows += [(group, *pair.split("=")) for pair in pairs.split(", ")]
    return rows


PUBLISHED = read_published()


def without_spaces(text: str) -> str:
    return "".join(c for c in text if hangul.is_hangul(c))


@pytest.mark.parametrize(("group", "spelled", "expected"), PUBLISHED)
def test_published_pronunciation(group, spelled, expected):
    assert without_spaces(pronounce(spelled, CONNECTED_SPEECH)) == expected


def test_published_examples_cover_the_articles():
    articles = {int(group) for group, _, _ in PUBLISHED if group.isdigit()}
    assert articles >= set(range(9, 31)) | {5, 6, 7}
    assert len({tuple(pair) for _, *pair in PUBLISHED}) > 900


# -- words whose pronunciation depends on their neighbours, and styles

CONTEXTS = """
    신을 신고 나갔다=시늘 신꼬 나갇따, 혼인 신고를 했다=호닌 신고를 핻따, 감지 않는다=감찌 안는다,
    위험을 감지했다=위허믈 감지핻따, 할 일이 있다=할 리리 읻따, 갈 데가 없다=갈 떼가 업따,
    물 것을 주다=물 거슬 주다, 서울 사람=서울 사람, 만날 사람=만날 싸람, 책을 읽는다=채글 잉는다,
    안 입어요=안 니버요, 문 앞에 서다=무 나페 서다, 오늘 아침=오늘 아침,
    나는 그를 안다=나는 그를 안다, 안다고 했다=안다고 핻따, 안다는 말=안다는 말, 잘 안다=자 란다,
    아기를 안다=아기를 안따, 품에 안다=푸메 안따, 꼭 안다=꼬 간따, 안다=안따, 껴안다=껴안따,
    아이를 안다가=아이를 안따가,
    한국 라면=한국 라면, 새로운 라면=새로운 라면, FM 라디오=에프엠 라디오, 잘 노는=잘 로는,
    먹은 라면=머근 라면, 십 리=심 니, 몇 리나=면 니나, 백리=뱅니, 신라=실라
"""


@pytest.mark.parametrize("pair", [pair.strip() for pair in CONTEXTS.split(",")])
def test_words_in_context(pair):
    spelled, expected = pair.split("=")
    assert pronounce(spelled, CONNECTED_SPEECH) == expected


def test_punctuation_is_a_pause_but_quotation_marks_are_not():
    assert pronounce("밥, 먹는다", CONNECTED_SPEECH) == "밥 멍는다"
    assert pronounce("‘밥’ 먹는다", CONNECTED_SPEECH) == "밤 멍는다"


def test_styles():
    assert pronounce("냇가") == "내까" and pronounce("냇가", LEARNER) == "낻까"
    assert pronounce("맛있는") == "마신는"
    assert pronounce("맛있는", Style(neutral_itta=True)) == "마딘는"
    tolerated = Style(tolerated=True)
    pronounced = pronounce("주의 나의 시계 예의 차례 의사 희망", tolerated)
    assert pronounced == "주이 나에 시게 예이 차례 의사 히망"
