"""A recipe with twelve half-second utterances of noise, whose stages take seconds."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from child_processes import free_port

from espnet_ext.bin import tokens
from espnet_ext.data.audio import write_audio
from espnet_ext.data.directory import write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.training import run

CONFIG = {
    "frontend": "default",
    "frontend_conf": {
        "fs": 16000,
        "n_fft": 512,
        "win_length": 400,
        "hop_length": 160,
        "n_mels": 16,
    },
    "normalize": "utterance_mvn",
    "encoder": "conformer",
    "encoder_conf": {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 16,
        "num_blocks": 1,
        "input_layer": "conv2d",
        "rel_pos_type": "latest",
        "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn",
        "use_cnn_module": True,
        "cnn_module_kernel": 3,
    },
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 2, "linear_units": 16, "num_blocks": 1},
    "optim": "adam",
    "optim_conf": {"lr": 0.002},
    "batch_type": "numel",
    "batch_bins": 40000,
    "max_epoch": 2,
    "keep_nbest_models": 2,
    "best_model_criterion": [["valid", "acc", "max"]],
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "num_workers": 0,
}
OUTPUTS = {
    "surface": {"branch": "ctc_attention", "ctc_weight": 0.2, "attention_weight": 0.5},
    "meaning": {"branch": "attention", "attention_weight": 0.3},
}
TEXTS = [
    ("K AE T", "a cat"),
    ("D AO G", "dog"),
    ("K AO", "caw"),
    ("G AE D", "gad"),
    ("T AE K", "tack"),
    (None, "coat"),
    ("D AE D", None),
    ("K AO T", "caught"),
]


@dataclass
class Recipe:
    """Paths and stages of a prepared recipe."""

    root: Path
    token_types: dict[str, str]

    @property
    def data(self) -> run.Data:
        return run.Data(
            self.root / "dump",
            "train",
            "valid",
            self.root / "tokens",
            self.token_types,
            self.root / "stats",
        )

    def write_yaml(self, name: str, value) -> Path:
        path = self.root / f"{name}.yaml"
        # Several processes write this file, and none must read a part of it.
        part = self.root / f"{name}.{os.getpid()}.part"
        part.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
        return part.replace(path)

    def list_tokens(self) -> None:
        for name, kind in self.token_types.items():
            tokens.main(
                [
                    "--input",
                    str(self.root / "dump/train"),
                    "--output_name",
                    name,
                    "--token_type",
                    kind,
                    "--token_dir",
                    str(self.root / f"tokens/{name}_{kind}"),
                    "--vocab_size",
                    "20",
                ]
            )

    def collect(self, config=None) -> None:
        run.collect_stats(self.write_yaml("base", {**CONFIG, **(config or {})}), self.data, [])

    def train(self, exp="exp", config=None, outputs=OUTPUTS, options=(), **changed) -> Path:
        base = self.write_yaml("base", {**CONFIG, **(config or {})})
        overlay = self.write_yaml("system", {"outputs": outputs})
        run.train(base, [overlay], self.data, self.root / exp, list(options), **changed)
        return self.root / exp

    def arguments(self, exp="exp") -> list[str]:
        """Return the arguments of bin.train for the same training."""
        types = " ".join(f"{name}={kind}" for name, kind in self.token_types.items())
        return [
            "--config",
            str(self.root / "base.yaml"),
            "--system",
            str(self.root / "system.yaml"),
            "--data_dir",
            str(self.root / "dump"),
            "--token_dir",
            str(self.root / "tokens"),
            "--outputs",
            types,
            "--stats_dir",
            str(self.root / "stats"),
            "--exp_dir",
            str(self.root / exp),
        ]


def make(root: Path, token_types=None, seconds: float = 0.5, further=None) -> Recipe:
    """Write dump/{train,valid}, token lists and shape files below `root`.

    Args:
        further: additional output → transcripts (or None), repeated over the utterances.
    """
    further = further or {}
    random = np.random.default_rng(0)
    for folder, texts in (("train", TEXTS), ("valid", TEXTS[:4])):
        utterances = []
        for i, (surface, meaning) in enumerate(texts):
            path = root / f"wav/{folder}{i}.wav"
            write_audio(path, 0.1 * random.standard_normal(int(16000 * seconds)), 16000)
            pairs = {"surface": surface, "meaning": meaning}
            pairs |= {name: texts_of[i % len(texts_of)] for name, texts_of in further.items()}
            labelled = {name: text for name, text in pairs.items() if text}
            utterances.append(Utterance(f"s{i}-{folder}{i}", f"s{i}", str(path), labelled))
        write_directory(root / "dump" / folder, utterances, fill_missing=tuple(pairs))
    recipe = Recipe(root, token_types or {"surface": "phone", "meaning": "char"})
    recipe.list_tokens()
    recipe.collect()
    return recipe


def in_two_processes(exp: Path, options=()) -> Path:
    """Repeat the training of `exp` with two gloo processes in a new folder; return the folder."""
    command = shlex.split(json.loads((exp / "train.json").read_text())["command"])[1:]
    folder = exp.with_name(f"{exp.name}-two{len(options)}")
    shutil.copytree(exp, folder, ignore=shutil.ignore_patterns("*.pth", "*.json*"))
    command[command.index("--output_dir") + 1] = str(folder)
    command += [
        "--multiprocessing_distributed",
        "true",
        "--dist_backend",
        "gloo",
        "--dist_world_size",
        "2",
        "--dist_master_addr",
        "127.0.0.1",
        "--dist_master_port",
        str(free_port()),
        *options,
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, *command, "--dist_rank", str(rank)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]
    try:
        errors = [
            process.communicate(timeout=240)[1] for process in processes
        ]  # fails if they hang
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    return folder
