"""`batch_bins: auto`, with a meter that stands for the memory of a GPU."""

from argparse import Namespace

import pytest
import tiny_recipe
import torch
import yaml

from espnet_ext.data.shards import write_shards
from espnet_ext.errors import UserError
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.training import auto_batch_bins
from espnet_ext.training.auto_batch_bins import largest_that_fits
from espnet_ext.training.stock_training import train_stock

CONFIG = {"batching": "buckets", "batch_bins": "auto", "max_epoch": 1}
LENGTH = 8000  # samples of each of the eight training utterances


class FakeMeter:
    """Memory in which a batch takes a byte per sample of audio, with padding."""

    def __init__(self, free):
        self.free, self.most = free, 0

    def available(self):
        return self.free

    def start(self):
        self.most = 0

    def peak(self):
        return self.most


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    made = tiny_recipe.make(tmp_path_factory.mktemp("bins"))
    write_shards(made.root / "dump/train", 2)
    return made


@pytest.fixture
def use_memory(monkeypatch):
    """Return a function that gives trainings a number of bytes; more raises an error."""
    return lambda free: limit_memory(monkeypatch.setattr, free)


def limit_memory(setattr_, free):
    """Give trainings a number of bytes; return a list that gets the samples of each batch."""
    meter, forward = FakeMeter(free), DualOutputModel.forward
    largest = []

    def limited(self, speech, speech_lengths, **batch):
        if speech.numel() > free and torch.is_grad_enabled():  # not in validation
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        meter.most = max(meter.most, speech.numel())
        largest.append(speech.numel())
        return forward(self, speech, speech_lengths, **batch)

    setattr_(auto_batch_bins, "meter_of", lambda args: meter)
    setattr_(DualOutputModel, "forward", limited)
    return largest


def bins_of(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())["batch_bins"]


@pytest.mark.parametrize("limit", [0, 1, 7, 999, 1000, 123456, 10**9])
@pytest.mark.parametrize("first", [1, 30, 1000])
def test_search_ends_just_below_what_does_not_fit(limit, first):
    tried = []

    def fits(bins):
        tried.append(bins)
        return bins <= limit

    largest = largest_that_fits(fits, first, 10**7)
    assert largest <= limit and (largest == 0 or first <= limit)
    if 0 < largest < 10**7:
        assert min(bins for bins in tried if bins > limit) <= 1.05 * largest + 1
    assert len(tried) < 40


def test_largest_number_is_recorded_kept_and_trains_as_if_written(recipe, use_memory, capfd):
    largest = use_memory(5.2 * LENGTH)  # 85 % are four utterances
    one_cycle = {"scheduler": "onecyclelr", "scheduler_conf": {"max_lr": 0.01}}
    folder = recipe.train("auto", {**CONFIG, **one_cycle})
    bins = bins_of(folder)
    assert 4 * LENGTH <= bins < 5 * LENGTH
    printed = capfd.readouterr().err
    assert f"batch_bins: auto: {bins} (85% of the free memory" in printed
    assert "2 batches" in printed and "padding" in printed
    assert "warning: batch_bins: auto makes 2 updates per epoch" in printed
    assert max(largest) == 5 * LENGTH  # five were tried, and did not fit into the share
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["scheduler_conf"]["total_steps"] == 2

    use_memory(99 * LENGTH)  # continued on a larger GPU
    assert bins_of(recipe.train("auto", {**CONFIG, **one_cycle, "max_epoch": 2})) == bins
    printed = capfd.readouterr().err
    assert f"auto: {bins} (of the training that continues)" in printed
    assert "warning: batch_bins" not in printed


def test_number_survives_a_killed_start_and_is_not_measured_again(recipe, use_memory):
    use_memory(4.9 * LENGTH)
    folder = recipe.train("killed", CONFIG)
    bins = bins_of(folder)
    use_memory(99 * LENGTH)
    (folder / "config.yaml").write_text("")  # killed while the file was written
    assert bins_of(recipe.train("killed", {**CONFIG, "max_epoch": 2})) == bins
    (folder / auto_batch_bins.NUMBER).write_text("[")
    assert bins_of(recipe.train("killed", {**CONFIG, "max_epoch": 3})) == bins

    (folder / "config.yaml").write_text("")
    (folder / auto_batch_bins.NUMBER).unlink()
    with pytest.raises(UserError, match="a training continues, but neither") as caught:
        recipe.train("killed", {**CONFIG, "max_epoch": 4})
    assert "write the number as batch_bins" in caught.value.remedy


