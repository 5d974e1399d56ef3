"""N-gram models in a search: rows against the model itself, a search against ESPnet's."""

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


def model(order=3, seed=0):
    source = random.Random(seed)
    return estimate(
        [[source.choice("abcde") for _ in range(source.randint(0, 8))] for _ in range(80)], order
    )


@pytest.mark.parametrize("order", [2, 3, 5])
def test_rows_are_the_models_own_scores(order):
    """Along random paths with reordering, utterances that end, and more rows than are kept."""
    ngrams = model(order)
    scorer = NgramScorer(ngrams, TOKENS)
    scorer.max_rows = 20
    source = torch.Generator().manual_seed(1)
    scorer.start(torch.zeros(3, 4, 2, dtype=torch.double), torch.tensor([4, 4, 4]), 2)
    last = torch.full((3, 2), len(TOKENS) - 1)
    paths = [[[BEGIN], [BEGIN]] for _ in range(3)]
    for step in range(9):
        scores = scorer.step(last)
        for row, slot in itertools.product(range(len(paths)), range(2)):
            said = [*TOKENS[:-1], END]
            wanted = [ngrams.score(tuple(paths[row][slot]), token) for token in said]
            assert scores[row, slot].tolist() == pytest.approx(wanted, abs=1e-12)
        parents = torch.randint(0, 2, (len(paths), 2), generator=source)
        last = torch.randint(1, len(TOKENS) - 1, (len(paths), 2), generator=source)
        scorer.reorder(parents)
        paths = [
            [[*path[parent], TOKENS[token]] for parent, token in zip(own, new, strict=True)]
            for path, own, new in zip(paths, parents.tolist(), last.tolist(), strict=True)
        ]
        if step == 4:
            scorer.keep(torch.tensor([0, 2]))
            paths, last = [paths[0], paths[2]], last[[0, 2]]


@pytest.mark.parametrize("order", [2, 3, 5])
def test_rows_of_whole_sequences_are_remembered_up_to_a_number(order):
    """One by one, with rows that are forgotten, and between the steps of a batch."""
    ngrams = model(order)
    scorer, source = NgramScorer(ngrams, TOKENS), random.Random(2)
    scorer.max_rows = 4
    sos, worked_out, row = len(TOKENS) - 1, [], scorer._compute_row
    scorer._compute_row = lambda context: worked_out.append(context) or row(context)
    scorer.start(torch.zeros(1, 4, 2, dtype=torch.double), torch.tensor([4]), 1)
    said = [*TOKENS[:-1], END]
    path = [sos]
    for _ in range(60):
        for history in (path, [sos], [sos, *(source.randrange(1, sos) for _ in range(3))]):
            context = (BEGIN, *(TOKENS[i] for i in history[1:]))
            wanted = pytest.approx([ngrams.score(context, token) for token in said], abs=1e-12)
            assert scorer.scores_after(history).tolist() == wanted
            worked_out.clear()
            assert scorer.scores_after(history).tolist() == wanted
            assert not worked_out and len(scorer.rows) <= scorer.max_rows
        found = scorer.step(torch.tensor([[path[-1]]]))[0, 0]
        assert found.tolist() == scorer.scores_after(path).tolist()
        path = [*path, source.randrange(1, sos)]


def test_a_model_of_another_output_is_named():
    with pytest.raises(UserError, match="none of the output's tokens"):
        NgramScorer(model(), ["<blank>", "<unk>", "AH", "K", "<sos/eos>"])


def test_a_search_as_espnets(tmp_path):
    """ESPnet's own n-gram scorer, told what the end of a sentence is called."""
    pytest.importorskip("kenlm", reason="pip install kenlm")
    from espnet2.legacy.nets.scorers.ngram import NgramFullScorer

    write_arpa(tmp_path / "x.arpa", model())
    torch.manual_seed(0)
    size = len(TOKENS)
    decoder, ctc = models.make_decoder(size), models.make_ctc(size)
    theirs = NgramFullScorer(str(tmp_path / "x.arpa"), [*TOKENS[:-1], "</s>"])
    states, frames = models.make_states([25, 12, 18])
    options = SearchOptions(beam_size=5, nbest=3, lm_weight=0.6)
    mine = NgramScorer(model(), TOKENS)
    found = models.ours(decoder, ctc, 0.3, size, options, states, frames, scorer=mine)
    # ESPnet calls whatever is fused "lm" here: the same place in the same sum
    stock = models.stock(decoder, ctc, 0.3, size, options, states, frames, theirs)
    for ours, others in zip(found, stock, strict=True):
        for (ids, score), (wanted, value) in zip(ours, others, strict=True):
            assert ids == wanted
            assert score == pytest.approx(value, abs=1e-4)  # KenLM keeps single precision
