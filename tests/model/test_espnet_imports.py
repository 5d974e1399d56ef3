"""ESPnet's parts are imported one at a time and print nothing."""

import subprocess
import sys

import pytest

from espnet_ext.errors import UserError
from espnet_ext.model import espnet

NOT_NEEDED = ("s3prl", "wandb", "scipy.stats", "transformers", "matplotlib")


def modules_after(code):
    """Modules that a fresh interpreter has loaded after `code`, and what it wrote to stderr."""
    code = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split()), done.stderr


def test_building_a_model_imports_only_its_parts():
    loaded, stderr = modules_after(
        "from espnet_ext.model import build, load, espnet\n"
        "for kind, name in (('frontend', 'default'), ('specaug', 'specaug'),\n"
        "                   ('normalize', 'utterance_mvn'), ('encoder', 'conformer'),\n"
        "                   ('decoder', 'transformer'), ('ctc', 'ctc')):\n"
        "    espnet.resolve(kind, name)\n"
    )
    assert "espnet2.asr.encoder.conformer_encoder" in loaded
    assert not loaded & set(NOT_NEEDED)
    assert stderr == ""


def test_importing_the_task_prints_nothing():
    loaded, stderr = modules_after("import espnet_ext.training.task")
    assert "espnet2.train.trainer" in loaded
    assert "Flash Attention" not in stderr


def test_unknown_encoder_lists_the_known_ones():
    with pytest.raises(UserError, match="unknown encoder 'confromer'") as caught:
        espnet.resolve("encoder", "confromer")
    assert "conformer" in caught.value.remedy


@pytest.mark.parametrize("name", sorted(espnet._NAMES))
def test_every_name_in_the_table_can_be_imported(name):
    if name == "LMTask":
        pytest.importorskip("espnet2.tasks.lm")
    assert espnet.load(name) is not None
