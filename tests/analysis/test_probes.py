"""Probes: closed forms, what memorising gives, and the whole way on a trained system."""

import shutil

import numpy as np
import pytest

from espnet_ext.analysis.computation.linear_probe import Task, common_classes, fit, probe


def labelled(seed, rows=600, width=12, classes=4):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    centres = np.eye(classes, width) * 3
    return centres[labels] + generator.standard_normal((rows, width)) + 5.0, labels


def task_of(labels, half, types=None, speakers=None):
    types = list(range(len(labels))) if types is None else types
    speakers = [f"s{i % 4}" for i in range(len(labels))] if speakers is None else speakers
    sides = (types[:half], types[half:])
    return Task(labels[:half], labels[half:], *sides, *sides, speakers[half:])


def test_classifier_is_weighted_least_squares():
    x, labels = labelled(1)
    x, labels = x[labels != 3], labels[labels != 3]
    keep = (labels != 2) | (np.arange(len(labels)) % 5 == 0)  # a rare class
    x, labels = x[keep], labels[keep]
    weights, offsets = fit(x, labels, 3)
    ridge = pytest.importorskip("sklearn.linear_model")
    share = 1.0 / np.bincount(labels)[labels]
    scale = np.sqrt(np.average((x - np.average(x, 0, share)) ** 2, 0, share))
    expected = ridge.Ridge(alpha=1e-2 * share.sum()).fit(x / scale, np.eye(3)[labels], share)
    assert x @ weights + offsets == pytest.approx(expected.predict(x / scale), abs=1e-9)


def test_probe_finds_linear_information_and_no_other():
    x, labels = labelled(2, rows=2000)
    there = probe(task_of(labels, 1000), x[:1000], x[1000:])
    assert there["accuracy"] > 90 and there["chance"] == 25.0
    low, high = there["interval"]
    assert low <= there["accuracy"] <= high
    assert there["control"] < 35 and there["selectivity"] == there["accuracy"] - there["control"]
    noise = np.random.default_rng(3).standard_normal(x.shape)
    assert probe(task_of(labels, 1000), noise[:1000], noise[1000:])["accuracy"] < 35


def test_control_task_shows_memorisation():
    """Rows that tell their type apart: any labels of the types can be learnt."""
    generator = np.random.default_rng(4)
    types = generator.integers(0, 10, 1000)
    x = np.eye(10)[types] + 0.05 * generator.standard_normal((1000, 10))
    result = probe(task_of(types % 2, 500, types.tolist()), x[:500], x[500:])
    assert result["accuracy"] > 99 and result["control"] > 99 and abs(result["selectivity"]) < 1


def test_accuracy_without_a_layer():
    """Contexts 0 and 1 are always class 0 and 1; context 2 is class 1 in one of four."""
    contexts = [0] * 40 + [1] * 10 + [2] * 40
    labels = np.array([0] * 40 + [1] * 10 + [1, 0, 0, 0] * 10)
    x = np.random.default_rng(7).standard_normal((90, 3))
    task = Task(labels, labels, labels, labels, contexts, contexts, ["a"] * 90)
    result = probe(task, x, x)
    # classes weigh 1/70 and 1/20: context 2 counts 30/70 against 10/20, so it is taken for class 1
    assert result["context"] == pytest.approx(100 * (40 / 70 + 1.0) / 2)
    bare = probe(task, x, x, with_control=False)
    assert bare["context"] is bare["control"] is bare["selectivity"] is None


def test_balanced_accuracy_is_the_mean_recall():
    metrics = pytest.importorskip("sklearn.metrics")
    x, labels = labelled(5)
    labels = np.where(labels == 3, 0, labels)
    weights, offsets = fit(x[:300], labels[:300], 3)
    predicted = (x[300:] @ weights + offsets).argmax(1)
    expected = metrics.balanced_accuracy_score(labels[300:], predicted)
    result = probe(task_of(labels, 300), x[:300], x[300:])
    assert result["accuracy"] == pytest.approx(100 * expected, abs=1e-9)


