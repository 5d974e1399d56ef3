"""N-gram models compared with a brute-force computation and with KenLM; ARPA files."""

import gzip
import itertools
import random

import pytest

from espnet_ext.bin import ngram, tokens
from espnet_ext.errors import UserError
from espnet_ext.text.ngram import BEGIN, END, UNKNOWN, estimate, read_arpa, write_arpa

TOKENS = "abcdef"


def random_texts(count=200, seed=0):
    source = random.Random(seed)
    draw = [source.choice(TOKENS[: source.randint(1, 6)]) for _ in range(9 * count)]
    return [draw[9 * i : 9 * i + source.randint(0, 9)] for i in range(count)]


@pytest.mark.parametrize("order", [2, 3, 5])
def test_probabilities_sum_to_one_in_every_context(order):
    model = estimate(random_texts(), order)
    contexts = {gram for gram in model.grams if len(gram) < order and gram[-1] != END}
    assert len(contexts) > 5
    for context in [(), *contexts, ("a", UNKNOWN), (UNKNOWN, "b")]:
        total = sum(10 ** model.score(context, token) for token in [*TOKENS, END, UNKNOWN])
        assert total == pytest.approx(1, abs=1e-9)


def brute_force(texts, discounts):
    """Return the bigram probability function by the formulas of Chen & Goodman."""
    lines = [[BEGIN, *text, END] for text in texts]
    pairs = list(itertools.chain.from_iterable(itertools.pairwise(line) for line in lines))
    vocabulary = {b for _, b in pairs}

    def unigram(token):
        def left_neighbours(w):
            return len({a for a, b in set(pairs) if b == w})

        counts = {w: left_neighbours(w) for w in vocabulary}
        total = sum(counts.values())
        backoff = sum(discounts[1][min(c, 3)] for c in counts.values()) / total
        count = counts.get(token, 0)
        observed = max(count - discounts[1][min(count, 3)], 0) / total
        return observed + backoff / (len(vocabulary) + 1)

    def bigram(context, token):
        counts = {w: pairs.count((context, w)) for w in vocabulary}
        total = sum(counts.values())
        backoff = sum(discounts[2][min(c, 3)] for c in counts.values()) / total
        count = counts.get(token, 0)
        return max(count - discounts[2][min(count, 3)], 0) / total + backoff * unigram(token)

    return bigram


def test_bigrams_match_brute_force():
    """The texts are so few that the fallback discounts are used."""
    texts = [list("abab"), list("aab"), list("cab"), []]
    fixed = (0.0, 0.5, 1.0, 1.5)
    expected = brute_force(texts, {1: fixed, 2: fixed})
    model = estimate(texts, 2)
    for context, token in itertools.product([BEGIN, *"abc"], [*"abc", END, UNKNOWN]):
        assert 10 ** model.score((context,), token) == pytest.approx(expected(context, token))


def test_discounts_match_chen_and_goodman():
    """Counts of counts 40, 20, 10, 5 give Y = 1/2 and discounts 0.5, 1.25 and 2.0."""
    from espnet_ext.text.ngram import FALLBACK_DISCOUNTS, _discounts

    counts = [1] * 40 + [2] * 20 + [3] * 10 + [4] * 5 + [9]
    expected = (0, 1 - 2 * 0.5 * 0.5, 2 - 3 * 0.5 * 0.5, 3 - 4 * 0.5 * 0.5)
    assert _discounts(counts) == pytest.approx(expected)
    assert _discounts([1, 1, 2]) == (0.0, *FALLBACK_DISCOUNTS)


@pytest.mark.parametrize("order", [2, 4])
def test_kenlm_scores_our_files_identically(order, tmp_path):
    kenlm = pytest.importorskip("kenlm", reason="pip install kenlm")
    texts = random_texts()
    write_arpa(tmp_path / "x.arpa", estimate(texts, order))
    kenlm_model, model = (
        kenlm.LanguageModel(str(tmp_path / "x.arpa")),
        read_arpa(tmp_path / "x.arpa"),
    )
    for text in texts[:60]:
        tokens = [*text, "unknown-token"]
        scores = [score for score, _, _ in kenlm_model.full_scores(" ".join(tokens))]
        context = (BEGIN,)
        for token, score in zip([*tokens, END], scores, strict=True):
            assert model.score(context, token) == pytest.approx(score, abs=1e-5)
            context = (*context, token)


