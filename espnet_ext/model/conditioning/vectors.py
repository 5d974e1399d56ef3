"""Task vectors: learned vectors of the active tasks, added to hidden states of the encoder.

TokenVerse++ (arXiv 2508.19856): `X̃ = X + v`, where v is the sum of one learned vector per active
task, or one learned vector per combination of active tasks. It is added after subsampling, after
the whole encoder, or in both places. Tasks are the outputs (`meaning`) and the kinds of inline tags
within them (`meaning.l1`). After subsampling means: to the output of the encoder's module `embed`.

ESPnet's positional encodings, which are part of `embed`, multiply features by √D before they add
positions. X is the input of this product, so the vectors are multiplied by √D too.

Symbols: B utterances, K tasks, T frames, D width.
"""

import contextlib
import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.base import Conditioner, ConditionerContext
from espnet_ext.model.conditioning.fold import fold_vectors
from espnet_ext.model.conditioning.inline import InlineTags
from espnet_ext.model.config import check_keys, check_weight, suggest
from espnet_ext.text.tags import output_of

MODES = ("per_task_sum", "per_combination")
PLACES = ("features", "encoder")  # after subsampling, after the whole encoder
WHERE = {"features": PLACES[:1], "encoder": PLACES[1:], "both": PLACES}
NORMALIZATIONS = (None, "unit", "clip")
MAX_COMBINED = 10  # tasks: 2^10 vectors per place


