"""Beam search gives the tokens and scores of ESPnet's search, for a grid of settings."""

import dataclasses
import os
import random
import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.decoding.cached import CachedTransformer
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.scorers import EspnetScorer, build_scorer

sys.path.insert(0, str(Path(__file__).parent))
import search_models as models  # noqa: E402

GRID = list(models.grid())
# All of them take four minutes: ALL_SETTINGS=1 python -m pytest tests/decoding/test_beam.py
SAMPLE = GRID if os.environ.get("ALL_SETTINGS") else random.Random(0).sample(GRID, 60)
LENGTHS = ([17], [1, 9, 30], [12, 12, 12, 12])


def assert_same(nbest_lists, expected_lists, tolerance=1e-6):
    """Compare n-best lists, and return how many hypotheses were compared.

    ESPnet returns hypotheses that are impossible by CTC, with scores below −1e8. The search here
    returns none.
    """
    assert len(nbest_lists) == len(expected_lists)
    compared = 0
    for nbest, expected in zip(nbest_lists, expected_lists, strict=True):
        possible = [pair for pair in expected if pair[1] > -1e8]
        assert len(possible) <= len(nbest) <= max(1, len(expected))
        assert all(score > -1e8 for _, score in nbest)
        for (ids, score), (expected_ids, expected_score) in zip(nbest, possible, strict=False):
            assert ids == expected_ids
            assert score == pytest.approx(expected_score, abs=tolerance)
            compared += 1
    return compared


def compare_with_espnet(settings):
    torch.manual_seed(0)
    compared = 0
    for vocab_size, ctc_weight, options in settings:
        decoder, ctc = models.make_decoder(vocab_size), models.make_ctc(vocab_size)
        # ESPnet fails with a beam wider than the vocabulary; with CTC, a beam of that width keeps
        # impossible hypotheses. tests/decoding/test_exhaustive_search.py covers wider beams.
        widest = vocab_size if ctc_weight == 0 else vocab_size - 1
        options = dataclasses.replace(options, beam_size=min(options.beam_size, widest))
        # With a beam about as wide as the vocabulary, ESPnet's batched search depends on chance.
        batches = LENGTHS[:1] if options.beam_size >= vocab_size - 1 else LENGTHS
        for lengths in batches:
            encoder_out, frames = models.make_encoder_out(lengths)
            arguments = decoder, ctc, ctc_weight, vocab_size, options, encoder_out, frames
            compared += assert_same(
                models.search_by_us(*arguments), models.search_by_espnet(*arguments)
            )
    print(f"{compared} hypotheses equal those of BatchBeamSearch, scores within 1e-6")
    assert compared > len(settings)


@pytest.mark.slow
def test_settings_equal_espnet():
    compare_with_espnet(SAMPLE)


@pytest.mark.parametrize("beam", [3, 7])
def test_float32_equals_espnet(beam):
    torch.manual_seed(1)
    decoder, ctc = models.make_decoder(40, dtype=torch.float), models.make_ctc(40, torch.float)
    encoder_out, frames = models.make_encoder_out([25, 40, 33, 8] * 4, torch.float)
    arguments = decoder, ctc, 0.3, 40, SearchOptions(beam_size=beam), encoder_out, frames
    assert_same(models.search_by_us(*arguments), models.search_by_espnet(*arguments), 1e-4)


@pytest.mark.parametrize("ctc_weight", [0.0, 0.3, 1.0])
def test_results_do_not_depend_on_the_batch(ctc_weight):
    """Alone, in a batch, in another order, and with more padding."""
    torch.manual_seed(2)
    decoder, ctc = models.make_decoder(12), models.make_ctc(12)
    options = SearchOptions(beam_size=6, nbest=4, minlenratio=0.1)
    lengths = [14, 3, 30, 22, 1]
    encoder_out, frames = models.make_encoder_out(lengths)

    def search(encoder_out, frames):
        return models.search_by_us(decoder, ctc, ctc_weight, 12, options, encoder_out, frames)

    batch = search(encoder_out, frames)
    order = [3, 0, 4, 2, 1]
    reordered = search(encoder_out[order], frames[order])
    assert_same([reordered[order.index(row)] for row in range(5)], batch)
    padded = torch.nn.functional.pad(encoder_out, (0, 0, 0, 17), value=5.0)
    assert_same(search(padded, frames), batch)
    for row, length in enumerate(lengths):
        alone = search(encoder_out[row : row + 1, :length], frames[row : row + 1])
        assert_same(alone, batch[row : row + 1])


@pytest.mark.parametrize("kind", ["lightweight_conv", "dynamic_conv", "rnn"])
def test_other_decoder_kinds_equal_espnet(kind):
    """They are scored by ESPnet's own code; recurrent decoders have no batched form there."""
    torch.manual_seed(3)
    conf = {"num_blocks": 2, "conv_kernel_length": [5, 5]}
    conf = {"hidden_size": 16} if kind == "rnn" else conf
    decoder, ctc = models.make_decoder(15, kind, **conf), models.make_ctc(15)
    encoder_out, frames = models.make_encoder_out([20])
    arguments = decoder, ctc, 0.3, 15, SearchOptions(beam_size=4, nbest=2), encoder_out, frames
    # ESPnet's search of single utterances adds CTC scores in float32.
    tolerance = 1e-4 if kind == "rnn" else 1e-6
    assert_same(models.search_by_us(*arguments), models.search_by_espnet(*arguments), tolerance)


