"""A configuration says whether outputs have separate encoder outputs, as the built model does."""

from pathlib import Path

import pytest
import yaml

from espnet_ext.model.build import build_model
from espnet_ext.model.conditioning.registry import separates_outputs
from espnet_ext.model.conditions import configured_names

SYSTEMS = Path(__file__).parents[2] / "conf/systems"
CONDITIONED = sorted(p.stem for p in SYSTEMS.glob("do*.yaml") if "conditioning:" in p.read_text())


@pytest.mark.parametrize(
    ("name", "changes"), [(name, {}) for name in CONDITIONED] + [("do_tops", {"layers": 0})]
)
def test_configuration_agrees_with_the_model(config, name, changes):
    overlay = yaml.safe_load((SYSTEMS / f"{name}.yaml").read_text())
    outputs = {key: {**config["outputs"][key], **part} for key, part in overlay["outputs"].items()}
    config |= {**overlay, "outputs": outputs}
    config["conditioning_conf"] = {**(overlay.get("conditioning_conf") or {}), **changes}
    config["conditions"] = {condition: ["a", "b"] for condition in configured_names(config)}
    assert separates_outputs(config) == build_model(config).separates_outputs


def test_system_without_conditioning_shares_the_encoder_output(config):
    assert not separates_outputs(config) and not build_model(config).separates_outputs
