"""Systems with task vectors, partially labelled batches, and gradients."""

import torch

from espnet_ext.model.build import build_model

MODES = ("per_task_sum", "per_combination")
WHERE = ("features", "encoder", "both")


def unlabel(made, name, rows):
    changed = dict(made)
    changed[f"text_{name}"] = made[f"text_{name}"].clone()
    changed[f"text_{name}"][rows] = torch.tensor([-2, -1, -1, -1])
    changed[f"text_{name}_lengths"] = made[f"text_{name}_lengths"].clone()
    changed[f"text_{name}_lengths"][rows] = 1
    return changed


def select(made, rows):
    return {key: value[rows] for key, value in made.items()}


def build(config, conditioning=None, seed=0, **model_conf):
    config = {**config, "model_conf": model_conf}
    if conditioning is not None:
        config |= {"conditioning": "vectors", "conditioning_conf": conditioning}
    torch.manual_seed(seed)
    return build_model(config).double().eval()


def gradients(model, made):
    model.zero_grad()
    loss, stats, _ = model(**made)
    loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in model.named_parameters()}, stats
