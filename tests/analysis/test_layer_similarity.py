"""Systems compared as a whole: what is paired with what, and what is said to be missing."""

import itertools
import os
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("espnet2")

from encoder_models import Model, speech  # noqa: E402

from espnet_ext.analysis.computation import inputs  # noqa: E402
from espnet_ext.analysis.computation.cka_accumulators import linear_cka  # noqa: E402
from espnet_ext.analysis.computation.hidden_states import (  # noqa: E402
    Stream,
    decode,
    encode,
    pooled,
)
from espnet_ext.analysis.computation.inputs import (  # noqa: E402
    MAX_GROUPS,
    batches_by_group,
    choose,
    group_numbers,
)
from espnet_ext.analysis.computation.layer_similarity import compare_systems  # noqa: E402
from espnet_ext.data.audio import load_utterance  # noqa: E402
from espnet_ext.data.directory import read_directory  # noqa: E402
from espnet_ext.data.record import Utterance  # noqa: E402
from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402

os.environ.setdefault("OMP_NUM_THREADS", "1")


def test_chosen_utterances_are_spread_and_deterministic():
    ids = [f"s{s}-{u:02}" for s, u in itertools.product(range(10), range(20))]
    chosen = choose(ids[::-1], 20)
    assert chosen == choose(ids, 20) and len(set(chosen)) == 20
    assert {i.split("-")[0] for i in chosen} == {i.split("-")[0] for i in ids}
    assert choose(ids, 0) == choose(ids, 999) == sorted(ids)


@pytest.mark.parametrize("speakers", [1, 3, MAX_GROUPS, 3 * MAX_GROUPS + 1])
def test_batches_have_one_group_and_every_utterance_once(speakers):
    utterances = [
        Utterance(f"s{s:03}-{u}", f"s{s:03}", "x")
        for s in range(speakers)
        for u in range(s % 3 + 1)
    ]
    batches = batches_by_group(utterances, 2)
    assert sorted(u.utt_id for _, batch in batches for u in batch) == [u.utt_id for u in utterances]
    assert {group for group, _ in batches} == set(group_numbers(utterances).values())
    of_speaker = {}
    for group, batch in batches:
        assert 0 < len(batch) <= 2
        for utterance in batch:
            assert of_speaker.setdefault(utterance.speaker, group) == group


def directory(path, seconds, rate=8000, texts=None):
    soundfile = pytest.importorskip("soundfile")
    ids = [f"s{n % 3}-{n}" for n in range(len(seconds))]
    for utt_id, wave in zip(ids, speech(*seconds), strict=True):
        soundfile.write(path / f"{utt_id}.wav", wave / 10, rate)
    (path / "wav.scp").write_text("".join(f"{i} {path}/{i}.wav\n" for i in sorted(ids)))
    (path / "utt2spk").write_text("".join(f"{i} {i[:2]}\n" for i in sorted(ids)))
    for name, rows in (texts or {}).items():
        lines = [f"{i} {t}\n" for i, t in zip(ids, rows, strict=True) if t is not None]
        (path / f"text.{name}").write_text("".join(sorted(lines)))
    return path


def bare(model):
    model.heads = {}
    return SimpleNamespace(model=model, sample_rate=8000, tokenizers={})


