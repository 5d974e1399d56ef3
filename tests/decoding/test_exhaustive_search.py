"""Every search against all transcripts of tiny models, for beams below and above the vocabulary.

The expected scores are sums over all CTC paths and all transducer paths, and the decoder's
log-probabilities of whole transcripts. They share no code with the searches.

Symbols:
    T: encoder frames
    L: longest transcript, in tokens
    V: vocabulary size
    c: CTC weight
"""

import itertools
import math
import random
import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.decoding.coupling import Coupling, LearnerErrorModel
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.scorers import add_weighted
from espnet_ext.decoding.search import build_searcher
from espnet_ext.decoding.transducer import TransducerSearch
from espnet_ext.errors import UserError
from espnet_ext.model.heads.registry import build_head
from espnet_ext.model.heads.search import JointScorers
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.text.ngram import Ngrams, estimate

sys.path.insert(0, str(Path(__file__).parent))
import search_models  # noqa: E402
import transducer_models  # noqa: E402

VOCABULARY_SIZES = range(3, 13)
CTC_WEIGHTS = (0.0, 1e-3, 0.1, 0.3, 0.5, 0.9, 1.0)
MAX_PATHS = 2000  # CTC paths per utterance: V ** T
MAX_TRANSCRIPTS = 700
BRANCHES = {
    "ctc_attention": {"ctc_weight": 0.5, "attention_weight": 0.5},
    "attention": {"attention_weight": 1.0},
    "ctc": {"ctc_weight": 1.0},
}


def make_head(branch, vocab_size, dtype=torch.double):
    """Return a head with random weights that prefers some tokens, as trained ones do."""
    tokens = ["<blank>", *map(str, range(1, vocab_size - 1)), "<sos/eos>"]
    entry = {"branch": branch, "token_list": tokens, **BRANCHES[branch]}
    options = parse_outputs({"outputs": {"surface": entry}})["surface"]
    config = {
        "decoder": "transformer",
        "decoder_conf": {"attention_heads": 2, "linear_units": 16, "num_blocks": 1},
    }
    head = build_head("surface", options, tokens, search_models.SIZE, config)
    for part in head.parts.values():
        part.to(dtype).eval()
    if head.ctc is not None:
        search_models.sharpen(head.ctc.ctc_lo)
    if head.decoder is not None:
        search_models.sharpen(head.decoder.output_layer)
        with torch.no_grad():
            head.decoder.output_layer.bias[vocab_size - 1] += 1
    return head


def largest(limit, vocab_size, at_most):
    """Return the largest n ≤ `at_most` with V ** n ≤ limit."""
    return max(n for n in range(1, at_most + 1) if n == 1 or vocab_size**n <= limit)


