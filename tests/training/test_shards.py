"""Training from shards: the losses of training from tables, resuming, several processes."""

import argparse
import signal
import tracemalloc

import numpy as np
import pytest
import tiny_recipe
import torch
from test_resume import assert_equal_trainings, losses, signal_after

from espnet_ext.data.shards import write_shards
from espnet_ext.errors import Interrupted, UserError
from espnet_ext.model import espnet
from espnet_ext.training import shards as module
from espnet_ext.training.shards import ShardBatches, ShardPlan
from espnet_ext.training.task import DualOutputTask

CONFIG = {
    "batching": "buckets",
    "batch_bins": 16000,  # two utterances
    "max_epoch": 2,
    "narrowband_prob": 0.5,
    "specaug": "specaug",
    "specaug_conf": {"apply_time_mask": True, "time_mask_width_range": 5},
    "scheduler": "onecyclelr",
    "scheduler_conf": {"max_lr": 0.01},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    made = tiny_recipe.make(tmp_path_factory.mktemp("recipe"))
    write_shards(made.root / "dump/train", 2)
    return made


@pytest.fixture(scope="module")
def config(recipe):
    return {**CONFIG, "train_shards": str(recipe.root / "dump/train/shards"), "shard_buffer": 1}


@pytest.fixture(scope="module")
def trained(recipe, config):
    return recipe.train("sharded", config)


def plan(recipe, rank=0, processes=1, **changes):
    values = {
        "train_shards": str(recipe.root / "dump/train/shards"),
        "train_shape_file": [
            str(recipe.root / f"stats/train/{name}_shape")
            for name in ("speech", "text_surface", "text_meaning")
        ],
        "batch_bins": 16000,
        "batching_conf": {},
        "seed": 0,
        "shard_buffer": 1,
        "num_iters_per_epoch": None,
    }
    return ShardPlan(argparse.Namespace(**{**values, **changes}), rank, processes)


def ids(batches):
    return [tuple(getattr(u, "utterance", u).utt_id for u in batch) for batch in batches]


def test_losses_are_those_of_the_same_batches_read_from_tables(
    recipe, config, trained, monkeypatch
):
    def from_tables(args, options, rank, processes):
        batches = module.ShardPlan(args, rank, processes)

        class Factory(espnet.load("AbsIterFactory")):
            def build_iter(self, epoch, shuffle=None):
                count = batches.batches_per_epoch
                epoch_ids = ids(ShardBatches(batches, (epoch - 1) * count, count, decode=False))
                assert sorted(i for batch in epoch_ids for i in batch) == sorted(
                    f"s{i}-train{i}" for i in range(8)
                )
                return torch.utils.data.DataLoader(
                    DualOutputTask.build_dataset(args, options),
                    batch_sampler=epoch_ids,
                    collate_fn=options.collate_fn,
                )

        return Factory()

    monkeypatch.setattr(module, "iter_factory", from_tables)
    assert_equal_trainings(trained, recipe.train("tables", config))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_interrupted_training_equals_an_uninterrupted_one(
    recipe, config, trained, monkeypatch, workers, capfd
):
    name, options = f"parts{workers}", ["--num_workers", workers]
    whole = trained if workers == "0" else recipe.train("whole1", config, options=options)
    signal_after(monkeypatch, 3, signal.SIGTERM)
    with pytest.raises(Interrupted, match="3 batches of epoch 1"):
        recipe.train(name, config, options=options)
    monkeypatch.undo()
    assert_equal_trainings(recipe.train(name, config, options=options), whole)
    assert "its batches differ" not in capfd.readouterr().err


def test_an_audio_cache_changes_nothing(recipe, config, trained):
    assert_equal_trainings(recipe.train("cache", {**config, "audio_cache_mb": 1}), trained)


def test_other_shards_are_noticed_when_a_training_is_continued(recipe, config):
    folder = recipe.train("other", {**config, "max_epoch": 1})
    before = losses(folder)
    write_shards(recipe.root / "dump/train", 4)
    try:
        with pytest.raises(UserError, match="train shards: another content"):
            recipe.train("other", config)
    finally:
        write_shards(recipe.root / "dump/train", 2)
    assert losses(folder) == before
    with pytest.raises(UserError, match="batching|train shards"):
        recipe.train("other", {**config, "train_shards": None})


def test_epochs_have_different_orders_and_processes_share_the_utterances(recipe):
    single = plan(recipe)
    count = single.batches_per_epoch
    orders = [ids(ShardBatches(single, epoch * count, count)) for epoch in range(4)]
    assert len({str(order) for order in orders}) > 1
    assert orders == [ids(ShardBatches(single, epoch * count, count)) for epoch in range(4)]
    assert len({ShardBatches(single, e * count, count).digest for e in (0, 0, 2)}) == 2

    write_shards(recipe.root / "dump/train", 4)
    try:
        ranks = [plan(recipe, rank, 2, batch_bins=32000) for rank in (0, 1)]
        parts = [ids(ShardBatches(p, 0, p.batches_per_epoch)) for p in ranks]
        with pytest.raises(UserError, match="4 shards cannot be divided evenly over 3 processes"):
            plan(recipe, 0, 3)
    finally:
        write_shards(recipe.root / "dump/train", 2)
    assert len(parts[0]) == len(parts[1]) and ranks[0].left_out == 0
    utterances = [{i for batch in part for i in batch} for part in parts]
    assert not utterances[0] & utterances[1] and len(utterances[0] | utterances[1]) == 8


def test_epochs_of_a_fixed_length_continue_in_the_next_pass(recipe):
    whole = plan(recipe)
    count = whole.batches_per_pass
    passes = ids(ShardBatches(whole, 0, 3 * count))
    short = plan(recipe, num_iters_per_epoch=count - 1)
    epochs = [ids(ShardBatches(short, e * (count - 1), count - 1)) for e in range(3)]
    assert [b for epoch in epochs for b in epoch] == passes[: 3 * (count - 1)]
    skipped = ShardBatches(whole, 0, 3 * count)
    skipped.skip(count + 1)
    assert len(skipped) == 2 * count - 1 and ids(skipped) == passes[count + 1 :]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batching": None}, "train_shards does not work with batching: None"),
        ({"repeat_power": 0.5}, "train_shards does not work with repeat_power: 0.5"),
        ({"train_shards": "nowhere"}, "nowhere/shards.json: no such file"),
    ],
)
def test_unsuitable_options_are_errors_before_training(recipe, config, changes, message):
    with pytest.raises(UserError, match=message):
        recipe.train("wrong", {**config, **changes})
    assert not (recipe.root / "wrong").exists()


