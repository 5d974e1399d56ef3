"""A transducer is stock ESPnet's: the same loss, gradients and hypotheses with the same weights.

ESPnet's model imports `warprnnt_pytorch`, which does not install here; a module with the one class
that it takes from it stands in, around the loss that ships with ESPnet itself.
"""

import argparse
import sys
import types

import pytest
import torch
import yaml

from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.options import ESPNET, read_options
from espnet_ext.errors import UserError
from espnet_ext.model.build import build_model
from espnet_ext.model.export import export_head, stock_config, stock_state
from espnet_ext.model.outputs import parse_outputs

CONF = {"hidden_size": 24, "num_layers": 2}


@pytest.fixture
def make_transducer(make_system, tmp_path):
    """As `make_system`, with a transducer as its one output: (model, config, folder)."""

    def make(kind="lstm", ctc=0.3):
        _, config, folder = make_system("single")
        entry = dict(config["outputs"]["meaning"]) | {
            "branch": "transducer",
            "transducer_weight": 1.0,
            "ctc_weight": ctc,
            "prediction": kind,
            "prediction_conf": CONF,
            "joint_conf": {"joint_space_size": 20},
        }
        del entry["attention_weight"]
        config = {**config, "outputs": {"meaning": entry}}
        torch.manual_seed(0)
        model = build_model(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.6)
            model.meaning_joint.lin_out.bias[0] += 1
            model.meaning_joint.lin_out.bias[-1] = -1e4  # which we never say
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        torch.save(model.state_dict(), folder / "model.pth")
        return model, config, folder

    return make


@pytest.fixture
def warprnnt(monkeypatch):
    numba = pytest.importorskip("espnet2.asr.transducer.rnnt_multi_blank.rnnt_multi_blank")

    class RNNTLoss(torch.nn.Module):
        def __init__(self, blank, fastemit_lambda):
            super().__init__()
            self.loss = numba.RNNTLossNumba(
                blank=blank, reduction="mean", fastemit_lambda=fastemit_lambda
            )

        def forward(self, *arguments):
            return self.loss(*arguments)

    module = types.ModuleType("warprnnt_pytorch")
    module.RNNTLoss = RNNTLoss
    monkeypatch.setitem(sys.modules, "warprnnt_pytorch", module)


@pytest.mark.parametrize(("kind", "ctc"), [("lstm", 0.3), ("gru", 0.0)])
def test_loss_and_gradients_equal_stock(make_transducer, warprnnt, batch, kind, ctc):
    task = pytest.importorskip("espnet2.tasks.asr").ASRTask
    model, config, _ = make_transducer(kind, ctc)
    output = parse_outputs(config)["meaning"]
    stock = stock_config(config, "meaning", output)
    twin = task.build_model(argparse.Namespace(**stock))
    missing, unexpected = twin.load_state_dict(
        stock_state(model.state_dict(), "meaning", output), strict=False
    )
    assert not unexpected and not missing
    model.eval()
    twin.eval()
    speech, speech_lengths, text, text_lengths = batch
    loss, stats, _ = model(
        speech, speech_lengths, text_meaning=text, text_meaning_lengths=text_lengths
    )
    twin.train()  # in evaluation mode it also decodes; only SpecAugment is random
    twin.specaug = None
    for module in twin.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.BatchNorm1d):
            module.eval()
    stock_loss, stock_stats, _ = twin(speech, speech_lengths, text.clone(), text_lengths)
    assert float(loss.detach()) == pytest.approx(float(stock_loss.detach()), rel=1e-5)
    assert float(stats["loss_transducer_meaning"]) == pytest.approx(
        float(stock_stats["loss_transducer"]), rel=1e-5
    )
    loss.backward()
    stock_loss.backward()
    gradients = stock_state({k: p.grad for k, p in model.named_parameters()}, "meaning", output)
    expected = {k: p.grad for k, p in twin.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize(("kind", "ctc"), [("lstm", 0.3), ("gru", 0.0)])
def test_exported_head_decodes_identically_in_stock_espnet_and_here(
    make_transducer, warprnnt, batch, tmp_path, kind, ctc
):
    stock = pytest.importorskip("espnet2.bin.asr_inference").Speech2Text
    _, _, folder = make_transducer(kind, ctc)
    search = {"beam_size": 4, "nbest": 3, "max_symbols": 2}
    target = export_head(folder, "meaning", tmp_path / "stock", search=search)
    inference = yaml.safe_load((target / "inference.yaml").read_text())
    assert inference == {
        "beam_size": 4,
        "nbest": 3,
        "transducer_conf": {
            "search_type": "tsd",
            "max_sym_exp": 3,
            "score_norm": False,
            "nbest": 3,
        },
    }
    speech2text = stock(
        asr_train_config=str(target / "config.yaml"),
        asr_model_file=str(target / "model.pth"),
        lm_weight=0.0,
        **inference,
    )
    options = {**ESPNET, "beam_size": 4, "nbest": 3, "max_symbols": 2, "expansion_gamma": 0.0}
    options["outputs"] = {"meaning": {"ctc_weight": 0.0}}  # stock ESPnet ignores CTC
    recognise = DualSpeech2Text.from_pretrained(folder, **options)
    read_back = DualSpeech2Text.from_pretrained(target, **read_options(target / "decode.yaml"))
    recorded = DualSpeech2Text.from_pretrained(target).options["text"]
    assert {key: getattr(recorded, key) for key in search} == search
    assert recorded.ctc_weight == 0.3 and recorded.expansion_gamma == 10.0  # as in the system
    speech, lengths, _, _ = batch
    tokens = 0
    for row in range(len(speech)):
        wave = speech[row, : lengths[row]]
        expected = [(tuple(ids), float(hyp.score)) for _, _, ids, hyp in speech2text(wave)]
        for nbest in (recognise(wave).nbest["meaning"], read_back(wave).nbest["text"]):
            assert [h.token_ids for h in nbest] == [ids for ids, _ in expected]
            assert [h.score for h in nbest] == pytest.approx([s for _, s in expected], abs=1e-3)
        tokens += len(expected[0][0])
    assert tokens


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_conf": {"transducer_multi_blank_durations": [2]}}, "several blanks"),
        ({"decoder_conf": {"embed_pad": 3}}, "embed_pad is not 0"),
        ({"decoder_conf": {"rnn_type": "rwkv"}}, "prediction: unknown network 'rwkv'"),
    ],
    ids=str,
)
def test_stock_transducers_of_another_kind_are_refused(make_transducer, tmp_path, change, words):
    _, _, folder = make_transducer()
    target = export_head(folder, "meaning", tmp_path / "stock")
    config = yaml.safe_load((target / "config.yaml").read_text()) | change
    (target / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=words):
        DualSpeech2Text.from_pretrained(target)