class AllTranscripts:
    """All transcripts of one utterance, with their log-probabilities.

    Args:
        head: with a decoder, CTC or both.
        encoder_out: (T, D).
        max_length: L.
    """

    def __init__(self, head, encoder_out, max_length):
        self.head, self.max_length = head, max_length
        vocab_size = len(head.tokens)
        self.transcripts = [
            ids
            for length in range(max_length + 1)
            for ids in itertools.product(range(vocab_size - 1), repeat=length)
        ]
        if head.ctc is not None:
            log_probs = head.ctc.log_softmax(encoder_out[None])[0].detach().double()
            self.ctc_complete, self.ctc_prefix = self._sum_ctc_paths(log_probs)
        if head.decoder is not None:
            self.decoder_log_probs = self._run_decoder(encoder_out)

    @staticmethod
    def _sum_ctc_paths(log_probs):
        """Return the probabilities of all transcripts, and of all that begin with a prefix."""
        complete: dict[tuple, float] = {}
        rows = log_probs.exp().tolist()
        for path in itertools.product(range(len(rows[0])), repeat=len(rows)):
            ids = tuple(token for token, _ in itertools.groupby(path) if token != 0)
            probability = math.prod(row[token] for row, token in zip(rows, path, strict=True))
            complete[ids] = complete.get(ids, 0.0) + probability
        prefix: dict[tuple, float] = {}
        for ids, probability in complete.items():
            for length in range(len(ids) + 1):
                prefix[ids[:length]] = prefix.get(ids[:length], 0.0) + probability
        return complete, prefix

    def _run_decoder(self, encoder_out):
        """Return transcript → log-probabilities of its tokens and of eos, (length + 1,)."""
        result = {}
        eos = self.head.eos
        for length in range(self.max_length + 1):
            ids = torch.tensor([i for i in self.transcripts if len(i) == length]).long()
            inputs = torch.nn.functional.pad(ids.view(len(ids), length), (1, 0), value=eos)
            memory = encoder_out.expand(len(ids), -1, -1)
            frames = torch.full((len(ids),), len(encoder_out))
            sizes = torch.full((len(ids),), length + 1)
            with torch.no_grad():
                logits, _ = self.head.decoder(memory, frames, inputs, sizes)
            targets = torch.nn.functional.pad(inputs[:, 1:], (0, 1), value=eos)
            log_probs = logits.double().log_softmax(-1).gather(2, targets[..., None])[..., 0]
            result |= {tuple(i): row for i, row in zip(ids.tolist(), log_probs, strict=True)}
        return result

    def ranking(self, ctc_weight, penalty=0.0, normalize=False, min_length=0):
        """Return (rank, score, ids without blanks) of all possible transcripts, best first."""
        rows = []
        for ids in self.transcripts:
            # A transcript of L tokens ends without eos: the search stops there.
            is_longest = len(ids) == self.max_length
            num_scored = len(ids) if is_longest else len(ids) + 1
            if num_scored - 1 < min_length:
                continue
            score = penalty * num_scored
            if ctc_weight < 1:
                score += (1 - ctc_weight) * float(self.decoder_log_probs[ids][:num_scored].sum())
            if ctc_weight > 0:
                table = self.ctc_prefix if is_longest else self.ctc_complete
                probability = 0.0 if 0 in ids else table.get(ids, 0.0)
                if probability == 0.0:
                    continue
                score += ctc_weight * math.log(probability)
            # At length L − 1 and L a second eos is counted, as in ESPnet.
            num_counted = min(len(ids) + 1, self.max_length) + (len(ids) >= self.max_length - 1)
            rank = score / num_counted if normalize else score
            rows.append((rank, score, tuple(i for i in ids if i != 0)))
        return sorted(rows, key=lambda row: -row[0])


def num_candidates(vocab_size, max_length):
    """Return the largest number of candidates per step: a beam of this size prunes nothing."""
    return vocab_size * (vocab_size - 1) ** (max_length - 1)


def check_nbest(nbest, ranking, normalize, is_exact, tolerance):
    """Check the n-best list of one utterance against the ranking of all transcripts."""
    assert nbest
    score_lists: dict[tuple, list] = {}
    for rank, score, ids in ranking:
        score_lists.setdefault(ids, []).append((rank, score))
    ranks = []
    for hypothesis in nbest:
        assert math.isfinite(hypothesis.score)
        matching = [
            rank
            for rank, score in score_lists[hypothesis.token_ids]
            if score == pytest.approx(hypothesis.score, abs=tolerance)
        ]
        assert matching, (hypothesis, score_lists[hypothesis.token_ids])
        ranks.append(max(matching))
    assert all(a >= b - tolerance for a, b in itertools.pairwise(ranks))
    assert ranks[0] <= ranking[0][0] + tolerance
    if is_exact:
        assert ranks == pytest.approx([row[0] for row in ranking[: len(nbest)]], abs=tolerance)


def beams(vocab_size, exact, generator):
    """Return some beam sizes from 1 to 100, those about V, and the one that prunes nothing."""
    about = {vocab_size - 1, vocab_size, vocab_size + 1}
    some = {generator.randint(1, 100), generator.randint(1, 12)}
    return sorted(about | some | {exact, 100})


def weights_of(branch):
    return {"ctc": (0.3,), "attention": (0.3,)}.get(branch, CTC_WEIGHTS)


