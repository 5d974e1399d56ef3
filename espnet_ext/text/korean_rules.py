"""The sound rules of Standard Korean, applied to syllables.

Source: Standard Korean Pronunciation (표준 발음법, 1988); "art." refers to its articles. Where
spelling alone does not determine the sound, `korean_words` sets a mark between two syllables (see
`MARKS`).

Terms (romanised with a hyphen between syllables; examples as spelling [pronunciation]):

- *Plain, tense, aspirated*: three series of consonants: ㄱ g, ㄲ kk, ㅋ k; ㄷ d, ㄸ tt, ㅌ t; ㅂ b,
  ㅃ pp, ㅍ p; ㅈ j, ㅉ jj, ㅊ ch; ㅅ s, ㅆ ss. A plain lead becomes tense after an obstruent:
  학교 hak-gyo [hak-kkyo], "school".
- *Neutralisation*: only k, n, t, l, m, p and ng are pronounced as a tail: 옷 os [ot], "clothes".
- *Linking* (liaison): a tail moves to a following syllable that begins with a vowel: 옷이 os-i
  [o-si].
- *Palatalisation*: t before i becomes ch: 같이 gat-i [ga-chi], "together".
- *Nasal assimilation*: an obstruent before n or m becomes a nasal: 국물 guk-mul [gung-mul], "soup".
- *Cluster*: a tail of two consonants, of which at most one is pronounced: 값 gaps [gap], "price".
- *Inserted n*: compounds may have an n before i or y: 꽃잎 kkoch-ip [kkon-nip], "petal".
- *사이시옷 saisiot*: a letter ㅅ s that is written between the parts of a compound and makes the
  next lead tense: 냇가 naes-ga [nae-kka], "brookside".
"""

from collections.abc import Callable
from dataclasses import dataclass

from espnet_ext.text import hangul

# What stands between a syllable and the next one.
MARKS = {
    "": "nothing: the letters determine the sound",
    " ": "a space in a phrase that is spoken without a pause",
    ".": "the same, but tail ㄴ n, ㄹ l or ㅁ m does not link to a following vowel",
    "|": "the start of a full word (arts. 15, 20): the tail is neutralised, not linked",
    "~": "the same, with inserted n (art. 29)",
    "'": "the next lead is tense (arts. 24, 26–28)",
    "-": "saisiot (art. 30)",
    "_": "the next lead stays plain, although a rule or list would make it tense",
}

ASPIRATED = {"ㄱ": "ㅋ", "ㄷ": "ㅌ", "ㅂ": "ㅍ", "ㅈ": "ㅊ"}
TENSE = {"ㄱ": "ㄲ", "ㄷ": "ㄸ", "ㅂ": "ㅃ", "ㅅ": "ㅆ", "ㅈ": "ㅉ"}
NASAL = {"ㄱ": "ㅇ", "ㄷ": "ㄴ", "ㅂ": "ㅁ"}
NEUTRAL = {  # arts. 9–11, 14: the seven tails that are pronounced
    **dict.fromkeys("ㄲㅋㄳㄺ", "ㄱ"),
    **dict.fromkeys("ㅅㅆㅈㅊㅌㅎ", "ㄷ"),
    **dict.fromkeys("ㅍㅄㄿ", "ㅂ"),
    **dict.fromkeys("ㄼㄽㄾㅀ", "ㄹ"),
    **dict.fromkeys("ㄵㄶ", "ㄴ"),
    "ㄻ": "ㅁ",
}
# Nouns of one syllable with a cluster. Before a plain consonant, such a cluster is simplified
# first, so that 삶도 salm-do ("life too") is [sam-do], while the verb stem in 닮다 dalm-da ("to
# resemble") makes the next lead tense: [dam-tta].
CLUSTER_NOUNS = frozenset("닭흙칡슭삶앎덟삵")


