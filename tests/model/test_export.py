"""An exported head: the documented commands decode it as the system is decoded."""

import contextlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

from espnet_ext.bin import cli, decode, export
from espnet_ext.data.table import read_table
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.options import ESPNET
from espnet_ext.model.export import export_head

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402
from documents import blocks, read  # noqa: E402

SPEECH = torch.randn(8000, generator=torch.Generator().manual_seed(0))
STOCK = "python -m espnet2.bin.asr_inference "


def commands(text):
    """Return the commands in the shell blocks of a document."""
    return [block.replace("\\\n", " ").strip() for block in blocks(text, "sh")]


def run_command(line):
    """Run one of the documented commands in this process."""
    if line.startswith(STOCK):
        pytest.importorskip("espnet2.bin.asr_inference").main(shlex.split(line)[3:])
        return
    verb, *arguments = shlex.split(line.removeprefix("espnet-ext "))
    assert cli.run({"decode": decode, "export": export}[verb].main, arguments) == 0


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A tiny system that has learned its eight training utterances, so that its decoders end."""
    kinds = {"surface": "phone", "meaning": "bpe"}
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("fitted"), kinds)
    encoder = {**tiny_recipe.CONFIG["encoder_conf"], "dropout_rate": 0.0}
    config = {"normalize": "global_mvn", "optim_conf": {"lr": 0.01}, "encoder_conf": encoder}
    recipe.collect(config)
    recipe.train(config=config, options=["--max_epoch", "40"])
    return recipe


@pytest.fixture
def system(fitted, tmp_path, monkeypatch):
    """The folders `exp` (a system) and `dump` (a set to decode) in the current directory."""
    shutil.copytree(fitted.root / "exp", tmp_path / "exp", symlinks=True)
    shutil.copytree(fitted.root / "dump/train", tmp_path / "dump")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path):
    return read_table(path, empty_ok=True)


def decode_system(name):
    line = "espnet-ext decode --model_dir exp --data dump --output_dir system"
    run_command(f"{line} --outputs {name}")
    return table(f"system/token.{name}")


@pytest.mark.parametrize("name", ["meaning", "surface"])
def test_commands_of_the_documentation_give_identical_tokens(system, name, capsys):
    """The commands of docs/espnet_baselines.md, with the names of this test's folders."""
    expected = decode_system(name)
    assert any(expected.values()) and len(set(expected.values())) > 1, expected
    lines = commands(read("docs/espnet_baselines.md"))
    assert [line.split()[0] for line in lines] == ["espnet-ext", "python", "espnet-ext"]
    for line in lines:
        line = line.replace("exp/ko/do_small", "exp").replace("dump/raw/ko/test", "dump")
        run_command(line.replace("--output_name meaning", f"--output_name {name}"))
    assert table("decoded_here/token.text") == expected
    assert table("decoded/1best_recog/token") == expected
    # All of these also give the printed commands, and the README.
    readme = (system / "stock_meaning/README.md").read_text()
    assert readme in capsys.readouterr().out
    for line, folder in zip(commands(readme), ("a", "b"), strict=True):
        run_command(line.replace("DATA", "dump").replace("DECODED", folder))
    assert table("a/1best_recog/token") == table("b/token.text") == expected


