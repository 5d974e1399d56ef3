"""Korean of the embedded corpus: rules for the pronunciation errors of learners, by letter.

A rule changes one letter (the lead, vowel or tail of a syllable) of the *pronounced* form. The
patterns are those that studies of Korean as a foreign language report for a first language: the
three-way stop contrast, ㅓ and ㅡ without a counterpart, glides, and tails that the first language
lacks (Mandarin, Japanese: ㄴ/ㅇ/ㅁ and stops; Vietnamese, Thai, Mandarin: ㄹ; Japanese: added
vowels).

Every error must be audible in espeak-ng's Korean. espeak-ng pronounces ㅅ = ㅆ everywhere, ㄱ = ㄲ
except at the start of a word, and ㄷ = ㄸ, ㅂ = ㅃ after a stop (where Korean has only the second
of each pair). So no rule replaces a letter by the other of its pair in such a position.
"""

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass

from espnet_ext.text import hangul, korean

VOICE = "ko"  # name in espeak-ng
L1S = ("zh", "ja", "vi", "en", "th")


def canonical(sentence: str) -> str:
    """Return the standard pronunciation of a sentence, in Hangul.

    >>> canonical("점심을 먹었어요")
    '점시믈 머거써요'
    """
    return korean.pronounce(sentence, korean.LEARNER)


def espeak_input(surface: str) -> str:
    """Return the input of espeak-ng for a surface: the text itself, since it reads Hangul."""
    return surface


@dataclass(frozen=True)
class Rule:
    """A pronunciation error: letters that change in a certain position."""

    name: str
    slot: str  # "lead", "vowel" or "tail"
    rates: Mapping[str, float]  # first language → probability, for a weak learner
    # letter → letter that replaces it; for a tail also "" (deleted) or a new syllable
    change: Mapping[str, str]
    position: str = "any"  # a key of POSITIONS


# Predicates over the tail of the previous syllable: "" for none, None at the start of a word.
POSITIONS = {
    "any": lambda before: True,
    "initial": lambda before: before is None,
    "medial": lambda before: before is not None,
    "not after a stop": lambda before: before not in ("ㄱ", "ㄷ", "ㅂ"),
}

_PLAIN_OF_ASPIRATED = {"ㅋ": "ㄱ", "ㅌ": "ㄷ", "ㅍ": "ㅂ", "ㅊ": "ㅈ"}
_ASPIRATED_OF_PLAIN = {plain: aspirated for aspirated, plain in _PLAIN_OF_ASPIRATED.items()}
_NO_STOP = {"ㄱ": "", "ㄷ": "", "ㅂ": ""}

