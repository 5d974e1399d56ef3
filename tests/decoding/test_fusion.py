"""Transducers with language models and CTC: against ESPnet's search, and all transcripts."""

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.decoding.fusion import Fusion
from espnet_ext.decoding.ngram import NgramScorer
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.transducer import TransducerSearch
from espnet_ext.text.ngram import estimate

sys.path.insert(0, str(Path(__file__).parent))
import transducer_models as models  # noqa: E402

KINDS = ["lstm", "gru", "transformer", "ngram"]


def make_lm(kind, vocab_size, dtype=torch.float32, seed=5):
    torch.manual_seed(seed)
    if kind == "ngram":
        letters = "abcdefgh"[: vocab_size - 3]
        words = ("abab", "ba", "abc", "ca", "bb")
        transcripts = [list(word) for word in words if set(word) <= {*letters}]
        tokens = ["<blank>", "<unk>", *letters, "<sos/eos>"]
        return NgramScorer(estimate(transcripts, 3), tokens)
    if kind == "transformer":
        module = pytest.importorskip("espnet2.lm.transformer_lm")
        lm = module.TransformerLM(
            vocab_size, embed_unit=8, att_unit=8, head=2, unit=8, layer=2, dropout_rate=0.0
        )
    else:
        module = pytest.importorskip("espnet2.lm.seq_rnn_lm")
        lm = module.SequentialRNNLM(vocab_size, unit=8, nlayers=2, rnn_type=kind)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.mul_(4)
    return lm.to(dtype).eval()


def lm_score(lm, labels, sos):
    """Return the score of labels after sos, by one forward pass over all of them."""
    if isinstance(lm, NgramScorer):
        ids = [sos, *labels]
        return sum(float(lm.scores_after(ids[: i + 1])[label]) for i, label in enumerate(labels))
    with torch.no_grad():
        logits, _ = lm(torch.tensor([[sos, *labels]]), None)
    log_probs = logits[0].log_softmax(-1)
    return sum(float(log_probs[i, label]) for i, label in enumerate(labels))


class RandomCTC(torch.nn.Module):
    def __init__(self, size, vocab_size):
        super().__init__()
        torch.manual_seed(3)
        self.linear = torch.nn.Linear(size, vocab_size).double()

    def log_softmax(self, encoder_out):
        return (2 * self.linear(encoder_out)).log_softmax(-1)


def search(parts, encoder_out, frames, lms=None, ctc=None, ctc_weight=0.0, **options):
    eos = parts["joint"].lin_out.out_features - 1
    fusion = Fusion(lms, eos) if lms else None
    options = SearchOptions(**options)
    return TransducerSearch(parts, eos, options, fusion, ctc, ctc_weight)(encoder_out, frames)


def ids_of(nbest):
    return [hypothesis.token_ids for hypothesis in nbest]


def scores_of(nbest):
    return [hypothesis.score for hypothesis in nbest]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize(("max_symbols", "lm_weight"), [(1, 0.4), (2, 0.7)])
