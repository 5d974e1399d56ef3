"""Digits, units and Latin letters as Korean words (text normalisation for Korean G2P).

Korean has two numeral systems, chosen by the counted unit: native numerals (3시 세시 se-si, "three
o'clock") and Sino-Korean ones (3분 삼분 sam-bun, "three minutes"; 5km 오킬로미터 o-kil-lo-mi-teo).
"""

import re
from collections.abc import Callable, Iterable

from espnet_ext.text.korean_loans import english_to_hangul
from espnet_ext.text.korean_numerals import DIGITS, MYRIADS, digits, native, sino_korean
from espnet_ext.text.number_forms import (
    days_of_range,
    join_groups,
    read_equations,
    write_out_symbols,
)

# Counters (measure words) that take native numerals. All other counters take Sino-Korean ones. The
# longest match is used, so that 시간 ("hours") is not read as 시 ("o'clock"). 번 beon takes a
# native numeral only where it means "times" (3번만, "only three times"). Otherwise it means
# "number" (3번). `_takes_native` has further conditions on 점, 대, 분 and 번.
_NATIVE = """
    가닥 가락 가마 가족 가지 가구 갈래 갑 개 개비 건 걸음 겹 경기 곡 곳 과목 군데 권 그룹 그루 그릇
    근 꼬치 꼭지 끼 나라 냥 다발 단어 달 대 덩이 돌 두름 마디 마리 마지기 매 명 모 모금 무리 묶음
    문장 문제 바구니 바퀴 박스 발 발짝 방울 배 벌 번째 병 봉 봉지 분 뿌리 사람 사발 살 상자 세트
    송이 숟가락 술 스푼 시 시간 식구 쌍 아름 알 올 자루 자매 잔 장 접시 점 조각 종류 주먹 줄 줄기 줌
    짝 차례 채 척 첩 칸 캔 컵 켤레 코 타 토막 톨 통 팀 팩 판 편 평 포기 표 푼 필 해(?=째|를)
    번(?=만|이나|씩|이상|밖|더|\\s더|\\s정도|\\s만|\\s이상|\\s연속|\\s반복|\\s(?:했|갔|왔|봤|먹|읽|말했|만났))
"""
# The largest numbers for which a counter takes a native numeral, if it is not 99: hours of the day
# are native on a clock of 12 hours only (13시 십삼시 sip-sam-si); larger measures are Sino-Korean.
_NATIVE_UP_TO = {"시": 12, "시간": 23, "배": 19, "평": 10}
# Words that begin like one of these but take Sino-Korean numerals
_SINO = """
    가구당 개월 개년 개국 개교 개사 개소 개주 개항 건물 곡선 권역 근무 달러 달란트 대대 대륙 대손
    대양 대주 대째 대회 매체 명령 모델 모둠 모드 발전 배수 배율 번지 벌금 병동 병상 병원 분기 분단
    분야 살균 상자성 세트장 시그마 시도 시리즈 시민 시장 시즌 시험 알파 올림픽 올해 자매교 장관 장애
    장조 점대 점프 채널 척추 코너 코드 코스 타석 타수 타순 타자 타점 통신 통화 판사 판정 팀장
    편성 편제 평균 평면 평방 평점 표준 해리
"""
# Before 점 ("piece"); otherwise it is a score, and Sino-Korean (90점 구십점 gu-sip-jeom)
_PIECES = re.compile(
    "(?:그림|작품|유물|유화|판화|회화|사진|도자기|의류|옷|가구|고기|문화재|조각|공예품|보물|소품)"
    r"[은는이가을를도]?\s?$"
)
# Before 대 ("machine"); without such a word, tens with 대 are decades (20대, "one's twenties")
_MACHINES = re.compile(
    "(?:차|자동차|승용차|버스|택시|트럭|기차|비행기|헬기|전투기|탱크|자전거|오토바이|컴퓨터|노트북|TV"
    "|텔레비전|카메라|전화기|휴대폰|피아노|기계|에어컨|냉장고|세탁기|로봇|드론|프린터|서버|차량)"
    r"[은는이가을를도]?\s?$"
)
# After N대, "the N great ..." or "the Nth ...": Sino-Korean (4대 보험 사대 보험 sa-dae bo-heom)
_NUMBERED = re.compile(
    " ?대 ?(?:보험|강|천왕|영양소|성인|문명|종교|광역시|도시|명절|국경일|독자|거짓말|불가사의"
    "|미스터리|대통령|국회|총리|국왕|교황|회장|총장|원장|사장|이사장|총재|의원|뉴스|사건|영화제|메이저|리그"
    "|재벌|기업|그룹|은행|요소|원칙|과제|의무|권리|전략|공약|지표|산업|질병|암|중독|핵심|주요|기본|중증|중점)"
    "| ?대(?:가|째) ?(?:함께|모여|모두|같이|살|걸쳐)| ?대에 걸"
)
_RANKED = re.compile(r"(?:세계|국내|한국|미국|아시아|전국|우리나라|인류)\s?$")  # 세계 3대 요리 삼대
_PERSONS = re.compile(r"(?:손님|고객|어른|어르신|[가-힣]님)[은는이가]?\s?$")  # before 분, "person"
_MINUTES = re.compile(
    " ?분 ?(?:간|전|후|뒤|동안|만에|이내|정도|쯤|씩|거리|째|짜리|늦|일찍|걸|기다)"
)
_HOW_OFTEN = re.compile(
    r"(?:하루|이틀|사흘|[일이]주일|[한두] ?[달번주]|매[일주월년]|평생)에?\s?$"
    r"|\d+(?:일|주|년|개월|시간)에\s?$|(?:총|모두|벌써|최소|적어도|연달아|연속)\s$"
)
_ORDINAL_PREFIX = re.compile("(?:^|[^가-힣])제$")  # 제3장 je-sam-jang, "chapter three"


