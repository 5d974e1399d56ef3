"""N-gram models: sums, a brute-force count of the same formulas, KenLM's reading of our files."""

import gzip
import itertools
import random

import pytest

from espnet_ext.bin import ngram
from espnet_ext.errors import UserError
from espnet_ext.text.ngram import BEGIN, END, UNKNOWN, estimate, read_arpa, write_arpa

TOKENS = "abcdef"


def made_up(count=200, seed=0):
    source = random.Random(seed)
    draw = [source.choice(TOKENS[: source.randint(1, 6)]) for _ in range(9 * count)]
    return [draw[9 * i : 9 * i + source.randint(0, 9)] for i in range(count)]


@pytest.mark.parametrize("order", [2, 3, 5])
def test_what_follows_any_context_sums_up_to_one(order):
    model = estimate(made_up(), order)
    contexts = {gram for gram in model.grams if len(gram) < order and gram[-1] != END}
    assert len(contexts) > 5
    for context in [(), *contexts, ("a", UNKNOWN), (UNKNOWN, "b")]:
        total = sum(10 ** model.score(context, token) for token in [*TOKENS, END, UNKNOWN])
        assert total == pytest.approx(1, abs=1e-9)


def brute_force(texts, discounts):
    """Bigrams by the formulas of Chen & Goodman, as they are written."""
    lines = [[BEGIN, *text, END] for text in texts]
    pairs = list(itertools.chain.from_iterable(itertools.pairwise(line) for line in lines))
    kinds = {b for _, b in pairs}

    def unigram(token):
        def left(w):
            return len({a for a, b in set(pairs) if b == w})

        counts = {w: left(w) for w in kinds}
        total = sum(counts.values())
        spare = sum(discounts[1][min(c, 3)] for c in counts.values()) / total
        kept = counts.get(token, 0)
        own = max(kept - discounts[1][min(kept, 3)], 0) / total
        return own + spare / (len(kinds) + 1)

    def bigram(context, token):
        counts = {w: pairs.count((context, w)) for w in kinds}
        total = sum(counts.values())
        spare = sum(discounts[2][min(c, 3)] for c in counts.values()) / total
        count = counts.get(token, 0)
        return max(count - discounts[2][min(count, 3)], 0) / total + spare * unigram(token)

    return bigram


def test_bigrams_as_the_formulas_have_them():
    """So few texts that the discounts are the fixed ones."""
    texts = [list("abab"), list("aab"), list("cab"), []]
    fixed = (0.0, 0.5, 1.0, 1.5)
    wanted = brute_force(texts, {1: fixed, 2: fixed})
    model = estimate(texts, 2)
    for context, token in itertools.product([BEGIN, *"abc"], [*"abc", END, UNKNOWN]):
        assert 10 ** model.score((context,), token) == pytest.approx(wanted(context, token))


def test_discounts_of_chen_and_goodman():
    """Of counts of counts 40, 20, 10, 5: Y = 1/2, so 0.5, 1.25 and 2.0."""
    from espnet_ext.text.ngram import FALLBACK, _discounts

    counts = [1] * 40 + [2] * 20 + [3] * 10 + [4] * 5 + [9]
    wanted = (0, 1 - 2 * 0.5 * 0.5, 2 - 3 * 0.5 * 0.5, 3 - 4 * 0.5 * 0.5)
    assert _discounts(counts) == pytest.approx(wanted)
    assert _discounts([1, 1, 2]) == (0.0, *FALLBACK)


@pytest.mark.parametrize("order", [2, 4])
def test_kenlm_reads_our_files_and_scores_the_same(order, tmp_path):
    kenlm = pytest.importorskip("kenlm", reason="pip install kenlm")
    texts = made_up()
    write_arpa(tmp_path / "x.arpa", estimate(texts, order))
    theirs, ours = kenlm.LanguageModel(str(tmp_path / "x.arpa")), read_arpa(tmp_path / "x.arpa")
    for text in texts[:60]:
        said = [*text, "nobody-knows"]
        scores = [score for score, _, _ in theirs.full_scores(" ".join(said))]
        context = (BEGIN,)
        for token, score in zip([*said, END], scores, strict=True):
            assert ours.score(context, token) == pytest.approx(score, abs=1e-5)
            context = (*context, token)


def test_files_say_what_was_estimated(tmp_path):
    model = estimate(made_up(), 3)
    write_arpa(tmp_path / "x.arpa", model)
    packed = tmp_path / "x.arpa.gz"
    packed.write_bytes(gzip.compress((tmp_path / "x.arpa").read_bytes()))
    for path in (tmp_path / "x.arpa", packed):
        again = read_arpa(path)
        assert again.order == 3 and again.grams.keys() == model.grams.keys()
        for gram, pair in model.grams.items():
            assert again.grams[gram] == pytest.approx(pair, abs=1e-5)


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
        (GOOD.replace("2=1", "2=7"), "its head says"),
        ("mmap lm http://kheafield.com/code\x00\x01", "not a line of an ARPA file"),
        ("", "ends without"),
        (GOOD.replace("-2 b", "nan b"), ":7: not a line"),
        (GOOD.replace("-2 b", "2 b"), ":7: not a line"),
        (GOOD.replace("-0.3", "inf"), ":6: not a line"),
    ],
)
def test_files_that_are_none(content, words, tmp_path):
    path = tmp_path / "x.arpa"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_arpa(path)
    assert words in str(caught.value) and str(path) in str(caught.value)
    path.write_text(GOOD)
    assert read_arpa(path).score(("a",), "b") == -0.5


def test_texts_so_regular_that_a_discount_would_be_nothing():
    for seed in range(300):
        source = random.Random(seed)
        texts = [
            [source.choice("ab") for _ in range(source.randint(0, 4))]
            for _ in range(source.randint(1, 12))
        ]
        model = estimate(texts, 3)
        assert all(value <= 0 for value, _ in model.grams.values())


def test_spaces_of_other_scripts_are_tokens(tmp_path):
    write_arpa(tmp_path / "x.arpa", estimate([["\u3000", "a"], ["\u00a0", "b"], ["a", "b"]], 2))
    assert ("\u3000", "a") in read_arpa(tmp_path / "x.arpa").grams


def test_binary_and_missing_files(tmp_path):
    (tmp_path / "x.arpa.gz").write_bytes(b"\x1f\x8bnot gzip at all")
    for name, words in (("x.arpa.gz", "cannot be read"), ("none.arpa", "no such n-gram model")):
        with pytest.raises(UserError, match=words):
            read_arpa(tmp_path / name)


def test_orders_and_texts_of_nothing():
    with pytest.raises(UserError, match="order 1"):
        estimate([["a"]], 1)
    with pytest.raises(UserError, match="no transcripts"):
        estimate([], 3)


def test_command(tmp_path, capsys):
    (tmp_path / "text.meaning").write_text("s1-a a cat\ns1-b <na>\ns1-c a cab\n")
    options = ["--input", str(tmp_path), "--output_name", "meaning", "--token_type", "char"]
    options += ["--token_dir", str(tmp_path), "--output", str(tmp_path / "x.arpa")]
    assert ngram.main([*options, "--order", "3"]) == 0
    model = read_arpa(tmp_path / "x.arpa")
    assert model.order == 3 and "2 transcripts" in capsys.readouterr().out
    assert ("<space>", "c", "a") in model.grams and ("t", END) in model.grams
    (tmp_path / "text.meaning").write_text("s1-b <na>\n")
    with pytest.raises(UserError, match="unlabelled"):
        ngram.main(options)