def test_encoders_of_a_directory(tmp_path, monkeypatch):
    directory(tmp_path, (1, 2, 1.5, 2.2, 1.1, 1.7))
    models = {"x": Model(0), "y": Model(0), "z": Model(1, blocks=2)}
    monkeypatch.setattr(
        inputs.DualSpeech2Text, "from_pretrained", lambda path, device: bare(models[path])
    )
    result = compare_systems({n: n for n in models}, tmp_path, batch_size=3, permutations=3)
    assert result["utterances"] == 6 and result["frames"] > 0 and result["groups"] == 3
    pairs = {(p["a"], p["b"]): p for p in result["pairs"]}
    assert set(pairs) == {("x", "y"), ("x", "z"), ("y", "z")}
    same = pairs["x", "y"]
    assert [p["cka"] for p in same["curve"]] == pytest.approx([1.0] * 4, abs=1e-9)
    for point in same["curve"]:
        assert {n: m["value"] for n, m in point["measures"].items()} == pytest.approx(
            dict.fromkeys(point["measures"], 1.0), abs=1e-6
        )
    other = pairs["x", "z"]
    assert [p["layer"] for p in other["curve"]] == ["embed", "0", "1"]
    assert other["only_a"] == ["2"] and other["only_b"] == []
    for point in other["curve"]:
        low, high = point["interval"]
        assert point["cka"] < 0.999 and low <= high
    again = compare_systems({n: n for n in models}, tmp_path, batch_size=1, measures=[])
    flat, unlike = (np.ravel(r["pairs"][1]["grid"]) for r in (result, again))
    assert flat == pytest.approx(unlike, abs=1e-5)  # batching changes nothing
    assert again["pairs"][1]["curve"][0]["measures"] == {}


def test_one_speaker_has_no_interval(tmp_path, monkeypatch):
    directory(tmp_path, (1, 2))
    (tmp_path / "utt2spk").write_text("s0-0 s\ns1-1 s\n")
    models = {"x": Model(0), "z": Model(1)}
    monkeypatch.setattr(
        inputs.DualSpeech2Text, "from_pretrained", lambda path, device: bare(models[path])
    )
    result = compare_systems({n: n for n in models}, tmp_path, permutations=0)
    assert result["speakers"] == 1
    for point in result["pairs"][0]["curve"]:
        assert point["interval"] is None and point["debiased"] is not None


def test_decoders_of_a_system_and_its_twin(trained, tmp_path):
    """Against each part computed by hand, and a system against itself."""
    folder, data = str(trained.root / "exp"), trained.root / "dump/train"
    result = compare_systems(
        {"a": folder, "b": folder},
        data,
        twins={"a": folder},
        measures=["procrustes"],
        permutations=2,
        hypotheses={"a": str(data), "b": str(data)},
    )
    names = [(p["a"], p["b"], p["ceiling"]) for p in result["pairs"]]
    assert names == [("a", "b", False), ("a", "a~twin", True)]
    assert result["models"]["a~twin"]["twin_of"] == "a"
    similarities = {
        (p["a"], p["output_a"], p["b"], p["output_b"], p["how"], p["rows"]): p
        for p in result["decoders"]
    }
    for (a, first, b, second, _how, rows), pair in similarities.items():
        assert pair["ceiling"] == (b == "a~twin" and first == second)
        if first == second:  # the same network: all measures are 1
            for point in pair["curve"]:
                assert point["debiased"] == pytest.approx(1.0, abs=1e-6)
        else:
            assert rows == "utterances"
            assert all(p["debiased"] < 0.999 for p in pair["curve"])
        # the hypotheses are the references here, so that free-running is teacher-forced
        twin = similarities[a, first, b, second, "teacher-forced", rows]
        assert [p["cka"] for p in pair["curve"]] == pytest.approx([p["cka"] for p in twin["curve"]])
    assert {key[4:] for key in similarities} == {
        ("teacher-forced", "utterances"),
        ("free-running", "utterances"),
        ("teacher-forced", "tokens"),
    }

    system = DualSpeech2Text.from_pretrained(folder)
    utterances = [u for u in read_directory(data) if {"surface", "meaning"} <= set(u.texts)]
    waves = [load_utterance(u, system.sample_rate)[0] for u in utterances]
    ids = [u.utt_id for u in utterances]
    encoded = encode({"a": system.model}, waves, ids)[Stream("a")]
    means = {}
    for output in ("surface", "meaning"):
        tokens = [system.token_ids(output, u.texts[output]) for u in utterances]
        names, rows, counts = decode(system.model.heads[output], encoded, tokens, ids)
        means[output] = {n: pooled(r, counts) for n, r in zip(names, rows, strict=True)}
    pair = similarities["a", "surface", "b", "meaning", "teacher-forced", "utterances"]
    for point in pair["curve"]:
        expected = linear_cka(*(means[o][point["layer"]] for o in ("surface", "meaning")))
        assert point["cka"] == pytest.approx(expected, abs=1e-5)
    whole = result["everything"]
    assert len(whole["cka"]) == len(whole["layers"]) == len(whole["cka"][0])
    assert whole["utterances"] == len(utterances)


