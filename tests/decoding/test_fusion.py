"""Language models and CTC beside a transducer: against ESPnet's search, and every transcript."""

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
from transducer_models import every_transcript, make, peer_of, states  # noqa: E402

KINDS = ["lstm", "gru", "transformer", "ngram"]


def language_model(kind, vocabulary, dtype=torch.float32, seed=5):
    torch.manual_seed(seed)
    if kind == "ngram":
        letters = "abcdefgh"[: vocabulary - 3]
        text = [list(word) for word in ("abab", "ba", "abc", "ca", "bb") if set(word) <= {*letters}]
        return NgramScorer(estimate(text, 3), ["<blank>", "<unk>", *letters, "<sos/eos>"])
    if kind == "transformer":
        module = pytest.importorskip("espnet2.lm.transformer_lm")
        lm = module.TransformerLM(
            vocabulary, embed_unit=8, att_unit=8, head=2, unit=8, layer=2, dropout_rate=0.0
        )
    else:
        module = pytest.importorskip("espnet2.lm.seq_rnn_lm")
        lm = module.SequentialRNNLM(vocabulary, unit=8, nlayers=2, rnn_type=kind)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.mul_(4)
    return lm.to(dtype).eval()


def log_of(lm, labels, sos):
    """The score of labels after sos, by one forward pass over all of them."""
    if isinstance(lm, NgramScorer):
        model, names = lm, [sos, *labels]
        return sum(
            float(model.scores_after(names[: i + 1])[label]) for i, label in enumerate(labels)
        )
    with torch.no_grad():
        logits, _ = lm(torch.tensor([[sos, *labels]]), None)
    logs = logits[0].log_softmax(-1)
    return sum(float(logs[i, label]) for i, label in enumerate(labels))


class Ctc(torch.nn.Module):
    def __init__(self, size, vocabulary):
        super().__init__()
        torch.manual_seed(3)
        self.lin = torch.nn.Linear(size, vocabulary).double()

    def log_softmax(self, states):
        return (2 * self.lin(states)).log_softmax(-1)


def search(parts, x, frames, models=None, ctc=None, weight=0.0, **options):
    eos = parts["joint"].lin_out.out_features - 1
    fusion = Fusion(models, eos) if models else None
    return TransducerSearch(parts, eos, SearchOptions(**options), fusion, ctc, weight)(x, frames)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize(("symbols", "weight"), [(1, 0.4), (2, 0.7)])
