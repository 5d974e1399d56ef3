"""Choose the encoder layer up to which two outputs share, by similarity or by conflict.

Up to the layer where two single-output encoders part, one encoder can serve both outputs. By
gradients, the layers above are those where the outputs conflict most often, which Recon makes
private (Shi et al., ICLR 2023). Either way the values of the layers, from the bottom, are divided
into two groups of constant value with the least squared error.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espnet_ext.document import number

EMBED = "embed"  # the layer below the first block


@dataclass(frozen=True)
class Branching:
    """Where the layers of an encoder are divided.

    Args:
        shared: the number of encoder layers below, without the subsampling.
        layers: the number of encoder layers.
        below, above: the mean values of both groups.
    """

    shared: int
    layers: int
    below: float
    above: float


def divide(values: Mapping[str, float | None], rises: bool = False) -> Branching | None:
    """Return where the values of the layers fall (or rise) from a lower to an upper group.

    Args:
        values: layer (`embed`, `0`, `1`, …) → value. Layers without a value are left out.
        rises: the values of the upper group are higher, as with conflicts.
    Returns:
        None if there are fewer than two values, or they change in the other direction.

    >>> divide({"embed": 0.9, "0": 0.9, "1": 0.5, "2": 0.4})
    Branching(shared=1, layers=3, below=0.9, above=0.45)
    """
    known = [(name, value) for name, value in values.items() if value is not None]
    blocks = [name for name in values if name != EMBED]
    divisions: list[tuple[float, int, float, float]] = []
    for place in range(1, len(known)):
        groups = [value for _, value in known[:place]], [value for _, value in known[place:]]
        means = [sum(group) / len(group) for group in groups]
        error = sum((v - m) ** 2 for m, group in zip(means, groups, strict=True) for v in group)
        first_above = known[place][0]
        divisions.append((error, blocks.index(first_above), means[0], means[1]))
    if not divisions:
        return None
    _, shared, below, above = min(divisions)
    is_right = above > below if rises else above < below
    return Branching(shared, len(blocks), below, above) if is_right else None


def by_similarity(result: Mapping[str, Any], a: str, b: str) -> Branching | None:
    """Return where the encoders of two systems part in a result of the analysis `cka`.

    Returns:
        None if the result does not compare them, or they do not part.
    """
    for pair in result["pairs"]:
        if {pair["a"], pair["b"]} == {a, b}:
            return divide({point["layer"]: point["debiased"] for point in pair["curve"]})
    return None


def conflict_shares(records: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return layer → share of the diagnosed steps in which gradients of two outputs conflict.

    They conflict if the cosine of any two outputs' gradients is below zero.

    Args:
        records: the lines of `diagnostics.jsonl`.
    """
    cosines: dict[str, list[bool]] = {}
    for record in records:
        pairs = (record.get("gradients") or {}).get("pairs", ())
        names = {name: None for pair in pairs for name in pair["cosine"]}
        for name in names:
            known = [p["cosine"][name] for p in pairs if p["cosine"].get(name) is not None]
            if known and (name == EMBED or name.isdigit()):
                cosines.setdefault(name, []).append(min(known) < 0)
    order = sorted(cosines, key=lambda name: -1 if name == EMBED else int(name))
    return {name: sum(cosines[name]) / len(cosines[name]) for name in order}


def describe(branching: Branching, what: str, digits: int = 2) -> list[str]:
    """Return lines that say where the layers are divided, and what to write for it.

    Args:
        what: the values, such as "CKA".
        digits: digits of the values.
    """
    shared, count = branching.shared, branching.layers
    below, above = number(branching.below, digits), number(branching.above, digits)
    where = f"after encoder layer {shared} of {count}" if shared else "before encoder layer 1"
    return [
        f"{where}: mean {what} {below} up to there, {above} above",
        f"private layers per output: conditioning_conf.layers: {count - shared} (do_tops)",
        f"CTC of the surface: ctc_layer: {max(1, shared)} (do_ctc_layer)",
    ]


def finding(result: Mapping[str, Any], systems: Sequence[str]) -> list[str]:
    """Return a sentence on where the encoders of two systems part; none if they do not."""
    a, b = systems
    branching = by_similarity(result, a, b)
    if branching is None:
        return []
    return [f"The encoders of {a} and {b} part {describe(branching, 'CKA')[0]}."]
