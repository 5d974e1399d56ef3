"""Options and models that cannot be sharded; `two_process_training.py` trains sharded models."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import small_models  # noqa: E402

from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.training import sharding  # noqa: E402
from espnet_ext.training.task import DualOutputTask  # noqa: E402


@pytest.fixture(scope="module")
def parser():
    return DualOutputTask.get_parser()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--use_amp", "true"], "use_amp: True"),
        (["--grad_noise", "true"], "grad_noise: True"),
        (["--num_att_plot", "1"], "num_att_plot: 1"),
        (["--diagnose_every", "10"], "diagnose_every: 10"),
        (["--encoder_cache", "cache"], "encoder_cache: cache"),
        (["--conditioning", "vectors"], "conditioning: vectors"),
        (["--optim", "adagrad"], "optim: adagrad"),
        (["--objective", "pcgrad"], "objective: pcgrad"),
        (["--objective", "gradnorm"], "objective: gradnorm"),
        (["--grad_clip_type", "inf"], "grad_clip_type: inf"),
        (["--compile", "encoder"], "compile: encoder"),
        (["--finetune_conf", "adapter={type: lora}"], "finetune_conf.adapter"),
        (["--finetune_conf", "freeze_epochs=1"], "finetune_conf.freeze_epochs"),
        (
            ["--encoder_conf", "gradient_checkpointing=true"],
            "encoder_conf.gradient_checkpointing",
        ),
        (["--batch_bins", "auto"], "batch_bins: auto"),
        (["--scan_largest_batch", "true"], "scan_largest_batch: true"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_option_that_does_not_work_with_fsdp_raises_user_error(parser, options, named):
    common = ["--output_dir", "exp", "--num_att_plot", "0", "--optim", "adam"]
    args = parser.parse_args([*common, *options])
    sharding.check(args, "train.yaml")  # without fsdp
    args = parser.parse_args([*common, *options, "--fsdp", "true"])
    with pytest.raises(UserError) as caught:
        sharding.check(args, "train.yaml")
    assert str(caught.value).startswith(f"train.yaml: fsdp does not work with {named}: ")
    assert caught.value.remedy


def test_defaults_work_with_fsdp(parser):
    options = ["--output_dir", "exp", "--num_att_plot", "0", "--optim", "adamw", "--fsdp", "true"]
    sharding.check(parser.parse_args(options), "train.yaml")


def test_model_that_skips_layers_or_has_scalars_raises_user_error():
    model = small_models.make()
    sharding.check_model(model)
    model.encoder.encoders[1].stochastic_depth_rate = 0.1
    with pytest.raises(UserError, match=r"encoder.encoders.1 skips layers at random"):
        sharding.check_model(model)
    model.encoder.encoders[1].stochastic_depth_rate = 0.0
    model.encoder.config = SimpleNamespace(layerdrop=0.1)
    with pytest.raises(UserError, match=r"encoder skips layers at random .layerdrop: 0.1"):
        sharding.check_model(model)
    model = small_models.make()
    model.encoder.scale = torch.nn.Parameter(torch.tensor(1.0))
    with pytest.raises(UserError, match="encoder.scale is a single number"):
        sharding.check_model(model)
