"""The jackknife interval of a similarity: groups of speakers are left out one at a time.

A bootstrap would count pairs of rows of one speaker more often than pairs of two (w² times for a
speaker drawn w times), which inflates the similarity of layers that encode the speaker.
"""

from collections.abc import Sequence

import numpy as np


def jackknife(value: float, left_out: Sequence[float] | np.ndarray) -> tuple[float, float] | None:
    """Return the 95 % interval of a similarity (at most 1) from its values without each group.

    It uses Student's t with G − 1 degrees of freedom for left_out (G,); None below three groups, or
    if a value is undefined.

    >>> [round(bound, 3) for bound in jackknife(0.5, [0.4, 0.5, 0.6])]
    [0.003, 0.997]
    """
    from scipy.stats import t

    without = np.asarray(left_out, dtype=np.float64)
    count = len(without)
    if count < 3 or not np.isfinite([value, *without]).all():
        return None
    error = ((count - 1) / count * np.square(without - without.mean()).sum()) ** 0.5
    reach = float(t.ppf(0.975, count - 1)) * error
    return float(value - reach), float(min(1.0, value + reach))
