"""Two gloo processes with disjoint labels train as one process with all of them."""

import pytest
import torch
import two_processes

SYSTEM = "dual"
LABELLED = {"lsm_weight": 0.1, "divide_by": "labelled"}
TRANSDUCER = {
    "branch": "transducer",
    "transducer_weight": 0.5,
    "ctc_weight": 0.2,
    "prediction": "lstm",
    "prediction_conf": {"hidden_size": 12},
}
FURTHER = {
    "plain": {},
    "divided by labelled rows": {"model_conf": LABELLED},
    "task vectors": {
        "model_conf": LABELLED,
        "conditioning": "vectors",
        "conditioning_conf": {"mode": "per_combination", "where": "both", "init_std": 0.5},
    },
    "sums of task vectors": {
        "conditioning": "vectors",
        "conditioning_conf": {"mode": "per_task_sum", "where": "both", "init_std": 0.5},
    },
    "transducer": {"model_conf": LABELLED, "surface": TRANSDUCER},
}


def _rows(kind: str, text: torch.Tensor, lengths: torch.Tensor, rank: int):
    """Rank 0 knows only surfaces, rank 1 only meanings."""
    owner = {"surface": 0, "meaning": 1}[kind]
    if owner == rank:
        return text, lengths
    return torch.full((len(text), 1), -2), torch.ones(len(text), dtype=torch.long)


def _batch(rank: int):
    """Two utterances of rank 0, three of rank 1."""
    rows = 2 + rank
    generator = torch.Generator().manual_seed(10 + rank)
    speech = torch.randn(rows, 16000, generator=generator)
    text = torch.randint(2, 7, (rows, 5), generator=generator)
    lengths = torch.full((rows,), 5)
    batch = {"speech": speech, "speech_lengths": torch.full((rows,), 16000)}
    for kind in ("surface", "meaning"):
        labels, label_lengths = _rows(kind, text, lengths, rank)
        batch[f"text_{kind}"], batch[f"text_{kind}_lengths"] = labels, label_lengths
    return batch


def _union():
    parts = [_batch(0), _batch(1)]
    union = {
        "speech": torch.cat([p["speech"] for p in parts]),
        "speech_lengths": torch.cat([p["speech_lengths"] for p in parts]),
    }
    for kind in ("surface", "meaning"):
        key = f"text_{kind}"
        rows = [row for p in parts for row in p[key]]
        union[key] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        union[f"{key}_lengths"] = torch.cat([p[f"{key}_lengths"] for p in parts])
    return union


def _worker(rank: int, config: dict, state: dict) -> tuple[dict, dict]:
    from espnet_ext.model.build import build_model

    model = build_model(config)
    model.load_state_dict(state)
    model.double().eval()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    batch = _batch(rank)
    batch["speech"] = batch["speech"].double()
    loss, stats, weight = parallel(**batch)
    # What ESPnet's Trainer does with them (train_one_epoch): weighted mean over the ranks.
    loss = (loss * weight.type(loss.dtype)).sum()
    from espnet2.torch_utils.recursive_op import recursive_average

    stats, weight = recursive_average(stats, weight, True)
    loss = loss / weight * torch.distributed.get_world_size()
    loss.backward()
    gradients = {k: p.grad.numpy().copy() for k, p in model.named_parameters()}
    return gradients, {k: float(v) for k, v in stats.items()}


@pytest.mark.parametrize("further", FURTHER)
def test_two_processes_with_disjoint_labels_equal_one(make_system, further):
    _, config, _ = make_system(SYSTEM)
    from espnet_ext.model.build import build_model

    changes = dict(FURTHER[further])
    if "surface" in changes:
        kept = {key: config["outputs"]["surface"][key] for key in ("token_type", "token_list")}
        changes["outputs"] = {**config["outputs"], "surface": changes.pop("surface") | kept}
    config = {**config, **changes}
    torch.manual_seed(0)
    model = build_model(config).double().eval()
    union = _union()
    union["speech"] = union["speech"].double()
    loss, stats, _ = model(**union)
    loss.backward()

    state = {k: v.float() for k, v in model.state_dict().items()}
    results = two_processes.run(_worker, config, state)

    assert all(p.grad.any() for n, p in model.named_parameters() if "_joint." in n)
    if "sums" in further:
        assert model.conditioning.features.grad.any(1).all()
    for name, parameter in model.named_parameters():
        for rank in (0, 1):
            difference = abs(results[rank][0][name] - parameter.grad.numpy()).max()
            assert float(difference) < 1e-6, (rank, name)
    for rank in (0, 1):
        assert results[rank][1].keys() == stats.keys()
        for key in stats:
            if key.startswith("labelled_"):
                continue
            assert results[rank][1][key] == pytest.approx(float(stats[key]), abs=1e-6), key
