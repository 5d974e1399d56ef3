"""Greedy CTC decoding (Graves et al., 2006): the most probable token of each frame, collapsed.

It uses no decoder, language model or length bonus. It is the fastest and least accurate search.

Symbols:
    B: utterances
    T: encoder frames
    D: encoder output size
"""

import torch

from espnet_ext.model.heads.search import RawHypothesis

BLANK = 0


class BestPath:
    """Best-path search, with the interface of `BeamSearch`, for outputs with a CTC layer.

    Args:
        ctc: CTC module with `log_softmax`.
        eos: token id that is removed from transcripts.
    """

    def __init__(self, ctc, eos: int):
        self.ctc, self.eos = ctc, eos

    @torch.no_grad()
    def __call__(
        self,
        encoder_out: torch.Tensor,
        lengths: torch.Tensor,
        ctc_input: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> list[list[RawHypothesis]]:
        """Return one hypothesis per utterance; arguments as in `BeamSearch.__call__`."""
        encoder_out, lengths = (encoder_out, lengths) if ctc_input is None else ctc_input
        log_probs, tokens = self.ctc.log_softmax(encoder_out).max(-1)  # (B, T)
        return [
            [self._collapse(path[:length], path_log_probs[:length])]
            for path, path_log_probs, length in zip(
                tokens.tolist(), log_probs.double().tolist(), lengths.tolist(), strict=True
            )
        ]

    def _collapse(self, path: list[int], log_probs: list[float]) -> RawHypothesis:
        """Merge repeated tokens and remove blanks.

        The confidence of a token is the probability in its best frame.
        """
        token_ids: list[int] = []
        peaks: list[float] = []  # highest log probability of each token
        previous = BLANK
        for token, log_prob in zip(path, log_probs, strict=True):
            if token not in (BLANK, self.eos):
                if token == previous:
                    peaks[-1] = max(peaks[-1], log_prob)
                else:
                    token_ids.append(token)
                    peaks.append(log_prob)
            previous = token
        confidences = torch.tensor(peaks, dtype=torch.double).exp().tolist()
        score = sum(log_probs)
        return RawHypothesis(tuple(token_ids), score, {"ctc": score}, tuple(confidences))
