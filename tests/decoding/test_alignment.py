"""Token times are those of the most probable path, found by trying all paths."""

import itertools

import pytest
import torch

from espnet_ext.decoding.alignment import align


def best_path(log_probs, token_ids):
    def collapse(path):
        return tuple(token for token, _ in itertools.groupby(path) if token != 0)

    frames, vocab_size = log_probs.shape
    paths = (
        path
        for path in itertools.product(range(vocab_size), repeat=frames)
        if collapse(path) == tuple(token_ids)
    )
    return max(paths, key=lambda path: sum(float(log_probs[t, i]) for t, i in enumerate(path)))


@pytest.mark.parametrize("token_ids", [(1,), (1, 2), (2, 2), (1, 2, 1)])
def test_spans_are_those_of_the_best_path(token_ids):
    torch.manual_seed(len(token_ids))
    log_probs = (2 * torch.randn(6, 3)).log_softmax(-1)
    expected, start = [], 0
    for token, frames in itertools.groupby(best_path(log_probs, token_ids)):
        end = start + len(list(frames))
        if token:
            expected.append((start * 0.5, end * 0.5))
        start = end
    assert align(log_probs, token_ids, seconds=3.0) == tuple(expected)


def test_empty_transcript_has_no_times():
    assert align(torch.randn(4, 3).log_softmax(-1), (), 1.0) == ()


def test_too_few_frames_give_none():
    log_probs = torch.randn(3, 4).log_softmax(-1)
    assert align(log_probs, (1, 1, 2), 1.0) is None  # needs a blank between the equal tokens
    assert align(log_probs, (1, 3, 2), 1.0) is not None