def test_changed_transcripts_and_lengths_are_errors(recipe, config, tmp_path):
    text = recipe.root / "dump/train/text.meaning"
    before = text.read_text()
    text.write_text(before.replace("a cat", "a tac"))
    try:
        with pytest.raises(UserError, match="text.meaning: differs from the table"):
            recipe.train("wrong", config)
    finally:
        text.write_text(before)
    shape = tmp_path / "speech_shape"
    shape.write_text("".join(f"u{i} 8000\n" for i in range(8)))
    with pytest.raises(UserError, match="its 8 utterances are not the 8 of "):
        plan(recipe, train_shape_file=[str(shape)])


def test_utterance_without_a_row_or_with_damaged_audio_is_named(recipe):
    dataset = module.ShardDataset({"speech": "wav.scp", "text_x": "text.x"}, None)
    batches = plan(recipe)
    (utterance, *_) = next(iter(ShardBatches(batches, 0, 1, decode=False)))
    where = f"{utterance.shard}: {utterance.utt_id}"
    with pytest.raises(UserError, match=f"{where}: has no row of text.x"):
        dataset[utterance]
    damaged = module.dataclasses.replace(utterance, content=utterance.content[:20])
    with pytest.raises(UserError, match=f"{where}: cannot decode the audio"):
        module.Decoded.of(damaged)
    short = module.dataclasses.replace(utterance, samples=9)
    with pytest.raises(UserError, match=f"{where}: has 8000 samples, but its record says 9"):
        module.Decoded.of(short)


def test_memory_does_not_grow_with_the_number_of_shards(tmp_path):
    def peak(count):
        made = tiny_recipe_of(tmp_path / str(count), count)
        batches = ShardBatches(made, 0, made.batches_per_epoch)
        tracemalloc.start()
        assert sum(len(batch) for batch in batches) == 4 * count
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(4)  # imports
    assert peak(32) < 0.3 * 32 * 4 * 64000  # bytes of all shards


def tiny_recipe_of(folder, count):
    """Return the plan for `count` shards of four utterances of two seconds."""
    from espnet_ext.data.audio import write_audio
    from espnet_ext.data.directory import write_directory
    from espnet_ext.data.record import Utterance
    from espnet_ext.data.table import write_table

    random = np.random.default_rng(0)
    path = folder / "a.wav"
    write_audio(path, 0.1 * random.standard_normal(32000), 16000)
    names = [f"s{i:03d}" for i in range(4 * count)]
    write_directory(folder, [Utterance(n, n, str(path), {"meaning": "a"}) for n in names])
    write_shards(folder, count)
    write_table(folder / "speech_shape", dict.fromkeys(names, "32000"))
    args = argparse.Namespace(
        train_shards=str(folder / "shards"),
        train_shape_file=[str(folder / "speech_shape")],
        batch_bins=64000,
        batching_conf={},
        seed=0,
        shard_buffer=1,
        num_iters_per_epoch=None,
    )
    return ShardPlan(args)
