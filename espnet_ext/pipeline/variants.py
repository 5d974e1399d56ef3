"""Variants of decoding: a system that is also decoded in another way, as a system of its own.

The variant `coupled` of the system `do` is the system `do_coupled`, with results in
`<decode tag>_coupled`. Stage 12 of `run.sh` has the options that each variant decodes with.
"""

from __future__ import annotations

from collections.abc import Collection

COUPLED = "coupled"  # coupled re-ranking of two outputs
PROMPT = "prompt"  # the surface is decoded with the canonical form of the prompt
TWOPASS = "twopass"  # the surface is decoded with the canonical form of the recognised meaning
CANONICAL = (PROMPT, TWOPASS)


def variants_of(outputs: Collection[str], coupling: bool, canonical: Collection[str]) -> list[str]:
    """Return the variants that a system is decoded with.

    Args:
        outputs: outputs of the system.
        coupling: whether pairs of outputs are re-ranked.
        canonical: PROMPT and TWOPASS, if they are wanted.

    >>> variants_of(["surface"], True, ["prompt", "twopass"])
    ['prompt']
    """
    possible = {
        COUPLED: coupling and len(outputs) > 1,
        PROMPT: PROMPT in canonical and "surface" in outputs,
        TWOPASS: TWOPASS in canonical and {"surface", "meaning"} <= set(outputs),
    }
    return [name for name, is_possible in possible.items() if is_possible]


def of_system(variants: str, system: str) -> list[str]:
    """Return the variants of a system in "SYSTEM:VARIANT …".

    >>> of_system("do:coupled so:prompt do:prompt", "do")
    ['coupled', 'prompt']
    """
    pairs = (word.rpartition(":") for word in variants.split())
    return [variant for name, _, variant in pairs if name == system]
