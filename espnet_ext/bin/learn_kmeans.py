"""Learn discrete units: k-means on features of data directories."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--input", required=True, nargs="+", metavar="DIR", help="data directories to learn from"
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for kmeans.npz and units.json"
    )
    parser.add_argument(
        "--features",
        default="log_mel",
        choices=("log_mel", "mfcc", "pretrained", "system"),
        help="log_mel or mfcc; pretrained: a layer of a checkpoint; system: a layer of a trained "
        "system's encoder",
    )
    parser.add_argument(
        "--model",
        default="",
        help="for pretrained: folder or name on the Hugging Face hub; for system: its directory",
    )
    parser.add_argument("--revision", default="", help="for pretrained: commit on the hub")
    parser.add_argument("--weights", default="model.pth", help="for system: weights in --model")
    parser.add_argument(
        "--output_name", default="", help="for system: output whose encoder pass is used"
    )
    parser.add_argument(
        "--layer",
        type=int,
        default=None,
        help="for pretrained and system: output of the n-th block, from 1; 0 is the input of the "
        "first block (default: the encoder output, after the final normalisation)",
    )
    parser.add_argument(
        "--fs", type=audio_options.count, default=16000, help="for log_mel and mfcc: sample rate"
    )
    parser.add_argument(
        "--frame_shift_ms", type=audio_options.count, default=20, help="for log_mel and mfcc"
    )
    parser.add_argument("--clusters", type=audio_options.count, default=500, help="of k-means")
    parser.add_argument(
        "--residual_clusters",
        type=int,
        default=0,
        help="clusters of a second k-means on what the first one leaves (0: none)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers")
    parser.add_argument(
        "--portion",
        type=audio_options.share,
        default=1.0,
        help="share of the utterances that are read, drawn at random",
    )
    parser.add_argument(
        "--max_frames",
        type=int,
        default=0,
        help="frames that k-means reads at most, drawn at random (0: 256 per cluster)",
    )
    audio_options.add_encoder(parser)
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    from espnet_ext.model.load import gpu
    from espnet_ext.overwriting import OutputFolder
    from espnet_ext.units import files
    from espnet_ext.units.features import FeatureOptions, build_features
    from espnet_ext.units.learning import LearningOptions, learn

    options = LearningOptions(
        args.clusters, args.residual_clusters, args.seed, args.portion, args.max_frames
    )
    options.check("learn_kmeans")
    folder = OutputFolder(
        args.output, "learn_kmeans", files.NAMES, inputs=args.input, overwrite=args.overwrite
    )
    folder.check()
    features = FeatureOptions(
        kind=args.features,
        model=args.model,
        revision=args.revision,
        weights=args.weights,
        output=args.output_name,
        layer=args.layer,
        sample_rate=args.fs,
        frame_shift_ms=args.frame_shift_ms,
    )
    device = gpu() if args.ngpu else "cpu"
    extractor = build_features(features, device, where=f"--features {args.features}")
    with folder:
        model = learn(extractor, args.input, options, args.batch_seconds)
        files.write_model(args.output, model)
    inertia = ", ".join(f"{value:.4g}" for value in model.training["inertia"])
    print(
        f"{args.output}: {' + '.join(map(str, model.sizes))} units from "
        f"{model.training['sampled_frames']} of {model.training['frames']} frames; mean squared "
        f"distance {inertia}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
