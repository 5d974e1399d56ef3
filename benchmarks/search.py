"""What the search costs: `python benchmarks/search.py {ctc,growth,profile} --help`.

- ctc: CTC prefix scores alone, beside ESPnet's `CTCPrefixScoreTH`, scores compared
- growth: seconds for utterances of 5 to 30 s, and the exponent with which they grow
- profile: where the time goes, and what the arithmetic alone would take on this machine
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
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# -- CTC alone


def ctc(options: argparse.Namespace) -> dict:
    """A step of the scorer (scores of all extensions, states of those that go on), both ways."""
    rows = []
    for batch in (1, 16):
        for vocabulary in (60, 500, 5000):
            logs, lengths, choices = _ctc_problem(batch, options.frames, vocabulary, options)
            ours = _ours_ctc(logs, lengths, choices, options)
            stock = _stock_ctc(logs, lengths, choices, options)
            found, wanted = ours(), stock()
            off = max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))
            times: dict[str, list[float]] = {"ours": [], "stock": []}
            for _ in range(options.rounds):  # interleaved
                times["ours"].append(median_seconds(ours, 1))
                times["stock"].append(median_seconds(stock, 1))
            mine, theirs = (statistics.median(times[name]) / options.steps for name in times)
            rows.append(
                {
                    "batch": batch,
                    "vocabulary": vocabulary,
                    "ours_ms": mine * 1e3,
                    "stock_ms": theirs * 1e3,
                    "ratio": theirs / mine,
                    "off": off,
                }
            )
            print(
                f"B {batch:2} V {vocabulary:4}: {mine * 1e3:8.2f} ms a step, stock "
                f"{theirs * 1e3:8.2f} ms, ratio {theirs / mine:5.1f}, off {off:.1e}",
                flush=True,
            )
    return {"frames": options.frames, "beam": options.beam_size, "rows": rows}


def _ctc_problem(batch: int, frames: int, vocabulary: int, options: argparse.Namespace):
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(batch, frames, vocabulary, generator=random)
    lengths = torch.full((batch,), frames)
    count = min(int(1.5 * options.beam_size), vocabulary)
    choices = []  # of each step: the pre-beam of every hypothesis, and which of it goes on
    for _ in range(options.steps):
        scores = torch.rand(batch, options.beam_size, vocabulary, generator=random)
        scores[..., [0, -1]] = -1.0  # neither blank nor eos
        pre_beam = scores.topk(count, -1).indices
        parents = torch.arange(options.beam_size).expand(batch, -1)
        tokens = pre_beam[..., 0]
        choices.append((pre_beam, parents, tokens))
    return logits.log_softmax(-1), lengths, choices


def _ours_ctc(logs, lengths, choices, options):
    from espnet_ext.decoding.ctc_prefix import BatchCTCPrefixScorer

    def run() -> list[torch.Tensor]:
        vocabulary = logs.size(-1)
        prefix = BatchCTCPrefixScorer(
            logs, lengths, vocabulary - 1, num_scored=choices[0][0].size(-1)
        )
        state = prefix.start(options.beam_size)
        found = []
        for pre_beam, parents, tokens in choices:
            few = prefix.score(state, pre_beam)
            psi = few.new_full((*few.shape[:2], vocabulary), -1e10).scatter_(-1, pre_beam, few)
            found.append(few - state.log_psi.unsqueeze(-1))
            state = prefix.extend(state, psi, parents, tokens)
        return found

    return run


def _stock_ctc(logs, lengths, choices, options):
    from espnet2.legacy.nets.ctc_prefix_score import CTCPrefixScoreTH

    vocabulary, beam = logs.size(-1), options.beam_size

    def run() -> list[torch.Tensor]:
        scorer = CTCPrefixScoreTH(logs.double(), lengths, 0, vocabulary - 1, 0)
        state, found = None, []
        history = torch.full((len(logs) * beam, 1), vocabulary - 1)
        for pre_beam, _, tokens in choices:
            scores, state = scorer(history, state, pre_beam.flatten(0, 1))
            found.append(scores.unflatten(0, (-1, beam)).gather(-1, pre_beam))
            best = torch.arange(beam).unsqueeze(0) * vocabulary + tokens
            state = scorer.index_select_state(state, best)
            history = torch.cat([history, tokens.reshape(-1, 1)], 1)
        return found

    return run


# -- with a model


def load(options: argparse.Namespace, **settings):
    from espnet_ext.decoding.api import DualSpeech2Text

    return DualSpeech2Text.from_pretrained(
        options.model_dir, device=options.device, beam_size=options.beam_size, **settings
    )


def waves_of(options: argparse.Namespace, rate: int) -> list[np.ndarray]:
    from espnet_ext.data.audio import load_audio
    from espnet_ext.data.table import read_table

    sources = read_table(Path(options.data) / "wav.scp")
    return [load_audio(sources[i], rate)[0] for i in sorted(sources)[: options.limit]]


def growth(options: argparse.Namespace) -> dict:
    """Speech of the set put together to given lengths, as many tokens a second for each."""
    recognise = load(
        options, maxlenratio=options.tokens_per_frame, minlenratio=options.tokens_per_frame
    )
    speech = np.concatenate(waves_of(options, recognise.sample_rate))
    durations = (5.0, 10.0, 20.0, 30.0)
    need = int(max(durations) * recognise.sample_rate)
    speech = np.resize(speech, max(need, len(speech)))
    seconds = {}
    for duration in durations:
        wave = speech[: int(duration * recognise.sample_rate)]
        recognise(wave)
        seconds[duration] = median_seconds(lambda wave=wave: recognise(wave), options.rounds)
        print(f"{duration:4.0f} s of audio: {seconds[duration]:6.2f} s", flush=True)
    logs = [(math.log(d), math.log(s)) for d, s in seconds.items()]
    slope = float(np.polyfit(*zip(*logs, strict=True), 1)[0])
    print(f"seconds ~ duration^{slope:.2f}")
    return {"seconds": seconds, "exponent": slope}


def profile(options: argparse.Namespace) -> dict:
    """Seconds by part, and floating-point operations over the machine's best rate for them."""
    from torch.utils.flop_counter import FlopCounterMode

    recognise = load(options, ctc_weight=options.ctc_weight)
    waves = waves_of(options, recognise.sample_rate)
    recognise.batch(waves)
    spent: dict[str, float] = {}
    with _watching(recognise, spent):
        start = time.perf_counter()
        recognise.batch(waves)
        total = time.perf_counter() - start
    spent["everything else"] = total - sum(spent.values())
    rate = _best_rate()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        recognise.batch(waves)
    flops = counter.get_total_flops()
    floor = flops / rate
    for name, value in spent.items():
        print(f"{name:<32} {value:7.2f} s {100 * value / total:5.1f} %")
    print(f"{'together':<32} {total:7.2f} s")
    print(
        f"{flops / 1e9:.0f} GFLOP of matrix products at {rate / 1e9:.0f} GFLOP/s would take "
        f"{floor:.2f} s, {100 * floor / total:.0f} % of it"
    )
    return {
        "seconds": spent,
        "total": total,
        "gflop": flops / 1e9,
        "best_gflops": rate / 1e9,
        "floor": floor,
    }


