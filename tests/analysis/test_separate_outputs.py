"""Analyses of systems whose outputs have separate encoder outputs, beside others."""

import itertools
import shutil
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("espnet2")

import tiny_recipe  # noqa: E402
import yaml  # noqa: E402

from espnet_ext.analysis import cka, probes, swaps  # noqa: E402
from espnet_ext.analysis.computation import encoder_probes  # noqa: E402
from espnet_ext.analysis.computation.encoder_swaps import swap  # noqa: E402
from espnet_ext.analysis.computation.hidden_states import capture, pad  # noqa: E402
from espnet_ext.analysis.computation.layer_similarity import compare_systems  # noqa: E402
from espnet_ext.analysis.registry import ANALYSES  # noqa: E402
from espnet_ext.data.audio import load_utterance  # noqa: E402
from espnet_ext.data.directory import read_directory  # noqa: E402
from espnet_ext.files import read_json, read_yaml  # noqa: E402
from espnet_ext.model.build import build_model  # noqa: E402
from espnet_ext.model.conditioning.routing import dense_name  # noqa: E402
from espnet_ext.model.encoding import EncoderRequest  # noqa: E402
from espnet_ext.pipeline.analyses import collect  # noqa: E402

OUTPUTS = ("surface", "meaning")
CONDITIONED = {
    "tops": {"conditioning": "tops", "conditioning_conf": {"layers": 1}},
    "experts": {"conditioning": "experts", "conditioning_conf": {"encoder_task": 1}},
    "stitch": {"conditioning": "cross_stitch", "conditioning_conf": {"layers": 1}},
    "adapters": {"conditioning": "adapters", "conditioning_conf": {"rank": 2, "layers": 1}},
    "mixture": {"conditioning": "mixture", "conditioning_conf": {"hidden": 4, "private": 1}},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe with one trained system, `do`, and others of random weights."""
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("separate"))
    encoder = {**tiny_recipe.CONFIG["encoder_conf"], "num_blocks": 2}
    recipe.train("exp/en/do_tiny", {"encoder_conf": encoder}, options=["--max_epoch", "1"])
    add(recipe, "so_surface", 1, outputs=["surface"])
    add(recipe, "so_meaning", 2, outputs=["meaning"])
    for seed, (name, changes) in enumerate(CONDITIONED.items(), 3):
        add(recipe, name, seed, **changes)
    return recipe


def folder(recipe, name):
    return recipe.root / f"exp/en/{name}_tiny"


def configuration(recipe, outputs=OUTPUTS, **changes):
    config = read_yaml(folder(recipe, "do") / "config.yaml", exponents=False)
    return {**config, "outputs": {name: config["outputs"][name] for name in outputs}, **changes}


def add(recipe, name, seed, **changes):
    """Write a model directory: `do` with changes, and random weights."""
    config = configuration(recipe, **changes)
    torch.manual_seed(seed)
    model = build_model(config)
    with torch.no_grad():  # copies of one layer become different layers
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    save(recipe, name, config, model.state_dict())


def save(recipe, name, config, state):
    folder(recipe, name).mkdir(exist_ok=True)
    shutil.copytree(folder(recipe, "do"), folder(recipe, name), dirs_exist_ok=True)
    (folder(recipe, name) / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    torch.save(state, folder(recipe, name) / "model.pth")


def compare(recipe, names, **options):
    directories = {name: str(folder(recipe, name)) for name in names}
    options = {"measures": ["cka"], "permutations": 2, **options}
    return compare_systems(directories, recipe.root / "dump/train", **options)


def pairs_of(result):
    return {(p["a"], p.get("output_a"), p["b"], p.get("output_b")): p for p in result["pairs"]}


def waves(recipe):
    utterances = sorted(read_directory(recipe.root / "dump/train", empty_texts=True), key=str)
    return [load_utterance(utterance, 16000)[0] for utterance in utterances]


def layers_of(recipe, model):
    """Return every layer of a plain model, and the encoder output: (ΣT, D), one by one."""
    rows = {}
    for wave in waves(recipe):
        with torch.inference_mode(), capture(model.encoder) as layers:
            encoded = model.encode(*pad([wave]), EncoderRequest(batch_invariant=True))
        for name, states in {**layers, "output": next(iter(encoded.hidden.values()))}.items():
            rows.setdefault(name, []).append(states[0].double().numpy())
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def load(recipe, name):
    model = build_model(read_yaml(folder(recipe, name) / "config.yaml", exponents=False))
    model.load_state_dict(torch.load(folder(recipe, name) / "model.pth"))
    return model.eval()


def plain_model(recipe, name, output):
    """Return `do` with the weights with which a system encodes for one output."""
    model = build_model(configuration(recipe))
    state = torch.load(folder(recipe, name) / "model.pth")
    chosen = {
        dense_name(key): value
        for key, value in state.items()
        if ".experts." not in key or f".experts.task-{output}." in key
    }
    model.load_state_dict(chosen)
    return model.eval()


def linear_cka(x, y):
    """Kornblith et al. (2019), eq. 3."""
    x, y = x - x.mean(0), y - y.mean(0)
    cross = np.square(y.T @ x).sum()
    return cross / np.sqrt(np.square(x.T @ x).sum() * np.square(y.T @ y).sum())


@pytest.mark.parametrize("name", ["tops", "experts"])
def test_streams_are_the_encoders_of_plain_models(recipe, name):
    """Each stream is that of a model without conditioning that has the output's weights."""
    result = compare(recipe, ["so_surface", name, "so_meaning"])
    pairs = pairs_of(result)
    assert set(pairs) == {
        ("so_surface", None, name, "surface"),
        ("so_surface", None, "so_meaning", None),
        (name, "surface", name, "meaning"),
        (name, "meaning", "so_meaning", None),
    }
    streams = {output: layers_of(recipe, plain_model(recipe, name, output)) for output in OUTPUTS}
    single = {o: layers_of(recipe, load(recipe, f"so_{o}")) for o in OUTPUTS}
    for output in OUTPUTS:
        key = next(k for k in pairs if f"so_{output}" in k and name in k)
        assert [point["layer"] for point in pairs[key]["curve"]] == ["embed", "0", "1"]
        for point in pairs[key]["curve"]:
            layer = point["layer"]
            expected = linear_cka(streams[output][layer], single[output][layer])
            assert point["cka"] == pytest.approx(expected, abs=1e-5)
    within = pairs[name, "surface", name, "meaning"]
    (point,) = within["curve"]  # the layers below are the same
    expected = linear_cka(streams["surface"]["1"], streams["meaning"]["1"])
    assert point["layer"] == "1" and point["cka"] == pytest.approx(expected, abs=1e-5)
    assert expected < 0.999
    assert within["layers_a"] == within["layers_b"] == ["1"] and len(within["grid"]) == 1
    about = result["models"][name]
    assert about["streams"] == list(OUTPUTS) and about["shared_layers"] == ["embed", "0"]
    assert about["layers"] == ["embed", "0", "1"]
    everything = [
        (layer.get("stream"), layer["layer"])
        for layer in result["everything"]["layers"]
        if (layer["system"], layer["output"]) == (name, "")
    ]
    assert everything == [(None, "embed"), (None, "0"), ("surface", "1"), ("meaning", "1")]


def test_streams_after_the_last_block_are_compared_with_encoder_outputs(recipe):
    """A mixture: h + Σ g f per output, compared with the encoder output of the others."""
    pairs = pairs_of(compare(recipe, ["so_surface", "tops", "mixture"], measures=[]))
    model = load(recipe, "mixture")
    shared = layers_of(recipe, plain_model_of_mixture(recipe, model))
    hidden = torch.from_numpy(shared["output"]).float()
    streams = {}
    with torch.no_grad():
        for output in OUTPUTS:
            experts = [*model.conditioning.shared, *model.conditioning.private[output]]
            gates = model.conditioning.gates[output](hidden).softmax(-1)
            added = sum(gates[:, [n]] * expert(hidden) for n, expert in enumerate(experts))
            streams[output] = (hidden + added).double().numpy()
    within = pairs["mixture", "surface", "mixture", "meaning"]
    (point,) = within["curve"]
    assert point["layer"] == "output"
    assert point["cka"] == pytest.approx(linear_cka(*streams.values()), abs=1e-5)
    single = layers_of(recipe, load(recipe, "so_surface"))
    pair = pairs["so_surface", None, "mixture", "surface"]
    assert pair["layers_a"] == pair["layers_b"] == ["embed", "0", "1", "output"]
    values = {point["layer"]: point["cka"] for point in pair["curve"]}
    for layer in ("embed", "0", "1"):
        assert values[layer] == pytest.approx(linear_cka(shared[layer], single[layer]), abs=1e-5)
    expected = linear_cka(streams["surface"], single["output"])
    assert values["output"] == pytest.approx(expected, abs=1e-5)
    # Other pairs end with the last block, as without a mixture.
    assert [p["layer"] for p in pairs["so_surface", None, "tops", "surface"]["curve"]][-1] == "1"


def plain_model_of_mixture(recipe, mixture):
    model = build_model(configuration(recipe))
    state = mixture.state_dict()
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith("conditioning.")})
    return model.eval()


