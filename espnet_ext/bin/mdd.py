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
    parser.add_argument("--prompt", default=None,
                        help="canonical phones that the system went by, if not --canonical")
    parser.add_argument("--meaning", default=None,
                        help="recognised words, from which to take them by --lexicon")
    parser.add_argument("--lexicon", default=None, help="words and phones; the package has some")
    parser.add_argument("--utt2l1", default=None, help="first languages, to list apart")
    parser.add_argument("--utt2spk", default=None, help="speakers, for intervals")
    parser.add_argument("--json", default=None, help="file to write everything to")
    args = parser.parse_args(argv)
    if args.prompt and args.meaning:
        parser.error("--prompt and --meaning both say what the system went by: give one")

    from espnet_ext.data.record import NA
    from espnet_ext.data.table import read_table
    from espnet_ext.errors import UserError
    from espnet_ext.files import write_json
    from espnet_ext.scoring.mdd import evaluate

    def read(path: str | None) -> dict[str, str] | None:
        if path is None:
            return None
        return {i: text for i, text in read_table(path, empty_ok=True).items() if text != NA}

    canonical, perceived, hypotheses = map(read, (args.canonical, args.perceived, args.hypothesis))
    prompts = read(args.prompt)
    if args.meaning:
        prompts = _pronounced(read(args.meaning), args.lexicon)
    shared = set(canonical) & set(perceived) & set(hypotheses)
    if not shared:
        files = f"{args.canonical}, {args.perceived} and {args.hypothesis}"
        raise UserError(f"{files} have no utterance in common", "give files of one set")
    speakers = read(args.utt2spk)
    if speakers is not None and (unknown := sorted(shared - set(speakers))):
        raise UserError(f"{args.utt2spk}: {unknown[0]} is not in it", "give that of the set")
    found = evaluate(canonical, perceived, hypotheses, prompts, read(args.utt2l1), speakers)
    _show(found)
    if args.json:
        write_json(args.json, found)
        print(f"wrote {args.json}")
    return 0


def _pronounced(sentences: Mapping[str, str], lexicon: str | None) -> dict[str, str]:
    """Phones of recognised words; utterances with a word that no lexicon has are left out."""
    from espnet_ext.scoring.lexicon import pronouncer, read_lexicon

    pronounce = pronouncer(read_lexicon(lexicon) if lexicon else None)
    spoken = {utt_id: pronounce(sentence) for utt_id, sentence in sentences.items()}
    return {utt_id: phones for utt_id, phones in spoken.items() if phones is not None}


def _show(found: Mapping) -> None:
    left = f", {found['left_out']} left out: not in all files" if found["left_out"] else ""
    print(f"{found['utterances']} utterances{left}; PER {_percent(found['PER'])}\n")
    print("| places | TA | FR | FA | CD | ED | FRR | FAR | DER | precision | recall |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for kind, counts in found["counts"].items():
        rates = found["measures"][kind]
        shown = (rates[name] for name in ("FRR", "FAR", "DER", "precision", "recall"))
        cells = [kind.replace("_", " "), *map(str, counts.values()), *map(_percent, shown)]
        print("| " + " | ".join(cells) + " |")
    print("\n| F1 | % | 95 % over speakers |\n|---|---|---|")
    for name, value in found["F1"].items():
        interval = (found["intervals"] or {}).get(name)
        between = f"{interval[0]:.1f}–{interval[1]:.1f}" if interval else "–"
        print(f"| {name.replace('_', ' ')} | {_percent(value)} | {between} |")
    for group, phones in found["confusions"].items():
        pairs = [(count, phone, said) for phone, own in phones.items()
                 for said, count in own.items()]  # fmt: skip
        most = sorted(pairs, key=lambda one: (-one[0], one))[:LISTED]
        title = f"{group}: " if group else ""
        said = ", ".join(f"{a or '∅'}→{b or '∅'} {count}" for count, a, b in most)
        print(f"\n{title}most frequent errors: {said}")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
