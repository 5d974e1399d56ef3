"""Find and restore merges that a byte-level BPE tokenizer.json has lost.

Some published conversions dropped the first line of merges.txt as if it were a header. Whisper then
lacks the merge `Ġ t`, and writes ` the` as `Ġ`, `the`, which it was never trained on.

The vocabulary alone determines the merges: the ids of GPT-2's vocabulary, and of those that follow
it, are in the order of the merges. The merge of a token is the pair that is left if all earlier
merges are applied to its characters (Sennrich et al., arXiv 1508.07909, algorithm 1).
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Merge = tuple[str, str]
SHOWN = 5  # tokens or merges that a message names


@dataclass(frozen=True)
class Repair:
    """What was lost, and what could be restored.

    Attributes:
        settings: the contents of the tokenizer.json with the restored merges.
        restored: merges that were added.
        remaining: tokens without a merge that could not be restored.
        unreachable: tokens that no text can produce: without the repair if all merges could be
            restored, otherwise after it.
    """

    settings: Mapping[str, Any]
    restored: Sequence[Merge]
    remaining: Sequence[str]
    unreachable: Sequence[str]

    def message(self, path: str) -> str:
        """Return a line that says what was restored, or what is still wrong."""
        count, example = len(self.unreachable), repr(max(self.unreachable[:50], key=len))
        effect = f"{count} tokens such as {example}" if count > 1 else f"the token {example}"
        merges = ", ".join(repr(" ".join(merge)) for merge in self.restored[:SHOWN])
        merges += ", …" if len(self.restored) > SHOWN else ""
        if self.remaining:
            tokens = ", ".join(map(repr, self.remaining[:SHOWN]))
            more = ", …" if len(self.remaining) > SHOWN else ""
            return (
                f"warning: {path}: no merge produces {tokens}{more}, so no text can contain "
                f"{effect}, which the model was trained with; remedy: convert the tokenizer again "
                "from the vocab.json and merges.txt of the model"
                + (f" (other missing merges are restored: {merges})" if merges else "")
            )
        return (
            f"note: {path}: restored merges that were missing: {merges}. Without them, no text can "
            f"contain {effect}, which the model was trained with"
        )


def restore_merges(settings: Mapping[str, Any]) -> Repair | None:
    """Return a repaired tokenizer, or None if it lacks no merge or is not byte-level BPE.

    Args:
        settings: the contents of a tokenizer.json.
    """
    model = settings.get("model") or {}
    affixes = ("continuing_subword_prefix", "end_of_word_suffix")
    if (
        model.get("type") != "BPE"
        or any(model.get(key) for key in affixes)
        or model.get("ignore_merges")  # whole words need no merge
        or not _has_bytes(settings)
    ):
        return None
    vocabulary: dict[str, int] = model["vocab"]
    merges = [_pair(merge) for merge in model["merges"]]
    special = {token["content"] for token in settings.get("added_tokens") or ()}
    lost = _without_merge(vocabulary, merges, special)
    if not lost:
        return None
    unreachable = _unreachable(vocabulary, merges, special)
    ids = [vocabulary[left + right] for left, right in merges]
    restored: list[Merge] = []
    remaining = lost
    if ids == sorted(set(ids)):  # ids are in the order of the merges
        remaining = []
        for token in lost:  # in the order of ids
            rank = bisect_left(ids, vocabulary[token])
            pieces = _apply(token, merges[:rank])
            if len(pieces) == 2 and all(piece in vocabulary for piece in pieces):
                merges.insert(rank, (pieces[0], pieces[1]))
                ids.insert(rank, vocabulary[token])
                restored.append((pieces[0], pieces[1]))
            else:
                remaining.append(token)
    as_text = bool(model["merges"]) and isinstance(model["merges"][0], str)
    written = [" ".join(merge) if as_text else list(merge) for merge in merges]
    repaired = {**settings, "model": {**model, "merges": written}}
    if remaining:
        unreachable = _unreachable(vocabulary, merges, special)
    return Repair(repaired, restored, remaining, unreachable)


def _has_bytes(settings: Mapping[str, Any]) -> bool:
    """Return whether texts are converted to bytes before they are split."""
    for part in ("pre_tokenizer", "normalizer"):
        outer = settings.get(part) or {}
        inner = [*(outer.get("pretokenizers") or ()), *(outer.get("normalizers") or ())]
        if any(step.get("type") == "ByteLevel" for step in (outer, *inner)):
            return True
    return False


def _pair(merge: str | Sequence[str]) -> Merge:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _without_merge(
    vocabulary: Mapping[str, int], merges: Sequence[Merge], special: set[str]
) -> list[str]:
    """Return the tokens, by id, that no merge produces although two parts of them are tokens."""
    produced = {left + right for left, right in merges}
    tokens = [t for t in vocabulary if len(t) > 1 and t not in produced and t not in special]
    lost = [
        token
        for token in tokens
        if any(token[:i] in vocabulary and token[i:] in vocabulary for i in range(1, len(token)))
    ]
    return sorted(lost, key=vocabulary.__getitem__)


def _unreachable(
    vocabulary: Mapping[str, int], merges: Sequence[Merge], special: set[str]
) -> list[str]:
    """Return the tokens, by id, that merges cannot build from single characters."""
    reachable = {token for token in vocabulary if len(token) <= 1} | special
    for left, right in merges:
        if left in reachable and right in reachable:
            reachable.add(left + right)
    return sorted(vocabulary.keys() - reachable, key=vocabulary.__getitem__)


def _apply(token: str, merges: Sequence[Merge]) -> list[str]:
    """Return the pieces of a token after merges, which are applied in their order."""
    ranks = {merge: rank for rank, merge in enumerate(merges) if "".join(merge) in token}
    pieces = list(token)
    while True:
        pairs = [pair for pair in zip(pieces, pieces[1:], strict=False) if pair in ranks]
        if not pairs:
            return pieces
        best = min(pairs, key=ranks.__getitem__)
        merged: list[str] = []
        for piece in pieces:
            if merged and (merged[-1], piece) == best:
                merged[-1] += piece
            else:
                merged.append(piece)
        pieces = merged
