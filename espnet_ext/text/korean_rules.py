"""The sound rules of Standard Korean, over syllables with marks between them.

Articles are those of the Standard Pronunciation (표준 발음법, 1988). What spelling cannot tell is
in the marks, which `korean_words` sets: see `MARKS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from espnet_ext.text import hangul

MARKS = {
    "": "nothing: the letters tell all",
    " ": "a space within a phrase, spoken without a pause",
    ".": "the same, over which ㄴ, ㄹ and ㅁ stay tails before a vowel",
    "|": "a full word begins (arts. 15, 20): the tail is neutralised before it",
    "~": "the same, with ㄴ inserted (art. 29)",
    "'": "the next lead is tense (arts. 24, 26–28)",
    "-": "사이시옷 (art. 30)",
    "_": "neither tense nor linked by a rule for stems",
}

ASPIRATED = {"ㄱ": "ㅋ", "ㄷ": "ㅌ", "ㅂ": "ㅍ", "ㅈ": "ㅊ"}
TENSE = {"ㄱ": "ㄲ", "ㄷ": "ㄸ", "ㅂ": "ㅃ", "ㅅ": "ㅆ", "ㅈ": "ㅉ"}
NASAL = {"ㄱ": "ㅇ", "ㄷ": "ㄴ", "ㅂ": "ㅁ"}
NEUTRAL = {  # arts. 9–11, 14: the seven sounds that end a syllable
    **dict.fromkeys("ㄲㅋㄳㄺ", "ㄱ"),
    **dict.fromkeys("ㅅㅆㅈㅊㅌㅎ", "ㄷ"),
    **dict.fromkeys("ㅍㅄㄿ", "ㅂ"),
    **dict.fromkeys("ㄼㄽㄾㅀ", "ㄹ"),
    **dict.fromkeys("ㄵㄶ", "ㄴ"),
    "ㄻ": "ㅁ",
}
# Syllables in which a cluster is a noun's: it loses its second part and makes nothing tense.
NOUNS = frozenset("닭흙칡슭삶앎덟삵")


@dataclass(slots=True)
class Syllable:
    """Letters of one syllable; lead "ㅇ" and tail "" are silence."""

    lead: str
    vowel: str
    tail: str
    spelled: str  # as written: some rules depend on the word, not on the sound
    mark: str = ""  # what stands after it, a key of MARKS
    noun: bool = False  # whether a cluster is a noun's

    def __str__(self) -> str:
        return hangul.join(self.lead, self.vowel, self.tail)

    def neutral(self) -> str:
        return NEUTRAL.get(self.tail, self.tail)


def apply(syllables: list[Syllable], saisiot: str = "") -> None:
    """Pronounce a stretch without a pause, in place: each rule over the whole of it in turn.

    `saisiot` is the tail that 사이시옷 leaves before a tense lead: "" or, admitted too, "ㄷ".
    """
    for left, right in zip(syllables, syllables[1:], strict=False):
        _boundary(left, right, saisiot)
    for rule in _RULES:
        for left, right in zip(syllables, syllables[1:], strict=False):
            rule(left, right)
    syllables[-1].tail = syllables[-1].neutral()
    for syllable in syllables:
        _vowel(syllable)


def _boundary(left: Syllable, right: Syllable, saisiot: str) -> None:
    """Arts. 15, 20, 26–30: what stands between two words or between the parts of one."""
    mark = left.mark
    if mark == "'":
        right.lead = TENSE.get(right.lead, right.lead)
    elif mark == "-" and right.lead in TENSE:
        right.lead, left.tail = TENSE[right.lead], saisiot
    elif mark in (" ", ".", "|", "~", "-"):
        left.tail = left.neutral()
        if mark == "~" and left.tail or mark == "|" and left.tail == "ㄴ" and right.lead == "ㄹ":
            right.lead = "ㄴ"


def _palatalise(left: Syllable, right: Syllable) -> None:
    """Art. 17: ㄷ, ㅌ before 이 (and 이어 = 여), ㄷ before 히, 혀 become ㅈ, ㅊ."""
    if left.mark or left.tail not in ("ㄷ", "ㅌ", "ㄾ") or right.vowel not in ("ㅣ", "ㅕ"):
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


def _h(left: Syllable, right: Syllable) -> None:
    """Art. 12: ㅎ as a tail, and ㅎ as a lead after an obstruent."""
    if left.tail in ("ㅎ", "ㄶ", "ㅀ"):
        rest = hangul.CLUSTERS.get(left.tail, "")[:1]
        if right.lead in ("ㄱ", "ㄷ", "ㅈ"):
            left.tail, right.lead = rest, ASPIRATED[right.lead]
        elif right.lead == "ㅅ":
            left.tail, right.lead = rest, "ㅆ"
        elif right.lead == "ㅇ":
            left.tail = rest
        elif right.lead == "ㄴ":
            left.tail = rest or "ㄴ"
    elif right.lead == "ㅎ" and left.tail not in ("", "ㄴ", "ㄹ", "ㅁ", "ㅇ"):
        kept, sound = "", left.neutral()
        if left.tail in ("ㄵ", "ㄺ", "ㄼ") and not left.noun:
            kept, sound = hangul.CLUSTERS[left.tail]
        if left.tail == "ㅈ" and right.vowel in ("ㅣ", "ㅕ"):
            sound = "ㅈ"  # 맞히다 [마치다], but 낮하고 [나타고]
        if sound in ASPIRATED:
            left.tail, right.lead = kept, ASPIRATED[sound]


def _link(left: Syllable, right: Syllable) -> None:
    """Arts. 13, 14: a tail, or a cluster's second part, becomes the lead of a vowel."""
    if right.lead != "ㅇ" or left.tail in ("", "ㅇ"):
        return
    if left.mark == "." and left.tail in ("ㄴ", "ㄹ", "ㅁ"):
        return
    left.tail, moved = hangul.CLUSTERS.get(left.tail, ("", left.tail))
    right.lead = "ㅆ" if moved == "ㅅ" and left.tail else moved