@dataclass(slots=True)
class Syllable:
    """One syllable, changed in place by the rules. Lead "ㅇ" and tail "" are silent."""

    lead: str
    vowel: str
    tail: str
    spelled: str  # the syllable as written, because some rules depend on the spelling
    mark: str = ""  # what stands after it, a key of MARKS
    cluster_noun: bool = False  # whether the syllable is one of CLUSTER_NOUNS

    def __str__(self) -> str:
        return hangul.join(self.lead, self.vowel, self.tail)

    def neutral_tail(self) -> str:
        return NEUTRAL.get(self.tail, self.tail)


def apply_rules(syllables: list[Syllable], saisiot: str = "") -> None:
    """Pronounce neighbouring syllables in place. Each rule is applied to all pairs in turn.

    Args:
        saisiot: the tail pronounced for a saisiot: "", or "ㄷ", which the standard also permits.
    """
    for left, right in zip(syllables, syllables[1:], strict=False):
        _apply_mark(left, right, saisiot)
    for rule in _RULES:
        for left, right in zip(syllables, syllables[1:], strict=False):
            rule(left, right)
    syllables[-1].tail = syllables[-1].neutral_tail()
    for syllable in syllables:
        _simplify_vowel(syllable)


def _apply_mark(left: Syllable, right: Syllable, saisiot: str) -> None:
    """Apply the mark between two syllables (arts. 15, 20, 26–30)."""
    mark = left.mark
    if mark == "'":
        right.lead = TENSE.get(right.lead, right.lead)
    elif mark == "-" and right.lead in TENSE:
        right.lead, left.tail = TENSE[right.lead], saisiot
    elif mark in (" ", ".", "|", "~", "-"):
        left.tail = left.neutral_tail()
        if mark == "~" and left.tail or mark == "|" and left.tail == "ㄴ" and right.lead == "ㄹ":
            right.lead = "ㄴ"


def _palatalise(left: Syllable, right: Syllable) -> None:
    """Art. 17: tail ㄷ d or ㅌ t before 이 i, 여 yeo, 히 hi or 혀 hyeo becomes ㅈ j or ㅊ ch.

    굳이 gud-i [gu-ji], "insistently"; 닫히다 dad-hi-da [da-chi-da], "to be closed".
    """
    if left.mark or left.tail not in ("ㄷ", "ㅌ", "ㄾ") or right.vowel not in ("ㅣ", "ㅕ"):
        return
    if right.vowel == "ㅕ" and right.tail not in ("", "ㅆ"):  # a compound: 맏형, "eldest brother"
        return
    if right.lead == "ㅇ":
        right.lead = "ㅈ" if left.tail == "ㄷ" else "ㅊ"
    elif right.lead == "ㅎ":
        right.lead = "ㅊ"
    else:
        return
    left.tail = "ㄹ" if left.tail == "ㄾ" else ""


def _aspirate(left: Syllable, right: Syllable) -> None:
    """Art. 12: ㅎ h merges with a neighbouring consonant, or is silent before a vowel.

    놓고 noh-go [no-ko], "putting"; 좋아 joh-a [jo-a], "good"; 각하 gak-ha [ga-ka], "excellency".
    """
    if left.tail in ("ㅎ", "ㄶ", "ㅀ"):
        remaining, _ = hangul.CLUSTERS.get(left.tail, ("", ""))
        if right.lead in ("ㄱ", "ㄷ", "ㅈ"):
            left.tail, right.lead = remaining, ASPIRATED[right.lead]
        elif right.lead == "ㅅ":
            left.tail, right.lead = remaining, "ㅆ"
        elif right.lead == "ㅇ":
            left.tail = remaining
        elif right.lead == "ㄴ":
            left.tail = remaining or "ㄴ"
        elif right.lead == left.tail == "ㅎ":  # the tail is neutralised to ㄷ d, then merges
            left.tail, right.lead = "", ASPIRATED["ㄷ"]
    elif right.lead == "ㅎ" and left.tail not in ("", "ㄴ", "ㄹ", "ㅁ", "ㅇ"):
        remaining, sound = "", left.neutral_tail()
        if left.tail in ("ㄵ", "ㄺ", "ㄼ") and not left.cluster_noun:
            remaining, sound = hangul.CLUSTERS[left.tail]
        if left.tail == "ㅈ" and right.vowel in ("ㅣ", "ㅕ"):
            sound = "ㅈ"  # 맞히다 maj-hi-da [ma-chi-da], but 낮하고 naj-ha-go [na-ta-go]
        if sound in ASPIRATED:
            left.tail, right.lead = remaining, ASPIRATED[sound]


