"""A stock model trained by ESPnet's own command, decoded in both ways, scored as ESPnet does."""

import json
import shutil
import sys
from pathlib import Path

import editdistance
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_recipe  # noqa: E402

from espnet_ext.bin import (  # noqa: E402
    baseline,
    decode,
    decode_stock,
    score,
    train_stock,
)
from espnet_ext.data.table import read_table  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.files import read_yaml  # noqa: E402

pytestmark = pytest.mark.slow
SYSTEM = {"branch": "ctc_attention", "ctc_weight": 0.3, "attention_weight": 0.7}
CONFIG = {**tiny_recipe.CONFIG, "max_epoch": 1, "model_conf": {"scale_embeddings": True}}
TYPES = ["--token_types", "surface=phone meaning=char"]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Train a stock model of the meaning; return the recipe, the model's folder and a set."""
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("stock"))
    recipe.write_yaml("base", CONFIG)
    recipe.write_yaml("system", {"outputs": {"meaning": SYSTEM}})
    arguments = recipe.arguments("exp/en/baseline_stock_meaning")
    assert train_stock.main([*arguments, "--", "--keep_nbest_models", "1"]) == 0
    data = recipe.root / "test"  # the validation set without the mark of unlabelled utterances
    data.mkdir()
    for path in (recipe.root / "dump/valid").iterdir():
        rows = [line for line in path.read_text().splitlines(True) if " <na>" not in line]
        (data / path.name).write_text("".join(rows))
    return recipe, recipe.root / "exp/en/baseline_stock_meaning", data


def test_stock_training_is_that_of_the_system(stock, capfd):
    _, folder, _ = stock
    facts = json.loads((folder / "train.json").read_text())
    assert facts["outputs"] == ["meaning"] and facts["epochs"] == 1 and facts["parameters"] > 0
    assert "espnet2.bin.asr_train" in facts["command"]
    config = (folder / "config.yaml").read_text()
    assert "optim: adam\n" in config and "lr: 0.002" in config and "batch_bins: 40000" in config
    assert "ctc_weight: 0.3\n" in config and "keep_nbest_models:\n- 1\n" in config
    trained = read_table(folder / "stock_data/train/text")
    assert len(trained) == 7  # one of the eight is not labelled for the meaning


def test_finished_training_is_kept_and_a_changed_one_is_refused(stock, capfd):
    recipe, folder, _ = stock
    arguments = [*recipe.arguments("exp/en/baseline_stock_meaning"), "--"]
    weights = (folder / "model.pth").resolve().read_bytes()
    assert train_stock.main([*arguments, "--keep_nbest_models", "1"]) == 0
    assert "kept: it was trained for 1 epochs" in capfd.readouterr().err
    with pytest.raises(UserError, match="trained differently: optim_conf.lr: 0.002, now 0.1"):
        train_stock.main([*arguments, "--keep_nbest_models", "1", "--optim_conf", "lr=0.1"])
    assert (folder / "model.pth").resolve().read_bytes() == weights


@pytest.mark.parametrize("search", [decode, decode_stock])
def test_error_rate_is_that_of_stock_scoring(stock, tmp_path, search):
    from espnet2.text.build_tokenizer import build_tokenizer

    recipe, folder, data = stock
    decoded, target = tmp_path / "decoded/test", tmp_path / "exp/en/baseline_stock/decode/test"
    words = ["--model_dir", str(folder), "--data", str(data), "--output_dir", str(decoded)]
    (tmp_path / "beam.yaml").write_text("beam_size: 4\nctc_weight: 0.3\n")
    assert search.main([*words, "--config", str(tmp_path / "beam.yaml")]) == 0
    words = ["--data", str(data), *TYPES]
    imported = ["--hypotheses", f"meaning={decoded}", "--output_dir", str(target)]
    assert baseline.main([*imported, *words]) == 0
    assert score.main(["--hypotheses", str(target), "--missing", "leave_out", *words]) == 0
    result = json.loads((target / "score.json").read_text())
    (cell,) = [cell for cell in result["cells"] if cell["name"] == "meaning-meaning"]
    # Without --nlsyms_txt, ESPnet counts <unk> as five characters; scoring here never does
    tokenize = build_tokenizer(token_type="char", non_linguistic_symbols=["<unk>"]).text2tokens
    hypotheses = read_table(decoded / "text.text", empty_ok=True)
    errors = tokens = 0
    for utt_id, reference in read_table(data / "text.meaning").items():
        errors += editdistance.eval(tokenize(reference), tokenize(hypotheses[utt_id]))
        tokens += len(tokenize(reference))
    assert f"{cell['metrics']['cer']['rate']:.2f}" == f"{100 * errors / tokens:.2f}"
    assert json.loads((target / "decode.json").read_text())["outputs"] == ["text"]


def test_both_searches_find_the_same_with_the_same_options(stock, tmp_path):
    _, folder, data = stock
    words = ["--model_dir", str(folder), "--data", str(data), "--output_dir"]
    (tmp_path / "stock.yaml").write_text("beam_size: 4\nctc_weight: 0.3\nctc_window_margin: 0\n")
    (tmp_path / "ours.yaml").write_text("beam_size: 4\nctc_weight: 0.3\nmaxlenratio: 0\n")
    config = str(tmp_path / "stock.yaml")
    assert decode_stock.main([*words, str(tmp_path / "a"), "--config", config]) == 0
    assert decode.main([*words, str(tmp_path / "b"), "--config", str(tmp_path / "ours.yaml")]) == 0
    assert (tmp_path / "a/text.text").read_text() == (tmp_path / "b/text.text").read_text()


def test_stock_search_refuses_what_it_cannot_decode(stock, tmp_path):
    recipe, folder, data = stock
    words = ["--data", str(data), "--output_dir", str(tmp_path / "decoded"), "--model_dir"]
    shutil.copytree(folder, tmp_path / "8k")
    config = read_yaml(folder / "config.yaml", exponents=False)
    config["frontend_conf"]["fs"] = 8000
    (tmp_path / "8k/config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="16000 Hz, but .*8k is a model for 8000 Hz") as caught:
        decode_stock.main([*words, str(tmp_path / "8k")])
    assert "--baseline_search project" in caught.value.remedy
    (tmp_path / "8k/config.yaml").write_text("outputs: {meaning: {branch: ctc}}\n")
    with pytest.raises(UserError, match="not a model of stock ESPnet's ASR task"):
        decode_stock.main([*words, str(tmp_path / "8k")])
