"""Goodness of pronunciation from CTC posteriors, without phone boundaries.

The goodness of a phone is the log-probability that this phone was pronounced at its place, given
the recording and the other phones of the sentence. Each alternative is the sentence with another
phone there, or with none; CTC sums each over all alignments. Compare Cao et al., "A framework for
phoneme-level pronunciation assessment using CTC" (Interspeech 2024).

Symbols: T frames, V vocabulary size, U expected phones.
"""

from collections.abc import Sequence

import torch

from espnet_ext.decoding.alignment import ctc_log_likelihoods


def goodness(
    log_probs: torch.Tensor, expected: Sequence[int], alternatives: Sequence[int]
) -> list[float]:
    """Return the goodness of each expected phone in nats, from −infinity to 0.

    Args:
        log_probs: (T, V) of the CTC of the surface; blank is 0.
        expected: token ids of the expected phones, U.
        alternatives: token ids of all phones.

    Returns:
        U values; NaN if the recording has too few frames for the sentence.

    >>> log_probs = torch.tensor([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]]).log()
    >>> [round(value, 2) for value in goodness(log_probs, [1], [1, 2])]
    [-0.22]
    """
    transcripts = [list(expected)]
    owners = []  # the phone that each further transcript replaces
    for index, phone in enumerate(expected):
        before, after = expected[:index], expected[index + 1 :]
        replaced = [[*before, other, *after] for other in alternatives if other != phone]
        transcripts += [*replaced, [*before, *after]]
        owners += [index] * (len(replaced) + 1)
    scores = torch.tensor(ctc_log_likelihoods(log_probs, transcripts), dtype=torch.double)
    owner_of = torch.tensor(owners)
    total = [
        torch.cat([scores[:1], scores[1:][owner_of == index]]).logsumexp(0)
        for index in range(len(expected))
    ]
    return [float(scores[0] - value) for value in total]