def _link(left: Syllable, right: Syllable) -> None:
    """Arts. 13, 14: before a vowel, a tail becomes the lead; of a cluster, the second consonant.

    옷이 os-i [o-si], "clothes" (subject); 앉아 anj-a [an-ja], "sit".
    """
    if right.lead != "ㅇ" or left.tail in ("", "ㅇ"):
        return
    if left.mark == "." and left.tail in ("ㄴ", "ㄹ", "ㅁ"):
        return
    left.tail, linked = hangul.CLUSTERS.get(left.tail, ("", left.tail))
    right.lead = "ㅆ" if linked == "ㅅ" and left.tail else linked


def _tensify(left: Syllable, right: Syllable) -> None:
    """Arts. 23–25: a plain lead becomes tense after an obstruent or a verb stem's cluster.

    학교 hak-gyo [hak-kkyo], "school"; 넓게 neolb-ge [neol-kke], "widely".
    """
    if right.lead not in TENSE or left.mark == "_":
        return
    if left.tail == "ㄺ" and right.lead == "ㄱ" and not left.cluster_noun:
        left.tail = "ㄹ"  # art. 11: 맑게 malk-ge [mal-kke], "clearly"
        right.lead = "ㄲ"
    elif left.tail == "ㄼ" and (
        left.spelled == "밟" or (left.spelled == "넓" and right.spelled in ("죽", "둥", "적"))
    ):
        left.tail = "ㅂ"  # art. 10: 밟다 balb-da [bap-tta], "to step on"
        right.lead = TENSE[right.lead]
    elif (
        left.neutral_tail() in NASAL
        or left.tail in ("ㄵ", "ㄾ")
        or (left.tail in ("ㄻ", "ㄼ") and not left.cluster_noun)
    ):
        right.lead = TENSE[right.lead]


def _assimilate(left: Syllable, right: Syllable) -> None:
    """Arts. 18–20: neutralise the tail, then assimilate nasals and ㄹ l.

    국물 guk-mul [gung-mul], "soup"; 신라 sin-la [sil-la] (a kingdom); 십리 sip-ri [sim-ni], "ten
    ri". The rules for ㄹ apply within a word. After a space, a lead ㄹ stays (한국 라면, "Korean
    ramen").
    """
    left.tail = "ㅂ" if left.spelled == "밟" and left.tail == "ㄼ" else left.neutral_tail()
    if right.lead == "ㄹ" and left.mark not in (" ", "."):
        if left.tail in ("ㄴ", "ㄹ"):
            left.tail = "ㄹ"
        elif left.tail:
            right.lead = "ㄴ"
    if right.lead == "ㄴ" and left.tail == "ㄹ":
        right.lead = "ㄹ"
    if right.lead in ("ㄴ", "ㅁ"):
        left.tail = NASAL.get(left.tail, left.tail)


def _simplify_vowel(syllable: Syllable) -> None:
    """Art. 5: ㅕ yeo becomes ㅓ eo after ㅈ, ㅉ, ㅊ; ㅢ ui becomes ㅣ i after a written consonant.

    가져 ga-jyeo [ga-jeo], "bring"; 희망 hui-mang [hi-mang], "hope". 문의 mun-ui [mu-nui] keeps ui,
    because its consonant is not written in the same syllable.
    """
    if syllable.vowel == "ㅕ" and syllable.lead in ("ㅈ", "ㅉ", "ㅊ"):
        syllable.vowel = "ㅓ"
    if syllable.vowel == "ㅢ" and hangul.split(syllable.spelled)[0] != "ㅇ":
        syllable.vowel = "ㅣ"


# The order matters: each rule sees the result of the rules before it.
_RULES: tuple[Callable[[Syllable, Syllable], None], ...] = (
    _palatalise,
    _aspirate,
    _link,
    _tensify,
    _assimilate,
)
