"""Discrete against continuous input: storage, and time of training and decoding.

python benchmarks/unit_input.py --audio_model exp/en/so_meaning_small \
    --units_model exp/en/so_meaning_units_small --data dump/raw/en/test

Both models are of the same outputs. A training step is forward and backward pass of the same batch
of utterances; the input ids are made before, as for training. Decoding begins with audio for both.
Seconds are those of the CPU, the fastest of several repetitions, which alternate.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from espnet_ext.data.audio import load_audio  # noqa: E402
from espnet_ext.data.directory import read_sources  # noqa: E402
from espnet_ext.data.record import NA  # noqa: E402
from espnet_ext.data.table import read_table  # noqa: E402
from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.provenance import provenance  # noqa: E402
from espnet_ext.units.sequences import units_to_text  # noqa: E402

MEL_CHANNELS, SHIFT = 80, 0.01  # of the continuous features, shift in seconds


def storage(
    recogniser: DualSpeech2Text, sources: dict[str, str], seconds: float
) -> dict[str, float]:
    """Return bytes per second of audio of several forms of the same utterances."""
    assert recogniser.units is not None
    vocabulary = recogniser.units.units.vocabulary
    extractor = recogniser.units.units.extractor
    keep = vocabulary.source.repeats == "keep"
    files = units_bytes = units = ids = id_bytes = 0
    for source in sources.values():
        files += Path(source).stat().st_size
        row = extractor(load_audio(source, recogniser.sample_rate)[0], keep_repeats=keep)
        row_ids = vocabulary.unit_ids(row)
        units, ids = units + len(row), ids + len(row_ids)
        units_bytes += len(units_to_text(row).encode())
        id_bytes += len(" ".join(map(str, row_ids)).encode())
    return {
        "audio, 16-bit PCM": 2.0 * recogniser.sample_rate,
        "audio as stored": files / seconds,
        "log-mel features, float32": 4 * MEL_CHANNELS / SHIFT,
        "units, text.rm.units": units_bytes / seconds,
        "input ids, text": id_bytes / seconds,
        "units, packed bits": units * math.log2(vocabulary.source.count) / 8 / seconds,
        "input ids, packed bits": ids * math.log2(len(vocabulary)) / 8 / seconds,
        "units per second": units / seconds,
        "input ids per second": ids / seconds,
    }


def batch_of(
    recogniser: DualSpeech2Text, waves: list, texts: dict[str, list[str]]
) -> dict[str, Any]:
    """Return a batch of the utterances for a training step."""
    inputs = [torch.from_numpy(wave) for wave in waves]
    padding: float = 0.0
    if recogniser.units is not None:
        inputs, padding = recogniser.units.speech(inputs, [""] * len(inputs)), -1
    rows = {"speech": (inputs, padding)}
    for name in recogniser.outputs:
        tokens = [torch.tensor(recogniser.token_ids(name, text)) for text in texts[name]]
        rows[f"text_{name}"] = (tokens, -1)
    batch = {}
    for name, (items, value) in rows.items():
        batch[name] = torch.nn.utils.rnn.pad_sequence(items, True, value)
        batch[f"{name}_lengths"] = torch.tensor([len(item) for item in items])
    return batch


def timed(calls: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """Return the fewest CPU seconds of each call."""
    seconds = dict.fromkeys(calls, math.inf)
    for _ in range(repetitions):
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--audio_model", required=True, help="folder of a system that reads audio")
    parser.add_argument("--units_model", required=True, help="folder of one that reads units")
    parser.add_argument("--data", required=True, help="data directory of both")
    parser.add_argument("--utterances", type=int, default=32)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="save the numbers")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    models = {
        "continuous": DualSpeech2Text.from_pretrained(args.audio_model),
        "discrete": DualSpeech2Text.from_pretrained(args.units_model),
    }
    names = models["discrete"].outputs
    assert names == models["continuous"].outputs, "the models have different outputs"
    texts = {name: read_table(f"{args.data}/text.{name}", empty_ok=True) for name in names}
    labelled = {
        utt_id: path
        for utt_id, path in read_sources(args.data).items()
        if all(texts[name].get(utt_id, NA) not in ("", NA) for name in names)
    }
    sources = dict(list(labelled.items())[: args.utterances])
    waves = [load_audio(path, 16000)[0] for path in sources.values()]
    seconds = sum(map(len, waves)) / 16000
    rows = {name: [texts[name][utt_id] for utt_id in sources] for name in names}
    batches = {kind: batch_of(model, waves, rows) for kind, model in models.items()}

    def step(kind: str) -> None:
        model = models[kind].model.train()
        model.zero_grad()
        model(**batches[kind])[0].backward()

    def decode(kind: str) -> None:
        models[kind].model.eval()
        models[kind].batch(waves)

    training = timed({kind: lambda kind=kind: step(kind) for kind in models}, args.repetitions)
    decoding = timed({kind: lambda kind=kind: decode(kind) for kind in models}, args.repetitions)
    results = {
        "utterances": len(waves),
        "seconds": seconds,
        "bytes per second": storage(models["discrete"], sources, seconds),
        "training step": training,
        "decoding": decoding,
        "provenance": provenance("unit_input", sys.argv[1:]),
    }
    print(f"{len(waves)} utterances, {seconds:.0f} s of audio")
    for name, value in results["bytes per second"].items():
        print(f"  {name}: {value:.1f}")
    for name in ("training step", "decoding"):
        values = results[name]
        ratio = values["continuous"] / values["discrete"]
        print(
            f"{name}: continuous {values['continuous']:.2f} s, discrete {values['discrete']:.2f} s "
            f"({ratio:.2f} times as fast)"
        )
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
