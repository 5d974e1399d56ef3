"""Korean of the embedded corpus: what learners make of its sentences, letter by letter.

A rule changes one letter (a syllable's lead, vowel or tail) of the *pronounced* form. The patterns
are those that studies of Korean as a foreign language report for a first language: the three-way
stop contrast, ㅓ and ㅡ without a counterpart, glides, and the tails that a language lacks
(Mandarin, Japanese: ㄴ/ㅇ/ㅁ and stops; Vietnamese, Thai, Mandarin: ㄹ; Japanese: added vowels).

Every error is one that espeak-ng's Korean voices. It says ㅅ = ㅆ everywhere, ㄱ = ㄲ except at the
beginning of a word, and ㄷ = ㄸ, ㅂ = ㅃ after a stop (the second of each pair is then the only one
that Korean has). No rule crosses one of these pairs in such a place, so that a difference between
two of these letters is never an error and always a property of the word.
"""

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass

from espnet_ext.text import hangul, korean

VOICE = "ko"  # of espeak-ng
L1S = ("zh", "ja", "vi", "en", "th")


def canonical(sentence: str) -> str:
    """The standard pronunciation that a sentence should have, in Hangul.

    >>> canonical("점심을 먹었어요")
    '점시믈 머거써요'
    """
    return korean.pronounce(sentence, korean.LEARNER)


def espeak_input(surface: str) -> str:
    """What espeak-ng is given to say a surface text: the text, since it reads Hangul."""
    return surface


@dataclass(frozen=True)
class Rule:
    """One error: letters that change where they stand in a certain place."""

    name: str
    slot: str  # "lead", "vowel" or "tail"
    rates: Mapping[str, float]  # first language → probability, for a weak learner
    change: Mapping[str, str]  # letter → letter instead; a tail also to "" or to a new syllable
    place: str = "any"  # a key of PLACES


# Places are told from the tail of the syllable before: "" for none, None at a word's beginning.
PLACES = {
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
    """The rules that may change `letter` in a slot, in the mouth of a speaker of `l1`."""
    return tuple(r for r in RULES if r.slot == slot and letter in r.change and l1 in r.rates)


def corrupt(canonical_text: str, l1: str, rate: float, rng: random.Random) -> str:
    """The surface of a learner: every letter meets its rules in order, the first that fires wins.

    `rate` scales the rules' rates: 0 is a speaker without errors, 1 a weak learner. The same
    state of `rng` gives the same surface. Lone letters stay. Raises ValueError for an `l1` that
    is not in `L1S`.

    >>> corrupt("점시믈 머거써요", "ja", 0.0, random.Random(1))
    '점시믈 머거써요'
    >>> corrupt("점시믈 머거써요", "ja", 9.0, random.Random(1))
    '촌시무루 모고쏘요'
    """
    if l1 not in L1S:
        raise ValueError(f"no errors are known for the first language {l1!r}, only for {L1S}")
    return " ".join(_corrupt_word(word, l1, rate, rng) for word in canonical_text.split(" "))


def _corrupt_word(word: str, l1: str, rate: float, rng: random.Random) -> str:
    said = ""
    before: str | None = None  # the tail before, as it should have been
    for char in word:
        if not hangul.is_syllable(char):
            said, before = said + char, ""
            continue
        letters = dict(zip(("lead", "vowel", "tail"), hangul.split(char), strict=True))
        changed = {
            slot: _corrupt_letter(slot, letter, before, l1, rate, rng)
            for slot, letter in letters.items()
        }
        added = changed["tail"] if hangul.is_syllable(changed["tail"]) else ""
        tail = "" if added else changed["tail"]
        said += hangul.join(changed["lead"], changed["vowel"], tail) + added
        before = letters["tail"]
    return said


def _corrupt_letter(
    slot: str, letter: str, before: str | None, l1: str, rate: float, rng: random.Random
) -> str:
    for rule in _rules_of(l1, slot, letter):
        if PLACES[rule.place](before) and rng.random() < rule.rates[l1] * rate:
            return rule.change[letter]
    return letter
