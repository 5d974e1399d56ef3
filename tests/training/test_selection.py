"""Best epochs and averaged weights: ESPnet's, except for epochs and files with faults."""

import math

import pytest
import small_models
import torch
from espnet2.main_funcs.average_nbest_models import average_nbest_models
from espnet2.train.reporter import Reporter

from espnet_ext.errors import UserError
from espnet_ext.training.selection import FiniteReporter, average_best_epochs

ACC = [["valid", "acc", "max"]]


def reporter(kind, values):
    made = kind()
    made.stats = {e: {"valid": {"acc": v, "loss": -v}} for e, v in enumerate(values, 1)}
    made.set_epoch(len(values))
    return made


def write_epochs(folder, count):
    torch.manual_seed(0)
    for epoch in range(1, count + 1):
        state = {"weight": torch.randn(3, 4), "batches": torch.tensor(epoch)}
        torch.save(state, folder / f"{epoch}epoch.pth")


@pytest.mark.parametrize("nbest", [1, 2, 3, 9, [1, 3]])
def test_averages_are_those_of_espnet(tmp_path, nbest):
    values = [0.1, 0.5, 0.3, 0.5]
    criteria = [*ACC, ["valid", "loss", "min"]]
    folders = []
    for kind, average in (
        (Reporter, average_nbest_models),
        (FiniteReporter, average_best_epochs),
    ):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        write_epochs(folder, 4)
        average(
            output_dir=folder,
            reporter=reporter(kind, values),
            best_model_criterion=criteria,
            nbest=nbest,
        )
        folders.append(folder)
    stock, ours = folders
    assert sorted(p.name for p in stock.iterdir()) == sorted(p.name for p in ours.iterdir())
    for path in stock.iterdir():
        assert path.resolve().name == (ours / path.name).resolve().name
        expected, state = (torch.load(f, weights_only=True) for f in (path, ours / path.name))
        assert all(torch.equal(expected[key], state[key]) for key in expected)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_epochs_without_finite_result_are_last(mode):
    ranked = reporter(FiniteReporter, [math.nan, 0.2, math.inf, 0.4]).sort_epochs(
        "valid", "acc", mode
    )
    assert ranked[:2] == ([2, 4] if mode == "min" else [4, 2])
    assert sorted(ranked[2:]) == [1, 3]


def test_epochs_without_finite_result_are_not_averaged(tmp_path):
    write_epochs(tmp_path, 3)
    values = [0.1, math.nan, 0.3]
    average_best_epochs(tmp_path, reporter(FiniteReporter, values), ACC, 3)
    assert (tmp_path / "valid.acc.ave.pth").resolve().name == "3epoch.pth"
    average_best_epochs(tmp_path, reporter(FiniteReporter, values), ACC, 2)
    first, third = (torch.load(tmp_path / f"{e}epoch.pth", weights_only=True) for e in (1, 3))
    average = torch.load(tmp_path / "valid.acc.ave_2best.pth", weights_only=True)
    assert torch.equal(average["weight"], (third["weight"] + first["weight"]) / 2)


def test_missing_epoch_is_left_out_with_a_warning(tmp_path, capsys):
    write_epochs(tmp_path, 4)
    (tmp_path / "3epoch.pth").unlink()
    average_best_epochs(tmp_path, reporter(FiniteReporter, [0.1, 0.2, 0.3, 0.4]), ACC, 3)
    assert (tmp_path / "valid.acc.ave.pth").resolve().name == "valid.acc.ave_2best.pth"
    assert (
        "3epoch.pth of the best epochs by valid.acc is missing, so the average is over 2 epochs"
        in capsys.readouterr().err
    )


def test_truncated_epoch_raises_user_error(tmp_path):
    write_epochs(tmp_path, 2)
    path = tmp_path / "1epoch.pth"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="1epoch.pth: not readable weights") as caught:
        average_best_epochs(tmp_path, reporter(FiniteReporter, [0.1, 0.2]), ACC, 2)
    assert caught.value.remedy == "remove the file and run again, to average the other epochs"


