"""The losses of a head: values, unlabelled rows, the normalisation by the batch size."""

import contextlib

import pytest
import torch

from espnet_ext.model.heads.registry import build_head
from espnet_ext.model.outputs import parse_outputs

SIZE = 16


def make(config, name="surface"):
    torch.manual_seed(0)
    output = parse_outputs(config)[name]
    head = build_head(name, output, output.token_list, SIZE, config)
    for part in head.parts.values():
        part.double().eval()
    return head


def losses(head, rows=slice(None), text=None):
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(3, 12, SIZE, generator=generator, dtype=torch.float64)
    text = torch.tensor([[2, 3, 4], [3, 2, -1], [4, -1, -1]]) if text is None else text
    text_lengths = torch.tensor([3, 2, 1])
    return head.losses(
        states[rows],
        torch.tensor([12, 12, 12])[rows],
        text[rows],
        text_lengths[rows],
        contextlib.nullcontext(),
    )


def test_attention_loss_equals_a_computation_by_hand(config):
    config["model_conf"] = {"lsm_weight": 0.0}
    head = make(config)
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(3, 12, SIZE, generator=generator, dtype=torch.float64)
    text = torch.tensor([[2, 3, 4], [3, 2, -1], [4, -1, -1]])
    logits, target = head.teacher_forced(
        states, torch.tensor([12, 12, 12]), text, torch.tensor([3, 2, 1])
    )
    assert logits.shape == (3, 4, len(head.tokens))
    eos = head.eos
    assert target.tolist() == [[2, 3, 4, eos], [3, 2, eos, -1], [4, eos, -1, -1]]
    chosen = logits.log_softmax(-1).gather(-1, target.clamp(min=0)[..., None])[..., 0]
    by_hand = -(chosen * (target != -1)).sum() / 3
    head_losses = losses(head)
    assert float(head_losses.terms["att"].detach()) == pytest.approx(
        float(by_hand.detach()), rel=1e-9
    )
    right = ((logits.argmax(-1) == target) & (target != -1)).sum()
    assert [int(count) for count in head_losses.ratios["acc"]] == [int(right), 9]


def test_loss_is_the_sum_over_labelled_rows_divided_by_the_batch_size(config):
    head = make(config)
    text = torch.tensor([[2, 3, 4], [-2, -1, -1], [4, -1, -1]])
    head_losses = losses(head, text=text)
    first, last = losses(head, slice(0, 1)), losses(head, slice(2, 3))
    for kind in ("ctc", "att"):
        expected = (first.terms[kind] + last.terms[kind]) / 3
        assert float(head_losses.terms[kind].detach()) == pytest.approx(float(expected.detach()))
    assert int(head_losses.labelled) == 2
    assert int(head_losses.ratios["acc"][1]) == 6  # two tokens fewer, and one eos


def test_every_parameter_has_a_zero_gradient_without_labels(config):
    head = make(config)
    head_losses = losses(head, text=torch.full((3, 1), -2))
    (head_losses.terms["ctc"] + head_losses.terms["att"]).backward()
    for part in head.parts.values():
        for parameter in part.parameters():
            assert parameter.grad is not None
            assert not parameter.grad.any()
    assert (int(head_losses.labelled), int(head_losses.ratios["acc"][1])) == (0, 0)


def test_head_has_the_modules_of_its_kind(config):
    assert set(make(config, "surface").parts) == {"decoder", "ctc"}
    meaning = make(config, "meaning")
    assert set(meaning.parts) == {"decoder"}
    assert set(losses(meaning).terms) == {"att"}


def test_options_of_an_output_override_the_shared_ones(config):
    config["outputs"]["meaning"]["decoder_conf"] = {"num_blocks": 3}
    assert len(make(config, "meaning").parts["decoder"].decoders) == 3
    assert len(make(config, "surface").parts["decoder"].decoders) == 1
    config["outputs"]["surface"]["lsm_weight"] = 0.25
    config["model_conf"] = {"lsm_weight": 0.1}

    def smoothing(name):
        (attention,) = (c for c in make(config, name).criteria if c.term == "att")
        return attention.loss.smoothing

    assert smoothing("surface") == 0.25
    assert smoothing("meaning") == 0.1
