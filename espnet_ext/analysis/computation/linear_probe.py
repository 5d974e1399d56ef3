"""Linear probes: what can be read off a layer by a linear map, beside what it could memorise.

A probe is a least-squares classifier in closed form, with every class weighing the same; its figure
is the balanced accuracy (mean recall of the classes), so that chance is 1/classes. Accuracy alone
says little, since a probe may learn its task by heart: selectivity is what is left after taking off
the accuracy on a control task, whose labels are random but fixed for each type of row (Hewitt &
Liang, EMNLP 2019), the mean of CONTROLS draws. `alone` is what the type says without any layer: the
task's most likely class of each type in training.

Legend: N rows, D width, C classes, S speakers, R resamples.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espnet_ext.scoring import bootstrap

RIDGE = 1e-2  # of standardised features' variance
CONTROLS = 3


@dataclass(frozen=True)
class Task:
    """Rows with labels, in training and test; `types` decide the control task's labels."""

    train: np.ndarray  # (N,) labels, int
    test: np.ndarray
    train_types: Sequence
    test_types: Sequence
    speakers: Sequence[str]  # of the test rows


def fit(x: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (D, C) and offsets (C,) of the classifier; x (N, D), labels (N,) below `classes`.

    Least squares on one-hot labels with a ridge; rows weigh 1/(C · rows of their class).
    """
    counts = np.bincount(labels, minlength=classes)
    weights = (1.0 / (classes * np.maximum(counts, 1)))[labels]
    weights /= weights.sum()
    mean = weights @ x
    centred = x - mean
    scale = np.sqrt(weights @ np.square(centred))
    scale[scale < 1e-9 * max(scale.max(initial=0.0), 1e-300)] = np.inf  # a unit that never varies
    centred = centred / scale
    target = np.eye(classes)[labels]
    middle = weights @ target
    own = centred.T @ (weights[:, None] * centred) + RIDGE * np.eye(x.shape[1])
    found = np.linalg.solve(own, centred.T @ (weights[:, None] * (target - middle)))
    found = found / scale[:, None]
    return found, middle - mean @ found


def recalls(predicted: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, ...]:
    """Rows found and rows there are, of each class: two (C,)."""
    right = np.bincount(labels[predicted == labels], minlength=classes)
    return right, np.bincount(labels, minlength=classes)


def balanced(right: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that there are: (…, C) twice → (…)."""
    share = np.divide(right, there, out=np.full(np.shape(right), np.nan), where=there > 0)
    return np.nanmean(share, axis=-1)


def probe(
    task: Task, train_x: np.ndarray, test_x: np.ndarray, *, controlled: bool = True, seed: int = 0
) -> dict:
    """Balanced accuracy in percent of one layer, its interval, and the control's.

    Returns `accuracy`, `interval` (bootstrap over the test's speakers; None for one), `control`,
    `selectivity`, `alone` (these three None unless `controlled`) and `chance`.
    """
    classes = int(max(task.train.max(), task.test.max())) + 1
    weights, offsets = fit(np.asarray(train_x, dtype=np.float64), task.train, classes)
    predicted = (np.asarray(test_x, dtype=np.float64) @ weights + offsets).argmax(1)
    right, there = recalls(predicted, task.test, classes)
    accuracy = 100.0 * float(balanced(right, there))
    control = alone = None
    if controlled:
        draws = [_control(task, train_x, test_x, classes, seed + i) for i in range(CONTROLS)]
        control, alone = sum(draws) / CONTROLS, _alone(task, classes)
    return {
        "accuracy": accuracy,
        "interval": _interval(predicted, task, classes),
        "control": control,
        "selectivity": None if control is None else accuracy - control,
        "alone": alone,
        "chance": 100.0 / classes,
    }


def _interval(predicted: np.ndarray, task: Task, classes: int) -> tuple[float, float] | None:
    speakers = sorted(set(task.speakers))
    if len(speakers) < 2:
        return None
    own = np.asarray(task.speakers)
    counts = [recalls(predicted[own == s], task.test[own == s], classes) for s in speakers]
    right, there = (np.stack(part).astype(float) for part in zip(*counts, strict=True))  # (S, C)
    weights = bootstrap.speaker_weights(len(speakers), bootstrap.RESAMPLES, bootstrap.SEED)
    return bootstrap.percentile_interval(100.0 * balanced(weights @ right, weights @ there))


def _alone(task: Task, classes: int) -> float:
    """Balanced accuracy of the class that each type has most often, classes weighing the same."""
    weight = 1.0 / np.maximum(np.bincount(task.train, minlength=classes), 1)
    seen: dict = {}
    for one, label in zip(task.train_types, task.train, strict=True):
        seen.setdefault(one, np.zeros(classes))[label] += weight[label]
    predicted = np.array([seen[one].argmax() if one in seen else 0 for one in task.test_types])
    return 100.0 * float(balanced(*recalls(predicted, task.test, classes)))


def _control(task: Task, train_x, test_x, classes: int, seed: int) -> float:
    """The same probe where each type has a random label, drawn as often as the true ones."""
    generator = np.random.default_rng(seed)
    types = sorted(set(task.train_types) | set(task.test_types), key=repr)
    drawn = generator.choice(task.train, size=len(types))
    label = dict(zip(types, drawn, strict=True))
    train, test = (
        np.array([label[one] for one in side]) for side in (task.train_types, task.test_types)
    )
    weights, offsets = fit(np.asarray(train_x, dtype=np.float64), train, classes)
    predicted = (np.asarray(test_x, dtype=np.float64) @ weights + offsets).argmax(1)
    return 100.0 * float(balanced(*recalls(predicted, test, classes)))


def usable(train: Sequence, test: Sequence, fewest: tuple[int, int]) -> dict:
    """Classes frequent enough to learn from and to be tested on, numbered: label → number."""
    learnt, tested = Counter(train), Counter(test)
    kept = [one for one in learnt if learnt[one] >= fewest[0] and tested[one] >= fewest[1]]
    return {label: number for number, label in enumerate(sorted(kept, key=repr))}