class TaskVectors(Conditioner):
    """Add learned vectors of the active tasks to hidden states.

    Args:
        outputs: names, in the model's order.
        sizes: width D at each place where a vector is added.
        mode: "per_task_sum" (K vectors, those of the active tasks are added) or
            "per_combination" (2^K vectors, one for each set of active tasks).
        normalize: None; "unit": every vector is scaled to length `scale`; "clip": only longer ones.
        scale: that length. Without `normalize` the length of a vector is free.
        init_std: standard deviation of the initial vectors. With 0 the initial model equals the one
            without vectors.
        drop_tasks: probability that training deactivates an active task of an utterance: an output
            with its loss and its tags, a tag with its tokens in the transcript. At least one output
            stays active.
        trained: sets of tasks that were active in training, for choosing at inference; () if
            unknown.
        tags: the outputs' kinds of inline tags; none unless given.
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
        super().__init__(outputs, tags, trained)
        _check(mode, normalize, scale, init_std, drop_tasks)
        if mode == "per_combination" and len(self.tasks) > MAX_COMBINED:
            raise UserError(
                f"conditioning_conf.mode: per_combination of {len(self.tasks)} outputs and tags "
                f"would need {2 ** len(self.tasks)} vectors",
                "use per_task_sum",
            )
        self.mode, self.normalize, self.scale = mode, normalize, scale
        self.drop_tasks = drop_tasks
        count = len(self.tasks) if mode == "per_task_sum" else 2 ** len(self.tasks)
        for place, size in sizes.items():
            start = torch.randn(count, size) * init_std if init_std else torch.zeros(count, size)
            self.register_parameter(place, torch.nn.Parameter(start))

    @classmethod
    def build(cls, conf: Mapping[str, Any], context: ConditionerContext) -> "TaskVectors":
        reserved = ("outputs", "sizes", "tags")
        known = [key for key in inspect.signature(cls).parameters if key not in reserved]
        check_keys(conf, ["where", *known], "conditioning_conf")
        conf = dict(conf)
        where = conf.pop("where", "features")
        if not isinstance(where, str) or where not in WHERE:
            raise UserError(
                f"conditioning_conf.where: unknown '{where}'", suggest(str(where), list(WHERE))
            )
        tags = InlineTags(context.tokens)
        if len(context.tokens) == 1 and not tags.ids:
            raise UserError(
                "conditioning: vectors needs at least two tasks (outputs or tags), and this system "
                "has one output and no tags",
                "remove conditioning, or add an output or a tag",
            )
        encoder: Any = context.encoder
        if "features" in WHERE[where] and not isinstance(
            getattr(encoder, "embed", None), torch.nn.Module
        ):
            raise UserError(
                f"conditioning_conf.where: {where}: vectors are added after the subsampling, but "
                f"the {type(encoder).__name__} has no subsampling in this configuration",
                "write where: encoder, or give the encoder an input_layer if its kind has one",
            )
        sizes = {"features": encoder.output_size(), "encoder": context.output_size}
        sizes = {place: sizes[place] for place in WHERE[where]}
        return cls(tags.outputs, sizes, tags=tags, **conf)

    @classmethod
    def with_label_sets(
        cls, conf: Mapping[str, Any], sets: Iterable[tuple[str, ...]]
    ) -> dict[str, Any]:
        """Return `conditioning_conf` with `trained`, the sets of tasks that training activates.

        These are the label sets; with `drop_tasks` also their subsets, except those that have a tag
        without its output.
        """
        trained = {names for names in sets if names}
        if conf.get("drop_tasks"):
            trained |= {
                part
                for names in trained
                for size in range(1, len(names))
                for part in itertools.combinations(names, size)
                if all(output_of(task) in part for task in part)
            }
        return super().with_label_sets(conf, trained)

    @property
    def places(self) -> list[str]:
        """Where vectors are added: "features", "encoder" or both."""
        return [name for name, _ in self.named_parameters()]

    @property
    def labels(self) -> list[str]:
        """One name per vector: the task, or the tasks of the combination joined by "+"."""
        if self.mode == "per_task_sum":
            return list(self.tasks)
        bits = torch.arange(2 ** len(self.tasks))[:, None] >> torch.arange(len(self.tasks))
        masks = (bits & 1).bool()  # (2^K, K)
        return ["+".join(self.names_of(mask)) or "none" for mask in masks]

    def vectors(self, place: str) -> torch.Tensor:
        """Return the vectors added at `place`, after normalization if `normalize` is set.

        The shape is (K, D), or (2^K, D) with one vector per combination of the K tasks.
        """
        weight = getattr(self, place)
        if self.normalize is None:
            return weight
        norm = weight.norm(dim=1, keepdim=True).clamp(min=1e-12)
        if self.normalize == "clip":
            norm = norm.clamp(min=self.scale)
        return weight * (self.scale / norm)

    def added(self, place: str, active: torch.Tensor) -> torch.Tensor:
        """Return what is added for active tasks (B, K): (B, D)."""
        vectors = self.vectors(place)
        if self.mode == "per_task_sum":
            return active.to(vectors.dtype) @ vectors
        bits = 2 ** torch.arange(len(self.tasks), device=active.device)
        return vectors[(active.long() * bits).sum(1)]

    def sample(self, active: torch.Tensor) -> torch.Tensor:
        """Deactivate active tasks (B, K) at random, with the probability `drop_tasks`.

        Every utterance keeps at least one output. A tag is deactivated with its output.
        """
        if not self.drop_tasks:
            return active
        count = len(self.outputs)
        draws = torch.rand(active.shape, device=active.device)
        outputs = draws[:, :count].masked_fill(~active[:, :count], -1)
        spared = outputs.argmax(1, keepdim=True)  # (B, 1), the output that stays
        kept = active & (draws >= self.drop_tasks).scatter(1, spared, True)
        for column, task in enumerate(self.tasks[count:], start=count):
            kept[:, column] &= kept[:, self.outputs.index(output_of(task))]
        return kept

    def drop_tasks_of(self, batch, active):
        if not self.drop_tasks:
            return batch, active
        return self.tags.restrict(batch, active, self.sample(active))

    def check_active(self, names: Sequence[str]) -> str:
        if not self.trained or tuple(names) in self.trained:
            return ""
        tasks = "+".join(names)
        if self.mode == "per_combination":
            raise UserError(
                f"{tasks} together were never trained, so the vector of this combination is random",
                "decode without --active",
            )
        return f"{tasks} together were never trained: the model never saw the sum of their vectors"

    def encode(self, encoder, run, encoder_pass):
        active = encoder_pass.active
        with self.at_features(encoder, active):
            states, lengths, auxiliary = run()
        return self.at_end(states, active), lengths, auxiliary

    def fold(self, model, output: str, active: Sequence[str]) -> None:
        fold_vectors(model, output, active)

    @contextlib.contextmanager
    def at_features(self, encoder: Any, active: torch.Tensor) -> Iterator[None]:
        """Add the vectors to the encoder's subsampled features while the context is open."""
        if "features" not in self.places:
            yield
            return
        vector = self.added("features", active)[:, None] * position_factor(encoder)  # (B, 1, D)
        handle = encoder.embed.register_forward_hook(
            lambda _module, _inputs, output: _add_to_features(output, vector), prepend=True
        )
        try:
            yield
        finally:
            handle.remove()

    def at_end(self, states: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """Return encoder output (B, T, D) with the vectors added, if they are added there."""
        if "encoder" not in self.places:
            return states
        return states + self.added("encoder", active)[:, None].to(states.dtype)

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return the length of every vector before normalization: `norm_<place>_<label>` → ()."""
        return {
            f"norm_{place}_{label}": row.norm()
            for place in self.places
            for label, row in zip(self.labels, getattr(self, place).detach(), strict=True)
        }


def position_factor(encoder: Any) -> float:
    """Return the factor by which the encoder's positional encoding multiplies features."""
    factors = [part.xscale for part in encoder.embed.modules() if hasattr(part, "xscale")]
    return factors[-1] if factors else 1.0


def _check(mode, normalize, scale, init_std, drop_tasks) -> None:
    where = "conditioning_conf"
    if mode not in MODES:
        raise UserError(f"{where}.mode: unknown '{mode}'", suggest(str(mode), MODES))
    if normalize not in NORMALIZATIONS:
        raise UserError(
            f"{where}.normalize: unknown '{normalize}'", "use unit or clip, or remove it"
        )
    for key, value in (("scale", scale), ("init_std", init_std), ("drop_tasks", drop_tasks)):
        check_weight(value, f"{where}.{key}")
    if scale == 0:
        raise UserError(f"{where}.scale: 0 makes every vector zero", "give a length above 0")
    if drop_tasks >= 1:
        raise UserError(f"{where}.drop_tasks: {drop_tasks}", "give a probability below 1")


def _add_to_features(output, vector: torch.Tensor):
    """Add a vector to the features (B, T, D) in the output of ESPnet's subsampling.

    The output is features, (features, mask), or ((features, positions), mask).
    """
    if isinstance(output, tuple):
        return (_add_to_features(output[0], vector), *output[1:])
    return output + vector.to(output.dtype)
