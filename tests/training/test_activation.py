"""Training and decoding with partially labelled sets, inline tags and more than two outputs."""

import json
import shutil

import numpy as np
import pytest
import tiny_recipe
import torch
import yaml
from rapidfuzz.distance import Levenshtein

from espnet_ext.analysis.computation import task_vectors
from espnet_ext.analysis.computation.task_vectors import inspect_vectors
from espnet_ext.bin import decode
from espnet_ext.data.table import read_table, write_table
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.model.export import export_head
from espnet_ext.model.load import load_model
from espnet_ext.training.activation import add_label_sets, count_label_sets, partly_tagged
from espnet_ext.training.schedule import matching_batches

VECTORS = {"conditioning": "vectors"}


def test_third_output_needs_only_a_config_entry_and_a_text_file(tmp_path):
    kinds = {"surface": "phone", "meaning": "char", "l1": "label"}
    recipe = tiny_recipe.make(tmp_path, kinds, further={"l1": ["Hindi", None, "Mandarin Chinese"]})
    outputs = {**tiny_recipe.OUTPUTS, "l1": {"branch": "attention", "attention_weight": 0.2}}
    folder = recipe.train(config=VECTORS, outputs=outputs)
    model, config = load_model(folder)
    assert model.heads["l1"].tokens == [
        "<blank>",
        "<unk>",
        "Hindi",
        "Mandarin_Chinese",
        "<sos/eos>",
    ]
    assert model.conditioning.features.shape == (3, 16)
    trained = [tuple(names) for names in config["conditioning_conf"]["trained"]]
    assert ("surface", "meaning", "l1") in trained and ("surface", "meaning") in trained
    data, out = recipe.root / "dump/valid", tmp_path / "out"
    assert (
        decode.main(
            [
                "--model_dir",
                str(folder),
                "--data",
                str(data),
                "--output_dir",
                str(out),
                "--greedy",
                "true",
            ]
        )
        == 0
    )
    for name in kinds:
        assert (
            read_table(out / f"text.{name}", empty_ok=True).keys()
            == read_table(data / "wav.scp").keys()
        )


def test_label_sets_of_training_are_written_to_the_configuration(tmp_path):
    recipe = tiny_recipe.make(tmp_path)
    sets = count_label_sets(recipe.root / "dump/train", ["surface", "meaning"])
    assert sets == {("surface", "meaning"): 6, ("surface",): 1, ("meaning",): 1}
    plain = add_label_sets({"outputs": {}}, sets)
    assert "conditioning_conf" not in plain
    both = {("surface", "meaning"): 3, (): 1}
    trained = add_label_sets(VECTORS, both)["conditioning_conf"]["trained"]
    assert trained == [["surface", "meaning"]]
    dropped = {**VECTORS, "conditioning_conf": {"drop_tasks": 0.1}}
    trained = add_label_sets(dropped, both)["conditioning_conf"]["trained"]
    assert trained == [["meaning"], ["surface"], ["surface", "meaning"]]


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """A recipe in which half of the meaning transcripts have a tag."""
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("tagged"))
    for folder in ("train", "valid"):
        table = recipe.root / "dump" / folder / "text.meaning"
        values = ("<l1:Hindi>", "", "<l1:Thai>", "")
        rows = enumerate(sorted(read_table(table).items()))
        write_table(
            table,
            {
                i: text if text == "<na>" else f"{text} {values[k % 4]}".strip()
                for k, (i, text) in rows
            },
        )
    recipe.list_tokens()
    recipe.collect()
    return recipe


