"""Analyse trained systems: how alike they are inside, what can be read off them, and exchanges."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    _cka_options(_verb(verbs, "cka", "similarity of encoders and decoders, layer by layer"))
    probes = _verb(verbs, "probes", "what linear probes read off each layer of the encoders")
    probes.add_argument("--train", required=True, help="data directory that probes are fitted to")
    probes.add_argument("--max_utterances", type=_count, default=500, help="evenly spread; 0: all")
    probes.add_argument("--max_train", type=_count, default=500, help="evenly spread; 0: all")
    swaps = _verb(
        verbs, "swaps", "every decoder on every encoder, directly and through a linear map"
    )
    swaps.add_argument("--train", required=True, help="data directory that maps are fitted to")
    swaps.add_argument("--config", default=None, help="decoding configuration (YAML)")
    swaps.add_argument("--max_utterances", type=_count, default=100, help="evenly spread; 0: all")
    swaps.add_argument("--max_train", type=_count, default=500, help="evenly spread; 0: all")
    vectors = _verb(verbs, "vectors", "task vectors: lengths, angles, what is written without them")
    vectors.add_argument("--config", default=None, help="decoding configuration (YAML)")
    vectors.add_argument("--max_utterances", type=_count, default=200, help="evenly spread; 0: all")
    partial = verbs.add_parser(
        "partial",
        help="trainings with fewer labels, compared",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    partial.add_argument(
        "--runs",
        nargs="+",
        required=True,
        metavar="PERCENT:WAY=DIR",
        help="scored decodings; way complete, or a system's name; again: a further training of it",
    )
    partial.add_argument("--output_name", required=True, help="output whose labels were taken away")
    partial.add_argument("--output", required=True, help="JSON file to write")
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    run, show = {
        "cka": (_cka, _show_cka),
        "probes": (_probes, _show_probes),
        "swaps": (_swaps, _show_swaps),
        "vectors": (_vectors, _show_vectors),
        "partial": (_partial, _show_partial),
    }[options.verb]
    if options.verb == "partial":
        result = run(options)
    else:
        models = _folders("--models", options.models, parser)
        if len(models) < 2 and options.verb != "vectors":
            parser.error("--models: give at least two systems")
        if options.batch_size < 1:
            parser.error("--batch_size must be at least 1")
        common = {"batch_size": options.batch_size, "device": "cuda" if options.ngpu else "cpu"}
        result = run(options, models, parser, common)

    from espnet_ext.files import write_json
    from espnet_ext.report.provenance import provenance

    result["provenance"] = provenance("analyze", arguments)
    write_json(options.output, result)
    show(result)
    print(f"wrote {options.output}")
    return 0


def _count(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: not a whole number from 0")
    return int(text)


def _verb(verbs, name: str, text: str) -> argparse.ArgumentParser:
    """A verb with the options that all have."""
    verb = verbs.add_parser(
        name,
        help=text,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    verb.add_argument(
        "--models", nargs="+", required=True, metavar="NAME=DIR", help="two or more systems"
    )
    verb.add_argument("--data", required=True, help="data directory, formatted (dump/raw/…)")
    verb.add_argument("--output", required=True, help="JSON file to write")
    verb.add_argument("--batch_size", type=int, default=16, help="utterances a batch")
    verb.add_argument("--ngpu", type=int, default=0, help="0: CPU")
    return verb


def _cka_options(cka: argparse.ArgumentParser) -> None:
    cka.add_argument(
        "--twins",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="the same systems trained from another seed: a ceiling",
    )
    cka.add_argument(
        "--hypotheses",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="folders with text.<output> that these systems decoded from the same data; with them "
        "decoders are also compared free-running",
    )
    cka.add_argument(
        "--measures",
        default="all",
        help="of a sample of rows, separated by commas: cka (linear, with a null), rbf_cka, svcca, "
        "pwcca, procrustes, mutual_knn, rsa; all or none",
    )
    cka.add_argument(
        "--max_rows",
        type=_count,
        default=500,
        help="frames or utterances for --measures, each an N x N matrix; 0: all",
    )
    cka.add_argument("--permutations", type=_count, default=49, help="for the null of --measures")
    cka.add_argument("--max_utterances", type=_count, default=500, help="evenly spread; 0: all")


def _cka(options, models: Mapping[str, str], parser, common: Mapping) -> dict:
    twins = _folders("--twins", options.twins, parser, models)
    hypotheses = _folders("--hypotheses", options.hypotheses, parser, models)

    from espnet_ext.analysis.compare import compare_systems
    from espnet_ext.analysis.measures import MEASURES

    names = {"all": list(MEASURES), "none": []}.get(options.measures)
    names = [name for name in options.measures.split(",") if name] if names is None else names
    if unknown := [name for name in names if name not in MEASURES]:
        parser.error(f"--measures: unknown {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    return compare_systems(
        models,
        options.data,
        twins=twins,
        hypotheses=hypotheses,
        measures=names,
        max_rows=options.max_rows,
        permutations=options.permutations,
        max_utterances=options.max_utterances,
        **common,
    )


def _show_cka(result: Mapping) -> None:
    for pair in result["pairs"]:
        print(f"encoders {pair['a']} – {pair['b']}: {_curve(pair)}")
    for pair in result["decoders"]:
        names = f"{pair['a']}/{pair['output_a']} – {pair['b']}/{pair['output_b']}"
        print(f"decoders {names}, {pair['how']}, by {pair['rows']}: {_curve(pair)}")
    print(f"{result['utterances']} utterances, {result['frames']} frames; debiased linear CKA")


def _curve(pair: Mapping) -> str:
    """Debiased CKA of the layers that both have."""
    known = (point for point in pair["curve"] if point["debiased"] is not None)
    return ", ".join(f"{point['layer']}: {point['debiased']:.2f}" for point in known)


def _probes(options, models: Mapping[str, str], _parser, common: Mapping) -> dict:
    from espnet_ext.analysis.probing import probe_encoders

    return probe_encoders(
        models,
        options.data,
        options.train,
        max_utterances=options.max_utterances,
        max_train=options.max_train,
        **common,
    )


def _show_probes(result: Mapping) -> None:
    print("| task | system | layer | accuracy % | 95 % | control % | tokens alone % | chance % |")
    print("|---|---|---|---|---|---|---|---|")
    for row in result["rows"]:
        names = " | ".join(row[key] for key in ("task", "system", "layer"))
        figures = (row["accuracy"], row["control"], row["alone"], row["chance"])
        accuracy, *others = ("–" if value is None else f"{value:.1f}" for value in figures)
        print(f"| {names} | {accuracy} | {_bounds(row['interval'])} | {' | '.join(others)} |")


def _swaps(options, models: Mapping[str, str], _parser, common: Mapping) -> dict:
    from espnet_ext.analysis.swaps import swap
    from espnet_ext.decoding.options import read_options

    return swap(
        models,
        options.data,
        options.train,
        read_options(options.config) if options.config else {},
        max_utterances=options.max_utterances,
        max_train=options.max_train,
        **common,
    )


def _show_swaps(result: Mapping) -> None:
    print("| output | decoder of | encoder of | way | error % | 95 % | R² |")
    print("|---|---|---|---|---|---|---|")
    for row in sorted(result["rows"], key=lambda row: (row["output"], row["decoder"])):
        rate = "–" if row["rate"] is None else f"{row['rate']:.1f}"
        fit = "–" if row["r2"] is None else f"{row['r2']:.2f}"
        names = (row[key] for key in ("output", "decoder", "encoder", "way"))
        print(f"| {' | '.join(names)} | {rate} | {_bounds(row['interval'])} | {fit} |")
    print(f"{result['utterances']} utterances")


def _vectors(options, models: Mapping[str, str], _parser, common: Mapping) -> dict:
    from espnet_ext.analysis.vectors import inspect_vectors
    from espnet_ext.decoding.options import read_options

    search = read_options(options.config) if options.config else {}
    return inspect_vectors(
        models, options.data, search, max_utterances=options.max_utterances, **common
    )


def _show_vectors(result: Mapping) -> None:
    for system in result["systems"]:
        for place in system["places"]:
            rows = zip(place["labels"], place["norms"], place["trained"], strict=True)
            norms = ", ".join(
                f"{label} {norm:.2f}" + (not trained) * " (never trained)"
                for label, norm, trained in rows
            )
            print(f"{system['system']}, {place['place']}: lengths {norms}")
        for row in system["leakage"]:
            print(
                f"{system['system']}, {row['tag']} off: written in {row['emitted']} of "
                f"{row['utterances']} utterances, {row['emitted_on']} with it on"
            )
        for row in system["off"]:
            if row["rate_on"] is not None:
                print(
                    f"{system['system']}, {row['output']}: error {row['rate_off']:.2f} % with "
                    f"its vector off, {row['rate_on']:.2f} % with it on"
                )
    print(f"{len(result['systems'])} systems with task vectors")


def _partial(options) -> dict:
    from espnet_ext.analysis.partial import collect_partial, parse_run

    return collect_partial([parse_run(word) for word in options.runs], options.output_name)


def _show_partial(result: Mapping) -> None:
    print("| % taken away | way | output | error % | 95 % |")
    print("|---|---|---|---|---|")
    for row in result["rows"]:
        names = f"{row['percent']} | {row['way']} | {row['output']}"
        rate = "–" if row["rate"] is None else f"{row['rate']:.2f}"
        print(f"| {names} | {rate} | {_bounds(row['interval'])} |")


def _bounds(interval: Sequence[float] | None) -> str:
    return "–" if interval is None else "{:.1f}–{:.1f}".format(*interval)


def _folders(
    option: str,
    given: Sequence[str],
    parser: argparse.ArgumentParser,
    known: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Folders by system; both `--models a=x b=y` and `--models "a=x b=y"` are understood."""
    models: dict[str, str] = {}
    for item in " ".join(given).split():
        name, equals, folder = item.partition("=")
        if not (name and equals and folder):
            parser.error(f"{option}: '{item}' is not <name>=<directory>")
        if name in models:
            parser.error(f"{option}: '{name}' is given twice")
        if known is not None and name not in known:
            parser.error(f"{option}: '{name}' is none of --models")
        models[name] = folder
    return models


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
