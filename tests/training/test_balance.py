"""Balanced sampling: shares of groups, epochs, processes, and messages about wrong options."""

import collections
import itertools
import math
import re

import pytest
import test_batching
import tiny_recipe

from espnet_ext.data.table import write_table
from espnet_ext.errors import UserError
from espnet_ext.training import balance, speed
from espnet_ext.training.schedule import batches_per_epoch
from espnet_ext.training.unit_training import configured_sampler

SIZES = {"en": 80, "ko": 16, "de": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """100 utterances of 1 to 2 s in three languages; every fourth has no surface."""
    folder = tmp_path_factory.mktemp("balance")
    languages = [name for name, count in SIZES.items() for _ in range(count)]
    ids = [f"u{number:02d}" for number in range(100)]
    write_table(folder / "utt2lang", dict(zip(ids, languages, strict=True)))
    write_table(folder / "utt2band", dict.fromkeys(ids, "wide"))
    write_table(folder / "utt2domain", {"other": "read"})
    write_table(folder / "speech_shape", {i: f"{16000 + 160 * n}" for n, i in enumerate(ids)})
    write_table(folder / "text_meaning_shape", {i: f"{5 + n % 9}" for n, i in enumerate(ids)})
    write_table(folder / "text.meaning", dict.fromkeys(ids, "a b"))
    rows = {i: "<na>" if n % 4 == 0 else "a" for n, i in enumerate(ids)}
    write_table(folder / "text.surface", rows)
    return folder


def arguments(folder, conf, **changes):
    texts = [
        (str(folder / f"text.{name}"), f"text_{name}", "text") for name in ("surface", "meaning")
    ]
    changes = {
        "batching": None,
        "batch_bins": 64000,
        "batch_size": 1,
        "fold_length": [],
        "sort_in_batch": "descending",
        "sort_batch": "descending",
        "min_batch_size": 1,
        "num_iters_per_epoch": None,
        **changes,
    }
    args = test_batching.arguments(
        [str(folder / f"{name}_shape") for name in ("speech", "text_meaning")], **changes
    )
    speech = (str(folder / "wav.scp"), "speech", "sound")
    args.train_data_path_and_name_and_type = [speech, *texts]
    args.balance = conf
    return args


def shares(sampler, groups, epochs=range(1, 9)):
    drawn = collections.Counter(
        groups[utt_id]
        for epoch in epochs
        for utt_id in itertools.chain.from_iterable(sampler.generate(epoch))
    )
    return {name: count / sum(drawn.values()) for name, count in drawn.items()}


@pytest.mark.parametrize("batching", [None, "buckets"])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0, math.inf])
def test_shares_follow_the_temperature(folder, batching, temperature):
    conf = {"by": ["language"], "temperature": temperature}
    sampler = configured_sampler(arguments(folder, conf, batching=batching))
    expected = {name: size ** (1 / temperature) for name, size in SIZES.items()}
    total = sum(expected.values())
    actual = shares(sampler, sampler.groups)
    for name, share in actual.items():
        assert share == pytest.approx(expected[name] / total, abs=0.03)
    line = repr(sampler)
    printed = dict(re.findall(r"(\w+) [\d.]+ → ([\d.]+) %", line))
    assert {name: float(share) / 100 for name, share in printed.items()} == pytest.approx(
        actual, abs=0.01
    )


def test_language_and_labels_form_groups(folder):
    sampler = configured_sampler(arguments(folder, {"by": ["language", "labels"]}))
    counts = collections.Counter(sampler.groups.values())
    assert counts["en/surface+meaning"] == 60 and counts["en/meaning"] == 20
    assert counts["de/meaning"] == 1 and len(counts) == 6


def test_epochs_are_deterministic_equally_long_and_complete(folder):
    args = arguments(folder, {"by": "language", "temperature": 3}, batching="buckets")
    first, again = configured_sampler(args), configured_sampler(args)
    for epoch in (1, 2, 9):
        batches = first.generate(epoch)
        assert batches == again.generate(epoch)  # so a continued training has the same batches
        assert len(batches) == batches_per_epoch(args)
        assert set(itertools.chain.from_iterable(batches)) == set(first.groups)
        assert all(len(set(batch)) == len(batch) for batch in batches)
    assert first.generate(1) != first.generate(2)


