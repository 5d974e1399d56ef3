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
    "5-3=2, 3+4=7": "오 빼기 삼은 이, 삼 더하기 사는 칠",
    "3×4=12, 10÷2=5": "삼 곱하기 사는 십이, 십 나누기 이는 오",
    "2 - 3 = -1": "이 빼기 삼은 마이너스 일",
    "10/2=5, 1/2+1/2=1": "십 나누기 이는 오, 이분의 일 더하기 이분의 일은 일",
    "5-3": "오에서 삼",
    "3-5명": "세에서 다섯명",
    "몇 %나": "몇 퍼센트나",
    "5‐10, 5--10": "오에서 십, 오에서 십",
    "A+ 학점, C++, a+b": "에이 플러스 학점, 시 플러스 플러스, 에이 더하기 비",
    "제1-3장, 제1~2과": "제일에서 삼장, 제일에서 이과",
    "9am-5pm, 10:30 pm": "오전 아홉시에서 오후 다섯시, 오후 열시 삼십분",
    "3-4pm에, PM 9시": "오후 세시에서 네시에, 오후 아홉시",
    "오전 9:00-오후 5:00": "오전 아홉시에서 오후 다섯시",
    "5/3~5/10, 1/2-3/4": "오월 삼일에서 오월 십일, 이분의 일에서 사분의 삼",
    "10^6, 2²": "십의 육제곱, 이의 이제곱",
    "5m2, 3m³, ½": "오제곱미터, 삼세제곱미터, 이분의 일",
    "안녕~ 5시에": "안녕~ 다섯시에",
    "10%-20%, 10%~20%": "십퍼센트에서 이십퍼센트, 십퍼센트에서 이십퍼센트",
    "5kg–10kg, -5℃~-3℃": "오킬로그램에서 십킬로그램, 섭씨 마이너스 오도에서 섭씨 마이너스 삼도",
    "$5-$10, €5–10": "오에서 십달러, 오에서 십유로",
    "25¢, ¢25": "이십오센트, 이십오센트",
    "1 000 000명": "백만명",
    "100 200 300": "백 이백 삼백",
    "오전 9시-오후 5시": "오전 아홉시에서 오후 다섯시",
    "1등-3등, 10만-20만 원": "일등에서 삼등, 십만에서 이십만 원",
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
    "9점, 100점 만점에 95점, 3.5점": "구점, 백점 만점에 구십오점, 삼쩜오점",
    "그림 3점, 고기 5점": "그림 세점, 고기 다섯점",
    "0시, 24시 편의점": "영시, 이십사시 편의점",
    "3시간, 13시간, 48시간": "세시간, 열세시간, 사십팔시간",
    "버스 20대, 20대 남성, 3대, 세계 3대": "버스 스무대, 이십대 남성, 세대, 세계 삼대",
    "4대 보험, 3대 독자, 16대 국회": "사대 보험, 삼대 독자, 십육대 국회",
    "4대강, 3대가 모여": "사대강, 삼대가 모여",
    "버스 3대가 모여, 5대를, 3대의 차": "버스 세대가 모여, 다섯대를, 세대의 차",
    "3/4분기, 1/4 분기, 3/4": "삼사분기, 일사 분기, 사분의 삼",
    "2 대 1, 10대 0": "이 대 일, 십대 영",
    "하루에 3번, 3번 버스": "하루에 세번, 삼번 버스",
    "손님 3분, 손님 3분 전": "손님 세분, 손님 삼분 전",
    "3시~5시, 10시-12시": "세시에서 다섯시, 열시에서 열두시",
    "9:30~11:00": "아홉시 삼십분에서 열한시",
    "3월 1일~5월 3일, 6~10월": "삼월 일일에서 오월 삼일, 육에서 시월",
    "2020-2024년": "이천이십에서 이천이십사년",
    "2,3개": "두,세개",
    "5~10km": "오에서 십킬로미터",
    "+82-10-1234-5678": "플러스 팔이 일공 일이삼사 오육칠팔",
    "(02) 123-4567, 1588-1234": "공이 일이삼 사오육칠, 일오팔팔 일이삼사",
    "110-123-456789": "일일공 일이삼 사오육칠팔구",
    "1234-5678-9012-3456": "일이삼사 오육칠팔 구공일이 삼사오육",
    "비밀번호는 1234": "비밀번호는 일이삼사",
    "2024. 10. 3.": "이천이십사년 시월 삼일",
    "24.10.31": "이십사년 시월 삼십일일",
    "2024.10.3~10.5": "이천이십사년 시월 삼일에서 시월 오일",
    "10/3, 12/25까지, 10.3(목)": "시월 삼일, 십이월 이십오일까지, 시월 삼일(목)",
    "1:23:45": "한시 이십삼분 사십오초",
    "1 1/2, 3/4": "일과 이분의 일, 사분의 삼",
    ".5, 0.05": "영쩜오, 영쩜영오",
    "3.10.2": "삼쩜십쩜이",
    "10·26, 12·12, 12.12 사태, 3.1운동": "십이육, 십이십이, 십이십이 사태, 삼일운동",
    "88올림픽, '88년": "팔십팔올림픽, 팔십팔년",
    "5만km, 30%p": "오만킬로미터, 삼십퍼센트포인트",
    "No. 1, 12V": "넘버 일, 십이볼트",
}


