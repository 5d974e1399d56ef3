"""The scan of the largest batches: which they are, equal losses, and the message without memory."""

import numpy as np
import pytest
import tiny_recipe
import torch

from espnet_ext.data.shards import write_shards
from espnet_ext.errors import UserError
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.training import largest_batch


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tiny_recipe.make(tmp_path_factory.mktemp("scan"))


def test_largest_batches_by_frames_tokens_and_products():
    ids = ["a", "b", "c", "d", "e", "f"]
    lengths = np.array([[10, 1], [10, 1], [10, 1], [21, 1], [2, 9], [2, 9]])
    batches = [("a", "b", "c"), ("d",), ("e", "f"), ("a",)]
    chosen = largest_batch.largest_batches(batches, ids, lengths)
    # most frames: 3 × 10; most tokens: 2 × 9; largest square of frames: 21²
    assert chosen == [("a", "b", "c"), ("e", "f"), ("d",)]
    assert largest_batch.largest_batches([("unknown",), ()], ids, lengths) == []


@pytest.mark.parametrize(
    ("choice", "ngpu", "expected"),
    [("auto", 0, False), ("auto", 1, True), (True, 0, True), ("true", 0, True), (False, 1, False)],
)
def test_auto_is_on_with_gpus_only(choice, ngpu, expected):
    assert largest_batch.is_enabled(choice, ngpu) is expected


@pytest.mark.parametrize("change", [{}, {"balance": {"by": ["labels"]}, "batching": "buckets"}])
def test_losses_and_weights_are_bit_equal_with_the_scan(recipe, change, capfd):
    saved = []
    for choice in (True, False):
        config = {**change, "scan_largest_batch": choice, "max_epoch": 1}
        folder = recipe.train(exp=f"{len(change)}{choice}", config=config)
        saved.append(torch.load(folder / "checkpoint.pth", weights_only=True))
        assert ("the largest batches fit into memory" in capfd.readouterr().err) is choice
    first, second = saved
    assert first["model"].keys() == second["model"].keys()
    assert all(torch.equal(value, second["model"][key]) for key, value in first["model"].items())
    losses = [item["reporter"]["stats"][1]["train"]["loss"] for item in saved]
    assert losses[0] == losses[1]


def test_lack_of_memory_names_the_batch_before_the_first_update(recipe, monkeypatch):
    forward = DualOutputModel.forward

    def limited(self, speech, speech_lengths, **batch):
        if speech.numel() > 20000:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        return forward(self, speech, speech_lengths, **batch)

    monkeypatch.setattr(DualOutputModel, "forward", limited)
    with pytest.raises(UserError) as raised:
        recipe.train(exp="small", config={"scan_largest_batch": True})
    text = str(raised.value)
    assert "largest batch does not fit into memory: 5 utterances (speech 5×8000, " in text
    assert "s0-train0" in text or "s1-train1" in text
    assert "CUDA out of memory" in text and "lower batch_bins" in text
    assert not list((recipe.root / "small").glob("*.pth"))
    recipe.train(exp="fits", config={"scan_largest_batch": True, "batch_bins": 16000})


def test_other_errors_of_the_scan_are_not_hidden(recipe, monkeypatch):
    def fail(self, *args, **batch):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(DualOutputModel, "forward", fail)
    with pytest.raises(ZeroDivisionError):
        recipe.train(exp="bug", config={"scan_largest_batch": True})


def test_wrong_value_is_an_error(recipe):
    with pytest.raises(UserError, match="scan_largest_batch: invalid value 'often'"):
        recipe.train(exp="wrong", config={"scan_largest_batch": "often"})


def test_shards_are_scanned_with_noise_of_their_lengths(recipe, monkeypatch, capfd):
    write_shards(recipe.root / "dump/train", 2)
    sizes = []
    run = largest_batch.forward_and_backward

    def record(model, batch, device, **options):
        sizes.append(tuple(batch["speech"].shape))
        run(model, batch, device, **options)

    monkeypatch.setattr(largest_batch, "forward_and_backward", record)
    config = {
        "train_shards": str(recipe.root / "dump/train/shards"),
        "batching": "buckets",
        "batch_bins": 24000,
        "max_epoch": 1,
    }
    saved = []
    for choice in (True, False):
        config["scan_largest_batch"] = choice
        folder = recipe.train(exp=f"shards{choice}", config=config)
        saved.append(torch.load(folder / "checkpoint.pth", weights_only=True)["model"])
    assert sizes and set(sizes) <= {(3, 8000), (2, 8000), (1, 8000)} and sizes[0] == (3, 8000)
    assert "the largest batches fit into memory" in capfd.readouterr().err
    assert all(torch.equal(value, saved[1][key]) for key, value in saved[0].items())

    def fail(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(largest_batch, "forward_and_backward", fail)
    with pytest.raises(UserError, match=r"3 utterances \(speech 3×8000.*-train.*out of memory"):
        recipe.train(exp="fails", config={**config, "scan_largest_batch": True})
