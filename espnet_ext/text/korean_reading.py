"""Digits, units and Latin letters as Korean words (text normalisation for Korean G2P).

Korean has two numeral systems, chosen by the counted unit: native numerals (3시 세시 se-si, "three
o'clock") and Sino-Korean ones (3분 삼분 sam-bun, "three minutes"; 5km 오킬로미터 o-kil-lo-mi-teo).
"""

import re
from collections.abc import Callable, Iterable

from espnet_ext.text.korean_loans import english_to_hangul

_DIGITS = "영일이삼사오육칠팔구"
_TENS = ("", "십", "백", "천")
_MYRIADS = ("", "만", "억", "조", "경")
_NATIVE_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")

# Counters (measure words) that take native numerals. All other counters take Sino-Korean ones. The
# longest match is used, so that 시간 ("hours") is not read as 시 ("o'clock"). 번 beon takes a
# native numeral only where it means "times" (3번만, "only three times"). Otherwise it means
# "number" (3번).
_NATIVE = """
    가지 가구 가닥 가마 갈래 개 개비 건 걸음 곡 곳 군데 권 그루 그릇 근 꼭지 끼 다발 달 대 덩이 돌
    두름 마디 마리 마지기 매 명 모 모금 무리 묶음 바구니 바퀴 발 발짝 방울 배 벌 번째 병 봉지
    분(?=께|이서) 사람 살 상자 송이 숟가락 술 시 시간 쌍 아름 알 올 자루 잔 장 접시 점 조각 주먹
    줄 줌 짝 차례 채 척 첩 켤레 코 타 토막 톨 통 판 편 포기 표 푼 필 해(?=째|를)
    번(?=만|이나|씩|이상|밖|더|\\s더|\\s정도|\\s만|\\s이상)
"""
# Words that begin like one of these but take Sino-Korean numerals
_SINO = "개월 개년 개국 명령 번지 시리즈 장조 점대 배수 판사 편제"


def _alternatives(words: Iterable[str]) -> str:
    """Return a regular expression that matches any of the words, the longest first."""
    return "|".join(sorted(words, key=len, reverse=True))


_NATIVE_UNIT = re.compile(
    f" ?(?!{_alternatives(_SINO.split())})(?:{_alternatives(_NATIVE.split())})"
)
_UNIT_ROWS = """
    %=퍼센트 ％=퍼센트 ℃=도 °C=도 ℉=도 °F=도 °=도 km/h=킬로미터 km²=제곱킬로미터 km=킬로미터
    ㎞=킬로미터 cm=센티미터 ㎝=센티미터 mm=밀리미터 ㎜=밀리미터 m²=제곱미터 ㎡=제곱미터 m=미터
    kg=킬로그램 ㎏=킬로그램 mg=밀리그램 ㎎=밀리그램 g=그램 t=톤 ml=밀리리터 mL=밀리리터 ㎖=밀리리터
    kl=킬로리터 l=리터 L=리터 ℓ=리터 ha=헥타르 cal=칼로리 kcal=킬로칼로리 Hz=헤르츠 kHz=킬로헤르츠
    MHz=메가헤르츠 GHz=기가헤르츠 KB=킬로바이트 MB=메가바이트 GB=기가바이트 TB=테라바이트
    kW=킬로와트 W=와트 V=볼트 dB=데시벨 p=페이지 $=달러 ₩=원 €=유로
    £=파운드 ¥=엔
"""
_UNITS = dict(pair.split("=") for pair in _UNIT_ROWS.split())
_UNIT_PREFIXES = {"km/h": "시속 ", "℃": "섭씨 ", "°C": "섭씨 ", "℉": "화씨 ", "°F": "화씨 "}
_MONEY = {
    **{"$": "달러", "＄": "달러", "₩": "원", "￦": "원", "€": "유로", "£": "파운드", "¥": "엔"},
}
_LETTER_ROW = (
    "에이 비 시 디 이 에프 지 에이치 아이 제이 케이 엘 엠 엔 오 피 큐 아르 에스 티 유 브이 "
    "더블유 엑스 와이 제트"
)
LETTERS = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _LETTER_ROW.split(), strict=True))
_NAME_ROWS = """
    mp3=엠피스리 wifi=와이파이 wi-fi=와이파이 nato=나토 nasa=나사 unesco=유네스코 unicef=유니세프
    a4=에이포 toeic=토익 toefl=토플 opec=오펙 ok=오케이 aids=에이즈
    k-pop=케이팝 kpop=케이팝 samsung=삼성 hyundai=현대 kia=기아 naver=네이버 kakao=카카오 seoul=서울
    busan=부산 korea=코리아 kimchi=김치 covid=코비드 covid-19=코비드일구 coffee=커피
"""
_NAMES = dict(pair.split("=") for pair in _NAME_ROWS.split())
# Lower-case abbreviations that are spelled letter by letter although they contain a vowel
_SPELLED_ROW = "ai api atm ceo cpu eu gpu id io ip os ott pc ui uk url usa usb ux"
_SPELLED = frozenset(_SPELLED_ROW.split())
# Function words of English sentences, and titles. In capitals (AS, MS) they are abbreviations.
_ENGLISH_ROW = """
    and=앤드 of=오브 for=포 to=투 from=프롬 or=오어 an=언 are=아 as=애즈 at=앳 can=캔 my=마이
    mr=미스터 mrs=미시즈 ms=미즈 dr=닥터 vs=대
"""
_ENGLISH = dict(pair.split("=") for pair in _ENGLISH_ROW.split())
# Units before which a leading zero is not read: 05분 오분 o-bun, "five minutes"
_CLOCK_UNIT = re.compile(" ?(?:시(?!리|장|민|스|험|도|대)|분(?!의)|초|월|일(?!본))")
_SYMBOLS = {"&": "앤드", "+": "더하기", "=": "이퀄", "@": "골뱅이", "×": "곱하기", "÷": "나누기"}
_NUMBER = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"


