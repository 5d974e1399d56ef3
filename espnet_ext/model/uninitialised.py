"""Build a model without random initial weights, which a file replaces anyway.

Initialising 86 million parameters takes about 2 s of one core.
"""

from typing import Any

from torch.overrides import TorchFunctionMode

# Names, because transformers replaces the functions of torch.nn.init by its own
_RANDOM = {
    *("normal_", "trunc_normal_", "uniform_"),
    *("xavier_normal_", "xavier_uniform_", "kaiming_normal_", "kaiming_uniform_"),
}


class Uninitialised(TorchFunctionMode):
    """A context in which random initialisations do nothing; constants are still set.

    >>> import torch
    >>> with Uninitialised():
    ...     layer = torch.nn.LayerNorm(2), torch.nn.Linear(2, 2)
    >>> layer[0].weight.tolist()
    [1.0, 1.0]
    """

    depth = 0  # contexts that are active

    def __enter__(self) -> "Uninitialised":
        Uninitialised.depth += 1
        return super().__enter__()

    def __exit__(self, *reason: Any) -> None:
        Uninitialised.depth -= 1
        super().__exit__(*reason)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _RANDOM:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
