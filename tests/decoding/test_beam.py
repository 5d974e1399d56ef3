"""The search finds what ESPnet's finds: tokens and scores, over a grid of settings."""

import dataclasses
import random
import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.decoding.cached import CachedTransformer
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.scorers import Stepwise, build_scorer

sys.path.insert(0, str(Path(__file__).parent))
import search_models as models  # noqa: E402

GRID = list(models.grid())
SOME = random.Random(0).sample(GRID, 24)
LENGTHS = ([17], [1, 9, 30], [12, 12, 12, 12])


def same(mine, theirs, tolerance=1e-6):
    """Whether n-best lists agree; what CTC calls impossible is in no defined order."""
    assert len(mine) == len(theirs)
    compared = 0
    for ours, stock in zip(mine, theirs, strict=True):
        assert len(ours) == len(stock)
        for (ids, score), (wanted, value) in zip(ours, stock, strict=True):
            if value > -1e8:
                assert ids == wanted
                assert score == pytest.approx(value, abs=tolerance)
                compared += 1
    return compared


def compare(cases):
    torch.manual_seed(0)
    compared = 0
    for vocabulary, weight, options in cases:
        decoder, ctc = models.make_decoder(vocabulary), models.make_ctc(vocabulary)
        # In a batch ESPnet fills a beam that is wider than the tokens are many by chance.
        batches = LENGTHS[:1] if options.beam_size >= vocabulary - 1 else LENGTHS
        for lengths in batches:
            states, frames = models.make_states(lengths)
            given = decoder, ctc, weight, vocabulary, options, states, frames
            compared += same(models.ours(*given), models.stock(*given))
    print(f"{compared} hypotheses as in BatchBeamSearch, scores within 1e-6")
    assert compared > len(cases)


def test_some_settings_as_espnet():
    compare(SOME)


@pytest.mark.slow
def test_all_settings_as_espnet():
    compare(GRID)