RULES = (
    Rule(
        "aspirated to plain",
        "lead",
        {"ja": 0.35, "vi": 0.2, "en": 0.15, "th": 0.1},
        _PLAIN_OF_ASPIRATED,
    ),
    Rule(
        "tense to plain",
        "lead",
        {"zh": 0.3, "ja": 0.35, "vi": 0.2, "en": 0.4},
        {"ㄸ": "ㄷ", "ㅃ": "ㅂ", "ㅉ": "ㅈ"},
        "not after a stop",
    ),
    Rule("tense ㄲ to plain", "lead", {"zh": 0.3, "ja": 0.35, "en": 0.4}, {"ㄲ": "ㄱ"}, "initial"),
    Rule(
        "tense to aspirated",
        "lead",
        {"en": 0.15, "zh": 0.15, "vi": 0.1},
        {"ㄲ": "ㅋ", "ㄸ": "ㅌ", "ㅃ": "ㅍ", "ㅉ": "ㅊ"},
        "initial",
    ),
    Rule(
        "plain to aspirated",
        "lead",
        {"en": 0.3, "zh": 0.12, "ja": 0.1},
        _ASPIRATED_OF_PLAIN,
        "initial",
    ),
    Rule(
        "plain to tense",
        "lead",
        {"vi": 0.25, "th": 0.25, "zh": 0.12},
        {"ㄱ": "ㄲ", "ㄷ": "ㄸ", "ㅂ": "ㅃ", "ㅈ": "ㅉ"},
        "initial",
    ),
    Rule(
        "ㅎ dropped", "lead", {"zh": 0.1, "ja": 0.1, "vi": 0.2, "th": 0.15}, {"ㅎ": "ㅇ"}, "medial"
    ),
    Rule("ㅓ to ㅗ", "vowel", {"ja": 0.35, "zh": 0.25, "vi": 0.15, "th": 0.15}, {"ㅓ": "ㅗ"}),
    Rule("ㅓ to ㅏ", "vowel", {"en": 0.3}, {"ㅓ": "ㅏ"}),
    Rule("ㅕ to ㅛ", "vowel", {"ja": 0.35, "zh": 0.1}, {"ㅕ": "ㅛ"}),
    Rule("ㅡ to ㅜ", "vowel", {"ja": 0.4, "zh": 0.25, "en": 0.35}, {"ㅡ": "ㅜ"}),
    Rule("ㅢ to ㅣ", "vowel", {"ja": 0.4, "en": 0.4, "vi": 0.25, "th": 0.25}, {"ㅢ": "ㅣ"}),
    Rule("ㅢ to ㅡ", "vowel", {"zh": 0.4, "vi": 0.25, "th": 0.25}, {"ㅢ": "ㅡ"}),
    Rule("ㅘ to ㅏ", "vowel", {"vi": 0.35, "th": 0.2, "zh": 0.1, "ja": 0.1}, {"ㅘ": "ㅏ"}),
    Rule("ㅝ to ㅓ", "vowel", {"vi": 0.35, "th": 0.3, "zh": 0.2}, {"ㅝ": "ㅓ"}),
    Rule("ㅝ to ㅗ", "vowel", {"ja": 0.35, "en": 0.25}, {"ㅝ": "ㅗ"}),
    Rule("ㅟ to ㅣ", "vowel", {"vi": 0.35, "th": 0.3, "en": 0.3, "ja": 0.2}, {"ㅟ": "ㅣ"}),
    Rule(
        "ㅙ, ㅚ, ㅞ to ㅔ",
        "vowel",
        {"vi": 0.35, "th": 0.25, "zh": 0.2},
        {"ㅙ": "ㅔ", "ㅚ": "ㅔ", "ㅞ": "ㅔ"},
    ),
    Rule(
        "y-glide dropped",
        "vowel",
        {"vi": 0.25, "th": 0.2, "zh": 0.12, "en": 0.12},
        {"ㅕ": "ㅓ", "ㅖ": "ㅔ", "ㅛ": "ㅗ", "ㅠ": "ㅜ"},
    ),
    Rule("tail ㄹ to ㄴ", "tail", {"vi": 0.45, "th": 0.5, "zh": 0.2}, {"ㄹ": "ㄴ"}),
    Rule("tail ㄹ dropped", "tail", {"zh": 0.3, "vi": 0.12}, {"ㄹ": ""}),
    Rule("tail stop dropped", "tail", {"zh": 0.35, "ja": 0.12, "vi": 0.12, "en": 0.08}, _NO_STOP),
    Rule("tail ㄱ to ㄷ", "tail", {"zh": 0.1, "ja": 0.1}, {"ㄱ": "ㄷ"}),
    Rule("tail ㅇ to ㄴ", "tail", {"zh": 0.2, "ja": 0.35, "en": 0.1}, {"ㅇ": "ㄴ"}),
    Rule("tail ㄴ to ㅇ", "tail", {"zh": 0.15, "ja": 0.2, "th": 0.08}, {"ㄴ": "ㅇ"}),
    Rule("tail ㅁ to ㄴ", "tail", {"zh": 0.2, "ja": 0.2}, {"ㅁ": "ㄴ"}),
    Rule(
        "vowel after a tail",
        "tail",
        {"ja": 0.4},
        {"ㄱ": "구", "ㄷ": "도", "ㅂ": "부", "ㄹ": "루", "ㅁ": "무"},
    ),
)


@functools.cache
def _rules_of(l1: str, slot: str, letter: str) -> tuple[Rule, ...]:
    """Return the rules that may change `letter` in a slot for speakers of `l1`."""
    return tuple(r for r in RULES if r.slot == slot and letter in r.change and l1 in r.rates)


def corrupt(canonical_text: str, l1: str, rate: float, rng: random.Random) -> str:
    """Return the surface of a learner: to each letter, the first rule that fires is applied.

    Characters that are not Hangul syllables are kept.

    Args:
        canonical_text: Standard pronunciation in Hangul.
        l1: First language.
        rate: Factor on the rates of the rules: 0 for no errors, 1 for a weak learner.
        rng: The same state gives the same surface.
    Raises:
        ValueError: `l1` is not in `L1S`.

    >>> corrupt("점시믈 머거써요", "ja", 0.0, random.Random(1))
    '점시믈 머거써요'
    >>> corrupt("점시믈 머거써요", "ja", 9.0, random.Random(1))
    '촌시무루 모고쏘요'
    """
    if l1 not in L1S:
        raise ValueError(f"there are no rules for the first language {l1!r}, only for {L1S}")
    return " ".join(_corrupt_word(word, l1, rate, rng) for word in canonical_text.split(" "))


def _corrupt_word(word: str, l1: str, rate: float, rng: random.Random) -> str:
    surface = ""
    previous_tail: str | None = None  # canonical
    for char in word:
        if not hangul.is_syllable(char):
            surface, previous_tail = surface + char, ""
            continue
        letters = dict(zip(("lead", "vowel", "tail"), hangul.split(char), strict=True))
        changed = {
            slot: _corrupt_letter(slot, letter, previous_tail, l1, rate, rng)
            for slot, letter in letters.items()
        }
        added = changed["tail"] if hangul.is_syllable(changed["tail"]) else ""
        tail = "" if added else changed["tail"]
        surface += hangul.join(changed["lead"], changed["vowel"], tail) + added
        previous_tail = letters["tail"]
    return surface


def _corrupt_letter(
    slot: str, letter: str, previous_tail: str | None, l1: str, rate: float, rng: random.Random
) -> str:
    for rule in _rules_of(l1, slot, letter):
        if POSITIONS[rule.position](previous_tail) and rng.random() < rule.rates[l1] * rate:
            return rule.change[letter]
    return letter
