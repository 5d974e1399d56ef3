"""Bad input to tokens, train, decode and pack: exit code, cause and remedy, no traceback."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402

from espnet_ext.bin import cli, decode, pack, tokens, train  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("recipe"))
    recipe.train(options=["--max_epoch", "1"])
    return recipe


@pytest.fixture
def recipe(trained, tmp_path):
    """A copy of the trained recipe that a test may damage; it shares the audio."""
    shutil.copytree(trained.root, tmp_path / "recipe", symlinks=True)
    return tiny_recipe.Recipe(tmp_path / "recipe", trained.token_types)


def call(capsys, main, *arguments):
    """Run a command; return its exit code and standard error."""
    capsys.readouterr()
    try:
        code = cli.run(main, [str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().err


def assert_fails(result, *parts, code=1):
    exit_code, error = result
    assert exit_code == code, error
    assert "Traceback" not in error
    assert code != 1 or "remedy:" in error
    for part in parts:
        assert part in error


def train_with(capsys, recipe, config=None, outputs=None, options=()):
    recipe.write_yaml("base", {**tiny_recipe.CONFIG, **(config or {})})
    recipe.write_yaml("system", {"outputs": outputs or tiny_recipe.OUTPUTS})
    return call(capsys, train.main, *recipe.arguments("new"), "--", *options)


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"encodr": "conformer"}, ["encodr", "did you mean 'encoder'?"]),
        ({"max_epochs": 3}, ["max_epochs", "did you mean 'max_epoch'?"]),
        ({"encoder_conf": {"output_sizes": 16}}, ["encoder_conf", "output_sizes", "output_size"]),
        ({"decoder_conf": {"num_block": 1}}, ["decoder_conf", "did you mean 'num_blocks'?"]),
        ({"frontend_conf": {"n_mel": 1}}, ["frontend_conf", "did you mean 'n_mels'?"]),
        ({"model_conf": {"ctc_weight": 0.3}}, ["model_conf", "ctc_weight"]),
        ({"optim_conf": {"lrr": 0.1}}, ["optim_conf", "did you mean 'lr'?"]),
        ({"optim_conf": {"lr": "0.1"}}, ["optim_conf.lr", "quotes"]),
        ({"optim_conf": 3}, ["optim_conf", "mapping"]),
        ({"optim": "adamm"}, ["adamm", "did you mean 'adam'?"]),
        ({"scheduler": "warmup"}, ["warmup", "warmuplr"]),
        ({"scheduler": "warmuplr", "scheduler_conf": {"warmup": 3}}, ["warmup_steps"]),
        ({"encoder_conf": {"output_size": 15}}, ["encoder_conf", "not valid for ConformerEncoder"]),
        ({"encoder": "confromer"}, ["unknown encoder 'confromer'", "conformer"]),
        ({"batch_type": "numl"}, ["batch_type", "did you mean 'numel'?"]),
        ({"max_epoch": "many"}, ["max_epoch", "many"]),
        ({"use_amp": "false"}, ["use_amp", "quotes"]),
        ({"normalize": "global_mvn"}, ["feats_stats.npz", "stage 10"]),
        (
            {"encoder_conf": {**tiny_recipe.CONFIG["encoder_conf"], "interctc_layer_idx": [1]}},
            ["interctc"],
        ),
    ],
)
def test_invalid_training_configuration_is_refused(capsys, recipe, config, parts):
    assert_fails(train_with(capsys, recipe, config), *parts)


@pytest.mark.parametrize(
    ("outputs", "parts"),
    [
        ({"surface": {"branch": "ctcc", "ctc_weight": 1}}, ["outputs.surface", "did you mean"]),
        ({"surface": {"ctc_wieght": 1}}, ["outputs.surface", "did you mean 'ctc_weight'?"]),
        ({"surface": {"branch": "ctc"}}, ["ctc_weight"]),
        ({"surface": {"branch": "ctc", "ctc_weight": "a"}}, ["outputs.surface.ctc_weight"]),
        ({"surface": 3}, ["outputs.surface", "mapping"]),
        ({"Surface": {}}, ["outputs.Surface", "lower-case"]),
        ({"meanning": {"branch": "ctc", "ctc_weight": 1}}, ["meanning", "did you mean 'meaning'?"]),
        (
            {"surface": {"branch": "ctc", "ctc_weight": 1, "token_type": "char"}},
            [
                "token_type char in the system but phone in the recipe",
                "remove token_type from the system",
            ],
        ),
        ({"surface": {"branch": "ctc", "ctc_weight": 1}}, ["best_model_criterion", "valid, loss"]),
        (
            {"surface": {"branch": "attention", "attention_weight": 1, "decoder": "transformr"}},
            ["unknown decoder 'transformr'"],
        ),
        (
            {
                "surface": {
                    "branch": "attention",
                    "attention_weight": 1,
                    "decoder_conf": {"num_block": 1},
                }
            },
            ["outputs.surface.decoder_conf", "num_blocks"],
        ),
    ],
)
def test_invalid_outputs_are_refused(capsys, recipe, outputs, parts):
    assert_fails(train_with(capsys, recipe, outputs=outputs), *parts)


def test_scientific_notation_is_read_as_a_number(recipe):
    from espnet_ext.files import read_yaml

    path = recipe.root / "a.yaml"
    path.write_text("a: 1e-3\nb: 2E5\nc: -1.e+2\nd: 1e\ne: '1e-3'\n")
    assert read_yaml(path) == {"a": 0.001, "b": 200000.0, "c": -100.0, "d": "1e", "e": "1e-3"}


@pytest.mark.parametrize("content", ["a: [1\n", "- a\n- b\n", "just words\n", b"a: \xff\n"])
def test_invalid_yaml_is_refused(capsys, recipe, content):
    path = recipe.write_yaml("system", {})
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    recipe.write_yaml("base", tiny_recipe.CONFIG)
    assert_fails(call(capsys, train.main, *recipe.arguments("new")), "system.yaml")
    options = (
        "--model_dir",
        recipe.root / "exp",
        "--data",
        recipe.root / "dump/valid",
        "--output_dir",
        recipe.root / "out",
    )
    assert_fails(call(capsys, decode.main, *options, "--config", path), "system.yaml")


def test_missing_files_are_named(capsys, recipe):
    arguments = recipe.arguments("new")
    missing = [a.replace("system.yaml", "systen.yaml") for a in arguments]
    assert_fails(call(capsys, train.main, *missing), "systen.yaml", "system")
    shutil.move(recipe.root / "stats/valid/speech_shape", recipe.root / "speech_shape")
    assert_fails(train_with(capsys, recipe), "valid/speech_shape", "stage 10")
    shutil.move(recipe.root / "speech_shape", recipe.root / "stats/valid/speech_shape")
    (recipe.root / "dump/train/text.meaning").unlink()
    assert_fails(train_with(capsys, recipe), "text.meaning", "stages 1 to 4")


def test_wrong_usage_exits_2(capsys, recipe):
    assert_fails(call(capsys, train.main, "--config", "a.yaml"), code=2)
    assert_fails(call(capsys, train.main, *recipe.arguments(), "--sytem", "a"), "--sytem", code=2)
    assert_fails(train_with(capsys, recipe, options=["--max_epohc", "1"]), "max_epohc", code=2)
    assert_fails(call(capsys, decode.main, "--beam_size", "much"), "beam_size", code=2)
    assert_fails(call(capsys, tokens.main), code=2)
    assert_fails(call(capsys, pack.main), code=2)


def test_invalid_input_to_tokens_is_refused(capsys, recipe):
    folders = ("--input", recipe.root / "dump/train", "--token_dir", recipe.root / "t")
    assert_fails(
        call(capsys, tokens.main, *folders, "--output_name", "surfac", "--token_type", "phone"),
        "text.surfac",
    )
    assert_fails(
        call(capsys, tokens.main, *folders, "--output_name", "surface", "--token_type", "fone"),
        "fone",
    )
    path = recipe.root / "dump/train/text.surface"
    path.write_text("".join(f"{line.split()[0]} <na>\n" for line in path.open()))
    assert_fails(
        call(capsys, tokens.main, *folders, "--output_name", "surface", "--token_type", "phone"),
        "text.surface",
        "unlabelled",
    )


def run_decode(capsys, recipe, *options, data="dump/valid", model="exp"):
    return call(
        capsys,
        decode.main,
        "--model_dir",
        recipe.root / model,
        "--data",
        recipe.root / data,
        "--output_dir",
        recipe.root / "out",
        "--beam_size",
        "2",
        *options,
    )


def test_unreadable_models_are_refused(capsys, recipe):
    assert_fails(run_decode(capsys, recipe, model="no"), "no: no such model directory", "stage 11")
    assert_fails(run_decode(capsys, recipe, "--weights", "best.pth"), "best.pth", "stage 11")
    (recipe.root / "exp/broken.pth").write_bytes(b"no checkpoint")
    assert_fails(
        run_decode(capsys, recipe, "--weights", "broken.pth"), "broken.pth", "not a readable"
    )
    config = yaml.safe_load((recipe.root / "exp/config.yaml").read_text())
    config["outputs"]["meaning"]["token_list"].insert(3, "new")
    (recipe.root / "exp/config.yaml").write_text(yaml.safe_dump(config))
    assert_fails(run_decode(capsys, recipe), "model.pth", "meaning_decoder", "config.yaml")


def test_unreadable_data_is_refused_and_failures_are_recorded(capsys, recipe):
    (recipe.root / "empty").mkdir()
    assert_fails(run_decode(capsys, recipe, data="empty"), "empty/wav.scp")
    assert_fails(run_decode(capsys, recipe, data="none"), "none/wav.scp")
    table = recipe.root / "dump/valid/wav.scp"
    lines = table.read_text().splitlines()
    utt_id = lines[1].split()[0]
    table.write_text("\n".join([lines[0], f"{utt_id} no/such.wav", *lines[2:]]) + "\n")
    assert_fails(run_decode(capsys, recipe), utt_id, "no/such.wav")
    # the other utterances are decoded, and the failure is recorded
    assert '"failed": 1' in (recipe.root / "out/decode.json").read_text()
    assert utt_id in (recipe.root / "out/failed").read_text()
    (recipe.root / "text.wav").write_text("no sound")
    table.write_text(f"{utt_id} {recipe.root / 'text.wav'}\n")
    assert_fails(run_decode(capsys, recipe), utt_id, "text.wav")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"beam": 3}, "did you mean 'beam_size'?"),
        ({"outputs": {"surface": {"ctc_wight": 3}}}, "did you mean 'ctc_weight'?"),
        ({"ctc_weight": 3}, "ctc_weight"),
        ({"ctc_weight": "high"}, "ctc_weight"),
        ({"nbest": 0}, "nbest"),
        ({"normalize_length": "yes please"}, "normalize_length"),
    ],
)
def test_invalid_decoding_configuration_is_refused(capsys, recipe, content, part):
    path = recipe.write_yaml("decode", content)
    assert_fails(run_decode(capsys, recipe, "--config", path), part)


def test_invalid_language_models_are_refused(capsys, recipe):
    assert_fails(
        run_decode(capsys, recipe, "--lm", f"meaning={recipe.root / 'no'}"), "language model"
    )
    assert_fails(run_decode(capsys, recipe, "--lm", "meaning"), "meaning", "OUTPUT=")


def test_invalid_input_to_pack_is_refused(capsys, recipe):
    model, archive = ("--model_dir", recipe.root / "exp"), recipe.root / "a.zip"
    assert_fails(
        call(capsys, pack.main, *model, "--archive", recipe.root / "a.tar"), "a.tar", ".zip"
    )
    assert_fails(call(capsys, pack.main, *model, "--archive", recipe.root / "no/a.zip"), "no")
    assert_fails(
        call(capsys, pack.main, *model, "--archive", archive, "--export", "surfac"),
        "did you mean 'surface'?",
    )
    assert_fails(
        call(capsys, pack.main, "--model_dir", recipe.root, "--archive", archive), "config.yaml"
    )
    assert not archive.exists()
