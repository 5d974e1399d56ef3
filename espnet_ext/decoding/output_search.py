"""Search the outputs of a batch: one after the other, because heads can read each other's decoders,
or at the same time if none does.

Symbols: B utterances, T encoder frames, D encoder size, M states that a decoder attends to: frames,
and the tokens of another output if it reads them.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from espnet_ext.decoding.alignment import ctc_log_probs
from espnet_ext.decoding.finite import check_encoder_out
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.precision import QUANTISED
from espnet_ext.decoding.search import EMPTY, Result, to_hypothesis
from espnet_ext.decoding.threads import limit_threads
from espnet_ext.errors import UserError
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.encoding import EncoderOutput
from espnet_ext.model.heads.search import RawHypothesis
from espnet_ext.model.heads.side_inputs import DecoderStates, SideInputs
from espnet_ext.text.tokenizers import Tokenizer


def searched_outputs(model: DualOutputModel, outputs: Sequence[str]) -> list[str]:
    """Return outputs with those whose decoders they read, each after the one that it reads.

    Args:
        model: the model.
        outputs: the outputs to return.
    """
    needed = set(outputs)
    for name in reversed(model.reading_order):
        if name in needed and (other := model.heads[name].reads) is not None:
            needed.add(other)
    return [name for name in model.reading_order if name in needed]


def search_order(
    model: DualOutputModel, searched: Sequence[str], source: str | None, surface: str
) -> list[str]:
    """Return the outputs in the order in which they are decoded.

    Args:
        model: the model.
        searched: the outputs, from `searched_outputs`.
        source: output that gives the canonical form of the surface, and so comes before it.
        surface: name of the surface.

    Raises:
        UserError: if the decoder of the source reads that of the surface.
    """
    first = [] if source is None else searched_outputs(model, [source])
    if surface in first:
        raise UserError(
            f"{source} gives the canonical form of the {surface}, but its decoder reads that of "
            f"the {surface}: each would have to be decoded first",
            "decode without canonical forms from an output",
        )
    return [*first, *(name for name in searched if name not in first)]


class OutputSearch:
    """The searches of all outputs of one batch.

    Args:
        model: the model.
        searchers: output → its search.
        encoded: encoder output of the batch.
        precision: see `decoding.precision.PRECISIONS`.
    """

    def __init__(
        self,
        model: DualOutputModel,
        searchers: Mapping[str, Any],
        encoded: EncoderOutput,
        precision: str = "float32",
    ):
        self.precision = precision
        self.model, self.searchers, self.encoded = model, searchers, encoded
        self.nbest_lists: dict[str, list[list[RawHypothesis]]] = {}  # output → n-best lists
        self.ctc_inputs: dict[str, torch.Tensor] = {}  # output → (B, T, D) that its CTC reads
        self._decoders: dict[str, DecoderStates] = {}  # of the outputs that others read

    @torch.no_grad()  # which holds for one thread only
    def run(self, name: str, **options: Any) -> None:
        """Search an output; the one that its decoder reads must have been searched before.

        Args:
            name: the output.
            options: further arguments of its search.

        Raises:
            NotFiniteError: the encoder output has NaN or infinite values.
        """
        check_encoder_out(name, self.encoded.hidden[name], self.precision)
        head, encoded = self.model.heads[name], self.encoded
        side = SideInputs(self._decoders.get(head.reads or ""), encoded.ctc_layers.get(name))
        read = encoded.hidden[name], encoded.lengths[name], side
        inputs = head.inputs_of("att", *read)  # (B, M, D), (B,)
        ctc_input = head.inputs_of("ctc", *read)  # (B, T, D), (B,)
        self.ctc_inputs[name] = ctc_input[0]
        if head.reads is not None or head.ctc_layer is not None:
            options["ctc_input"] = ctc_input
        self.nbest_lists[name] = self.searchers[name](*inputs, **options)
        if name in self.model.read_decoders:
            self._decoders[name] = head.decoder_states(*inputs, self.best(name))

    def run_independent(self, names: Sequence[str]) -> list[str]:
        """Search outputs at the same time, each in a thread of its own, if that is possible.

        It is faster on a CPU than several threads per matrix product. No output may read another
        one, and autocast, which half precision needs, holds for one thread only.

        Returns:
            The outputs that are left to search: none, or all.
        """
        threads = torch.get_num_threads()
        is_possible = (
            min(threads, len(names)) > 1
            and self.precision in ("float32", *QUANTISED)
            and all(self.model.heads[name].reads is None for name in names)
            and all(self.encoded.hidden[name].device.type == "cpu" for name in names)
        )
        if not is_possible:
            return list(names)
        # new threads inherit the limit
        with (
            limit_threads(max(1, threads // len(names))),
            ThreadPoolExecutor(len(names)) as executor,
        ):
            for _ in executor.map(self.run, names):
                pass  # an error in a search is raised here
        return []

    def best(self, name: str) -> list[tuple[int, ...]]:
        """Return the token ids of the best hypothesis of each utterance; () if it has none."""
        return [nbest[0].token_ids if nbest else () for nbest in self.nbest_lists[name]]

    def results(
        self,
        outputs: Sequence[str],
        seconds: Sequence[float],
        options: Mapping[str, SearchOptions],
        tokenizers: Mapping[str, Tokenizer],
        log_probs_of: Sequence[str],
    ) -> list[Result]:
        """Return the n-best lists of each utterance as hypotheses with text.

        Args:
            outputs: outputs of the results; they have been searched.
            seconds: duration of each utterance.
            options: output → its search options; `times` adds the times of tokens.
            tokenizers: output → its tokenizer.
            log_probs_of: outputs whose CTC log probabilities the results have.
        """
        results = []
        for i, duration in enumerate(seconds):
            nbest, log_probs = {}, {}
            for name in outputs:
                states = self.ctc_inputs[name][i, : int(self.encoded.lengths[name][i])]  # (T, D)
                timed, keeps_ctc = options[name].times, name in log_probs_of
                head, tokenizer = self.model.heads[name], tokenizers[name]
                ctc = ctc_log_probs(head.ctc, states) if timed or keeps_ctc else None
                if ctc is not None and keeps_ctc:
                    log_probs[name] = ctc  # (T, V)
                timing = ctc if timed else None
                nbest[name] = [
                    to_hypothesis(raw, head.tokens, tokenizer, timing, duration)
                    for raw in self.nbest_lists[name][i]
                ] or [EMPTY]
            results.append(Result(nbest, log_probs=log_probs))
        return results