def test_tags_are_tasks_from_training_to_decoding(tagged, tmp_path):
    conf = {**VECTORS, "conditioning_conf": {"mode": "per_combination", "init_std": 1.0}}
    folder = tagged.train(config=conf, options=["--max_epoch", "1"])
    model, config = load_model(folder)
    assert model.conditioning.tasks == ("surface", "meaning", "meaning.l1")
    assert model.conditioning.features.shape == (8, 16)
    trained = [tuple(names) for names in config["conditioning_conf"]["trained"]]
    both, every = ("surface", "meaning"), ("surface", "meaning", "meaning.l1")
    assert {both, every, ("surface",)} <= set(trained) and ("surface", "meaning.l1") not in trained
    data, out = tagged.root / "dump/valid", tmp_path / "out"
    command = [
        "--model_dir",
        str(folder),
        "--data",
        str(data),
        "--output_dir",
        str(out),
        "--greedy",
        "true",
    ]
    for options, expected in (
        ([], dict.fromkeys(both, list(every))),
        (["--outputs", "surface meaning"], dict.fromkeys(both, list(both))),
        (["--outputs", "meaning"], {"meaning": ["meaning"]}),
        (["--outputs", "meaning meaning.l1"], {"meaning": list(every)}),  # the tag's only set
        (["--outputs", "meaning", "--active", "surface meaning"], {"meaning": list(both)}),
    ):
        assert decode.main([*command, *options]) == 0
        facts = json.loads((out / "decode.json").read_text())
        assert facts["active"] == expected and facts["outputs"] == list(expected)
    with pytest.raises(UserError, match="tag 'meaning.l1' without its output"):
        decode.main([*command, "--outputs", "surface meaning.l1"])
    with pytest.raises(UserError, match=r"meaning.l1 together were never trained"):
        decode.main([*command, "--active", "surface meaning.l1"])
    with pytest.raises(UserError, match="did you mean 'alone'"):
        decode.main([*command, "--active", "alon"])
    assert (export_head(folder, "meaning", tmp_path / "head") / "model.pth").is_file()


def test_partly_tagged_output_without_vectors_prints_a_warning(tagged, capsys):
    tagged.train("plain", options=["--max_epoch", "1"])
    messages = " ".join(capsys.readouterr().err.split())
    texts = [t for t in read_table(tagged.root / "dump/train/text.meaning").values() if t != "<na>"]
    count = sum("<l1:" in text for text in texts)
    assert 0 < count < len(texts)
    assert (
        f"text.meaning: {count} transcripts have a tag 'l1' and {len(texts) - count} have none"
        in messages
    )


def test_tags_are_counted_among_transcripts_of_their_output():
    sets = {("m", "m.t"): 3, ("m",): 2, ("s",): 5, ("s", "m", "m.t", "m.u"): 1}
    assert partly_tagged(sets, ["m.t", "m.u"]) == [("m.t", 4, 2), ("m.u", 1, 5)]
    assert partly_tagged({("m", "m.t"): 3, ("s",): 2}, ["m.t"]) == []  # every meaning has it
    conf = {**VECTORS, "conditioning_conf": {"drop_tasks": 0.1}}
    trained = add_label_sets(conf, {("s", "m", "m.t"): 1})["conditioning_conf"]["trained"]
    assert trained == [["m"], ["m", "m.t"], ["s"], ["s", "m"], ["s", "m", "m.t"]]


def test_output_without_any_label_raises_user_error(tmp_path):
    recipe = tiny_recipe.make(tmp_path)
    table = recipe.root / "dump/train/text.surface"
    write_table(table, dict.fromkeys(read_table(table), "<na>"))
    with pytest.raises(UserError, match="'surface' would never be trained") as caught:
        recipe.train()
    assert str(table) in str(caught.value)


def test_outputs_never_labelled_together_are_decoded_with_separate_active_sets(tmp_path):
    """Half of the utterances have only a surface, the other half only a meaning."""
    recipe = tiny_recipe.make(tmp_path)
    for number, name in enumerate(("surface", "meaning")):
        table = recipe.root / f"dump/train/text.{name}"
        rows = sorted(read_table(table).items())
        write_table(
            table, {i: text if k % 2 == number else "<na>" for k, (i, text) in enumerate(rows)}
        )
    conf = {**VECTORS, "conditioning_conf": {"mode": "per_combination", "init_std": 1.0}}
    folder = recipe.train(config=conf, options=["--max_epoch", "1"])
    recognise = DualSpeech2Text.from_pretrained(folder, greedy=True)
    assert recognise.active == {"surface": ("surface",), "meaning": ("meaning",)}
    wave = read_table(recipe.root / "dump/valid/wav.scp").popitem()[1]
    together = recognise(wave).best
    for name in ("surface", "meaning"):
        alone = DualSpeech2Text.from_pretrained(folder, greedy=True, only=[name])
        assert alone.outputs == [name]
        assert alone(wave).best[name] == together[name]
    # the keyword `outputs` sets search options per output
    search_options = {"meaning": {"beam_size": 2}}
    searched = DualSpeech2Text.from_pretrained(folder, only=["meaning"], outputs=search_options)
    assert searched.options["meaning"].beam_size == 2 and searched.outputs == ["meaning"]
    command = [
        "--model_dir",
        str(folder),
        "--data",
        str(recipe.root / "dump/valid"),
        "--output_dir",
        str(tmp_path / "out"),
        "--greedy",
        "true",
    ]
    with pytest.raises(UserError, match=r"surface\+meaning together were never trained"):
        decode.main([*command, "--active", "together"])
    assert decode.main([*command, "--active", "alone", "--outputs", "meaning"]) == 0
    facts = json.loads((tmp_path / "out/decode.json").read_text())
    assert facts["outputs"] == ["meaning"] and facts["active"] == {"meaning": ["meaning"]}
    assert not (tmp_path / "out/text.surface").exists()
    with pytest.raises(UserError, match="output 'l1' was never trained"):
        decode.main([*command, "--outputs", "l1"])


