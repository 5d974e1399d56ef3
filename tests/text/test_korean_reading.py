"""Korean readings of digits, units and Latin letters, and loan words."""

import random

import pytest

from espnet_ext.text import hangul
from espnet_ext.text import korean_reading as reading
from espnet_ext.text.korean_loans import english_to_hangul, phones_to_hangul
from espnet_ext.text.phones import PHONES

CASES = {
    "3시 3분": "세시 삼분",
    "12시 30분": "열두시 삼십분",
    "오후 2:05": "오후 두시 오분",
    "2024년 6월 10일": "이천이십사년 유월 십일",
    "2024-10-03": "이천이십사년 시월 삼일",
    "5명, 20살, 21 살": "다섯명, 스무살, 스물한 살",
    "20대": "이십대",
    "3개월, 3개": "삼개월, 세개",
    "2시간": "두시간",
    "두 번째 3번": "두 번째 삼번",
    "3번만": "세번만",
    "100명": "백명",
    "1,234,567원": "백이십삼만사천오백육십칠원",
    "010-1234-5678": "공일공 일이삼사 오육칠팔",
    "3.14": "삼쩜일사",
    "-5℃": "섭씨 마이너스 오도",
    "$20": "이십달러",
    "1/2": "이분의 일",
    "3~4층": "삼에서 사층",
    "6·25, 3·1절, 5.18": "육이오, 삼일절, 오일팔",
    "5km, 2kg, 30%": "오킬로미터, 이킬로그램, 삼십퍼센트",
    "TV와 CD": "티브이와 시디",
    "A4 용지, mp3": "에이포 용지, 엠피스리",
    "007": "공공칠",
    "file 3개를 download": "파일 세개를 다운로드",
    "물 좀": "물 좀",
    "and the file": "앤드 더 파일",
    "I love you": "아이 러브 유",
    "I have a pen": "아이 해브 어 펜",
    "a와 b, the app": "에이와 비, 더 앱",
    "https, www, url": "에이치티티피에스, 더블유더블유더블유, 유아르엘",
    "K-pop, Samsung": "케이팝, 삼성",
    "ChatGPT": "챗지피티",
    "AS 센터, Mr. Kim": "에이에스 센터, 미스터. 킴",
    "12시 05분 09초": "열두시 오분 구초",
    "00시 00분, 09시": "영시 영분, 아홉시",
    "03월 06월 08일": "삼월 유월 팔일",
    "02 시리즈": "공이 시리즈",
    "119에 신고, 112로, 113번, 1339 신고": "일일구에 신고, 일일이로, 일일삼번, 일삼삼구 신고",
    "불이 나면 119": "불이 나면 일일구",
    "112명, 112에서 115까지, 114쪽": "백십이명, 백십이에서 백십오까지, 백십사쪽",
    "$119": "백십구달러",
    "3:1, 2:10": "삼 대 일, 두시 십분",
    "10km/h, 10km": "시속 십킬로미터, 십킬로미터",
    "25°C, 77°F": "섭씨 이십오도, 화씨 칠십칠도",
}


@pytest.mark.parametrize(("written", "expected"), CASES.items())
def test_readings(written, expected):
    assert reading.spell_out(written) == expected


def parse_sino_korean(numeral: str) -> int:
    """Return the value of a Sino-Korean numeral."""
    total = group = digit = 0
    for char in numeral:
        if char in "영일이삼사오육칠팔구":
            digit = "영일이삼사오육칠팔구".index(char)
        elif char in "십백천":
            group += (digit or 1) * 10 ** ("십백천".index(char) + 1)
            digit = 0
        else:
            total += ((group + digit) or 1) * 10 ** (4 * ("만억조경".index(char) + 1))
            group = digit = 0
    return total + group + digit


@pytest.mark.parametrize("step", [1, 7, 9_999, 10_007, 123_456_789])
def test_sino_korean_numerals_round_trip(step):
    for number in range(0, step * 300, step):
        assert parse_sino_korean(reading.sino_korean(number)) == number


def test_native_numerals_are_distinct():
    assert len({reading.native(number) for number in range(1, 100)}) == 99
    for number in (0, 100):
        with pytest.raises(ValueError, match="no native numeral"):
            reading.native(number)


# Loan words whose established spelling follows the Loan Word Orthography
LOANS = """
    game=게임 file=파일 computer=컴퓨터 team=팀 strike=스트라이크 flash=플래시
    internet=인터넷 queen=퀸 spring=스프링 world=월드 milk=밀크 desk=데스크 cake=케이크
    bridge=브리지 video=비디오 apple=애플 google=구글 shopping=쇼핑 facebook=페이스북
    YouTube=유튜브
"""


@pytest.mark.parametrize("pair", LOANS.split())
def test_loan_words(pair):
    word, expected = pair.split("=")
    assert english_to_hangul(word) == expected


def test_any_phones_become_syllables():
    rng = random.Random(5)
    for _ in range(2000):
        hangul_text = phones_to_hangul(rng.choices(PHONES, k=rng.randint(1, 9)))
        assert all(map(hangul.is_syllable, hangul_text))
