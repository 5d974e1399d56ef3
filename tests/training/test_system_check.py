"""What is wrong in a system's configuration is found without data, and named with its file."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip("espnet2")

from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.training.system_check import check_system, main  # noqa: E402

CONF = Path(__file__).parents[2] / "conf"
OUTPUTS = "outputs: {surface: {branch: ctc_attention, ctc_weight: 0.3, attention_weight: 0.7}}\n"


@pytest.mark.parametrize(
    ("content", "problem", "remedy"),
    [
        ("outputs: {surface: {branch: ctc_atention}}", "ctc_atention", "did you mean 'ctc_attent"),
        ("outputs: {surface: {branch: ctc, ctc_weihgt: 1}}", "'ctc_weihgt'", "'ctc_weight'?"),
        ("outputs: {surface: {branch: ctc, ctc_weight: one}}", "ctc_weight: 'one'", "a number"),
        (OUTPUTS + "encodr: transformer", "'encodr'", "did you mean 'encoder'?"),
        (OUTPUTS + "encoder: conformr", "unknown 'conformr'", "did you mean 'conformer'?"),
        (OUTPUTS + "encoder_conf: {num_blok: 2}", "'num_blok'", "did you mean 'num_blocks'?"),
        (OUTPUTS + "decoder_conf: {num_blok: 2}", "'num_blok'", "did you mean 'num_blocks'?"),
        (OUTPUTS + "specaug: specaug\nspecaug_conf: {x: 2}", "specaug_conf: unknown key 'x'", ""),
        (OUTPUTS + "optim_conf: {lrr: 1.0}", "'lrr'", "did you mean 'lr'?"),
        (OUTPUTS + "max_epoch: many", "max_epoch: invalid value 'many'", ""),
        (OUTPUTS + "conditioning: expert", "unknown 'expert'", "did you mean 'experts'?"),
        (
            OUTPUTS + "conditioning: mixture\nconditioning_conf: {hiden: 3}",
            "conditioning_conf: unknown key 'hiden'",
            "did you mean 'hidden'?",
        ),
        (OUTPUTS + "objective: pcgra", "unknown 'pcgra'", "did you mean 'pcgrad'?"),
        (OUTPUTS + "finetune_conf: {encoder_rl: 0.1}", "'encoder_rl'", "'encoder_lr'?"),
        (OUTPUTS + "batching_conf: {quadratic: 1}", "'quadratic'", "'quadratic_bins'?"),
        ("surface: {branch: ctc}", "unknown key 'surface'", "use one of"),
    ],
)
def test_mistake_is_named_with_its_file(tmp_path, content, problem, remedy):
    overlay = tmp_path / "do_new.yaml"
    overlay.write_text(content + "\n")
    with pytest.raises(UserError) as caught:
        check_system(CONF / "train_small.yaml", overlay)
    assert caught.value.message.startswith(f"{overlay}: ") and problem in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("config", ["train.yaml", "train_small.yaml", "train_whisper_base.yaml"])
def test_systems_of_the_project_have_no_mistake(config):
    for overlay in sorted((CONF / "systems").glob("*.yaml")):
        check_system(CONF / config, overlay)


def test_mistakes_of_all_systems_are_printed(tmp_path, capsys):
    paths = [tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml")]
    for path, content in zip(paths, ("x: 1\n", OUTPUTS, OUTPUTS + "y: 1\n"), strict=True):
        path.write_text(content)
    words = [str(CONF / "train_small.yaml"), *map(str, paths)]
    with pytest.raises(SystemExit) as caught:
        main(words)
    shown = capsys.readouterr().err
    assert caught.value.code == 1 and f"{paths[0]}: " in shown and f"{paths[2]}: " in shown
    assert str(paths[1]) not in shown


@pytest.mark.parametrize(
    "overlay",
    [path for path in sorted(CONF.glob("systems/*.yaml")) if "conditioning:" in path.read_text()],
    ids=lambda path: path.stem,
)
def test_unknown_option_of_every_conditioner_is_found(tmp_path, overlay):
    system = yaml.safe_load(overlay.read_text())
    system["conditioning_conf"] = {**system.get("conditioning_conf", {}), "bogus": 3}
    path = tmp_path / overlay.name
    path.write_text(yaml.safe_dump(system))
    with pytest.raises(UserError, match="'bogus'"):
        check_system(CONF / "train_small.yaml", path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--", "--max_epoch", "3", "--optim_conf", "lr=0.1"], ""),
        (
            ["--", "--max_epochs", "3"],
            "unknown option --max_epochs\n  remedy: did you mean '--max_",
        ),
        (["--", "--max_epoch", "many"], "argument --max_epoch: invalid int value: 'many'"),
        (["--pretrained", "openai/whisper-base"], "has no part that is pretrained"),
    ],
)
def test_options_of_trainings_are_checked(tmp_path, capsys, words, message):
    overlay = tmp_path / "a.yaml"
    overlay.write_text(OUTPUTS)
    with pytest.raises(SystemExit) as stop:
        main([str(CONF / "train_small.yaml"), str(overlay), *words])
    assert stop.value.code == bool(message)
    error = capsys.readouterr().err
    assert message in error and error.count("error:") == bool(message)
