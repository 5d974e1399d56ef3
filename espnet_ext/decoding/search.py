"""Results of decoding, and the construction of a head's search.

Symbols:
    B: utterances
    T: encoder frames
    D: encoder output size
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from espnet_ext.decoding.alignment import align
from espnet_ext.decoding.beam import BeamSearch
from espnet_ext.decoding.canonical import CanonicalPrior
from espnet_ext.decoding.fusion import Fusion
from espnet_ext.decoding.greedy import BestPath
from espnet_ext.decoding.ngram import NgramScorer
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.scorers import Scorer, build_scorer
from espnet_ext.decoding.transducer import TransducerSearch
from espnet_ext.errors import UserError
from espnet_ext.model.heads.base import Head
from espnet_ext.model.heads.search import JointScorers, RawHypothesis, TransducerScorers
from espnet_ext.text.ngram import Ngrams
from espnet_ext.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class Hypothesis:
    """A recognised transcript of one output."""

    text: str
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    score: float  # weighted sum of log probabilities and length bonus
    scores: dict[str, float] = field(default_factory=dict)  # unweighted, by scorer
    confidences: tuple[float, ...] = ()  # per token, 0 to 1
    # start and end of each token in seconds; None if not requested or not possible
    times: tuple[tuple[float, float], ...] | None = None


EMPTY = Hypothesis("", (), (), 0.0)


@dataclass(frozen=True)
class Result:
    """The transcripts of all outputs of one utterance."""

    nbest: Mapping[str, Sequence[Hypothesis]]  # output → hypotheses, best first
    parts: "tuple[Part, ...]" = ()  # the segments of long audio
    # CTC log probabilities (T, V) of the outputs in `DualSpeech2Text.log_probs_of`
    log_probs: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def best(self) -> dict[str, Hypothesis]:
        """The best hypothesis by output."""
        return {name: hypotheses[0] for name, hypotheses in self.nbest.items()}


@dataclass(frozen=True)
class Part:
    """A segment of long audio and its result."""

    start: float  # seconds
    end: float  # seconds
    result: Result


def to_hypothesis(
    raw: RawHypothesis,
    vocabulary: Sequence[str],
    tokenizer: Tokenizer,
    log_probs: torch.Tensor | None,
    seconds: float,
) -> Hypothesis:
    """Return a hypothesis of a search with its text, and with times if there is a CTC.

    Args:
        raw: the hypothesis.
        vocabulary, tokenizer: of its output.
        log_probs: (T, V) of the CTC, or None for a hypothesis without times.
        seconds: duration of the audio.
    """
    tokens = tuple(vocabulary[i] for i in raw.token_ids)
    return Hypothesis(
        tokenizer.decode(tokens),
        tokens,
        raw.token_ids,
        raw.score,
        dict(raw.scores),
        raw.confidences,
        None if log_probs is None else align(log_probs, raw.token_ids, seconds),
    )


class Searcher(Protocol):
    """A search for the transcripts of one output."""

    def __call__(
        self, encoder_out: torch.Tensor, lengths: torch.Tensor
    ) -> list[list[RawHypothesis]]:
        """Return the n-best list of each utterance, best first.

        Args:
            encoder_out: (B, T, D).
            lengths: (B,) frames per utterance.
        """


@dataclass(frozen=True)
class FusionModels:
    """External language models of one output, for shallow fusion."""

    lm: torch.nn.Module | None = None  # ESPnet language model
    ngram: Ngrams | None = None


def build_searcher(
    head: Head,
    options: SearchOptions,
    lm: torch.nn.Module | None = None,
    int8: bool = False,
    ngram: Ngrams | None = None,
    prior: CanonicalPrior | None = None,
) -> Searcher:
    """Return the search for a head: its own, or one that is built from its description.

    Args:
        head: the head of one output.
        options: the output's search options.
        lm: ESPnet language model for shallow fusion; not used by greedy search.
        int8: quantise the linear layers of decoder and language model (CPU).
        ngram: n-gram model for shallow fusion; not used by greedy search.
        prior: scores the hypotheses of utterances whose canonical form is known.

    Raises:
        UserError: for options in `head_conf` that the head does not have, or for a prior of a
            head without beam search over CTC and attention.
    """
    head.check_search(options.head_conf, f"decoding configuration, outputs.{head.name}")
    models = FusionModels() if options.greedy else FusionModels(lm, ngram)
    scorers = head.searcher(options)
    if prior is not None and (options.greedy or not isinstance(scorers, JointScorers)):
        raise UserError(
            f"{head.name}: canonical forms need a beam search over CTC and attention; "
            + ("the search is greedy" if options.greedy else "the head has another search"),
            "decode without canonical forms" + (", or without greedy" if options.greedy else ""),
        )
    if isinstance(scorers, JointScorers):
        return _joint_search(head, scorers, options, models, int8, prior)
    if isinstance(scorers, TransducerScorers):
        return _transducer_search(head, scorers, options, models)
    return scorers


def _joint_search(
    head: Head,
    parts: JointScorers,
    options: SearchOptions,
    models: FusionModels,
    int8: bool,
    prior: CanonicalPrior | None,
) -> Searcher:
    """Return joint CTC/attention search; scorers with a weight of 0 are left out.

    Greedy search takes the best CTC path, or without CTC the decoder's most probable token in every
    step.
    """
    if options.greedy and parts.ctc is not None:
        return BestPath(parts.ctc, head.eos)
    if options.greedy:
        options = dataclasses.replace(options, beam_size=1, nbest=1)
    ctc_weight = options.ctc_weight
    if parts.ctc is None:
        ctc_weight = 0.0
    elif parts.decoder is None:
        ctc_weight = 1.0
    scorers: dict[str, tuple[Scorer, float]] = {}
    if ctc_weight != 1.0:
        assert parts.decoder is not None
        scorers["decoder"] = (build_scorer(parts.decoder, int8), 1.0 - ctc_weight)
    if models.lm is not None and options.lm_weight:
        scorers["lm"] = (build_scorer(models.lm, int8), options.lm_weight)
    if models.ngram is not None and options.ngram_weight:
        scorers["ngram"] = (_ngram_scorer(head, models.ngram, options), options.ngram_weight)
    vocab_size = len(head.tokens)
    return BeamSearch(
        scorers, parts.ctc, ctc_weight, vocab_size, head.sos, head.eos, options, prior
    )


def _transducer_search(
    head: Head, parts: TransducerScorers, options: SearchOptions, models: FusionModels
) -> Searcher:
    """Return transducer search; if the head also has CTC, it re-ranks the final beam."""
    fused: dict[str, tuple[torch.nn.Module | NgramScorer, float]] = {}
    if models.lm is not None:
        fused["lm"] = (models.lm, options.lm_weight)
    if models.ngram is not None:
        fused["ngram"] = (_ngram_scorer(head, models.ngram, options), options.ngram_weight)
    return TransducerSearch(
        {"prediction": parts.prediction, "joint": parts.joint},
        head.eos,
        options,
        Fusion(fused, head.sos),
        parts.ctc,
        options.ctc_weight if parts.ctc is not None else 0.0,
    )


def _ngram_scorer(head: Head, ngram: Ngrams, options: SearchOptions) -> NgramScorer:
    """Return the scorer of an n-gram model.

    Raises:
        UserError: for a negative weight, if the model gives some tokens a probability of 0: they
            would outrank all others.
    """
    scorer = NgramScorer(ngram, head.tokens)
    if options.ngram_weight < 0 and scorer.impossible_tokens:
        examples = ", ".join(scorer.impossible_tokens[:5])
        raise UserError(
            f"{head.name}: ngram_weight {options.ngram_weight} with an n-gram model in which "
            f"{len(scorer.impossible_tokens)} of the output's tokens have no probability "
            f"({examples}): the negative weight would reward them",
            "give a weight above 0, or an n-gram model that lists <unk> with a probability",
        )
    return scorer
