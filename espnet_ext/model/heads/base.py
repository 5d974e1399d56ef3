"""The base class of heads, and the losses that a head is made of.

A head is one output's part of the network after the encoder. It consists of one or more criteria
(`Criterion`), each a loss with the modules that it trains. Most new heads only list their criteria;
a head that is different in kind overrides the methods.

Symbols: B utterances in the batch, N labelled ones among them, T encoder frames, L tokens,
D encoder size, V vocabulary.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.config import UNLABELLED, OutputConfig, check_weight
from espnet_ext.model.heads.search_options import fill_in
from espnet_ext.model.heads.side_inputs import NOTHING, DecoderStates, SideInputs, record_states

IGNORE = -1  # padding of token ids
ELSEWHERE = "decode this system with espnet-ext decode instead"


@dataclass(frozen=True)
class HeadLosses:
    """Losses of one output over a batch: sums over labelled rows, divided by B.

    Dividing by B (not N) makes the loss linear in the utterances: two workers with different
    labels have together the gradient of one worker with all of them.
    """

    terms: Mapping[str, torch.Tensor]  # loss name ("ctc", "att", "transducer", …) → ()
    weights: Mapping[str, float]  # loss name → its weight in the training loss
    labelled: torch.Tensor  # (), N
    share: torch.Tensor  # (), N / B: what a loss of 1 per labelled utterance would amount to
    # statistic → numerator and denominator, () each, summed over the labelled rows
    ratios: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def weighted(self) -> list[torch.Tensor]:
        """Return every loss times its weight."""
        return [self.weights[name] * loss for name, loss in self.terms.items()]

    def scaled(self, factor: torch.Tensor) -> "HeadLosses":
        """Return the same with every loss multiplied by `factor`."""
        terms = {name: loss * factor.to(loss.dtype) for name, loss in self.terms.items()}
        share = self.share * factor.to(self.share.dtype)
        return dataclasses.replace(self, terms=terms, share=share)


@dataclass(frozen=True)
class HeadContext:
    """What a head is built from."""

    name: str  # name of the output
    options: Any  # an instance of the head's `Options`
    vocabulary: int  # V
    encoder_size: int  # D
    config: Mapping[str, Any]  # the whole configuration, for defaults shared by all outputs
    tokens: Sequence[str] = ()  # V tokens
    shared_decoder: torch.nn.Module | None = None  # decoder of all outputs with `decoder: shared`

    @property
    def where(self) -> str:
        return f"outputs.{self.name}"

    @property
    def eos(self) -> int:
        return self.vocabulary - 1


@dataclass(frozen=True)
class StockHead:
    """A head in the terms of stock ESPnet's ASR task."""

    config: Mapping[str, Any]  # `decoder`, `decoder_conf`, `joint_net_conf`, …
    model_conf: Mapping[str, Any]  # keys of `model_conf`, e.g. `ctc_weight`
    requirement: str = ""  # a package that ESPnet needs for it


@dataclass(frozen=True)
class StockSearch:
    """The search of a head in the terms of ESPnet's `asr_inference`."""

    inference: Mapping[str, Any]  # options of `asr_inference`
    options: Mapping[str, Any]  # search options with which it is decoded here to identical tokens
    # what `asr_inference` cannot do with the head's own options, one sentence each
    differences: Sequence[str] = ()