def sino_korean(number: int) -> str:
    """Return a number in Sino-Korean numerals.

    >>> sino_korean(2024), sino_korean(10000), sino_korean(305), sino_korean(0)
    ('이천이십사', '만', '삼백오', '영')
    """
    if number == 0:
        return _DIGITS[0]
    numeral = ""
    for power, group in enumerate(_groups_of_four(number)):
        words = "".join(
            ("" if digit == "1" and exponent else _DIGITS[int(digit)]) + _TENS[exponent]
            for exponent, digit in zip((3, 2, 1, 0), f"{group:04d}", strict=True)
            if digit != "0"
        )
        if power == 1 and number < 20000:
            words = ""  # 10,000 is 만 man, not 일만 il-man
        numeral = (words + _MYRIADS[power] if group else "") + numeral
    return numeral


def _groups_of_four(number: int) -> list[int]:
    """Return the groups of four digits of a number, the least significant group first."""
    groups = []
    while number:
        number, group = divmod(number, 10000)
        groups.append(group)
    return groups


def native(number: int) -> str:
    """Return a number from 1 to 99 in native numerals, in their form before a counter.

    Raises:
        ValueError: the number is out of range.

    >>> native(3), native(20), native(25)
    ('세', '스무', '스물다섯')
    """
    if not 0 < number < 100:
        raise ValueError(f"no native numeral: {number}")
    tens, ones = divmod(number, 10)
    return "스무" if number == 20 else _NATIVE_TENS[tens] + _NATIVE_ONES[ones]


def digits(text: str) -> str:
    """Read digits one by one. Zero is 공 gong, as in telephone numbers.

    >>> digits("010")
    '공일공'
    """
    return "".join("공" if digit == "0" else _DIGITS[int(digit)] for digit in text)


def spell_out(text: str) -> str:
    """Return `text` with digits, units and Latin letters in Hangul. Everything else stays.

    >>> spell_out("3시 30분에 5명, 2.5km, TV")
    '세시 삼십분에 다섯명, 이쩜오킬로미터, 티브이'
    """
    if _NEEDS_READING.search(text) is None:
        return text
    for pattern, reading in _READINGS:
        text = pattern.sub(reading, text)
    return text


def _read_number(whole: str, fraction: str | None, after: str) -> str:
    """Read a number as a native numeral, a Sino-Korean numeral or digits.

    Args:
        fraction: the decimal point and the digits after it, if any.
        after: the text after the number, which determines the numeral system.
    """
    plain = whole.replace(",", "")
    if fraction:
        return (
            sino_korean(int(plain)) + "쩜" + "".join(_DIGITS[int(digit)] for digit in fraction[1:])
        )
    number = int(plain)
    if len(plain) == 2 and plain.startswith("0") and _CLOCK_UNIT.match(after):
        plain = str(number)
    if (len(plain) > 1 and plain.startswith("0")) or number >= 10000 ** len(_MYRIADS):
        return digits(plain)
    is_decade = number % 10 == 0 and after.startswith("대")  # 20대, "one's twenties"
    if 0 < number < 100 and not is_decade and _NATIVE_UNIT.match(after):
        return native(number)
    return sino_korean(number)


def _read_quantity(match: re.Match) -> str:
    prefix = _UNIT_PREFIXES.get(match[4], "")
    return prefix + _minus(match[1]) + _read_number(match[2], match[3], "") + _UNITS[match[4]]


def _read_plain_number(match: re.Match) -> str:
    after = match.string[match.end() :]
    return _minus(match[1]) + _read_number(match[2], match[3], after)


def _minus(sign: str) -> str:
    return "마이너스 " if sign else ""


