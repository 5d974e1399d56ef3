"""run.sh with discrete units: order of stages, options, and what a changed k-means runs again."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def discrete(project):
    """The recipe discrete1 beside dual1, with the same data."""
    recipe = project.root / "egs2/mini_l2/discrete1"
    shutil.copytree(ROOT / "egs2/mini_l2/discrete1/conf", recipe / "conf")
    shutil.copytree(project.recipe / "local", recipe / "local")

    def run(*options):
        return project.run("--recipe", "egs2/mini_l2/discrete1", "--langs", "en", *options)

    project.run_units = run
    project.units_recipe = recipe
    return project


def verbs(calls):
    return [call.split()[0] for call in calls]


def test_units_are_made_before_training_and_only_changes_run_again(discrete):
    systems = ("--systems", "so_meaning do_text", "--nj", "3")
    done = discrete.run_units(*systems)
    assert done.returncode == 0, done.stderr
    calls = discrete.calls()
    order = ["learn_kmeans", "dump_units", "unit_tokens", "unit_inputs", "train", "decode"]
    positions = [verbs(calls).index(verb) for verb in order]
    assert positions == sorted(positions)
    assert verbs(calls).count("dump_units") == verbs(calls).count("unit_inputs") == 2
    assert "--clusters 500" in next(c for c in calls if c.startswith("learn_kmeans"))
    assert "--features log_mel --fs 16000" in next(c for c in calls if c.startswith("learn_kmeans"))
    joint = next(c for c in calls if c.startswith("unit_tokens"))
    assert "--text dump/raw/en/train/text.surface" in joint and "--text_token_type phone" in joint
    inputs = [c for c in calls if c.startswith("unit_inputs")]
    assert ["--text_input surface" in call for call in inputs] == [
        "/train_units" in c for c in inputs
    ]
    assert all("--max_length 2000" in call for call in inputs)
    dumps = [c for c in calls if c.startswith("dump_units")]
    assert all(call.endswith("--ngpu 0 --nj 3") for call in dumps)
    for train in (call for call in calls if call.startswith("train ")):
        assert "--train_set train_units --valid_set valid_units" in train
        assert "--joint_token_dir data/en_joint_tokens --units exp/en/units" in train
        assert "--stats_dir exp/en/stats_units" in train
    assert all("--data dump/raw/en/test " in c for c in calls if c.startswith("decode"))

    again = discrete.run_units(*systems)
    assert again.returncode == 0 and discrete.calls() == []

    changed = discrete.run_units(*systems, "--nclusters", "60", "--stop_stage", "11")
    assert changed.returncode == 0, changed.stderr
    steps = ["learn_kmeans", *["dump_units"] * 2, "unit_tokens", *["unit_inputs"] * 2]
    assert verbs(discrete.calls()) == [*steps, *["train"] * 3]


def test_tags_keep_several_k_means(discrete):
    done = discrete.run_units("--systems", "do", "--stop_stage", "11")
    assert done.returncode == 0, done.stderr
    discrete.calls()
    options = ("--systems", "do", "--stop_stage", "11", "--nclusters", "60", "--km_tag", "k60")
    assert discrete.run_units(*options).returncode == 0
    calls = discrete.calls()
    assert "--output exp/en/units_k60" in calls[0]
    assert "exp/en/do_units_small_k60" in calls[-1] and "train_units_k60" in calls[-1]
    assert discrete.run_units(*options, "--upsample", "2", "--input_tag", "up2").returncode == 0
    assert verbs(discrete.calls()) == ["unit_tokens", *["unit_inputs"] * 2, *["train"] * 2]
    assert discrete.run_units("--systems", "do", "--stop_stage", "11").returncode == 0
    assert discrete.calls() == []


def test_trainings_start_with_embeddings_of_a_text_model(discrete):
    options = ("--systems", "do", "--stop_stage", "11", "--unit_embeddings", "google/byt5-small")
    done = discrete.run_units(*options)
    assert done.returncode == 0, done.stderr
    calls = discrete.calls()
    order = ["unit_tokens", "unit_embeddings", "train"]
    positions = [verbs(calls).index(verb) for verb in order]
    assert positions == sorted(positions) and verbs(calls).count("unit_embeddings") == 1
    made = calls[positions[1]]
    assert "--joint_token_dir data/en_joint_tokens --model google/byt5-small" in made
    assert "--output exp/en/unit_embeddings.pth" in made
    statistics, training = (call for call in calls if call.startswith("train "))
    assert training.endswith("--init_param exp/en/unit_embeddings.pth:embed:frontend.embed")
    assert "--init_param" not in statistics
    assert discrete.run_units(*options).returncode == 0 and discrete.calls() == []
    changed = discrete.run_units(*options, "--nclusters", "60")
    assert changed.returncode == 0, changed.stderr
    assert verbs(discrete.calls()).count("unit_embeddings") == 1
    assert discrete.run_units("--systems", "do", "--stop_stage", "11").returncode == 0
    calls = discrete.calls()
    assert "unit_embeddings" not in verbs(calls) and "--init_param" not in calls[-1]


def test_configuration_and_features_must_fit(discrete):
    done = discrete.run_units("--asr_config", "train_small.yaml")
    assert done.returncode == 2 and "reads audio (frontend: default)" in done.stderr
    done = discrete.run_units("--kmeans_feature", "", "--text_input", "")
    assert done.returncode == 2 and "--kmeans_feature is not given" in done.stderr
    assert discrete.calls() == []