@pytest.mark.parametrize("vocab_size", VOCABULARY_SIZES)
@pytest.mark.parametrize("branch", list(BRANCHES))
def test_joint_search_finds_what_an_enumeration_finds(branch, vocab_size):
    torch.manual_seed(vocab_size)
    generator = random.Random(vocab_size)
    head = make_head(branch, vocab_size)
    most_frames = largest(MAX_PATHS, vocab_size, 6)
    frame_counts = [most_frames, 1, max(1, most_frames - 1)]
    max_length = largest(MAX_TRANSCRIPTS, vocab_size, 4)
    encoder_out, lengths = search_models.make_encoder_out(frame_counts)
    all_transcripts = [
        AllTranscripts(head, row[:length], max_length)
        for row, length in zip(encoder_out, frame_counts, strict=True)
    ]
    exact = num_candidates(vocab_size, max_length)
    for ctc_weight in weights_of(branch):
        true_weight = {"ctc": 1.0, "attention": 0.0}.get(branch, ctc_weight)
        penalty, normalize = generator.choice((0.0, 0.7)), generator.random() < 0.5
        rankings = [every.ranking(true_weight, penalty, normalize) for every in all_transcripts]
        for beam in beams(vocab_size, exact, generator):
            options = SearchOptions(
                beam_size=beam,
                ctc_weight=ctc_weight,
                maxlenratio=-float(max_length),
                penalty=penalty,
                normalize_length=normalize,
                nbest=generator.choice((1, 4)),
            )
            search = build_searcher(head, options)
            batched = search(encoder_out, lengths)
            row = generator.randrange(3)
            single = search(encoder_out[row : row + 1, : frame_counts[row]], lengths[row : row + 1])
            for nbest, ranking in [
                *zip(batched, rankings, strict=True),
                (single[0], rankings[row]),
            ]:
                assert len(nbest) == options.nbest or beam < exact or len(ranking) == len(nbest)
                check_nbest(nbest, ranking, normalize, beam >= exact, 1e-8)


@pytest.mark.parametrize("vocab_size", [3, 5, 8])
@pytest.mark.parametrize("ctc_weight", CTC_WEIGHTS)
def test_float32_and_constant_minimum_lengths(vocab_size, ctc_weight):
    """Also where no possible transcript is long enough, and shorter ones are returned."""
    torch.manual_seed(vocab_size)
    head = make_head("ctc_attention", vocab_size, torch.float)
    most_frames = largest(MAX_PATHS, vocab_size, 6)
    max_length = largest(MAX_TRANSCRIPTS, vocab_size, 4)
    encoder_out, lengths = search_models.make_encoder_out([most_frames, 1], torch.float)
    exact = num_candidates(vocab_size, max_length)
    for min_length in (0, 2, max_length + 3):
        options = SearchOptions(
            beam_size=exact,
            ctc_weight=ctc_weight,
            maxlenratio=-float(max_length),
            minlenratio=-float(min_length),
            nbest=3,
        )
        nbest_lists = build_searcher(head, options)(encoder_out, lengths)
        for row, length in enumerate(lengths.tolist()):
            every = AllTranscripts(head, encoder_out[row, :length], max_length)
            ranking = every.ranking(ctc_weight, min_length=min_length) or every.ranking(ctc_weight)
            check_nbest(nbest_lists[row], ranking, False, True, 1e-3)


class CTCWithZeros(torch.nn.Module):
    """CTC in which some probabilities are very low or 0."""

    def __init__(self, ctc, lowest):
        super().__init__()
        self.ctc, self.lowest = ctc, lowest

    def log_softmax(self, encoder_out):
        log_probs = self.ctc.log_softmax(encoder_out)
        is_low = log_probs < log_probs.median(-1, keepdim=True).values
        return log_probs.masked_fill(is_low, self.lowest)


@pytest.mark.parametrize("lowest", [-100.0, -1e4, -1e7, -1e12, -torch.inf])
def test_very_low_ctc_probabilities_do_not_cancel(lowest):
    torch.manual_seed(0)
    head = make_head("ctc_attention", 5)
    head.parts["ctc"] = CTCWithZeros(head.ctc, lowest)
    encoder_out, lengths = search_models.make_encoder_out([4, 2, 3])
    exact = num_candidates(5, 4)
    for ctc_weight, beam in itertools.product((0.3, 1.0), (1, 4, 5, 6, exact)):
        options = SearchOptions(beam_size=beam, ctc_weight=ctc_weight, maxlenratio=-4.0, nbest=2)
        nbest_lists = build_searcher(head, options)(encoder_out, lengths)
        for row, length in enumerate(lengths.tolist()):
            every = AllTranscripts(head, encoder_out[row, :length], 4)
            ranking = every.ranking(ctc_weight)
            # exp(−1e4) and less is 0 in the enumeration, though such transcripts are possible.
            possible = [h for h in nbest_lists[row] if h.score > -1000]
            assert nbest_lists[row] and nbest_lists[row][: len(possible)] == possible
            if possible or beam == exact:  # a narrow beam may only find very improbable ones
                check_nbest(possible, ranking, False, False, 1e-8)
            if beam == exact:
                assert possible[0].score == pytest.approx(ranking[0][1], abs=1e-8)
            if lowest == -torch.inf:
                assert possible == nbest_lists[row]