def test_losses_are_those_of_the_number(recipe, use_memory):
    use_memory(4.9 * LENGTH)
    saved = []
    bins = "auto"
    for name in ("first", "again"):
        folder = recipe.train(name, {**CONFIG, "batch_bins": bins})
        saved.append(torch.load(folder / "checkpoint.pth", weights_only=True)["model"])
        bins = bins_of(folder)
    assert all(torch.equal(value, saved[1][key]) for key, value in saved[0].items())


def test_frozen_parts_are_frozen_while_memory_is_measured():
    model = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2) for name in ("enc", "encoder")})
    model["encoder"].bias.requires_grad = False
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    with auto_batch_bins._frozen(model, ["enc", "encoder.bias"]):
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["encoder.weight"]
    assert before == {name: p.requires_grad for name, p in model.named_parameters()}


def test_no_memory_is_reserved_for_frozen_parts(recipe, use_memory, monkeypatch):
    use_memory(4.9 * LENGTH)
    reserved, counts = auto_batch_bins.reserved, []

    def counting(parameters, copies):
        counts.append(len(parameters))
        return reserved(parameters, copies)

    monkeypatch.setattr(auto_batch_bins, "reserved", counting)
    for name, frozen in (("free", []), ("frozen", ["encoder"])):
        recipe.train(name, {**CONFIG, "freeze_param": frozen})
    assert counts[1] < counts[0]


def test_shards(recipe, use_memory):
    shards = {"train_shards": str(recipe.root / "dump/train/shards")}
    use_memory(2.9 * LENGTH)
    assert 2 * LENGTH <= bins_of(recipe.train("shards", {**CONFIG, **shards})) < 3 * LENGTH


def test_shards_of_several_processes_share_the_limits_of_a_batch(recipe):
    folder = recipe.root / "dump/train"
    args = Namespace(
        train_shards=str(folder / "shards"),
        train_shape_file=sorted(map(str, (recipe.root / "stats/train").glob("*_shape")))[:1],
        batching_conf={"max_utterances": 4},
        num_iters_per_epoch=None,
        seed=0,
        shard_buffer=1,
    )
    bins = 99 * LENGTH
    most = [max(map(len, auto_batch_bins._batches(args, bins, count))) for count in (1, 2, 8)]
    assert most[0] > 2 and most[1:] == [2, 1]
    assert args.batching_conf == {"max_utterances": 4}


@pytest.mark.parametrize(
    ("changes", "free", "message"),
    [
        ({}, None, "batch_bins: auto measures the memory of a GPU"),
        ({"batching": None, "batch_type": "unsorted"}, 1, "no effect with iterator_type: sequence"),
        ({"input_size": 80}, 1, "imitates audio"),
        ({"batch_bins": "all"}, 1, "batch_bins: invalid value 'all'"),
        ({}, 0.9 * LENGTH, "an utterance of 8000 samples does not fit into 0.0 GiB"),
    ],
)
def test_unsuitable_settings_are_errors(recipe, use_memory, changes, free, message):
    if free is not None:
        use_memory(free)
    with pytest.raises(UserError, match=message):
        recipe.train("wrong", {**CONFIG, **changes})
    assert not list((recipe.root / "wrong").glob("*.pth"))


def test_stock_training_needs_a_number(recipe):
    base = recipe.write_yaml("base", {**tiny_recipe.CONFIG, **CONFIG})
    overlay = recipe.write_yaml("single", {"outputs": {"meaning": tiny_recipe.OUTPUTS["meaning"]}})
    with pytest.raises(UserError, match="stock ESPnet has no batch_bins: auto"):
        train_stock(base, [overlay], recipe.data, recipe.root / "stock", [])
