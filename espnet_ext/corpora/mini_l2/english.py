"""English of the embedded corpus: rules for the pronunciation errors of learners, by phone.

The rules are substitutions, deletions and insertions that the literature reports for a first
language (Swan & Smith, Learner English, 2001; Flege 1995 for vowels); they also occur in the
annotation of L2-ARCTIC (Zhao et al., 2018). The rates are those of a weak learner. The level of a
speaker scales all rates.
"""

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass

from espnet_ext.text import english_lexicon, phones

VOICE = "en-us"  # name in espeak-ng
L1S = ("ko", "zh", "es", "ja", "vi", "ar")


def canonical(sentence: str) -> str:
    """Return the canonical phones of a sentence.

    >>> canonical("very good")
    'V EH R IY G UH D'
    """
    return english_lexicon.pronounce(sentence)


def espeak_input(surface: str) -> str:
    """Return the input of espeak-ng for a surface: phonemes, so that the errors are audible."""
    return phones.to_espeak(surface)


@dataclass(frozen=True)
class Rule:
    """A pronunciation error: phones that change in a certain position."""

    name: str
    rates: Mapping[str, float]  # first language → probability, for a weak learner
    change: Mapping[str, str]  # phone → phones that replace it; "" deletes it
    position: str = "any"  # a key of POSITIONS


# Predicates over the neighbouring phones (None at the ends). A coda is not followed by a vowel.
POSITIONS = {
    "any": lambda before, after: True,
    "onset": lambda before, after: after in phones.VOWELS,
    "coda": lambda before, after: after not in phones.VOWELS,
    "final": lambda before, after: after is None,
    "second_of_coda": lambda before, after: (
        before in phones.CONSONANTS and after not in phones.VOWELS
    ),
    "before_high_front": lambda before, after: after in ("IY", "IH"),
    "before_high_back": lambda before, after: after in ("UW", "UH"),
    "start_of_cluster": lambda before, after: (
        before not in phones.VOWELS and after in ("P", "T", "K", "M", "N", "L", "W")
    ),
}


def _all(rate: float) -> dict[str, float]:
    return dict.fromkeys(L1S, rate)


def _followed_by(vowel: str, consonants: str) -> dict[str, str]:
    return {one: f"{one} {vowel}" for one in consonants.split()}


_DEVOICED = {"B": "P", "D": "T", "G": "K", "V": "F", "Z": "S", "JH": "CH"}

