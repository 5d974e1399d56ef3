"""How fast both outputs are decoded, beside stock ESPnet: `python benchmarks/decode.py --help`.

Same weights, audio, threads and search options. Stock ESPnet decodes a head at a time, each
exported to a directory of its own (stage 14):

- stock, one by one: `Speech2Text(wave)`, exact CTC scores (`ctc_window_margin=0`)
- stock, batch of 16: `Speech2Text.batch_decode`, exact CTC scores
- stock, as it comes: the same batches with its default margin, whose scores are approximate

The rounds are interleaved, so that a machine that slows down slows all of them; start-up and
loading are left out. Hypotheses are compared in the run: a figure for speed with other transcripts
would say nothing.
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
BATCH = 16
EXACT = 0  # margin of ESPnet's window on CTC: none
OURS, BATCHED, ONE_BY_ONE, DEFAULT = (
    "ours",
    "stock, batch of 16",
    "stock, one by one",
    "stock, as it comes",
)
Found = dict[str, list[tuple[tuple[int, ...], float]]]  # output → ids and score of each utterance


def read_audio(data: Path, limit: int, rate: int) -> list:
    """Samples of the first `limit` utterances of a dumped set, the longest first."""
    from espnet_ext.data.audio import load_audio
    from espnet_ext.data.table import read_table

    sources = read_table(data / "wav.scp")
    waves = [load_audio(sources[i], rate)[0] for i in sorted(sources)[:limit]]
    return sorted(waves, key=len, reverse=True)


def stock_decoders(folder: Path, place: Path, options: argparse.Namespace, margin: int) -> dict:
    """Stock ESPnet's recogniser of every head, or of the one that is asked for."""
    from espnet_ext.model.export import export_head
    from espnet_ext.model.load import load_model

    model, _ = load_model(folder)
    with contextlib.redirect_stderr(io.StringIO()):
        from espnet2.bin.asr_inference import Speech2Text
    found = {}
    for name, branch in model.branches.items():
        if options.head not in (None, name):
            continue
        target = export_head(folder, name, place / name)
        weight = {"ctc": 1.0, "attention": 0.0}.get(branch.output.branch, options.ctc_weight)
        found[name] = Speech2Text(
            asr_train_config=str(target / "config.yaml"),
            asr_model_file=str(target / "model.pth"),
            beam_size=options.beam_size,
            ctc_weight=weight,
            lm_weight=0.0,
            nbest=1,
            maxlenratio=options.maxlenratio,
            ctc_window_margin=margin,
            device=options.device,
        )
    return found


def contenders(
    options: argparse.Namespace, waves: Sequence, place: Path, wanted: Sequence[str]
) -> dict[str, Callable]:
    """Name → what decodes all outputs of all audio; only those wanted are loaded."""
    from espnet_ext.decoding.api import DualSpeech2Text
    from espnet_ext.decoding.options import ESPNET

    folder = Path(options.model_dir)
    settings = {
        **ESPNET,
        "beam_size": options.beam_size,
        "ctc_weight": options.ctc_weight,
        "maxlenratio": options.maxlenratio,
    }
    found: dict[str, Callable] = {}
    if OURS in wanted:
        recognise = DualSpeech2Text.from_pretrained(
            folder, device=options.device, precision=options.precision, **settings
        )

        def ours() -> Found:
            results = recognise.batch(waves)
            return {
                name: [(r.best[name].token_ids, r.best[name].score) for r in results]
                for name in recognise.model.branches
            }

        def alone(output: str) -> None:
            everything = recognise.searchers
            recognise.searchers = {output: everything[output]}
            try:
                recognise.batch(waves)
            finally:
                recognise.searchers = everything

        found[OURS] = ours
        if len(recognise.searchers) > 1 and len(wanted) > 1:
            for name in recognise.searchers:
                found[f"ours, {name} alone"] = functools.partial(alone, name)
    if BATCHED in wanted or ONE_BY_ONE in wanted:
        exact = stock_decoders(folder, place / "exact", options, EXACT)
        if BATCHED in wanted:
            found[BATCHED] = functools.partial(in_batches, exact, waves)
        if ONE_BY_ONE in wanted:
            found[ONE_BY_ONE] = functools.partial(one_by_one, exact, waves)
    if DEFAULT in wanted:
        approximate = stock_decoders(folder, place / "default", options, margin=100)
        found[DEFAULT] = functools.partial(in_batches, approximate, waves)
    return found


def one_by_one(peers: dict, waves: Sequence) -> Found:
    return {name: [_first(peer(wave)) for wave in waves] for name, peer in peers.items()}


def in_batches(peers: dict, waves: Sequence) -> Found:
    return {
        name: [
            _first(nbest)
            for i in range(0, len(waves), BATCH)
            for nbest in peer.batch_decode(list(waves[i : i + BATCH]))
        ]
        for name, peer in peers.items()
    }


