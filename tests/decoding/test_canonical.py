"""Decoding with canonical forms: the error model, its scorer, and the search with both.

Expected probabilities are sums over all alignments, which a recursive function enumerates.
"""

import itertools
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from espnet_ext.decoding.beam import BeamSearch
from espnet_ext.decoding.canonical import CanonicalPrior, CanonicalScorer
from espnet_ext.decoding.canonical_command import CanonicalOptions, use_canonical
from espnet_ext.decoding.canonical_forms import parse_all, parse_canonical, pronouncer
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.pronunciation_errors import PronunciationErrors
from espnet_ext.decoding.scorers import build_scorer
from espnet_ext.errors import UserError
from espnet_ext.text.tokenizers import CharTokenizer, WordTokenizer

sys.path.insert(0, str(Path(__file__).parent))
import search_models  # noqa: E402

VOCABULARY = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]
EOS = len(VOCABULARY) - 1
CANONICAL = [list(text) for text in ("abc", "abab", "b", "cab", "aab", "bc", "ab")]
SURFACE = [list(text) for text in ("abc", "abb", "bab", "cb", "aac", "c", "ab")]


@pytest.fixture(scope="module")
def errors():
    return PronunciationErrors.estimate(CANONICAL, SURFACE)


def brute_force(errors, canonical, surface):
    """Return P(surface | canonical): the sum over all alignments, enumerated one by one."""
    id_of = {token: i for i, token in enumerate(errors.tokens)}

    def total(canonical, surface):
        probability = 0.0
        if surface:
            inserted = errors.insertion * float(errors.inserted[id_of[surface[0]]])
            probability += inserted * total(canonical, surface[1:])
        if not canonical:
            return probability + (0.0 if surface else 1.0 - errors.insertion)
        row = errors.pronounced[id_of[canonical[0]]] * (1.0 - errors.insertion)
        probability += float(row[0]) * total(canonical[1:], surface)
        if surface:
            pronounced = float(row[1 + id_of[surface[0]]])
            probability += pronounced * total(canonical[1:], surface[1:])
        return probability

    return total(tuple(canonical), tuple(surface))


def score(errors, canonical, surface, vocabulary=VOCABULARY):
    """Return the sum of the scores of the scorer's steps, with eos."""
    scorer = CanonicalScorer(errors, vocabulary, [canonical])
    scorer.start(torch.zeros(1, 1, 1, dtype=torch.double), torch.tensor([1]), 1)
    tokens, total = torch.tensor([[len(vocabulary) - 1]]), 0.0
    for token in [*surface, "<sos/eos>"]:
        scores = scorer.step(tokens)
        assert float(scores.exp().sum()) == pytest.approx(1.0)
        total += float(scores[0, 0, vocabulary.index(token)])
        tokens = torch.tensor([[vocabulary.index(token)]])
    return total


@pytest.mark.parametrize("canonical", ["", "a", "ab", "abc", "bb"])
@pytest.mark.parametrize("surface", ["", "a", "ba", "abc", "ccab"])
def test_log_probability_is_the_sum_over_all_alignments(errors, canonical, surface):
    expected = math.log(brute_force(errors, canonical, surface))
    actual = errors.log_probs([list(canonical)], [list(surface)])
    assert float(actual) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("canonical", ["", "a", "cab"])
def test_probabilities_of_all_surface_forms_add_up_to_one(errors, canonical):
    surfaces = [
        list(tokens) for length in range(9) for tokens in itertools.product("abc", repeat=length)
    ]
    log_probs = errors.log_probs([list(canonical)] * len(surfaces), surfaces)
    assert 0.995 < float(log_probs.exp().sum()) <= 1.0 + 1e-9


