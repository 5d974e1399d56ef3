"""Batches of utterances of similar length."""

from collections.abc import Callable, Iterator, Mapping


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