@pytest.fixture(scope="module")
def two_systems(tmp_path_factory):
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("systems"))
    conf = {**VECTORS, "conditioning_conf": {"where": "both", "init_std": 0.5}}
    recipe.train("vectors", conf)
    recipe.train("plain", options=["--max_epoch", "1"])
    return recipe


def test_description_of_vectors_matches_the_weights(two_systems):
    root = two_systems.root
    report = inspect_vectors(
        {"plain": root / "plain", "do": root / "vectors"}, root / "dump/valid", {"greedy": True}
    )
    assert [entry["system"] for entry in report["systems"]] == ["do"]
    system = report["systems"][0]
    state = torch.load(root / "vectors/model.pth", weights_only=True)
    assert [place["place"] for place in system["places"]] == ["features", "encoder"]
    for place in system["places"]:
        a, b = state[f"conditioning.{place['place']}"].double()
        assert place["norms"] == pytest.approx([float(a.norm()), float(b.norm())])
        cosine = float(a @ b / a.norm() / b.norm())
        assert place["cosine"][0] == pytest.approx([1.0, cosine])
        points = torch.tensor(place["points"]).double()
        distance = float((points[0] - points[1]).norm())
        assert distance == pytest.approx(float((a - b).norm()), rel=1e-5)
        assert place["history"]["epochs"] == [1, 2]
        assert place["states"] > 0
        last = torch.load(root / "vectors/2epoch.pth", weights_only=True)
        norm = float(last[f"conditioning.{place['place']}"][0].norm())
        assert place["history"]["norms"]["surface"][-1] == pytest.approx(norm, rel=1e-5)
        assert place["trained"] == [True, True]
    assert [row["output"] for row in system["off"]] == ["surface", "meaning"]
    assert [row["active"] for row in system["off"]] == [["meaning"], ["surface"]]
    assert system["leakage"] == []  # there are no tags


def test_error_rate_without_the_vector_of_an_output(two_systems):
    """Compare with decoding in which only the vector of the other output is active."""
    root = two_systems.root
    data = root / "dump/valid"
    report = inspect_vectors({"do": root / "vectors"}, data, {"greedy": True})
    off = DualSpeech2Text.from_pretrained(
        root / "vectors", greedy=True, only=["meaning"], active={"meaning": ["surface"]}
    )
    texts = [off(wave).best["meaning"].text for wave in read_table(data / "wav.scp").values()]
    row = report["systems"][0]["off"][1]
    references = list(read_table(data / "text.meaning").values())
    wrong = sum(Levenshtein.distance(*pair) for pair in zip(texts, references, strict=True))
    assert "<na>" not in references
    assert row["rate_off"] == pytest.approx(100 * wrong / sum(map(len, references)))


def test_references_of_vectors_are_normalised(two_systems, tmp_path):
    root, data = two_systems.root, tmp_path / "valid"
    shutil.copytree(root / "dump/valid", data)
    text = (data / "text.surface").read_text()
    (data / "text.surface").write_text(text.replace("AE", "AE1"))
    plain, stressed = (
        inspect_vectors({"do": root / "vectors"}, folder, {"greedy": True})
        for folder in (root / "dump/valid", data)
    )
    changed = sum("AE" in line for line in text.splitlines())
    assert changed and stressed["normalised"] == {str(data / "text.surface"): changed}
    assert plain["normalised"] == {} and plain["systems"] == stressed["systems"]


