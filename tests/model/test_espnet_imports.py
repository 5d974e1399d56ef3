"""ESPnet's parts come alone, quietly, and leave the interpreter as it was."""

import subprocess
import sys

import pytest
import torch
import typeguard

from espnet_ext.errors import UserError
from espnet_ext.model import espnet

HEAVY = ("s3prl", "wandb", "scipy.stats", "transformers", "torch._dynamo", "matplotlib")


def fresh(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_a_model_is_built_without_heavy_bystanders():
    done = fresh(
        "import sys\n"
        "from espnet_ext.model import build, load, espnet\n"
        "for kind, name in (('frontend', 'default'), ('specaug', 'specaug'),\n"
        "                   ('normalize', 'utterance_mvn'), ('encoder', 'conformer'),\n"
        "                   ('decoder', 'transformer'), ('ctc', 'ctc')):\n"
        "    espnet.resolve(kind, name)\n"
        "print('\\n'.join(sys.modules))\n"
    )
    loaded = set(done.stdout.split())
    assert "espnet2.asr.encoder.conformer_encoder" in loaded
    assert not loaded & set(HEAVY)
    assert done.stderr == ""


def test_the_training_command_is_as_light():
    done = fresh("import sys, espnet_ext.training.task\nprint('\\n'.join(sys.modules))")
    loaded = set(done.stdout.split())
    assert "espnet2.train.trainer" in loaded
    assert not loaded & {"s3prl", "wandb", "transformers", "torch._dynamo"}
    assert "Flash Attention" not in done.stderr


def test_the_interpreter_is_left_as_it_was():
    disable, stderr = torch.compiler.disable, sys.stderr
    typechecked = typeguard.typechecked
    before = {name: sys.modules.get(name, "absent") for name in (*espnet._BYSTANDERS, "wandb")}
    with pytest.raises(RuntimeError, match="stop"), espnet.light_imports():
        assert torch.compiler.disable is not disable
        raise RuntimeError("stop")
    assert torch.compiler.disable is disable
    assert typeguard.typechecked is typechecked
    assert sys.stderr is stderr
    assert {name: sys.modules.get(name, "absent") for name in before} == before


def test_optimizers_step_alike_without_the_compiler():
    done = fresh(
        "import sys, torch\n"
        "from espnet_ext.model import espnet\n"
        "def trained():\n"
        "    torch.manual_seed(0)\n"
        "    layer = torch.nn.Linear(4, 2)\n"
        "    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)\n"
        "    for _ in range(5):\n"
        "        optimizer.zero_grad()\n"
        "        layer(torch.ones(3, 4)).square().sum().backward()\n"
        "        optimizer.step()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "    return layer.weight\n"
        "espnet.spare_compiler()\n"
        "light = trained()\n"
        "assert isinstance(sys.modules['torch._dynamo'], espnet.StandIn)\n"
        "assert torch._dynamo.config.cache_size_limit  # anything else is the real one's\n"
        "assert not isinstance(sys.modules['torch._dynamo'], espnet.StandIn)\n"
        "import torch._dynamo.utils\n"
        "assert torch.equal(trained(), light)\n"
        "assert float(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(()))) == 2\n"
        "print('alike')\n"
    )
    assert done.stdout == "alike\n"


def test_hidden_packages_are_there_when_used():
    done = fresh(
        "import sys\n"
        "from espnet_ext.model import espnet\n"
        "preprocessor = espnet.load('CommonPreprocessor')\n"
        "assert 'scipy.signal' not in sys.modules\n"
        "module = sys.modules[preprocessor.__module__]\n"
        "print(module.scipy.signal.convolve([1, 2], [1, 1]).tolist())\n"
    )
    assert done.stdout == "[1, 3, 2]\n"
    done = fresh(
        "from espnet_ext.model import espnet\n"
        "with espnet.light_imports():\n"
        "    from scipy.signal import windows, convolve\n"
        "    import scipy.signal.windows\n"
        "print(convolve([1, 2], [1, 1]).tolist(), len(windows.hann(3)))\n"
    )
    assert done.stdout == "[1, 3, 2] 3\n"


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UserError, match="unknown encoder 'confromer'") as caught:
        espnet.resolve("encoder", "confromer")
    assert "conformer" in caught.value.remedy


@pytest.mark.parametrize("name", sorted(espnet._NAMES))
def test_every_name_of_the_table_is_where_it_says(name):
    if name == "LMTask":
        pytest.importorskip("espnet2.tasks.lm")
    assert espnet.load(name) is not None