@pytest.mark.parametrize("canonical", ["", "a", "abc", "bbc"])
@pytest.mark.parametrize("surface", ["", "b", "abc", "cca"])
def test_step_scores_add_up_to_the_log_probability(errors, canonical, surface):
    model = errors.with_tokens(["<unk>"])
    expected = math.log(brute_force(model, canonical, surface))
    assert score(errors, [[tuple(canonical)]], surface) == pytest.approx(expected, abs=1e-9)


def test_alternative_pronunciations_are_a_mixture(errors):
    model = errors.with_tokens(["<unk>"])
    whole = [[("a", "b"), ("c",), ("b", "b", "c")]]
    expected = sum(brute_force(model, form, "ab") for form in ("ab", "c", "bbc")) / 3
    assert score(errors, whole, "ab") == pytest.approx(math.log(expected), abs=1e-9)
    words = [[("a",)], [("b",), ("c", "b")], [("c", "a"), ("a",)]]
    forms = ["".join(map("".join, path)) for path in itertools.product(*words)]
    expected = sum(brute_force(model, form, "acb") for form in forms) / len(forms)
    assert score(errors, words, "acb") == pytest.approx(math.log(expected), abs=1e-9)


def test_unknown_tokens_are_possible(errors):
    vocabulary = [*VOCABULARY[:-1], "z", "<sos/eos>"]  # z: never in the training pairs
    assert -20 < score(errors, [[("a", "y")]], "az", vocabulary) < -5
    assert score(errors, [[("z",)]], "z", vocabulary) > math.log(0.1)  # tokens mostly match
    assert math.isfinite(float(errors.log_probs([["y"]], [["x"]])))


def test_tokens_that_the_output_lacks_are_not_counted(errors):
    """Their probability goes to the other tokens, or the steps' scores would not add up to 1."""
    score(errors, [[tuple("abc")]], "a", ["<blank>", "a", "<sos/eos>"])


def test_scores_do_not_depend_on_the_batch(errors):
    forms = [[[tuple("abc")]], None, [[tuple("b")], [tuple("ca"), tuple("a")]], [[()]]]
    batch = CanonicalScorer(errors, VOCABULARY, forms)
    batch.start(torch.zeros(4, 1, 1, dtype=torch.double), torch.ones(4), 2)
    singles = [CanonicalScorer(errors, VOCABULARY, [form]) for form in forms]
    for scorer in singles:
        scorer.start(torch.zeros(1, 1, 1, dtype=torch.double), torch.ones(1), 2)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.full((4, 2), EOS)
    rows = [0, 1, 2, 3]
    for step in range(5):
        scores = batch.step(tokens)
        expected = torch.cat([singles[row].step(tokens[[i]]) for i, row in enumerate(rows)])
        torch.testing.assert_close(scores, expected)
        assert not bool(scores[rows.index(1)].any()) if 1 in rows else True
        parents = torch.randint(2, (len(rows), 2), generator=generator)
        batch.reorder(parents)
        for i, row in enumerate(rows):
            singles[row].reorder(parents[[i]])
        tokens = torch.randint(1, EOS, (len(rows), 2), generator=generator)
        if step == 2:
            kept = torch.tensor([0, 2, 3])
            batch.keep(kept)
            rows, tokens = [rows[i] for i in kept.tolist()], tokens[kept]


def make_search(errors, weight, options):
    torch.manual_seed(1)
    decoder, ctc = search_models.make_decoder(6), search_models.make_ctc(6)
    scorers = {"decoder": (build_scorer(decoder), 0.7)}
    prior = CanonicalPrior(errors, VOCABULARY, weight)
    return BeamSearch(scorers, ctc, 0.3, 6, EOS, EOS, options, prior)


