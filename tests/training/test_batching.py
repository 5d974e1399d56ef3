"""Batches of similar duration and transcript length: complete, small enough, little padding."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from espnet_ext.data.table import read_table, write_table  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.training import batching, partition, speed  # noqa: E402
from espnet_ext.training.unit_training import configured_sampler  # noqa: E402


@pytest.fixture(scope="module")
def shape_files(tmp_path_factory):
    """400 utterances of 0.5 to 4 s whose transcripts vary by a factor of three per second."""
    folder = tmp_path_factory.mktemp("shapes")
    random = np.random.default_rng(0)
    samples = random.integers(8000, 64000, 400)
    tokens = (samples / 16000 * random.uniform(5, 15, 400)).astype(int) + 1
    for name, values in (("speech", samples), ("text_surface", tokens)):
        rows = {f"u{i:03d}": f"{v},7" if name != "speech" else str(v) for i, v in enumerate(values)}
        write_table(folder / f"{name}_shape", rows)
    return [str(folder / f"{name}_shape") for name in ("speech", "text_surface")]


def arguments(shape_files, **changes):
    values = {
        "batching": "buckets",
        "batching_conf": {},
        "batch_bins": 320000,
        "train_shape_file": shape_files,
        "train_data_path_and_name_and_type": [],
        "repeat_power": 0.0,
        "text_ratio": None,
        "balance": {},
        "train_shards": None,
        "drop_last_iter": False,
        "batch_type": "numel",
        "ngpu": 0,
        "dist_world_size": None,
        "multiprocessing_distributed": False,
        "audio_cache_mb": 0.0,
        "num_workers": 0,
        "iterator_type": "sequence",
        "shuffle_within_batch": False,
        "use_tf32": False,
        "use_amp": False,
    }
    return argparse.Namespace(**{**values, **changes})


def bins(batches, shape_files):
    lengths = {i: int(row) for i, row in read_table(shape_files[0]).items()}
    return [(len(batch), max(lengths[i] for i in batch)) for batch in batches]


def shares(batches, shape_files):
    """Padding computed from first principles: padded size and used size of every batch."""
    result = []
    for path in shape_files:
        lengths = {i: int(row.partition(",")[0]) for i, row in read_table(path).items()}
        padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
        result.append(1 - sum(lengths.values()) / padded)
    return result


def test_every_utterance_is_in_one_batch_within_the_budget(shape_files):
    batches = batching.bucket_batches(arguments(shape_files), shape_files)
    assert sorted(i for batch in batches for i in batch) == sorted(read_table(shape_files[0]))
    assert all(count * longest <= 320000 for count, longest in bins(batches, shape_files))
    assert batches == batching.bucket_batches(arguments(shape_files), shape_files)


def test_tokens_are_padded_less_than_in_order_of_duration(shape_files):
    batches = batching.bucket_batches(arguments(shape_files), shape_files)
    by_duration = batching.bucket_batches(arguments(shape_files), shape_files[:1])
    (frames, tokens), (_, tokens_by_duration) = (
        shares(b, shape_files) for b in (batches, by_duration)
    )
    assert frames + tokens < 0.15 and max(frames, tokens) < 0.08  # they count equally
    assert tokens < 0.35 * tokens_by_duration
    line = batching.describe_padding(batches, shape_files)
    expected = f"speech {100 * frames:.1f} %, text_surface {100 * tokens:.1f} %"
    assert line == f"{len(batches)} batches, padding: {expected}"


def test_two_outputs_have_at_most_five_percent_of_padding(tmp_path):
    """Lengths as in the English embedded corpus: means, deviations and correlations."""
    random = np.random.default_rng(0)
    deviations = np.array([6673, 5.6, 8.1])
    correlations = np.array([[1, 0.64, 0.55], [0.64, 1, 0.54], [0.55, 0.54, 1]])
    lengths = random.multivariate_normal(
        [29116, 21.3, 31.3], correlations * np.outer(deviations, deviations), 8000
    ).clip([8000, 4, 4], [60000, 50, 80])
    paths = [tmp_path / f"{name}_shape" for name in ("speech", "text_surface", "text_meaning")]
    for path, column in zip(paths, lengths.T.astype(int), strict=True):
        write_table(path, {f"u{i:04d}": str(value) for i, value in enumerate(column)})
    files = [str(path) for path in paths]
    batches = batching.bucket_batches(arguments(files), files)
    frames, *_ = shares(batches, files)
    line = batching.describe_padding(batches, files)
    tokens = float(line.rpartition("tokens of all outputs ")[2].removesuffix(" %"))
    assert frames < 0.05 and tokens < 5.0
    filled = sum(int(row) for row in read_table(files[0]).values()) / 320000
    assert filled <= len(batches) < 1.15 * filled


def test_padding_of_all_outputs_counts_repeated_utterances(tmp_path):
    for name, values in (("speech", "44"), ("text_a", "24"), ("text_b", "31")):
        write_table(tmp_path / f"{name}_shape", {f"u{i}": v for i, v in enumerate(values)})
    files = [str(tmp_path / f"{name}_shape") for name in ("speech", "text_a", "text_b")]
    line = batching.describe_padding([("u0", "u1"), ("u1",)], files)
    expected = "speech 0.0 %, text_a 16.7 %, text_b 28.6 %, tokens of all outputs 21.1 %"
    assert line == f"2 batches, padding: {expected}"


def test_blocks_of_a_large_set_are_divided_alone(shape_files, monkeypatch):
    whole = batching.bucket_batches(arguments(shape_files), shape_files)
    monkeypatch.setattr(partition, "_BLOCK", 4)
    batches = batching.bucket_batches(arguments(shape_files), shape_files)
    assert sorted(i for batch in batches for i in batch) == sorted(read_table(shape_files[0]))
    assert all(count * longest <= 320000 for count, longest in bins(batches, shape_files))
    assert len(whole) <= len(batches) < 1.3 * len(whole)


@pytest.mark.parametrize("processes", [1, 3, 7])
def test_small_and_equal_sets_are_divided(processes):
    limits = partition.Limits(10, min_utterances=processes)
    for count in (1, 6, 20, 50):
        lengths = np.tile([4, 0, 0], (count, 1))
        batches = partition.partition(lengths, limits)
        assert sorted(np.concatenate(batches)) == list(range(count))
        assert min(map(len, batches)) >= min(processes, count)


def test_long_utterances_have_smaller_batches_with_the_quadratic_term(shape_files):
    conf = {"quadratic_bins": 32000, "max_utterances": 9}
    batches = batching.bucket_batches(arguments(shape_files, batching_conf=conf), shape_files)
    assert sum(map(len, batches)) == 400
    for count, longest in bins(batches, shape_files):
        assert count <= 9 and (count * longest * (1 + longest / 32000) <= 320000 or count == 1)


def test_batches_have_an_utterance_for_each_process(shape_files):
    args = arguments(shape_files, batch_bins=1)
    assert all(len(batch) == 1 for batch in batching.bucket_batches(args, shape_files))
    batches = batching.bucket_batches(args, shape_files, processes=3)
    assert sum(map(len, batches)) == 400 and min(map(len, batches)) >= 3
    ranks = [configured_sampler(args, rank, 3).generate(0) for rank in range(3)]
    assert sorted(i for rank in ranks for batch in rank for i in batch) == sorted(
        read_table(shape_files[0])
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batching_conf": {"max_utterance": 3}}, "batching_conf: unknown key 'max_utterance'"),
        ({"batching_conf": {"max_utterances": -1}}, "max_utterances: -1 is not a number"),
        ({"batching_conf": {"quadratic_bins": True}}, "quadratic_bins: True is not a number"),
        ({"batching": None, "batching_conf": {"max_utterances": 3}}, "without batching"),
        ({"shuffle_within_batch": True}, "does not work with shuffle_within_batch: True"),
        ({"use_tf32": True, "use_amp": True}, "use_tf32 does not work with use_amp"),
    ],
)
def test_wrong_options_are_errors(shape_files, changes, message):
    with pytest.raises(UserError, match=message):
        speed.check(arguments(shape_files, **changes), "train.yaml")


def test_other_iterators_have_no_line_about_padding(shape_files):
    assert speed.describe_batches(arguments(shape_files, iterator_type="chunk")) == ""


def test_training_uses_the_batches_and_reports_padding(tmp_path, capfd):
    recipe = tiny_recipe.make(tmp_path)
    config = {"batching": "buckets", "max_epoch": 1, "fast_layers": True}
    folder = recipe.train(config=config)
    printed = capfd.readouterr().err
    assert "batching buckets: RepeatFactorSampler(N-batch=" in printed
    assert "batches, padding: speech " in printed
    assert yaml.safe_load((folder / "config.yaml").read_text())["batching"] == "buckets"
