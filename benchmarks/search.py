"""Cost of the beam search: `python benchmarks/search.py {ctc,growth,profile} --help`.

- ctc: CTC prefix scores alone, compared with ESPnet's `CTCPrefixScoreTH`, in time and values
- growth: time for utterances of 5 to 30 s, and the exponent of its growth
- profile: time per component, and the time that the matrix products alone would take
"""

import argparse
import contextlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402


def median_seconds(run: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


# CTC prefix scores. Symbols: B utterances, K hypotheses per utterance, T frames, V vocabulary size,
# P tokens scored per hypothesis.

# The decisions of one step, the same for both implementations: pre-beam (B, K, P), and parents and
# tokens (B, K) of the surviving hypotheses.
Step = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def ctc(options: argparse.Namespace) -> dict:
    """Time the steps of both scorers: scores of the pre-beam, and states of the survivors."""
    rows = []
    for batch in (1, 16):
        for vocab_size in (60, 500, 5000):
            log_probs, lengths, steps = _random_ctc_search(batch, vocab_size, options)
            ours = _our_ctc_scorer(log_probs, lengths, steps, options.beam_size)
            stock = _stock_ctc_scorer(log_probs, lengths, steps, options.beam_size)
            max_difference = max(
                float((a - b).abs().max()) for a, b in zip(ours(), stock(), strict=True)
            )
            seconds: dict[str, list[float]] = {"ours": [], "stock": []}
            for _ in range(options.rounds):  # interleaved
                seconds["ours"].append(median_seconds(ours, 1))
                seconds["stock"].append(median_seconds(stock, 1))
            ours_ms, stock_ms = (
                1e3 * statistics.median(values) / options.steps for values in seconds.values()
            )
            rows.append(
                {
                    "batch": batch,
                    "vocabulary": vocab_size,
                    "ours_ms": ours_ms,
                    "stock_ms": stock_ms,
                    "ratio": stock_ms / ours_ms,
                    "max_difference": max_difference,
                }
            )
            print(
                f"B {batch:2} V {vocab_size:4}: {ours_ms:8.2f} ms per step, stock "
                f"{stock_ms:8.2f} ms, ratio {stock_ms / ours_ms:5.1f}, "
                f"largest difference {max_difference:.1e}",
                flush=True,
            )
    return {"frames": options.frames, "beam": options.beam_size, "rows": rows}


def _random_ctc_search(
    batch: int, vocab_size: int, options: argparse.Namespace
) -> tuple[torch.Tensor, torch.Tensor, list[Step]]:
    """Return random log probabilities (B, T, V), lengths (B,), and the decisions of every step."""
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(batch, options.frames, vocab_size, generator=random)
    lengths = torch.full((batch,), options.frames)
    pre_beam_size = min(int(1.5 * options.beam_size), vocab_size)
    steps = []
    for _ in range(options.steps):
        scores = torch.rand(batch, options.beam_size, vocab_size, generator=random)
        scores[..., [0, -1]] = -1.0  # neither blank nor eos
        pre_beam = scores.topk(pre_beam_size, -1).indices
        parents = torch.arange(options.beam_size).expand(batch, -1)
        steps.append((pre_beam, parents, pre_beam[..., 0]))
    return logits.log_softmax(-1), lengths, steps


def _our_ctc_scorer(
    log_probs: torch.Tensor, lengths: torch.Tensor, steps: list[Step], beam_size: int
) -> Callable[[], list[torch.Tensor]]:
    from espnet_ext.decoding.ctc_prefix import LOG_ZERO, BatchCTCPrefixScorer

    vocab_size, num_scored = log_probs.size(-1), steps[0][0].size(-1)

    def run() -> list[torch.Tensor]:
        scorer = BatchCTCPrefixScorer(log_probs, lengths, vocab_size - 1, num_scored=num_scored)
        state = scorer.start(beam_size)
        scores = []
        for pre_beam, parents, tokens in steps:
            pre_beam_scores = scorer.score(state, pre_beam)
            log_psi = pre_beam_scores.new_full((*pre_beam.shape[:2], vocab_size), LOG_ZERO)
            log_psi = log_psi.scatter_(-1, pre_beam, pre_beam_scores)
            scores.append(pre_beam_scores - state.log_psi.unsqueeze(-1))
            state = scorer.extend(state, log_psi, parents, tokens)
        return scores

    return run


def _stock_ctc_scorer(
    log_probs: torch.Tensor, lengths: torch.Tensor, steps: list[Step], beam_size: int
) -> Callable[[], list[torch.Tensor]]:
    from espnet2.legacy.nets.ctc_prefix_score import CTCPrefixScoreTH

    vocab_size = log_probs.size(-1)

    def run() -> list[torch.Tensor]:
        scorer = CTCPrefixScoreTH(log_probs.double(), lengths, 0, vocab_size - 1, 0)
        state, scores = None, []
        history = torch.full((len(log_probs) * beam_size, 1), vocab_size - 1)
        for pre_beam, _, tokens in steps:
            all_scores, state = scorer(history, state, pre_beam.flatten(0, 1))
            scores.append(all_scores.unflatten(0, (-1, beam_size)).gather(-1, pre_beam))
            best_ids = torch.arange(beam_size).unsqueeze(0) * vocab_size + tokens
            state = scorer.index_select_state(state, best_ids)
            history = torch.cat([history, tokens.reshape(-1, 1)], 1)
        return scores

    return run


# Measurements with a model


def load_recogniser(options: argparse.Namespace, **settings):
    from espnet_ext.decoding.api import DualSpeech2Text

    return DualSpeech2Text.from_pretrained(
        options.model_dir, device=options.device, beam_size=options.beam_size, **settings
    )


def read_waves(options: argparse.Namespace, sample_rate: int) -> list[np.ndarray]:
    from espnet_ext.data.audio import load_audio
    from espnet_ext.data.table import read_table

    sources = read_table(Path(options.data) / "wav.scp")
    return [
        load_audio(sources[utt_id], sample_rate)[0] for utt_id in sorted(sources)[: options.limit]
    ]


def growth(options: argparse.Namespace) -> dict:
    """Time utterances of given lengths, concatenated from the set, with equal tokens per second."""
    recogniser = load_recogniser(
        options, maxlenratio=options.tokens_per_frame, minlenratio=options.tokens_per_frame
    )
    sample_rate = recogniser.sample_rate
    speech = np.concatenate(read_waves(options, sample_rate))
    durations = (5.0, 10.0, 20.0, 30.0)
    speech = np.resize(speech, max(int(max(durations) * sample_rate), len(speech)))
    seconds = {}
    for duration in durations:
        wave = speech[: int(duration * sample_rate)]
        recogniser(wave)
        seconds[duration] = median_seconds(lambda wave=wave: recogniser(wave), options.rounds)
        print(f"{duration:4.0f} s of audio: {seconds[duration]:6.2f} s", flush=True)
    log_durations = [math.log(duration) for duration in seconds]
    log_seconds = [math.log(value) for value in seconds.values()]
    exponent = float(np.polyfit(log_durations, log_seconds, 1)[0])
    print(f"seconds ~ duration^{exponent:.2f}")
    return {"seconds": seconds, "exponent": exponent}


def profile(options: argparse.Namespace) -> dict:
    """Time the components, and count floating-point operations against the machine's best rate."""
    from torch.utils.flop_counter import FlopCounterMode

    recogniser = load_recogniser(options, ctc_weight=options.ctc_weight)
    waves = read_waves(options, recogniser.sample_rate)
    recogniser.batch(waves)
    seconds: dict[str, float] = {}
    with _timed_components(recogniser, seconds):
        start = time.perf_counter()
        recogniser.batch(waves)
        total = time.perf_counter() - start
    seconds["everything else"] = total - sum(seconds.values())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        recogniser.batch(waves)
    best_rate, operations = _best_flops_per_second(), counter.get_total_flops()
    floor = operations / best_rate
    for name, value in seconds.items():
        print(f"{name:<44} {value:7.2f} s {100 * value / total:5.1f} %")
    print(f"{'total':<44} {total:7.2f} s")
    print(
        f"The matrix products, {operations / 1e9:.0f} GFLOP, would take {floor:.2f} s at "
        f"{best_rate / 1e9:.0f} GFLOP/s: {100 * floor / total:.0f} % of the total"
    )
    return {
        "seconds": seconds,
        "total": total,
        "gflop": operations / 1e9,
        "best_gflops": best_rate / 1e9,
        "floor": floor,
    }


@contextlib.contextmanager
def _timed_components(recogniser, seconds: dict[str, float]) -> Iterator[None]:
    """Add the time spent in each component to `seconds`, by patching its methods."""
    from espnet_ext.decoding.ctc_prefix import BatchCTCPrefixScorer

    patched = []

    def patch(owner, method: str, name: str) -> None:
        original = getattr(owner, method)

        def timed(*args, **kwargs):
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start

        patched.append((owner, method, vars(owner).get(method)))
        setattr(owner, method, timed)

    patch(recogniser.model, "encode", "encoder")
    for output, search in recogniser.searchers.items():
        scorers = getattr(search, "scorers", {})  # greedy and transducer search have none
        for name, (scorer, _) in scorers.items():
            patch(scorer, "start", f"{output}: {name}, encoder output projection")
            patch(scorer, "step", f"{output}: {name}, steps")
            patch(scorer, "reorder", f"{output}: {name}, cache")
    patch(BatchCTCPrefixScorer, "__init__", "CTC: start")
    patch(BatchCTCPrefixScorer, "score", "CTC: scores")
    patch(BatchCTCPrefixScorer, "extend", "CTC: states")
    try:
        yield
    finally:
        for owner, method, original in patched:
            if original is None:  # inherited
                delattr(owner, method)
            else:
                setattr(owner, method, original)


def _best_flops_per_second() -> float:
    """Return the floating-point operations per second of a large float32 matrix product."""
    size = 1536
    matrix = torch.randn(size, size)
    matrix @ matrix
    seconds = min(median_seconds(lambda: matrix @ matrix, 1) for _ in range(10))
    return 2 * size**3 / seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("ctc", "growth", "profile"))
    parser.add_argument("--model_dir", help="a trained system, or a stock ESPnet model directory")
    parser.add_argument("--data", help="a dumped set, e.g. dump/raw/en/test")
    parser.add_argument("--limit", type=int, default=32, help="number of utterances")
    parser.add_argument("--beam_size", type=int, default=10)
    parser.add_argument("--ctc_weight", type=float, default=0.3)
    parser.add_argument("--frames", type=int, default=250, help="ctc: frames per utterance")
    parser.add_argument("--steps", type=int, default=10, help="ctc: search steps")
    parser.add_argument(
        "--tokens_per_frame", type=float, default=0.4, help="growth: tokens per encoder frame"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these is reported")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="file to write the numbers to")
    options = parser.parse_args()
    if options.what != "ctc" and not (options.model_dir and options.data):
        parser.error(f"{options.what} needs --model_dir and --data")
    torch.set_num_threads(options.threads)
    facts = {"ctc": ctc, "growth": growth, "profile": profile}[options.what](options)
    if options.json:
        facts = {"options": vars(options), **facts}
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
