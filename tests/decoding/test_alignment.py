"""Times of tokens: the likeliest of all alignments, found by trying every one."""

import itertools

import pytest
import torch

from espnet_ext.decoding.alignment import align


def best_path(log_probs, ids):
    def collapse(path):
        return tuple(token for token, _ in itertools.groupby(path) if token != 0)

    frames, vocabulary = log_probs.shape
    paths = (
        p for p in itertools.product(range(vocabulary), repeat=frames) if collapse(p) == tuple(ids)
    )
    return max(paths, key=lambda path: sum(float(log_probs[t, i]) for t, i in enumerate(path)))


@pytest.mark.parametrize("ids", [(1,), (1, 2), (2, 2), (1, 2, 1)])
def test_spans_are_those_of_the_best_of_all_paths(ids):
    torch.manual_seed(len(ids))
    log_probs = (2 * torch.randn(6, 3)).log_softmax(-1)
    path = best_path(log_probs, ids)
    wanted, position = [], 0
    for token, run in itertools.groupby(path):
        length = len(list(run))
        if token:
            wanted.append((position * 0.5, (position + length) * 0.5))
        position += length
    assert align(log_probs, ids, seconds=3.0) == tuple(wanted)


def test_nothing_said_has_no_times():
    assert align(torch.randn(4, 3).log_softmax(-1), (), 1.0) == ()


def test_more_tokens_than_frames_cannot_be_placed():
    log_probs = torch.randn(3, 4).log_softmax(-1)
    assert align(log_probs, (1, 1, 2), 1.0) is None  # a blank must part the two
    assert align(log_probs, (1, 3, 2), 1.0) is not None
