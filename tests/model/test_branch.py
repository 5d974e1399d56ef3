"""One output's losses: shapes, unlabelled rows, what is summed over what."""

import contextlib

import pytest
import torch

from espnet_ext.model.branch import Branch
from espnet_ext.model.config import parse_outputs

SIZE = 16


def make(config, name="surface"):
    torch.manual_seed(0)
    output = parse_outputs(config)[name]
    branch = Branch(name, output, output.token_list, SIZE, config)
    for part in branch.parts.values():
        part.double().eval()
    return branch


def losses(branch, rows=slice(None), text=None):
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(3, 12, SIZE, generator=generator, dtype=torch.float64)
    text = torch.tensor([[2, 3, 4], [3, 2, -1], [4, -1, -1]]) if text is None else text
    text_lengths = torch.tensor([3, 2, 1])
    return branch.losses(
        states[rows],
        torch.tensor([12, 12, 12])[rows],
        text[rows],
        text_lengths[rows],
        contextlib.nullcontext(),
    )


def test_attention_loss_by_hand(config):
    config["model_conf"] = {"lsm_weight": 0.0}
    branch = make(config)
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(3, 12, SIZE, generator=generator, dtype=torch.float64)
    text = torch.tensor([[2, 3, 4], [3, 2, -1], [4, -1, -1]])
    logits, target = branch.teacher_forced(
        states, torch.tensor([12, 12, 12]), text, torch.tensor([3, 2, 1])
    )
    assert logits.shape == (3, 4, len(branch.tokens))
    eos = branch.eos
    assert target.tolist() == [[2, 3, 4, eos], [3, 2, eos, -1], [4, eos, -1, -1]]
    chosen = logits.log_softmax(-1).gather(-1, target.clamp(min=0)[..., None])[..., 0]
    by_hand = -(chosen * (target != -1)).sum() / 3
    found = losses(branch)
    assert float(found.attention.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-9)
    right = ((logits.argmax(-1) == target) & (target != -1)).sum()
    assert (int(found.correct), int(found.tokens)) == (int(right), 9)


def test_unlabelled_row_leaves_the_others_sum_over_the_batch(config):
    branch = make(config)
    text = torch.tensor([[2, 3, 4], [-2, -1, -1], [4, -1, -1]])
    found = losses(branch, text=text)
    first, last = losses(branch, slice(0, 1)), losses(branch, slice(2, 3))
    for kind in ("ctc", "attention"):
        expected = (getattr(first, kind) + getattr(last, kind)) / 3
        assert float(getattr(found, kind).detach()) == pytest.approx(float(expected.detach()))
    assert int(found.labelled) == 2
    assert int(found.tokens) == 6  # two tokens fewer, and one eos


def test_no_label_at_all_still_reaches_every_parameter(config):
    branch = make(config)
    found = losses(branch, text=torch.full((3, 1), -2))
    (found.ctc + found.attention).backward()
    for part in branch.parts.values():
        for parameter in part.parameters():
            assert parameter.grad is not None
            assert not parameter.grad.any()
    assert (int(found.labelled), int(found.tokens)) == (0, 0)


def test_branch_has_the_parts_that_it_names(config):
    assert set(make(config, "surface").parts) == {"decoder", "ctc"}
    meaning = make(config, "meaning")
    assert set(meaning.parts) == {"decoder"}
    assert losses(meaning).ctc is None


def test_own_configuration_goes_over_the_shared_one(config):
    config["outputs"]["meaning"]["decoder_conf"] = {"num_blocks": 3}
    assert len(make(config, "meaning").parts["decoder"].decoders) == 3
    assert len(make(config, "surface").parts["decoder"].decoders) == 1
    config["outputs"]["surface"]["lsm_weight"] = 0.25
    config["model_conf"] = {"lsm_weight": 0.1}
    assert make(config, "surface").criterion.smoothing == 0.25
    assert make(config, "meaning").criterion.smoothing == 0.1