class RandomCTC(torch.nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.linear = torch.nn.Linear(transducer_models.SIZE, vocab_size).double()

    def log_softmax(self, encoder_out):
        return (2 * self.linear(encoder_out)).log_softmax(-1)


@pytest.mark.parametrize("vocab_size", VOCABULARY_SIZES)
def test_transducer_search_finds_what_an_enumeration_finds(vocab_size):
    generator = random.Random(vocab_size)
    max_symbols = 2 if vocab_size < 6 else 1
    frame_counts = [3 if vocab_size < 6 else 2, 1]
    parts = transducer_models.make_parts(
        "stateless", vocab_size, seed=vocab_size, dtype=torch.double
    )
    encoder_out, lengths = transducer_models.make_encoder_out(frame_counts, torch.double)
    log_probs = [
        transducer_models.transcript_log_probs(parts, row[:length], max_symbols)
        for row, length in zip(encoder_out, frame_counts, strict=True)
    ]
    exact = len(log_probs[0])
    torch.manual_seed(vocab_size)
    ctc = RandomCTC(vocab_size)
    for ctc_weight in CTC_WEIGHTS:
        for beam in beams(vocab_size, exact, generator):
            options = SearchOptions(
                beam_size=beam, nbest=4, max_symbols=max_symbols, expansion_gamma=0.0
            )
            search = TransducerSearch(parts, vocab_size - 1, options, None, ctc, ctc_weight)
            nbest_lists = search(encoder_out, lengths)
            for row, length in enumerate(frame_counts):
                rows = ctc.log_softmax(encoder_out[None, row, :length])[0].detach()
                complete, _ = AllTranscripts._sum_ctc_paths(rows)
                ranking = []
                for ids, log_prob in log_probs[row].items():
                    if ctc_weight == 0:
                        ranking.append((log_prob, log_prob, ids))
                    elif ids in complete:
                        ctc_log_prob = math.log(complete[ids])
                        score = (1 - ctc_weight) * log_prob + ctc_weight * ctc_log_prob
                        ranking.append((score, score, ids))
                ranking.sort(key=lambda one: -one[0])
                if beam >= exact:
                    check_nbest(nbest_lists[row], ranking, False, True, 1e-8)
                else:  # a narrow beam loses some of the paths of a transcript
                    assert nbest_lists[row]
                    score_of = {ids: score for _, score, ids in ranking}
                    if ctc_weight and "ctc" not in nbest_lists[row][0].scores:
                        # CTC rules out all of the beam, so the transducer ranks alone.
                        score_of = {ids: 0.0 for ids in log_probs[row] if ids not in complete}
                    for hypothesis in nbest_lists[row]:
                        assert hypothesis.score <= score_of[hypothesis.token_ids] + 1e-8
                    single = search(encoder_out[row : row + 1, :length], lengths[row : row + 1])[0]
                    assert [h.token_ids for h in single] == [h.token_ids for h in nbest_lists[row]]


def test_transducer_ranks_alone_if_ctc_rules_out_all_hypotheses():
    parts = transducer_models.make_parts("stateless", 4, dtype=torch.double)
    encoder_out, lengths = transducer_models.make_encoder_out([1], torch.double)
    ctc = RandomCTC(4)
    with torch.no_grad():
        ctc.linear.bias[0] = -torch.inf  # no blank: an empty transcript is impossible
        parts["joint"].lin_out.bias[0] += 50
    options = SearchOptions(beam_size=1)
    alone = TransducerSearch(parts, 3, options)(encoder_out, lengths)
    assert alone[0][0].token_ids == ()
    assert TransducerSearch(parts, 3, options, None, ctc, 0.3)(encoder_out, lengths) == alone


def test_stock_espnet_keeps_impossible_hypotheses_in_a_wide_beam():
    """Why equality with ESPnet is only tested for beams below the vocabulary size.

    Its −1e10 for impossible tokens cancels: the best hypothesis is empty and has the score 0.
    """
    torch.manual_seed(0)
    vocab_size = 6
    head = make_head("ctc", vocab_size, torch.float)
    decoder = search_models.make_decoder(vocab_size, dtype=torch.float)
    encoder_out, lengths = search_models.make_encoder_out([12], torch.float)
    arguments = decoder, head.ctc, 0.3, vocab_size
    narrow = SearchOptions(beam_size=vocab_size - 1)
    wide = SearchOptions(beam_size=vocab_size)
    (ids, score), *_ = search_models.search_by_espnet(*arguments, wide, encoder_out, lengths)[0]
    assert (ids, score) == ((), 0.0)
    expected = search_models.search_by_espnet(*arguments, narrow, encoder_out, lengths)[0][0]
    for beam in (vocab_size - 1, vocab_size, vocab_size + 1, 60):
        options = SearchOptions(beam_size=beam)
        ids, score = search_models.search_by_us(*arguments, options, encoder_out, lengths)[0][0]
        assert ids and math.isfinite(score) and score >= expected[1] - 1e-4


# -- external models


class Table:
    """A scorer that gives every hypothesis the same scores (V,)."""

    def __init__(self, scores):
        self.scores = torch.tensor(scores, dtype=torch.double)

    def start(self, encoder_out, lengths, beam_size):
        pass

    def step(self, tokens):
        return self.scores.expand(*tokens.shape, -1)

    def reorder(self, parents):
        pass

    def keep(self, rows):
        pass


@pytest.mark.parametrize("weight", [0.5, -0.5])
def test_token_that_a_language_model_rules_out_is_never_found(weight):
    lm = Table([-1.0, -torch.inf, -1.0, -2.0, -1.0])
    torch.manual_seed(0)
    head = make_head("ctc_attention", 5)
    encoder_out, lengths = search_models.make_encoder_out([6, 3])
    for beam in (1, 4, 5, 100):
        options = SearchOptions(beam_size=beam, nbest=4, lm_weight=weight, maxlenratio=-5.0)
        nbest_lists = search_models.search_by_us(
            head.decoder, head.ctc, 0.3, 5, options, encoder_out, lengths, lm_scorer=lm
        )
        for nbest in nbest_lists:
            assert nbest and all(1 not in ids and math.isfinite(score) for ids, score in nbest)


def test_negative_weight_does_not_reward_the_impossible():
    scores = torch.tensor([-2.0, -torch.inf])
    assert add_weighted(torch.zeros(2), scores, 0.5).tolist() == [-1.0, -math.inf]
    assert add_weighted(torch.zeros(2), scores, -0.5).tolist() == [1.0, -math.inf]


def test_negative_ngram_weight_needs_probabilities_of_all_tokens():
    head = make_head("ctc_attention", 6)
    model = estimate([list("123"), list("21")], 2)
    options = SearchOptions(ngram_weight=-0.3)
    build_searcher(head, options, ngram=model)  # <unk> has a probability
    grams = {gram: pair for gram, pair in model.grams.items() if gram != ("<unk>",)}
    with pytest.raises(UserError, match="have no probability \\(4\\)"):
        build_searcher(head, options, ngram=Ngrams(2, grams))
    build_searcher(head, SearchOptions(ngram_weight=0.3), ngram=Ngrams(2, grams))


def test_coupling_never_prefers_an_impossible_pair():
    pairs = {"surface": [list("ab"), list("b")], "meaning": [list("ab"), list("b")]}
    coupling = Coupling(LearnerErrorModel.estimate(pairs), weight=1000.0)
    surface = [(list("ab"), -1.0), (list("b"), -math.inf)]
    meaning = [(list("b"), -1.0), (list("ab"), -1e10)]
    assert coupling.choose([surface], [meaning]) == [(0, 0)]


def test_every_joint_head_is_described_by_its_scorers():
    """The heads of this file are all that have a joint search."""
    for branch in BRANCHES:
        assert isinstance(make_head(branch, 5).searcher(SearchOptions()), JointScorers)
