"""Mispronunciation detection and diagnosis: judge recognised phones against annotated ones."""

import sys
from collections.abc import Mapping, Sequence

from espnet_ext.bin import cli

LISTED = 10  # confusions of each group on the screen; all are in the JSON file


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser("Mispronunciation detection and diagnosis, from text files of phones.")
    parser.add_argument("--canonical", required=True, help="what the words should sound like")
    parser.add_argument("--perceived", required=True, help="what was said, as annotated")
    parser.add_argument("--hypothesis", required=True, help="what was said, as recognised")
    parser.add_argument(
        "--prompt",
        default=None,
        help="canonical phones that the system went by, if not --canonical",
    )
    parser.add_argument(
        "--meaning", default=None, help="recognised words, from which to take them by --lexicon"
    )
    parser.add_argument("--lexicon", default=None, help="words and phones; the package has some")
    parser.add_argument(
        "--g2p",
        type=cli.boolean,
        default=False,
        help="pronounce words that are in no lexicon (English), by the CMU "
        "dictionary or by their letters, instead of leaving their utterances out",
    )
    parser.add_argument("--utt2l1", default=None, help="first languages, to list apart")
    parser.add_argument("--utt2spk", default=None, help="speakers, for intervals")
    parser.add_argument(
        "--utt2score",
        default=None,
        help="human scores, to correlate with the deviations recognised",
    )
    parser.add_argument(
        "--json", default=None, help="file to write everything to (its folder is made)"
    )
    parser.add_argument(
        "--unit", default="phone", help="what the texts are compared in: phone, jamo or char"
    )
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(arguments)
    if args.prompt and args.meaning:
        parser.error("--prompt and --meaning both say what the system went by: give one")

    from espnet_ext.files import write_json
    from espnet_ext.report.provenance import provenance
    from espnet_ext.scoring.mdd_files import evaluate_files

    found = evaluate_files(
        args.canonical,
        args.perceived,
        args.hypothesis,
        prompt=args.prompt,
        meaning=args.meaning,
        lexicon=args.lexicon,
        g2p=args.g2p,
        unit=args.unit,
        utt2l1=args.utt2l1,
        utt2spk=args.utt2spk,
        utt2score=args.utt2score,
    )
    _show(found)
    if args.json:
        write_json(args.json, {**found, "provenance": provenance("mdd", arguments)})
        print(f"wrote {args.json}")
    return 0


def _show(found: Mapping) -> None:
    out = [f", {count} left out ({why})" for why, count in found["left_out"].items() if count]
    print(f"{found['utterances']} utterances{''.join(out)}; PER {percent(found['PER'])}\n")
    print("| places | TA | FR | FA | CD | ED | FRR | FAR | DER | precision | recall |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for kind, counts in found["counts"].items():
        rates = found["measures"][kind]
        shown = (rates[name] for name in ("FRR", "FAR", "DER", "precision", "recall"))
        cells = [kind.replace("_", " "), *map(str, counts.values()), *map(percent, shown)]
        print("| " + " | ".join(cells) + " |")
    print("\n| F1 | % | 95 % over speakers |\n|---|---|---|")
    for name, value in found["F1"].items():
        interval = (found["intervals"] or {}).get(name)
        between = f"{interval[0]:.1f}–{interval[1]:.1f}" if interval else "–"
        print(f"| {name.replace('_', ' ')} | {percent(value)} | {between} |")
    if found.get("ratings"):
        print("\n| human score | deviations | Pearson | Spearman | utt |\n|---|---|---|---|---|")
    for row in found.get("ratings", ()):
        shown = " | ".join(coefficient(row, name) for name in ("pearson", "spearman"))
        print(f"| {row['score']} | {row['measure']} | {shown} | {row['utterances']} |")
    for group, phones in found["confusions"].items():
        pairs = [
            (count, phone, said) for phone, own in phones.items() for said, count in own.items()
        ]
        most = sorted(pairs, key=lambda one: (-one[0], one))[:LISTED]
        title = f"{group}: " if group else ""
        said = ", ".join(f"{a or '∅'}→{b or '∅'} {count}" for count, a, b in most)
        print(f"\n{title}most frequent errors: {said}")


def coefficient(row: Mapping, name: str) -> str:
    bounds = row["intervals"][name]
    between = f" [{bounds[0]:.2f} to {bounds[1]:.2f}]" if bounds else ""
    return "–" if row[name] is None else f"{row[name]:.2f}{between}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
