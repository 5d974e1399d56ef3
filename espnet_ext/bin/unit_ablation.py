"""Train variants of a system that reads discrete units, and write one table of their errors."""

import os
import subprocess
import sys
from collections.abc import Sequence

from espnet_ext.bin import cli
from espnet_ext.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Train variants of a system that reads discrete units, each of which differs from the "
        "recipe's options in one, and write one table of their errors. A second call continues. "
        "Options of run.sh follow after --, such as --nj 4."
    )
    parser.add_argument(
        "--recipe", default="egs2/mini_l2/discrete1", metavar="DIR", help="folder of the recipe"
    )
    parser.add_argument("--system", default="so_meaning_text", help="system that is trained")
    parser.add_argument("--langs", type=cli.words, default=["en"], help="languages")
    parser.add_argument("--seeds", type=cli.words, default=["0"], help="seeds of each training")
    parser.add_argument(
        "--dset", default="valid", help="set whose errors are compared: choose on validation sets"
    )
    parser.add_argument("--upsample", type=cli.words, default=[], help='factors: "1 2 6"')
    parser.add_argument(
        "--nclusters", type=cli.words, default=[], help='numbers of centroids: "100 1000"'
    )
    parser.add_argument(
        "--residual_nclusters",
        type=cli.words,
        default=[],
        help='centroids of a second codebook: "100"',
    )
    parser.add_argument(
        "--kmeans_feature",
        type=cli.words,
        default=[],
        help='features and layers: "mfcc exp/en/do_small/1 exp/en/do_small/2"',
    )
    parser.add_argument(
        "--src_case", type=cli.words, default=[], help="ts: also with repeated units"
    )
    parser.add_argument(
        "--text_data",
        default="",
        metavar='"DIR …"',
        help="also train with external text: data directories without audio, relative to the "
        "recipe",
    )
    parser.add_argument(
        "--without_text",
        default="",
        metavar="SYSTEM",
        help="also train this system, which reads speech only",
    )
    parser.add_argument(
        "--audio_config",
        default="",
        metavar="FILE",
        help="also train on audio with this configuration, such as train_small.yaml",
    )
    parser.add_argument(
        "--audio_system", default="so_meaning", help="system that is trained on audio"
    )
    parser.add_argument(
        "--dir",
        default="exp/unit_ablation",
        help="folder for experiments and the table, relative to the recipe",
    )
    parser.add_argument("--python", default=sys.executable, help="interpreter of the trainings")
    arguments = list(sys.argv[1:] if argv is None else argv)
    split = arguments.index("--") if "--" in arguments else len(arguments)
    args = parser.parse_args(arguments[:split])
    further = arguments[split + 1 :]

    from pathlib import Path

    from espnet_ext.files import write_json, write_text
    from espnet_ext.pipeline import unit_ablation as ablation
    from espnet_ext.pipeline.recipe import read_recipe
    from espnet_ext.provenance import provenance

    recipe = Path(args.recipe).resolve()
    script = recipe / "run.sh"
    if not script.is_file():
        raise UserError(f"{script}: no such file", "name the folder of a recipe: --recipe DIR")
    for seed in args.seeds:
        if not seed.isdecimal():
            raise UserError(f"--seeds: '{seed}' is not a number", 'write, for example, "0 1 2"')
    seeds = [int(seed) for seed in args.seeds]
    factors = ablation.Factors(
        args.upsample,
        args.nclusters,
        args.residual_nclusters,
        args.kmeans_feature,
        args.src_case,
        args.without_text,
        args.audio_config,
        args.audio_system,
        args.text_data,
    )
    rows = ablation.variants(factors, args.system)
    asr_args = ablation.training_options(read_recipe(recipe), further)
    common = ["--stop_stage", "13", "--inference_tag", "decode", "--test_sets", args.dset]
    common += ["--langs", " ".join(args.langs), "--python", args.python]
    common += ["--expdir", args.dir, "--dumpdir", f"{args.dir}/dump", *further]
    for number, row in enumerate(rows, 1):
        for seed in seeds:
            print(f"variant {number} of {len(rows)}: {row.name}, seed {seed}", flush=True)
            training = f"{asr_args} {ablation.SEED} {seed}".strip()
            options = [*row.arguments(seed), "--asr_args", training]
            command = ["bash", str(script), *common, *options]
            status = subprocess.run(command, env={**os.environ}).returncode
            if status:
                raise UserError(
                    f"variant {row.name}, seed {seed}: run.sh failed (exit code {status})",
                    "see its message above; the same command continues",
                )
    folder = recipe / args.dir
    lines = ["# Ablation of discrete units", ""]
    numbers = {}
    for lang in args.langs:
        values = {
            row.name: ablation.results(folder, lang, row, seeds, args.dset, "decode")
            for row in rows
        }
        header, *cells = ablation.table_rows(rows, values)
        lines += [
            f"{lang}, {args.dset}, seeds {' '.join(args.seeds)}. Error rates in percent: mean, and "
            "each seed in parentheses. Times are means of the seeds. Every variant differs from "
            "the base in the option that names it.",
            "",
            *(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *cells]),
            "",
        ]
        numbers[lang] = values
    write_text(folder / "ABLATION.md", "\n".join(lines))
    facts = {"set": args.dset, "seeds": seeds, "variants": numbers}
    write_json(
        folder / "ablation.json", {**facts, "provenance": provenance("unit_ablation", arguments)}
    )
    print("\n".join(lines))
    print(folder / "ABLATION.md")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
