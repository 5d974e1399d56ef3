"""Korean spelling to Standard Pronunciation, in Hangul: 국물 → 궁물.

The rules are those of the Standard Pronunciation (표준 발음법, 1988; the article is given at
each rule), in its principal variants: 계 and 의 stay, not the tolerated 게 and 이; no
assimilation of place (감기, never 강기). They hold *within* a word; across a space nothing
changes, because a learner who reads pauses there, and article 27 itself wants plain consonants
after a pause.

What spelling alone cannot tell needs a lexicon. `_RESPELLED` holds common such words; it is a
list, not a claim of completeness. Beyond it, these are pronounced by the letters:
- ㄴ inserted in compounds (art. 29: 꽃잎) and tails kept apart in them (art. 15: 겉옷);
- tense lead after ㄹ in Sino-Korean words (art. 26: 발전), in compounds (art. 28: 길가), and in
  verbs with the plain tails ㄴ and ㅁ (art. 24: 신고 "wear", but 신고 "report"), save in -습니다;
- -(으)ㄹ before ㄱ, ㄷ, ㅅ, ㅈ (art. 27), save in the endings -ㄹ게요 and -ㄹ수록;
- ㄺ, ㄻ, ㄼ are taken for verbs' tails (맑게 [말께], 닮다 [담따], 짧다 [짤따]), save in the nouns
  of `_NOUNS`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from espnet_ext.errors import UserError
from espnet_ext.text import hangul, unicode

# Beginnings of words, spelled so that the rules give the right sound with any ending. The longest
# match wins. Beginnings only: 인기 is [인끼], but 할인기간 is not.
_RESPELLED_ROWS = {
    "art. 16: names of letters": """
        디귿 디긋, 지읒 지읏, 치읓 치읏, 키읔 키윽, 티읕 티읏, 피읖 피읍, 히읗 히읏""",
    "art. 15: a tail neutralised before a full word": """
        겉옷 거돗, 첫인상 처딘상, 맛없 마덦, 웃어른 우더른, 헛웃음 허두슴, 몇월 며둴""",
    "art. 20: ㄴㄹ as ㄴㄴ": """
        의견란 의견난, 생산량 생산냥, 결단력 결딴녁, 상견례 상견녜, 음운론 음운논""",
    "art. 24: verbs with the tails ㄴ and ㅁ, where no noun is spelled alike": """
        껴안고 껴안꼬, 껴안다 껴안따""",
    "art. 26: Sino-Korean ㄹ before ㄷ, ㅅ, ㅈ": """
        갈등 갈뜽, 갈증 갈쯩, 결정 결쩡, 결석 결썩, 물질 물찔, 발달 발딸, 발전 발쩐, 실수 실쑤,
        열심 열씸, 일시 일씨, 일정 일쩡, 일주일 일쭈일, 절대 절때, 출석 출썩, 출장 출짱,
        칠십 칠씹, 팔십 팔씹, 철도 철또, 활동 활똥""",
    "art. 28 and Sino-Korean words: tense without a sign in the spelling": """
        갈비집 갈비찝, 강가 강까, 글자 글짜, 길가 길까, 김칫 김칟, 꽃집 꽃찝, 눈길 눈낄,
        문법 문뻡, 물가 물까, 물고기 물꼬기, 바닷가 바닫까, 밤길 밤낄, 비빔밥 비빔빱, 산길 산낄,
        사건 사껀, 성격 성껵, 손등 손뜽, 술집 술찝, 아침밥 아침빱, 여권 여꿘, 인기 인끼,
        조건 조껀, 치과 치꽈, 내과 내꽈, 평가 평까, 한자 한짜, 한자리 한자리, 발바닥 발빠닥,
        손바닥 손빠닥, 용돈 용똔, 할인권 할인꿘, 빵집 빵찝""",
    "art. 29: ㄴ inserted": """
        깻잎 깬닢, 꽃잎 꼰닢, 나뭇잎 나문닢, 담요 담뇨, 두통약 두통냑, 물약 물략, 부엌일 부엉닐,
        색연필 생년필, 서울역 서울력, 시청역 시청녁, 강남역 강남녁, 지하철역 지하철력,
        식용유 식용뉴, 알약 알략, 볼일 볼릴, 할일 할릴, 집안일 집안닐, 한여름 한녀름,
        휘발유 휘발류, 솔잎 솔맆""",
}
_RESPELLED = dict(p.split() for row in _RESPELLED_ROWS.values() for p in row.split(","))
_RESPELL = re.compile(f"^(?:{'|'.join(sorted(_RESPELLED, key=len, reverse=True))})")
_TENSE_ENDING = (  # art. 27 where no noun or stem is spelled alike
    (re.compile(r"게(?=요$)"), "께"),
    (re.compile(r"수(?=록)"), "쑤"),
)

# Syllables in which a cluster is a noun's: it loses its second part and makes nothing tense.
_NOUNS = frozenset("닭흙칡슭삶앎덟")

_ASPIRATED = {"ㄱ": "ㅋ", "ㄷ": "ㅌ", "ㅂ": "ㅍ", "ㅈ": "ㅊ"}
_TENSE = {"ㄱ": "ㄲ", "ㄷ": "ㄸ", "ㅂ": "ㅃ", "ㅅ": "ㅆ", "ㅈ": "ㅉ"}
_NASAL = {"ㄱ": "ㅇ", "ㄷ": "ㄴ", "ㅂ": "ㅁ"}
_NEUTRAL = {  # arts. 9–11, 14: the seven sounds that end a syllable
    **dict.fromkeys("ㄲㅋㄳㄺ", "ㄱ"),
    **dict.fromkeys("ㅅㅆㅈㅊㅌㅎ", "ㄷ"),
    **dict.fromkeys("ㅍㅄㄿ", "ㅂ"),
    **dict.fromkeys("ㄼㄽㄾㅀ", "ㄹ"),
    **dict.fromkeys("ㄵㄶ", "ㄴ"),
    "ㄻ": "ㅁ",
}


@dataclass
class _Syllable:
    """Letters of one syllable; lead "ㅇ" and tail "" are silence."""

    lead: str
    vowel: str
    tail: str
    spelled: str  # as written: some rules depend on the word, not on the sound

    def __str__(self) -> str:
        return hangul.join(self.lead, self.vowel, self.tail)


def pronounce(sentence: str) -> str:
    """Return the standard pronunciation of `sentence` in Hangul, word spaces kept.

    Punctuation is dropped; lone letters (ㅋㅋ) stay and are nobody's neighbours. Raises
    `UserError` for other characters: digits and Latin must be spelled out.

    >>> pronounce("국물이 좋습니다."), pronounce("같이 앉아 있는데요")
    ('궁무리 조씀니다', '가치 안자 인는데요')
    """
    words = []
    for word in strip_punctuation(sentence).split():
        for char in word:
            if not hangul.is_hangul(char):
                raise UserError(
                    f"cannot pronounce {char!r} in {sentence!r}: not Hangul",
                    "spell digits and foreign words out in Hangul",
                )
        words.append("".join(_pronounce_run(run) for run in re.split(r"([ㄱ-ㅣ]+)", word)))
    return " ".join(words)


def strip_punctuation(sentence: str) -> str:
    """Return `sentence` normalised, without punctuation and symbols of any script.

    >>> strip_punctuation("네, 좋아요… 「정말」?")
    '네 좋아요 정말'
    """
    return unicode.normalize(re.sub(r"[^\w\s]|_", " ", unicode.normalize(sentence)))


def _pronounce_run(run: str) -> str:
    """Pronounce a run of syllables (or pass a run of letters) as one word."""
    if not run or not hangul.is_syllable(run[0]):
        return run
    spelled = _respell(run)
    syllables = [_Syllable(*hangul.split(s), s) for s in spelled]
    for rule in _RULES:
        for left, right in zip(syllables, syllables[1:], strict=False):
            rule(left, right)
    syllables[-1].tail = _neutral(syllables[-1])
    for syllable in syllables:
        _vowel(syllable)
    return "".join(map(str, syllables))


def _respell(word: str) -> str:
    """Apply the lexical list, and article 27 to the endings that cannot be mistaken."""
    word = _RESPELL.sub(lambda match: _RESPELLED[match.group()], word)
    for ending, tense in _TENSE_ENDING:
        for match in ending.finditer(word):
            before = word[match.start() - 1] if match.start() else "가"
            if hangul.split(before)[2] == "ㄹ":
                word = word[: match.start()] + tense + word[match.end() :]
    return word


def _neutral(syllable: _Syllable) -> str:
    return _NEUTRAL.get(syllable.tail, syllable.tail)


def _palatalise(left: _Syllable, right: _Syllable) -> None:
    """Art. 17: ㄷ, ㅌ before 이 (and 이어 = 여), ㄷ before 히, 혀 become ㅈ, ㅊ."""
    if left.tail not in ("ㄷ", "ㅌ", "ㄾ") or right.vowel not in ("ㅣ", "ㅕ"):
        return
    if right.vowel == "ㅕ" and right.tail not in ("", "ㅆ"):  # 맏형 is a compound
        return
    if right.lead == "ㅇ":
        right.lead = "ㅈ" if left.tail == "ㄷ" else "ㅊ"
    elif right.lead == "ㅎ":
        right.lead = "ㅊ"
    else:
        return
    left.tail = "ㄹ" if left.tail == "ㄾ" else ""


def _h(left: _Syllable, right: _Syllable) -> None:
    """Art. 12: ㅎ as a tail, and ㅎ as a lead after an obstruent."""
    if left.tail in ("ㅎ", "ㄶ", "ㅀ"):
        rest = hangul.CLUSTERS.get(left.tail, "")[:1]
        if right.lead in ("ㄱ", "ㄷ", "ㅈ"):
            left.tail, right.lead = rest, _ASPIRATED[right.lead]
        elif right.lead == "ㅅ":
            left.tail, right.lead = rest, "ㅆ"
        elif right.lead == "ㅇ":
            left.tail = rest
        elif right.lead == "ㄴ":
            left.tail = rest or "ㄴ"
    elif right.lead == "ㅎ" and left.tail not in ("", "ㄴ", "ㄹ", "ㅁ", "ㅇ"):
        kept, sound = "", _neutral(left)
        if left.tail in ("ㄵ", "ㄺ", "ㄼ") and left.spelled not in _NOUNS:
            kept, sound = hangul.CLUSTERS[left.tail]
        if left.tail == "ㅈ" and right.vowel in ("ㅣ", "ㅕ"):
            sound = "ㅈ"  # 맞히다 [마치다], but 낮하고 [나타고]
        if sound in _ASPIRATED:
            left.tail, right.lead = kept, _ASPIRATED[sound]


def _link(left: _Syllable, right: _Syllable) -> None:
    """Arts. 13, 14: a tail, or a cluster's second part, becomes the lead of a vowel."""
    if right.lead != "ㅇ" or left.tail in ("", "ㅇ"):
        return
    left.tail, moved = hangul.CLUSTERS.get(left.tail, ("", left.tail))
    right.lead = "ㅆ" if moved == "ㅅ" and left.tail else moved