@pytest.mark.parametrize("beam", [3, 7])
def test_float32_finds_the_same(beam):
    torch.manual_seed(1)
    decoder, ctc = models.make_decoder(40, dtype=torch.float), models.make_ctc(40, torch.float)
    states, frames = models.make_states([25, 40, 33, 8] * 4, torch.float)
    given = decoder, ctc, 0.3, 40, SearchOptions(beam_size=beam), states, frames
    same(models.ours(*given), models.stock(*given), 1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_batch_changes_nothing(weight):
    """Alone, together, in another order, with more padding."""
    torch.manual_seed(2)
    decoder, ctc = models.make_decoder(12), models.make_ctc(12)
    options = SearchOptions(beam_size=6, nbest=4, minlenratio=0.1)
    lengths = [14, 3, 30, 22, 1]
    states, frames = models.make_states(lengths)

    def found(states, frames):
        return models.ours(decoder, ctc, weight, 12, options, states, frames)

    together = found(states, frames)
    order = [3, 0, 4, 2, 1]
    same([found(states[order], frames[order])[order.index(i)] for i in range(5)], together)
    padded = torch.nn.functional.pad(states, (0, 0, 0, 17), value=5.0)
    same(found(padded, frames), together)
    for row, length in enumerate(lengths):
        alone = found(states[row : row + 1, :length], frames[row : row + 1])
        same(alone, together[row : row + 1])


@pytest.mark.parametrize("kind", ["lightweight_conv", "dynamic_conv", "rnn"])
def test_decoders_of_other_kinds_as_espnet(kind):
    """ESPnet's own scorer serves them; a recurrent one has no batched form even there."""
    torch.manual_seed(3)
    conf = {"num_blocks": 2, "conv_kernel_length": [5, 5]}
    conf = {"hidden_size": 16} if kind == "rnn" else conf
    decoder, ctc = models.make_decoder(15, kind, **conf), models.make_ctc(15)
    states, frames = models.make_states([20])
    given = decoder, ctc, 0.3, 15, SearchOptions(beam_size=4, nbest=2), states, frames
    # what is not batched adds up CTC in single precision
    same(models.ours(*given), models.stock(*given), 1e-4 if kind == "rnn" else 1e-6)


@pytest.mark.parametrize(
    "conf",
    [{"normalize_before": False}, {"concat_after": True}, {"qk_norm": True}],
    ids=lambda conf: next(iter(conf)),
)
def test_every_build_of_a_layer_as_espnet(conf):
    torch.manual_seed(4)
    decoder, ctc = models.make_decoder(15, **conf), models.make_ctc(15)
    kind = Stepwise if conf.get("concat_after") else CachedTransformer
    assert isinstance(build_scorer(decoder), kind)
    states, frames = models.make_states([40, 11])
    given = decoder, ctc, 0.3, 15, SearchOptions(beam_size=4, nbest=2), states, frames
    same(models.ours(*given), models.stock(*given))


@pytest.mark.parametrize("kind", ["transformer", "seq_rnn"])
def test_language_models_as_espnet(kind):
    torch.manual_seed(5)
    conf = {"embed_unit": 16, "att_unit": 16, "head": 2, "unit": 32, "layer": 2}
    conf = conf if kind == "transformer" else {"unit": 16, "nlayers": 1}
    from espnet2.lm.seq_rnn_lm import SequentialRNNLM
    from espnet2.lm.transformer_lm import TransformerLM

    lm = {"transformer": TransformerLM, "seq_rnn": SequentialRNNLM}[kind](20, **conf)
    lm = lm.double().eval()
    decoder, ctc = models.make_decoder(20), models.make_ctc(20)
    states, frames = models.make_states([25, 12, 18])
    for penalty in (0.0, 0.3):
        options = SearchOptions(beam_size=5, nbest=3, lm_weight=0.7, penalty=penalty)
        given = decoder, ctc, 0.3, 20, options, states, frames, lm
        same(models.ours(*given), models.stock(*given))


@pytest.mark.parametrize("weight", [-0.6, 0.5])
def test_sixteen_at_once_with_a_language_model(weight):
    """Also one that weighs less than nothing, with which scores may rise."""
    from espnet2.lm.transformer_lm import TransformerLM

    torch.manual_seed(10)
    lm = TransformerLM(20, embed_unit=16, att_unit=16, head=2, unit=32, layer=1).double().eval()
    models.sharpen(lm.decoder)
    decoder, ctc = models.make_decoder(20), models.make_ctc(20)
    states, frames = models.make_states([25, 12, 18, 1, 30, 7, 22, 9] * 2)
    for beam, ctc_weight in ((3, 0.0), (6, 0.3), (18, 0.5)):
        options = SearchOptions(beam_size=beam, nbest=2, lm_weight=weight)
        given = decoder, ctc, ctc_weight, 20, options, states, frames, lm
        same(models.ours(*given), models.stock(*given))


def test_end_detection_with_a_bound_is_espnets_own_with_that_bound():
    """A ratio of 1 allows as many tokens as 0 does, which is where ESPnet detects the end."""
    torch.manual_seed(6)
    decoder, ctc = models.make_decoder(15), models.make_ctc(15)
    states, frames = models.make_states([60, 35])
    options = SearchOptions(beam_size=5, nbest=3, maxlenratio=0.0, normalize_length=True)
    bounded = dataclasses.replace(options, maxlenratio=1.0, end_detect=True)
    given = decoder, ctc, 0.3, 15
    same(
        models.ours(*given, bounded, states, frames), models.stock(*given, options, states, frames)
    )


def test_nothing_long_enough_is_searched_again_with_a_lower_bound():
    torch.manual_seed(7)
    decoder, ctc = models.make_decoder(15), models.make_ctc(15)
    states, frames = models.make_states([20, 14])
    options = SearchOptions(beam_size=2, maxlenratio=0.2, minlenratio=0.5)
    given = decoder, ctc, 0.3, 15, options, states, frames
    assert same(models.ours(*given), models.stock(*given)) == 2


def test_what_is_said_first_and_last_is_no_content():
    """Sos, eos and blank are in no transcript, also where ESPnet closes a hypothesis twice."""
    torch.manual_seed(8)
    decoder, ctc = models.make_decoder(6), models.make_ctc(6)
    with torch.no_grad():
        decoder.output_layer.bias[5] += 30
    states, frames = models.make_states([9])
    options = SearchOptions(beam_size=3, maxlenratio=-1.0)
    assert models.ours(decoder, ctc, 0.0, 6, options, states, frames)[0][0][0] == ()


def test_the_searcher_leaves_the_model_trainable():
    torch.manual_seed(9)
    decoder, ctc = models.make_decoder(15, dtype=torch.float), models.make_ctc(15, torch.float)
    states, frames = models.make_states([20], torch.float)
    models.ours(decoder, ctc, 0.3, 15, SearchOptions(beam_size=2), states, frames)
    out, _ = decoder(states, frames, torch.tensor([[14, 3]]), torch.tensor([2]))
    out.sum().backward()
