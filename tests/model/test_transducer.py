"""The transducer head: its modules, its loss over labelled rows, invalid configurations."""

import contextlib

import pytest
import torch
import yaml

from espnet_ext.errors import UserError
from espnet_ext.model.build import build_model
from espnet_ext.model.export import export_head
from espnet_ext.model.heads.registry import build_head
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.model.rnnt import rnnt_loss

SIZE = 16
TEXT = torch.tensor([[2, 3, 4], [3, 2, -1], [4, -1, -1]])


@pytest.fixture
def transducers(config):
    config["outputs"]["surface"] |= {
        "branch": "transducer",
        "transducer_weight": 0.6,
        "ctc_weight": 0.3,
        "prediction": "lstm",
        "prediction_conf": {"hidden_size": 8},
        "joint_conf": {"joint_space_size": 12},
    }
    config["outputs"]["meaning"] |= {
        "branch": "transducer",
        "transducer_weight": 0.4,
        "prediction_conf": {"hidden_size": 8},
    }
    del config["outputs"]["surface"]["attention_weight"]
    del config["outputs"]["meaning"]["attention_weight"]
    return config


def make(config, name="surface"):
    torch.manual_seed(0)
    output = parse_outputs(config)[name]
    head = build_head(name, output, output.token_list, SIZE, config)
    for part in head.parts.values():
        part.double().eval()
    return head


def batch():
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(3, 12, SIZE, generator=generator, dtype=torch.float64)
    return states, torch.tensor([12, 9, 12]), torch.tensor([3, 2, 1])


def losses(head, rows=slice(None), text=TEXT):
    states, frames, lengths = batch()
    return head.losses(
        states[rows], frames[rows], text[rows], lengths[rows], contextlib.nullcontext()
    )


def test_loss_equals_a_computation_by_hand(transducers):
    head = make(transducers)
    assert set(head.parts) == {"prediction", "joint", "ctc"}
    states, frames, lengths = batch()
    predictions = head.parts["prediction"](torch.tensor([[0, 2, 3, 4], [0, 3, 2, 0], [0, 4, 0, 0]]))
    logits = head.parts["joint"](states[:, :, None], predictions[:, None])
    by_hand = rnnt_loss(logits, TEXT, frames, lengths).sum() / 3
    head_losses = losses(head)
    assert "att" not in head_losses.terms and "acc" not in head_losses.ratios
    assert float(head_losses.terms["transducer"].detach()) == pytest.approx(
        float(by_hand.detach()), rel=1e-9
    )


def test_loss_is_the_sum_over_labelled_rows_divided_by_the_batch_size(transducers):
    head = make(transducers)
    text = torch.tensor([[2, 3, 4], [-2, -1, -1], [4, -1, -1]])
    head_losses = losses(head, text=text)
    first, last = losses(head, slice(0, 1)), losses(head, slice(2, 3))
    for kind in ("ctc", "transducer"):
        expected = (first.terms[kind] + last.terms[kind]) / 3
        assert float(head_losses.terms[kind].detach()) == pytest.approx(float(expected.detach()))
    assert int(head_losses.labelled) == 2


def test_every_parameter_has_a_zero_gradient_without_labels(transducers):
    head = make(transducers)
    head_losses = losses(head, text=torch.full((3, 1), -2))
    (head_losses.terms["ctc"] + head_losses.terms["transducer"]).backward()
    for part in head.parts.values():
        for parameter in part.parameters():
            assert parameter.grad is not None and not parameter.grad.any()
    assert float(head_losses.terms["transducer"].detach()) == 0


def test_empty_text_is_a_path_of_blanks(transducers):
    head = make(transducers, "meaning")
    states, frames, _ = batch()
    head_losses = head.losses(
        states,
        frames,
        torch.full((3, 1), -1),
        torch.zeros(3, dtype=torch.long),
        contextlib.nullcontext(),
    )
    predictions = head.parts["prediction"](torch.zeros(3, 1, dtype=torch.long))
    blank = head.parts["joint"](states[:, :, None], predictions[:, None]).log_softmax(-1)[..., 0, 0]
    inside = torch.arange(12) < frames[:, None]
    expected = -blank.masked_fill(~inside, 0).sum() / 3
    assert float(head_losses.terms["transducer"].detach()) == pytest.approx(
        float(expected.detach())
    )


