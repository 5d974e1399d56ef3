"""Checks of option values that concern several options, or the words of one.

Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping

from espnet_ext.errors import did_you_mean
from espnet_ext.pipeline import languages
from espnet_ext.pipeline.names import check_names, check_stages, selected_stages
from espnet_ext.pipeline.options import TOKEN_TYPES
from espnet_ext.pipeline.usage import UsageError
from espnet_ext.pipeline.variants import CANONICAL


def check_values(values: Mapping[str, str]) -> None:
    """Check what concerns several options; every value alone is valid already."""
    for name in ("datadir", "dumpdir", "expdir"):
        if any(char.isspace() or char == "," for char in values[name]):
            raise UsageError(
                f"--{name} '{values[name]}' has a space or a comma, which ESPnet does not allow",
                "choose another folder",
            )
    if bad := [word for word in values["skip_stages"].split() if not word.isdecimal()]:
        raise UsageError(
            f"--skip_stages '{values['skip_stages']}': {bad[0]} is not a number",
            'separate numbers by spaces, for example --skip_stages "7 8"',
        )
    if bad := sorted(set(values["canonical_prior"].split()) - set(CANONICAL)):
        raise UsageError(
            f"--canonical_prior '{values['canonical_prior']}': unknown: {bad[0]}",
            f"write one or both of {' '.join(CANONICAL)}",
        )
    if int(values["ngram_num"]) < 2:
        raise UsageError(
            f"--ngram_num {values['ngram_num']}: the order of an n-gram model is at least 2",
            "write, for example, --ngram_num 4",
        )
    if values["cmd"] == "slurm" and shutil.which("sbatch") is None:
        raise UsageError(
            "--cmd slurm, but there is no sbatch on this machine",
            "run it on a machine that submits to slurm, or use --cmd local",
        )
    if values["cmd"] == "local" and int(values["num_nodes"]) > 1:
        raise UsageError(
            f"--num_nodes {values['num_nodes']} with --cmd local",
            "several nodes need --cmd slurm; on this machine, several GPUs are used by --ngpu N",
        )
    processes = int(values["num_nodes"]) * max(1, int(values["ngpu"]))
    if int(values["shards"]) % processes:
        raise UsageError(
            f"--shards {values['shards']} cannot be divided evenly over {processes} processes",
            f"choose a multiple of --ngpu times --num_nodes, {processes}",
        )
    if int(values["shards"]) and values["kmeans_feature"]:
        raise UsageError(
            "--shards contain audio, but --kmeans_feature trains on discrete units",
            "leave out --shards",
        )
    for option in ("ngpu", "num_nodes"):
        for arguments in ("asr_args", "lm_args", "inference_args"):
            words = [word.partition("=")[0] for word in shlex.split(values[arguments])]
            if f"--{option}" in words:
                raise UsageError(
                    f"--{arguments} has --{option}, which run.sh itself sets",
                    "use --gpu_inference true"
                    if arguments == "inference_args"
                    else f"write --{option} N outside of --{arguments}",
                )
    for name in ("langs", "systems", "test_sets", "train_sets", "twins"):
        check_names(name, values[name].split())
    for name in ("train_set", "valid_set", "asr_tag", "inference_tag", "km_tag", "input_tag"):
        check_names(name, [values[name]] if values[name] else [])
    for system in values["twins"].split():
        if system not in values["systems"].split():
            raise UsageError(
                f"--twins: {system} is not one of --systems", f"name some of: {values['systems']}"
            )
    stages = selected_stages(values)
    check_stages(values, stages)
    if not values["hf_repo"] and (15 in stages or 16 in stages):
        raise UsageError(
            "--skip_upload false without --hf_repo", "name the repository: --hf_repo user/name"
        )


def check_token_types(lang: str, value: str) -> dict[str, str]:
    """Return the token type of every output of a language."""
    for word in value.split():
        name, equals, kind = word.partition("=")
        if name and equals and kind in TOKEN_TYPES:
            continue
        known = f"the types are {', '.join(TOKEN_TYPES)}, for example surface=phone"
        if name and kind:
            raise UsageError(
                f"--token_types of {lang}: {word}: there is no token type '{kind}'",
                did_you_mean(kind, TOKEN_TYPES, known, form=f"{name}={{}}"),
            )
        raise UsageError(f"--token_types of {lang}: '{word}' is not OUTPUT=TYPE", known)
    return languages.parse_pairs(value)


def log_options(loggers: str) -> str:
    """Return ESPnet's options for what --log_to names.

    >>> log_options("wandb")
    '--use_tensorboard false --use_wandb true'
    """
    words = loggers.split()
    if not words:
        return ""
    for word in words:
        if word not in ("tensorboard", "wandb", "none") or (word == "none" and len(words) > 1):
            raise UsageError(
                f"--log_to '{loggers}': not tensorboard, wandb or none",
                'write, for example, --log_to "tensorboard wandb"',
            )
    return " ".join(
        f"--use_{name} {str(name in words).lower()}" for name in ("tensorboard", "wandb")
    )
