"""Speed of decoding all outputs, compared with stock ESPnet: `python benchmarks/decode.py --help`.

All decoders use the same weights, audio, threads and search options. Stock ESPnet decodes one head
at a time, each exported to a model directory of its own (as in stage 14):

- stock, single utterances, exact: `Speech2Text(wave)`, exact CTC scores (`ctc_window_margin=0`)
- stock, batches of 16, exact: `Speech2Text.batch_decode`, exact CTC scores
- stock, batches of 16, default window: the same with the default window, which approximates CTC

Rounds are interleaved, so that a change of the machine's load affects all decoders. Start-up and
loading are not timed. Hypotheses are compared in the same run: a speed is only comparable if the
transcripts are the same.
"""

import argparse
import contextlib
import functools
import io
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BATCH_SIZE = 16
EXACT_MARGIN, DEFAULT_MARGIN = 0, 100  # ESPnet's `ctc_window_margin`; 0: no window
OURS = "ours"
BATCHES = f"stock, batches of {BATCH_SIZE}, exact"
SINGLE = "stock, single utterances, exact"
DEFAULT_WINDOW = f"stock, batches of {BATCH_SIZE}, default window"
Hypotheses = dict[str, list[tuple[tuple[int, ...], float]]]  # output → ids, score per utterance


def read_audio(data: Path, limit: int, sample_rate: int) -> list:
    """Return the samples of the first `limit` utterances of a dumped set, longest first."""
    from espnet_ext.data.audio import load_audio
    from espnet_ext.data.table import read_table

    sources = read_table(data / "wav.scp")
    waves = [load_audio(sources[utt_id], sample_rate)[0] for utt_id in sorted(sources)[:limit]]
    return sorted(waves, key=len, reverse=True)


def stock_decoders(
    options: argparse.Namespace, export_dir: Path, ctc_window_margin: int
) -> dict[str, Callable]:
    """Return stock ESPnet's `Speech2Text` for every output, or for `--head` only."""
    from espnet_ext.model.export import export_head
    from espnet_ext.model.load import load_model

    model, _ = load_model(options.model_dir)
    with contextlib.redirect_stderr(io.StringIO()):
        from espnet2.bin.asr_inference import Speech2Text
    decoders = {}
    for name, head in model.heads.items():
        if options.head not in (None, name):
            continue
        exported = export_head(options.model_dir, name, export_dir / name)
        ctc_weight = {"ctc": 1.0, "attention": 0.0}.get(head.options.branch, options.ctc_weight)
        decoders[name] = Speech2Text(
            asr_train_config=str(exported / "config.yaml"),
            asr_model_file=str(exported / "model.pth"),
            beam_size=options.beam_size,
            ctc_weight=ctc_weight,
            lm_weight=0.0,
            nbest=1,
            maxlenratio=options.maxlenratio,
            ctc_window_margin=ctc_window_margin,
            device=options.device,
        )
    return decoders


def our_decoders(options: argparse.Namespace, waves: Sequence) -> dict[str, Callable]:
    """Return functions that decode `waves`: all outputs, and each of several outputs alone."""
    from espnet_ext.decoding.api import DualSpeech2Text
    from espnet_ext.decoding.options import ESPNET

    settings = {
        **ESPNET,
        "beam_size": options.beam_size,
        "ctc_weight": options.ctc_weight,
        "maxlenratio": options.maxlenratio,
    }
    recogniser = DualSpeech2Text.from_pretrained(
        options.model_dir, device=options.device, precision=options.precision, **settings
    )
    decoders: dict[str, Callable] = {OURS: functools.partial(decode_by_us, recogniser, waves)}
    if len(recogniser.outputs) > 1:
        for name in recogniser.outputs:
            single_output = recogniser.restricted(name, recogniser.active[name])
            decoders[f"ours, {name} only"] = functools.partial(decode_by_us, single_output, waves)
    return decoders


def all_decoders(
    options: argparse.Namespace, waves: Sequence, export_dir: Path, names: Sequence[str]
) -> dict[str, Callable[[], Hypotheses]]:
    """Return functions that decode `waves`, by name; only those in `names` are loaded."""
    decoders: dict[str, Callable[[], Hypotheses]] = {}
    if OURS in names:
        decoders |= our_decoders(options, waves)
    if BATCHES in names or SINGLE in names:
        exact = stock_decoders(options, export_dir / "exact", EXACT_MARGIN)
        if BATCHES in names:
            decoders[BATCHES] = functools.partial(decode_batches, exact, waves)
        if SINGLE in names:
            decoders[SINGLE] = functools.partial(decode_single, exact, waves)
    if DEFAULT_WINDOW in names:
        windowed = stock_decoders(options, export_dir / "default", DEFAULT_MARGIN)
        decoders[DEFAULT_WINDOW] = functools.partial(decode_batches, windowed, waves)
    return decoders


def decode_by_us(recogniser, waves: Sequence) -> Hypotheses:
    results = recogniser.batch(waves)
    return {
        name: [(result.best[name].token_ids, result.best[name].score) for result in results]
        for name in recogniser.outputs
    }


def decode_single(decoders: dict[str, Callable], waves: Sequence) -> Hypotheses:
    return {name: [_best(decoder(wave)) for wave in waves] for name, decoder in decoders.items()}


def decode_batches(decoders: dict, waves: Sequence) -> Hypotheses:
    return {
        name: [
            _best(nbest)
            for start in range(0, len(waves), BATCH_SIZE)
            for nbest in decoder.batch_decode(list(waves[start : start + BATCH_SIZE]))
        ]
        for name, decoder in decoders.items()
    }