def test_statistics_of_a_batch_are_those_of_espnet_and_read_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    stats = {
        "loss": torch.rand((), generator=generator) / 3,
        "acc": torch.rand(1, generator=generator, dtype=torch.float64),
        "labelled": torch.tensor(3),
        "nothing": torch.tensor(math.nan),
        "half": torch.tensor(0.1, dtype=torch.bfloat16),
        "rate": 0.1,
    }
    calls = []
    for name in ("item", "tolist"):
        original = getattr(torch.Tensor, name)

        def count(tensor, original=original):
            calls.append(1)
            return original(tensor)

        monkeypatch.setattr(torch.Tensor, name, count)
    reports, reads = [], []
    for kind in (Reporter, FiniteReporter):
        calls.clear()
        with (made := kind()).observe("train", epoch=1) as epoch:
            epoch.register(stats, torch.tensor(4))
            reads.append(len(calls))
            values = {key: (v[0].value, v[0].weight) for key, v in epoch.stats.items()}
            reports.append((values, {key: type(v[0].value) for key, v in epoch.stats.items()}))
            epoch.next()
        assert made.stats[1]["train"]["acc"] == stats["acc"].double().item()
    assert repr(reports[0]) == repr(reports[1])
    assert reads == [11, 3]  # ESPnet: 5 tensors, and the weight 6 times. Here, `labelled` too


@pytest.fixture(scope="module")
def two_outputs():
    outputs = {name: small_models.OUTPUTS[name] for name in ("surface", "meaning")}
    return small_models.make(outputs).double().eval()


def batch_of(labelled, lengths, generator):
    """Return a batch whose first `labelled` utterances have a surface; all have a meaning."""
    rows = len(lengths)
    batch = {
        "speech": torch.randn(rows, 4000, generator=generator, dtype=torch.float64),
        "speech_lengths": torch.full((rows,), 4000),
    }
    for name in ("surface", "meaning"):
        text = torch.randint(2, 6, (rows, max(lengths)), generator=generator)
        for row, length in enumerate(lengths):
            text[row, length:] = -1
        batch[f"text_{name}"] = text
        batch[f"text_{name}_lengths"] = torch.tensor(lengths)
    batch["text_surface"][labelled:] = -1
    batch["text_surface"][labelled:, 0] = -2  # not labelled
    batch["text_surface_lengths"][labelled:] = 1
    return batch


def observed(reporter, model, batches):
    reporter.counted_by = model.counted_by
    with reporter.observe("valid", 1) as epoch, torch.no_grad():
        for batch in batches:
            _, stats, weight = model(**batch)
            epoch.register(stats, weight)
            epoch.next()
    return reporter.stats[1]["valid"]


def test_means_of_an_output_are_over_its_labelled_utterances(two_outputs):
    """One of five and four of four utterances have a surface; ESPnet's weights are 5 and 4."""
    generator = torch.Generator().manual_seed(3)
    batches = [batch_of(1, [2, 3, 2, 1, 3], generator), batch_of(4, [6, 5, 6, 4], generator)]
    means = observed(FiniteReporter(), two_outputs, batches)
    single = [
        {key: value[row : row + 1] for key, value in batch.items()}
        for batch in batches
        for row in range(len(batch["speech"]))
    ]
    with torch.no_grad():
        alone = [two_outputs(**batch)[1] for batch in single]
    for name in ("surface", "meaning"):
        for key in (f"loss_att_{name}", *(["loss_ctc_surface"] if name == "surface" else [])):
            losses = [float(stats[key]) for stats in alone if stats[f"labelled_{name}"]]
            assert len(losses) == (5 if name == "surface" else 9)
            assert means[key] == pytest.approx(sum(losses) / len(losses), rel=1e-9), key
    of_batch = [two_outputs(**batch)[1] for batch in batches]
    expected = sum(float(s["acc_surface"]) * n for s, n in zip(of_batch, (1, 4), strict=True)) / 5
    assert means["acc_surface"] == pytest.approx(expected)
    assert means["acc"] == pytest.approx((means["acc_surface"] + means["acc_meaning"]) / 2)


def test_means_with_all_labels_are_those_of_espnet(two_outputs):
    generator = torch.Generator().manual_seed(3)
    batches = [batch_of(5, [2, 3, 2, 1, 3], generator), batch_of(4, [6, 5, 6, 4], generator)]
    ours, stock = (observed(kind(), two_outputs, batches) for kind in (FiniteReporter, Reporter))
    del ours["time"], stock["time"]
    assert ours.keys() == stock.keys()
    assert ours.pop("acc") == pytest.approx(stock.pop("acc"), rel=1e-14)
    assert ours == stock


def test_excluded_epoch_stays_excluded(two_outputs):
    reporter = FiniteReporter()
    reporter.counted_by = two_outputs.counted_by
    with reporter.observe("valid", 1) as epoch:
        epoch.register({"acc": math.nan, "acc_surface": 0.5, "labelled_surface": 2.0}, 2)
        epoch.next()
    assert math.isnan(reporter.stats[1]["valid"]["acc"])