def test_streams_without_single_output_systems_are_compared_with_all_others(recipe):
    pairs = pairs_of(compare(recipe, ["do", "stitch", "adapters"], measures=[]))
    assert set(pairs) == {
        ("do", None, "stitch", "surface"),
        ("do", None, "stitch", "meaning"),
        ("do", None, "adapters", "surface"),
        ("do", None, "adapters", "meaning"),
        ("stitch", "surface", "stitch", "meaning"),
        ("stitch", "surface", "adapters", "surface"),
        ("stitch", "meaning", "adapters", "meaning"),
        ("adapters", "surface", "adapters", "meaning"),
    }


def test_tops_without_private_layers_are_do(recipe):
    """The same result, number by number, and a twin is compared stream by stream."""
    config = configuration(recipe, conditioning="tops", conditioning_conf={"layers": 0})
    save(recipe, "tops0", config, torch.load(folder(recipe, "do") / "model.pth"))
    expected, result = (
        compare(recipe, [name, "so_surface"], hypotheses={name: str(recipe.root / "dump/train")})
        for name in ("do", "tops0")
    )
    for part in ("pairs", "decoders", "everything"):
        renamed = yaml.safe_load(yaml.safe_dump(result[part]).replace("tops0", "do"))
        assert renamed == yaml.safe_load(yaml.safe_dump(expected[part]))