def test_search_adds_the_weighted_log_probability(errors):
    options = SearchOptions(beam_size=4, nbest=2)
    search = make_search(errors, 0.5, options)
    torch.manual_seed(2)
    encoder_out, lengths = search_models.make_encoder_out([7, 5, 9])
    forms = [[[tuple("abca")]], None, [[tuple("cb")]]]
    nbest_lists = search(encoder_out, lengths, canonical=forms)
    for form, nbest in zip(forms, nbest_lists, strict=True):
        for hypothesis in nbest:
            scores = hypothesis.scores
            total = 0.7 * scores["decoder"] + 0.3 * scores["ctc"] + 0.5 * scores["canonical"]
            assert hypothesis.score == pytest.approx(total)
            if form is None:
                assert scores["canonical"] == 0.0
            elif len(hypothesis.token_ids) < 5:  # it ended before the last frame, so with eos
                surface = [VOCABULARY[i] for i in hypothesis.token_ids]
                assert scores["canonical"] == pytest.approx(score(errors, form, surface))
    without = search(encoder_out, lengths)
    assert [h.token_ids for h in nbest_lists[1]] == [h.token_ids for h in without[1]]


def test_search_of_a_batch_equals_search_of_single_utterances(errors):
    search = make_search(errors, 0.5, SearchOptions(beam_size=3, minlenratio=0.4))
    torch.manual_seed(2)
    lengths = [7, 5, 9, 6]
    encoder_out, tensor = search_models.make_encoder_out(lengths)
    forms = [[[tuple("abca")]], None, [[tuple("cb")]], [[tuple("a"), tuple("bb")]]]
    together = search(encoder_out, tensor, canonical=forms)
    for row, length in enumerate(lengths):
        alone = search(encoder_out[[row], :length], tensor[[row]], canonical=[forms[row]])
        assert alone[0][0].token_ids == together[row][0].token_ids
        assert alone[0][0].score == pytest.approx(together[row][0].score)


def test_large_weight_recognises_the_canonical_form(errors):
    search = make_search(errors, 100.0, SearchOptions(beam_size=4))
    encoder_out, lengths = search_models.make_encoder_out([9])
    (nbest,) = search(encoder_out, lengths, canonical=[[[tuple("bcab")]]])
    best = nbest[0].scores["canonical"]
    assert best >= score(errors, [[tuple("bcab")]], "bcab") - 1e-6


def test_estimation_learns_the_errors():
    """All /v/ are pronounced as /b/, every fourth /d/ is deleted, nothing else happens."""
    canonical = [["v", "a", "d"], ["d", "v", "a"], ["a", "d", "v"], ["d", "a"]] * 20
    surface = [["b", "a", "d"], ["d", "b", "a"], ["a", "b"], ["d", "a"]] * 20
    errors = PronunciationErrors.estimate(canonical, surface, prior_strength=1.0)
    row = dict(zip(["", *errors.tokens], errors.pronounced[errors.tokens.index("v")], strict=True))
    assert row["b"] > 0.95
    row = dict(zip(["", *errors.tokens], errors.pronounced[errors.tokens.index("d")], strict=True))
    assert float(row[""]) == pytest.approx(0.25, abs=0.03) and float(row["d"]) > 0.7
    assert errors.insertion < 0.02 and float(errors.pronounced.min()) > 0


def test_estimation_raises_the_likelihood():
    first, last = (
        PronunciationErrors.estimate(CANONICAL, SURFACE, 0.01, rounds=rounds) for rounds in (1, 6)
    )
    assert last.log_probs(CANONICAL, SURFACE).sum() > first.log_probs(CANONICAL, SURFACE).sum()


def test_estimation_in_chunks_gives_the_same_model(errors, monkeypatch):
    monkeypatch.setattr("espnet_ext.decoding.pronunciation_errors.PAIRS_PER_CHUNK", 2)
    in_chunks = PronunciationErrors.estimate(CANONICAL, SURFACE)
    torch.testing.assert_close(in_chunks.table(), errors.table())


def test_estimation_without_pairs_raises_user_error():
    for canonical, surface in (([], []), ([["a"]], [])):
        with pytest.raises(UserError, match="canonical and"):
            PronunciationErrors.estimate(canonical, surface)