@contextlib.contextmanager
def _watching(recognise, spent: dict[str, float]) -> Iterator[None]:
    """Time what the parts of a search take."""
    from espnet_ext.decoding.ctc_prefix import BatchCTCPrefixScorer

    undo = []

    def watch(owner, method: str, name: str) -> None:
        original = getattr(owner, method)

        def timed(*args, **kwargs):
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

        kept = vars(owner).get(method)
        setattr(owner, method, timed)
        undo.append((owner, method, kept))

    watch(recognise.model, "encode", "encoder")
    for output, search in recognise.searchers.items():
        for name, (scorer, _) in search.scorers.items():
            watch(scorer, "start", f"{output}: {name}, projecting audio")
            watch(scorer, "step", f"{output}: {name}, steps")
            watch(scorer, "reorder", f"{output}: {name}, cache")
    for method, name in (
        ("__init__", "CTC: start"),
        ("score", "CTC: scores"),
        ("extend", "CTC: states"),
    ):
        watch(BatchCTCPrefixScorer, method, name)
    try:
        yield
    finally:
        for owner, method, kept in undo:
            if kept is None:
                delattr(owner, method)
            else:
                setattr(owner, method, kept)


def _best_rate() -> float:
    """Floating-point operations a second of a large single-precision matrix product."""
    a = torch.randn(1536, 1536)
    a @ a
    return 2 * 1536**3 / min(median_seconds(lambda: a @ a, 1) for _ in range(10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("what", choices=("ctc", "growth", "profile"))
    parser.add_argument("--model_dir", help="a trained system, or one of stock ESPnet")
    parser.add_argument("--data", help="a dumped set, e.g. dump/raw/en/test")
    parser.add_argument("--limit", type=int, default=32, help="utterances")
    parser.add_argument("--beam_size", type=int, default=10)
    parser.add_argument("--ctc_weight", type=float, default=0.3)
    parser.add_argument("--frames", type=int, default=250, help="of ctc")
    parser.add_argument("--steps", type=int, default=10, help="of ctc")
    parser.add_argument("--tokens_per_frame", type=float, default=0.4, help="of growth")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="file to write the figures to")
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
