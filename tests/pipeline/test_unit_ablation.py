"""Ablations of discrete units: variants of a recipe, and the table of their errors."""

import json
import sys

import pytest

from espnet_ext.bin import cli, unit_ablation
from espnet_ext.errors import UserError
from espnet_ext.pipeline.unit_ablation import Factors, variants

# Records its options, and writes the results that a training and a decoding would
RUN = r"""#!/usr/bin/env bash
printf '%s\n' "$*" >>"$(dirname "$0")/calls"
declare -A given=()
while (($#)); do given[${1#--}]=$2; shift 2; done
if [[ ${given[asr_tag]} == nclusters_9* && ! -e $(dirname "$0")/may_run ]]; then exit 3; fi
cd "$(dirname "$0")"
model=${given[expdir]}/en/${given[systems]}_${given[asr_tag]}
mkdir -p "$model/decode/valid"
rate=2${given[asr_tag]: -1}
cell='"own": true, "reference": "meaning", "metric": "cer", "metrics": {"cer": {"rate": '$rate'}}'
echo '{"cells": [{'"$cell"'}]}' >"$model/decode/valid/score.json"
echo '{"rtf": 0.05}' >"$model/decode/valid/decode.json"
echo '{"seconds": 60, "parameters": 7}' >"$model/train.json"
"""


def test_variants_differ_in_one_option():
    factors = Factors(("1",), ("100",), ("50",), ("a/b/2",), ("ts",), "so_meaning", "small.yaml")
    rows = {row.name: row for row in variants(factors, "so_meaning_text")}
    assert list(rows) == [
        *("base", "upsample_1", "nclusters_100", "residual_nclusters_50"),
        *("kmeans_feature_a-b-2", "src_case_ts", "without_text", "audio"),
    ]
    assert rows["base"].options == ("--km_tag", "ablation")
    assert rows["upsample_1"].options == (
        *("--upsample", "1", "--km_tag", "ablation", "--input_tag", "ablation_upsample_1"),
    )
    assert rows["nclusters_100"].options[2:] == ("--km_tag", "ablation_nclusters_100")
    assert rows["without_text"].system == "so_meaning"
    assert rows["without_text"].options == rows["base"].options
    assert rows["audio"].options[:2] == ("--kmeans_feature", "")
    with pytest.raises(UserError, match="duplicate variant: upsample_1"):
        variants(Factors(("1", "1")), "do")


def test_external_text_is_a_variant_with_its_own_sets():
    rows = variants(Factors(text_data="a/{lang} b"), "do_text")
    assert [row.name for row in rows] == ["base", "text_data"]
    assert rows[1].options == (
        *("--text_data", "a/{lang} b", "--km_tag", "ablation"),
        *("--input_tag", "ablation_text_data"),
    )


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], "--max_epoch 4"),
        (["--quick", "true"], "--max_epoch 1"),
        (["--quick", "true", "--train_args", "--max_epoch 2"], "--max_epoch 1 --max_epoch 2"),
    ],
)
def test_seeds_are_added_to_the_options_of_trainings_that_the_recipe_sets(tmp_path, words, options):
    (tmp_path / "run.sh").write_text(RUN)
    (tmp_path / "conf").mkdir()
    settings = 'asr_args="--max_epoch 4"\nquick_asr_args="--max_epoch 1"\n'
    (tmp_path / "conf/recipe.conf").write_text(settings)
    assert unit_ablation.main(["--recipe", str(tmp_path), "--seeds", "3", "--", *words]) == 0
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.endswith(f"--asr_args {options} --seed 3")


def test_command_runs_every_variant_and_seed_and_continues(tmp_path, capfd):
    (tmp_path / "run.sh").write_text(RUN)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/recipe.conf").write_text("corpus=mini_l2\n")
    arguments = ["--recipe", str(tmp_path), "--seeds", "0 2", "--nclusters", "9", "--dir", "exp/a"]
    arguments += ["--", "--asr_args", "--max_epoch 3", "--nj", "1"]
    assert cli.run(unit_ablation.main, arguments) == 1
    assert "variant nclusters_9, seed 0: run.sh failed (exit code 3)" in capfd.readouterr().err
    (tmp_path / "may_run").touch()
    (tmp_path / "calls").unlink()
    assert cli.run(unit_ablation.main, arguments) == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 4
    assert all(
        "--expdir exp/a --dumpdir exp/a/dump --asr_args --max_epoch 3 --nj 1" in call
        for call in calls
    )
    assert [call.rpartition("--asr_args ")[2] for call in calls] == [
        f"--max_epoch 3 --seed {seed}" for seed in (0, 2, 0, 2)
    ]
    assert f"--python {sys.executable}" in calls[0] and "--test_sets valid" in calls[0]
    table = (tmp_path / "exp/a/ABLATION.md").read_text()
    assert "| base | so_meaning_text | CER 21.00 (20.00, 22.00) | 60 s | 0.050 |" in table
    numbers = json.loads((tmp_path / "exp/a/ablation.json").read_text())
    assert numbers["variants"]["en"]["nclusters_9"]["rates"]["meaning"] == ["cer", [20.0, 22.0]]
    assert cli.run(unit_ablation.main, ["--recipe", str(tmp_path / "x")]) == 1
    assert "name the folder of a recipe" in capfd.readouterr().err
