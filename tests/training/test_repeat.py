"""Repeat factor sampling: number of draws per utterance, batches, and epochs."""

import collections
import itertools
from types import SimpleNamespace

import pytest
import tiny_recipe
import torch

from espnet_ext.errors import UserError
from espnet_ext.training.repeat import (
    RepeatFactorSampler,
    batches_of,
    repeat_factors,
    repeating_sampler,
)
from espnet_ext.training.schedule import total_steps

IDS = [f"u{number:02d}" for number in range(24)]
RARE = IDS[::4]  # 6 of 24 have a surface: factor 4 with power 1, factor 2 with power 0.5


def arguments(folder, power, **changed):
    """ESPnet's arguments over 24 utterances of 1 to 3 s, and the label patterns above."""
    (folder / "speech_shape").write_text(
        "".join(f"{utt} {16000 + 1391 * number % 32000}\n" for number, utt in enumerate(IDS))
    )
    (folder / "text.meaning").write_text("".join(f"{utt} a b\n" for utt in IDS))
    (folder / "text.surface").write_text(
        "".join(f"{utt} {'a' if utt in RARE else '<na>'}\n" for utt in IDS)
    )
    texts = [
        (str(folder / f"text.{name}"), f"text_{name}", "text") for name in ("surface", "meaning")
    ]
    return SimpleNamespace(
        **{
            "train_shape_file": [str(folder / "speech_shape")],
            "repeat_power": power,
            "text_ratio": None,
            "train_data_path_and_name_and_type": [("wav.scp", "speech", "sound"), *texts],
            "batch_type": "numel",
            "batch_bins": 96000,
            "batch_size": 1,
            "fold_length": [],
            "sort_in_batch": "descending",
            "sort_batch": "descending",
            "drop_last_iter": False,
            "min_batch_size": 1,
            **changed,
        }
    )


def drawn(sampler, epochs):
    return collections.Counter(
        itertools.chain.from_iterable(
            itertools.chain.from_iterable(sampler.generate(epoch) for epoch in epochs)
        )
    )


def test_factor_of_an_utterance_is_that_of_its_rarest_output():
    labelled = {"surface": ["a", "b"], "l1": ["b"], "meaning": list("abcdefgh"), "none": []}
    assert repeat_factors(labelled, "abcdefghi", 1.0) == {
        "a": 4.0,
        "b": 8.0,
        **dict.fromkeys("cdefghi", 1.0),
    }
    assert repeat_factors(labelled, "abcdefghi", 0.5)["b"] == pytest.approx(8**0.5)
    assert set(repeat_factors(labelled, "abcdefghi", 0.0).values()) == {1.0}


@pytest.mark.parametrize(("power", "factor"), [(1.0, 4), (0.5, 2)])
def test_integer_factors_hold_in_every_epoch(tmp_path, power, factor):
    sampler = repeating_sampler(arguments(tmp_path, power))
    for epoch in (1, 2, 7):
        assert drawn(sampler, [epoch]) == {utt: factor if utt in RARE else 1 for utt in IDS}


def test_fractional_factors_hold_on_average_over_epochs(tmp_path):
    """Factor 4 ** 0.25 = 1.41: one of three batches is repeated per epoch: 4 draws in 3 epochs."""
    sampler = repeating_sampler(arguments(tmp_path, 0.25, batch_type="unsorted", batch_size=2))
    assert [count for _, count in sampler.again] == [1]
    counts = drawn(sampler, range(30, 33))
    assert counts == {utt: 4 if utt in RARE else 3 for utt in IDS}
    assert len({tuple(sampler.generate(epoch)[-1]) for epoch in range(30, 33)}) == 3


def test_batches_have_no_duplicates_and_epochs_are_equally_long(tmp_path):
    sampler = repeating_sampler(arguments(tmp_path, 1.0))
    for epoch in range(1, 6):
        batches = sampler.generate(epoch)
        assert len(batches) == len(sampler)
        assert all(len(set(batch)) == len(batch) for batch in batches)
        assert batches == sampler.generate(epoch)  # so a resumed training has the same batches


def test_factors_of_nested_groups_add_up():
    """Factors 2.5 for a and b, 1.5 for c and d: the groups {a, b, c, d} × 0.5 and {a, b} × 1."""
    sampler = RepeatFactorSampler(
        [("a", "b"), ("c", "d"), ("e",)],
        [([("a",), ("b",), ("c",), ("d",)], 0.5), ([("a",), ("b",)], 1.0)],
    )
    assert drawn(sampler, range(4)) == {"a": 10, "b": 10, "c": 6, "d": 6, "e": 4}
    assert repr(sampler) == (
        "RepeatFactorSampler(N-batch=7, 1 utterances × 1.00, 2 utterances × 1.50, "
        "2 utterances × 2.50)"
    )


def test_group_of_one_batch_is_repeated_at_least_once():
    sampler = RepeatFactorSampler([("a", "b")], [([("a",)], 0.2)])
    assert drawn(sampler, range(5)) == {"a": 10, "b": 5} and "1 utterances × 2.00" in repr(sampler)


def test_every_batch_is_shared_by_all_processes(tmp_path):
    args = arguments(tmp_path, 1.0)
    parts = [repeating_sampler(args, rank, 2) for rank in (0, 1)]
    whole = repeating_sampler(arguments(tmp_path, 1.0, min_batch_size=2)).generate(3)
    both = zip(*(part.generate(3) for part in parts), strict=True)
    assert [sorted(first + second) for first, second in both] == [sorted(batch) for batch in whole]
    assert all(batch for part in parts for batch in part.generate(3))
    assert parts[0].utterances() | parts[1].utterances() == set(IDS)
    for part in parts:
        assert set(drawn(part, range(8))) == part.utterances()  # all that it loads


