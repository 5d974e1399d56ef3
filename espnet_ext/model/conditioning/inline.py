"""Inline tags as tasks: find them in token ids, and remove some of them.

In TokenVerse++ (arXiv 2508.19856) tasks are tokens within one transcript. A task here is a kind of
tag within an output, such as `meaning.l1`. It is active for an utterance whose transcript of that
output contains a tag of that kind.

Symbols: B utterances, L tokens, K outputs, G kinds of tags.
"""

from collections.abc import Mapping, Sequence

import torch

from espnet_ext.model.config import TEXT_PREFIX, UNLABELLED
from espnet_ext.text.tags import output_of, tag_task, tag_token_ids

SPACES = ("<space>", "▁")  # the token before a tag: of characters, of SentencePiece
PADDING = -1


class InlineTags:
    """The kinds of inline tags in the token lists of all outputs.

    Args:
        tokens: output → its token list.

    Attributes:
        ids: task (`meaning.l1`) → token ids of its tags.
    """

    def __init__(self, tokens: Mapping[str, Sequence[str]]):
        self.outputs = tuple(tokens)
        self.ids = {
            tag_task(output, kind): ids
            for output, token_list in tokens.items()
            for kind, ids in tag_token_ids(token_list).items()
        }
        self.spaces = {
            output: [i for i, token in enumerate(token_list) if token in SPACES]
            for output, token_list in tokens.items()
        }

    def present(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return which utterances' transcripts contain which kind of tag: (B, G)."""
        first = batch[TEXT_PREFIX + self.outputs[0]]
        columns = [
            _is_any_of(batch[TEXT_PREFIX + output_of(task)], ids).any(1)
            for task, ids in self.ids.items()
        ]
        empty = torch.zeros(len(first), 0, dtype=torch.bool, device=first.device)
        return torch.stack(columns, 1) if columns else empty

    def restrict(
        self, batch: Mapping[str, torch.Tensor], active: torch.Tensor, kept: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return a batch without the labels of dropped tasks, and the remaining tasks (B, K + G).

        A dropped output becomes unlabelled. A dropped tag is removed from its transcript with the
        preceding space (tags at the start of the transcript: the space after them). A transcript
        that only consists of dropped tags keeps them, because it would be empty otherwise.

        Args:
            active: (B, K + G), tasks that the utterances have labels for.
            kept: (B, K + G), the tasks of `active` that are not dropped.
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
                removed = torch.zeros_like(text, dtype=torch.bool)  # (B, L)
                for column, ids in columns:
                    removed |= _is_any_of(text, ids) & dropped[:, column, None]
                removed |= _spaces_of(removed, _is_any_of(text, self.spaces[output]))
                only_tags = removed.sum(1) == lengths  # (B,)
                removed &= ~only_tags[:, None]
                for column, _ in columns:
                    kept[:, column] |= active[:, column] & only_tags & kept[:, number]
                text, lengths = _remove(text, lengths, removed)
            text = text.clone()
            text[:, 0] = text[:, 0].masked_fill(~kept[:, number], UNLABELLED)
            changed[key], changed[f"{key}_lengths"] = text, lengths
        return changed, kept


def _is_any_of(text: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    """Return which token ids (B, L) are in a list."""
    return torch.isin(text, torch.tensor(ids, dtype=text.dtype, device=text.device))


def _spaces_of(removed: torch.Tensor, spaces: torch.Tensor) -> torch.Tensor:
    """Return the spaces (B, L) to remove with tags.

    They are the spaces before removed tags and, if the first token is one, the space after the
    removed tags at the start.

    Args:
        removed: (B, L), tags that are removed.
        spaces: (B, L), tokens that are spaces.
    """
    before = torch.zeros_like(removed)
    before[:, :-1] = removed[:, 1:]
    at_start = (removed | (before & spaces)).cumprod(1).bool()  # all tokens up to it are removed
    after = torch.zeros_like(removed)
    after[:, 1:] = at_start[:, :-1] & removed[:, :1]
    return (before | after) & spaces


def _remove(
    text: torch.Tensor, lengths: torch.Tensor, removed: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Remove tokens (B, L), shift the others to the left and pad; return ids and lengths (B,)."""
    order = removed.to(torch.int8).argsort(dim=1, stable=True)
    positions = torch.arange(text.size(1), device=text.device)
    moved = text.gather(1, order)
    remaining = text.size(1) - removed.sum(1, keepdim=True)
    padded = moved.masked_fill(positions >= remaining, PADDING)
    return padded, lengths - removed.sum(1).to(lengths.dtype)
