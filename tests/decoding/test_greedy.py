"""Greedy CTC decoding against its definition."""

import itertools
import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.decoding.greedy import BestPath

sys.path.insert(0, str(Path(__file__).parent))
import search_models as models  # noqa: E402


def test_most_probable_token_of_each_frame_is_collapsed():
    torch.manual_seed(0)
    ctc = models.make_ctc(6)
    lengths = [40, 1, 17]
    encoder_out, frames = models.make_encoder_out(lengths)
    nbest_lists = BestPath(ctc, eos=5)(encoder_out, frames)
    log_probs = ctc.log_softmax(encoder_out).detach()
    for row, (nbest, length) in enumerate(zip(nbest_lists, lengths, strict=True)):
        path = log_probs[row, :length].argmax(-1).tolist()
        runs = [(token, list(run)) for token, run in itertools.groupby(path)]
        assert len(nbest) == 1
        assert nbest[0].token_ids == tuple(token for token, _ in runs if token not in (0, 5))
        best = log_probs[row, :length].max(-1).values
        assert nbest[0].score == pytest.approx(float(best.sum()))
        starts = list(itertools.accumulate((len(run) for _, run in runs), initial=0))
        confidences = [
            float(best[start:end].max().exp())
            for (token, _), (start, end) in zip(runs, itertools.pairwise(starts), strict=True)
            if token not in (0, 5)
        ]
        assert nbest[0].confidences == pytest.approx(confidences)


def test_result_does_not_depend_on_padding():
    torch.manual_seed(1)
    ctc = models.make_ctc(6)
    encoder_out, frames = models.make_encoder_out([9, 20])
    alone = BestPath(ctc, 5)(encoder_out[:1, :9], frames[:1])
    assert BestPath(ctc, 5)(encoder_out, frames)[0] == alone[0]