def _tensify(left: Syllable, right: Syllable) -> None:
    """Arts. 23–25: plain leads after obstruents and after the clusters of verbs."""
    if right.lead not in TENSE or left.mark == "_":
        return
    if left.tail == "ㄺ" and right.lead == "ㄱ" and not left.noun:  # art. 11: 맑게 [말께]
        left.tail = "ㄹ"
        right.lead = "ㄲ"
    elif left.tail == "ㄼ" and (
        left.spelled == "밟" or (left.spelled == "넓" and right.spelled in ("죽", "둥", "적"))
    ):
        left.tail = "ㅂ"  # art. 10
        right.lead = TENSE[right.lead]
    elif (
        left.neutral() in NASAL
        or left.tail in ("ㄵ", "ㄾ")
        or (left.tail in ("ㄻ", "ㄼ") and not left.noun)
    ):
        right.lead = TENSE[right.lead]


def _assimilate(left: Syllable, right: Syllable) -> None:
    """Arts. 18–20: tails neutralised; nasals before nasals, ㄹ beside ㄴ, ㄹ after others as ㄴ.

    The articles' examples with ㄹ are words: a word that begins with it (a loan) keeps it.
    """
    left.tail = "ㅂ" if left.spelled == "밟" and left.tail == "ㄼ" else left.neutral()
    if right.lead == "ㄹ" and left.mark not in (" ", "."):  # 한국 라면, but 십리 [심니]
        if left.tail in ("ㄴ", "ㄹ"):
            left.tail = "ㄹ"
        elif left.tail:
            right.lead = "ㄴ"
    if right.lead == "ㄴ" and left.tail == "ㄹ":
        right.lead = "ㄹ"
    if right.lead in ("ㄴ", "ㅁ"):
        left.tail = NASAL.get(left.tail, left.tail)


def _vowel(syllable: Syllable) -> None:
    """Art. 5: 져, 쪄, 쳐 as 저, 쩌, 처; ㅢ after a written consonant (not 문의 [무늬]) as ㅣ."""
    if syllable.vowel == "ㅕ" and syllable.lead in ("ㅈ", "ㅉ", "ㅊ"):
        syllable.vowel = "ㅓ"
    if syllable.vowel == "ㅢ" and hangul.split(syllable.spelled)[0] != "ㅇ":
        syllable.vowel = "ㅣ"


# The order matters: each rule is applied to the whole stretch before the next.
_RULES: tuple[Callable[[Syllable, Syllable], None], ...] = (
    _palatalise,
    _h,
    _link,
    _tensify,
    _assimilate,
)