def _best(nbest: Sequence) -> tuple[tuple[int, ...], float]:
    """Return ids and score of the best hypothesis in the format of `Speech2Text`."""
    _, _, token_ids, hypothesis = nbest[0]
    ids, eos = list(token_ids), int(hypothesis.yseq[-1])
    while ids and ids[-1] == eos:  # stock keeps one if the hypothesis has the maximum length
        ids.pop()
    return tuple(ids), float(hypothesis.score)


def differences(ours: Hypotheses, others: Hypotheses) -> dict[str, float]:
    """Return how many transcripts differ, and the largest differences of scores."""
    pairs = [pair for name in others for pair in zip(ours[name], others[name], strict=True)]
    different = [abs(a[1] - b[1]) for a, b in pairs if a[0] != b[0]]
    equal = [abs(a[1] - b[1]) for a, b in pairs if a[0] == b[0]]
    return {
        "transcripts": len(pairs),
        "differ": len(different),
        "largest score difference of equal ones": max(equal, default=0.0),
        "largest score difference of others": max(different, default=0.0),
    }


def compare_memory(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Print and return the memory in MiB of a process that decodes; stock has one per output."""
    from espnet_ext.model.load import load_config

    ours = _run_memory_process(OURS, [])
    stock = max(
        (
            _run_memory_process(BATCHES, ["--head", output])
            for output in load_config(options.model_dir)["outputs"]
        ),
        key=lambda memory: memory["peak"],
    )
    for name, memory in ((OURS, ours), (BATCHES, stock)):
        print(f"{name}: {memory['loaded']:.0f} MiB when loaded, peak {memory['peak']:.0f} MiB")
    ours_added, stock_added = (memory["peak"] - memory["loaded"] for memory in (ours, stock))
    print(
        f"ratio of the peaks: {ours['peak'] / stock['peak']:.2f}, of what decoding adds: "
        f"{ours_added / stock_added:.2f}"
    )
    return {OURS: ours, BATCHES: stock}


def _run_memory_process(name: str, further_options: Sequence[str]) -> dict[str, float]:
    command = [sys.executable, *sys.argv, "--only", name, *further_options]
    completed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(completed.stdout.splitlines()[-1])


def measure_memory(options: argparse.Namespace, waves: Sequence, export_dir: Path) -> None:
    """Print the memory of this process, in MiB, before it decodes and its peak, as JSON."""
    decode = all_decoders(options, waves, export_dir, [options.only])[options.only]
    loaded = _process_status("VmRSS")
    decode()
    print(json.dumps({"loaded": loaded, "peak": _process_status("VmHWM")}))


def _process_status(key: str) -> float:
    """Return a value of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(key + ":"))
    return int(line.split()[1]) / 1024


def measure_time(
    decoders: dict[str, Callable[[], Hypotheses]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, Hypotheses]]:
    """Return the seconds of every round, and the hypotheses, by decoder."""
    decoders[OURS]()  # the first call is slower
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    hypotheses = {}
    for number in range(1, rounds + 1):
        for name, decode in decoders.items():
            start = time.perf_counter()
            hypotheses[name] = decode()
            seconds[name].append(time.perf_counter() - start)
            print(f"round {number}: {name}: {seconds[name][-1]:.2f} s", flush=True)
    return seconds, hypotheses


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model_dir", type=Path, required=True, help="a trained system")
    parser.add_argument(
        "--data", type=Path, required=True, help="a dumped set, e.g. dump/raw/en/test"
    )
    parser.add_argument("--limit", type=int, default=48, help="number of utterances")
    parser.add_argument("--rounds", type=int, default=3, help="times that each decoder is timed")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--beam_size", type=int, default=10)
    parser.add_argument("--ctc_weight", type=float, default=0.3)
    parser.add_argument("--maxlenratio", type=float, default=0.0)
    parser.add_argument(
        "--only_batched", action="store_true", help=f"of stock ESPnet, only run '{BATCHES}'"
    )
    parser.add_argument("--precision", default="float32", help="precision of our decoder")
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead of time")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # for the processes of --memory
    parser.add_argument("--head", help="decode only this output with stock ESPnet")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    sys.path.insert(0, str(ROOT))
    import torch

    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    from espnet_ext.decoding.api import sample_rate_of
    from espnet_ext.model.load import load_config

    if options.memory and not options.only:
        write_json(options.json, compare_memory(options))
        return
    sample_rate = sample_rate_of(load_config(options.model_dir))
    waves = read_audio(options.data, options.limit, sample_rate)
    audio_seconds = sum(map(len, waves)) / sample_rate
    names = [OURS, BATCHES] if options.only_batched else [OURS, BATCHES, SINGLE, DEFAULT_WINDOW]
    with tempfile.TemporaryDirectory() as folder:
        if options.only:
            measure_memory(options, waves, Path(folder))
            return
        decoders = all_decoders(options, waves, Path(folder), names)
        seconds, hypotheses = measure_time(decoders, options.rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print("\n| decoder | s | audio s per s | ratio to ours | differ |\n|---|---|---|---|---|")
    results = {}
    for name, median in medians.items():
        compared = differences(hypotheses[OURS], hypotheses[name])
        results[name] = {"seconds": seconds[name], "median": median, **compared}
        print(
            f"| {name} | {median:.2f} | {audio_seconds / median:.1f} | "
            f"{median / medians[OURS]:.2f} | {compared['differ']} |"
        )
    machine = {
        "cpus": os.cpu_count(),
        "threads": options.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
    print(f"{len(waves)} utterances, {audio_seconds:.0f} s of audio; {machine}")
    report = {
        "options": vars(options),
        "audio_seconds": audio_seconds,
        "machine": machine,
        "decoders": results,
    }
    write_json(options.json, report)


def write_json(path: Path | None, value: object) -> None:
    if path is not None:
        path.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