@pytest.mark.parametrize(
    "conf",
    [{"normalize_before": False}, {"concat_after": True}, {"qk_norm": True}],
    ids=lambda conf: next(iter(conf)),
)
def test_layer_variants_equal_espnet(conf):
    torch.manual_seed(4)
    decoder, ctc = models.make_decoder(15, **conf), models.make_ctc(15)
    scorer_class = EspnetScorer if conf.get("concat_after") else CachedTransformer
    assert isinstance(build_scorer(decoder), scorer_class)
    encoder_out, frames = models.make_encoder_out([40, 11])
    arguments = decoder, ctc, 0.3, 15, SearchOptions(beam_size=4, nbest=2), encoder_out, frames
    assert_same(models.search_by_us(*arguments), models.search_by_espnet(*arguments))


@pytest.mark.parametrize("kind", ["transformer", "seq_rnn"])
def test_language_model_fusion_equals_espnet(kind):
    torch.manual_seed(5)
    conf = {"embed_unit": 16, "att_unit": 16, "head": 2, "unit": 32, "layer": 2}
    conf = conf if kind == "transformer" else {"unit": 16, "nlayers": 1}
    from espnet2.lm.seq_rnn_lm import SequentialRNNLM
    from espnet2.lm.transformer_lm import TransformerLM

    lm = {"transformer": TransformerLM, "seq_rnn": SequentialRNNLM}[kind](20, **conf)
    lm = lm.double().eval()
    decoder, ctc = models.make_decoder(20), models.make_ctc(20)
    encoder_out, frames = models.make_encoder_out([25, 12, 18])
    for penalty in (0.0, 0.3):
        options = SearchOptions(beam_size=5, nbest=3, lm_weight=0.7, penalty=penalty)
        arguments = decoder, ctc, 0.3, 20, options, encoder_out, frames, lm
        assert_same(models.search_by_us(*arguments), models.search_by_espnet(*arguments))


@pytest.mark.parametrize("lm_weight", [-0.6, 0.5])
def test_batch_of_16_with_language_model_equals_espnet(lm_weight):
    """With a negative weight too, which lets scores rise and rules out early stopping."""
    from espnet2.lm.transformer_lm import TransformerLM

    torch.manual_seed(10)
    lm = TransformerLM(20, embed_unit=16, att_unit=16, head=2, unit=32, layer=1).double().eval()
    models.sharpen(lm.decoder)
    decoder, ctc = models.make_decoder(20), models.make_ctc(20)
    encoder_out, frames = models.make_encoder_out([25, 12, 18, 1, 30, 7, 22, 9] * 2)
    for beam, ctc_weight in ((3, 0.0), (6, 0.3), (18, 0.5)):
        options = SearchOptions(beam_size=beam, nbest=2, lm_weight=lm_weight)
        arguments = decoder, ctc, ctc_weight, 20, options, encoder_out, frames, lm
        assert_same(models.search_by_us(*arguments), models.search_by_espnet(*arguments))


def test_end_detection_with_maxlenratio_1_equals_espnet_with_0():
    """Both allow as many tokens as frames; ESPnet detects the end only with a ratio of 0."""
    torch.manual_seed(6)
    decoder, ctc = models.make_decoder(15), models.make_ctc(15)
    encoder_out, frames = models.make_encoder_out([60, 35])
    options = SearchOptions(beam_size=5, nbest=3, maxlenratio=0.0, normalize_length=True)
    bounded = dataclasses.replace(options, maxlenratio=1.0, end_detect=True)
    model = decoder, ctc, 0.3, 15
    assert_same(
        models.search_by_us(*model, bounded, encoder_out, frames),
        models.search_by_espnet(*model, options, encoder_out, frames),
    )


def test_search_is_repeated_with_lower_minlenratio_if_nothing_is_long_enough():
    torch.manual_seed(7)
    decoder, ctc = models.make_decoder(15), models.make_ctc(15)
    encoder_out, frames = models.make_encoder_out([20, 14])
    options = SearchOptions(beam_size=2, maxlenratio=0.2, minlenratio=0.5)
    arguments = decoder, ctc, 0.3, 15, options, encoder_out, frames
    compared = assert_same(models.search_by_us(*arguments), models.search_by_espnet(*arguments))
    assert compared == 2


def test_special_tokens_are_removed():
    """Sos, eos and blank are not in transcripts, even if ESPnet appends eos twice."""
    torch.manual_seed(8)
    decoder, ctc = models.make_decoder(6), models.make_ctc(6)
    with torch.no_grad():
        decoder.output_layer.bias[5] += 30
    encoder_out, frames = models.make_encoder_out([9])
    options = SearchOptions(beam_size=3, maxlenratio=-1.0)
    nbest_lists = models.search_by_us(decoder, ctc, 0.0, 6, options, encoder_out, frames)
    assert nbest_lists[0][0][0] == ()


def test_model_can_be_trained_after_a_search():
    torch.manual_seed(9)
    decoder, ctc = models.make_decoder(15, dtype=torch.float), models.make_ctc(15, torch.float)
    encoder_out, frames = models.make_encoder_out([20], torch.float)
    options = SearchOptions(beam_size=2)
    models.search_by_us(decoder, ctc, 0.3, 15, options, encoder_out, frames)
    out, _ = decoder(encoder_out, frames, torch.tensor([[14, 3]]), torch.tensor([2]))
    out.sum().backward()
