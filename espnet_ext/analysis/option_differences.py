"""Options of training and decoding in which two compared systems differ.

A difference of their error rates may come from one of these instead. The options of a decoding are
those of `decode.json` in the folders of hypotheses, those of a training of the model's folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_ext.analysis.training_options import Difference, training_differences
from espnet_ext.files import read_json
from espnet_ext.scoring.decode_record import compared_options

Comparison = Mapping[str, Any]  # an item of `differences` of `scoring.cross`


def differences_of_trainings(
    comparison: Comparison, systems: Mapping[str, str]
) -> list[Difference] | None:
    """Return the options that differ between the trainings of two systems; None if unknown.

    Args:
        systems: name → folder of hypotheses, `<model>/<decoding>/<set>`.
    """
    first, second = (Path(systems[comparison[side]]) / "../.." for side in "ab")
    output = next(iter(_outputs(comparison)), "")
    return training_differences(first, second, output)


def differences_of_decodings(
    comparison: Comparison, systems: Mapping[str, str], heads: Mapping[str, Mapping[str, str]]
) -> list[Difference]:
    """Return the options that differ between the decodings of two systems, in any output.

    Args:
        systems: name → folder of hypotheses.
        heads: name → output → kind of its head.
    """
    a, b = (comparison[side] for side in "ab")
    differences: dict[Difference, None] = {}
    for output in _outputs(comparison):
        kinds = [heads.get(name, {}).get(output) for name in (a, b)]
        same_head = kinds[0] == kinds[1] is not None
        folders = Path(systems[a]), Path(systems[b])
        differences |= dict.fromkeys(decoding_differences(*folders, output, same_head=same_head))
    return list(differences)


def decoding_differences(
    first: Path, second: Path, output: str, *, same_head: bool
) -> list[Difference]:
    """Return the options that differ between two decodings, as far as they affect one output.

    Args:
        first, second: folders of hypotheses.
        output, same_head: see `compared_options`.

    Returns:
        One item (option, its values) per option; none if an option or a file is absent, as for
        hypotheses of other recognisers.
    """
    paths = [folder / "decode.json" for folder in (first, second)]
    a, b = (
        compared_options(read_json(path), output, same_head=same_head) if path.is_file() else {}
        for path in paths
    )
    return [
        (f"{name} of decoding", str(a[name]), str(b[name]))
        for name in sorted(a.keys() & b.keys())
        if a[name] != b[name]
    ]


def _outputs(comparison: Comparison) -> list[str]:
    names = (cell["name"].partition("-")[0] for cell in comparison["cells"])
    return list(dict.fromkeys(names))
