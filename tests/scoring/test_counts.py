"""Counts against brute force, jiwer's own error rates and ESPnet's character tokenizer."""

import functools
import random
from types import SimpleNamespace

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.scoring import counts
from espnet_ext.scoring.counts import (
    Counts,
    align,
    align_texts,
    counts_of,
    edit_distances,
    tokenize,
)


def edit_distance(a, b):
    """Levenshtein's recursion, written down as defined."""

    @functools.cache
    def distance(i, j):
        if not i or not j:
            return i + j
        return min(
            distance(i - 1, j) + 1,
            distance(i, j - 1) + 1,
            distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]),
        )

    return distance(len(a), len(b))


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
def test_errors_are_the_edit_distance_and_lengths_add_up(metric):
    references = random_texts("가나다ㄱ", 40, 6, 1)
    hypotheses = random_texts("가나다ㄱ", 39, 6, 2) + [""]
    columns = align_texts(references, hypotheses, metric)
    for reference, hypothesis, letters in zip(references, hypotheses, columns, strict=True):
        r, h = tokenize(reference, metric), tokenize(hypothesis, metric)
        counts = counts_of(letters)
        assert counts.errors == edit_distance(tuple(r), tuple(h))
        assert counts.tokens == len(r)
        assert counts.tokens - counts.deletions + counts.insertions == len(h)


def test_columns_rebuild_the_hypothesis():
    references = [list("abcab"), list("aa")]
    hypotheses = [list("xbcaab"), list("")]
    for r, h, letters in zip(references, hypotheses, align(references, hypotheses), strict=True):
        i = j = 0
        for letter in letters:
            assert (letter == "=") == (letter in "=s" and r[i] == h[j])
            i += letter in "=sd"
            j += letter in "=si"
        assert (i, j) == (len(r), len(h))


def test_totals_are_jiwers():
    references, hypotheses = random_texts("ab", 50, 5, 3), random_texts("ab", 50, 5, 4)
    for metric, oracle in (("cer", jiwer.cer), ("wer", jiwer.wer)):
        total = sum(map(counts_of, align_texts(references, hypotheses, metric)), Counts())
        assert total.rate == pytest.approx(100 * oracle(references, hypotheses), abs=1e-9)


def test_characters_are_espnets():
    tokenizer = pytest.importorskip("espnet2.text.char_tokenizer").CharTokenizer()
    for text in ["국물 맛이 좋아요", "a  b ", "ㄱ 값", "one"]:
        squeezed = " ".join(text.split())  # what ESPnet's `-f 2-` does to a line
        assert tokenize(text, "cer") == tokenizer.text2tokens(squeezed)


def test_empty_sides():
    assert counts_of(align([[]], [["a"]])[0]).insertions == 1
    assert counts_of(align([[]], [[]])[0]).rate is None
    assert counts_of(align([["a", "b"]], [[]])[0]).rate == 100.0
    assert align([], []) == []


def test_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="ter"):
        tokenize("a", "ter")


LETTERS = {"equal": "=", "substitute": "s", "delete": "d", "insert": "i"}


def jiwers(references, hypotheses):
    """Columns as jiwer's own chunks give them."""
    found = jiwer.process_words(
        references, hypotheses, reference_transform=lambda x: x, hypothesis_transform=lambda x: x
    )
    return [
        "".join(
            LETTERS[c.type] * max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx)
            for c in chunks
        )
        for chunks in found.alignments
    ]


tokens = st.lists(st.sampled_from(["a", "b", "AA", "<space>", "", "가", "\ud800"]), max_size=14)


@given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=6))
def test_columns_are_jiwers_whatever_the_tokens(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    found = align(references, hypotheses)
    assert found == jiwers(references, hypotheses)
    assert edit_distances(references, hypotheses) == [counts_of(c).errors for c in found]


def test_columns_are_jiwers_where_many_alignments_cost_the_same():
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
    assert align(references, hypotheses) == jiwers(references, hypotheses)


def test_more_tokens_than_there_are_characters(monkeypatch):
    references = [[f"w{i}", f"w{i + 1}", "x"] for i in range(40)]
    hypotheses = [[f"w{i}", "x", f"w{i + 2}"] for i in range(40)]
    wanted = jiwers(references, hypotheses)
    monkeypatch.setattr(counts, "sys", SimpleNamespace(maxunicode=10))
    assert align(references, hypotheses) == wanted


def test_sides_of_different_length_are_refused():
    with pytest.raises(ValueError):
        align([["a"]], [])