@pytest.mark.parametrize("name", ["surface", "meaning"])
def test_decode_yaml_gives_the_tokens_of_asr_inference_for_any_model(
    trained, tmp_path, monkeypatch, name
):
    """Also for a model that was hardly trained: it ends nowhere, and meets the length limit."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.root / "dump/valid", tmp_path / "dump")
    export_head(trained.root / "exp", name, "the stock")
    stock, ours = commands((tmp_path / "the stock/README.md").read_text())
    run_command(stock.replace("DATA", "dump").replace("DECODED", "a"))
    ours = ours.replace("DATA", "dump").replace("DECODED", "b")
    run_command(f"{ours} --config 'the stock/decode.yaml'")
    assert table("a/1best_recog/token") == table("b/token.text")


def test_exported_head_has_the_search_options_of_the_system(system, capsys):
    export_head("exp", "meaning", "stock")
    decode_system("meaning")
    run_command("espnet-ext decode --model_dir stock --data dump --output_dir here")
    printed = capsys.readouterr().err
    options = "beam_size 10, penalty 0, maxlenratio 2, minlenratio 0, end_detect true, "
    options += "normalize_length true, nbest 1"
    assert f"search: meaning: {options}\n" in printed
    assert f"search: text: {options}\n" in printed
    assert table("here/score.text") == table("system/score.meaning")
    recognise = DualSpeech2Text.from_pretrained("stock")
    assert recognise.describe_search() == {"text": options}
    assert recognise(SPEECH).best["text"].score == pytest.approx(
        DualSpeech2Text.from_pretrained("exp")(SPEECH).best["meaning"].score, abs=1e-5
    )


def test_defaults_do_not_depend_on_the_name_of_an_output(system):
    """The same head under another name, and in a model of stock ESPnet without a record."""
    config = yaml.safe_load((system / "exp/config.yaml").read_text())
    config["outputs"]["intended"] = config["outputs"].pop("meaning")
    shutil.copytree("exp", "renamed")
    (system / "renamed/config.yaml").write_text(yaml.safe_dump(config))
    state = torch.load("renamed/model.pth", weights_only=True)
    state = {key.replace("meaning_", "intended_"): value for key, value in state.items()}
    torch.save(state, "renamed/model.pth")
    before, after = (DualSpeech2Text.from_pretrained(folder) for folder in ("exp", "renamed"))
    assert before.options["meaning"] == after.options["intended"]
    assert after(SPEECH).best["intended"] == before(SPEECH).best["meaning"]
    export_head("exp", "meaning", "stock")
    stock = yaml.safe_load((system / "stock/config.yaml").read_text())
    del stock["search"]
    (system / "stock/config.yaml").write_text(yaml.safe_dump(stock))
    options = DualSpeech2Text.from_pretrained("stock").options["text"]
    assert (options.beam_size, options.ctc_weight) == (20, 0.5)
    assert {key: getattr(options, key) for key in ESPNET} == ESPNET
    recogniser = DualSpeech2Text.from_pretrained("stock", espnet_defaults=False)
    assert recogniser.options["text"] == before.options["meaning"]
    command = "espnet-ext decode --model_dir stock --data dump --output_dir fair"
    run_command(f"{command} --search_defaults project")
    used = json.loads((system / "fair/decode.json").read_text())["options"]["text"]
    assert (used["beam_size"], used["maxlenratio"]) == (10, 2.0)


def test_search_of_an_output_overrides_the_defaults_of_its_kind(system):
    config = yaml.safe_load((system / "exp/config.yaml").read_text())
    config["outputs"]["surface"]["search"] = {"beam_size": 3, "maxlenratio": 0.5}
    (system / "exp/config.yaml").write_text(yaml.safe_dump(config))
    options = DualSpeech2Text.from_pretrained("exp").options["surface"]
    assert (options.beam_size, options.maxlenratio, options.end_detect) == (3, 0.5, False)
    changed = DualSpeech2Text.from_pretrained("exp", beam_size=2).options["surface"]
    assert (changed.beam_size, changed.maxlenratio) == (2, 0.5)
    export_head("exp", "surface", "stock")
    assert DualSpeech2Text.from_pretrained("stock").options["text"] == options
    inference = yaml.safe_load((system / "stock/inference.yaml").read_text())
    assert (inference["beam_size"], inference["maxlenratio"]) == (3, 0.5)


def test_decoding_configuration_is_recorded(system):
    (system / "my.yaml").write_text("beam_size: 4\noutputs: {meaning: {penalty: 0.5}}\n")
    line = "espnet-ext export --to espnet exp --output_name meaning --output stock"
    run_command(f"{line} --config my.yaml")
    options = DualSpeech2Text.from_pretrained("stock").options["text"]
    assert (options.beam_size, options.penalty, options.normalize_length) == (4, 0.5, True)


def test_beam_of_asr_inference_stays_below_the_vocabulary(system):
    """There, a beam as wide as the vocabulary makes all hypotheses of a head with CTC empty."""
    export_head("exp", "surface", "stock", search={"beam_size": 100})
    tokens = len(yaml.safe_load((system / "stock/config.yaml").read_text())["token_list"])
    assert yaml.safe_load((system / "stock/inference.yaml").read_text())["beam_size"] == tokens - 1
    readme = (system / "stock/README.md").read_text()
    assert f"its beam_size is at most {tokens - 1}, instead of 100" in readme
    assert DualSpeech2Text.from_pretrained("stock").options["text"].beam_size == 100


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ("--to espnet exp --output stock", 2, "--to espnet needs --output_name"),
        ("--to lhotse dump --output stock --output_name text", 2, "--to espnet only"),
        ("--to espnet exp --output stock --output_name mening", 1, "no output 'mening'"),
        ("--to espnet exp --output exp --output_name meaning", 1, "exp"),
        ("--to espnet exp --output dump --output_name meaning", 0, ""),
        ("--to espnet dump --output stock --output_name meaning", 1, "dump/config.yaml"),
    ],
)
def test_export_refuses_what_it_cannot_do(system, capsys, options, status, message):
    with pytest.raises(SystemExit) if status == 2 else contextlib.nullcontext():
        assert cli.run(export.main, options.split()) == status
    assert message in capsys.readouterr().err


def test_export_does_not_replace_other_files(system, capsys):
    (system / "stock").mkdir()
    (system / "stock/config.yaml").write_text("mine")
    line = "--to espnet exp --output stock --output_name meaning"
    assert cli.run(export.main, line.split()) == 1
    assert "config.yaml would be overwritten" in capsys.readouterr().err
    assert cli.run(export.main, [*line.split(), "--overwrite", "true"]) == 0
    assert cli.run(export.main, line.split()) == 0  # its own files


def test_invalid_search_of_an_output_raises_user_error(trained):
    from espnet_ext.errors import UserError
    from espnet_ext.model.outputs import parse_outputs

    for search, message in (
        ({"beam": 3}, "outputs.meaning.search"),
        ({"beam_size": 0}, "positive"),
        (["beam_size"], "not a mapping"),
    ):
        entry = {"branch": "attention", "attention_weight": 1.0, "search": search}
        with pytest.raises(UserError, match=re.escape(message)):
            parse_outputs({"outputs": {"meaning": entry}})
