"""Digits, units and Latin letters as Korean says them: 3시 → 세시, 3분 → 삼분, 5km → 오킬로미터."""

import re
from collections.abc import Callable, Iterable

from espnet_ext.text.korean_loans import hangul_of

_DIGITS = "영일이삼사오육칠팔구"
_TENS = ("", "십", "백", "천")
_MYRIADS = ("", "만", "억", "조", "경")
_NATIVE_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")

# Counters of native numerals; every other counter takes Sino-Korean ones. The longest that matches
# counts, so that 시간 is not 시. 번 counts times only where more than a number is said (3번만):
# otherwise it numbers things (3번), which is what writers use digits for.
_NATIVE = """
    가지 가구 가닥 가마 갈래 개 개비 건 걸음 곡 곳 군데 권 그루 그릇 근 꼭지 끼 다발 달 대 덩이 돌
    두름 마디 마리 마지기 매 명 모 모금 무리 묶음 바구니 바퀴 발 발짝 방울 배 벌 번째 병 봉지
    분(?=께|이서) 사람 살 상자 송이 숟가락 술 시 시간 쌍 아름 알 올 자루 잔 장 접시 점 조각 주먹
    줄 줌 짝 차례 채 척 첩 켤레 코 타 토막 톨 통 판 편 포기 표 푼 필 해(?=째|를)
    번(?=만|이나|씩|이상|밖|더|\\s더|\\s정도|\\s만|\\s이상)
"""
# Longer words that begin like one of them
_SINO = "개월 개년 개국 명령 번지 시리즈 장조 점대 배수 판사 편제"


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_NATIVE_UNIT = re.compile(f" ?(?!{_any(_SINO.split())})(?:{_any(_NATIVE.split())})")
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
_SCALES = {"km/h": "시속 ", "℃": "섭씨 ", "°C": "섭씨 ", "℉": "화씨 ", "°F": "화씨 "}
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
# Small letters that are spelled although they have a vowel
_SPELLED_ROW = "ai api atm ceo cpu eu gpu id io ip os ott pc ui uk url usa usb ux"
_SPELLED = frozenset(_SPELLED_ROW.split())
# Words of English sentences, said in full, and titles; in capitals (AS, MS) they are letters
_ENGLISH_ROW = """
    and=앤드 of=오브 for=포 to=투 from=프롬 or=오어 an=언 are=아 as=애즈 at=앳 can=캔 my=마이
    mr=미스터 mrs=미시즈 ms=미즈 dr=닥터 vs=대
"""
_ENGLISH = dict(pair.split("=") for pair in _ENGLISH_ROW.split())
# Before these a nought in front is not said: 05분
_CLOCK_UNIT = re.compile(" ?(?:시(?!리|장|민|스|험|도|대)|분(?!의)|초|월|일(?!본))")
_SYMBOLS = {"&": "앤드", "+": "더하기", "=": "이퀄", "@": "골뱅이", "×": "곱하기", "÷": "나누기"}
_NUMBER = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"


def sino(number: int) -> str:
    """A number in Sino-Korean numerals.

    >>> sino(2024), sino(10000), sino(305), sino(0)
    ('이천이십사', '만', '삼백오', '영')
    """
    if number == 0:
        return _DIGITS[0]
    said = ""
    for power, group in enumerate(_groups(number)):
        words = "".join(
            ("" if digit == "1" and place else _DIGITS[int(digit)]) + _TENS[place]
            for place, digit in zip((3, 2, 1, 0), f"{group:04d}", strict=True)
            if digit != "0"
        )
        if power == 1 and number < 20000:
            words = ""  # 만, not 일만
        said = (words + _MYRIADS[power] if group else "") + said
    return said


def _groups(number: int) -> list[int]:
    """Groups of four digits, the last first."""
    groups = []
    while number:
        number, group = divmod(number, 10000)
        groups.append(group)
    return groups


def native(number: int) -> str:
    """A number from 1 to 99 in native numerals, as before a counter.

    >>> native(3), native(20), native(25)
    ('세', '스무', '스물다섯')
    """
    if not 0 < number < 100:
        raise ValueError(f"no native numeral: {number}")
    tens, ones = divmod(number, 10)
    return "스무" if number == 20 else _NATIVE_TENS[tens] + _NATIVE_ONES[ones]


def digits(text: str) -> str:
    """Digits one by one; nought is 공, as in telephone numbers.

    >>> digits("010")
    '공일공'
    """
    return "".join("공" if one == "0" else _DIGITS[int(one)] for one in text)


def spell_out(text: str) -> str:
    """Return `text` with digits, units and Latin letters in Hangul; everything else stays.

    >>> spell_out("3시 30분에 5명, 2.5km, TV")
    '세시 삼십분에 다섯명, 이쩜오킬로미터, 티브이'
    """
    if _NOTHING.search(text) is None:
        return text
    for pattern, reading in _READINGS:
        text = pattern.sub(reading, text)
    return text