def _tensify(left: _Syllable, right: _Syllable) -> None:
    """Arts. 23–25: plain leads after obstruents, verbs' clusters, and in -ㄴ습니다, -ㅁ습니다."""
    if right.lead not in _TENSE:
        return
    verb = left.spelled not in _NOUNS
    if left.tail == "ㄺ" and right.lead == "ㄱ" and verb:  # art. 11: 맑게 [말께]
        left.tail = "ㄹ"
        right.lead = "ㄲ"
    elif left.spelled == "밟" or (left.spelled == "넓" and right.spelled in ("죽", "둥", "적")):
        left.tail = "ㅂ"  # art. 10
        right.lead = _TENSE[right.lead]
    elif (
        _neutral(left) in _NASAL
        or left.tail in ("ㄵ", "ㄾ")
        or (left.tail in ("ㄻ", "ㄼ") and verb)
        or (left.tail in ("ㄴ", "ㅁ") and right.spelled == "습")
    ):
        right.lead = _TENSE[right.lead]


def _assimilate(left: _Syllable, right: _Syllable) -> None:
    """Arts. 18–20: tails neutralised; nasals before nasals, ㄹ beside ㄴ, ㄹ after others as ㄴ."""
    left.tail = "ㅂ" if left.spelled == "밟" and left.tail == "ㄼ" else _neutral(left)
    if right.lead == "ㄹ":
        if left.tail in ("ㄴ", "ㄹ"):
            left.tail = "ㄹ"
        elif left.tail:
            right.lead = "ㄴ"
    if right.lead == "ㄴ" and left.tail == "ㄹ":
        right.lead = "ㄹ"
    if right.lead in ("ㄴ", "ㅁ"):
        left.tail = _NASAL.get(left.tail, left.tail)


def _vowel(syllable: _Syllable) -> None:
    """Art. 5: 져, 쪄, 쳐 as 저, 쩌, 처; ㅢ after a written consonant (not 문의 [무늬]) as ㅣ."""
    if syllable.vowel == "ㅕ" and syllable.lead in ("ㅈ", "ㅉ", "ㅊ"):
        syllable.vowel = "ㅓ"
    if syllable.vowel == "ㅢ" and hangul.split(syllable.spelled)[0] != "ㅇ":
        syllable.vowel = "ㅣ"


# The order matters: each rule is applied to the whole word before the next.
_RULES: tuple[Callable[[_Syllable, _Syllable], None], ...] = (
    _palatalise, _h, _link, _tensify, _assimilate,
)
