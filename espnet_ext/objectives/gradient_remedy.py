"""The objective `gradient_remedy`: the gradient of an auxiliary output must assist the main one.

Hu et al., "Gradient Remedy for Multi-Task Learning in End-to-End Noise-Robust Speech Recognition",
arXiv 2302.11362, section 2.2. Let m be the gradient of the main output and a that of the other.

1. Projection. If a · m < 0, the part of a along m is removed, and a is then turned towards m, to
   the angle θ with tan θ = ‖a‖ / ‖m‖ of the original a: a ← a⊥ + ‖a⊥‖ / tan θ · m / ‖m‖.
2. Rescaling. If then ‖a‖ > threshold · ‖m‖, and the cosine φ of a and m is not zero:
   a ← φ a and m ← m / φ.

The update is a + m.
"""

import math

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import suggest
from espnet_ext.objectives.gradient_method import GradientMethod


class GradientRemedy(GradientMethod):
    """Gradient Remedy, for two outputs.

    Args:
        main: the output whose learning the other one must not disturb.
        threshold: ratio of the two lengths above which they are rescaled, 1 or more.
    """

    name = "gradient_remedy"

    def __init__(
        self,
        outputs,
        main: str | None = None,
        threshold: float = 5.0,
        granularity: str = "layer",
        **shared,
    ):
        super().__init__(outputs, granularity=granularity, **shared)
        if len(self.outputs) != 2:
            raise UserError(
                f"objective: gradient_remedy is for two outputs; this system has "
                f"{len(self.outputs)}",
                "use pcgrad, cagrad or gradvac",
            )
        if main not in self.outputs:
            raise UserError(
                f"objective_conf.main: {'not given' if main is None else f'no output {main!r}'}",
                suggest(str(main), self.outputs),
            )
        is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if not is_number or not 1 <= threshold < math.inf:
            raise UserError(f"objective_conf.threshold: {threshold!r}", "give a number, 1 or more")
        self.main, self.threshold = self.outputs.index(main), threshold

    def coefficients(self, gram, tasks, group):
        m, a = self.main, 1 - self.main
        product, main, other = float(gram[m, a]), math.sqrt(gram[m, m]), math.sqrt(gram[a, a])
        along = product / main**2  # the changed a is that of the other output plus along · m
        turned = 0.0
        if product < 0:
            orthogonal = math.sqrt(max(other**2 - product**2 / main**2, 0.0))
            turned = orthogonal / (other / main) / main - along  # plus turned · m
        length = math.sqrt(
            max(other**2 + 2 * turned * product + turned**2 * main**2, 0.0)
        )  # of the changed a
        coefficients = torch.ones(2, dtype=gram.dtype)
        coefficients[m] += turned
        if length > self.threshold * main:
            cosine = (product + turned * main**2) / (length * main)
            if cosine > 1e-8:
                coefficients[a] = cosine
                coefficients[m] = 1 / cosine + cosine * turned
        return coefficients
