"""The best path of CTC (Graves et al., 2006): the likeliest token of every frame, collapsed.

No search: no decoder, no language model, no length bonus. Rough, and as fast as can be.
Symbols: B utterances, T frames, D encoder size.
"""

import torch

from espnet_ext.decoding.beam import RawHypothesis

BLANK = 0


class BestPath:
    """Takes the place of `BeamSearch` for a branch with CTC.

    Args:
        ctc: module with `log_softmax`.
        eos: never part of a transcript.
    """

    def __init__(self, ctc: torch.nn.Module, eos: int):
        self.ctc, self.eos = ctc, eos

    @torch.no_grad()
    def __call__(self, states: torch.Tensor, lengths: torch.Tensor) -> list[list[RawHypothesis]]:
        """The one hypothesis of each utterance; states (B, T, D), lengths (B,)."""
        values, tokens = self.ctc.log_softmax(states).max(-1)
        return [
            [self._collapse(ids[:count], logs[:count])]
            for ids, logs, count in zip(
                tokens.tolist(), values.double().tolist(), lengths.tolist(), strict=True
            )
        ]

    def _collapse(self, ids: list[int], logs: list[float]) -> RawHypothesis:
        content: list[int] = []
        sure: list[float] = []  # log probability of each token where it is surest
        previous = BLANK
        for token, log in zip(ids, logs, strict=True):
            if token not in (BLANK, self.eos):
                if token == previous:
                    sure[-1] = max(sure[-1], log)
                else:
                    content.append(token)
                    sure.append(log)
            previous = token
        confidences = torch.tensor(sure, dtype=torch.double).exp().tolist()
        total = sum(logs)
        return RawHypothesis(tuple(content), total, {"ctc": total}, tuple(confidences))