def test_processes_share_every_batch(folder):
    args = arguments(folder, {"by": ["language"], "temperature": 3}, batching="buckets")
    ranks = [configured_sampler(args, rank, 2).generate(4) for rank in (0, 1)]
    assert len(ranks[0]) == len(ranks[1])
    for first, second in zip(*ranks, strict=True):
        assert abs(len(first) - len(second)) <= 1 and not set(first) & set(second)
    assert len(ranks[0]) == batches_per_epoch(
        arguments(folder, args.balance, batching="buckets", dist_world_size=2)
    )


def test_groups_of_similar_size_are_not_repeated(folder):
    """Each repetition would be at least one batch, which is much for a difference of 2 %."""
    groups = {f"u{n:02d}": "a" if n < 51 else "b" for n in range(100)}
    factors = balance.balance_factors(groups, math.inf)
    args = arguments(folder, {"by": ["lang"]})
    sampler = balance.sampler_of_factors(args, factors, "balance", least_step=1.05)
    assert max(factors.values()) == pytest.approx(51 / 49) and not sampler.again


def test_log_has_the_shares_before_and_after(folder):
    lines = speed.describe_batches(arguments(folder, {"by": ["language"], "temperature": 2}))
    assert "BalancedSampler(" in lines and "100 utterances" in lines and "padding: " in lines


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"by": ["languages"]}, "utt2languages: no such file"),
        ({"by": ["corpus"]}, "utt2corpus: no such file, but balance.by names corpus"),
        ({"by": ["domain"]}, "domain: no utterance of the training set has a label"),
        ({"by": ["band"]}, "all 100 utterances of the training set are in one group, wide"),
        ({"by": []}, r"balance.by: \[\] is not a list of names"),
        ({"by": ["../text"]}, "is not a list of names"),
        ({"temperature": 2}, "balance.by: None is not a list"),
        ({"by": ["lang", "language"]}, "has a name twice"),
        ({"by": ["lang"], "temprature": 2}, "unknown key 'temprature'"),
        ({"by": ["lang"], "temperature": 0}, "temperature: 0 is not a number above 0"),
        ({"by": ["lang"], "temperature": -1}, "temperature: -1 is not a number above 0"),
        ({"by": ["lang"], "temperature": math.nan}, "temperature: nan is not a number above 0"),
        ({"by": ["lang"], "temperature": True}, "temperature: True is not a number above 0"),
    ],
)
def test_wrong_options_are_errors(folder, conf, message):
    with pytest.raises(UserError, match=message):
        configured_sampler(arguments(folder, conf))


def test_group_that_processes_cannot_share_is_an_error(folder):
    args = arguments(folder, {"by": ["lang"], "temperature": math.inf}, batching="buckets")
    with pytest.raises(UserError, match="4 utterances cannot be distributed over 5 processes"):
        configured_sampler(args, 0, 5)


def test_training_is_balanced_and_refuses_two_choices(tmp_path, capfd):
    recipe = tiny_recipe.make(tmp_path)
    config = {"balance": {"by": ["labels"], "temperature": 2}, "batching": "buckets"}
    recipe.train(config={**config, "max_epoch": 1})
    assert "balance {'by': ['labels'], 'temperature': 2}: Balanced" in capfd.readouterr().err
    with pytest.raises(UserError, match="repeat_power and balance both choose"):
        recipe.train(exp="wrong", config={**config, "repeat_power": 0.5})
    with pytest.raises(UserError, match=r"base.yaml: balance.temperature: 0 is not"):
        recipe.train(exp="wrong", config={"balance": {"by": ["labels"], "temperature": 0}})


def test_missing_labels_and_groups_that_are_drawn_very_often_are_reported(folder, tmp_path, capfd):
    for name in ("speech_shape", "text_meaning_shape", "text.meaning", "text.surface"):
        (tmp_path / name).write_text((folder / name).read_text(encoding="utf-8"))
    write_table(tmp_path / "utt2lang", {f"u{number:02d}": "en" for number in range(99)})
    conf = {"by": "language", "temperature": math.inf}
    sampler = balance.balanced_sampler(arguments(tmp_path, conf))
    assert isinstance(sampler, balance.BalancedSampler)
    text = capfd.readouterr()
    assert "warning: balance: 1 utterances lack a label" in text.out + text.err
    assert "the first is u99" in text.out + text.err
    assert "more than 10 times per epoch: none × 99" in text.out + text.err