def test_leakage_counts_tags_that_are_written_although_inactive(tagged, monkeypatch):
    """Compare with decoding by the public API, then with transcripts that have known tags."""
    conf = {**VECTORS, "conditioning_conf": {"mode": "per_combination"}}
    folder = tagged.train("leaking", config=conf, options=["--max_epoch", "1"])
    state = torch.load(folder / "model.pth", weights_only=True)
    ids = load_model(folder)[0].conditioning.tags.ids["meaning.l1"]
    state["meaning_decoder.output_layer.bias"][ids] += 2.0  # make the model write tags
    (folder / "model.pth").unlink()
    torch.save(state, folder / "model.pth")
    data = tagged.root / "dump/valid"
    system = inspect_vectors({"do": folder}, data, {"greedy": True})["systems"][0]
    row = system["leakage"][0]
    both, every = ["surface", "meaning"], ["surface", "meaning", "meaning.l1"]
    assert (row["tag"], row["active"], row["trained"]) == ("meaning.l1", both, True)
    for tasks, emitted, share in (
        (both, row["emitted"], row["share"]),
        (every, row["emitted_on"], row["share_on"]),
    ):
        recognise = DualSpeech2Text.from_pretrained(folder, greedy=True, active=" ".join(tasks))
        waves = read_table(data / "wav.scp").values()
        assert emitted == sum("<l1:" in recognise(wave).best["meaning"].text for wave in waves)
        assert share == 25 * emitted and emitted > 0
    place = system["places"][0]
    trained = dict(zip(place["labels"], place["trained"], strict=True))
    assert trained == {
        "none": False,
        "surface": True,
        "meaning": True,
        "surface+meaning": True,
        "meaning.l1": False,
        "surface+meaning.l1": False,
        "meaning+meaning.l1": False,
        "surface+meaning+meaning.l1": True,
    }
    assert [point is not None for point in place["points"]] == place["trained"]
    vectors = state["conditioning.features"].double()[place["trained"]]
    centred = (vectors - vectors.mean(0)).numpy()
    sizes, axes = np.linalg.eigh(centred.T @ centred)  # only of the trained vectors
    points = np.array([point for point in place["points"] if point is not None])
    assert np.abs(centred @ axes[:, :-3:-1]) == pytest.approx(np.abs(points), abs=1e-5)
    assert place["explained"] == pytest.approx(list(sizes[:-3:-1] / sizes.sum()))
    monkeypatch.setattr(
        task_vectors._Inspection,
        "_recognise",
        lambda inspection, _output, active: {
            utterance.utt_id: "a <l1:x>" if k == 0 or "meaning.l1" in active else "a <age:9>"
            for k, utterance in enumerate(inspection.utterances)
        },
    )
    row = inspect_vectors({"do": folder}, data, {"greedy": True})["systems"][0]["leakage"][0]
    assert (row["emitted"], row["emitted_on"], row["share"]) == (1, 4, 25.0)


def test_matching_batches_counts_batches_of_the_other_set(two_systems, tmp_path):
    from types import SimpleNamespace

    shapes = tmp_path / "shapes"
    shutil.copytree(two_systems.root / "stats/train", shapes)
    half = tmp_path / "half"
    half.mkdir()
    rows = (shapes / "speech_shape").read_text().splitlines()
    (half / "speech_shape").write_text("\n".join(rows[: len(rows) // 2]) + "\n")
    args = SimpleNamespace(
        train_shape_file=[str(half / "speech_shape")],
        max_epoch=3,
        num_iters_per_epoch=None,
        batch_type="unsorted",
        fold_length=[],
        batch_size=1,
        batch_bins=1,
        sort_in_batch="descending",
        sort_batch="descending",
        drop_last_iter=False,
        min_batch_size=1,
        accum_grad=1,
        repeat_power=0.5,
        ngpu=0,
        dist_world_size=None,
        multiprocessing_distributed=False,
    )
    assert len(rows) == 8
    assert matching_batches(args, shapes) == 8  # the other set without oversampling
    with pytest.raises(UserError, match="no such file"):
        matching_batches(args, tmp_path / "nowhere")


def test_dropped_tasks_train_and_load(tmp_path):
    recipe = tiny_recipe.make(tmp_path)
    vectors = {"drop_tasks": 0.5, "normalize": "clip", "where": "encoder"}
    conf = {**VECTORS, "model_conf": {"divide_by": "labelled"}, "conditioning_conf": vectors}
    folder = recipe.train(config=conf, options=["--max_epoch", "1"])
    model, _ = load_model(folder)
    assert model.divide_by == "labelled" and model.conditioning.places == ["encoder"]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert ["meaning"] in config["conditioning_conf"]["trained"]