def test_more_labels_than_frames_have_a_finite_loss(transducers):
    head = make(transducers)
    states, _, _ = batch()
    text = torch.randint(1, 5, (3, 30), generator=torch.Generator().manual_seed(2))
    head_losses = head.losses(
        states[:, :2],
        torch.tensor([2, 1, 2]),
        text,
        torch.tensor([30, 20, 10]),
        contextlib.nullcontext(),
    )
    assert head_losses.terms["transducer"].isfinite()


def model_batch():
    speech = torch.randn(3, 16000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([16000, 12000, 9000])
    labels = {}
    for name in ("surface", "meaning"):
        labels |= {f"text_{name}": TEXT.clone(), f"text_{name}_lengths": torch.tensor([3, 2, 1])}
    return speech, lengths, labels


def test_model_weights_and_reports_the_losses(transducers):
    model = build_model(transducers).double().eval()
    speech, lengths, labels = model_batch()
    labels["text_meaning"][1:] = torch.tensor([-2, -1, -1])
    loss, stats, _ = model(speech.double(), lengths, **labels)
    assert set(stats) == {
        "loss",
        "loss_ctc_surface",
        "loss_transducer_surface",
        "loss_transducer_meaning",
        "labelled_surface",
        "labelled_meaning",
    }
    whole = (
        0.3 * stats["loss_ctc_surface"]
        + 0.6 * stats["loss_transducer_surface"]
        + 0.4 * stats["loss_transducer_meaning"] / 3
    )
    assert float(loss.detach()) == pytest.approx(float(whole))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_bfloat16_loss_is_close(transducers):
    model = build_model(transducers).eval()
    speech, lengths, labels = model_batch()
    exact = float(model(speech, lengths, **labels)[0].detach())
    model.autocast_dtype = torch.bfloat16
    loss, _, _ = model(speech, lengths, **labels)
    loss.backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(exact, rel=0.02)
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_modules_are_named_by_output_and_part(transducers):
    tops = {name.partition(".")[0] for name, _ in build_model(transducers).named_parameters()}
    assert tops == {
        "encoder",
        "surface_prediction",
        "surface_joint",
        "surface_ctc",
        "meaning_prediction",
        "meaning_joint",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transducer_weight": 0}, "transducer_weight 0: it would never be trained"),
        ({"transducer_weight": "a"}, "transducer_weight: 'a'"),
        ({"attention_weight": 0.5}, "does not use attention_weight"),
        ({"branch": "ctc"}, "does not use transducer_weight"),
        ({"branch": "ctc", "transducer_weight": 0}, "does not use prediction"),
        ({"decoder_conf": {"num_blocks": 2}}, "does not use decoder_conf"),
        ({"lsm_weight": 0.1}, "does not use lsm_weight"),
        ({"prediction": "lsmt"}, "outputs.surface.prediction: unknown network 'lsmt'"),
        ({"prediction_conf": {"hidden": 3}}, "prediction_conf: unknown key 'hidden'"),
        ({"joint_conf": {"joint_space": 3}}, "joint_conf: unknown key 'joint_space'"),
        ({"joint_conf": {"joint_activation_type": "tan"}}, "outputs.surface.joint_conf"),
        ({"ctc_weight": -1}, "ctc_weight: -1"),
    ],
    ids=str,
)
def test_invalid_configuration_is_named(transducers, change, words):
    transducers["outputs"]["surface"] |= change
    with pytest.raises(UserError) as caught:
        build_model(transducers)
    assert words in caught.value.message


def test_stateless_transducer_is_not_exported(transducers, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(transducers))
    torch.save(build_model(transducers).state_dict(), tmp_path / "model.pth")
    with pytest.raises(UserError, match="no prediction network 'stateless'"):
        export_head(tmp_path, "meaning", tmp_path / "stock")
    assert not (tmp_path / "stock").exists()
    assert export_head(tmp_path, "surface", tmp_path / "stock").is_dir()