class Criterion:
    """One loss of a head, with the modules that it trains."""

    term: ClassVar[str]  # name of the loss: its statistic is `loss_<term>_<output>`
    weight_key: ClassVar[str]  # configuration key of its weight
    # part name → module name in ESPnet's ASR model; here the module is `<output>_<part>`
    stock_parts: ClassVar[Mapping[str, str]]
    ratios: ClassVar[tuple[str, ...]] = ()  # further statistics, e.g. "acc"

    parts: dict[str, torch.nn.Module]

    def __init__(self, context: HeadContext):
        raise NotImplementedError

    def __call__(
        self,
        states: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        autocast: AbstractContextManager,
    ) -> tuple[torch.Tensor, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        """Return the mean loss over N labelled rows, and the counts of `ratios`.

        Args:
            states: (N, T, D) encoder output; lengths: (N,) frames.
            text: (N, L) token ids, padded with −1; text_lengths: (N,).
            autocast: context in which networks run; losses are float32 or better.
        """
        raise NotImplementedError

    def inputs(
        self, states: torch.Tensor, lengths: torch.Tensor, side: SideInputs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the states (N, T, D) and lengths (N,) that this criterion reads.

        Args:
            states: (N, T, D) encoder output; lengths: (N,) frames.
            side: what the head reads beside them.
        """
        return states, lengths

    def absorb_constant(self, vector: torch.Tensor) -> None:
        """Change biases so that encoder output h has the effect of h + vector (D,)."""
        kind = type(self).__name__
        raise UserError(f"task vectors cannot be added to the biases of {kind}", ELSEWHERE)

    @classmethod
    def check(cls, options: Any, where: str) -> None:
        """Raise `UserError` for invalid options of this criterion."""


class Head:
    """One output's head. Not a module: the model registers `parts` under flat names.

    Args:
        context: configuration and sizes.
        tokens: V tokens; blank is the first, sos and eos are the last.
    """

    Options: ClassVar[type[OutputConfig]] = OutputConfig  # configuration keys of this kind

    def __init__(self, context: HeadContext, tokens: Sequence[str]):
        self.name = context.name
        self.options = context.options
        self.tokens = list(tokens)
        self.blank = 0
        self.sos = self.eos = context.eos
        self.criteria = [build(context) for build in self.criteria_of(context.options)]
        self.parts = {name: part for c in self.criteria for name, part in c.parts.items()}

    # -- configuration, before anything is built

    @classmethod
    def criteria_of(cls, options: Any) -> Sequence[type[Criterion]]:
        """Return the criteria of a head with these options, in the order of their parameters."""
        raise NotImplementedError

    @classmethod
    def check(cls, options: Any, where: str) -> None:
        """Raise `UserError` for invalid options. `where` names them in messages."""
        for criterion in cls.criteria_of(options):
            weight = getattr(options, criterion.weight_key)
            check_weight(weight, f"{where}.{criterion.weight_key}")
            if weight == 0:
                raise UserError(
                    f"{where}: branch '{options.branch}' has {criterion.weight_key} 0: it would "
                    "never be trained",
                    f"give {criterion.weight_key}, or choose a branch without it",
                )
            criterion.check(options, where)

    @classmethod
    def part_names(cls, options: Any) -> list[str]:
        """Return the names of the head's modules, without the output's."""
        return [part for criterion in cls.criteria_of(options) for part in criterion.stock_parts]

    @classmethod
    def statistic_names(cls, options: Any) -> list[str]:
        """Return the names of `statistics`, which never vary, without the output's."""
        names = []
        for criterion in cls.criteria_of(options):
            names += [f"loss_{criterion.term}", *criterion.ratios]
        return names

    # -- training

    def losses(
        self,
        states: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        autocast: AbstractContextManager,
        side: SideInputs = NOTHING,
    ) -> HeadLosses:
        """Return the losses over the labelled rows.

        Args:
            states: (B, T, D) encoder output; lengths: (B,) frames.
            text: (B, L) token ids, padded with −1; an unlabelled row begins with −2.
            text_lengths: (B,).
            autocast: context in which networks run; losses are float32 or better.
            side: what the head reads beside the encoder output.
        """
        rows = (text[:, 0] != UNLABELLED).nonzero().squeeze(1)  # (N,)
        labelled = rows.numel()
        zero = states.new_zeros(())
        terms: dict[str, torch.Tensor] = {}
        ratios: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        criteria = self.criteria[::-1]  # CTC first, as in ESPnet: dropout draws the same numbers
        weights = {c.term: float(getattr(self.options, c.weight_key)) for c in criteria}
        if labelled == 0:
            # Keep every parameter in the graph: ranks whose backward graphs differ hang under DDP.
            held = sum((p.sum() * 0 for part in self.parts.values() for p in part.parameters()), 0)
            held = held + states.sum() * 0
            terms = {criterion.term: held for criterion in criteria}
            ratios = {name: (zero, zero) for criterion in criteria for name in criterion.ratios}
            return HeadLosses(terms, weights, zero, zero, ratios)
        share = labelled / text.size(0)
        if labelled < text.size(0):
            states, lengths = states[rows], lengths[rows]  # (N, T, D), (N,)
            text, text_lengths = text[rows], text_lengths[rows]
            side = side.select(rows)
        text = text[:, : int(text_lengths.max())]
        text = text.masked_fill(text < 0, IGNORE)
        for criterion in criteria:
            inputs = criterion.inputs(states, lengths, side)
            loss, counts = criterion(*inputs, text, text_lengths, autocast)
            terms[criterion.term] = loss * share
            ratios |= counts
        return HeadLosses(terms, weights, zero + labelled, zero + share, ratios)

    def statistic_sums(self, losses: HeadLosses, batch_size: int) -> dict[str, torch.Tensor]:
        """Return what is summed over all ranks before `statistics`: name → (). Names never vary."""
        sums = {"labelled": losses.labelled}
        for name, loss in losses.terms.items():
            sums[f"loss_{name}"] = loss.detach() * batch_size
        for name, (numerator, denominator) in losses.ratios.items():
            sums[f"{name}/numerator"], sums[f"{name}/denominator"] = numerator, denominator
        return sums

    def statistics(self, sums: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return losses per labelled utterance and ratios, by `statistic_names`.

        A value is NaN where no rank has a label.
        """
        values = {}
        for criterion in self.criteria:
            name = f"loss_{criterion.term}"
            values[name] = sums[name] / sums["labelled"]
            for name in criterion.ratios:
                values[name] = sums[f"{name}/numerator"] / sums[f"{name}/denominator"]
        return values

    # -- side inputs

    @property
    def reads(self) -> str | None:
        """The output whose decoder the decoder of this one reads; None if it reads none."""
        return getattr(self.options, "reads", None)

    @property
    def ctc_layer(self) -> int | None:
        """The number (from 1) of the encoder layer that CTC reads; None for the encoder output."""
        return getattr(self.options, "ctc_layer", None)

    def inputs_of(
        self, term: str, states: torch.Tensor, lengths: torch.Tensor, side: SideInputs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the states and lengths that the criterion `term` reads; see `Criterion.inputs`.

        A head without it reads the encoder output.
        """
        for criterion in self.criteria:
            if criterion.term == term:
                return criterion.inputs(states, lengths, side)
        return states, lengths

    # -- decoding

    @property
    def ctc(self) -> torch.nn.Module | None:
        """The CTC layer, which tells when tokens were spoken; None if the head has none."""
        return self.parts.get("ctc")

    @property
    def decoder(self) -> torch.nn.Module | None:
        """The autoregressive decoder, whose layers can be analysed; None if there is none."""
        return self.parts.get("decoder")

    def teacher_forced(
        self,
        states: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `decoder`'s logits (N, L+1, V) for given transcripts, and the targets (N, L+1).

        Args:
            states: (N, T, D) what the decoder attends to (`inputs_of`); lengths: (N,).
            text: (N, L) token ids, padded with −1; text_lengths: (N,).
        """
        assert self.decoder is not None, f"{self.name} has no decoder"
        return teacher_forced(self.decoder, self.eos, states, lengths, text, text_lengths)

    def decoder_states(
        self, states: torch.Tensor, lengths: torch.Tensor, token_ids: Sequence[Sequence[int]]
    ) -> DecoderStates:
        """Return the hidden states of the decoder over hypotheses, for the decoders that read them.

        Args:
            states: (B, M, D) what the decoder attends to; lengths: (B,).
            token_ids: token ids of one hypothesis per utterance, without sos and eos.
        """
        device = states.device
        counts = torch.tensor([len(ids) for ids in token_ids], device=device)
        rows = [torch.tensor(ids, dtype=torch.long, device=device) for ids in token_ids]
        text = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORE)
        with record_states(self.decoder) as recorded:
            self.teacher_forced(states, lengths, text, counts)
        return DecoderStates(recorded[0], counts + 1)

    def searcher(self, options: Any) -> Any:
        """Return what finds the n-best list: a description from `heads.search`, or a searcher.

        A searcher is called with encoder output (B, T, D) and lengths (B,), and returns a list of
        `heads.search.RawHypothesis` per utterance, best first.

        Args:
            options: `heads.search_options.SearchOptions`; `options.head_conf` is this head's own.
        """
        raise NotImplementedError

    def search_defaults(self) -> dict[str, Any]:
        """Return the values of search options that this kind of head is decoded with by default.

        Fast speech can have more letters than encoder frames, so `maxlenratio` is 2, with end
        detection. `outputs.<name>.search` of the configuration overrides them.
        """
        return {"maxlenratio": 2.0, "end_detect": True}

    def stock_search_defaults(self) -> dict[str, Any]:
        """Return the values with which `asr_inference` decodes this head without options.

        They are used for models that ESPnet trained. `SearchOptions` has the remaining ones.
        """
        return {"beam_size": 20, "ctc_weight": 0.5}

    def default_search(self, stock: bool = False) -> dict[str, Any]:
        """Return the search options of this head that a decoding configuration may override.

        They depend on the kind of head and on `outputs.<name>.search`, never on the name.

        Args:
            stock: whether the model is one of stock ESPnet. Its defaults are those of
                `asr_inference`, unless `export_head` wrote it and recorded others.
        """
        search = self.options.search
        defaults = self.stock_search_defaults() if stock else self.search_defaults()
        return fill_in(search, defaults, search.keys())

    def search_option_names(self, options: Any) -> list[str]:
        """Return the names of the search options that have an effect on this head."""
        return ["greedy"] if options.greedy else ["beam_size", "nbest"]

    def check_search(self, head_conf: Mapping[str, Any], where: str) -> None:
        """Raise `UserError` for search options `head_conf` that this head does not have."""
        for key in head_conf:
            raise UserError(
                f"{where}.head_conf: branch '{self.options.branch}' has no search option '{key}'",
                "remove it",
            )

    # -- stock ESPnet

    @classmethod
    def export(cls, name: str, options: Any, config: Mapping[str, Any]) -> StockHead:
        """Return this head as stock ESPnet expresses it; `UserError` if it cannot."""
        raise UserError(
            f"outputs.{name}: ESPnet's ASR task has no head like branch '{options.branch}'",
            ELSEWHERE,
        )

    def stock_search(self, options: Any) -> StockSearch:
        """Return how `asr_inference` decodes this head to identical tokens.

        Args:
            options: `heads.search_options.SearchOptions`.
        """
        raise NotImplementedError(f"{type(self).__name__} has `export`, but no `stock_search`")

    @classmethod
    def from_stock(cls, stock: Mapping[str, Any], where: str) -> dict[str, Any] | None:
        """Return the output's configuration if a stock configuration has this kind of head."""
        return None

    @classmethod
    def stock_parts(cls, options: Any) -> dict[str, str]:
        """Return part name → module name in ESPnet's ASR model."""
        pairs = [criterion.stock_parts for criterion in cls.criteria_of(options)]
        return {part: stock for parts in pairs for part, stock in parts.items()}

    def absorb_constant(self, vector: torch.Tensor) -> None:
        """Change biases so that encoder output h has the effect of h + vector (D,)."""
        for criterion in self.criteria:
            criterion.absorb_constant(vector)


def teacher_forced(
    decoder: torch.nn.Module,
    eos: int,
    states: torch.Tensor,
    lengths: torch.Tensor,
    text: torch.Tensor,
    text_lengths: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return decoder logits (N, L+1, V) for given transcripts (N, L), and the targets (N, L+1)."""
    inputs, target = espnet.load("add_sos_eos")(text, eos, eos, IGNORE)
    logits, _ = decoder(states, lengths, inputs, text_lengths + 1)
    return logits, target
