"""Codes of languages, from the names and codes that corpora use."""

import re

# Code, then names in Korean, English and the language itself, and ISO 639-2 codes
_LANGUAGES = """
    ko 한국어 korean kor, en 영어 english eng, zh 중국어 中文 chinese mandarin zho chi,
    ja 일본어 日本語 japanese jpn, vi 베트남어 vietnamese vie, th 태국어 thai tha,
    ru 러시아어 русский russian rus,
    mn 몽골어 mongolian mon, id 인도네시아어 indonesian ind, de 독일어 deutsch german deu ger,
    fr 프랑스어 français french fra fre,
    es 스페인어 español spanish spa, pt 포르투갈어 português portuguese por,
    it 이탈리아어 italiano italian ita, uz 우즈베크어 우즈베키스탄어 uzbek uzb,
    tr 터키어 튀르키예어 türkçe turkish tur,
    kk 카자흐어 kazakh kaz, my 미얀마어 burmese mya bur, km 크메르어 캄보디아어 khmer khm,
    ne 네팔어 nepali nep, hi 힌디어 hindi hin, bn 벵골어 bengali ben, ar 아랍어 arabic ara,
    tl 타갈로그어 필리핀어 tagalog filipino tgl fil, pl 폴란드어 polski polish pol,
    ms 말레이어 malay msa may,
    uk 우크라이나어 українська ukrainian ukr,
    nl 네덜란드어 nederlands dutch nld dut, fa 페르시아어 persian fas per,
    ur 우르두어 urdu urd, ky 키르기스어 kyrgyz kir, cs 체코어 czech ces cze,
    hu 헝가리어 hungarian hun, ro 루마니아어 romanian ron rum, sv 스웨덴어 swedish swe,
    lo 라오어 lao, tg 타지크어 tajik tgk, si 싱할라어 sinhala sin, yue 광둥어 cantonese
"""
LANGUAGES = {name: row.split()[0] for row in _LANGUAGES.split(",") for name in row.split()[1:]}
_WITH_RULES = re.compile(r"(ko|en)[-_][a-z]{2}", re.IGNORECASE)  # with a region: en-US


def is_known(name: str) -> bool:
    """Return whether a name is a code or a name in the table, with or without a region.

    >>> is_known("Deutsch"), is_known("zh-TW"), is_known("Klingon")
    (True, True, False)
    """
    code = re.split("[-_]", spoken_language(name))[0].lower()
    return code in LANGUAGES.values()


def language_code(*names: str) -> str:
    """Return the code of the first language name that is known, else the first name as it is.

    >>> language_code("", "베트남어"), language_code("English"), language_code("에스페란토어")
    ('vi', 'en', '에스페란토어')
    """
    for name in names:
        if code := LANGUAGES.get(name.lower()):
            return code
    first = next((name for name in names if name), "")
    return re.sub(r"[^\w-]+", "_", first)[:40].strip("_")


def spoken_language(name: str) -> str:
    """Return the code of a spoken language that may be given by its name; else the name as it is.

    The code decides which pronunciation rules are used, so `English`, `EN`, `eng` and `en-US` are
    all `en`. Other languages keep their region.

    >>> [spoken_language(name) for name in ("English", "EN", "en-US", "한국어", "zh-TW", "fr")]
    ['en', 'en', 'en', 'ko', 'zh-TW', 'fr']
    """
    if code := LANGUAGES.get(name.lower()):
        return code
    if match := _WITH_RULES.fullmatch(name):
        return match[1].lower()
    return name.lower() if len(name) <= 3 else name
