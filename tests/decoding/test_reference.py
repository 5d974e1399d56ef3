"""The search against the frozen reference, which shares no code with it or with ESPnet's search."""

import itertools
import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.decoding.options import SearchOptions

sys.path.insert(0, str(Path(__file__).parent))
import reference_search as reference  # noqa: E402
import search_models as models  # noqa: E402

CASES = list(itertools.product((0.0, 0.3, 1.0), (1, 3), (0.0, 0.5), (False, True), (0.0, 0.3)))


@pytest.mark.parametrize("lengths", [[7], [1, 9, 5]])
def test_the_same_hypotheses_with_the_same_scores(lengths):
    torch.manual_seed(11)
    size = 6
    decoder, ctc = models.make_decoder(size), models.make_ctc(size)
    states, frames = models.make_states(lengths)
    logs = ctc.log_softmax(states).detach()
    compared = 0
    for weight, beam, longest, normalize, penalty in CASES:
        options = SearchOptions(
            beam_size=beam,
            nbest=2,
            maxlenratio=longest,
            normalize_length=normalize,
            penalty=penalty,
        )
        found = models.ours(decoder, ctc, weight, size, options, states, frames)
        for row, length in enumerate(lengths):
            own = states[row : row + 1, :length]

            def following(tokens, own=own):
                ys = torch.tensor([[size - 1, *tokens]])
                mask = torch.tril(torch.ones(1, ys.size(1), ys.size(1), dtype=torch.bool))
                with torch.no_grad():
                    scores, _ = decoder.forward_one_step(ys, mask, own)
                return scores[0].tolist()

            wanted = reference.search(
                following,
                logs[row, :length].tolist(),
                weight,
                size,
                size - 1,
                beam,
                length,
                penalty=penalty,
                maxlenratio=longest,
                normalize=normalize,
            )[:2]
            possible = [one for one in wanted if one[1] > -1e8]
            mine = [one for one in found[row] if one[1] > -1e8]
            for (ids, score), (expected, value) in zip(mine, possible, strict=True):
                assert ids == expected
                assert score == pytest.approx(value, abs=1e-6)
                compared += 1
    assert compared > len(CASES)
