"""The nearest path through a lattice of pronunciations, against a search of all paths."""

import itertools
import random

import pytest

from espnet_ext.scoring.counts import edit_distances
from espnet_ext.scoring.nearest_pronunciation import nearest, split_by_words


def phones_of(text):
    return tuple(text.split())


def distance(a, b):
    return edit_distances([list(a)], [list(b)])[0]


@pytest.mark.parametrize("seed", range(300))
def test_path_equals_the_best_of_all_paths(seed):
    source = random.Random(seed)
    symbols = "abc"[: source.randint(1, 3)]

    def sequence(most):
        return tuple(source.choices(symbols, k=source.randint(0, most)))

    lattice = [
        [sequence(4) for _ in range(source.randint(1, 3))] for _ in range(source.randint(0, 4))
    ]
    target = sequence(12)

    paths = {}  # path → smallest sum of indices
    for indices in itertools.product(*(range(len(variants)) for variants in lattice)):
        path = tuple(p for v, i in zip(lattice, indices, strict=True) for p in v[i])
        paths[path] = min(sum(indices), paths.get(path, 99))

    def cost(path):
        return distance(path, target), paths[path]

    assert cost(tuple(nearest(lattice, target))) == min(map(cost, paths))


@pytest.mark.parametrize("seed", range(100))
def test_split_keeps_all_phones_and_the_distance(seed):
    source = random.Random(seed)
    lattice = [
        [tuple(source.choices("abcd", k=source.randint(0, 4))) for _ in range(2)]
        for _ in range(source.randint(1, 4))
    ]
    target = tuple(source.choices("abcd", k=source.randint(0, 14)))
    parts = split_by_words(lattice, target)
    assert len(parts) == len(lattice)
    assert tuple(itertools.chain(*parts)) == target
    by_word = sum(
        min(distance(variant, part) for variant in variants)
        for variants, part in zip(lattice, parts, strict=True)
    )
    assert by_word == distance(nearest(lattice, target), target)


def test_first_pronunciation_is_preferred():
    read = [phones_of("R IY D"), phones_of("R EH D")]
    assert nearest([read], phones_of("R IH D")) == ["R", "IY", "D"]
    assert nearest([read], []) == ["R", "IY", "D"] and nearest([], phones_of("R")) == []
    assert nearest([read, read], phones_of("R EH D R IY D")) == ["R", "EH", "D", "R", "IY", "D"]
    assert split_by_words([], []) == []
