"""N-gram scorers against the model itself, and a search with them against ESPnet's."""

import itertools
import random
import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.decoding.ngram import NgramScorer
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.errors import UserError
from espnet_ext.text.ngram import BEGIN, END, estimate, write_arpa

sys.path.insert(0, str(Path(__file__).parent))
import search_models as models  # noqa: E402

TOKENS = ["<blank>", "<unk>", *"abcdef", "<sos/eos>"]
SOS = len(TOKENS) - 1
PREDICTED = [*TOKENS[:-1], END]  # the names of the tokens where they are predicted


def random_model(order=3, seed=0):
    rng = random.Random(seed)
    transcripts = [[rng.choice("abcde") for _ in range(rng.randint(0, 8))] for _ in range(80)]
    return estimate(transcripts, order)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_scores_equal_the_model_in_a_search(order):
    """Along random paths, with reordering, utterances that end, and a small cache."""
    model = random_model(order)
    scorer = NgramScorer(model, TOKENS)
    scorer.max_rows = 20
    generator = torch.Generator().manual_seed(1)
    scorer.start(torch.zeros(3, 4, 2, dtype=torch.double), torch.tensor([4, 4, 4]), 2)
    last_tokens = torch.full((3, 2), SOS)
    paths = [[[BEGIN], [BEGIN]] for _ in range(3)]
    for step in range(9):
        scores = scorer.step(last_tokens)
        for row, slot in itertools.product(range(len(paths)), range(2)):
            expected = [model.score(tuple(paths[row][slot]), token) for token in PREDICTED]
            assert scores[row, slot].tolist() == pytest.approx(expected, abs=1e-12)
        parents = torch.randint(0, 2, (len(paths), 2), generator=generator)
        last_tokens = torch.randint(1, SOS, (len(paths), 2), generator=generator)
        scorer.reorder(parents)
        paths = [
            [
                [*beam[parent], TOKENS[token]]
                for parent, token in zip(new_parents, new_tokens, strict=True)
            ]
            for beam, new_parents, new_tokens in zip(
                paths, parents.tolist(), last_tokens.tolist(), strict=True
            )
        ]
        if step == 4:
            scorer.keep(torch.tensor([0, 2]))
            paths, last_tokens = [paths[0], paths[2]], last_tokens[[0, 2]]


@pytest.mark.parametrize("order", [2, 3, 5])
def test_scores_of_whole_sequences_are_cached(order, monkeypatch):
    """The cache is limited, and shared with the steps of a batch."""
    model = random_model(order)
    scorer, rng = NgramScorer(model, TOKENS), random.Random(2)
    scorer.max_rows = 4
    computed, compute_row = [], scorer._compute_row

    def counting_compute_row(context):
        computed.append(context)
        return compute_row(context)

    monkeypatch.setattr(scorer, "_compute_row", counting_compute_row)
    scorer.start(torch.zeros(1, 4, 2, dtype=torch.double), torch.tensor([4]), 1)
    path = [SOS]
    for _ in range(60):
        random_path = [SOS, *(rng.randrange(1, SOS) for _ in range(3))]
        for sequence in (path, [SOS], random_path):
            context = (BEGIN, *(TOKENS[i] for i in sequence[1:]))
            scores = [model.score(context, token) for token in PREDICTED]
            expected = pytest.approx(scores, abs=1e-12)
            assert scorer.scores_after(sequence).tolist() == expected
            computed.clear()
            assert scorer.scores_after(sequence).tolist() == expected
            assert not computed and len(scorer.rows) <= scorer.max_rows
        step_scores = scorer.step(torch.tensor([[path[-1]]]))[0, 0]
        assert step_scores.tolist() == scorer.scores_after(path).tolist()
        path = [*path, rng.randrange(1, SOS)]


def test_model_of_another_output_raises_user_error():
    with pytest.raises(UserError, match="none of the output's tokens"):
        NgramScorer(random_model(), ["<blank>", "<unk>", "AH", "K", "<sos/eos>"])


def test_search_equals_espnet(tmp_path):
    """ESPnet's n-gram scorer, with `</s>` as the name of the last token."""
    pytest.importorskip("kenlm", reason="pip install kenlm")
    from espnet2.legacy.nets.scorers.ngram import NgramFullScorer

    write_arpa(tmp_path / "x.arpa", random_model())
    torch.manual_seed(0)
    vocab_size = len(TOKENS)
    decoder, ctc = models.make_decoder(vocab_size), models.make_ctc(vocab_size)
    espnet_scorer = NgramFullScorer(str(tmp_path / "x.arpa"), PREDICTED)
    encoder_out, frames = models.make_encoder_out([25, 12, 18])
    options = SearchOptions(beam_size=5, nbest=3, lm_weight=0.6)
    arguments = decoder, ctc, 0.3, vocab_size, options, encoder_out, frames
    # Both are added as "lm" here, and so at the same place of the sum.
    nbest_lists = models.search_by_us(*arguments, lm_scorer=NgramScorer(random_model(), TOKENS))
    expected_lists = models.search_by_espnet(*arguments, espnet_scorer)
    for nbest, expected in zip(nbest_lists, expected_lists, strict=True):
        for (ids, score), (expected_ids, expected_score) in zip(nbest, expected, strict=True):
            assert ids == expected_ids
            assert score == pytest.approx(expected_score, abs=1e-4)  # KenLM uses float32