def _alternatives(words: Iterable[str]) -> str:
    """Return a regular expression that matches any of the words, the longest first."""
    return "|".join(sorted(words, key=len, reverse=True))


_NATIVE_UNIT = re.compile(f" ?(?!{_alternatives(_SINO.split())})({_alternatives(_NATIVE.split())})")
_COUNTED_TIMES = re.compile(r" ?번(?!째|지|길|호|방|역|버스|선|출구|문제|타자)")
_UNIT_ROWS = """
    %p=퍼센트포인트
    %=퍼센트 ％=퍼센트 ℃=도 °C=도 ℉=도 °F=도 °=도 km/h=킬로미터 km²=제곱킬로미터 km³=세제곱킬로미터
    cm²=제곱센티미터 cm³=세제곱센티미터 mm²=제곱밀리미터 mm³=세제곱밀리미터 m³=세제곱미터
    km=킬로미터 ㎞=킬로미터 cm=센티미터 ㎝=센티미터 mm=밀리미터 ㎜=밀리미터 m²=제곱미터
    ㎡=제곱미터 m=미터 kg=킬로그램 ㎏=킬로그램 mg=밀리그램 ㎎=밀리그램 g=그램 t=톤
    ml=밀리리터 mL=밀리리터 ㎖=밀리리터 kl=킬로리터 l=리터 L=리터 ℓ=리터 ha=헥타르 cal=칼로리
    kcal=킬로칼로리 Hz=헤르츠 kHz=킬로헤르츠
    MHz=메가헤르츠 GHz=기가헤르츠 KB=킬로바이트 MB=메가바이트 GB=기가바이트 TB=테라바이트
    kW=킬로와트 W=와트 V=볼트 dB=데시벨 p=페이지 $=달러 ₩=원 €=유로
    £=파운드 ¥=엔 ¢=센트
"""
_UNITS = dict(pair.split("=") for pair in _UNIT_ROWS.split())
_UNIT_PREFIXES = {"km/h": "시속 ", "℃": "섭씨 ", "°C": "섭씨 ", "℉": "화씨 ", "°F": "화씨 "}
_MONEY = {
    **{"$": "달러", "＄": "달러", "₩": "원", "￦": "원", "€": "유로", "£": "파운드", "¥": "엔"},
    "¢": "센트",
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
_OPERATORS = {"-": " 빼기 ", "+": " 더하기 ", "×": " 곱하기 ", "÷": " 나누기 "}  # in equations
_DASH = "[~∼〜–—-]"  # of a range
_TIME_OF_DAY = "(?:오전|오후|새벽|아침|낮|저녁|밤)"
_NUMBER = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"


def spell_out(text: str) -> str:
    """Return `text` with digits, units and Latin letters in Hangul. Everything else stays.

    >>> spell_out("3시 30분에 5명, 2.5km, TV")
    '세시 삼십분에 다섯명, 이쩜오킬로미터, 티브이'
    """
    if _NEEDS_READING.search(text) is None:
        return text
    text = read_equations(join_groups(write_out_symbols(text)), _OPERATORS, _equals)
    for pattern, reading in _READINGS:
        text = pattern.sub(reading, text)
    return text


def _equals(left: str) -> str:
    """Return the topic particle that reads "=" after a number or letter: 5-3=2 o ppae-gi sam-eun i.

    Args:
        left: the text before "=".
    """
    operand = left.rstrip(")")
    if operand[-1].isalpha():
        reading = LETTERS[operand[-1].upper()]
    elif (fraction := re.search(r"(\d+)/(\d+)$", operand)) and int(fraction[1]) < int(fraction[2]):
        reading = sino_korean(int(fraction[1]))  # 1/2: the numerator is read last
    else:
        number = re.search(rf"({_NUMBER})(\.\d+)?$", operand)
        assert number is not None  # a number or a letter is on the left
        reading = _read_number(number[1], number[2], "")
    has_final_consonant = (ord(reading[-1]) - ord("가")) % 28 != 0
    return "은 " if has_final_consonant else "는 "


def _read_number(whole: str, fraction: str | None, after: str, before: str = "") -> str:
    """Read a number as a native numeral, a Sino-Korean numeral or digits.

    Args:
        fraction: the decimal point and the digits after it, if any.
        after, before: the text around the number, which determines the numeral system.
    """
    plain = whole.replace(",", "")
    if fraction:
        return (
            sino_korean(int(plain)) + "쩜" + "".join(DIGITS[int(digit)] for digit in fraction[1:])
        )
    number = int(plain)
    if len(plain) == 2 and plain.startswith("0") and _CLOCK_UNIT.match(after):
        plain = str(number)
    if (len(plain) > 1 and plain.startswith("0")) or number >= 10000 ** len(MYRIADS):
        return digits(plain)
    if _takes_native(number, before, after):
        return "첫" if number == 1 and after.lstrip().startswith("번째") else native(number)
    return sino_korean(number)


def _takes_native(number: int, before: str, after: str) -> bool:
    """Return whether a number is read as a native numeral, by what is counted."""
    if not 0 < number < 100 or _ORDINAL_PREFIX.search(before):
        return False
    match = _NATIVE_UNIT.match(after)
    if match is None:
        return bool(_COUNTED_TIMES.match(after) and _HOW_OFTEN.search(before))
    counter = match[1]
    if counter == "점":
        return bool(_PIECES.search(before))
    if counter == "분":
        honorific = re.match(" ?분(?:께|이서)", after)
        return bool(honorific or (_PERSONS.search(before) and not _MINUTES.match(after)))
    if counter == "대":
        if _MACHINES.search(before):
            return True
        if _NUMBERED.match(after):
            return False
        is_decade = number % 10 == 0 and after.startswith("대")
        return not (is_decade or _RANKED.search(before) or re.match(r" ?대 ?\d", after))
    return number <= _NATIVE_UP_TO.get(counter, 99)


def _read_quantity(match: re.Match) -> str:
    prefix = _UNIT_PREFIXES.get(match[4], "")
    return prefix + _minus(match[1]) + _read_number(match[2], match[3], "") + _UNITS[match[4]]


def _read_plain_number(match: re.Match) -> str:
    before, after = match.string[: match.start()], match.string[match.end() :]
    return _minus(match[1]) + _read_number(match[2], match[3], after, before)


def _read_range(match: re.Match) -> str:
    """Read a range or list of two numbers before a counter in the same numeral system.

    2~3명 du-e-seo se-myeong; with one number above the native numerals of the counter, both are
    Sino-Korean (10~15시 sip-e-seo sip-o-si).
    """
    first, separator, second = match.groups()
    before, after = match.string[: match.start()], match.string[match.end() :]
    joined = separator if separator.startswith(",") else "에서 "
    numbers = int(first), int(second)
    natives = [_takes_native(number, before, after) for number in numbers]
    if _ORDINAL_PREFIX.search(before):
        return joined.join(map(sino_korean, numbers))
    if not any(natives) or (len(first) > 1 and first.startswith("0")):
        return f"{first}{joined}{second}"  # the rules that follow read the numbers
    return joined.join(map(native if all(natives) else sino_korean, numbers))


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


def _read_all_digits(match: re.Match) -> str:
    """Read the digits of every group of a number with separators, one by one."""
    return " ".join(digits(group) for group in re.findall(r"\d+", match[0]))


def _read_international(match: re.Match) -> str:
    return "플러스 " + _read_all_digits(match)


def _read_version(match: re.Match) -> str:
    """Read numbers between several points (versions, addresses): 3.10.2 sam-jjeom-sip-jjeom-i."""
    return "쩜".join(sino_korean(int(part)) for part in match[0].split("."))


def _read_memorial_day(match: re.Match) -> str:
    """Read the name of an event by its date: the month, and the day digit by digit.

    6·25 yuk-i-o, 10·26 sip-i-ryuk. Days of whole tens, and 12·12, are read as numbers.
    """
    month, day = re.findall(r"\d+", match[0])
    whole = int(day) % 10 == 0 or month == day
    return sino_korean(int(month)) + (
        sino_korean(int(day)) if whole else "".join(DIGITS[int(digit)] for digit in day)
    )


def _read_clock(match: re.Match) -> str:
    """Read 3:30 or 3:30:15 as a time, or as a ratio if it is not a valid time."""
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    if hour > 24 or minute > 59 or second > 59:
        return match[0] if match[3] else _read_ratio(match)
    reading = (native(hour) if 0 < hour <= 12 else sino_korean(hour)) + "시"
    reading += f" {sino_korean(minute)}분" if minute else ""
    return reading + (f" {sino_korean(second)}초" if second else "")


def _read_ratio(match: re.Match) -> str:
    return f"{sino_korean(int(match[1]))} 대 {sino_korean(int(match[2]))}"


def _read_fraction(match: re.Match) -> str:
    """Read 1/2 and 1 1/2. A quotient above 1 is a date (10/3)."""
    whole, numerator, denominator = match[1], int(match[2]), int(match[3])
    is_date = 1 <= numerator <= 12 and 1 <= denominator <= 31
    if whole is None and is_date and (denominator == 1 or numerator > denominator):
        return f"{numerator}월 {sino_korean(denominator)}일"
    words = f"{sino_korean(denominator)}분의 {sino_korean(numerator)}"
    return f"{sino_korean(int(whole))}과 {words}" if whole else words


def _read_date(match: re.Match) -> str:
    year, month, day = map(int, match.groups())
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"{sino_korean(year)}년 {month}월 {sino_korean(day)}일"


def _read_month_and_day(match: re.Match) -> str:
    month, day = int(match[1]), int(match[2])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"{month}월 {sino_korean(day)}일"


def _read_range_end(match: re.Match) -> str:
    """Read the month and day after a date and a tilde."""
    reading = _read_month_and_day(match)
    return match[0] if reading == match[0] else f"에서 {reading}"


def _read_half_of_day(match: re.Match) -> str:
    """Write 9am, 9:30 pm and 3-4pm with 오전 o-jeon (a.m.) or 오후 o-hu (p.m.) before the hour."""
    first, hour, minutes, half = match.groups()
    if not 1 <= int(hour) <= 12 or not 1 <= int(first or 1) <= 12:
        return match[0]
    time = f"{hour}{minutes}" if minutes else f"{hour}시"
    name = "오전" if half in "aA" else "오후"
    if first is None:
        return f"{name} {time}"
    if int(first) % 12 < int(hour) % 12:
        return f"{name} {first}시에서 {time}"
    return f"{first}시에서 {name} {time}"  # 9-5pm


def _read_range_of_days(match: re.Match) -> str:
    days = days_of_range(match)
    if days is None:
        return match[0]
    return "에서 ".join(f"{month}월 {day}일" for month, day in days)


_NEEDS_READING = re.compile("[0-9A-Za-z%％&+=@×÷℃℉㍱-㏟¼-¾⅐-⅞]")
_ANY_UNIT = _alternatives(map(re.escape, _UNITS))
_NOT_LATIN = r"(?![A-Za-z])"
# Applied in this order, each to the result of the ones before it
_READINGS: tuple[tuple[re.Pattern, str | Callable[[re.Match], str]], ...] = tuple(
    (re.compile(pattern), reading)
    for pattern, reading in (
        # telephone and other numbers that are read digit by digit
        (r"\+\d{1,3}(?:[-‐–. ]\(?\d{1,4}\)?){2,4}(?!\d)", _read_international),
        (r"\(?(?<!\d)(?:0\d{1,2})\)?[-‐–. ]?\d{3,4}[-‐–. ]\d{4}(?!\d)", _read_all_digits),
        (r"(?<!\d)(?!\d{4}-\d{1,2}-\d{1,2}(?!\d))\d+(?:-\d+){2,}(?!\d)", _read_all_digits),
        (r"(?<!\d)(?:\d{3,4}-\d{4}|\d{6}-\d{7})(?!\d| ?(?:학년도|년|시즌))", _read_all_digits),
        (
            r"((?:비밀|우편|인증|전화|내선|계좌|등록|접수)번호|학번|사번|암호|코드)"
            r"((?:[은는이가]|)[ :]*)(\d{3,})(?![\d,.]|[가-힣]*번)",
            lambda m: f"{m[1]}{m[2]}{digits(m[3])}",
        ),
        (r"\b[Nn]o\. ?(?=\d)", "넘버 "),
        # dates and times
        (
            rf"(?i)(?<![\w:.])(?:(\d{{1,2}})\s?{_DASH}\s?)?(\d{{1,2}})(:\d\d)?"
            r" ?([ap])\.?m(?![A-Za-z])\.?",
            _read_half_of_day,
        ),
        (
            r"(?i)(?<![a-z])([ap])m ?(?=\d{1,2}(?:시|:\d\d))",
            lambda m: "오전 " if m[1] in "aA" else "오후 ",
        ),
        (r"(?<!\d)(\d{1,2})[·ㆍ](\d{1,2})(?!\d)", _read_memorial_day),
        (r"(?<![\d.])(?:4\.19|5\.18|6\.25|8\.15)(?![\d.%]| ?[a-zA-Z㎞㎝㎏])", _read_memorial_day),
        (
            r"(?<![\d.])\d{1,2}\.\d{1,2}"
            r"(?= ?(?:사태|사건|운동|혁명|항쟁|선언|쿠데타|정변|의거|테러|참사|절(?![가-힣])))",
            _read_memorial_day,
        ),
        (rf"(?<=:\d\d)\s?{_DASH}\s?(?=(?:{_TIME_OF_DAY} ?)?\d{{1,2}}(?::\d\d|시))", "에서 "),
        (r"(?<!\d)(\d{1,2}):(\d{2})(?::(\d{2}))?(?![\d:])", _read_clock),
        (r"(?<![\d:])(\d{1,3}):(\d{1,3})(?![\d:])", _read_ratio),
        (
            rf"(?<![\d./])(\d{{1,2}})/(\d{{1,2}})\s?{_DASH}\s?(\d{{1,2}})/(\d{{1,2}})(?![\d/])",
            _read_range_of_days,
        ),
        (rf"(?<![\d./])(\d+/\d+)\s?{_DASH}\s?(?=\.?\d)", r"\1에서 "),
        (r"(?<!\d)(\d{4})[./-] ?(\d{1,2})[./-] ?(\d{1,2})(?!\d)\.?", _read_date),
        (r"(?<![\d.])['’]?(\d{2})\.(\d{1,2})\.(\d{1,2})(?![\d.])", _read_date),
        (r"(?<=일)\s?[~∼〜]\s?(\d{1,2})[./](\d{1,2})(?![\d/%])\.?", _read_range_end),
        (
            r"(?<![\d./])(\d{1,2})[./](\d{1,2})(?=\s?\([월화수목금토일](?:요일)?\))",
            _read_month_and_day,
        ),
        (
            r"(?<![\d./])(\d{1,2})/(\d{1,2})(?=에(?!서)|까지|부터|자(?![가-힣])|[~∼〜])",
            _read_month_and_day,
        ),
        (r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){2,}(?![\d.]\d|\d)", _read_version),
        (r"(?<![\d/])([1-4])/4(?= ?분기)", lambda m: digits(m[1]) + "사"),  # a quarter of a year
        (r"(?<![\d/])(?:(\d+) )?(\d+)/(\d+)(?![\d/])", _read_fraction),
        (r"(?<![\w.])['’](\d\d)(?=년| ?[가-힣])", r"\1"),
        (r"(?<![\w.,])\.(?=\d)", "0."),
        (
            rf"([$＄₩￦€£¥¢]) ?({_NUMBER})(\.\d+)?\s?{_DASH}\s?\1?(?=\d)",
            lambda m: f"{m[2]}{m[3] or ''}에서 {m[1]}",
        ),
        (
            rf"([$＄₩￦€£¥¢]) ?({_NUMBER})(\.\d+)?",
            lambda m: _read_number(m[2], m[3], "") + _MONEY[m[1]],
        ),
        (r"(?<=\d)\^([-−]?\d+)", r"의 \1제곱"),
        # ranges
        (
            rf"(?<=\d)( ?(?:년|월|일|시|분|초|층|호|명|개|원|세|살|회|도|쪽|주|권|번|{_ANY_UNIT}))"
            rf"\s?{_DASH}\s?"
            rf"(?=[-−$＄₩￦€£¥¢]?\.?\d|(?:{_TIME_OF_DAY}|정오|자정|다음)(?![가-힣]))",
            r"\1에서 ",
        ),
        (r"(?<=\d)([가-힣]{1,3})\s?[–—-]\s?(?=[\d,.]*\d\s?\1)", r"\1에서 "),
        (r"(?<=[가-힣])[~∼〜](?=\d)|(?<=\d[가-힣])\s?[~∼〜]\s?(?=\d)", "에서 "),
        (r"(?<![\d.,])(\d{1,2})(\s?[~∼〜–-]\s?|, ?)(\d{1,2})(?![\d.,])", _read_range),
        (  # emergency calls (119에, 112로), not ranges (112에서 115까지)
            r"(?<![\w.,:/~∼〜–-])(?:11[2349]|1339)"
            r"(?=에(?!서)|로|번(?!째|지|길)| ?신고|[^\w%.,]*$|\.\s*$)",
            lambda m: digits(m[0]),
        ),
        (r"(?<=\d)\s?(?:[~∼〜]\s?(?=[-−]?\d)|[–—-]\s?(?=\d))", "에서 "),
        (r"(?<!\d)(?:0?6|10)월", lambda m: "시월" if m[0] == "10월" else "유월"),
        (
            rf"((?<![\w.])-|)({_NUMBER})(\.\d+)? ?({_ANY_UNIT}){_NOT_LATIN}",
            _read_quantity,
        ),
        (
            rf"(?<=[만억조천백])({_ANY_UNIT}){_NOT_LATIN}",
            lambda m: _UNITS[m[1]],
        ),
        (
            rf"(?i)(?<![A-Za-z])(?:{_alternatives(_NAMES)})(?![A-Za-z\d])",
            lambda m: _NAMES[m[0].lower()],
        ),
        (rf"((?<![\w.])-|)({_NUMBER})(\.\d+)?", _read_plain_number),
        (r"(?<=[A-Za-z+])\+(?! ?[\dA-Za-z(])", " 플러스"),  # A+, C++
        (r"[A-Za-z]+", _read_latin),
        (r"[%％]", "퍼센트"),
        (r" ?[&+=@×÷] ?", lambda m: f" {_SYMBOLS[m[0].strip()]} "),
    )
)