def peak_memory(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """MiB of a process that decodes, when it has loaded and at most; stock has one a head."""
    from espnet_ext.model.load import load_config

    heads = list(load_config(options.model_dir)["outputs"])
    found = {OURS: _child(OURS, [])}
    each = [_child(BATCHED, ["--head", head]) for head in heads]
    found[BATCHED] = max(each, key=lambda one: one["peak"])
    mine, theirs = found[OURS], found[BATCHED]
    for name, one in found.items():
        print(f"{name}: {one['loaded']:.0f} MiB loaded, {one['peak']:.0f} MiB at most")
    grown = [one["peak"] - one["loaded"] for one in (mine, theirs)]
    print(
        f"ratio: {mine['peak'] / theirs['peak']:.2f}, of what decoding adds "
        f"{grown[0] / grown[1]:.2f}"
    )
    return found


def _child(name: str, further: Sequence[str]) -> dict[str, float]:
    command = [sys.executable, *sys.argv, "--only", name, *further]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_memory(options: argparse.Namespace, waves: Sequence, place: Path) -> None:
    """In a process of its own: print what it holds before and while it decodes."""
    run = contenders(options, waves, place, [options.only])[options.only]
    loaded = _status("VmRSS")
    run()
    print(json.dumps({"loaded": loaded, "peak": _status("VmHWM")}))


def _status(key: str) -> float:
    text = Path("/proc/self/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith(key + ":"))
    return int(line.split()[1]) / 1024


def _first(nbest) -> tuple[tuple[int, ...], float]:
    _, _, ids, hypothesis = nbest[0]
    ids, eos = list(ids), int(hypothesis.yseq[-1])
    while ids and ids[-1] == eos:  # stock leaves one where the length limit cut a hypothesis off
        ids.pop()
    return tuple(ids), float(hypothesis.score)


def differences(ours: Found, theirs: Found) -> dict[str, float]:
    """How many transcripts differ, and by how much the scores do."""
    pairs = [pair for name in ours for pair in zip(ours[name], theirs[name], strict=True)]
    other = [abs(a[1] - b[1]) for a, b in pairs if a[0] != b[0]]
    same = [abs(a[1] - b[1]) for a, b in pairs if a[0] == b[0]]
    return {
        "transcripts": len(pairs),
        "differ": len(other),
        "largest score difference of equal ones": max(same, default=0.0),
        "largest score difference of others": max(other, default=0.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model_dir", required=True, help="a trained system of this project")
    parser.add_argument("--data", required=True, help="a dumped set, e.g. dump/raw/en/test")
    parser.add_argument("--limit", type=int, default=48, help="utterances")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--beam_size", type=int, default=10)
    parser.add_argument("--ctc_weight", type=float, default=0.3)
    parser.add_argument("--maxlenratio", type=float, default=0.0)
    parser.add_argument("--only_batched", action="store_true", help="leave out the slow baselines")
    parser.add_argument("--precision", default="float32", help="of ours")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of seconds")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # a process of --memory
    parser.add_argument("--head", help="of stock ESPnet, decode this output alone")
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import torch

    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    from espnet_ext.decoding.api import sample_rate_of
    from espnet_ext.model.load import load_config

    rate = sample_rate_of(load_config(options.model_dir))
    waves = read_audio(Path(options.data), options.limit, rate)
    seconds = sum(map(len, waves)) / rate
    if options.memory and not options.only:
        found = peak_memory(options)
        if options.json:
            Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
        return
    wanted = [OURS, BATCHED] if options.only_batched else [OURS, BATCHED, ONE_BY_ONE, DEFAULT]
    with tempfile.TemporaryDirectory() as place:
        if options.only:
            measure_memory(options, waves, Path(place))
            return
        runs = contenders(options, waves, Path(place), wanted)
        runs[OURS]()  # warm: the first call of anything is slow
        times: dict[str, list[float]] = {name: [] for name in runs}
        found = {}
        for number in range(options.rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                found[name] = run()
                times[name].append(time.perf_counter() - start)
                print(f"round {number + 1}: {name}: {times[name][-1]:.2f} s", flush=True)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print("\n| decoder | s | real time | ratio | differ |\n|---|---|---|---|---|")
    facts = {}
    for name, value in medians.items():
        compared = differences(found[OURS], found[name]) if found[name] else {}
        facts[name] = {"seconds": times[name], "median": value, **compared}
        print(
            f"| {name} | {value:.2f} | {seconds / value:.1f}× | {value / medians[OURS]:.2f} | "
            f"{compared.get('differ', '')} |"
        )
    machine = {
        "cpus": os.cpu_count(),
        "threads": options.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
    print(f"{len(waves)} utterances, {seconds:.0f} s; {machine}")
    if options.json:
        report = {
            "options": vars(options),
            "audio_seconds": seconds,
            "machine": machine,
            "decoders": facts,
        }
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
