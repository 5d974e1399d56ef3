"""CTC prefix probabilities against the sum over all alignments, and against ESPnet's scorer."""

import itertools

import numpy as np
import pytest
import torch
from espnet2.legacy.nets.scorers.ctc import CTCPrefixScorer

from espnet_ext.decoding.ctc_prefix import LOG_ZERO, BatchCTCPrefixScorer


def collapse(path):
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def enumerated(log_probs):
    """Probability of every transcript of (T, V) log probabilities, path by path."""
    frames, vocabulary = log_probs.shape
    transcripts: dict[tuple, float] = {}
    for path in itertools.product(range(vocabulary), repeat=frames):
        value = float(sum(log_probs[t, token] for t, token in enumerate(path)).exp())
        key = collapse(path)
        transcripts[key] = transcripts.get(key, 0.0) + value
    return transcripts


@pytest.mark.parametrize("frames", [1, 2, 4, 6])
def test_prefix_probabilities_are_sums_over_all_paths(frames):
    torch.manual_seed(frames)
    vocabulary, eos = 3, 2  # of which blank is 0; eos is a token to CTC like any other
    log_probs = (2 * torch.randn(frames, vocabulary, dtype=torch.double)).log_softmax(-1)
    transcripts = enumerated(log_probs)
    ctc = BatchCTCPrefixScorer(log_probs[None], torch.tensor([frames]), eos)
    zero = torch.zeros(1, 1, dtype=torch.long)
    states = {(): ctc.start(1)}
    for length in range(frames + 1):
        for prefix in itertools.product((1, 2), repeat=length):
            state = states[prefix]
            psi = ctc.score(state)
            whole = transcripts.get(prefix, 0.0)
            assert float(psi[0, 0, eos].exp()) == pytest.approx(whole, rel=1e-9, abs=1e-300)
            begins = prefix + (1,)
            wanted = sum(p for text, p in transcripts.items() if text[: length + 1] == begins)
            assert float(psi[0, 0, 1].exp()) == pytest.approx(wanted, rel=1e-9, abs=1e-300)
            assert float(psi[0, 0, 0]) == LOG_ZERO
            for token in (1, 2):
                states[(*prefix, token)] = ctc.extend(state, psi, zero, zero + token)


@pytest.mark.parametrize("lengths", [[40], [40, 23, 1], [5, 5]])
def test_scores_are_those_of_espnet(lengths):
    """Along random prefixes, for all tokens and for some, with repeated tokens among them."""
    torch.manual_seed(1)
    batch, width, vocabulary, eos = len(lengths), 3, 7, 6
    frames = torch.tensor(lengths)
    log_probs = (3 * torch.randn(batch, max(lengths), vocabulary)).double().log_softmax(-1)

    class Layer:
        log_softmax = staticmethod(lambda x: x)

    peer = CTCPrefixScorer(Layer, eos)
    peer.batch_init_state(log_probs.clone(), frames)
    ctc = BatchCTCPrefixScorer(log_probs, frames, eos)
    state, theirs = ctc.start(width), [None] * (batch * width)
    history = torch.full((batch * width, 1), eos)
    for _ in range(min(lengths) + 2):
        ids = torch.stack([1 + torch.randperm(eos - 1)[:4] for _ in range(batch * width)])
        wanted, new = peer.batch_score_partial(history, ids, theirs, None)
        psi = ctc.score(state)
        local = (psi - state.log_psi.unsqueeze(-1)).flatten(0, 1).gather(1, ids)
        # below that is what cannot be at all
        real = (state.log_psi.view(-1, 1) > -1e8) & (wanted.gather(1, ids) > -1e8)
        assert torch.allclose(local[real], wanted.gather(1, ids)[real], atol=1e-9)
        parents = torch.randint(width, (batch, width))
        tokens = ids.view(batch, width, -1).gather(
            1, parents.unsqueeze(-1).expand(-1, -1, ids.size(1))
        )[..., int(torch.randint(4, ()))]
        theirs = peer.batch_select_state(new, parents * vocabulary + tokens)
        state = ctc.extend(state, psi, parents, tokens)
        first = torch.arange(batch).unsqueeze(1) * width
        history = torch.cat([history[(parents + first).flatten()], tokens.reshape(-1, 1)], 1)


def test_a_part_of_the_batch_goes_on_alone():
    torch.manual_seed(2)
    log_probs = torch.randn(3, 20, 5).log_softmax(-1)
    ctc = BatchCTCPrefixScorer(log_probs, torch.tensor([20, 11, 7]), 4)
    state = ctc.start(2)
    tokens = torch.tensor([[1, 2], [3, 1], [2, 2]])
    state = ctc.extend(state, ctc.score(state), torch.zeros_like(tokens), tokens)
    wanted = ctc.score(state)
    rows = torch.tensor([0, 2])
    ctc.keep(rows)
    assert torch.equal(ctc.score(state.select(rows)), wanted[rows])


@pytest.mark.parametrize("gap", [20.0, 35.0, 37.0, 150.0, 1e3, 1e4])
@pytest.mark.parametrize("few", [None, 3])
def test_networks_that_are_very_sure(gap, few):
    """One token a frame at 0, all others far below: the right transcript loses nothing."""
    from espnet2.legacy.nets.ctc_prefix_score import CTCPrefixScore

    path = [0, 1, 1, 0, 2, 2, 2, 0, 0, 2, 3, 0, 1, 0, 0, 0, 4, 0, 0]
    logs = torch.full((len(path), 6), -gap, dtype=torch.double)
    logs[torch.arange(len(path)), path] = 0.0
    logs = logs.log_softmax(-1)
    theirs = CTCPrefixScore(logs.numpy(), 0, 5, np)
    state, said = theirs.initial_state(), [5]
    mine = BatchCTCPrefixScorer(logs.unsqueeze(0), torch.tensor([len(path)]), eos=5, num_scored=few)
    own = mine.start(1)
    everything = torch.arange(6).view(1, 1, 6)
    for token in (1, 2, 2, 3, 1, 4):
        wanted, states = theirs(said, np.arange(1, 6), state)
        psi = mine.score(own, None if few is None else everything)
        found = psi[0, 0, 1:].numpy()
        known = wanted > -1e9
        assert found[known] == pytest.approx(wanted[known], rel=1e-6, abs=1e-5)
        state, said = states[token - 1], [*said, token]
        own = mine.extend(own, psi, torch.tensor([[0]]), torch.tensor([[token]]))
    assert float(own.log_psi) == pytest.approx(0.0, abs=1e-6)
