"""Features: a batch equals its utterances one by one; layers are those of transformers."""

import hashlib
import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from scipy.fft import dct

from espnet_ext.errors import UserError
from espnet_ext.model.checksums import sha256_of_tensors
from espnet_ext.units.extractor import compute_features
from espnet_ext.units.features import FeatureOptions, SystemFeatures, build_features

sys.path.insert(0, str(Path(__file__).parent))
from tones import RATE, wave  # noqa: E402

DURATIONS = (0.61, 0.3, 1.0, 0.05)


def options_for(kind, layer, checkpoints, system):
    if kind in ("log_mel", "mfcc"):
        return FeatureOptions(kind=kind)
    if kind == "system":
        return FeatureOptions(kind="system", model=str(system), layer=layer)
    return FeatureOptions(kind="pretrained", model=str(checkpoints[kind]), layer=layer)


@pytest.mark.parametrize(
    "kind,layer",
    [
        ("log_mel", None),
        ("mfcc", None),
        ("wavlm", None),
        ("wavlm", 2),
        ("wavlm", 0),
        ("hubert", 3),
        ("wav2vec2", 1),
        ("whisper", None),
        ("whisper", 2),
        ("system", None),
        ("system", 1),
        ("system", 0),
    ],
)
def test_batch_equals_single_utterances(kind, layer, checkpoints, system):
    extractor = build_features(options_for(kind, layer, checkpoints, system))
    assert extractor.is_batch_invariant == (kind != "wav2vec2")  # group norm reads the padding
    waves = [wave(seconds, i) for i, seconds in enumerate(DURATIONS)]
    batch = compute_features(extractor, waves)
    for samples, rows in zip(waves, batch, strict=True):
        (alone,) = compute_features(extractor, [samples])
        assert rows.shape == alone.shape
        torch.testing.assert_close(rows, alone, rtol=1e-4, atol=1e-5)
    assert len(batch[2]) > len(batch[0]) > len(batch[1]) > 0


@pytest.mark.parametrize("family", ["wavlm", "hubert", "whisper"])
def test_layer_equals_hidden_states_of_transformers(family, checkpoints):
    import transformers

    samples = torch.from_numpy(wave(0.8, 1))[None]
    network = transformers.AutoModel.from_pretrained(checkpoints[family]).eval()
    if family == "whisper":
        extract = transformers.WhisperFeatureExtractor()
        inputs = extract(samples[0].numpy(), sampling_rate=RATE, return_tensors="pt")
        extractor = build_features(
            FeatureOptions(kind="pretrained", model=str(checkpoints[family]), layer=2)
        )
        extractor.frontend.window = "30s"  # as transformers computes it
        network = network.encoder
    else:
        extractor = build_features(
            FeatureOptions(kind="pretrained", model=str(checkpoints[family]), layer=2)
        )
        inputs = {
            "input_values": (samples - samples.mean()) / (samples.var(correction=0) + 1e-7).sqrt()
        }
    with torch.inference_mode():
        expected = network(**inputs, output_hidden_states=True).hidden_states[2]
        ours, _ = extractor(samples, torch.tensor([samples.size(1)]))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert len(extractor.encoder.encoders) == 2  # blocks above are not computed


def test_mfcc_is_the_orthonormal_dct_of_log_mel():
    samples = wave(0.7, 0)
    mel = build_features(FeatureOptions(normalize=False))
    mfcc = build_features(FeatureOptions(kind="mfcc", normalize=False))
    (log_mel,), (coefficients,) = (compute_features(e, [samples]) for e in (mel, mfcc))
    expected = dct(log_mel.numpy(), type=2, norm="ortho")[:, :13]
    np.testing.assert_allclose(coefficients[:, :13], expected, atol=1e-3)
    assert coefficients.shape[1] == 39
    values = coefficients[:, 0]  # Σ n·(x[t+n] − x[t−n]) / 10 over n = 1, 2
    slopes = (values[3:-1] - values[1:-3] + 2 * (values[4:] - values[:-4])) / 10
    torch.testing.assert_close(coefficients[2:-2, 13], slopes, rtol=1e-4, atol=1e-4)


def test_normalized_features_do_not_depend_on_loudness():
    extractor = build_features(FeatureOptions())
    samples = wave(0.7, 0)
    loud, soft = compute_features(extractor, [samples, samples * 0.25])
    torch.testing.assert_close(loud, soft, atol=1e-2, rtol=1e-2)


def test_digest_depends_on_weights_and_not_on_their_place(checkpoints, tmp_path):
    here = FeatureOptions(kind="pretrained", model=str(checkpoints["wavlm"]), layer=2)
    copy = shutil.copytree(checkpoints["wavlm"], tmp_path / "copy")
    there = FeatureOptions(kind="pretrained", model=str(copy), layer=2)
    other = FeatureOptions(kind="pretrained", model=str(checkpoints["hubert"]), layer=2)
    below = FeatureOptions(kind="pretrained", model=str(copy), layer=1)
    digests = [build_features(options).digest() for options in (here, there, other, below)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_digest_of_earlier_versions_covers_options_and_weights(checkpoints, system):
    """That of log-mel features is the same as today's."""
    for kind in ("log_mel", "wavlm", "system"):
        extractor = build_features(options_for(kind, 1, checkpoints, system))
        options = asdict(extractor.options)
        for name in ("model", "revision", "weights"):
            del options[name]
        content = json.dumps(options, sort_keys=True).encode()
        content += sha256_of_tensors(extractor.tensors())
        earlier = hashlib.sha256(content).hexdigest()
        assert extractor.digest_of_weights() == earlier
        assert (extractor.digest() == earlier) == (kind == "log_mel")


def copy_with(folder, target, name, **values):
    """Copy a folder, and change values of a JSON or YAML file in it."""
    path = shutil.copytree(folder, target) / name
    text = path.read_text()
    content = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    for key, value in values.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(content))
    return str(target)


CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"


@pytest.mark.parametrize(
    "kind,name,values",
    [
        ("wavlm", CONFIG, {"conv_stride": [5, 2, 2, 2, 2, 2, 1]}),
        ("wavlm", CONFIG, {"do_stable_layer_norm": False}),
        ("wavlm", CONFIG, {"hidden_act": "relu"}),
        ("wavlm", CONFIG, {"feat_extract_activation": "relu"}),
        ("wavlm", CONFIG, {"layer_norm_eps": 0.1}),
        ("wavlm", CONFIG, {"max_bucket_distance": 90}),
        ("hubert", CONFIG, {"num_attention_heads": 4}),
        ("wavlm", PREPROCESSOR, {"do_normalize": False}),
        ("whisper", CONFIG, {"encoder_attention_heads": 1}),
        ("whisper", CONFIG, {"activation_function": "relu"}),
        ("whisper", PREPROCESSOR, {"hop_length": 80}),
        ("system", "config.yaml", {"frontend_conf": {"hop_length": 80}}),
        ("system", "config.yaml", {"encoder_conf": {"activation_type": "relu"}}),
        ("system", "config.yaml", {"normalize": None}),
    ],
)
def test_configuration_that_changes_features_changes_the_digest(
    kind, name, values, checkpoints, system, tmp_path
):
    folder = system if kind == "system" else checkpoints[kind]
    changed = copy_with(folder, tmp_path / "changed", name, **values)
    before = build_features(options_for(kind, 2 if kind != "system" else 1, checkpoints, system))
    after = build_features(replace(before.options, model=changed))
    samples = 0.05 * wave(2.2, 1) + 0.2
    (old,), (new,) = (compute_features(extractor, [samples]) for extractor in (before, after))
    assert old.shape != new.shape or not torch.allclose(old, new, rtol=1e-4, atol=1e-5)
    assert before.digest() != after.digest()
    assert after.digest_of_weights() == before.digest_of_weights() != before.digest()


@pytest.mark.parametrize(
    "kind,name,values",
    [
        ("wavlm", CONFIG, {"transformers_version": "4.0.0", "torch_dtype": "float16"}),
        ("wavlm", CONFIG, {"_name_or_path": "elsewhere", "mask_time_prob": 0.3}),
        ("whisper", CONFIG, {"use_cache": False, "decoder_attention_heads": 1}),
        ("whisper", PREPROCESSOR, {"dither": 0.0, "processor_class": "WhisperProcessor"}),
        ("system", "config.yaml", {"optim": "adam", "outputs": {}, "ngpu": 1}),
    ],
)
def test_configuration_that_does_not_change_features_keeps_the_digest(
    kind, name, values, checkpoints, system, tmp_path
):
    folder = system if kind == "system" else checkpoints[kind]
    changed = copy_with(folder, tmp_path / "changed", name, **values)
    before = build_features(options_for(kind, 1, checkpoints, system))
    assert before.digest() == build_features(replace(before.options, model=changed)).digest()


@pytest.mark.parametrize(
    "values,message",
    [
        ({"kind": "fbank"}, "unknown kind of features 'fbank'"),
        ({"kind": "pretrained"}, "need the model"),
        ({"n_mels": 0}, "n_mels"),
        ({"kind": "mfcc", "n_mfcc": 90}, "exceeds n_mels"),
        ({"kind": "pretrained", "model": "m", "layer": -1}, "layer"),
        ({"layer": 3}, "layer 3 has no effect on features 'log_mel'"),
        ({"kind": "mfcc", "model": "m"}, "model m has no effect on features 'mfcc'"),
        ({"kind": "system", "model": "m", "revision": "v1"}, "revision v1 has no effect"),
        ({"kind": "pretrained", "model": "m", "sample_rate": 8000}, "sample_rate 8000 has no"),
    ],
)
def test_impossible_options_raise_user_error(values, message):
    with pytest.raises(UserError, match=message):
        build_features(FeatureOptions(**values))


def test_layer_that_does_not_exist_names_the_number_of_blocks(checkpoints, system):
    for kind in ("wavlm", "system"):
        options = options_for(kind, 9, checkpoints, system)
        with pytest.raises(UserError, match=r"layer 9, but the encoder has \d blocks"):
            build_features(options)


def test_unknown_output_of_a_system_names_those_it_has(system):
    with pytest.raises(UserError, match="no output 'canonical'") as caught:
        build_features(FeatureOptions(kind="system", model=str(system), output="canonical"))
    assert "surface, meaning" in caught.value.remedy


def test_digest_of_a_system_covers_what_conditions_its_encoder():
    """Task vectors and experts change the states, so that they change the units."""
    digests = []
    for value in 0.0, 1.0:
        state = {"encoder.w": torch.ones(2), "conditioning.w": torch.full((2,), value)}
        features = SimpleNamespace(model=SimpleNamespace(state_dict=lambda state=state: state))
        digests.append(sha256_of_tensors(SystemFeatures.tensors(features)))
    assert digests[0] != digests[1]