def _amount(whole: str, fraction: str | None, after: str) -> str:
    """A number before `after`, which decides whether it is native, Sino-Korean or digits."""
    plain = whole.replace(",", "")
    if fraction:
        return sino(int(plain)) + "쩜" + "".join(_DIGITS[int(digit)] for digit in fraction[1:])
    number = int(plain)
    if len(plain) == 2 and plain.startswith("0") and _CLOCK_UNIT.match(after):
        plain = str(number)
    if (len(plain) > 1 and plain.startswith("0")) or number >= 10000 ** len(_MYRIADS):
        return digits(plain)
    decade = number % 10 == 0 and after.startswith("대")  # 20대: an age
    if 0 < number < 100 and not decade and _NATIVE_UNIT.match(after):
        return native(number)
    return sino(number)


def _measured(found: re.Match) -> str:
    scale = _SCALES.get(found[4], "")
    return scale + _minus(found[1]) + _amount(found[2], found[3], "") + _UNITS[found[4]]


def _bare(found: re.Match) -> str:
    after = found.string[found.end() :]
    return _minus(found[1]) + _amount(found[2], found[3], after)


def _minus(sign: str) -> str:
    return "마이너스 " if sign else ""


def _latin(found: re.Match) -> str:
    """Capitals, lone letters and words without a vowel are spelled, others are read as English."""
    word = found[0]
    if word == "a" and re.match(" [A-Za-z]", found.string[found.end() :]):
        return "어"
    if not word.isupper() and word.lower() in _ENGLISH:
        return _ENGLISH[word.lower()]
    vowel = re.search("[aeiouy]", word.lower())
    if word.isupper() or len(word) == 1 or not vowel or word in _SPELLED:
        return "".join(LETTERS[letter.upper()] for letter in word)
    return hangul_of(word)


def _singly(found: re.Match) -> str:
    return " ".join(digits(group) for group in found.groups())


def _memorial(found: re.Match) -> str:
    """6·25, 3·1: month and day, digit by digit."""
    return "".join(_DIGITS[int(one)] for one in found[0] if one.isdigit())


def _clock(found: re.Match) -> str:
    hour, minute = int(found[1]), int(found[2])
    if hour > 24 or minute > 59:
        return f"{sino(hour)} 대 {sino(minute)}"
    said = (native(hour) if 0 < hour <= 12 else sino(hour)) + "시"
    return said + (f" {sino(minute)}분" if minute else "")


def _ratio(found: re.Match) -> str:
    return f"{sino(int(found[1]))} 대 {sino(int(found[2]))}"


def _emergency(found: re.Match) -> str:
    return digits(found[0])


def _date(found: re.Match) -> str:
    year, month, day = map(int, found.groups())
    return f"{sino(year)}년 {month}월 {sino(day)}일"


_NOTHING = re.compile("[0-9A-Za-z&+=@×÷]")
_LATIN = r"(?![A-Za-z])"
_READINGS: tuple[tuple[re.Pattern, str | Callable[[re.Match], str]], ...] = tuple(
    (re.compile(pattern), reading)
    for pattern, reading in (
        (r"(?<!\d)(0\d{1,2})[-‐–. ]?(\d{3,4})[-‐–. ](\d{4})(?!\d)", _singly),  # telephone
        (r"(?<!\d)(\d{3,4})-(\d{4})(?!\d)", _singly),
        (r"(?<!\d)(\d{1,2})[·ㆍ](\d{1,2})(?!\d)", _memorial),
        (r"(?<![\d.])(?:4\.19|5\.18|6\.25|8\.15)(?![\d.%]| ?[a-zA-Z㎞㎝㎏])", _memorial),
        (r"(?<!\d)(\d{1,2}):(\d{2})(?!\d)", _clock),
        (r"(?<![\d:])(\d{1,3}):(\d{1,3})(?![\d:])", _ratio),
        (r"(?<!\d)(\d{4})[./-](\d{1,2})[./-](\d{1,2})(?!\d)\.?", _date),
        (r"(?<!\d)(\d+)/(\d+)(?!\d)", lambda m: f"{sino(int(m[2]))}분의 {sino(int(m[1]))}"),
        (
            rf"([$＄₩￦€£¥]) ?({_NUMBER})(\.\d+)?",
            lambda m: _amount(m[2], m[3], "") + _MONEY[m[1]],
        ),
        (r"(?<!\d)(?:0?6|10)월", lambda m: "시월" if m[0] == "10월" else "유월"),
        (  # to call: 119에, 112로; not 112에서 115까지
            r"(?<![\w.,:/~∼〜–-])(?:11[2349]|1339)"
            r"(?=에(?!서)|로|번(?!째|지|길)| ?신고|[^\w%.,]*$|\.\s*$)",
            _emergency,
        ),
        (r"(?<=\d)\s?[~∼〜-]\s?(?=\d)", "에서 "),
        (
            rf"((?<![\w.])-|)({_NUMBER})(\.\d+)? ?({_any(map(re.escape, _UNITS))}){_LATIN}",
            _measured,
        ),
        (
            rf"(?i)(?<![A-Za-z])(?:{_any(_NAMES)})(?![A-Za-z\d])",
            lambda m: _NAMES[m[0].lower()],
        ),
        (rf"((?<![\w.])-|)({_NUMBER})(\.\d+)?", _bare),
        (r"[A-Za-z]+", _latin),
        (r" ?[&+=@×÷] ?", lambda m: f" {_SYMBOLS[m[0].strip()]} "),
    )
)
