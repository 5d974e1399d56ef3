"""Trainings of several processes: options, ranks, and which process writes."""

import argparse
import json
import os
import shlex
import subprocess
import sys

import pytest
import tiny_recipe
from child_processes import free_port

from espnet_ext.errors import UserError
from espnet_ext.training.processes import node_rank, process_options

LAUNCHED = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
SLURM = {"SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS": "2", "SLURM_JOB_ID": "7"}


def test_single_node_has_processes_for_several_gpus_only():
    assert process_options(1, 0, [], {}) == process_options(1, 1, [], LAUNCHED) == []
    assert process_options(1, 2, [], {}) == ["--multiprocessing_distributed", "true"]


def test_nodes_without_gpu_use_gloo():
    options = " ".join(process_options(2, 0, [], LAUNCHED))
    assert "--dist_world_size 2" in options and "--dist_backend gloo" in options
    assert "launcher" not in options
    assert "gloo" not in " ".join(process_options(2, 1, [], LAUNCHED))
    options = ["--dist_backend", "mpi"]
    assert "gloo" not in process_options(2, 0, options, LAUNCHED)


def test_slurm_is_the_launcher_within_a_step_of_slurm():
    options = " ".join(process_options(2, 1, [], SLURM))
    assert "--dist_launcher slurm" in options and "--dist_master_port 20007" in options
    with pytest.raises(UserError, match="slurm started 4 processes on 2 nodes"):
        process_options(2, 1, [], {**SLURM, "SLURM_NTASKS": "4"})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "no launcher started this process .RANK, MASTER_ADDR, MASTER_PORT not set"),
        ({**LAUNCHED, "WORLD_SIZE": "3"}, "--num_nodes 2, but WORLD_SIZE is 3"),
        ({**LAUNCHED, "RANK": "2"}, "RANK is 2, not 0 to 1"),
    ],
)
def test_process_without_launcher_raises_user_error_with_the_remedy(environment, message):
    with pytest.raises(UserError, match=message) as caught:
        process_options(2, 0, [], environment)
    assert "MASTER_PORT" in caught.value.remedy and "--cmd slurm" in caught.value.remedy


def test_rank_of_a_node():
    def rank(size=2, dist_rank=None, launcher=None, **environment):
        args = argparse.Namespace(dist_world_size=size, dist_rank=dist_rank, dist_launcher=launcher)
        return node_rank(args, environment)

    assert rank(None, RANK="1") == rank(1, RANK="1") == 0
    assert rank(dist_rank=1) == rank(RANK="1") == rank(launcher="slurm", SLURM_PROCID="1") == 1


def start(recipe, rank, port, *more):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "espnet_ext.bin.train", *recipe.arguments()),
            *("--ngpu", "0", "--num_nodes", "2", *more),
        ],
        env={
            **os.environ,
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_two(recipe, *more):
    port = free_port()
    processes = [start(recipe, rank, port, *more) for rank in (0, 1)]
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    return outputs


@pytest.mark.manual
def test_first_of_two_gloo_processes_finishes_alone(recipe):
    recipe.write_yaml("base", tiny_recipe.CONFIG)
    recipe.write_yaml("system", {"outputs": tiny_recipe.OUTPUTS})
    (first, first_messages), (second, second_messages) = run_two(recipe)
    folder = recipe.root / "exp"
    assert json.loads((folder / "train.json").read_text())["epochs"] == 2
    assert (folder / "model.pth").resolve() == (folder / "valid.acc.ave_2best.pth")
    assert "model.pth ->" in first and "model.pth ->" not in second
    assert "epoch 2/2: valid" in first_messages and "epoch 2/2" not in second_messages
    saved = (folder / "checkpoint.pth").stat().st_mtime_ns

    # Both notice that it is finished; none waits for the other.
    run_two(recipe)
    assert (folder / "checkpoint.pth").stat().st_mtime_ns == saved
    outputs = run_two(recipe, "--overwrite", "true", "--", "--seed", "5")
    assert "starting again" in outputs[0][1] and "starting again" not in outputs[1][1]
    assert len(list(recipe.root.glob("exp.before-*"))) == 1
    command = json.loads((folder / "train.json").read_text())["command"]
    assert "gloo" in shlex.split(command)
