"""Inline tags as tasks: which of them transcripts bear, and transcripts without some of them.

In TokenVerse++ (arXiv 2508.19856) tasks are tokens within one transcript, and vectors say which of
them are active. A task here is a kind of tag within an output, `meaning.l1`. It is active for an
utterance whose transcript of that output bears a token of that kind, which its ids tell.

Symbols: B utterances, L tokens, K outputs, G tasks of this kind.
"""

from collections.abc import Mapping, Sequence

import torch

from espnet_ext.model.config import TEXT_PREFIX, UNLABELLED
from espnet_ext.text.tags import output_of, tag_task, tag_token_ids

SPACES = ("<space>", "▁")  # what stands before a tag, of characters and of SentencePiece
PADDING = -1


class InlineTags:
    """Kinds of tags of every output.

    Args:
        tokens: output → its token list.
    """

    def __init__(self, tokens: Mapping[str, Sequence[str]]):
        self.outputs = tuple(tokens)
        self.ids = {
            tag_task(output, kind): ids
            for output, own in tokens.items()
            for kind, ids in tag_token_ids(own).items()
        }
        self.spaces = {
            output: [i for i, token in enumerate(own) if token in SPACES]
            for output, own in tokens.items()
        }

    def present(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Which utterances' transcripts bear which kind of tag: (B, G)."""
        first = batch[TEXT_PREFIX + self.outputs[0]]
        found = [
            _among(batch[TEXT_PREFIX + output_of(task)], ids).any(1)
            for task, ids in self.ids.items()
        ]
        empty = torch.zeros(len(first), 0, dtype=torch.bool, device=first.device)
        return torch.stack(found, 1) if found else empty

    def restrict(
        self, batch: Mapping[str, torch.Tensor], active: torch.Tensor, kept: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The batch with what is not kept taken out, and the tasks (B, K + G) that are left.

        An output that is not kept is marked as unlabelled. A tag that is not leaves its transcript,
        with the space before it (behind it, at the beginning); a transcript of tags alone keeps
        them, because nothing would be left of it.

        Args:
            active: (B, K + G), what the transcripts have; kept: the same or less of it.
        """
        changed, kept = dict(batch), kept.clone()
        dropped = active & ~kept
        for number, output in enumerate(self.outputs):
            key = TEXT_PREFIX + output
            text, lengths = batch[key], batch[f"{key}_lengths"]
            columns = [
                (len(self.outputs) + i, ids)
                for i, (task, ids) in enumerate(self.ids.items())
                if output_of(task) == output
            ]
            if columns:
                gone = torch.zeros_like(text, dtype=torch.bool)  # (B, L)
                for column, ids in columns:
                    gone |= _among(text, ids) & dropped[:, column, None]
                gone |= _among(text, self.spaces[output]) & _beside(gone)
                nothing = gone.sum(1) == lengths
                gone &= ~nothing[:, None]
                for column, _ in columns:
                    kept[:, column] |= active[:, column] & nothing & kept[:, number]
                text, lengths = _without(text, lengths, gone)
            text = text.clone()
            text[:, 0] = text[:, 0].masked_fill(~kept[:, number], UNLABELLED)
            changed[key], changed[f"{key}_lengths"] = text, lengths
        return changed, kept


def _among(text: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    return torch.isin(text, torch.tensor(ids, dtype=text.dtype, device=text.device))


def _beside(gone: torch.Tensor) -> torch.Tensor:
    """The places before those that go, and the one behind the first place: (B, L)."""
    places = torch.zeros_like(gone)
    places[:, :-1] = gone[:, 1:]
    places[:, 1:2] |= gone[:, :1]
    return places


def _without(
    text: torch.Tensor, lengths: torch.Tensor, gone: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, L) less those that go, moved up and padded; and their lengths (B,)."""
    order = gone.to(torch.int8).argsort(dim=1, stable=True)
    places = torch.arange(text.size(1), device=text.device)
    moved = text.gather(1, order)
    left = text.size(1) - gone.sum(1, keepdim=True)
    return moved.masked_fill(places >= left, PADDING), lengths - gone.sum(1).to(lengths.dtype)
