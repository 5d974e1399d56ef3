"""Two gloo processes with different batches and labels train as one process with all of them."""

import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import two_processes  # noqa: E402
from test_gradient_methods import ALL_OBJECTIVES, model_with  # noqa: E402
from toy_model import batch, gradients  # noqa: E402

UPDATES = 2


def parts():
    """Return two batches: the second has more rows, and no labels for the second output."""
    inputs, targets = batch(7)
    targets[3:, 1] = torch.nan
    return [(inputs[:3], targets[:3]), (inputs[3:], targets[3:])]


def train(model, call, inputs, targets):
    """Return gradients and state after some updates, with the losses as in ESPnet's Trainer."""
    for update in range(UPDATES):
        model.zero_grad()
        if update == 1:
            model.objective.begin_epoch()
        loss, _, weight = call(inputs, targets)
        if torch.distributed.is_initialized():
            total = weight.clone()
            torch.distributed.all_reduce(total)
            loss = loss * weight / total * torch.distributed.get_world_size()
        loss.backward()
    return gradients(model), {k: v.clone() for k, v in model.objective.state_dict().items()}


def _worker(rank):
    results = {}
    for name, conf in ALL_OBJECTIVES.items():
        model = model_with(name, **conf)
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        result = train(model, parallel, *parts()[rank])
        results[name] = [{k: v.tolist() for k, v in part.items()} for part in result]
    return results


def test_two_processes_equal_one_with_the_joint_batch():
    results = two_processes.run(_worker)
    inputs, targets = (torch.cat(pair) for pair in zip(*parts(), strict=True))
    for name, conf in ALL_OBJECTIVES.items():
        model = model_with(name, **conf)
        expected = train(model, model, inputs, targets)
        for rank in (0, 1):
            for result, required in zip(results[rank][name], expected, strict=True):
                assert result.keys() == required.keys()
                for key, value in required.items():
                    torch.testing.assert_close(
                        torch.tensor(result[key], dtype=value.dtype),
                        value,
                        rtol=0,
                        atol=1e-9,
                        equal_nan=True,
                        msg=f"{name}: {key}, rank {rank}",
                    )
