"""Lost merges of byte-level BPE tokenizers, and their repair."""

import copy
import json
import random
import sys
from pathlib import Path

import pytest

from espnet_ext.bin import tokens as command
from espnet_ext.text import tokenizers as texts_module
from espnet_ext.text.merges import restore_merges
from espnet_ext.text.tokenizers import HuggingFaceTokenizer

tokenizers = pytest.importorskip("tokenizers")
sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_whisper  # noqa: E402

TEXTS = ["the cat sat on the mat", "banana bananas ananas", "aaaa aaa aa", "they thought the tea"]


@pytest.fixture(scope="module")
def complete():
    """Return the contents of a tokenizer.json that lacks nothing."""
    tokenizer = tiny_whisper.byte_level_tokenizer(TEXTS, 290, ("<|endoftext|>", "<|en|>"))
    return json.loads(tokenizer.to_str())


def without(settings, *ranks):
    changed = copy.deepcopy(settings)
    merges = changed["model"]["merges"]
    changed["model"]["merges"] = [m for i, m in enumerate(merges) if i not in ranks]
    return changed


def test_complete_tokenizer_needs_no_repair(complete):
    assert len(complete["model"]["merges"]) > 15
    assert restore_merges(complete) is None


def test_any_lost_merges_are_restored(complete):
    count = len(complete["model"]["merges"])
    generator = random.Random(0)
    cases = [(rank,) for rank in range(count)]
    cases += [tuple(generator.sample(range(count), 5)) for _ in range(20)] + [tuple(range(count))]
    for ranks in cases:
        damaged = without(complete, *ranks)
        repair = restore_merges(damaged)
        expected = [list(merge) for merge in complete["model"]["merges"]]
        assert [list(merge) for merge in repair.settings["model"]["merges"]] == expected
        assert repair.remaining == [] and len(repair.restored) == len(ranks)
        assert len(damaged["model"]["merges"]) == count - len(ranks)  # the input stays as it was


def test_merges_as_text_stay_text(complete):
    settings = copy.deepcopy(complete)
    settings["model"]["merges"] = [" ".join(merge) for merge in settings["model"]["merges"]]
    repair = restore_merges(without(settings, 0))
    assert repair.settings["model"]["merges"] == settings["model"]["merges"]


def test_vocabulary_in_another_order_is_a_warning(complete):
    settings = without(complete, 0)
    vocabulary = settings["model"]["vocab"]
    first, last = ("".join(settings["model"]["merges"][rank]) for rank in (0, -1))
    vocabulary[first], vocabulary[last] = vocabulary[last], vocabulary[first]
    repair = restore_merges(settings)
    lost = "".join(complete["model"]["merges"][0])
    assert repair.restored == [] and repair.remaining == [lost]
    assert repair.settings["model"]["merges"] == settings["model"]["merges"]
    message = repair.message("tokenizer.json")
    assert message.startswith(f"warning: tokenizer.json: no merge produces '{lost}'")
    assert "remedy: convert the tokenizer again" in message


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"type": "WordPiece"}},
        {"pre_tokenizer": {"type": "Metaspace"}},
        {"pre_tokenizer": None},
        {"model": {"ignore_merges": True}},
        {"model": {"end_of_word_suffix": "</w>"}},
    ],
)
def test_other_tokenizers_are_left_alone(complete, change):
    settings = without(complete, 0)
    for key, value in change.items():
        settings[key] = {**settings[key], **value} if key == "model" else value
    assert restore_merges(settings) is None


def test_byte_level_in_a_sequence_is_found(complete):
    settings = without(complete, 0)
    steps = [{"type": "Digits", "individual_digits": False}, settings["pre_tokenizer"]]
    settings["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    assert restore_merges(settings) is not None


def test_stage_5_writes_the_repaired_tokenizer(complete, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(texts_module, "_REPORTED", set())
    model = tmp_path / "model"
    model.mkdir()
    (model / "tokenizer.json").write_text(json.dumps(without(complete, 0)), encoding="utf-8")
    data = tmp_path / "train"
    data.mkdir()
    rows = "".join(f"s-{number} {text}\n" for number, text in enumerate(TEXTS))
    (data / "text.meaning").write_text(rows)
    options = {
        "--input": data,
        "--output_name": "meaning",
        "--token_type": "hugging_face",
        "--pretrained": model,
        "--token_dir": tmp_path / "tokens",
    }
    assert command.main([str(word) for pair in options.items() for word in pair]) == 0
    merge = " ".join(complete["model"]["merges"][0])
    error = capsys.readouterr().err
    assert (
        f"note: {model / 'tokenizer.json'}: restored merges that were missing: '{merge}'" in error
    )
    written = HuggingFaceTokenizer(tmp_path / "tokens" / "tokenizer.json")
    intact = tokenizers.Tokenizer.from_str(json.dumps(complete))
    assert written.encode("the cat") == intact.encode(" the cat").tokens
    assert "restored" not in capsys.readouterr().err
    assert HuggingFaceTokenizer(model / "tokenizer.json").encode("tea") == written.encode("tea")
