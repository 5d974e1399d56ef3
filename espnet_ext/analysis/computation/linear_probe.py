"""A linear probe of one layer, with a control task.

A probe is a least-squares classifier in closed form in which all classes weigh the same; its score
is balanced accuracy (mean recall), so that chance is 1/C. A probe may memorise its task, so its
selectivity is the accuracy minus that on a control task: labels that are random, but fixed per type
of example (Hewitt & Liang, EMNLP 2019), averaged over CONTROLS draws. `context` is the accuracy of
predicting the most likely class of what is known about an example without any layer.

Legend: N examples, D width, C classes, S speakers, R resamples.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espnet_ext.scoring import bootstrap

RIDGE = 1e-2  # of the standardised features' variance
CONTROLS = 3


@dataclass(frozen=True)
class Task:
    """Labels of the training and test examples, and what belongs to each example.

    Args:
        train_types, test_types: what decides the label of the control task.
        train_contexts, test_contexts: what is known without any layer. It must not contain the
            label.
        speakers: those of the test examples.
    """

    train: np.ndarray  # (N,), int below C
    test: np.ndarray
    train_types: Sequence
    test_types: Sequence
    train_contexts: Sequence
    test_contexts: Sequence
    speakers: Sequence[str]


def fit(x: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (D, C) and offsets (C,) of the classifier.

    Ridge regression on one-hot labels of standardised x (N, D); an example of a class with n
    examples weighs 1/(C · n).
    """
    counts = np.bincount(labels, minlength=classes)
    weights = (1.0 / (classes * np.maximum(counts, 1)))[labels]
    weights /= weights.sum()
    mean = weights @ x
    centred = x - mean
    scale = np.sqrt(weights @ np.square(centred))
    scale[scale < 1e-9 * max(scale.max(initial=0.0), 1e-300)] = np.inf  # constant units
    centred = centred / scale
    targets = np.eye(classes)[labels]
    target_mean = weights @ targets
    covariance = centred.T @ (weights[:, None] * centred) + RIDGE * np.eye(x.shape[1])
    solution = np.linalg.solve(covariance, centred.T @ (weights[:, None] * (targets - target_mean)))
    solution = solution / scale[:, None]
    return solution, target_mean - mean @ solution


def recalls(
    predicted: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the correct and all examples of each class: two (C,)."""
    correct = np.bincount(labels[predicted == labels], minlength=classes)
    return correct, np.bincount(labels, minlength=classes)


def balanced(correct: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the mean recall over the classes that occur: (…, C) twice → (…)."""
    recall = np.divide(correct, total, out=np.full(np.shape(correct), np.nan), where=total > 0)
    return np.nanmean(recall, axis=-1)


def probe(
    task: Task,
    train_x: np.ndarray,
    test_x: np.ndarray,
    *,
    with_control: bool = True,
    seed: int = 0,
) -> dict:
    """Return the balanced accuracy in percent of one layer, its interval, and the control's.

    Returns:
        `accuracy`, `interval` (bootstrap over the test speakers; None for one), `control`,
        `selectivity`, `context` (these three None without control) and `chance`.
    """
    classes = int(max(task.train.max(), task.test.max())) + 1
    predicted = _predict(train_x, task.train, test_x, classes)
    accuracy = 100.0 * float(balanced(*recalls(predicted, task.test, classes)))
    control = context = None
    if with_control:
        draws = [_control(task, train_x, test_x, classes, seed + i) for i in range(CONTROLS)]
        control, context = sum(draws) / CONTROLS, _by_context(task, classes)
    return {
        "accuracy": accuracy,
        "interval": _interval(predicted, task, classes),
        "control": control,
        "selectivity": None if control is None else accuracy - control,
        "context": context,
        "chance": 100.0 / classes,
    }


def _predict(train_x, labels: np.ndarray, test_x, classes: int) -> np.ndarray:
    weights, offsets = fit(np.asarray(train_x, dtype=np.float64), labels, classes)
    return (np.asarray(test_x, dtype=np.float64) @ weights + offsets).argmax(1)


def _interval(predicted: np.ndarray, task: Task, classes: int) -> tuple[float, float] | None:
    names, speakers = np.unique(task.speakers, return_inverse=True)
    if len(names) < 2:
        return None
    counts = [
        recalls(predicted[speakers == s], task.test[speakers == s], classes)
        for s in range(len(names))
    ]
    correct, total = (np.stack(part).astype(float) for part in zip(*counts, strict=True))  # (S, C)
    weights = bootstrap.speaker_weights(len(names), bootstrap.RESAMPLES, bootstrap.SEED)
    return bootstrap.percentile_interval(100.0 * balanced(weights @ correct, weights @ total))


def _by_context(task: Task, classes: int) -> float:
    """Return the balanced accuracy in percent of the most frequent class per context."""
    weight = 1.0 / np.maximum(np.bincount(task.train, minlength=classes), 1)
    seen: dict = {}
    for context, label in zip(task.train_contexts, task.train, strict=True):
        seen.setdefault(context, np.zeros(classes))[label] += weight[label]
    predicted = np.array([seen[c].argmax() if c in seen else 0 for c in task.test_contexts])
    return 100.0 * float(balanced(*recalls(predicted, task.test, classes)))


def _control(task: Task, train_x, test_x, classes: int, seed: int) -> float:
    """Return the balanced accuracy in percent on a control task.

    Each type gets a random label, drawn from the distribution of the true training labels.
    """
    generator = np.random.default_rng(seed)
    types = sorted(set(task.train_types) | set(task.test_types), key=repr)
    label = dict(zip(types, generator.choice(task.train, size=len(types)), strict=True))
    train, test = (
        np.array([label[kind] for kind in side]) for side in (task.train_types, task.test_types)
    )
    predicted = _predict(train_x, train, test_x, classes)
    return 100.0 * float(balanced(*recalls(predicted, test, classes)))


def common_classes(train: Sequence, test: Sequence, fewest: tuple[int, int]) -> dict:
    """Return classes with enough training and test examples, numbered: label → number."""
    trained, tested = Counter(train), Counter(test)
    kept = [c for c in trained if trained[c] >= fewest[0] and tested[c] >= fewest[1]]
    return {label: number for number, label in enumerate(sorted(kept, key=repr))}
