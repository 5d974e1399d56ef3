"""The best path of CTC, against its definition."""

import itertools
import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.decoding.greedy import BestPath

sys.path.insert(0, str(Path(__file__).parent))
import search_models as models  # noqa: E402


def test_the_likeliest_token_of_every_frame_collapsed():
    torch.manual_seed(0)
    ctc = models.make_ctc(6)
    lengths = [40, 1, 17]
    states, frames = models.make_states(lengths)
    found = BestPath(ctc, eos=5)(states, frames)
    logs = ctc.log_softmax(states).detach()
    for row, (nbest, length) in enumerate(zip(found, lengths, strict=True)):
        path = logs[row, :length].argmax(-1).tolist()
        runs = [(token, list(run)) for token, run in itertools.groupby(path)]
        assert len(nbest) == 1
        assert nbest[0].token_ids == tuple(token for token, _ in runs if token not in (0, 5))
        best = logs[row, :length].max(-1).values
        assert nbest[0].score == pytest.approx(float(best.sum()))
        starts = list(itertools.accumulate((len(run) for _, run in runs), initial=0))
        sure = [
            float(best[a:b].max().exp())
            for (token, _), (a, b) in zip(runs, itertools.pairwise(starts), strict=True)
            if token not in (0, 5)
        ]
        assert nbest[0].confidences == pytest.approx(sure)


def test_padding_changes_nothing():
    torch.manual_seed(1)
    ctc = models.make_ctc(6)
    states, frames = models.make_states([9, 20])
    alone = BestPath(ctc, 5)(states[:1, :9], frames[:1])
    assert BestPath(ctc, 5)(states, frames)[0] == alone[0]
