"""Beam search against the reference, which shares no code with it or with ESPnet's search."""

import itertools
import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.decoding.options import SearchOptions

sys.path.insert(0, str(Path(__file__).parent))
import reference_search as reference  # noqa: E402
import search_models as models  # noqa: E402

# CTC weight, beam size, maxlenratio, normalize_length, penalty
SETTINGS = list(itertools.product((0.0, 0.3, 1.0), (1, 3), (0.0, 0.5), (False, True), (0.0, 0.3)))


@pytest.mark.parametrize("lengths", [[7], [1, 9, 5]])
def test_hypotheses_and_scores_equal_reference(lengths):
    torch.manual_seed(11)
    vocab_size = 6
    decoder, ctc = models.make_decoder(vocab_size), models.make_ctc(vocab_size)
    encoder_out, frames = models.make_encoder_out(lengths)
    ctc_log_probs = ctc.log_softmax(encoder_out).detach()
    compared = 0
    for ctc_weight, beam, maxlenratio, normalize, penalty in SETTINGS:
        options = SearchOptions(
            beam_size=beam,
            nbest=2,
            maxlenratio=maxlenratio,
            normalize_length=normalize,
            penalty=penalty,
        )
        nbest_lists = models.search_by_us(
            decoder, ctc, ctc_weight, vocab_size, options, encoder_out, frames
        )
        for row, length in enumerate(lengths):
            memory = encoder_out[row : row + 1, :length]

            def next_log_probs(tokens, memory=memory):
                ids = torch.tensor([[vocab_size - 1, *tokens]])
                mask = torch.tril(torch.ones(1, ids.size(1), ids.size(1), dtype=torch.bool))
                with torch.no_grad():
                    log_probs, _ = decoder.forward_one_step(ids, mask, memory)
                return log_probs[0].tolist()

            expected = reference.search(
                next_log_probs,
                ctc_log_probs[row, :length].tolist(),
                ctc_weight,
                vocab_size,
                vocab_size - 1,
                beam,
                length,
                penalty=penalty,
                maxlenratio=maxlenratio,
                normalize=normalize,
            )[:2]
            # The order of hypotheses that are impossible by CTC is undefined.
            expected = [pair for pair in expected if pair[1] > -1e8]
            nbest = [pair for pair in nbest_lists[row] if pair[1] > -1e8]
            for (ids, score), (expected_ids, expected_score) in zip(nbest, expected, strict=True):
                assert ids == expected_ids
                assert score == pytest.approx(expected_score, abs=1e-6)
                compared += 1
    assert compared > len(SETTINGS)
