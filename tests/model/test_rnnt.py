"""The transducer loss against the sum over all paths, and against two other libraries."""

import itertools

import pytest
import torch

from espnet_ext.model import espnet
from espnet_ext.model.rnnt import joint_loss, lattice_loss, rnnt_loss

FRAMES, LABELS = (
    torch.tensor([5, 3, 1, 2]),
    torch.tensor([3, 0, 2, 3]),
)  # one has more labels than frames


def problem(vocabulary=6, frames=FRAMES, labels=LABELS, dtype=torch.double, seed=0):
    random = torch.Generator().manual_seed(seed)
    shape = (len(frames), int(frames.max()), int(labels.max()) + 1, vocabulary)
    logits = 2 * torch.randn(shape, generator=random, dtype=dtype)
    targets = torch.randint(1, vocabulary, (shape[0], shape[2] - 1), generator=random)
    return logits, targets


def by_every_path(logits, targets, frames, labels):
    """Return the loss by Graves' equation 1: a sum over alignments, each a product of its steps."""
    losses = []
    for row, (num_frames, num_labels) in enumerate(
        zip(frames.tolist(), labels.tolist(), strict=True)
    ):
        probabilities = logits[row].softmax(-1)
        total = 0
        for counts in itertools.product(range(num_labels + 1), repeat=num_frames - 1):
            # labels before the blank of each frame; before the last blank, all of them
            labels_before = [*counts, num_labels]
            if any(a > b for a, b in itertools.pairwise(labels_before)):
                continue
            product, u = 1, 0
            for t, target in enumerate(labels_before):
                for step in range(u, target):
                    product = product * probabilities[t, step, targets[row, step]]
                u = target
                product = product * probabilities[t, u, 0]
            total = total + product
        losses.append(-total.log())
    return torch.stack(losses)


def gradients(loss, *tensors):
    weights = torch.arange(1.0, len(loss) + 1).to(
        loss
    )  # a different upstream gradient per utterance
    return torch.autograd.grad((loss * weights).sum(), tensors)


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_gradients_equal_the_sum_over_all_paths(seed):
    logits, targets = problem(seed=seed)
    logits.requires_grad_()
    ours = rnnt_loss(logits, targets, FRAMES, LABELS)
    oracle = by_every_path(logits, targets, FRAMES, LABELS)
    torch.testing.assert_close(ours, oracle, rtol=1e-12, atol=1e-12)
    (ours_grad,), (oracle_grad,) = gradients(ours, logits), gradients(oracle, logits)
    torch.testing.assert_close(ours_grad, oracle_grad, rtol=1e-10, atol=1e-12)


def test_gradcheck():
    logits, targets = problem()
    assert torch.autograd.gradcheck(
        lambda x: rnnt_loss(x, targets, FRAMES, LABELS), logits.requires_grad_()
    )


def longer():
    frames, labels = torch.tensor([60, 41, 7]), torch.tensor([20, 25, 9])
    logits, targets = problem(30, frames, labels, torch.float32, 3)
    return logits.requires_grad_(), targets, frames, labels


def test_loss_and_gradients_equal_those_of_torchaudio():
    functional = pytest.importorskip("torchaudio.functional")
    if not hasattr(functional, "rnnt_loss"):
        pytest.skip("this torchaudio has no rnnt_loss")
    logits, targets, frames, labels = longer()
    peer = functional.rnnt_loss(
        logits, targets.int(), frames.int(), labels.int(), blank=0, reduction="none"
    )
    ours = rnnt_loss(logits, targets, frames, labels)
    torch.testing.assert_close(ours.float(), peer, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        gradients(ours, logits), gradients(peer, logits), rtol=1e-3, atol=1e-4
    )


def test_loss_and_gradients_equal_those_of_espnet():
    module = pytest.importorskip("espnet2.asr.transducer.rnnt_multi_blank.rnnt_multi_blank")
    logits, targets, frames, labels = longer()
    # It ignores labels beyond the length, but they must be valid.
    criterion = module.RNNTLossNumba(blank=0, reduction="none")
    peer = criterion(logits, targets.int(), frames.int(), labels.int()).flatten()
    ours = rnnt_loss(logits, targets, frames, labels)
    torch.testing.assert_close(ours.float(), peer, rtol=1e-5, atol=1e-4)
    # It ignores the upstream gradient and assumes 1.
    ours_grad = torch.autograd.grad(ours.sum(), logits)
    peer_grad = torch.autograd.grad(peer.sum(), logits)
    torch.testing.assert_close(ours_grad, peer_grad, rtol=1e-3, atol=1e-4)


def joint_problem(dtype=torch.double):
    torch.manual_seed(0)
    joint = espnet.load("JointNetwork")(7, 5, 5, 6).to(dtype)
    encoder_out = torch.randn(4, 5, 6, dtype=dtype, requires_grad=True)
    prediction_out = torch.randn(4, 4, 6, dtype=dtype, requires_grad=True)
    targets = torch.randint(1, 7, (4, 3))

    def logits(one, other):
        return joint(one, other, no_projection=True)

    return joint, logits, encoder_out, prediction_out, targets


@pytest.mark.parametrize("max_kept", [0, 10**9])
@pytest.mark.parametrize("max_chunk", [1, 60, 200, 10**9])
def test_chunked_loss_equals_the_whole(max_kept, max_chunk):
    joint, logits, encoder_out, prediction_out, targets = joint_problem()
    tensors = (encoder_out, prediction_out, *joint.lin_out.parameters())
    whole = rnnt_loss(
        logits(encoder_out[:, :, None], prediction_out[:, None]), targets, FRAMES, LABELS
    )
    chunked = joint_loss(
        logits, 7, encoder_out, prediction_out, targets, FRAMES, LABELS, max_kept, max_chunk
    )
    torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients(chunked, *tensors), gradients(whole, *tensors))


