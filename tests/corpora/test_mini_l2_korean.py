"""Tests of the Korean of the embedded corpus: sentences, and audible pronunciation errors."""

import functools
import importlib.util
import json
import random
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest

from espnet_ext.corpora.mini_l2 import korean
from espnet_ext.corpora.mini_l2.sentences import written
from espnet_ext.text import hangul
from espnet_ext.text.unicode import is_normal

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeak-ng (espeakng-loader) is not installed",
)
WORDS = sorted({word for sentence in written("ko") for word in sentence.split()})

# espeak-ng in its own process: reads a line of JSON, prints phoneme strings or the hash of samples.
ESPEAK = """
import ctypes, hashlib, json, sys
import espeakng_loader
lib = ctypes.CDLL(espeakng_loader.get_library_path())
assert lib.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0) > 0
assert lib.espeak_SetVoiceByName(b"ko") == 0
task, words = json.loads(sys.stdin.read())
if task == "phonemes":
    lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
    print(json.dumps([
        lib.espeak_TextToPhonemes(ctypes.byref(ctypes.c_char_p(w.encode())), 1, 0).decode()
        for w in words
    ]))
else:
    digest = hashlib.sha256()
    def receive(samples, count, events):
        if samples and count > 0:
            digest.update(ctypes.string_at(samples, 2 * count))
        return 0
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )
    callback = prototype(receive)
    lib.espeak_SetSynthCallback(callback)
    data = words[0].encode() + b"\\0"
    lib.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, 1, None, None)
    print(json.dumps(digest.hexdigest()))
"""


