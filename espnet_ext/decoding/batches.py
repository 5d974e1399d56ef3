"""Batches of utterances of similar length, and smaller ones where memory is short."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from espnet_ext.decoding.finite import NotFiniteError
from espnet_ext.decoding.search import Result
from espnet_ext.errors import UserError, is_out_of_memory


def batches_by_length(
    num_samples: Mapping[int, int],
    encoder_frames: Callable[[int], float],
    max_frames: int,
    single: bool = False,
) -> Iterator[list[int]]:
    """Yield the numbers of the utterances of each batch, the longest utterances first.

    Args:
        num_samples: samples of each utterance, by its number.
        encoder_frames: number of encoder frames as a function of the number of samples.
        max_frames: most encoder frames of a batch, with padding.
        single: one utterance per batch, for a model whose results depend on the padding.

    >>> list(batches_by_length({0: 10, 1: 30, 2: 20}, lambda samples: samples, 60))
    [[1, 2], [0]]
    """
    batch: list[int] = []
    for i in sorted(num_samples, key=num_samples.__getitem__, reverse=True):
        # With the longest utterance first, all are padded to its length.
        if batch:
            padded_frames = encoder_frames(num_samples[batch[0]]) * (len(batch) + 1)
            if padded_frames > max_frames or single:
                yield batch
                batch = []
        batch.append(i)
    if batch:
        yield batch


def decode_or_split(
    decode: Callable[[Sequence[int]], list[Result]],
    batch: Sequence[int],
    names: Sequence[str],
    sizes: Sequence[str],
) -> list[Result]:
    """Decode a batch; if it fails, decode its halves.

    Args:
        decode: numbers of utterances → their results.
        batch: numbers of the utterances to decode.
        names: how errors name each utterance, by its number.
        sizes: how errors call its length, by its number.

    Raises:
        UserError: names the utterance that exceeds the memory, or whose output is not finite.
    """
    try:
        return decode(batch)
    except NotFiniteError as error:
        if len(batch) == 1:
            raise NotFiniteError(f"{names[batch[0]]}{error.where}", error.precision) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            message = f"out of memory on a single utterance of {sizes[batch[0]]}"
            raise UserError(
                f"{names[batch[0]]}{message}", "cut the audio, or use a smaller beam_size"
            ) from None
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    middle = len(batch) // 2
    halves = (batch[:middle], batch[middle:])
    return [result for half in halves for result in decode_or_split(decode, half, names, sizes)]
