"""The stress test of stage 17: trainings with a part of the labels removed, and their names.

For every percentage the same labels are removed (a larger percentage removes all that a smaller one
does). Each system is trained on all utterances with the labels that are left ("all"); the first
system also on the fully labelled utterances alone ("complete"), which is all that training can use
if it cannot leave an output out. Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from espnet_ext.pipeline.names import check_names
from espnet_ext.pipeline.usage import UsageError


class StressSet(NamedTuple):
    """A training set with labels removed."""

    name: str  # surface50_all
    share: str  # share of the labels that is removed: 0.50
    complete: str  # true: only the utterances that keep their labels


class StressRun(NamedTuple):
    """A training on one of these sets."""

    set_name: str
    system: str
    seed: str  # 0: that of the configuration
    folder: str  # folder of the model, in exp/<lang>/stress
    label: str  # in the analysis: 50:do, 50:complete


def check(values: Mapping[str, str], outputs_of: Mapping[str, str]) -> None:
    """Check the options --stress*; a UsageError says what is wrong."""
    for number in values["stress"].split():
        if not re.fullmatch("[0-9]{1,2}", number):
            raise UsageError(
                f"--stress '{values['stress']}': {number} is not a percentage below 100",
                'write, for example, --stress "0 25 50 75 90"',
            )
    check_names("stress", [str(percent) for percent in percentages(values)])
    if not percentages(values):
        return
    if not values["stress_systems"].split():
        raise UsageError("--stress_systems is empty", "name one, for example --stress_systems do")
    check_names("stress_systems", values["stress_systems"].split())
    for lang, outputs in outputs_of.items():
        if values["stress_output"] not in outputs.split():
            raise UsageError(
                f"--stress_output {values['stress_output']}: '{lang}' has no such output",
                f"choose among: {outputs}",
            )


def percentages(values: Mapping[str, str]) -> list[int]:
    return [int(number) for number in values["stress"].split()]


def sets(values: Mapping[str, str]) -> list[StressSet]:
    """Return the training sets of a language."""
    return [
        StressSet(
            f"{values['stress_output']}{percent}_{kind}",
            f"{percent / 100:.2f}",
            str(kind == "complete").lower(),
        )
        for percent in percentages(values)
        for kind in ("complete", "all")
    ]


def runs(values: Mapping[str, str]) -> Iterator[StressRun]:
    """Yield the trainings of a language, by percentage and seed."""
    systems = values["stress_systems"].split()
    for percent in percentages(values):
        for seed in range(int(values["stress_trainings"])):
            for kind, system in (("complete", systems[0]), *(("all", name) for name in systems)):
                set_name = f"{values['stress_output']}{percent}_{kind}"
                folder = f"{set_name}_{system}_{values['asr_tag']}" + f"_seed{seed}" * (seed > 0)
                label = f"{percent}:{'complete' if kind == 'complete' else system}"
                yield StressRun(set_name, system, str(seed), folder, label)


def variables(values: Mapping[str, str], outputs_of: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the arrays `stress_sets` and `stress_runs` of run.sh.

    An item is a StressSet or StressRun, as one string with its fields separated by spaces.
    """
    check(values, outputs_of)
    return {
        "stress_sets": [" ".join(one) for one in sets(values)],
        "stress_runs": [" ".join(one) for one in runs(values)],
    }