def test_one_speaker_and_constant_units():
    x, labels = labelled(6)
    x[:, 5] = 7.0
    result = probe(task_of(labels, 300, speakers=["s"] * 600), x[:300], x[300:])
    assert result["interval"] is None and np.isfinite(result["accuracy"])


def test_rare_classes_are_left_out():
    learnt, tested = ["a"] * 20 + ["b"] * 19 + ["c"] * 30, ["a"] * 5 + ["c"] * 4 + ["b"] * 9
    assert common_classes(learnt, tested, (20, 5)) == {"a": 0}
    assert common_classes(learnt, tested, (19, 4)) == {"a": 0, "b": 1, "c": 2}


torch = pytest.importorskip("torch")
pytest.importorskip("espnet2")

from espnet_ext.analysis import probes  # noqa: E402
from espnet_ext.analysis.computation import encoder_probes  # noqa: E402
from espnet_ext.bin import analyze  # noqa: E402
from espnet_ext.data.record import Utterance  # noqa: E402
from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.files import read_json  # noqa: E402


@pytest.mark.parametrize("frames", [3, 4, 9, 40])
def test_tokens_divide_all_frames(frames):
    for seed in range(20):
        generator = np.random.default_rng(seed)
        at = np.sort(generator.choice(frames, 3, replace=False))
        lengths = encoder_probes.token_lengths([(a, a + 1.0) for a in at], frames)
        assert sum(lengths) == frames and min(lengths) >= 1 and len(lengths) == 3


def test_deviating_tokens(trained):
    system = DualSpeech2Text.from_pretrained(str(trained.root / "exp"))
    texts = {"surface": "K AE T S", "canonical": "K AH T D AO"}
    utterance = Utterance("a-1", "a", "a.wav", texts)
    marks = encoder_probes.deviations(utterance, texts["surface"].split(), system, "surface")
    assert marks == [False, True, False, True]
    assert (
        encoder_probes.deviations(
            Utterance("a-1", "a", "a.wav", {"meaning": "a cat"}), ["K"], system, "surface"
        )
        == []
    )


def test_inline_tags_are_not_probed_as_tokens(trained):
    """A tag has frames of its own, but is not a surface token, and does not deviate."""
    system = DualSpeech2Text.from_pretrained(str(trained.root / "exp"))
    reader = encoder_probes._Reader({"a": system})
    size = system.model.encoder.output_size()
    frames = torch.arange(12.0)[:, None]
    surface = {"plain": "K AE T", "tagged": "K AE T <l1:Thai>"}
    for text in surface.values():
        texts = {"surface": text, "canonical": "K AE T"}
        examples = {"surface": encoder_probes.Examples(), "deviates": encoder_probes.Examples()}
        utterance = Utterance("a-1", "a", "a.wav", texts)
        reader._read_tokens(
            utterance, "surface", torch.zeros(12, size), {("a", "0"): frames}, examples
        )
        assert examples["surface"].labels == ["K", "AE", "T"]
        assert examples["deviates"].labels == [False, False, False]
        assert [len(rows) for rows in examples["surface"].layers["a", "0"]] == [3]
        # A token must not be predicted from itself
        assert examples["surface"].contexts == ["<s>", "K", "AE"]
        assert examples["deviates"].contexts == [("<s>", "K"), ("K", "AE"), ("AE", "T")]


def test_references_are_normalised_and_changes_are_counted(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_probes, "MIN_EXAMPLES", {"token": (2, 1), "utterance": (2, 1)})
    models = {"a": str(trained.root / "exp")}
    dump = trained.root / "dump"
    data = tmp_path / "valid"
    shutil.copytree(dump / "valid", data)
    text = (data / "text.surface").read_text()
    (data / "text.surface").write_text(text.replace("AE", "AE1"))
    plain, stressed = (
        encoder_probes.probe_encoders(models, folder, dump / "train")
        for folder in (dump / "valid", data)
    )
    assert plain["normalised"] == {}
    changed = sum("AE" in line for line in text.splitlines())
    assert stressed["normalised"] == {str(data / "text.surface"): changed}
    assert stressed["rows"] == plain["rows"] and stressed["tasks"] == plain["tasks"]


