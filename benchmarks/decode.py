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
import io
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BATCH = 16
EXACT = 0  # margin of ESPnet's window on CTC: none
Found = dict[str, list[tuple[tuple[int, ...], float]]]  # output → ids and score of each utterance


def read_audio(data: Path, limit: int, rate: int) -> list:
    """Samples of the first `limit` utterances of a dumped set, the longest first."""
    from espnet_ext.data.audio import load_audio
    from espnet_ext.data.table import read_table

    sources = read_table(data / "wav.scp")
    waves = [load_audio(sources[i], rate)[0] for i in sorted(sources)[:limit]]
    return sorted(waves, key=len, reverse=True)


def stock_decoders(folder: Path, place: Path, options: argparse.Namespace, margin: int) -> dict:
    """Stock ESPnet's recogniser of every head."""
    from espnet_ext.model.export import export_head
    from espnet_ext.model.load import load_model

    model, _ = load_model(folder)
    with contextlib.redirect_stderr(io.StringIO()):
        from espnet2.bin.asr_inference import Speech2Text
    found = {}
    for name, branch in model.branches.items():
        target = export_head(folder, name, place / name)
        weight = {"ctc": 1.0, "attention": 0.0}.get(branch.output.branch, options.ctc_weight)
        found[name] = Speech2Text(
            asr_train_config=str(target / "config.yaml"),
            asr_model_file=str(target / "model.pth"),
            beam_size=options.beam_size, ctc_weight=weight, lm_weight=0.0, nbest=1,
            maxlenratio=options.maxlenratio, ctc_window_margin=margin, device=options.device,
        )  # fmt: skip
    return found


def contenders(options: argparse.Namespace, waves: Sequence, place: Path) -> dict[str, Callable]:
    """Name → what decodes all outputs of all audio."""
    from espnet_ext.decoding.api import DualSpeech2Text

    folder = Path(options.model_dir)
    settings = {"beam_size": options.beam_size, "ctc_weight": options.ctc_weight,
                "maxlenratio": options.maxlenratio}  # fmt: skip
    recognise = DualSpeech2Text.from_pretrained(folder, device=options.device, **settings)
    exact = stock_decoders(folder, place / "exact", options, EXACT)

    def ours() -> Found:
        results = recognise.batch(waves)
        return {name: [(r.best[name].token_ids, r.best[name].score) for r in results]
                for name in recognise.model.branches}  # fmt: skip

    def one_by_one() -> Found:
        return {name: [_first(peer(wave)) for wave in waves] for name, peer in exact.items()}

    def in_batches(peers: dict) -> Found:
        return {
            name: [_first(nbest) for i in range(0, len(waves), BATCH)
                   for nbest in peer.batch_decode(list(waves[i : i + BATCH]))]
            for name, peer in peers.items()
        }  # fmt: skip

    def one_output() -> None:
        first = next(iter(recognise.searchers))
        everything = recognise.searchers
        recognise.searchers = {first: everything[first]}
        try:
            recognise.batch(waves)
        finally:
            recognise.searchers = everything

    found: dict[str, Callable] = {"ours": ours, "stock, batch of 16": lambda: in_batches(exact)}
    if not options.only_batched:
        found["stock, one by one"] = one_by_one
        approximate = stock_decoders(folder, place / "default", options, margin=100)
        found["stock, as it comes"] = lambda: in_batches(approximate)
    if len(recognise.searchers) > 1:
        found["ours, first output alone"] = one_output
    return found


def _first(nbest) -> tuple[tuple[int, ...], float]:
    _, _, ids, hypothesis = nbest[0]
    return tuple(ids), float(hypothesis.score)


def differences(ours: Found, theirs: Found) -> dict[str, float]:
    """How many transcripts differ, and by how much the scores do."""
    pairs = [pair for name in ours for pair in zip(ours[name], theirs[name], strict=True)]
    other = [abs(a[1] - b[1]) for a, b in pairs if a[0] != b[0]]
    same = [abs(a[1] - b[1]) for a, b in pairs if a[0] == b[0]]
    return {
        "transcripts": len(pairs), "differ": len(other),
        "largest score difference of equal ones": max(same, default=0.0),
        "largest score difference of others": max(other, default=0.0),
    }  # fmt: skip


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
    with tempfile.TemporaryDirectory() as place:
        runs = contenders(options, waves, Path(place))
        runs["ours"]()  # warm: the first call of anything is slow
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
        compared = differences(found["ours"], found[name]) if found[name] else {}
        facts[name] = {"seconds": times[name], "median": value, **compared}
        print(f"| {name} | {value:.2f} | {seconds / value:.1f}× | {value / medians['ours']:.2f} | "
              f"{compared.get('differ', '')} |")  # fmt: skip
    machine = {"cpus": os.cpu_count(), "threads": options.threads, "torch": torch.__version__,
               "python": platform.python_version(), "load": os.getloadavg()[0]}  # fmt: skip
    print(f"{len(waves)} utterances, {seconds:.0f} s; {machine}")
    if options.json:
        report = {"options": vars(options), "audio_seconds": seconds, "machine": machine,
                  "decoders": facts}  # fmt: skip
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
