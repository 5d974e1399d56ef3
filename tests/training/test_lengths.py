"""Utterances that are too long for a pre-trained network."""

from types import SimpleNamespace

import pytest

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.input_tokens import InputTokens
from espnet_ext.training.lengths import check_lengths


def model(max_samples=480000, max_tokens=444):
    """A model that reads samples."""
    frontend = SimpleNamespace(max_samples=max_samples, rate=16000)
    limited = SimpleNamespace(decoder=SimpleNamespace(max_tokens=max_tokens))
    return SimpleNamespace(
        frontend=frontend,
        encoder=None,
        heads={"surface": SimpleNamespace(decoder=None), "meaning": limited},
    )


def one_set(folder, speech=(), meaning=()):
    """Write shape files, and return them with the tables of the set."""
    folder.mkdir()
    for name, lengths in (("speech", speech), ("text_meaning", meaning)):
        rows = "".join(f"u{number} {size}\n" for number, size in enumerate(lengths, 1))
        (folder / f"{name}_shape").write_text(rows)
    tables = [
        (f"{folder}/wav.scp", "speech", "sound"),
        (f"{folder}/text.meaning", "text_meaning", "text"),
    ]
    return [f"{folder}/speech_shape", f"{folder}/text_meaning_shape"], tables


def test_longest_lengths_are_accepted(tmp_path):
    check_lengths(model(), [one_set(tmp_path / "train", [480000, 1], ["444,9000", "1,9000"])])


def test_all_utterances_of_all_sets_are_named(tmp_path):
    train = one_set(tmp_path / "train", [480001, 16000, 560000], ["500,9000", "3,9000"])
    valid = one_set(tmp_path / "valid", [160, 496000])
    with pytest.raises(UserError) as caught:
        check_lengths(model(), [train, valid])
    message = caught.value.message
    expected = (
        "train/wav.scp: 2 utterances are longer than the 30 s that the pre-trained model reads"
    )
    assert f"{expected}: u3 (35 s), u1 (30.00006 s)" in message
    assert "train/text.meaning: 1 utterance is longer than the 444 tokens" in message
    assert "u1 (500 tokens)" in message
    assert "valid/wav.scp: 1 utterance is longer" in message and "u2 (31 s)" in message
    assert caught.value.remedy == (
        "remove them in stage 4 (run.sh --max_wav_duration 30); remove the utterances, or write "
        "<na> as their transcripts of meaning"
    )


def test_long_lists_are_cut(tmp_path):
    with pytest.raises(UserError, match="25 utterances are longer.*, and 5 more"):
        check_lengths(model(), [one_set(tmp_path / "train", [480001] * 25)])


def test_models_without_limits_accept_everything(tmp_path):
    heads = {"meaning": SimpleNamespace(decoder=None)}
    unlimited = SimpleNamespace(frontend=None, encoder=None, heads=heads)
    check_lengths(unlimited, [one_set(tmp_path / "train", [10**9], ["9999,9"])])


@pytest.mark.parametrize(("conditioning", "longest"), [(None, 1024), ("input_tokens", 1023)])
def test_inputs_longer_than_the_positions_of_a_text_encoder_are_named(
    tmp_path, conditioning, longest
):
    """A guiding token takes one position."""
    if conditioning:
        conditioning = InputTokens.__new__(InputTokens)
    reader = SimpleNamespace(
        frontend=None,
        encoder=SimpleNamespace(max_length=1024),
        conditioning=conditioning,
        heads={"meaning": SimpleNamespace(decoder=None)},
    )
    check_lengths(reader, [one_set(tmp_path / "fits", [longest, 1])])
    with pytest.raises(UserError, match=rf"u2 \({longest + 1} input ids\)") as caught:
        check_lengths(reader, [one_set(tmp_path / "train", [3, longest + 1])])
    assert caught.value.remedy.endswith(f"espnet-ext unit_inputs --max_length {longest}")
