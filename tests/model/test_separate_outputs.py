"""Which systems have an encoder output of its own per output."""

from pathlib import Path

import pytest
import yaml

from espnet_ext.model.build import build_model
from espnet_ext.model.conditions import configured_names

SYSTEMS = Path(__file__).parents[2] / "conf/systems"
CONDITIONED = sorted(p.stem for p in SYSTEMS.glob("do*.yaml") if "conditioning:" in p.read_text())
SHARED = [  # experts, LoRA or vectors that do not depend on the output, or act on it as a whole
    "do_experts_band",
    "do_experts_decoder",
    "do_lora_l1",
    "do_smoe",
    "do_sparse",
    "do_vectors_combination",
    "do_vectors_sum",
    "do_vectors_sum_repeats",
    "do_wide",
]


@pytest.mark.parametrize(
    ("name", "changes"), [(name, {}) for name in CONDITIONED] + [("do_tops", {"layers": 0})]
)
def test_conditioned_systems(config, name, changes):
    overlay = yaml.safe_load((SYSTEMS / f"{name}.yaml").read_text())
    outputs = {key: {**config["outputs"][key], **part} for key, part in overlay["outputs"].items()}
    config |= {**overlay, "outputs": outputs}
    config["conditioning_conf"] = {**(overlay.get("conditioning_conf") or {}), **changes}
    config["conditions"] = {condition: ["a", "b"] for condition in configured_names(config)}
    assert build_model(config).separates_outputs == (name not in SHARED and not changes)


def test_system_without_conditioning_shares_the_encoder_output(config):
    assert not build_model(config).separates_outputs