def test_chunks_have_the_maximum_size():
    _, logits, encoder_out, prediction_out, targets = joint_problem()
    sizes = []

    def observed(one, other):
        out = logits(one, other)
        sizes.append(out.shape[1] * out.shape[2])
        return out

    joint_loss(
        observed, 7, encoder_out, prediction_out, targets, FRAMES, LABELS, 0, 4 * 2 * (6 + 7)
    ).sum().backward()
    assert max(sizes) <= 4 * 2
    assert sum(sizes) == 2 * sum(t * (u + 1) for t, u in zip(FRAMES, LABELS, strict=True))


def test_padding_has_no_influence():
    logits, targets = problem()
    before = rnnt_loss(logits, targets, FRAMES, LABELS)
    for row, (t, u) in enumerate(zip(FRAMES.tolist(), LABELS.tolist(), strict=True)):
        logits[row, t:] = torch.nan
        logits[row, :, u + 1 :] = torch.nan
        targets[row, u:] = -1
    logits.requires_grad_()
    after = rnnt_loss(logits, targets, FRAMES, LABELS)
    torch.testing.assert_close(after, before)
    blank, label = (torch.full((1, 4, 3), -1.0, requires_grad=True) for _ in range(2))
    lattice_loss(blank, label, torch.tensor([2]), torch.tensor([1])).sum().backward()
    assert not blank.grad[0, 2:].any() and not blank.grad[0, :, 2:].any()
    assert not label.grad[0, :, 1:].any()


def test_empty_text_is_a_path_of_blanks():
    logits, _ = problem()
    loss = rnnt_loss(logits[:1, :, :1], torch.zeros(1, 0), FRAMES[:1], torch.tensor([0]))
    assert float(loss) == pytest.approx(-float(logits[0, :, 0].log_softmax(-1)[:, 0].sum()))


def test_nan_does_not_spread_to_other_utterances():
    logits, targets = problem()
    logits[1, 1, 0, 2] = torch.nan
    logits.requires_grad_()
    loss = rnnt_loss(logits, targets, FRAMES, LABELS)
    assert loss.isnan().tolist() == [False, True, False, False]
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient[1].isnan().any() and gradient[[0, 2, 3]].isfinite().all()


def test_impossible_label_gives_an_infinite_loss_as_in_other_libraries():
    """Utterance 0 has no possible path; utterance 1 has paths around the impossible node."""
    functional = pytest.importorskip("torchaudio.functional")
    numba = pytest.importorskip("espnet2.asr.transducer.rnnt_multi_blank.rnnt_multi_blank")
    frames, labels = torch.tensor([4, 3]), torch.tensor([2, 2])
    logits, _ = problem(5, frames, labels, torch.float32)
    targets = torch.tensor([[1, 2], [3, 1]])
    logits[0, ..., 2] = -torch.inf
    logits[1, 1, 0, 3] = -torch.inf
    logits.requires_grad_()
    integers = targets.int(), frames.int(), labels.int()
    peers = [numba.RNNTLossNumba(blank=0, reduction="none")(logits, *integers).flatten()]
    if hasattr(functional, "rnnt_loss"):
        peers.append(functional.rnnt_loss(logits, *integers, blank=0, reduction="none"))
    ours = rnnt_loss(logits, targets, frames, labels)
    assert ours[0] == torch.inf and ours[1].isfinite()
    (ours_grad,) = torch.autograd.grad(ours.sum(), logits)
    assert ours_grad[0].isnan().any() and ours_grad[1].isfinite().all()
    for peer in peers:
        assert not peer[0].isfinite()
        (peer_grad,) = torch.autograd.grad(peer.sum(), logits)
        assert peer_grad[0].isnan().any()
        torch.testing.assert_close(ours[1].float(), peer[1], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours_grad[1], peer_grad[1], rtol=1e-3, atol=1e-4)


def test_loss_of_long_lattices_is_finite():
    frames, labels = torch.tensor([400]), torch.tensor([150])
    logits, targets = problem(5, frames, labels, torch.float32)
    logits = (30 * logits).requires_grad_()
    loss = rnnt_loss(logits, targets, frames, labels)
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.double, torch.float32])
def test_gpu_gives_the_same_loss_and_gradients(dtype):
    logits, targets, frames, labels = longer()
    results = []
    for device in ("cpu", "cuda"):
        inputs = logits.detach().to(device, dtype).requires_grad_()
        loss = rnnt_loss(inputs, targets.to(device), frames.to(device), labels.to(device))
        assert loss.device.type == device and loss.dtype == torch.double
        results.append((loss.cpu(), gradients(loss, inputs)[0].cpu()))
    rtol, atol = (1e-9, 1e-11) if dtype == torch.double else (1e-4, 1e-4)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


@pytest.mark.gpu
@pytest.mark.parametrize("max_kept", [0, 10**9])
def test_gpu_gives_the_same_chunked_loss(max_kept):
    joint, logits, encoder_out, prediction_out, targets = joint_problem()
    results = []
    for device in ("cpu", "cuda"):
        joint.to(device)
        one, other = (x.detach().to(device).requires_grad_() for x in (encoder_out, prediction_out))
        loss = joint_loss(
            logits,
            7,
            one,
            other,
            targets.to(device),
            FRAMES.to(device),
            LABELS.to(device),
            max_kept,
            60,
        )
        grads = gradients(loss, one, other, *joint.lin_out.parameters())
        results.append([loss.detach().cpu(), *(gradient.cpu() for gradient in grads)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
