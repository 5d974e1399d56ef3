"""`use_wandb: true` in a YAML file logs to Weights & Biases, as it does with stock ESPnet."""

import json
import os
import subprocess
import sys

import tiny_recipe

FAKE_WANDB = """
import json, os
class errors:
    class UsageError(Exception): pass
class config:
    @staticmethod
    def update(args, allow_val_change): pass
run = None
def login(): pass
def init(**options):
    global run
    run = options
def log(values):
    with open(os.environ["FAKE_WANDB_LOG"], "a") as handle:
        handle.write(json.dumps(sorted(values)) + "\\n")
def finish(): pass
"""


def test_wandb_enabled_in_yaml_receives_statistics(recipe):
    package = recipe.root / "fake/wandb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE_WANDB)
    recipe.write_yaml("base", {**tiny_recipe.CONFIG, "max_epoch": 1, "use_wandb": True})
    recipe.write_yaml("system", {"outputs": tiny_recipe.OUTPUTS})
    log = recipe.root / "wandb.jsonl"
    path = os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "espnet_ext.bin.train", *recipe.arguments()],
        env={**os.environ, "PYTHONPATH": path, "FAKE_WANDB_LOG": str(log)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    keys = {key for line in log.read_text().splitlines() for key in json.loads(line)}
    assert any("loss_ctc_surface" in key for key in keys)
