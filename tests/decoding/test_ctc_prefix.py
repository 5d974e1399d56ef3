"""CTC prefix scores against a sum over all alignments, and against ESPnet's scorer."""

import itertools

import numpy as np
import pytest
import torch
from espnet2.legacy.nets.scorers.ctc import CTCPrefixScorer

from espnet_ext.decoding.ctc_prefix import BatchCTCPrefixScorer


def collapse(path):
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def transcript_probabilities(log_probs):
    """Return the probability of every transcript, given (T, V), by enumerating all paths."""
    frames, vocab_size = log_probs.shape
    probabilities: dict[tuple, float] = {}
    for path in itertools.product(range(vocab_size), repeat=frames):
        probability = float(sum(log_probs[t, token] for t, token in enumerate(path)).exp())
        transcript = collapse(path)
        probabilities[transcript] = probabilities.get(transcript, 0.0) + probability
    return probabilities


@pytest.mark.parametrize("frames", [1, 2, 4, 6])
def test_prefix_scores_are_sums_over_all_paths(frames):
    torch.manual_seed(frames)
    vocab_size, eos = 3, 2  # blank is 0; for CTC, eos is a token like any other
    log_probs = (2 * torch.randn(frames, vocab_size, dtype=torch.double)).log_softmax(-1)
    probabilities = transcript_probabilities(log_probs)
    scorer = BatchCTCPrefixScorer(log_probs[None], torch.tensor([frames]), eos)
    zero = torch.zeros(1, 1, dtype=torch.long)
    states = {(): scorer.start(1)}
    for length in range(frames + 1):
        for prefix in itertools.product((1, 2), repeat=length):
            state = states[prefix]
            log_psi = scorer.score(state)
            complete = probabilities.get(prefix, 0.0)
            assert float(log_psi[0, 0, eos].exp()) == pytest.approx(complete, rel=1e-9, abs=1e-300)
            extended = prefix + (1,)
            expected = sum(
                probability
                for transcript, probability in probabilities.items()
                if transcript[: length + 1] == extended
            )
            assert float(log_psi[0, 0, 1].exp()) == pytest.approx(expected, rel=1e-9, abs=1e-300)
            assert float(log_psi[0, 0, 0]) == -torch.inf
            for token in (1, 2):
                states[(*prefix, token)] = scorer.extend(state, log_psi, zero, zero + token)


@pytest.mark.parametrize("lengths", [[40], [40, 23, 1], [5, 5]])
def test_scores_equal_espnet(lengths):
    """Along random prefixes with repeated tokens."""
    torch.manual_seed(1)
    batch, beam, vocab_size, eos = len(lengths), 3, 7, 6
    frames = torch.tensor(lengths)
    log_probs = (3 * torch.randn(batch, max(lengths), vocab_size)).double().log_softmax(-1)

    class Identity:
        log_softmax = staticmethod(lambda x: x)

    espnet_scorer = CTCPrefixScorer(Identity, eos)
    espnet_scorer.batch_init_state(log_probs.clone(), frames)
    scorer = BatchCTCPrefixScorer(log_probs, frames, eos)
    state, espnet_states = scorer.start(beam), [None] * (batch * beam)
    history = torch.full((batch * beam, 1), eos)
    for _ in range(min(lengths) + 2):
        ids = torch.stack([1 + torch.randperm(eos - 1)[:4] for _ in range(batch * beam)])
        expected, new_states = espnet_scorer.batch_score_partial(history, ids, espnet_states, None)
        expected = expected.gather(1, ids)
        log_psi = scorer.score(state)
        scores = (log_psi - state.log_psi.unsqueeze(-1)).flatten(0, 1).gather(1, ids)
        is_possible = (state.log_psi.view(-1, 1) > -1e8) & (expected > -1e8)
        assert torch.allclose(scores[is_possible], expected[is_possible], atol=1e-9)
        parents = torch.randint(beam, (batch, beam))
        parent_ids = ids.view(batch, beam, -1).gather(
            1, parents.unsqueeze(-1).expand(-1, -1, ids.size(1))
        )
        tokens = parent_ids[..., int(torch.randint(4, ()))]
        espnet_states = espnet_scorer.batch_select_state(new_states, parents * vocab_size + tokens)
        state = scorer.extend(state, log_psi, parents, tokens)
        first = torch.arange(batch).unsqueeze(1) * beam
        history = torch.cat([history[(parents + first).flatten()], tokens.reshape(-1, 1)], 1)


def test_part_of_the_batch_can_continue():
    torch.manual_seed(2)
    log_probs = torch.randn(3, 20, 5).log_softmax(-1)
    scorer = BatchCTCPrefixScorer(log_probs, torch.tensor([20, 11, 7]), 4)
    state = scorer.start(2)
    tokens = torch.tensor([[1, 2], [3, 1], [2, 2]])
    state = scorer.extend(state, scorer.score(state), torch.zeros_like(tokens), tokens)
    expected = scorer.score(state)
    rows = torch.tensor([0, 2])
    scorer.keep(rows)
    assert torch.equal(scorer.score(state.select(rows)), expected[rows])


@pytest.mark.parametrize("gap", [20.0, 35.0, 37.0, 150.0, 1e3, 1e4])
@pytest.mark.parametrize("num_scored", [None, 3])
def test_very_certain_networks_lose_no_precision(gap, num_scored):
    """The right token of each frame has log probability 0, all others are `gap` below."""
    from espnet2.legacy.nets.ctc_prefix_score import CTCPrefixScore

    path = [0, 1, 1, 0, 2, 2, 2, 0, 0, 2, 3, 0, 1, 0, 0, 0, 4, 0, 0]
    log_probs = torch.full((len(path), 6), -gap, dtype=torch.double)
    log_probs[torch.arange(len(path)), path] = 0.0
    log_probs = log_probs.log_softmax(-1)
    espnet_scorer = CTCPrefixScore(log_probs.numpy(), 0, 5, np)
    espnet_state, prefix = espnet_scorer.initial_state(), [5]
    scorer = BatchCTCPrefixScorer(
        log_probs.unsqueeze(0), torch.tensor([len(path)]), eos=5, num_scored=num_scored
    )
    state = scorer.start(1)
    all_tokens = torch.arange(6).view(1, 1, 6)
    for token in (1, 2, 2, 3, 1, 4):
        expected, espnet_states = espnet_scorer(prefix, np.arange(1, 6), espnet_state)
        log_psi = scorer.score(state, None if num_scored is None else all_tokens)
        scores = log_psi[0, 0, 1:].numpy()
        is_possible = expected > -1e9
        assert scores[is_possible] == pytest.approx(expected[is_possible], rel=1e-6, abs=1e-5)
        espnet_state, prefix = espnet_states[token - 1], [*prefix, token]
        state = scorer.extend(state, log_psi, torch.tensor([[0]]), torch.tensor([[token]]))
    assert float(state.log_psi) == pytest.approx(0.0, abs=1e-6)