def _read_latin(match: re.Match) -> str:
    """Read a Latin word: capitals, lone letters and words without a vowel letter by letter."""
    word = match[0]
    if word == "a" and re.match(" [A-Za-z]", match.string[match.end() :]):  # the article
        return "어"
    if not word.isupper() and word.lower() in _ENGLISH:
        return _ENGLISH[word.lower()]
    has_vowel = re.search("[aeiouy]", word.lower())
    if word.isupper() or len(word) == 1 or not has_vowel or word in _SPELLED:
        return "".join(LETTERS[letter.upper()] for letter in word)
    return english_to_hangul(word)


def _read_digit_groups(match: re.Match) -> str:
    return " ".join(digits(group) for group in match.groups())


def _read_memorial_day(match: re.Match) -> str:
    """Read the name of an event by its date (6·25, 3·1): month and day, digit by digit."""
    return "".join(_DIGITS[int(char)] for char in match[0] if char.isdigit())


def _read_clock(match: re.Match) -> str:
    """Read 3:30 as a time, or as a ratio if it is not a valid time."""
    hour, minute = int(match[1]), int(match[2])
    if hour > 24 or minute > 59:
        return _read_ratio(match)
    reading = (native(hour) if 0 < hour <= 12 else sino_korean(hour)) + "시"
    return reading + (f" {sino_korean(minute)}분" if minute else "")


def _read_ratio(match: re.Match) -> str:
    return f"{sino_korean(int(match[1]))} 대 {sino_korean(int(match[2]))}"


def _read_fraction(match: re.Match) -> str:
    return f"{sino_korean(int(match[2]))}분의 {sino_korean(int(match[1]))}"


def _read_date(match: re.Match) -> str:
    year, month, day = map(int, match.groups())
    return f"{sino_korean(year)}년 {month}월 {sino_korean(day)}일"


_NEEDS_READING = re.compile("[0-9A-Za-z&+=@×÷]")
_ANY_UNIT = _alternatives(map(re.escape, _UNITS))
_NOT_LATIN = r"(?![A-Za-z])"
# Applied in this order, each to the result of the ones before it
_READINGS: tuple[tuple[re.Pattern, str | Callable[[re.Match], str]], ...] = tuple(
    (re.compile(pattern), reading)
    for pattern, reading in (
        (
            r"(?<!\d)(0\d{1,2})[-‐–. ]?(\d{3,4})[-‐–. ](\d{4})(?!\d)",
            _read_digit_groups,
        ),  # telephone
        (r"(?<!\d)(\d{3,4})-(\d{4})(?!\d)", _read_digit_groups),
        (r"(?<!\d)(\d{1,2})[·ㆍ](\d{1,2})(?!\d)", _read_memorial_day),
        (r"(?<![\d.])(?:4\.19|5\.18|6\.25|8\.15)(?![\d.%]| ?[a-zA-Z㎞㎝㎏])", _read_memorial_day),
        (r"(?<!\d)(\d{1,2}):(\d{2})(?!\d)", _read_clock),
        (r"(?<![\d:])(\d{1,3}):(\d{1,3})(?![\d:])", _read_ratio),
        (r"(?<!\d)(\d{4})[./-](\d{1,2})[./-](\d{1,2})(?!\d)\.?", _read_date),
        (r"(?<!\d)(\d+)/(\d+)(?!\d)", _read_fraction),
        (
            rf"([$＄₩￦€£¥]) ?({_NUMBER})(\.\d+)?",
            lambda m: _read_number(m[2], m[3], "") + _MONEY[m[1]],
        ),
        (r"(?<!\d)(?:0?6|10)월", lambda m: "시월" if m[0] == "10월" else "유월"),
        (  # emergency calls (119에, 112로), not ranges (112에서 115까지)
            r"(?<![\w.,:/~∼〜–-])(?:11[2349]|1339)"
            r"(?=에(?!서)|로|번(?!째|지|길)| ?신고|[^\w%.,]*$|\.\s*$)",
            lambda m: digits(m[0]),
        ),
        (r"(?<=\d)\s?[~∼〜-]\s?(?=\d)", "에서 "),
        (
            rf"((?<![\w.])-|)({_NUMBER})(\.\d+)? ?({_ANY_UNIT}){_NOT_LATIN}",
            _read_quantity,
        ),
        (
            rf"(?i)(?<![A-Za-z])(?:{_alternatives(_NAMES)})(?![A-Za-z\d])",
            lambda m: _NAMES[m[0].lower()],
        ),
        (rf"((?<![\w.])-|)({_NUMBER})(\.\d+)?", _read_plain_number),
        (r"[A-Za-z]+", _read_latin),
        (r" ?[&+=@×÷] ?", lambda m: f" {_SYMBOLS[m[0].strip()]} "),
    )
)