RULES = (
    Rule("f to p", {"ko": 0.55}, {"F": "P"}),
    Rule("f to h before u", {"ja": 0.2}, {"F": "HH"}),
    Rule("v to b", {"ko": 0.55, "ja": 0.5, "es": 0.6}, {"V": "B"}),
    Rule("v to w", {"zh": 0.5, "vi": 0.2}, {"V": "W"}),
    Rule("v to f", {"ar": 0.6}, {"V": "F"}),
    Rule("p to b", {"ar": 0.5}, {"P": "B"}),
    Rule("z to j", {"ko": 0.4, "ja": 0.2}, {"Z": "JH"}),
    Rule("z to s", {"es": 0.5, "vi": 0.3, "zh": 0.25}, {"Z": "S"}),
    Rule("zh to j", {"ko": 0.7, "ja": 0.6, "es": 0.4, "vi": 0.3}, {"ZH": "JH"}),
    Rule("th to s", {"ko": 0.5, "ja": 0.6, "zh": 0.5, "ar": 0.3}, {"TH": "S"}),
    Rule("th to t", {"vi": 0.6, "es": 0.5, "ar": 0.2}, {"TH": "T"}),
    Rule("dh to d", {"ko": 0.45, "es": 0.45, "vi": 0.45, "zh": 0.25}, {"DH": "D"}),
    Rule("dh to z", {"ja": 0.5, "zh": 0.25, "ar": 0.35}, {"DH": "Z"}),
    Rule("r to l", {"ko": 0.3, "ja": 0.4, "zh": 0.15}, {"R": "L"}, "onset"),
    Rule("l to r", {"ko": 0.2, "ja": 0.4}, {"L": "R"}, "onset"),
    Rule("coda l to n", {"vi": 0.45, "zh": 0.15}, {"L": "N"}, "coda"),
    Rule("coda l dropped", {"zh": 0.3, "vi": 0.2}, {"L": ""}, "coda"),
    Rule("coda r dropped", {"ko": 0.2, "ja": 0.35, "zh": 0.3, "vi": 0.35}, {"R": ""}, "coda"),
    Rule("s to sh before i", {"ja": 0.45, "ko": 0.25}, {"S": "SH"}, "before_high_front"),
    Rule("h to f before u", {"ja": 0.5}, {"HH": "F"}, "before_high_back"),
    Rule("w dropped before u", {"ko": 0.4, "ja": 0.4}, {"W": ""}, "before_high_back"),
    Rule("y dropped before i", {"ko": 0.4, "ja": 0.4, "zh": 0.2}, {"Y": ""}, "before_high_front"),
    Rule("sh to ch", {"es": 0.5}, {"SH": "CH"}),
    Rule("sh to s", {"vi": 0.5}, {"SH": "S"}),
    Rule("j to y", {"es": 0.35}, {"JH": "Y"}),
    Rule("y to j", {"es": 0.3}, {"Y": "JH"}),
    Rule("j to z", {"vi": 0.4}, {"JH": "Z"}),
    Rule("ch to sh", {"ar": 0.35, "vi": 0.2}, {"CH": "SH"}),
    Rule("s-cluster opened by e", {"es": 0.6, "ar": 0.2}, {"S": "EH S"}, "start_of_cluster"),
    Rule(
        "coda cluster cut",
        {"vi": 0.35, "zh": 0.2, "es": 0.2, "ko": 0.08},
        dict.fromkeys(("T", "D", "K", "S", "Z"), ""),
        "second_of_coda",
    ),
    Rule(
        "coda stop dropped",
        {"vi": 0.2, "zh": 0.12},
        dict.fromkeys(("T", "D", "K", "P"), ""),
        "coda",
    ),
    Rule("coda devoiced", {"zh": 0.4, "vi": 0.35, "es": 0.3, "ko": 0.12}, _DEVOICED, "coda"),
    Rule("coda n to ng", {"zh": 0.15, "es": 0.06}, {"N": "NG"}, "coda"),
    Rule("coda ng to n", {"es": 0.35, "zh": 0.15, "ar": 0.1}, {"NG": "N"}, "coda"),
    Rule("coda m to n", {"es": 0.2, "ja": 0.15}, {"M": "N"}, "coda"),
    Rule(
        "u after a coda",
        {"ko": 0.22, "ja": 0.3},
        _followed_by("UH", "B P K G F V S Z TH L"),
        "coda",
    ),
    Rule("o after t and d", {"ja": 0.35}, _followed_by("OW", "T D"), "coda"),
    Rule("i after affricates", {"ko": 0.45, "ja": 0.45}, _followed_by("IH", "CH JH SH"), "coda"),
    Rule("u after t and d", {"ko": 0.2}, _followed_by("UH", "T D"), "coda"),
    Rule("schwa after a coda", {"zh": 0.14}, _followed_by("AH", "B P K G F V S T D"), "coda"),
    Rule("i within clusters", {"ar": 0.25}, _followed_by("IH", "B P K G F V S Z T D"), "coda"),
    Rule("lax i tensed", _all(0.25), {"IH": "IY"}),
    Rule("tense i laxed", {"ko": 0.1, "zh": 0.12, "ar": 0.15}, {"IY": "IH"}),
    Rule("ae to eh", {"ko": 0.35, "zh": 0.3, "vi": 0.25, "ar": 0.2}, {"AE": "EH"}),
    Rule("ae to aa", {"ja": 0.4, "es": 0.4}, {"AE": "AA"}),
    Rule("lax u tensed", _all(0.35), {"UH": "UW"}),
    Rule("ah to aa", {"ja": 0.2, "es": 0.2, "vi": 0.1}, {"AH": "AA"}),
    Rule("ah to eh", {"ar": 0.12, "ko": 0.06}, {"AH": "EH"}),
    Rule("er to ah", {"ja": 0.4, "ko": 0.25, "zh": 0.2, "vi": 0.3}, {"ER": "AH"}),
    Rule("er to eh r", {"es": 0.35, "ar": 0.35}, {"ER": "EH R"}),
    Rule("ao to ow", {"ko": 0.3, "es": 0.25, "ja": 0.25, "ar": 0.2}, {"AO": "OW"}),
    Rule("ey to eh", {"vi": 0.25, "ar": 0.25, "zh": 0.2}, {"EY": "EH"}),
    Rule("ow to ao", {"ar": 0.3, "vi": 0.2, "zh": 0.12}, {"OW": "AO"}),
)


@functools.cache
def _rules_of(l1: str) -> dict[str, tuple[Rule, ...]]:
    """Return phone → the rules that may change it for speakers of `l1`."""
    return {
        phone: tuple(rule for rule in RULES if phone in rule.change and l1 in rule.rates)
        for phone in phones.PHONES
    }


def corrupt(canonical_text: str, l1: str, rate: float, rng: random.Random) -> str:
    """Return the surface of a learner: to each phone, the first rule that fires is applied.

    Args:
        canonical_text: Canonical phones.
        l1: First language.
        rate: Factor on the rates of the rules: 0 for no errors, 1 for a weak learner.
        rng: The same state gives the same surface.

    >>> corrupt("F IH SH", "ko", 0.0, random.Random(1))
    'F IH SH'
    >>> corrupt("F IH SH", "ko", 9.0, random.Random(1))
    'P IY SH IH'
    """
    canonical_phones = canonical_text.split()
    before = [None, *canonical_phones[:-1]]
    after = [*canonical_phones[1:], None]
    rules = _rules_of(l1)
    surface: list[str] = []
    for phone, *neighbours in zip(canonical_phones, before, after, strict=True):
        for rule in rules[phone]:
            in_position = POSITIONS[rule.position](*neighbours)
            if in_position and rng.random() < rule.rates[l1] * rate:
                surface += rule.change[phone].split()
                break
        else:
            surface.append(phone)
    return " ".join(surface)