def test_twins_are_ceilings_of_each_stream(recipe):
    twins = {"tops": str(folder(recipe, "tops"))}
    pairs = pairs_of(compare(recipe, ["tops", "so_surface"], twins=twins, measures=[]))
    for output in OUTPUTS:
        pair = pairs["tops", output, "tops~twin", output]
        assert pair["ceiling"]
        assert [p["cka"] for p in pair["curve"]] == pytest.approx([1.0] * 3, abs=1e-9)
    assert ("tops", "surface", "tops~twin", "meaning") not in pairs


@pytest.fixture(scope="module")
def plain(recipe):
    """The systems `tops`, and `do` with its weights for one output: `plain_<output>`."""
    for output in OUTPUTS:
        model = plain_model(recipe, "tops", output)
        save(recipe, f"plain_{output}", configuration(recipe), model.state_dict())
    return {name: str(folder(recipe, name)) for name in ("tops", "plain_surface", "plain_meaning")}


def test_decoders_read_their_own_stream(recipe, plain):
    """A decoder of a plain model with the output's weights has the same layers."""
    result = compare(recipe, plain, measures=[])
    same = [
        pair
        for pair in result["decoders"]
        if pair["output_a"] == pair["output_b"] and pair["b"] == f"plain_{pair['output_b']}"
        if pair["a"] == "tops"
    ]
    assert len(same) == 4  # two outputs, by token and by utterance
    for pair in same:
        assert [p["debiased"] for p in pair["curve"]] == pytest.approx([1.0, 1.0], abs=1e-5)


def test_probes_read_each_stream(recipe, plain, monkeypatch):
    monkeypatch.setattr(encoder_probes, "MIN_EXAMPLES", {"token": (2, 1), "utterance": (2, 1)})
    dump = recipe.root / "dump"
    result = encoder_probes.probe_encoders(plain, dump / "valid", dump / "train")
    rows = {
        (row["task"], row["system"], row.get("output"), row["layer"]): row for row in result["rows"]
    }
    assert len(rows) == len(result["rows"]) and result["tasks"]["surface"]["aligned_by"] == "tops"
    tasks = dict.fromkeys(row["task"] for row in result["rows"])
    for task, output, layer in itertools.product(tasks, OUTPUTS, ("embed", "0", "1")):
        expected = rows[task, f"plain_{output}", None, layer]
        row = rows[task, "tops", output, layer]
        for key in ("accuracy", "context", "chance"):
            assert row[key] == pytest.approx(expected[key], abs=1e-6)
    section = probes.section(result)
    (finding,) = [
        text for text in section.notes if text.startswith("Last layer, surface")
    ]  # few examples
    assert "tops surface " in finding and "tops meaning " in finding
    assert result["models"]["tops"]["layers"] == ["embed", "0", "1"]


