"""The objective `pcgrad`: project conflicting gradients.

Yu et al., "Gradient Surgery for Multi-Task Learning", arXiv 2001.06782, algorithm 1: for every
other task j in random order, if g_i · g_j < 0, then g_i ← g_i − (g_i · g_j) / ‖g_j‖² · g_j. The
update is the sum of the changed g_i. The g_j are the original gradients.

Symbols: A active tasks.
"""

import torch

from espnet_ext.objectives.gradient_method import GradientMethod


class PCGrad(GradientMethod):
    name = "pcgrad"

    def coefficients(self, gram, tasks, group):
        # Row i: the changed g_i as a combination of the original gradients.
        changed = torch.eye(len(gram), dtype=gram.dtype)  # (A, A)
        for i, others in enumerate(task_orders(len(gram), int(self.updates))):
            for j in others:
                product = changed[i] @ gram[:, j]
                if product < 0:
                    changed[i, j] -= product / gram[j, j]
        return changed.sum(0)


def task_orders(count: int, seed: int) -> list[list[int]]:
    """Return a random order of the other tasks for each of `count` tasks.

    Ranks with the same seed draw the same orders.
    """
    generator = torch.Generator().manual_seed(seed)
    orders = (torch.randperm(count, generator=generator).tolist() for _ in range(count))
    return [[j for j in order if j != i] for i, order in enumerate(orders)]
