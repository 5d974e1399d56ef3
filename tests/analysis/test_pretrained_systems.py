"""The analyses of stage 17 on a system with Whisper's encoder and decoder."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402
import tiny_whisper  # noqa: E402

from espnet_ext.analysis.computation import hidden_states  # noqa: E402
from espnet_ext.analysis.computation.encoder_probes import probe_encoders  # noqa: E402
from espnet_ext.analysis.computation.encoder_swaps import swap  # noqa: E402
from espnet_ext.analysis.computation.layer_similarity import compare_systems  # noqa: E402
from espnet_ext.analysis.computation.task_vectors import inspect_vectors  # noqa: E402
from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.model.layers import token_states  # noqa: E402
from espnet_ext.training.similarity import UtteranceSample  # noqa: E402

LAYERS = ["embed", "0", "1"]
OPTIONS = {"beam_size": 2, "maxlenratio": -4}


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A recipe whose `exp/` is a tiny Whisper with task vectors, trained for one epoch."""
    root = tmp_path_factory.mktemp("whisper")
    tiny_whisper.write(root / "whisper")
    recipe = tiny_recipe.make(root / "recipe")
    part = {"model": str(root / "whisper")}
    config = {
        "frontend": "pretrained",
        "frontend_conf": part,
        "normalize": None,
        "encoder": "pretrained",
        "encoder_conf": part,
        "decoder": "pretrained",
        "decoder_conf": {**part, "language": "en"},
        "conditioning": "vectors",
        "conditioning_conf": {"mode": "per_task_sum", "where": "features"},
    }
    recipe.train(config=config, options=["--max_epoch", "1"])
    return recipe


def test_decoder_states_are_those_of_the_tokens(system):
    """Normalised and projected, they are the logits of the tokens, not of the prompt."""
    model = DualSpeech2Text.from_pretrained(system.root / "exp").model.eval()
    generator = np.random.default_rng(0)
    waves = [generator.standard_normal(n).astype(np.float32) for n in (8000, 6000)]
    head, tokens = model.heads["meaning"], [[3, 4, 5], [6]]
    encoded = hidden_states.encode({"a": model}, waves, ["u1", "u2"])[hidden_states.Stream("a")]
    assert encoded.layers == LAYERS
    names, layers, counts = hidden_states.decode(head, encoded, tokens, ["u1", "u2"])
    assert names == LAYERS and counts.tolist() == [4, 2]
    assert all(len(rows) == 6 for rows in layers)
    decoder = head.decoder
    text = torch.tensor([[3, 4, 5], [6, -1, -1]])
    with torch.inference_mode():
        logits, _ = head.teacher_forced(encoded.states, encoded.counts, text, torch.tensor([3, 1]))
        expected = torch.cat([logits[0], logits[1, :2]])
        torch.testing.assert_close(decoder.output_layer(decoder.after_norm(layers[-1])), expected)
    # The measurements during training take the mean over the same states.
    batch = {
        "speech": torch.nn.utils.rnn.pad_sequence(list(map(torch.from_numpy, waves)), True),
        "speech_lengths": torch.tensor([8000, 6000]),
    }
    for name in model.heads:
        batch[f"text_{name}"], batch[f"text_{name}_lengths"] = text, torch.tensor([3, 1])
    means = UtteranceSample([(["u1", "u2"], batch)]).states(model).decoders["meaning"]["1"]
    expected = torch.stack([layers[-1][:4].mean(0), layers[-1][4:].mean(0)])
    torch.testing.assert_close(means, expected, rtol=1e-3, atol=1e-4)


def test_states_without_a_prompt_stay_as_they_are():
    states = torch.randn(1, 3, 2)
    assert token_states(torch.nn.Identity(), states) is states


def test_analyses_run(system):
    exp, valid, train = (system.root / name for name in ("exp", "dump/valid", "dump/train"))
    folders = {"a": str(exp), "b": str(exp)}
    similarity = compare_systems(folders, valid, measures=[], permutations=3)
    assert similarity["models"]["a"]["layers"] == LAYERS
    probes = probe_encoders({"a": str(exp)}, valid, train)
    assert probes["models"]["a"]["layers"] == LAYERS
    swapped = swap(folders, valid, train, OPTIONS)
    rows = {(r["encoder"], r["decoder"], r["output"], r["connection"]): r for r in swapped["rows"]}
    for output in ("surface", "meaning"):
        assert (
            rows["a", "b", output, "direct"]["rate"] == rows["b", "b", output, "unswapped"]["rate"]
        )
    (inspected,) = inspect_vectors({"a": str(exp)}, valid, OPTIONS)["systems"]
    (place,) = inspected["places"]
    assert place["labels"] == ["surface", "meaning"] and place["states"] > 0