def test_files_round_trip(tmp_path):
    model = estimate(random_texts(), 3)
    write_arpa(tmp_path / "x.arpa", model)
    compressed = tmp_path / "x.arpa.gz"
    compressed.write_bytes(gzip.compress((tmp_path / "x.arpa").read_bytes()))
    for path in (tmp_path / "x.arpa", compressed):
        loaded = read_arpa(path)
        assert loaded.order == 3 and loaded.grams.keys() == model.grams.keys()
        for gram, pair in model.grams.items():
            assert loaded.grams[gram] == pytest.approx(pair, abs=1e-5)


GOOD = """\\data\\
ngram 1=2
ngram 2=1

\\1-grams:
-1 a -0.3
-2 b

\\2-grams:
-0.5 a b

\\end\\
"""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD.replace("-0.5 a b", "-0.5 a"), ":10: not a line of an ARPA file"),
        (GOOD.replace("-2 b", "two b"), ":7: not a line"),
        (GOOD.replace("\\end\\", ""), "ends without"),
        (GOOD.replace("2=1", "2=7"), "its header declares"),
        ("mmap lm http://kheafield.com/code\x00\x01", "not a line of an ARPA file"),
        ("", "ends without"),
        (GOOD.replace("-2 b", "nan b"), ":7: not a line"),
        (GOOD.replace("-2 b", "2 b"), ":7: not a line"),
        (GOOD.replace("-0.3", "inf"), ":6: not a line"),
    ],
)
def test_invalid_file_raises_user_error(content, words, tmp_path):
    path = tmp_path / "x.arpa"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_arpa(path)
    assert words in str(caught.value) and str(path) in str(caught.value)
    path.write_text(GOOD)
    assert read_arpa(path).score(("a",), "b") == -0.5


def test_regular_texts_give_valid_probabilities():
    for seed in range(300):
        source = random.Random(seed)
        texts = [
            [source.choice("ab") for _ in range(source.randint(0, 4))]
            for _ in range(source.randint(1, 12))
        ]
        model = estimate(texts, 3)
        assert all(value <= 0 for value, _ in model.grams.values())


def test_unicode_spaces_are_tokens(tmp_path):
    write_arpa(tmp_path / "x.arpa", estimate([["\u3000", "a"], ["\u00a0", "b"], ["a", "b"]], 2))
    assert ("\u3000", "a") in read_arpa(tmp_path / "x.arpa").grams


def test_binary_and_missing_files_raise_user_error(tmp_path):
    (tmp_path / "x.arpa.gz").write_bytes(b"\x1f\x8bnot gzip at all")
    for name, words in (("x.arpa.gz", "cannot be read"), ("none.arpa", "no such n-gram model")):
        with pytest.raises(UserError, match=words):
            read_arpa(tmp_path / name)


def test_small_order_and_empty_text_raise_user_error():
    with pytest.raises(UserError, match="order 1"):
        estimate([["a"]], 1)
    with pytest.raises(UserError, match="no transcripts"):
        estimate([], 3)


def test_command(tmp_path, capsys):
    (tmp_path / "text.meaning").write_text("s1-a a cat\ns1-b <na>\ns1-c a cab\n")
    options = ["--input", str(tmp_path), "--output_name", "meaning", "--token_type", "char"]
    token_dir = str(tmp_path / "tokens")
    tokens.main([*options, "--token_dir", token_dir])
    options += ["--token_dir", token_dir, "--output", str(tmp_path / "x.arpa")]
    assert ngram.main([*options, "--order", "3"]) == 0
    model = read_arpa(tmp_path / "x.arpa")
    assert model.order == 3 and "2 transcripts" in capsys.readouterr().out
    assert ("<space>", "c", "a") in model.grams and ("t", END) in model.grams
    (tmp_path / "text.meaning").write_text("s1-b <na>\n")
    with pytest.raises(UserError, match="unlabelled"):
        ngram.main(options)