def test_command(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(encoder_probes, "MIN_EXAMPLES", {"token": (2, 1), "utterance": (2, 1)})
    dump, out = trained.root / "dump", tmp_path / "probes.json"
    arguments = ["--data", str(dump / "valid"), "--train", str(dump / "train")]
    folder = str(trained.root / "exp")
    assert (
        analyze.main(
            ["probes", "--models", f"a={folder}", f"b={folder}", *arguments, "--output", str(out)]
        )
        == 0
    )
    result = read_json(out)
    rows = {(r["task"], r["system"], r["layer"]): r for r in result["rows"]}
    assert {task for task, _, _ in rows} == {"surface"}  # meaning has no CTC there
    about = result["tasks"]["surface"]
    assert about["classes"] <= about["effective_test"] <= about["test"]
    for (task, _, layer), row in rows.items():
        assert row == {**rows[task, "a", layer], "system": row["system"]}
        assert 0 <= row["accuracy"] <= 100
    notes = " ".join(result["notes"])
    assert "tokens of meaning are not probed" in notes and "l1 is not probed" in notes
    again = [*arguments[:1], str(dump / "train"), *arguments[2:]]
    with pytest.raises(UserError, match="train0: also in"):
        analyze.main(
            ["probes", "--models", f"a={folder}", f"b={folder}", *again, "--output", str(out)]
        )
    assert "surface" in capsys.readouterr().out


def test_task_without_control_is_shown_without_it():
    row = {
        "task": "speaker",
        "system": "a",
        "layer": "0",
        "accuracy": 50.0,
        "interval": None,
        "control": None,
        "selectivity": None,
        "context": None,
        "chance": 4.2,
    }
    task = {"classes": 24, "train": 9, "test": 9, "aligned_by": None}
    section = probes.section({"tasks": {"speaker": task}, "rows": [row], "notes": []})
    table = section.tables[0]
    assert table.header == ["encoder of", "0"] and table.rows == [["a", "50.00"]]
    assert "chance 4.20 %" in table.caveats[0]


def probes_of(accuracies, interval, test, chance=100 / 3):
    rows = [
        {"task": "speaker", "system": system, "layer": layer, "accuracy": accuracy}
        | {"interval": interval, "control": None, "selectivity": None, "context": None}
        | {"chance": chance}
        for system in ("a", "b")
        for layer, accuracy in accuracies[system].items()
    ]
    task = {"classes": 3, "train": 15, "test": test, "aligned_by": None}
    return probes.section({"tasks": {"speaker": task}, "rows": rows, "notes": []})


def test_accuracy_of_few_utterances_is_not_above_chance():
    layers = {"0": 33.3, "1": 25.0, "2": 33.3}
    few = probes_of({"a": layers, "b": {**layers, "2": 200 / 3}}, [50.0, 100.0], 12)
    text = "Last layer, speaker: b 66.67 %, a 33.30 % (chance 33.33 %, 12 test examples)."
    assert few.findings == [] and few.notes == [f"{text} No layer is shown to be above chance."]
    many = probes_of({"a": {"0": 34.0}, "b": {"0": 60.0}}, [50.0, 70.0], 600)
    (finding,) = many.findings
    assert finding.endswith("600 test examples). Not shown to be above chance: a.")
    none = probes_of({"a": {"0": 34.0}, "b": {"0": 33.0}}, [30.0, 38.0], 600)
    assert none.findings[0].endswith("No layer is shown to be above chance.")
    chance = many.items[0].series["chance"]
    assert [point.y for point in chance] == [100 / 3]


def test_no_selectivity_is_memorisation_too():
    row = {"task": "surface", "system": "a", "layer": "0", "accuracy": 50.0, "interval": None}
    row |= {"control": 50.0, "selectivity": 0.0, "context": 10.0, "chance": 4.2}
    task = {"classes": 24, "train": 9, "test": 9, "aligned_by": None}
    section = probes.section({"tasks": {"surface": task}, "rows": [row], "notes": []})
    assert "Random labels are learned as well" in section.findings[0]
