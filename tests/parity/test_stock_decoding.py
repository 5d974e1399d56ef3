"""Proof of comparability 2: stock ESPnet decodes every exported head to identical tokens."""

import pytest
import torch
import yaml

from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.options import ESPNET
from espnet_ext.errors import UserError
from espnet_ext.model.export import export_head
from espnet_ext.model.load import load_model

HEADS = [
    ("single", "meaning"),
    ("ctc", "surface"),
    ("attention", "surface"),
    ("dual", "surface"),
    ("dual", "meaning"),
    ("vectors", "surface"),
    ("vectors", "meaning"),
]


@pytest.fixture(scope="module")
def stock():
    return pytest.importorskip("espnet2.bin.asr_inference").Speech2Text


@pytest.mark.parametrize(("system", "name"), HEADS, ids=[f"{s}-{n}" for s, n in HEADS])
def test_exported_head_decodes_identically(stock, make_system, batch, tmp_path, system, name):
    _, _, folder = make_system(system)
    target = export_head(folder, name, tmp_path / "stock")
    model, config = load_model(folder)
    ctc_weight = {"ctc": 1.0, "attention": 0.0}.get(model.heads[name].options.branch, 0.3)
    speech2text = stock(
        asr_train_config=str(target / "config.yaml"),
        asr_model_file=str(target / "model.pth"),
        beam_size=4,
        ctc_weight=ctc_weight,
        ctc_window_margin=0,
        nbest=3,
        lm_weight=0.0,
        maxlenratio=0.4,
    )
    recognise = DualSpeech2Text(
        model,
        config,
        {**ESPNET, "beam_size": 4, "ctc_weight": 0.3, "nbest": 3, "maxlenratio": 0.4},
    )
    speech, lengths, _, _ = batch
    compared = 0
    for row in range(speech.size(0)):
        wave = speech[row, : lengths[row]]
        expected = speech2text(wave)
        nbest = recognise(wave).nbest[name]
        assert [h.token_ids for h in nbest] == [tuple(ids) for _, _, ids, _ in expected]
        for hypothesis, (_, _, _, stock_hypothesis) in zip(nbest, expected, strict=True):
            assert hypothesis.score == pytest.approx(float(stock_hypothesis.score), abs=1e-4)
        compared += len(nbest)
    print(f"{system}.{name}: {compared} hypotheses identical to stock asr_inference")
    assert any(len(h.token_ids) > 0 for h in recognise(speech[0]).nbest[name])


@pytest.mark.parametrize(("system", "name"), HEADS, ids=[f"{s}-{n}" for s, n in HEADS])
def test_exported_stock_directory_is_decoded_like_the_system(
    make_system, batch, tmp_path, system, name
):
    model, config, folder = make_system(system)
    target = export_head(folder, name, tmp_path / "stock")
    (target / "model.pth").rename(target / "valid.acc.ave.pth")
    options = {**ESPNET, "beam_size": 3, "maxlenratio": 0.4}
    stock = DualSpeech2Text.from_pretrained(target, **options)
    recognise = DualSpeech2Text.from_pretrained(folder, **options)
    speech, _, _, _ = batch
    expected, hypothesis = recognise(speech[0]).best[name], stock(speech[0]).best["text"]
    assert hypothesis.token_ids == expected.token_ids
    assert hypothesis.score == pytest.approx(expected.score, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "maskctc"}, "model 'maskctc'"),
        ({"token_list": []}, "not a configuration of ESPnet's ASR task"),
        ({"token_list": None}, "not a configuration of ESPnet's ASR task"),
        ({"model_conf": "x"}, "not a configuration of ESPnet's ASR task"),
        ({"model_conf": {"ctc_weight": "x"}}, "not a configuration of ESPnet's ASR task"),
        ({"encoder": None}, "encoder is None"),
        ({"frontend_conf": {"fs": "abc"}}, "abc"),
        ({"token_type": "whisper_multilingual"}, "token_type 'whisper_multilingual'"),
        ({"token_list": ["<blank>", "a", "<eos>"]}, "begins with <blank> and ends with <eos>"),
        ({"token_type": "bpe", "bpemodel": "gone/bpe.model"}, "gone/bpe.model: no such"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_unsupported_stock_directory_raises_user_error(make_system, tmp_path, change, message):
    _, _, folder = make_system("single")
    target = export_head(folder, "meaning", tmp_path / "stock")
    config = yaml.safe_load((target / "config.yaml").read_text()) | change
    (target / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=message):
        DualSpeech2Text.from_pretrained(target)


def test_stock_directory_without_weights_raises_user_error(make_system, tmp_path):
    _, _, folder = make_system("single")
    target = export_head(folder, "meaning", tmp_path / "stock")
    (target / "model.pth").unlink()
    with pytest.raises(UserError, match="neither model.pth nor valid.acc.ave.pth"):
        DualSpeech2Text.from_pretrained(target)


def test_batch_equals_single_utterances(make_system, batch):
    model, config, _ = make_system("dual")
    recognise = DualSpeech2Text(model.eval(), config, {"beam_size": 3, "maxlenratio": 0.4})
    speech, _, _, _ = batch
    waves = [speech[0], speech[1], speech[2]]  # equal lengths: no padding effect of the STFT
    results = recognise.batch(waves)
    for wave, result in zip(waves, results, strict=True):
        single = recognise(wave)
        for name in result.best:
            assert result.best[name].token_ids == single.best[name].token_ids
            assert result.best[name].score == pytest.approx(single.best[name].score, abs=1e-4)


def test_beam_larger_than_vocabulary(make_system):
    model, config, _ = make_system("ctc")
    recognise = DualSpeech2Text(model.eval(), config, {"beam_size": 50, "nbest": 50})
    result = recognise(torch.randn(8000, generator=torch.Generator().manual_seed(0)))
    assert 1 <= len(result.nbest["surface"]) <= 50
