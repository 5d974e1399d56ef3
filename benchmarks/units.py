"""Discrete units: fit of k-means, share of time of the assignment, memory by size of the corpus.

`python benchmarks/units.py fit --help`. `fit` compares our k-means with scikit-learn's `KMeans` and
`MiniBatchKMeans`, and with faiss if it is installed, on the same sample of frames. `dump` measures
the time of features and of the nearest centroids. `memory` measures the peak memory of processes
that learn and dump units of corpora of several sizes, which repeat the recordings of one.
Seconds are those of the CPU.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from espnet_ext.data.directory import read_sources  # noqa: E402
from espnet_ext.data.table import write_table  # noqa: E402
from espnet_ext.units.corpus import stream_features, stream_waves  # noqa: E402
from espnet_ext.units.dump import dump_units  # noqa: E402
from espnet_ext.units.extractor import UnitExtractor  # noqa: E402
from espnet_ext.units.features import FeatureOptions, build_features  # noqa: E402
from espnet_ext.units.kmeans import fit_kmeans, nearest  # noqa: E402
from espnet_ext.units.learning import LearningOptions, learn  # noqa: E402
from espnet_ext.units.reservoir import Reservoir  # noqa: E402

# Learns and dumps units, and prints the peak memory of its process in MiB.
WORKER = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from espnet_ext.bin import dump_units, learn_kmeans
data, folder = sys.argv[2:4]
learn_kmeans.main(["--input", data, "--output", folder, "--clusters", "100", *sys.argv[4:]])
dump_units.main(["--input", data, "--units", folder])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def options_of(args: argparse.Namespace) -> FeatureOptions:
    kind = "pretrained" if args.model else "log_mel"
    return FeatureOptions(kind=kind, model=args.model, layer=args.layer)


def timed(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def fit(args: argparse.Namespace) -> dict:
    """Compare k-means implementations: CPU seconds, and mean squared distances."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    sample = Reservoir(args.frames, 0)
    features = build_features(options_of(args))
    waves = stream_waves(args.data, features.sample_rate)
    for _, rows in stream_features(features, waves, args.data):
        sample.add(rows.numpy())
    frames, clusters = np.ascontiguousarray(sample.rows), args.clusters
    methods: dict[str, Callable[[], np.ndarray]] = {
        "scikit-learn KMeans": lambda: (
            KMeans(clusters, n_init=1, random_state=0).fit(frames).cluster_centers_
        ),
        "ours": lambda: fit_kmeans(frames, clusters).centroids,
        "scikit-learn MiniBatchKMeans": lambda: (
            MiniBatchKMeans(clusters, n_init=1, random_state=0).fit(frames).cluster_centers_
        ),
    }
    try:
        import faiss

        faiss.omp_set_num_threads(args.threads)

        def by_faiss() -> np.ndarray:
            method = faiss.Kmeans(
                frames.shape[1], clusters, niter=25, seed=0, max_points_per_centroid=len(frames)
            )
            method.train(frames)
            return method.centroids

        methods["faiss, 25 iterations"] = by_faiss
    except ImportError:
        pass
    fit_kmeans(frames[: 10 * args.threads + 100], 10)  # loads libraries
    data = torch.from_numpy(frames)
    results: dict = {"frames": len(frames), "size": frames.shape[1], "clusters": clusters}
    for name, method in methods.items():
        seconds, centroids = timed(method)
        _, distances = nearest(data, torch.from_numpy(np.asarray(centroids, "float32")))
        inertia = float(distances.double().mean())
        results[name] = {"seconds": seconds, "inertia": inertia}
        first = results["scikit-learn KMeans"]
        print(
            f"{name}: {seconds:.2f} s, {first['seconds'] / seconds:.1f} times as fast; "
            f"mean squared distance {inertia:.3f} ({inertia / first['inertia'] - 1:+.2%})"
        )
    return results


def dump(args: argparse.Namespace) -> dict:
    """Measure the share of time that the nearest centroids take."""
    features = build_features(options_of(args))
    model = learn(features, [args.data], LearningOptions(args.clusters, max_frames=args.frames))
    with tempfile.TemporaryDirectory() as folder:
        done = dump_units(
            UnitExtractor(features, model), args.data, Path(folder) / "units", "remove"
        )
    share = done.assignment_seconds / (done.assignment_seconds + done.feature_seconds)
    print(
        f"{args.clusters} clusters: {done.frames} frames; features {done.feature_seconds:.1f} s, "
        f"nearest centroids {done.assignment_seconds:.2f} s: {share:.1%} of the time"
    )
    return {"clusters": args.clusters, "share": share, **vars(done)}


def memory(args: argparse.Namespace) -> dict:
    """Measure the peak memory of learning and dumping by number of utterances."""
    sources = list(read_sources(args.data).values())
    results = {}
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data"
            ids = [f"u{i:07}" for i in range(size)]
            data.mkdir()
            write_table(data / "utt2spk", dict.fromkeys(ids, "s"))
            paths = {utt_id: sources[i % len(sources)] for i, utt_id in enumerate(ids)}
            write_table(
                data / "wav.scp", {i: str(Path(path).resolve()) for i, path in paths.items()}
            )
            words = [sys.executable, "-c", WORKER, str(ROOT), str(data), f"{folder}/kmeans"]
            limit = ["--max_frames", "20000"]
            done = subprocess.run([*words, *limit], capture_output=True, text=True, check=True)
        results[size] = float(done.stdout.split()[-1])
        print(f"{size} utterances: {results[size]:.0f} MiB")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="save the numbers")
    parser.add_argument("--threads", type=int, default=1)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (fit, dump, memory):
        sub = commands.add_parser(command.__name__, help=command.__doc__)
        sub.set_defaults(run=command)
        sub.add_argument("--data", required=True, help="data directory")
        if command is memory:
            sub.add_argument("--sizes", type=int, nargs="+", default=[200, 2000])
            continue
        sub.add_argument("--model", default="", help="pre-trained encoder; log-mel unless given")
        sub.add_argument("--layer", type=int, default=None)
        sub.add_argument("--clusters", type=int, default=500)
        sub.add_argument("--frames", type=int, default=64000, help="of the sample, at most")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = args.run(args)
    if args.json:
        Path(args.json).write_text(json.dumps({args.command: results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
