"""Translate options that remedies of commands name into options of `run.sh`."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from espnet_ext.corpora.registry import Corpus
from espnet_ext.errors import UserError
from espnet_ext.pipeline.options import OPTIONS
from espnet_ext.pipeline.recipe import read_recipe

# Module of a command → its option → option of run.sh, where the two have different names
_RENAMED: dict[str, dict[str, str]] = {
    "prepare": {"data_dir": "datadir"},
    "perturb": {"speeds": "speed_perturb_factors"},
    "format_audio": {"sample_rate": "fs"},
    "filter": {
        "min_seconds": "min_wav_duration",
        "max_seconds": "max_wav_duration",
        "outputs": "token_types",
        "token_types": "token_types",
    },
    "tokens": {"vocab_size": "nbpe"},
    "learn_kmeans": {"clusters": "nclusters", "residual_clusters": "residual_nclusters"},
    "dump_units": {"repeats": "src_case"},
    "unit_tokens": {
        "unit_vocab_size": "src_nbpe",
        "unit_token_type": "src_token_type",
        "text_vocab_size": "text_nbpe",
    },
    "unit_inputs": {"max_length": "max_input_length"},
    "train": {
        "config": "asr_config",
        "system": "systems",
        "symbols": "input_guides",
        "max_length": "max_input_length",
    },
    "decode": {"config": "inference_config"},
}
# Module of a command → option of run.sh that takes further options of the command
_FURTHER = {
    "prepare": "local_data_opts",
    "learn_kmeans": "kmeans_opts",
    "train": "asr_args",
    "lm_train": "lm_args",
    "decode": "inference_args",
}
_OPTION = re.compile(r"--([a-z][a-z0-9_]*)((?: (?:true|false|[0-9.]+))?)")


def translations(command: Sequence[str], lines: Iterable[str]) -> Iterator[str]:
    """Yield how options that the remedies of a command name are given to run.sh.

    Args:
        command: Words of the command.
        lines: Its output.

    >>> filtering = ["python", "-m", "espnet_ext.bin.filter"]
    >>> list(translations(filtering, ["  remedy: change --max_seconds or --overwrite true"]))
    ['in run.sh, --max_seconds is --max_wav_duration']
    >>> learning = ["python", "-m", "espnet_ext.bin.learn_kmeans"]
    >>> list(translations(learning, ["  remedy: choose fewer clusters (--clusters)"]))
    ['in run.sh, --clusters is --nclusters']
    >>> list(translations(["python", "-m", "espnet_ext.bin.decode"], ["  remedy: --beam_size 10"]))
    ['in run.sh, write --inference_args "--beam_size 10"']
    """
    module = _module_of(command)
    renamed = dict(_RENAMED.get(module, {}))
    if module == "prepare" and (corpus := _corpus_of_recipe()):
        for option in corpus.options:
            renamed.setdefault(option.name, option.name_in_recipes or option.name)
    seen = set()
    for line in lines:
        if not line.strip().startswith("remedy:"):
            continue
        for option, value in _OPTION.findall(line):
            if option in seen:
                continue
            seen.add(option)
            name = renamed.get(option)
            if name and name != option:
                yield f"in run.sh, --{option} is --{name}"
            elif not name and option not in OPTIONS and module in _FURTHER:
                yield f'in run.sh, write --{_FURTHER[module]} "--{option}{value or " ..."}"'


def _module_of(command: Sequence[str]) -> str:
    """Return the last part of the name of the module that a command runs; "" for others."""
    words = list(command)
    if "-m" in words:
        return words[words.index("-m") + 1].rpartition(".")[2]
    return "prepare" if words[:2] == ["bash", "local/data.sh"] else ""


def _corpus_of_recipe() -> Corpus | None:
    """Return the corpus of the recipe in the current directory; None if it has none."""
    try:
        return read_recipe(Path()).corpus
    except UserError:
        return None