def test_decoders_read_the_stream_of_the_other_output(recipe, plain):
    dump, options = recipe.root / "dump", {"beam_size": 2, "maxlenratio": -4}
    result = swap(plain, dump / "valid", dump / "train", options)
    rows = {
        (
            row["encoder"],
            row.get("encoder_output"),
            row["decoder"],
            row["output"],
            row["connection"],
        ): row
        for row in result["rows"]
    }
    assert len(rows) == len(result["rows"])
    for output, other in (OUTPUTS, OUTPUTS[::-1]):
        for connection in ("direct", "stitched"):
            row = rows["tops", other, "tops", output, connection]
            expected = rows[f"plain_{other}", None, f"plain_{output}", output, connection]
            assert row["rate"] == expected["rate"]
            assert row["r2"] == pytest.approx(expected["r2"], abs=1e-4)
        unswapped = rows["tops", output, "tops", output, "unswapped"]
        name = f"plain_{output}"
        assert unswapped["rate"] == rows[name, None, name, output, "unswapped"]["rate"]
        # The decoder of another system reads the encoder output of the same output only.
        assert ("tops", output, f"plain_{output}", output, "direct") in rows
        assert ("tops", other, f"plain_{output}", output, "direct") not in rows
        reads = rows["tops", output, f"plain_{output}", output, "direct"]
        assert reads["rate"] == unswapped["rate"]
    text = "\n".join(swaps.section(result).findings)
    assert "The surface decoder of tops on the encoder of tops meaning: error " in text


def test_section_names_the_streams(recipe):
    result = compare(recipe, ["so_surface", "so_meaning", "tops", "mixture"])
    section = cka.section(result)
    findings = "\n".join(section.findings)
    assert "Encoders tops surface – tops meaning: CKA " in findings
    assert "at layer 1, the only one that they do not share." in findings
    assert "Encoders so_surface – tops surface: most similar" in findings
    assert "The last encoder layer of tops" not in findings  # each output has its own
    (values,) = [t for t in section.tables if t.title == cka.ENCODERS.title]
    assert values.header == ["systems", "embed", "0", "1", "output"]
    (note,) = [note for note in section.notes if note.startswith("tops ")]
    assert note == (
        "tops has an encoder output per output. It is compared as tops surface and tops meaning, "
        "which share the layers embed, 0"
    )


def steps(recipe, systems, names):
    """Return the commands of stage 17 and its notes."""
    raw = recipe.root / "raw/en"
    raw.mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid"):
        if not (raw / part).exists():
            (raw / part).symlink_to(recipe.root / "dump" / part)
    for name in systems.split():
        decoding = folder(recipe, name) / "decode/valid"
        decoding.mkdir(parents=True, exist_ok=True)
        for output in OUTPUTS:
            shutil.copy(recipe.root / f"dump/valid/text.{output}", decoding)
    decoding = recipe.write_yaml("decode", {})
    variables = {
        "python": sys.executable,
        "langs": "en",
        "systems": systems,
        "twins": "",
        "variants": "",
        "test_sets": "valid",
        "train_set": "train",
        "dumpdir": str(recipe.root),
        "expdir": str(recipe.root / "exp"),
        "asr_tag": "tiny",
        "inference_tag": "decode",
        "inference_config": str(decoding),
        "swaps": "true",
        "nlsyms_txt": "",
        "baseline_runs": [],
        "stress_runs": [],
    }
    analyses = {name: ANALYSES[name] for name in names}
    words, notes = collect(analyses, variables, "models")
    return [step[step.index("--") + 1 :] for step in words], notes


def test_stage_17_compares_all_encoders(recipe):
    commands, notes = steps(recipe, "do tops", ["cka", "probes", "swaps"])
    assert len(commands) == 3 and not notes
    done = subprocess.run(commands[0], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = read_json(recipe.root / "exp/en/analysis/cka.json")
    assert list(result["models"]) == ["do", "tops"] and "streams" in result["models"]["tops"]
