"""Task vectors: what is added to the acoustic embeddings to say what is asked for.

TokenVerse++ (arXiv 2508.19856): `X̃ = X + v`, where v is the sum of one learnt vector for each
active task, or one learnt vector for each combination of active tasks. It is added after
subsampling (what the encoder's blocks read), after the whole encoder, or in both places. Tasks are
the outputs (`meaning`), and kinds of inline tags within them (`meaning.l1`). An encoder says by its
part `embed` what its blocks read: that part's result, with vectors added to it.

ESPnet's positional encodings multiply what subsampling gives by √D before they add to it. X is what
they multiply: a vector beside the product would be √D times too small to matter.

Symbols: B utterances, K tasks, T frames, D width.
"""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import suggest
from espnet_ext.model.inline import InlineTags
from espnet_ext.text.tags import output_of

MODES = ("per_task_sum", "per_combination")
PLACES = ("features", "encoder")  # after subsampling, after the whole encoder
WHERE = {"features": PLACES[:1], "encoder": PLACES[1:], "both": PLACES}
NORMALIZATIONS = (None, "unit", "clip")
MOST_COMBINED = 10  # tasks: 2^10 vectors a place
HOW = ("auto", "together", "alone")


class TaskVectors(torch.nn.Module):
    """Learnt vectors of the active tasks.

    Args:
        outputs: names, in the model's order.
        sizes: width D at each place where a vector is added.
        mode: "per_task_sum" (K vectors, those of the active tasks are added) or
            "per_combination" (2^K vectors, one for each set of active tasks).
        normalize: None; "unit": every vector is scaled to length `scale`; "clip": only longer ones.
        scale: that length; a vector's own length otherwise grows without bound.
        init_std: standard deviation at the start; 0 begins exactly as the model without vectors.
        drop_tasks: in training, the probability that an active task of an utterance is made
            inactive: an output with its loss and its tags, a tag with its tokens in the transcript;
            at least one output stays.
        trained: sets of tasks that the training saw, for choosing at inference; () if unknown.
        tags: the outputs' kinds of inline tags, tasks after the outputs; none unless given.
    """

    def __init__(
        self,
        outputs: Sequence[str],
        sizes: Mapping[str, int],
        mode: str = MODES[0],
        normalize: str | None = None,
        scale: float = 1.0,
        init_std: float = 0.1,
        drop_tasks: float = 0.0,
        trained: Sequence[Sequence[str]] = (),
        tags: InlineTags | None = None,
    ):
        super().__init__()
        _check(mode, normalize, scale, init_std, drop_tasks)
        self.outputs = tuple(outputs)
        self.tags = tags or InlineTags(dict.fromkeys(outputs, ()))
        self.tasks = (*self.outputs, *self.tags.ids)
        if mode == "per_combination" and len(self.tasks) > MOST_COMBINED:
            raise UserError(
                f"conditioning_conf.mode: per_combination of {len(self.tasks)} outputs and tags "
                f"would need {2 ** len(self.tasks)} vectors",
                "use per_task_sum",
            )
        self.mode, self.normalize, self.scale = mode, normalize, scale
        self.drop_tasks = drop_tasks
        self.trained = [self.names_of(self.active_set(names)) for names in trained]
        count = len(self.tasks) if mode == "per_task_sum" else 2 ** len(self.tasks)
        for place, size in sizes.items():
            start = torch.randn(count, size) * init_std if init_std else torch.zeros(count, size)
            self.register_parameter(place, torch.nn.Parameter(start))

    @property
    def places(self) -> list[str]:
        return [name for name, _ in self.named_parameters()]

    @property
    def labels(self) -> list[str]:
        """A name a vector: the task's, or those of the combination joined by "+"."""
        if self.mode == "per_task_sum":
            return list(self.tasks)
        rows = torch.arange(2 ** len(self.tasks))[:, None] >> torch.arange(len(self.tasks))
        return ["+".join(self.names_of(row)) or "none" for row in (rows & 1).bool()]

    def vectors(self, place: str) -> torch.Tensor:
        """All vectors of a place as they are added, normalised if so configured: (K or 2^K, D)."""
        weight = getattr(self, place)
        if self.normalize is None:
            return weight
        norm = weight.norm(dim=1, keepdim=True).clamp(min=1e-12)
        if self.normalize == "clip":
            norm = norm.clamp(min=self.scale)
        return weight * (self.scale / norm)

    def added(self, place: str, active: torch.Tensor) -> torch.Tensor:
        """What is added for active tasks (B, K), true or false: (B, D)."""
        vectors = self.vectors(place)
        if self.mode == "per_task_sum":
            return active.to(vectors.dtype) @ vectors
        bits = 2 ** torch.arange(len(self.tasks), device=active.device)
        return vectors[(active.long() * bits).sum(1)]

    def active_set(self, names: Iterable[str]) -> torch.Tensor:
        """Names of tasks as (K,) true or false."""
        names = list(names)
        for name in names:
            if name not in self.tasks:
                what = "tag" if "." in name else "output"
                raise UserError(
                    f"active outputs: no {what} '{name}'", suggest(name, list(self.tasks))
                )
        return torch.tensor([name in names for name in self.tasks])

    def names_of(self, active: torch.Tensor) -> tuple[str, ...]:
        return tuple(n for n, on in zip(self.tasks, active.tolist(), strict=True) if on)

    def sample(self, active: torch.Tensor) -> torch.Tensor:
        """Of active tasks (B, K) some made inactive, by `drop_tasks`; of each an output stays."""
        if not self.drop_tasks:
            return active
        count = len(self.outputs)
        draws = torch.rand(active.shape, device=active.device)
        outputs = draws[:, :count].masked_fill(~active[:, :count], -1)
        best = outputs.argmax(1, keepdim=True)  # the one that stays
        kept = active & (draws >= self.drop_tasks).scatter(1, best, True)
        for column, task in enumerate(self.tasks[count:], start=count):
            kept[:, column] &= kept[:, self.outputs.index(output_of(task))]
        return kept

    @contextlib.contextmanager
    def at_features(self, encoder: torch.nn.Module, active: torch.Tensor) -> Iterator[None]:
        """While open, the encoder's blocks read its subsampled features with the vectors added."""
        if "features" not in self.places:
            yield
            return
        vector = self.added("features", active)[:, None] * position_factor(encoder)  # (B, 1, D)
        handle = encoder.embed.register_forward_hook(
            lambda _module, _inputs, output: _plus(output, vector), prepend=True
        )
        try:
            yield
        finally:
            handle.remove()

    def at_end(self, states: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """Encoder states (B, T, D) with the vectors added, if they are added there."""
        if "encoder" not in self.places:
            return states
        return states + self.added("encoder", active)[:, None].to(states.dtype)

    def norms(self) -> dict[str, torch.Tensor]:
        """Length of every vector as it is learnt: `norm_<place>_<label>` → ()."""
        return {
            f"norm_{place}_{label}": row.norm()
            for place in self.places
            for label, row in zip(self.labels, getattr(self, place).detach(), strict=True)
        }


def build_task_vectors(
    conf: Mapping, tags: InlineTags, encoder: torch.nn.Module, end_size: int
) -> TaskVectors:
    """Vectors for an encoder and `tags.outputs`; `end_size`: width of what the branches read."""
    conf = dict(conf)
    where = conf.pop("where", "features")
    if not isinstance(where, str) or where not in WHERE:
        raise UserError(f"conditioning_conf.where: '{where}'", suggest(str(where), list(WHERE)))
    if "features" in WHERE[where] and not isinstance(
        getattr(encoder, "embed", None), torch.nn.Module
    ):
        raise UserError(
            f"conditioning_conf.where: {where}: a {type(encoder).__name__} as configured has no "
            "subsampling after which to add a vector",
            "write where: encoder, or give the encoder an input_layer if its kind has one",
        )
    size = {"features": encoder.output_size(), "encoder": end_size}
    sizes = {place: size[place] for place in WHERE[where]}
    return TaskVectors(tags.outputs, sizes, tags=tags, **conf)


def active_sets(
    requested: Sequence[str], trained: Sequence[Sequence[str]], how: str = "auto"
) -> dict[str, tuple[str, ...]]:
    """Which tasks are to be active while each of the requested outputs is decoded.

    "together": all that are requested. "alone": each output by itself, with the tags in it that are
    requested. "auto": all that are requested if the training saw them together; else, for each
    output, what it saw that has the most of its own tags that are requested, and the fewest others
    of its own; of these the most requested tasks and no other, or else the fewest at all. Outputs
    with equal sets need one encoding.

    >>> active_sets(["a", "b"], [("a",), ("b",)])
    {'a': ('a',), 'b': ('b',)}
    >>> active_sets(["a", "b", "b.t"], [("a", "b"), ("b", "b.t")])
    {'a': ('a', 'b'), 'b': ('b', 'b.t')}
    """
    if how not in HOW:
        raise UserError(f"active outputs: '{how}'", suggest(how, HOW))
    outputs = [task for task in requested if output_of(task) == task]
    if how == "alone":
        return {name: tuple(t for t in requested if output_of(t) == name) for name in outputs}
    every = tuple(requested)
    if how == "together" or not trained or set(every) in [set(one) for one in trained]:
        return dict.fromkeys(outputs, every)
    found = {}
    for name in outputs:
        seen = [tuple(one) for one in trained if name in one]
        if not seen:
            raise UserError(
                f"output '{name}' was never trained: no utterance had a label for it",
                "request others, or train with labels for it",
            )
        found[name] = max(seen, key=functools.partial(_nearness, name, every))
    return found


def _nearness(output: str, requested: Sequence[str], tasks: Sequence[str]) -> tuple[int, ...]:
    """How well a set of tasks fits what is requested of an output, the larger the better."""
    own = [task in requested for task in tasks if output_of(task) == output]
    inside = set(tasks) <= set(requested)
    return sum(own), -own.count(False), inside, len(tasks) if inside else -len(tasks)


def position_factor(encoder: torch.nn.Module) -> float:
    """What the positional encoding behind an encoder's subsampling multiplies features by."""
    factors = [part.xscale for part in encoder.embed.modules() if hasattr(part, "xscale")]
    return factors[-1] if factors else 1.0


def _check(mode, normalize, scale, init_std, drop_tasks) -> None:
    where = "conditioning_conf"
    if mode not in MODES:
        raise UserError(f"{where}.mode: '{mode}'", suggest(str(mode), MODES))
    if normalize not in NORMALIZATIONS:
        raise UserError(f"{where}.normalize: '{normalize}'", "use unit or clip, or leave it out")
    for key, value in (("scale", scale), ("init_std", init_std), ("drop_tasks", drop_tasks)):
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not 0 <= value < float("inf"):
            raise UserError(f"{where}.{key}: {value!r}", "give a number from 0 upwards")
    if scale == 0:
        raise UserError(f"{where}.scale: 0 would leave no vector", "give a length above 0")
    if drop_tasks >= 1:
        raise UserError(f"{where}.drop_tasks: {drop_tasks}", "give a probability below 1")


def _plus(output, vector: torch.Tensor):
    """The output of an ESPnet subsampling with its features (B, T, D) shifted.

    Which are its first element: (features, mask), and with relative positions
    ((features, positions), mask).
    """
    if isinstance(output, tuple):
        return (_plus(output[0], vector), *output[1:])
    return output + vector.to(output.dtype)