def test_espnets_search_fuses_the_same(kind, symbols, weight):
    vocabulary, lengths = 6, [17, 5, 30]
    compared = 0
    for seed in range(3):
        parts = make(vocabulary=vocabulary, seed=seed)
        lm = language_model(kind, vocabulary, seed=seed)
        x, frames = states(lengths, seed=seed)

        class FromSos(torch.nn.Module):  # that search begins with a blank, training with sos
            def zero_state(self):
                return None

            def batch_score(self, labels, before, _, lm=lm):
                found = [
                    lm.score(torch.where(one == 0, vocabulary - 1, one).reshape(1), state, None)
                    for one, state in zip(labels, before, strict=True)
                ]
                return torch.stack([row for row, _ in found]), [state for _, state in found]

        # As wide as there are labels: ESPnet chooses labels before it adds the language model.
        peer = peer_of(
            parts,
            vocabulary - 1,
            search_type="tsd",
            max_sym_exp=symbols + 1,
            nbest=3,
            lm=FromSos(),
            lm_weight=weight,
            score_norm=False,
        )
        ours = search(
            parts,
            x,
            frames,
            {"lm": (lm, weight)},
            beam_size=vocabulary - 1,
            nbest=3,
            max_symbols=symbols,
            expansion_gamma=0.0,
        )
        for row, length in enumerate(lengths):
            theirs = peer(x[row, :length])
            assert [raw.token_ids for raw in ours[row]] == [ids for ids, _ in theirs]
            scores = [raw.score for raw in ours[row]]
            assert scores == pytest.approx([score for _, score in theirs], abs=1e-4)
            compared += sum(len(ids) > 0 for ids, _ in theirs)
    assert compared > 15


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("symbols", [1, 2])
def test_every_transcript_has_the_sum_of_its_scores(kind, symbols):
    parts = make("lstm", vocabulary=5, dtype=torch.double)
    x, frames = states([2], torch.double)
    lm, weight, penalty = language_model(kind, 5, torch.double), 0.6, 0.2
    oracle = every_transcript(parts, x[0], symbols)
    found = search(
        parts,
        x,
        frames,
        {"lm": (lm, weight)},
        beam_size=len(oracle),
        penalty=penalty,
        nbest=len(oracle),
        max_symbols=symbols,
        expansion_gamma=0.0,
    )[0]
    assert {raw.token_ids for raw in found} == oracle.keys()
    for raw in found:
        fused = log_of(lm, raw.token_ids, 4)
        assert raw.scores["lm"] == pytest.approx(fused, abs=1e-9)
        assert raw.scores["transducer"] == pytest.approx(oracle[raw.token_ids], abs=1e-9)
        total = oracle[raw.token_ids] + weight * fused + penalty * len(raw.token_ids)
        assert raw.score == pytest.approx(total, abs=1e-9)
    assert [raw.score for raw in found] == sorted((raw.score for raw in found), reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_narrow_beam_forgets_nothing_that_it_needs(kind):
    lengths = [7, 22, 1, 15]
    parts = make("lstm", vocabulary=8, dtype=torch.double)
    x, frames = states(lengths, torch.double)
    models = {"lm": (language_model(kind, 8, torch.double), 0.5)}
    together = search(parts, x, frames, models, beam_size=3, nbest=3, max_symbols=3)
    for row, length in enumerate(lengths):
        alone = search(
            parts,
            x[row : row + 1, :length],
            frames[row : row + 1],
            models,
            beam_size=3,
            nbest=3,
            max_symbols=3,
        )[0]
        assert [raw.token_ids for raw in together[row]] == [raw.token_ids for raw in alone]
        for one, other in zip(together[row], alone, strict=True):
            assert one.score == pytest.approx(other.score)
            assert one.scores["lm"] == pytest.approx(log_of(models["lm"][0], one.token_ids, 7))


def test_models_without_weight_and_greedy_decoding_change_nothing():
    parts = make("lstm", vocabulary=8, dtype=torch.double)
    x, frames = states([9, 12], torch.double)
    models = {"lm": (language_model("lstm", 8, torch.double), 0.0)}
    plain = search(parts, x, frames, beam_size=3)
    assert search(parts, x, frames, models, beam_size=3) == plain
    heavy = {"lm": (models["lm"][0], 5.0)}
    greedy = search(parts, x, frames, greedy=True)
    assert search(parts, x, frames, heavy, Ctc(16, 8), 0.5, greedy=True) == greedy


def ctc_log(logs, labels):
    """log P of labels: all paths over T frames that collapse to them."""
    total = 0.0
    for path in itertools.product(range(logs.size(1)), repeat=len(logs)):
        collapsed = [k for k, _ in itertools.groupby(path) if k]
        if collapsed == list(labels):
            total += math.exp(sum(float(logs[t, k]) for t, k in enumerate(path)))
    return math.log(total) if total else -math.inf


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_ctc_ranks_the_last_beam(weight):
    parts = make("stateless", vocabulary=4, dtype=torch.double)
    x, frames = states([3, 2], torch.double)
    ctc = Ctc(16, 4)
    for row, length in enumerate([3, 2]):
        oracle = every_transcript(parts, x[row, :length], 2)
        found = search(
            parts,
            x,
            frames,
            None,
            ctc,
            weight,
            beam_size=200,
            nbest=200,
            max_symbols=2,
            expansion_gamma=0.0,
        )[row]
        logs = ctc.log_softmax(x[row, :length]).detach()
        impossible = 0
        for raw in found:
            value = ctc_log(logs, raw.token_ids)
            if value == -math.inf:
                impossible += 1
                assert raw.scores["ctc"] < -1e9
                continue
            assert raw.scores["ctc"] == pytest.approx(value, abs=1e-9)
            total = (1 - weight) * oracle[raw.token_ids] + weight * value
            assert raw.score == pytest.approx(total, abs=1e-9)
        assert 0 < impossible < len(found)
        assert [raw.score for raw in found] == sorted((raw.score for raw in found), reverse=True)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("greedy", [True, False])
def test_a_gpu_finds_the_same(kind, greedy):
    parts = make("lstm", vocabulary=8, dtype=torch.double)
    x, frames = states([7, 22, 1, 15], torch.double)
    lm, ctc, found = language_model(kind, 8, torch.double), Ctc(16, 8), []
    for device in ("cpu", "cuda"):
        moved = {name: part.to(device) for name, part in parts.items()}
        own = lm if isinstance(lm, NgramScorer) else lm.to(device)
        found.append(
            search(
                moved,
                x.to(device),
                frames.to(device),
                {"lm": (own, 0.5)},
                ctc.to(device),
                0.3,
                beam_size=4,
                nbest=4,
                greedy=greedy,
            )
        )
    said = 0
    for one, other in zip(*found, strict=True):
        assert [raw.token_ids for raw in one] == [raw.token_ids for raw in other]
        for here, there in zip(one, other, strict=True):
            assert here.score == pytest.approx(there.score, abs=1e-7)
            assert here.scores == pytest.approx(there.scores, abs=1e-7)
            said += len(here.token_ids)
    assert said
