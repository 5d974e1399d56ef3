"""Prediction networks: single steps, and ESPnet's networks with the same weights."""

import pytest
import torch

from espnet_ext.errors import UserError
from espnet_ext.model.prediction import build_prediction

CONFS = {
    "stateless": [
        {"hidden_size": 8},
        {"hidden_size": 8, "context": 1},
        {"hidden_size": 7},
        {"hidden_size": 8, "context": 4},
    ],
    "lstm": [{"hidden_size": 8}, {"hidden_size": 8, "num_layers": 3}],
    "gru": [{"hidden_size": 8, "num_layers": 2}],
}
ALL = [(kind, conf) for kind, confs in CONFS.items() for conf in confs]
LABELS = torch.tensor([[0, 3, 1, 4, 4, 2], [0, 5, 5, 5, 1, 1]])


def make(kind, conf):
    torch.manual_seed(0)
    return build_prediction(kind, conf, 6, "outputs.surface").double().eval()


@pytest.mark.parametrize(("kind", "conf"), ALL)
def test_steps_equal_the_whole_sequence(kind, conf):
    network = make(kind, conf)
    whole = network(LABELS)
    assert whole.shape == (2, 6, conf["hidden_size"])
    state = network.start(2)
    for u in range(LABELS.size(1)):
        out, state = network.step(LABELS[:, u], state)
        torch.testing.assert_close(out, whole[:, u])
        # states can be reordered by indexing: here twice, back to the start
        state = tuple(part.flip(0).flip(0) for part in state)
        assert all(len(part) == 2 for part in state)


@pytest.mark.parametrize(("kind", "conf"), ALL)
def test_output_does_not_depend_on_later_labels(kind, conf):
    network = make(kind, conf)
    torch.testing.assert_close(network(LABELS)[:, :3], network(LABELS[:, :3]))


def test_stateless_network_only_sees_its_context():
    network = make("stateless", {"hidden_size": 8, "context": 2})
    changed = LABELS.clone()
    changed[:, 1] = 5 - changed[:, 1] % 3
    same = (network(changed) - network(LABELS)).abs().amax((0, 2)) == 0
    assert same.tolist() == [True, False, False, True, True, True]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_network_equals_that_of_espnet(kind):
    module = pytest.importorskip("espnet2.asr.decoder.transducer_decoder")
    network = make(kind, {"hidden_size": 8, "num_layers": 2}).float()
    peer = module.TransducerDecoder(6, rnn_type=kind, num_layers=2, hidden_size=8).eval()
    peer.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(LABELS), peer(LABELS))


def test_stateless_network_equals_that_of_espnet():
    module = pytest.importorskip("espnet2.asr_transducer.decoder.stateless_decoder")
    network = make("stateless", {"hidden_size": 8, "context": 1}).float()
    peer = module.StatelessDecoder(6, embed_size=8).eval()
    peer.embed.load_state_dict(network.embed.state_dict())
    torch.testing.assert_close(network(LABELS), peer(LABELS))


@pytest.mark.parametrize(
    ("kind", "conf", "words"),
    [
        (["lstm"], {}, r"outputs.surface.prediction: unknown network '\['lstm'\]'"),
        ({"lstm": 1}, {}, "outputs.surface.prediction: "),
        ("lstmm", {}, "outputs.surface.prediction: unknown network 'lstmm'.*did you mean 'lstm'"),
        ("stateless", {"contxt": 1}, "prediction_conf: unknown key 'contxt'.*'context'"),
        ("stateless", {"context": 0}, "context 0"),
        ("lstm", {"num_layers": 0}, "num_layers 0"),
        ("lstm", {"rnn_type": "gru"}, "unknown key 'rnn_type'"),
    ],
)
def test_invalid_configuration_is_refused(kind, conf, words):
    with pytest.raises(UserError) as caught:
        build_prediction(kind, conf, 6, "outputs.surface")
    import re

    assert re.search(words, f"{caught.value.message} {caught.value.remedy}")
