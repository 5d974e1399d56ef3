"""Measure alignment of transcripts and similarity of layers.

- alignment: error counts and alignments of a corpus, against plain Python and jiwer; results are
  compared
- similarity: linear CKA of every pair of layers of three systems from streamed moments, against
  Gram matrices over the same frames; values are compared
"""

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def median_seconds(run: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# -- alignment


def alignment(options: argparse.Namespace) -> dict:
    """Measure aligning and counting `--pairs` utterances of phones with three implementations."""
    from espnet_ext.scoring.counts import align, count_all_edits, count_edits

    references, hypotheses = _phone_pairs(options)
    ways = {"ours": align, "jiwer": _jiwer_align, "plain Python": _plain_align}
    columns, times = {}, {name: [] for name in ways}
    for align_ in ways.values():  # load libraries before measuring
        align_(references[:1], hypotheses[:1])

    def score(name: str) -> None:
        columns[name] = ways[name](references, hypotheses)
        count_all_edits(columns[name])

    for _ in range(options.rounds):  # interleaved
        for name in ways:
            times[name].append(median_seconds(lambda name=name: score(name), 1))
    seconds = {name: statistics.median(values) for name, values in times.items()}
    for name, value in seconds.items():
        ratio = value / seconds["ours"]
        print(f"{name:<14} {value:8.3f} s {ratio:7.1f} times ours", flush=True)
    our_errors, plain_errors = (
        [count_edits(c).errors for c in columns[n]] for n in ("ours", "plain Python")
    )
    facts = {
        "seconds": seconds,
        "errors": sum(our_errors),
        "tokens": count_all_edits(columns["ours"]).tokens,
        "same_errors_as_plain": sum(a == b for a, b in zip(our_errors, plain_errors, strict=True)),
        "same_columns_as_jiwer": _same(columns["ours"], columns["jiwer"]),
        # several alignments can have the same cost
        "same_columns_as_plain": _same(columns["ours"], columns["plain Python"]),
    }
    for name, value in facts.items():
        if name.startswith("same"):
            print(f"{name.replace('_', ' ')}: {value} of {len(our_errors)}")
    if facts["same_errors_as_plain"] < len(our_errors) or facts["same_columns_as_jiwer"] < len(
        our_errors
    ):
        sys.exit("error: the implementations disagree")
    return facts


def _same(first: list[str], second: list[str]) -> int:
    return sum(a == b for a, b in zip(first, second, strict=True))


def _phone_pairs(options: argparse.Namespace) -> tuple[list[list[str]], list[list[str]]]:
    """Return references of `--tokens` phones each, and hypotheses with errors at `--error_rate`."""
    from espnet_ext.text.phones import PHONES

    source = random.Random(0)
    references = [source.choices(PHONES, k=options.tokens) for _ in range(options.pairs)]
    hypotheses = []
    for reference in references:
        hypothesis = []
        for phone in reference:
            kind = source.random() / options.error_rate
            if kind >= 1 / 3:  # else deleted
                hypothesis.append(source.choice(PHONES) if kind < 2 / 3 else phone)
            if 2 / 3 <= kind < 1:
                hypothesis.append(source.choice(PHONES))
        hypotheses.append(hypothesis)
    return references, hypotheses


def _jiwer_align(references: list[list[str]], hypotheses: list[list[str]]) -> list[str]:
    import jiwer

    letters = {"equal": "=", "substitute": "s", "delete": "d", "insert": "i"}
    output = jiwer.process_words(
        references, hypotheses, reference_transform=lambda x: x, hypothesis_transform=lambda x: x
    )
    return [
        "".join(
            letters[c.type] * max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx)
            for c in chunks
        )
        for chunks in output.alignments
    ]


def _plain_align(references: list[list[str]], hypotheses: list[list[str]]) -> list[str]:
    return [_plain(r, h) for r, h in zip(references, hypotheses, strict=True)]


def _plain(reference: list[str], hypothesis: list[str]) -> str:
    """Align by Levenshtein's dynamic programming over the whole table, with backtracking."""
    table = [list(range(len(hypothesis) + 1))]
    for i, token in enumerate(reference, 1):
        above, row = table[-1], [i]
        for j, phone in enumerate(hypothesis, 1):
            row.append(min(above[j - 1] + (token != phone), above[j] + 1, row[j - 1] + 1))
        table.append(row)
    i, j = len(reference), len(hypothesis)
    columns = []
    while i or j:
        if i and j and table[i][j] == table[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]):
            columns.append("=" if reference[i - 1] == hypothesis[j - 1] else "s")
            i, j = i - 1, j - 1
        elif i and table[i][j] == table[i - 1][j] + 1:
            columns.append("d")
            i -= 1
        else:
            columns.append("i")
            j -= 1
    return "".join(reversed(columns))