def test_fusion_equals_espnet(kind, max_symbols, lm_weight):
    vocab_size, lengths = 6, [17, 5, 30]
    compared = 0
    for seed in range(3):
        parts = models.make_parts(vocab_size=vocab_size, seed=seed)
        lm = make_lm(kind, vocab_size, seed=seed)
        encoder_out, frames = models.make_encoder_out(lengths, seed=seed)

        class LMThatBeginsWithSos(torch.nn.Module):
            """ESPnet's search begins language models with blank; training begins with sos."""

            def zero_state(self):
                return None

            def batch_score(self, labels, states, _, lm=lm):
                scored = [
                    lm.score(torch.where(ids == 0, vocab_size - 1, ids).reshape(1), state, None)
                    for ids, state in zip(labels, states, strict=True)
                ]
                return torch.stack([row for row, _ in scored]), [state for _, state in scored]

        # The beam is as wide as there are labels, because ESPnet prunes labels before it adds the
        # language model score.
        search_by_espnet = models.espnet_search(
            parts,
            vocab_size - 1,
            search_type="tsd",
            max_sym_exp=max_symbols + 1,
            nbest=3,
            lm=LMThatBeginsWithSos(),
            lm_weight=lm_weight,
            score_norm=False,
        )
        nbest_lists = search(
            parts,
            encoder_out,
            frames,
            {"lm": (lm, lm_weight)},
            beam_size=vocab_size - 1,
            nbest=3,
            max_symbols=max_symbols,
            expansion_gamma=0.0,
        )
        for row, length in enumerate(lengths):
            expected = search_by_espnet(encoder_out[row, :length])
            assert ids_of(nbest_lists[row]) == [ids for ids, _ in expected]
            expected_scores = [score for _, score in expected]
            assert scores_of(nbest_lists[row]) == pytest.approx(expected_scores, abs=1e-4)
            compared += sum(len(ids) > 0 for ids, _ in expected)
    assert compared > 15


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_symbols", [1, 2])
def test_score_of_every_transcript_is_the_weighted_sum(kind, max_symbols):
    parts = models.make_parts("lstm", vocab_size=5, dtype=torch.double)
    encoder_out, frames = models.make_encoder_out([2], torch.double)
    lm, lm_weight, penalty = make_lm(kind, 5, torch.double), 0.6, 0.2
    log_probs = models.transcript_log_probs(parts, encoder_out[0], max_symbols)
    nbest = search(
        parts,
        encoder_out,
        frames,
        {"lm": (lm, lm_weight)},
        beam_size=len(log_probs),
        penalty=penalty,
        nbest=len(log_probs),
        max_symbols=max_symbols,
        expansion_gamma=0.0,
    )[0]
    assert set(ids_of(nbest)) == log_probs.keys()
    for hypothesis in nbest:
        ids = hypothesis.token_ids
        expected_lm = lm_score(lm, ids, 4)
        assert hypothesis.scores["lm"] == pytest.approx(expected_lm, abs=1e-9)
        assert hypothesis.scores["transducer"] == pytest.approx(log_probs[ids], abs=1e-9)
        expected = log_probs[ids] + lm_weight * expected_lm + penalty * len(ids)
        assert hypothesis.score == pytest.approx(expected, abs=1e-9)
    assert scores_of(nbest) == sorted(scores_of(nbest), reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_narrow_beam_keeps_all_states_that_it_needs(kind):
    lengths = [7, 22, 1, 15]
    parts = models.make_parts("lstm", vocab_size=8, dtype=torch.double)
    encoder_out, frames = models.make_encoder_out(lengths, torch.double)
    lm = make_lm(kind, 8, torch.double)
    options = {"beam_size": 3, "nbest": 3, "max_symbols": 3}
    batch = search(parts, encoder_out, frames, {"lm": (lm, 0.5)}, **options)
    for row, length in enumerate(lengths):
        alone = search(
            parts,
            encoder_out[row : row + 1, :length],
            frames[row : row + 1],
            {"lm": (lm, 0.5)},
            **options,
        )[0]
        assert ids_of(batch[row]) == ids_of(alone)
        assert scores_of(batch[row]) == pytest.approx(scores_of(alone))
        for hypothesis in batch[row]:
            expected = lm_score(lm, hypothesis.token_ids, 7)
            assert hypothesis.scores["lm"] == pytest.approx(expected)


def test_zero_weight_and_greedy_search_ignore_language_models():
    parts = models.make_parts("lstm", vocab_size=8, dtype=torch.double)
    encoder_out, frames = models.make_encoder_out([9, 12], torch.double)
    lm = make_lm("lstm", 8, torch.double)
    without_lm = search(parts, encoder_out, frames, beam_size=3)
    assert search(parts, encoder_out, frames, {"lm": (lm, 0.0)}, beam_size=3) == without_lm
    greedy = search(parts, encoder_out, frames, greedy=True)
    ctc = RandomCTC(models.SIZE, 8)
    assert search(parts, encoder_out, frames, {"lm": (lm, 5.0)}, ctc, 0.5, greedy=True) == greedy


def ctc_log_prob(log_probs, labels):
    """Return log P of labels, the sum over all paths that collapse to them."""
    probability = 0.0
    for path in itertools.product(range(log_probs.size(1)), repeat=len(log_probs)):
        collapsed = [token for token, _ in itertools.groupby(path) if token]
        if collapsed == list(labels):
            path_log_prob = sum(float(log_probs[t, token]) for t, token in enumerate(path))
            probability += math.exp(path_log_prob)
    return math.log(probability) if probability else -math.inf


@pytest.mark.parametrize("ctc_weight", [0.3, 1.0])
def test_ctc_reranks_the_final_beam(ctc_weight):
    parts = models.make_parts("stateless", vocab_size=4, dtype=torch.double)
    encoder_out, frames = models.make_encoder_out([3, 2], torch.double)
    ctc = RandomCTC(models.SIZE, 4)
    nbest_lists = search(
        parts,
        encoder_out,
        frames,
        None,
        ctc,
        ctc_weight,
        beam_size=200,
        nbest=200,
        max_symbols=2,
        expansion_gamma=0.0,
    )
    for row, length in enumerate([3, 2]):
        log_probs = models.transcript_log_probs(parts, encoder_out[row, :length], 2)
        ctc_log_probs = ctc.log_softmax(encoder_out[row, :length]).detach()
        nbest = nbest_lists[row]
        ctc_scores = {ids: ctc_log_prob(ctc_log_probs, ids) for ids in log_probs}
        # Hypotheses that are impossible by CTC are removed.
        possible = [ids for ids, score in ctc_scores.items() if score > -math.inf]
        assert 0 < len(possible) < len(log_probs)
        assert sorted(ids_of(nbest)) == sorted(possible)
        for hypothesis in nbest:
            expected_ctc = ctc_scores[hypothesis.token_ids]
            assert hypothesis.scores["ctc"] == pytest.approx(expected_ctc, abs=1e-9)
            expected = (1 - ctc_weight) * log_probs[hypothesis.token_ids]
            expected += ctc_weight * expected_ctc
            assert hypothesis.score == pytest.approx(expected, abs=1e-9)
        assert scores_of(nbest) == sorted(scores_of(nbest), reverse=True)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("greedy", [True, False])
def test_gpu_equals_cpu(kind, greedy):
    parts = models.make_parts("lstm", vocab_size=8, dtype=torch.double)
    encoder_out, frames = models.make_encoder_out([7, 22, 1, 15], torch.double)
    lm, ctc = make_lm(kind, 8, torch.double), RandomCTC(models.SIZE, 8)
    results = []
    for device in ("cpu", "cuda"):
        lm = lm if isinstance(lm, NgramScorer) else lm.to(device)
        results.append(
            search(
                {name: part.to(device) for name, part in parts.items()},
                encoder_out.to(device),
                frames.to(device),
                {"lm": (lm, 0.5)},
                ctc.to(device),
                0.3,
                beam_size=4,
                nbest=4,
                greedy=greedy,
            )
        )
    num_tokens = 0
    for cpu_nbest, gpu_nbest in zip(*results, strict=True):
        assert ids_of(cpu_nbest) == ids_of(gpu_nbest)
        assert scores_of(cpu_nbest) == pytest.approx(scores_of(gpu_nbest), abs=1e-7)
        for cpu_hypothesis, gpu_hypothesis in zip(cpu_nbest, gpu_nbest, strict=True):
            assert cpu_hypothesis.scores == pytest.approx(gpu_hypothesis.scores, abs=1e-7)
            num_tokens += len(cpu_hypothesis.token_ids)
    assert num_tokens
