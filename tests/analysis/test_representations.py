"""Hooks on ESPnet's own encoders: the right tensors, no padding, the same frames everywhere."""

import itertools
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("espnet2")

from espnet_ext.analysis import compare  # noqa: E402
from espnet_ext.analysis.representations import (  # noqa: E402
    capture,
    choose,
    encoder_frames,
    layer_modules,
)
from espnet_ext.errors import UserError  # noqa: E402

os.environ.setdefault("OMP_NUM_THREADS", "1")


class Model(torch.nn.Module):
    """What the analysis needs of a model: `encode` and `encoder`; 8 samples make a frame."""

    def __init__(self, seed, blocks=3, input_layer="conv2d"):
        super().__init__()
        from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

        torch.manual_seed(seed)
        self.encoder = ConformerEncoder(
            input_size=20, output_size=16, attention_heads=2, linear_units=24, num_blocks=blocks,
            input_layer=input_layer, rel_pos_type="latest", pos_enc_layer_type="rel_pos",
            selfattention_layer_type="rel_selfattn", cnn_module_kernel=7, dropout_rate=0.1,
        )  # fmt: skip
        self.eval()

    def encode(self, speech, lengths):
        features = speech[:, : speech.shape[1] // 20 * 20].reshape(len(speech), -1, 20)
        states, lengths, _ = self.encoder(features, lengths // 20)
        return states, lengths


def speech(*seconds):
    generator = np.random.default_rng(1)
    return [generator.standard_normal(int(600 * s)).astype(np.float32) for s in seconds]


def test_layers_are_those_that_espnet_returns_itself():
    model = Model(0)
    features = torch.from_numpy(np.stack(speech(1))).reshape(1, -1, 20)
    lengths = torch.tensor([30])
    with torch.no_grad(), capture(model.encoder) as seen:
        (_, states), olens, _ = model.encoder(features, lengths, return_all_hs=True)
    assert list(seen.layers) == ["embed", "0", "1", "2"]
    for number, state in enumerate(states):
        assert torch.equal(seen.layers[str(number)], state)
    assert seen.lengths.tolist() == olens.tolist()
    assert seen.layers["embed"].shape == states[0].shape


def test_hooks_are_gone_afterwards():
    model = Model(0)
    with capture(model.encoder):
        pass
    assert not any(m._forward_hooks for m in model.modules())


def test_padding_leaves_no_trace():
    model = Model(0)
    waves = speech(1.0, 2.5, 1.7)
    names, together = encoder_frames({"m": model}, waves, ["a", "b", "c"])["m"]
    alone = [encoder_frames({"m": model}, [wave], ["a"])["m"][1] for wave in waves]
    for layer in range(len(names)):
        expected = torch.cat([frames[layer] for frames in alone])
        torch.testing.assert_close(together[layer], expected, atol=1e-5, rtol=0)


def test_different_subsampling_is_refused():
    models = {"one": Model(0), "two": Model(0, input_layer="conv2d6")}
    with pytest.raises(UserError, match="utt7: two has .* frames and one has"):
        encoder_frames(models, speech(2), ["utt7"])


def test_an_encoder_without_layers_is_refused():
    with pytest.raises(UserError, match="Linear"):
        layer_modules(torch.nn.Linear(2, 2))


def test_chosen_utterances_are_spread_and_always_the_same():
    ids = [f"s{s}-{u:02}" for s, u in itertools.product(range(10), range(20))]
    chosen = choose(ids[::-1], 20)
    assert chosen == choose(ids, 20) and len(set(chosen)) == 20
    assert {i.split("-")[0] for i in chosen} == {i.split("-")[0] for i in ids}
    assert choose(ids, 0) == choose(ids, 999) == sorted(ids)


def test_systems_compared_on_a_directory(tmp_path, monkeypatch):
    soundfile = pytest.importorskip("soundfile")
    for number, wave in enumerate(speech(1, 2, 1.5, 2.2)):
        soundfile.write(tmp_path / f"{number}.wav", wave / 10, 8000)
    (tmp_path / "wav.scp").write_text("".join(f"s-{n} {tmp_path}/{n}.wav\n" for n in range(4)))
    (tmp_path / "utt2spk").write_text("".join(f"s-{n} s\n" for n in range(4)))
    models = {"x": Model(0), "y": Model(0), "z": Model(1, blocks=2)}
    monkeypatch.setattr(
        compare, "load_model", lambda path, device: (models[path], {"frontend_conf": {"fs": "8k"}})
    )
    result = compare.compare_encoders({n: n for n in models}, tmp_path, batch_size=3)
    assert result["utterances"] == 4 and result["frames"] > 0
    pairs = {(p["a"], p["b"]): p for p in result["pairs"]}
    assert set(pairs) == {("x", "y"), ("x", "z"), ("y", "z")}
    same = pairs["x", "y"]
    assert [p["cka"] for p in same["curve"]] == pytest.approx([1.0] * 4, abs=1e-9)
    assert [p["layer"] for p in pairs["x", "z"]["curve"]] == ["embed", "0", "1"]
    assert all(p["cka"] < 0.999 for p in pairs["x", "z"]["curve"])
    again = compare.compare_encoders({n: n for n in models}, tmp_path, batch_size=1)
    flat, other = (np.ravel(r["pairs"][1]["grid"]) for r in (result, again))
    assert flat == pytest.approx(other, abs=1e-5)  # batching changes nothing


def test_command_on_model_directories(tmp_path, capsys):
    """The whole way: two model directories with random weights, a data directory, a JSON file."""
    import yaml

    from espnet_ext.bin.analyze import main
    from espnet_ext.files import read_json
    from espnet_ext.model.build import build_model

    soundfile = pytest.importorskip("soundfile")
    encoder = {
        "output_size": 16, "attention_heads": 2, "linear_units": 24, "num_blocks": 2,
        "input_layer": "conv2d", "rel_pos_type": "latest", "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn", "cnn_module_kernel": 7,
    }  # fmt: skip
    output = {"branch": "ctc", "token_type": "char", "ctc_weight": 1.0,
              "token_list": ["<blank>", "<unk>", "a", "<sos/eos>"]}  # fmt: skip
    for number, name in enumerate(["surface", "meaning"]):
        config = {
            "frontend": "default", "frontend_conf": {"fs": 16000, "n_mels": 20},
            "normalize": "utterance_mvn", "encoder": "conformer", "encoder_conf": encoder,
            "outputs": {name: output},
        }  # fmt: skip
        torch.manual_seed(number)
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
        torch.save(build_model(config).state_dict(), tmp_path / name / "model.pth")
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", speech(10)[0] * 0.1, 16000)
    (tmp_path / "wav.scp").write_text("".join(f"s-{n} {tmp_path}/{n}.wav\n" for n in range(3)))
    (tmp_path / "utt2spk").write_text("".join(f"s-{n} s\n" for n in range(3)))
    systems = [f"so_{n}={tmp_path / n}" for n in ("surface", "meaning")]
    out = tmp_path / "analysis/cka.json"
    assert main(["cka", "--models", *systems, "--data", str(tmp_path), "--output", str(out)]) == 0
    result = read_json(out)
    assert result["models"]["so_surface"]["layers"] == ["embed", "0", "1"]
    assert all(0 < p["cka"] < 1 for p in result["pairs"][0]["curve"])
    assert "so_surface – so_meaning" in capsys.readouterr().out
    assert result["provenance"]["command"].startswith("python -m espnet_ext.bin.analyze cka")
