"""Decode a data directory with a stock ESPnet model by ESPnet's own `asr_inference`.

The results have the same files as those of `command.decode_directory`, for a baseline that is
decoded exactly as a user of ESPnet decodes it.
"""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from espnet_ext.data.audio import audio_info
from espnet_ext.data.directory import read_sources
from espnet_ext.data.table import read_table, write_table
from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml, write_json, write_text
from espnet_ext.model import espnet, stock
from espnet_ext.model.archive import find_model_dir
from espnet_ext.model.config import sample_rate_of
from espnet_ext.overwriting import OutputFolder
from espnet_ext.progress import say

_FILES = r"text\.text|decode\.json|asr_inference"
_BY_PROJECT = "(espnet-ext decode; in run.sh: NAME@project=DIR, or --baseline_search project)"
OWN_OPTIONS = "inference.yaml"  # options for asr_inference beside a model that was exported here


def decode_with_stock(
    model_dir: str,
    data: str,
    output_dir: str,
    *,
    weights: str = "model.pth",
    config: str | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write text.text and decode.json; the files of `asr_inference` are in `asr_inference/`.

    Args:
        model_dir: experiment folder of ESPnet's ASR task, an archive, or a name on the hub.
        data: data directory to decode.
        output_dir: where the files are written.
        weights: name of the weights file; model.pth stands for the best that ESPnet wrote.
        config: options for `asr_inference` (YAML); None: inference.yaml beside the model if it is
            there, else ESPnet's defaults.
        device: "cpu" or "cuda".
        overwrite: replace files in `output_dir` that no earlier decoding wrote.
        provenance: command, commit and machine, for decode.json.

    Returns:
        The contents of decode.json.

    Raises:
        UserError: the model is not one of stock ESPnet, its sample rate is not that of the audio,
            or `asr_inference` fails.
    """
    sources = read_sources(data)
    if not sources:
        raise UserError(f"{data}/wav.scp: no utterances", "give a dumped set")
    folder = find_model_dir(model_dir)
    model_config = read_yaml(folder / "config.yaml", missing="give a model folder", exponents=False)
    if not stock.is_stock(model_config):
        raise UserError(
            f"{folder}/config.yaml: not a model of stock ESPnet's ASR task",
            f"decode it by the search of this project {_BY_PROJECT}",
        )
    rate = sample_rate_of(model_config)
    first, source = next(iter(sources.items()))
    audio_rate = audio_info(source).rate
    if audio_rate != rate:
        raise UserError(
            f"{data}/wav.scp: {first}: {audio_rate} Hz, but {folder} is a model for {rate} Hz",
            "asr_inference does not resample: decode it by the search of this project, which does "
            f"{_BY_PROJECT}",
        )
    if config is None and (folder / OWN_OPTIONS).is_file():
        config = str(folder / OWN_OPTIONS)
    parser = espnet.load("asr_inference_parser")()
    defaults = {name: parser.get_default(name) for name in ("beam_size", "ctc_weight")}
    options = {**defaults, **(read_yaml(config) if config else {})}
    with OutputFolder(
        output_dir, "decode_stock", _FILES, inputs=[data, folder], overwrite=overwrite
    ) as target:
        results = target / "asr_inference"
        results.mkdir(exist_ok=True)
        write_text(
            results / "config.yaml",
            yaml.safe_dump(stock.with_existing_files(model_config, folder), allow_unicode=True),
        )
        write_table(results / "wav.scp", {i: str(Path(s).resolve()) for i, s in sources.items()})
        command = [sys.executable, "-m", "espnet2.bin.asr_inference"]
        command += ["--config", config] if config else []
        command += ["--asr_train_config", str(results / "config.yaml")]
        command += ["--asr_model_file", str(folder / stock.find_weights(folder, weights))]
        command += ["--data_path_and_name_and_type", f"{results / 'wav.scp'},speech,sound"]
        command += ["--output_dir", str(results), "--ngpu", str(int(device == "cuda"))]
        start = time.monotonic()
        if subprocess.run(command, check=False).returncode:
            raise UserError(
                f"{folder}: asr_inference failed, see its message above",
                f"correct that, or decode it by the search of this project {_BY_PROJECT}",
            )
        seconds = time.monotonic() - start
        texts = read_table(results / "1best_recog/text", empty_ok=True)
        if missing := [utt_id for utt_id in sources if utt_id not in texts]:
            say(
                f"warning: {results}: asr_inference wrote no hypothesis of {len(missing)} "
                f"utterances (the first is {missing[0]}); they have empty transcripts"
            )
        write_table(target / "text.text", {utt_id: texts.get(utt_id, "") for utt_id in sources})
        audio_seconds = sum(audio_info(source).seconds for source in sources.values())
        facts = {
            "model": folder.name,
            "weights": weights,
            "outputs": [stock.OUTPUT],
            "search": "asr_inference of stock ESPnet",
            "options": {stock.OUTPUT: options},
            "device": device,
            "utterances": len(sources),
            "audio_seconds": audio_seconds,
            "seconds": seconds,
            "rtf": seconds / audio_seconds if audio_seconds else None,
            "provenance": dict(provenance or {}),
        }
        write_json(target / "decode.json", facts)
    return facts
