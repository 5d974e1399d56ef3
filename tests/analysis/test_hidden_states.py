"""Hooks on ESPnet's alone encoders: the right tensors, no padding, the same frames everywhere."""

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("espnet2")

from encoder_models import Model, speech  # noqa: E402

from espnet_ext.analysis.computation.hidden_states import (  # noqa: E402
    Stream,
    capture,
    decode,
    encode,
    layer_modules,
    pooled,
)
from espnet_ext.errors import UserError  # noqa: E402

os.environ.setdefault("OMP_NUM_THREADS", "1")


def test_layers_are_those_that_espnet_returns():
    model = Model(0)
    features = torch.from_numpy(np.stack(speech(1))).reshape(1, -1, 20)
    lengths = torch.tensor([30])
    with torch.no_grad(), capture(model.encoder) as seen:
        (_, states), olens, _ = model.encoder(features, lengths, return_all_hs=True)
    assert list(seen) == ["embed", "0", "1", "2"]
    for number, state in enumerate(states):
        assert torch.equal(seen[str(number)], state)
    assert seen["embed"].shape == states[0].shape and olens.tolist() == [states[0].shape[1]]


def test_hooks_are_removed():
    model = Model(0)
    with capture(model.encoder):
        pass
    assert not any(m._forward_hooks for m in model.modules())


def test_padding_does_not_change_hidden_states():
    model = Model(0)
    waves = speech(1.0, 2.5, 1.7)
    together = encode({"m": model}, waves, ["a", "b", "c"])[Stream("m")]
    alone = [encode({"m": model}, [wave], ["a"])[Stream("m")] for wave in waves]
    for layer in range(len(together.layers)):
        expected = torch.cat([one.frames[layer] for one in alone])
        torch.testing.assert_close(together.frames[layer], expected, atol=1e-5, rtol=0)
    means = pooled(together.frames[0], together.counts)
    for row, one in zip(means, alone, strict=True):
        torch.testing.assert_close(row, one.frames[0].mean(0), atol=1e-5, rtol=0)


def test_different_subsampling_raises_user_error():
    models = {"one": Model(0), "two": Model(0, input_layer="conv2d6")}
    with pytest.raises(UserError, match="utt7: two has .* frames and one has"):
        encode(models, speech(2), ["utt7"])


def test_encoder_without_layers_raises_user_error():
    with pytest.raises(UserError, match="Linear"):
        layer_modules(torch.nn.Linear(2, 2))


def test_nonfinite_activations_raise_user_error():
    model = Model(0)
    with torch.no_grad():
        model.encoder.encoders[1].norm_final.bias[0] = float("nan")
    with pytest.raises(UserError, match="b: the encoder of m, layer 1, has activations") as error:
        encode({"m": model}, speech(1.0), ["b"])
    assert "alone" in error.value.remedy


def decoder_of(layers=2):
    """A branch as far as reading needs one, with ESPnet's transformer decoder of 7 tokens."""
    from espnet_ext.model.heads.registry import build_head
    from espnet_ext.model.outputs import parse_outputs

    torch.manual_seed(5)
    output = {
        "branch": "attention",
        "attention_weight": 1.0,
        "token_type": "char",
        "token_list": list("0123457"),
    }
    config = parse_outputs({"outputs": {"meaning": output}})["meaning"]
    conf = {"attention_heads": 2, "linear_units": 24, "num_blocks": layers}
    branch = build_head(
        "meaning", config, config.token_list, 16, {"decoder": "transformer", "decoder_conf": conf}
    )
    branch.parts["decoder"].eval()
    return branch


def test_decoder_states_do_not_depend_on_the_batch():
    model, branch = Model(0), decoder_of()
    waves, ids = speech(1.0, 2.5, 1.7), ["a", "b", "c"]
    tokens = [[3, 4], [], [2, 2, 5, 1]]
    names, rows, counts = decode(branch, encode({"m": model}, waves, ids)[Stream("m")], tokens, ids)
    assert names == ["embed", "0", "1"] and counts.tolist() == [3, 1, 5]
    for index, wave in enumerate(waves):
        alone = encode({"m": model}, [wave], ["a"])[Stream("m")]
        _, alone, _ = decode(branch, alone, [tokens[index]], ["a"])
        for layer, layers in zip(rows, alone, strict=True):
            mine = layer.split(counts.tolist())[index]
            torch.testing.assert_close(mine, layers, atol=1e-5, rtol=0)


def test_free_running_states_equal_teacher_forcing_of_the_hypothesis():
    """A greedy search, token by token, passes through the same states of teacher forcing."""
    model, branch = Model(0), decoder_of()
    encoded = encode({"m": model}, speech(1.3), ["a"])[Stream("m")]
    decoder, written, last = branch.parts["decoder"], [], []
    for _ in range(4):
        expected = torch.tensor([[branch.sos, *written]])
        with torch.no_grad(), capture(decoder) as seen:
            length = torch.tensor([expected.size(1)])
            logits, _ = decoder(encoded.states, encoded.counts, expected, length)
        last.append(seen["1"][0, -1])
        written.append(int(logits[0, -1, :-1].argmax()))
    _, rows, _ = decode(branch, encoded, [written], ["a"])
    torch.testing.assert_close(rows[2][:4], torch.stack(last), atol=1e-5, rtol=0)