def ask_espeak(task: str, words: list[str]):
    request = json.dumps([task, words])
    done = subprocess.run(
        [sys.executable, "-c", ESPEAK], input=request, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def audible(words) -> dict[str, str]:
    """Return word → audible phonemes, without stress marks.

    espeak-ng writes s- (ㅆ) and q- (ㄲ within a word), but they sound like s and q.
    """
    words = sorted(words)
    phonemes = ask_espeak("phonemes", words)
    merged = [re.sub("([sq])-", r"\1", re.sub("[',]", "", word)) for word in phonemes]
    return dict(zip(words, merged, strict=True))


def apply_alone(rule: korean.Rule, word: str) -> set[str]:
    """Return all words that one application of a rule makes; independent of the implementation."""
    made = set()
    syllables = [hangul.split(s) for s in word]
    for i, letters in enumerate(syllables):
        slot = ("lead", "vowel", "tail").index(rule.slot)
        before = syllables[i - 1][2] if i else None
        allowed = {
            "any": True,
            "initial": i == 0,
            "medial": i > 0,
            "not after a stop": before not in ("ㄱ", "ㄷ", "ㅂ"),
        }[rule.position]
        if allowed and letters[slot] in rule.change:
            new = rule.change[letters[slot]]
            changed = list(letters)
            changed[slot] = "" if hangul.is_syllable(new) else new
            extra = new if hangul.is_syllable(new) else ""
            made.add(word[:i] + hangul.join(*changed) + extra + word[i + 1 :])
    return made


@functools.cache
def single_errors() -> dict[str, dict[str, set[str]]]:
    """Return rule name → canonical word → words that the rule makes of it."""
    canonical = {korean.canonical(word) for word in WORDS}
    return {
        rule.name: {word: made for word in canonical if (made := apply_alone(rule, word))}
        for rule in korean.RULES
    }


def test_sentences_are_many_short_and_normalized():
    sentences = written("ko")
    assert len(sentences) >= 420
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert is_normal(sentence)
        assert all(hangul.is_syllable(c) for c in sentence.replace(" ", "")), sentence
        assert 4 <= len(sentence.split()) <= 9, sentence
    assert any(s.endswith("니다") for s in sentences)
    assert all(sentence.endswith(("요", "니다")) for sentence in sentences)


def test_each_word_is_in_three_sentences():
    count = Counter(word for sentence in written("ko") for word in set(sentence.split()))
    assert min(count.values()) >= 3, [word for word in count if count[word] < 3]
    assert 300 <= len(count) <= 350


def test_words_of_held_out_sentences_are_in_two_training_sentences():
    from espnet_ext.corpora.mini_l2.build import split_sentences

    sentences = written("ko")
    split = split_sentences(sentences, 7)
    train = Counter(w for number in split["train"] for w in set(sentences[number].split()))
    for subset in ("valid", "test"):
        for number in split[subset]:
            assert all(train[word] >= 2 for word in sentences[number].split()), sentences[number]


def test_canonical_keeps_words_and_syllables():
    for sentence in written("ko"):
        pronounced = korean.canonical(sentence)
        assert list(map(len, pronounced.split())) == list(map(len, sentence.split()))


def test_rules_are_well_formed():
    assert len({rule.name for rule in korean.RULES}) == len(korean.RULES)
    for rule in korean.RULES:
        assert rule.rates.keys() <= set(korean.L1S) and all(0 < r <= 1 for r in rule.rates.values())
        assert rule.position in korean.POSITIONS
        sounds = {"lead": hangul.LEADS, "vowel": hangul.VOWELS, "tail": tuple("ㄱㄴㄷㄹㅁㅂㅇ")}
        for old, new in rule.change.items():
            assert old != new and old in sounds[rule.slot]
            added = rule.slot == "tail" and (new == "" or hangul.is_syllable(new))
            assert added or new in sounds[rule.slot]


# All rules fire (the first rule of each letter); worked out by hand from the table.
WEAK = [
    ("zh", "날씨", "난씨"),
    ("zh", "병워네", "푠어네"),
    ("zh", "비빔밥", "피빈바"),
    ("ja", "병워네", "푠오네"),
    ("ja", "학꾜", "하꾜"),  # within a word ㄲ sounds like ㄱ and is kept
    ("ja", "무늘", "무누루"),
    ("vi", "서우레 과이리", "소우레 까이리"),
    ("vi", "친구하고", "진구아고"),
    ("th", "배콰저메서", "빼가조메소"),
    ("en", "은행", "운핸"),
    ("en", "따뜨탄", "다두단"),
    ("en", "먹꼬", "마꼬"),
    ("th", "쉬어써요", "시오쏘오"),
]


@pytest.mark.parametrize(("l1", "canonical", "surface"), WEAK)
def test_all_possible_errors(l1, canonical, surface):
    assert korean.corrupt(canonical, l1, 100.0, random.Random(1)) == surface


@pytest.mark.parametrize("l1", korean.L1S)
def test_no_errors_at_rate_zero_and_more_at_higher_rates(l1):
    texts = [korean.canonical(sentence) for sentence in written("ko")]
    changed = []
    for rate in (0.0, 0.3, 1.0, 3.0):
        rng = random.Random(5)
        surfaces = [korean.corrupt(text, l1, rate, rng) for text in texts]
        changed.append(sum(map(str.__ne__, surfaces, texts)))
        assert all(len(s.split()) == len(t.split()) for s, t in zip(surfaces, texts, strict=True))
        assert all(map(is_normal, surfaces))
    assert changed[0] == 0
    assert 0 < changed[1] < changed[2] < changed[3]


def test_same_random_state_gives_the_same_surface():
    text = korean.canonical("학생들이 식당에서 점심을 먹습니다")
    several = {korean.corrupt(text, "ja", 1.0, random.Random(seed)) for seed in range(20)}
    again = {korean.corrupt(text, "ja", 1.0, random.Random(seed)) for seed in range(20)}
    assert several == again and len(several) > 5


def test_frequency_of_an_error_equals_its_rate():
    rule = next(rule for rule in korean.RULES if rule.name == "tail ㄹ to ㄴ")
    rng = random.Random(3)
    made = sum(korean.corrupt("날", "vi", 0.5, rng) == "난" for _ in range(4000))
    expected = 0.5 * rule.rates["vi"]
    assert abs(made / 4000 - expected) < 4 * (expected * (1 - expected) / 4000) ** 0.5


def test_lone_letters_are_kept_and_unknown_first_language_raises_value_error():
    assert korean.corrupt("ㅋㅋ", "ja", 9.0, random.Random(0)) == "ㅋㅋ"
    with pytest.raises(ValueError, match="'xx'"):
        korean.corrupt("가", "xx", 1.0, random.Random(0))


@pytest.mark.parametrize("rule", korean.RULES, ids=lambda rule: rule.name)
def test_every_rule_applies_to_the_sentences(rule):
    assert single_errors()[rule.name]


@needs_espeak
def test_every_single_error_is_audible():
    pairs = {
        (rule, word, new)
        for rule, words in single_errors().items()
        for word, made in words.items()
        for new in made
    }
    phonemes = audible({word for pair in pairs for word in pair[1:]})
    inaudible = [pair for pair in sorted(pairs) if phonemes[pair[1]] == phonemes[pair[2]]]
    assert not inaudible


@needs_espeak
@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("사", "싸", True),
        ("아사", "아싸", True),
        ("아가", "아까", True),
        ("가", "까", False),
        ("아다", "아따", False),
    ],
)
def test_equal_phonemes_have_equal_samples(first, second, same):
    assert (ask_espeak("hash", [first]) == ask_espeak("hash", [second])) is same
    phonemes = audible([first, second])
    assert (phonemes[first] == phonemes[second]) is same


@needs_espeak
def test_all_words_sound_different():
    phonemes = audible({korean.canonical(word) for word in WORDS})
    pairs = combinations(sorted(phonemes), 2)
    assert not [pair for pair in pairs if phonemes[pair[0]] == phonemes[pair[1]]]
