"""Decoding on the GPU of a Mac: the encoder there, the searches on the CPU, the same results."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_mps import MpsTensor, fake_mps  # noqa: E402

from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model import load  # noqa: E402

WAVES = [np.random.default_rng(3).standard_normal(n).astype(np.float32) / 9 for n in (16000, 9000)]


@pytest.mark.parametrize("options", [{}, {"beam_size": 2, "times": True}, {"greedy": True}])
def test_results_are_those_of_the_cpu(trained, options):
    options = {"maxlenratio": -4, **options}
    if options.get("greedy"):
        options["only"] = ["surface"]  # the meaning has no CTC
    expected = list(DualSpeech2Text.from_pretrained(trained.root / "exp", **options).batch(WAVES))
    with fake_mps():
        recogniser = DualSpeech2Text.from_pretrained(trained.root / "exp", device="mps", **options)
        assert recogniser.device.type == "mps"
        assert all(isinstance(p, MpsTensor) for p in recogniser.model.encoder.parameters())
        results = list(recogniser.batch(WAVES))
    for result, on_cpu in zip(results, expected, strict=True):
        for output in on_cpu.nbest:
            for hypothesis, reference in zip(
                result.nbest[output], on_cpu.nbest[output], strict=True
            ):
                assert hypothesis.token_ids == reference.token_ids
                assert hypothesis.score == pytest.approx(reference.score, abs=1e-6)


def test_the_fake_device_refuses_what_the_real_one_refuses():
    with fake_mps():
        tensor = torch.ones(3).to("mps")
        with pytest.raises(TypeError, match="float64"):
            tensor.double()
        with pytest.raises(RuntimeError, match="mps and on cpu"):
            tensor + torch.ones(3)
    with pytest.raises(UserError, match="device 'mps'"):
        load.check_device("mps")


def test_other_precisions_are_refused(trained):
    with fake_mps(), pytest.raises(UserError, match="bfloat16 on mps"):
        DualSpeech2Text.from_pretrained(trained.root / "exp", device="mps", precision="bfloat16")


@pytest.mark.parametrize(("cuda", "mps", "device"), [(1, 1, "cuda"), (0, 1, "mps"), (0, 0, "cuda")])
def test_choice_of_the_gpu(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    assert load.gpu() == device
