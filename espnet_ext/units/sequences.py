"""Pure functions on sequences of units and of input ids.

Units are written as text in the layout of ESPnet's recipes with discrete input (asr2): unit n is
the character U+4E00 + n, without spaces, so that text tokenizers read them.

Symbols: T frames, C codebooks, L ids.
"""

from collections.abc import Sequence

import numpy as np

from espnet_ext.errors import UserError

FIRST_CHARACTER = 0x4E00  # of the CJK unified ideographs
MAX_UNITS = 0x9FFF - FIRST_CHARACTER + 1  # 20,992: the block ends there
REMOVE, KEEP = "remove", "keep"
# How a set with repeats removed or kept is called in file names (ESPnet's `src_case`)
CASES = {REMOVE: "rm", KEEP: "ts"}


def remove_repeats(codes: np.ndarray) -> np.ndarray:
    """Return codes (T, C) or (T,) without the frames that equal the frame before.

    >>> remove_repeats(np.array([5, 5, 7, 7, 5])).tolist()
    [5, 7, 5]
    """
    if len(codes) < 2:
        return codes
    changed = codes[1:] != codes[:-1]
    if codes.ndim > 1:
        changed = changed.any(1)
    return codes[np.concatenate([[True], changed])]


def flatten_codes(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return codes (T, C) of C codebooks as one sequence of units (T·C,), frame by frame.

    Units of a codebook follow those of the codebooks before it: with 100 and 50 clusters, the units
    are 0 to 99 and 100 to 149.

    >>> flatten_codes(np.array([[3, 0], [3, 9]]), [100, 50]).tolist()
    [3, 100, 3, 109]
    """
    offsets = np.cumsum([0, *sizes[:-1]])
    return (codes + offsets).reshape(-1)


def units_to_text(units: Sequence[int] | np.ndarray) -> str:
    """Return units as characters, U+4E00 + unit.

    >>> units_to_text([0, 1])
    '一丁'
    """
    return "".join(chr(FIRST_CHARACTER + int(unit)) for unit in units)


def text_to_units(text: str, count: int, where: str) -> np.ndarray:
    """Return the units of a text that `units_to_text` wrote.

    Args:
        count: number of different units.
        where: names the text in errors: file and utterance.

    Raises:
        UserError: if the text is empty, or a character is not one of the units.

    >>> text_to_units("一丁", 2, "text.rm.units: u1").tolist()
    [0, 1]
    """
    if not text:
        raise UserError(f"{where}: has no units", "remove the utterance, or dump its units again")
    units = np.array([ord(char) - FIRST_CHARACTER for char in text])
    wrong = (units < 0) | (units >= count)
    if wrong.any():
        char = text[int(wrong.argmax())]
        kind = (
            f"unit {ord(char) - FIRST_CHARACTER}" if ord(char) >= FIRST_CHARACTER else "character"
        )
        raise UserError(
            f"{where}: {kind} {char!r} (U+{ord(char):04X}) is not one of the {count} units",
            "dump the units of this set with the k-means that the vocabulary was made for",
        )
    return units


def upsample[Item](ids: Sequence[Item], factor: int) -> list[Item]:
    """Return a sequence in which each item is repeated `factor` times (arXiv 2309.15826).

    Text has fewer tokens per second than speech has units; repetition brings the lengths together.

    >>> upsample(["a", "b"], 2)
    ['a', 'a', 'b', 'b']
    """
    if factor < 1:
        raise UserError(f"upsample {factor}", "choose a whole number, 1 or more")
    return [item for item in ids for _ in range(factor)]


def mask_spans(
    ids: Sequence[int], share: float, span: int, mask_id: int, random: np.random.Generator
) -> list[int]:
    """Return ids with about `share` of them replaced by `mask_id`, in spans.

    Each position begins a span with probability share / span; spans may overlap.

    >>> mask_spans([5, 6, 7], 1.0, 1, 2, np.random.default_rng(0))
    [2, 2, 2]
    """
    _check_share(share)
    starts = random.random(len(ids)) < share / max(1, span)
    ends = np.convolve(starts, np.ones(max(1, span)))[: len(ids)]
    return [mask_id if end > 0 else item for item, end in zip(ids, ends, strict=True)]


def replace_randomly(
    ids: Sequence[int], share: float, first: int, last: int, random: np.random.Generator
) -> list[int]:
    """Return ids in which each is replaced, with probability `share`, by one of first to last.

    >>> replace_randomly([5, 6], 1.0, 9, 9, np.random.default_rng(0))
    [9, 9]
    """
    _check_share(share)
    chosen = random.random(len(ids)) < share
    others = random.integers(first, last + 1, len(ids))
    return [
        int(other) if is_chosen else item
        for item, other, is_chosen in zip(ids, others, chosen, strict=True)
    ]


def drop_randomly(ids: Sequence[int], share: float, random: np.random.Generator) -> list[int]:
    """Return ids of which each is left out with probability `share`; one of them always stays.

    >>> drop_randomly([5, 6], 0.0, np.random.default_rng(0))
    [5, 6]
    """
    _check_share(share)
    kept = random.random(len(ids)) >= share
    return [item for item, is_kept in zip(ids, kept, strict=True) if is_kept] or list(ids[:1])


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise UserError(f"a share of {share!r} of the input ids", "choose a number from 0 to 1")