@pytest.mark.parametrize(("written", "expected"), CASES.items())
def test_readings(written, expected):
    assert reading.spell_out(written) == expected


# Native numerals before a counter, written out here as an oracle
ONES = ["", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉"]
TENS = ["", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔"]
SINO_ONES = ["", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구"]


def native_oracle(number: int) -> str:
    return "스무" if number == 20 else TENS[number // 10] + ONES[number % 10]


def sino_oracle(number: int) -> str:
    """Numbers from 1 to 99."""
    tens, ones = divmod(number, 10)
    return (SINO_ONES[tens].removeprefix("일") + "십" if tens else "") + SINO_ONES[ones]


@pytest.mark.parametrize("number", range(1, 100))
def test_numeral_system_depends_on_the_counter(number):
    for counter in ("명", "개", "마리", "살", "권 ", "병", "잔", "그릇", "컵"):
        assert reading.spell_out(f"{number}{counter}") == native_oracle(number) + counter
    for counter in ("점", "분", "초", "원", "도", "층", "호", "년", "회", "등", "쪽", "인분", "세"):
        assert reading.spell_out(f"{number}{counter}") == sino_oracle(number) + counter
    for counter in ("개월", "달러", "시즌", "코스", "채널", "타점"):  # begin like native counters
        assert reading.spell_out(f"{number}{counter}") == sino_oracle(number) + counter
    assert reading.spell_out(f"제{number}장") == f"제{sino_oracle(number)}장"
    ordinal = "첫" if number == 1 else native_oracle(number)
    assert reading.spell_out(f"{number}번째") == ordinal + "번째"


@pytest.mark.parametrize("hour", range(1, 25))
def test_hours_are_native_on_a_clock_of_twelve_hours_only(hour):
    expected = native_oracle(hour) if hour <= 12 else sino_oracle(hour)
    assert reading.spell_out(f"{hour}시") == expected + "시"
    assert reading.spell_out(f"{hour} 시에") == f"{expected} 시에"
    assert reading.spell_out(f"{hour}시 {hour}분") == f"{expected}시 {sino_oracle(hour)}분"
    assert reading.spell_out(f"{hour}:30") == f"{expected}시 삼십분"


@pytest.mark.parametrize("first", range(1, 40))
def test_both_numbers_of_a_range_are_in_one_system(first):
    second = first + 2
    for mark in ("~", "-", "∼", " ~ "):
        people = f"{native_oracle(first)}에서 {native_oracle(second)}명"
        assert reading.spell_out(f"{first}{mark}{second}명") == people
        floors = f"{sino_oracle(first)}에서 {sino_oracle(second)}층"
        assert reading.spell_out(f"{first}{mark}{second}층") == floors
    numeral = native_oracle if second <= 12 else sino_oracle
    if second <= 24:
        hours = f"{numeral(first)}에서 {numeral(second)}시"
        assert reading.spell_out(f"{first}~{second}시") == hours


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