def test_decoders_with_different_token_lists_are_compared_by_utterance(trained, monkeypatch):
    folder, data = str(trained.root / "exp"), trained.root / "dump/train"
    load = DualSpeech2Text.from_pretrained

    def loaded(path, device):
        system = load(folder, device=device)
        if path == "other":
            tokens = system.model.heads["meaning"].tokens
            tokens[2], tokens[3] = tokens[3], tokens[2]
        return system

    monkeypatch.setattr(inputs.DualSpeech2Text, "from_pretrained", loaded)
    result = compare_systems({"a": "one", "b": "other"}, data, measures=[])
    assert any("different token lists of meaning" in note for note in result["notes"])
    by_token = {p["output_a"] for p in result["decoders"] if p["rows"] == "tokens"}
    assert by_token == {"surface"}


def test_hypotheses_of_other_utterances_raise_user_error(trained, tmp_path):
    folder, data = str(trained.root / "exp"), trained.root / "dump/train"
    (tmp_path / "text.surface").write_text("unknown-1 AH\n")
    with pytest.raises(UserError, match="unknown-1: not in"):
        compare_systems({"a": folder, "b": folder}, data, hypotheses={"a": str(tmp_path)})


def test_command_on_model_directories(tmp_path, capsys):
    """The whole way: two model directories with random weights, a data directory, a JSON file."""
    import yaml

    from espnet_ext.bin.analyze import main
    from espnet_ext.files import read_json
    from espnet_ext.model.build import build_model

    soundfile = pytest.importorskip("soundfile")
    encoder = {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 24,
        "num_blocks": 2,
        "input_layer": "conv2d",
        "rel_pos_type": "latest",
        "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn",
        "cnn_module_kernel": 7,
    }
    output = {
        "branch": "ctc",
        "token_type": "char",
        "ctc_weight": 1.0,
        "token_list": ["<blank>", "<unk>", "a", "<sos/eos>"],
    }
    for number, name in enumerate(["surface", "meaning"]):
        config = {
            "frontend": "default",
            "frontend_conf": {"fs": 16000, "n_mels": 20},
            "normalize": "utterance_mvn",
            "encoder": "conformer",
            "encoder_conf": encoder,
            "outputs": {name: output},
        }
        torch.manual_seed(number)
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
        torch.save(build_model(config).state_dict(), tmp_path / name / "model.pth")
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", speech(10)[0] * 0.1, 16000)
    (tmp_path / "wav.scp").write_text("".join(f"s-{n} {tmp_path}/{n}.wav\n" for n in range(3)))
    (tmp_path / "utt2spk").write_text("".join(f"s-{n} s\n" for n in range(3)))
    systems = [f"so_{n}={tmp_path / n}" for n in ("surface", "meaning")]
    out = tmp_path / "analysis/cka.json"
    assert main(["cka", "--models", *systems, "--data", str(tmp_path), "--output", str(out)]) == 0
    result = read_json(out)
    assert result["models"]["so_surface"]["layers"] == ["embed", "0", "1"]
    assert all(0 < p["cka"] < 1 for p in result["pairs"][0]["curve"])
    assert "so_surface – so_meaning" in capsys.readouterr().out
    assert result["provenance"]["command"].startswith("python -m espnet_ext.bin.analyze cka")