@pytest.mark.parametrize("kind", ["numel", "length", "sorted", "unsorted", "folded"])
def test_every_process_gets_an_utterance_of_each_batch(tmp_path, kind):
    """A last batch that is too small for all processes is merged with the batch before it."""
    args = arguments(tmp_path, 1.0, batch_type=kind, batch_size=4, fold_length=[10**6])
    for rank in range(4):
        sampler = repeating_sampler(args, rank, 4)
        assert all(sampler.generate(2))
    assert drawn(repeating_sampler(args, 0, 1), [2]) == {u: 4 if u in RARE else 1 for u in IDS}


def test_drop_last_iter_does_not_drop_a_group_of_one_batch(tmp_path):
    args = arguments(tmp_path, 1.0, batch_type="unsorted", batch_size=10, drop_last_iter=True)
    counts = drawn(repeating_sampler(args), [1])
    assert {u: counts[u] for u in RARE} == {u: 4 if u in IDS[:20] else 3 for u in RARE}


@pytest.mark.parametrize(
    ("rare", "processes", "message"),
    [
        (3, 4, "3 utterances with a label for 'surface' cannot be distributed over 4 processes"),
        (6, 5, "fewer utterances than the 5 processes"),
    ],
)
def test_too_few_utterances_for_the_processes_raise_user_error(tmp_path, rare, processes, message):
    args = arguments(tmp_path, 1.0, batch_type="unsorted", batch_size=4)
    path = tmp_path / "text.surface"
    path.write_text("".join(f"{utt} {'a' if utt in RARE[:rare] else '<na>'}\n" for utt in IDS))
    with pytest.raises(UserError, match=message):
        repeating_sampler(args, 0, processes)


@pytest.mark.parametrize(("power", "count"), [(0.0, 1), (1.0, 1), (0.0, 3), (1.0, 3)])
def test_total_steps_depend_on_the_number_of_processes(tmp_path, power, count):
    args = arguments(
        tmp_path,
        power,
        batch_bins=50000,
        num_iters_per_epoch=None,
        dist_world_size=None,
        ngpu=count,
        multiprocessing_distributed=count > 1,
        accum_grad=1,
        max_epoch=2,
        scheduler="onecyclelr",
        scheduler_conf={"max_lr": 0.1},
    )
    if power:
        batches = len(repeating_sampler(args, 0, count).generate(1))
    else:
        batches = len(batches_of(args, args.train_shape_file, count))
    assert total_steps(args) == 2 * batches


def test_no_repetition_without_rare_labels(tmp_path):
    args = arguments(tmp_path, 1.0)
    args.train_data_path_and_name_and_type = args.train_data_path_and_name_and_type[2:]
    assert drawn(repeating_sampler(args), [1]) == dict.fromkeys(IDS, 1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A tiny recipe in which four of the eight training utterances have no surface."""
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("repeat"))
    path = recipe.root / "dump/train/text.surface"
    rows = path.read_text().splitlines()
    path.write_text(
        "".join(
            f"{row.split()[0]} <na>\n" if number % 2 else f"{row}\n"
            for number, row in enumerate(rows)
        )
    )
    return recipe


def test_training_makes_the_counted_updates_and_sees_the_repeated_labels(recipe):
    conf = {
        "scheduler": "onecyclelr",
        "scheduler_conf": {"max_lr": 0.01},
        "repeat_power": 1.0,
        "max_epoch": 2,
        "batch_type": "unsorted",
        "batch_size": 2,
    }
    folder = recipe.train(config=conf)
    saved = torch.load(folder / "checkpoint.pth", weights_only=True)
    assert saved["schedulers"][0]["last_epoch"] == saved["schedulers"][0]["total_steps"] == 12
    stats = saved["reporter"]["stats"][2]["train"]
    # Of 8 utterances, 7 have a meaning, 4 a surface and 3 both. Those with a surface are 2
    # batches with the additional factor 0.75, rounded to 2 batches.
    assert stats["labelled_surface"] == pytest.approx((4 + 4) / 6)
    assert stats["labelled_meaning"] == pytest.approx((7 + 3) / 6)


@pytest.mark.manual
def test_two_processes_make_the_counted_updates(recipe):
    conf = {
        "scheduler": "onecyclelr",
        "scheduler_conf": {"max_lr": 0.01, "total_steps": 100},
        "repeat_power": 1.0,
        "max_epoch": 2,
        "batch_type": "unsorted",
        "batch_size": 2,
    }
    folder = tiny_recipe.in_two_processes(recipe.train(exp="single", config=conf))
    saved = torch.load(folder / "checkpoint.pth", weights_only=True)
    assert saved["schedulers"][0]["last_epoch"] == 12
    stats = saved["reporter"]["stats"][2]["train"]
    assert stats["labelled_surface"] * 6 == pytest.approx(8)  # sum over both processes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repeat_power": 2}, "repeat_power: invalid value 2"),
        ({"repeat_power": "often"}, "repeat_power: invalid value 'often'"),
        ({"repeat_power": [0.5]}, "[0.5] is not a single value"),
        ({"repeat_power": 0.5, "iterator_type": "chunk"}, "iterator_type: chunk"),
        ({"repeat_power": 0.5, "batch_type": "catbel"}, "batch_type: catbel"),
        ({"repeat_power": 0.5, "shuffle_within_batch": True}, "shuffle_within_batch: True"),
    ],
)
def test_invalid_options_with_repeat_power_raise_user_error(recipe, change, message):
    with pytest.raises(UserError, match="repeat_power") as raised:
        recipe.train(exp="wrong", config=change)
    assert message in str(raised.value)