def test_model_file_can_be_loaded(errors, tmp_path):
    errors.save(tmp_path / "errors.json", {"weight": 0.2})
    loaded, facts = PronunciationErrors.load(tmp_path / "errors.json")
    assert facts == {"weight": 0.2} and loaded.tokens == errors.tokens
    torch.testing.assert_close(loaded.table(), errors.table(), rtol=0, atol=0)


@pytest.mark.parametrize("change", ["kind", "pronounced", "insertion", "tokens"])
def test_damaged_model_file_raises_user_error(errors, tmp_path, change):
    path = tmp_path / "errors.json"
    errors.save(path)
    content = json.loads(path.read_text())
    del content[change]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="not a model of pronunciation errors"):
        PronunciationErrors.load(path)
    content[change] = [1.0]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="not a model of pronunciation errors"):
        PronunciationErrors.load(path)


def test_estimated_model_is_kept_and_estimated_again_if_damaged(tmp_path, monkeypatch, capsys):
    first = PronunciationErrors.estimate_or_load(CANONICAL, SURFACE, tmp_path)
    (path,) = tmp_path.iterdir()
    capsys.readouterr()
    again = PronunciationErrors.estimate_or_load(CANONICAL, SURFACE, tmp_path)
    assert "estimating" not in capsys.readouterr().err
    torch.testing.assert_close(again.table(), first.table())
    path.write_text("{}")
    PronunciationErrors.estimate_or_load(CANONICAL, SURFACE, tmp_path)
    assert "estimated again" in capsys.readouterr().err
    assert PronunciationErrors.load(path)[0].tokens == first.tokens


def test_pronouncer_lists_pronunciations_and_skips_what_it_cannot_pronounce(tmp_path):
    (tmp_path / "lexicon").write_text("read R EH D\nzorb Z AO R B\nzorb(2) Z ER B\n")
    pronounce = pronouncer("phone", tmp_path / "lexicon")
    assert pronounce("read zorb <l1:Hindi>") == [["R EH D"], ["Z AO R B", "Z ER B"]]
    assert pronounce("中文") is None
    assert pronouncer("char")("국물") == "궁물"
    assert pronouncer("jamo")("中文") is None
    with pytest.raises(UserError, match="lexicon has phones"):
        pronouncer("char", tmp_path / "lexicon")


def test_canonical_texts_are_split_into_tokens():
    assert parse_canonical("가 나", CharTokenizer()) == [[("가", "<space>", "나")]]
    assert parse_canonical(["A B", "C"], WordTokenizer()) == [[("A", "B"), ("C",)]]
    assert parse_all(None, 2, WordTokenizer()) == [None, None]
    for wrong in ("AB", ["A"]):
        with pytest.raises(UserError, match="canonical forms of 2 utterances"):
            parse_all(wrong, 2, WordTokenizer())


@pytest.mark.parametrize(
    ("files", "knows"), [(["wav.scp"], True), (["decode.json"], False), ([], False)]
)
def test_words_of_a_data_directory_are_the_prompt(errors, tmp_path, files, knows):
    """Decoded with the words of the prompt, a system is not compared with others."""
    errors.save(tmp_path / "errors.json")
    (tmp_path / "text.meaning").write_text("u1 a cat\n")
    for name in files:
        (tmp_path / name).write_text("")
    head = SimpleNamespace(options=SimpleNamespace(token_type="phone"))
    recogniser = SimpleNamespace(
        outputs=["surface"],
        tokenizers={"surface": WordTokenizer()},
        model=SimpleNamespace(heads={"surface": head}),
        use_canonical=lambda *arguments: None,
    )
    options = CanonicalOptions(str(tmp_path / "errors.json"), source=str(tmp_path / "text.meaning"))
    forms, settings = use_canonical(recogniser, options, ["u1"], tmp_path)
    assert list(forms) == ["u1"] and settings["prompt"] is knows
