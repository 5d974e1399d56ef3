"""ONNX files equal PyTorch, for inputs of other lengths than the traced ones too."""

import json

import numpy as np
import pytest
import torch

from espnet_ext.bin import cli, export
from espnet_ext.model import onnx_export
from espnet_ext.model.load import load_model

onnxruntime = pytest.importorskip("onnxruntime", reason='pip install -e ".[onnx]"')
pytest.importorskip("onnx", reason='pip install -e ".[onnx]"')


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    arguments = [str(trained.root / "exp"), "--to", "onnx", "--output", str(folder)]
    assert cli.run(export.main, arguments) == 0
    return folder


def run(folder, name, **inputs):
    session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"))
    return session.run(None, inputs)


def test_greedy_decoding_equals_that_of_pytorch(trained, exported):
    """Features, encoder, CTC and three steps of each decoder, for audio of a new length."""
    model, _ = load_model(trained.root / "exp")
    wave = 0.1 * torch.randn(13_000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        feats = onnx_export.features(model, wave)
        expected = model.encode(wave[None], torch.tensor([wave.numel()]))
    states = dict(zip(model.heads, run(exported, "encoder", feats=feats.numpy()), strict=True))
    for name, head in model.heads.items():
        hidden = expected.hidden[name]
        np.testing.assert_allclose(states[name], hidden.numpy(), atol=1e-4)
        if head.ctc is not None:
            (log_probs,) = run(exported, f"{name}_ctc", states=states[name])
            with torch.no_grad():
                reference = head.ctc.log_softmax(hidden).numpy()
            np.testing.assert_allclose(log_probs, reference, atol=1e-4)
        tokens = [len(head.tokens) - 1]
        for _ in range(3):
            ids = np.array([tokens])
            (scores,) = run(exported, f"{name}_decoder", tokens=ids, states=states[name])
            batch = torch.from_numpy(ids)
            with torch.no_grad():
                logits, _ = head.decoder(
                    hidden, torch.tensor([hidden.size(1)]), batch, torch.tensor([len(tokens)])
                )
            reference = logits[:, -1].log_softmax(-1).numpy()
            np.testing.assert_allclose(scores, reference, atol=1e-4)
            tokens.append(int(scores.argmax()))


def test_batch_equals_its_rows(exported):
    """Four rows, though one row was traced: recordings of one length, and hypotheses of a beam."""
    feats = np.random.default_rng(0).standard_normal((4, 70, 16)).astype(np.float32)
    batch = run(exported, "encoder", feats=feats)
    rows = [run(exported, "encoder", feats=feats[i : i + 1]) for i in range(4)]
    for index, states in enumerate(batch):
        np.testing.assert_allclose(states, np.concatenate([r[index] for r in rows]), atol=1e-4)
    (log_probs,) = run(exported, "surface_ctc", states=batch[0])
    assert log_probs.shape[:2] == batch[0].shape[:2]
    tokens = np.random.default_rng(1).integers(1, 4, (4, 3))
    (scores,) = run(exported, "surface_decoder", tokens=tokens, states=batch[0])
    for i in range(4):
        one = slice(i, i + 1)
        (row,) = run(exported, "surface_decoder", tokens=tokens[one], states=batch[0][one])
        np.testing.assert_allclose(scores[one], row, atol=1e-4)


def test_report_has_differences_and_times(exported):
    report = json.loads((exported / onnx_export.REPORT).read_text())
    assert set(report["parts"]) == {path.name for path in exported.glob("*.onnx")}
    for part in report["parts"].values():
        assert part["difference"] <= report["tolerance"] == 1e-4
        assert part["onnx_ms"] > 0 and part["torch_ms"] > 0


def test_part_that_differs_is_an_error(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_export, "TOLERANCE", 1e-12)
    arguments = [str(trained.root / "exp"), "--to", "onnx", "--output", str(tmp_path / "out")]
    assert cli.run(export.main, arguments) == 1
    assert "differs from PyTorch by" in capsys.readouterr().err


def test_missing_extra_names_its_installation(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    arguments = [str(trained.root / "exp"), "--to", "onnx", "--output", str(tmp_path / "out")]
    assert cli.run(export.main, arguments) == 1
    assert 'pip install "espnet-ext[onnx]"' in capsys.readouterr().err
