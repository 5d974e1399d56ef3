"""Edit counts and alignments compared with brute force, jiwer and ESPnet."""

import random

import jiwer
import pytest
from brute_force import edit_distance
from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.scoring.counts import (
    Counts,
    align,
    align_texts,
    count_edits,
    edit_distances,
    tokenize,
)


def random_texts(alphabet, count, length, seed):
    generator = random.Random(seed)
    return [
        " ".join(
            "".join(generator.choices(alphabet, k=generator.randint(1, 3)))
            for _ in range(generator.randint(1, length))
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("metric", ["cer", "wer", "per"])
def test_errors_match_the_edit_distance_and_lengths_add_up(metric):
    references = random_texts("가나다ㄱ", 40, 6, 1)
    hypotheses = random_texts("가나다ㄱ", 39, 6, 2) + [""]
    alignments = align_texts(references, hypotheses, metric)
    for reference, hypothesis, alignment in zip(references, hypotheses, alignments, strict=True):
        r, h = tokenize(reference, metric), tokenize(hypothesis, metric)
        counts = count_edits(alignment)
        assert counts.errors == edit_distance(tuple(r), tuple(h))
        assert counts.tokens == len(r)
        assert counts.tokens - counts.deletions + counts.insertions == len(h)


def test_alignment_matches_both_sequences():
    references = [list("abcab"), list("aa")]
    hypotheses = [list("xbcaab"), list("")]
    alignments = align(references, hypotheses)
    for r, h, alignment in zip(references, hypotheses, alignments, strict=True):
        i = j = 0
        for letter in alignment:
            assert (letter == "=") == (letter in "=s" and r[i] == h[j])
            i += letter in "=sd"
            j += letter in "=si"
        assert (i, j) == (len(r), len(h))


def test_error_rates_match_jiwer():
    references, hypotheses = random_texts("ab", 50, 5, 3), random_texts("ab", 50, 5, 4)
    for metric, oracle in (("cer", jiwer.cer), ("wer", jiwer.wer)):
        total = sum(map(count_edits, align_texts(references, hypotheses, metric)), Counts())
        assert total.rate == pytest.approx(100 * oracle(references, hypotheses), abs=1e-9)


def test_cer_tokens_match_espnet():
    tokenizer = pytest.importorskip("espnet2.text.char_tokenizer").CharTokenizer()
    for text in ["국물 맛이 좋아요", "a  b ", "ㄱ 값", "one"]:
        squeezed = " ".join(text.split())  # as ESPnet's scoring does
        assert tokenize(text, "cer") == tokenizer.text2tokens(squeezed)


def test_unknown_symbol_is_one_character():
    counts = count_edits(align_texts(["국물"], ["국<unk>"], "cer")[0])
    assert (counts.substitutions, counts.insertions) == (1, 0)


def test_empty_sequences():
    assert count_edits(align([[]], [["a"]])[0]).insertions == 1
    assert count_edits(align([[]], [[]])[0]).rate is None
    assert count_edits(align([["a", "b"]], [[]])[0]).rate == 100.0
    assert align([], []) == []


def test_unknown_metric_raises_value_error():
    with pytest.raises(ValueError, match="ter"):
        tokenize("a", "ter")


LETTERS = {"equal": "=", "substitute": "s", "delete": "d", "insert": "i"}


def jiwer_alignments(references, hypotheses):
    """Return alignments made from jiwer's chunks."""
    output = jiwer.process_words(
        references, hypotheses, reference_transform=lambda x: x, hypothesis_transform=lambda x: x
    )
    return [
        "".join(
            LETTERS[c.type] * max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx)
            for c in chunks
        )
        for chunks in output.alignments
    ]


tokens = st.lists(st.sampled_from(["a", "b", "AA", "<space>", "", "가", "\ud800"]), max_size=14)


@given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=6))
def test_alignments_match_jiwer_for_any_tokens(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    alignments = align(references, hypotheses)
    assert alignments == jiwer_alignments(references, hypotheses)
    assert edit_distances(references, hypotheses) == [count_edits(c).errors for c in alignments]


def test_alignments_match_jiwer_if_several_have_the_same_cost():
    generator = random.Random(7)
    pairs = [(["a"] * n, ["a"] * m) for n in range(9) for m in range(9)]
    pairs += [(list("ab" * 30), list("ba" * 29)), (list("abc" * 90), list("cab" * 80))]
    pairs += [
        (
            generator.choices("ab", k=generator.randint(0, 150)),
            generator.choices("ab", k=generator.randint(0, 150)),
        )
        for _ in range(60)
    ]
    references, hypotheses = map(list, zip(*pairs, strict=True))
    assert align(references, hypotheses) == jiwer_alignments(references, hypotheses)


def test_alignments_match_jiwer_for_many_distinct_tokens():
    references = [[f"w{i}", f"w{i + 1}", "x"] for i in range(40)]
    hypotheses = [[f"w{i}", "x", f"w{i + 2}"] for i in range(40)]
    assert align(references, hypotheses) == jiwer_alignments(references, hypotheses)


def test_different_numbers_of_sequences_raise_value_error():
    with pytest.raises(ValueError):
        align([["a"]], [])
