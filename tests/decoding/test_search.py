"""What is taken from ESPnet's searcher."""

import types

import numpy as np
import torch

from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.search import search

EOS = 9


def found(*ids):
    """What `search` gives for one hypothesis of a searcher."""
    hypothesis = types.SimpleNamespace(yseq=torch.tensor(ids), score=-1.0, scores={"decoder": -1.0})

    def searcher(**_options):
        return [[hypothesis]]

    searcher.eos = EOS
    states = torch.zeros(1, 3, 2)
    [[best]] = search(searcher, states, torch.tensor([3]), SearchOptions())
    return best.token_ids


def test_the_ends_and_blanks_are_no_content():
    assert found(EOS, 3, 0, 4, EOS) == (3, 4)


def test_an_end_at_the_last_step_allowed_comes_twice_and_is_no_content():
    """ESPnet's searcher closes every hypothesis there, also one that has just ended."""
    assert found(EOS, 3, 4, EOS, EOS) == (3, 4)


def test_nothing_said_is_nothing():
    assert found(EOS, EOS) == ()
    assert found(EOS, EOS, EOS) == ()


def test_end_detection_with_a_bound_is_espnets_own_with_that_bound(trained):
    """A ratio of 1 allows as many tokens as 0 does, which is where ESPnet detects the end."""
    folder = trained.root / "exp"
    speech = np.random.default_rng(5).standard_normal(24000).astype(np.float32) * 0.1

    def recognised(**options):
        found = DualSpeech2Text.from_pretrained(folder, beam_size=3, nbest=3, **options)(speech)
        return {out: [(h.token_ids, h.score) for h in nbest] for out, nbest in found.nbest.items()}

    stock = recognised(maxlenratio=0.0)
    assert recognised(maxlenratio=1.0, end_detect=True) == stock
    short = recognised(maxlenratio=0.1, end_detect=True)
    assert max(len(ids) for nbest in short.values() for ids, _ in nbest) <= 4