# -- similarity


def similarity(options: argparse.Namespace) -> dict:
    """Measure CKA of all layer pairs of three systems: streamed moments against Gram matrices.

    The Gram matrices are computed in blocks. Each layer's block is shared by all its pairs, and the
    lower half is omitted. A few blocks are timed, and the total is extrapolated.
    """
    import resource

    import torch

    from espnet_ext.analysis.computation.cka_accumulators import StreamedCka

    torch.set_num_threads(1)
    layers, width, frames = options.layers, options.width, options.frames
    tracked = [(i, i + layers // 3) for i in range(2 * layers // 3)]  # two systems' curves
    batches = _batches(layers, width, frames, options.seed)
    grid, seconds = StreamedCka(tracked, groups=6), 0.0
    peaks = []
    for number, batch in enumerate(batches):
        start = time.perf_counter()
        grid.update(batch, number % 6)
        seconds += time.perf_counter() - start
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    start = time.perf_counter()
    grid.values()
    grid.values(debiased=True)
    seconds += time.perf_counter() - start
    size = options.block
    block = next(_batches(layers, width, size, options.seed + 1, size))
    times = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        _gram_block(block, block)
        times.append(time.perf_counter() - start)
    blocks = math.ceil(frames / size)
    plain = statistics.median(times) * blocks * (blocks + 1) / 2
    few = list(next(_batches(layers, width, size, options.seed + 2, size)))
    streamed = StreamedCka()
    for start in range(0, size, 300):
        streamed.update([layer[start : start + 300] for layer in few])
    values = torch.tensor(streamed.values(), dtype=torch.float64)
    difference = (values - _gram_cka(few)).abs().max()
    quarter = peaks[len(peaks) // 4]
    needed = blocks * (blocks + 1) // 2
    print(
        f"{layers} layers of {width}, {frames} frames: streamed {seconds:.1f} s; Gram matrices "
        f"{plain:.0f} s, extrapolated ({needed} blocks of {statistics.median(times):.2f} s), ratio "
        f"{plain / seconds:.1f}; values differ by at most {difference:.1e} ({size} frames)"
    )
    print(
        f"peak memory: {quarter:.0f} MiB after a quarter of the frames, {peaks[-1]:.0f} at the end"
    )
    return {
        "layers": layers,
        "width": width,
        "frames": frames,
        "seconds": seconds,
        "gram_seconds": plain,
        "ratio": plain / seconds,
        "largest_difference": float(difference),
        "peak_mib_quarter": quarter,
        "peak_mib": peaks[-1],
    }


def _batches(layers: int, width: int, frames: int, seed: int, size: int = 1200):
    """Yield batches of layers with some common directions, as in trained systems."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    mixes = [torch.randn(64, width, generator=generator) for _ in range(layers)]
    for start in range(0, frames, size):
        count = min(size, frames - start)
        common = torch.randn(count, 64, generator=generator)
        yield [common @ mix + 4 * torch.randn(count, width, generator=generator) for mix in mixes]


def _gram_block(rows, columns):
    """Return the sums of products of all pairs of layers' Gram matrices over one block."""
    import torch

    grams = [(x.double() @ y.double().T) for x, y in zip(rows, columns, strict=True)]
    products = torch.zeros(len(grams), len(grams), dtype=torch.float64)
    for i, k in enumerate(grams):
        for j in range(i, len(grams)):
            products[i, j] = products[j, i] = torch.dot(k.flatten(), grams[j].flatten())
    return products


def _gram_cka(layers):
    centred = [x.double() - x.double().mean(0) for x in layers]
    inner = _gram_block(centred, centred)
    norms = inner.diagonal().sqrt()
    return inner / norms[:, None] / norms[None]


VERBS = {"alignment": alignment, "similarity": similarity}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("what", choices=tuple(VERBS))
    parser.add_argument("--pairs", type=int, default=10_000, help="alignment: utterances")
    parser.add_argument("--tokens", type=int, default=40, help="alignment: phones per utterance")
    parser.add_argument("--error_rate", type=float, default=0.15, help="alignment")
    parser.add_argument("--layers", type=int, default=36, help="similarity: layers of all systems")
    parser.add_argument("--width", type=int, default=256, help="similarity: width of each layer")
    parser.add_argument("--frames", type=int, default=75_000, help="similarity: 1,000 x 3 s")
    parser.add_argument(
        "--block", type=int, default=2000, help="similarity: block of Gram matrices"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="file for the measured numbers")
    options = parser.parse_args()
    facts = VERBS[options.what](options)
    if options.json:
        facts = {"options": vars(options), **facts}
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
