"""Text to pronunciation: Korean in Hangul as pronounced, English in phones."""

import sys
from collections.abc import Callable, Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Text to pronunciation, a line for a line: Hangul as it is pronounced, "
        "or phones of the CMU dictionary."
    )
    parser.add_argument("input", nargs="?", default="-", help="text file; - is standard input")
    parser.add_argument("output", nargs="?", default="-", help="file to write, or -")
    parser.add_argument("--lang", required=True, choices=("ko", "en"), help="language of the text")
    parser.add_argument(
        "--kaldi",
        action="store_true",
        help="the first field of a line is an utterance id, which stays",
    )
    parser.add_argument(
        "--unknown",
        default="error",
        choices=("error", "keep", "unk"),
        help="words that cannot be pronounced: an error (the line stays empty or, "
        "with --kaldi, is left out; the others go on, and the exit code is 1), "
        "kept as written, or replaced by --unk_symbol",
    )
    parser.add_argument("--unk_symbol", default="<unk>", help="what --unknown unk writes")
    parser.add_argument(
        "--sandhi",
        default="phrase",
        choices=("phrase", "word"),
        help="ko: whether words sound together across spaces, up to punctuation "
        "(옷 한 벌: 오 탄 벌), or one by one (옫 한 벌)",
    )
    parser.add_argument(
        "--saisiot",
        default="dropped",
        choices=("dropped", "kept"),
        help="ko: 냇가 as 내까, or as the admitted 낻까 (art. 30)",
    )
    parser.add_argument(
        "--itta",
        default="linked",
        choices=("linked", "neutral"),
        help="ko: 맛있다 as 마싣따 or 마딛따 (art. 15)",
    )
    parser.add_argument(
        "--vowels",
        default="standard",
        choices=("standard", "tolerated"),
        help="ko: 시계, 주의, 나의 as written, or as 시게, 주이, 나에 (art. 5)",
    )
    parser.add_argument("--stress", type=cli.boolean, default=False, help="en: stress digits")
    parser.add_argument(
        "--lexicon",
        type=cli.boolean,
        default=False,
        help="en: write a lexicon instead: every word of the text once, a line for "
        "each of its pronunciations, as --lexicon of mdd and score reads it",
    )
    args = parser.parse_args(argv)
    if args.lexicon and args.lang != "en":
        parser.error("--lexicon is for English: Korean is not pronounced word by word")

    from espnet_ext.data.record import NA
    from espnet_ext.errors import UserError
    from espnet_ext.files import atomic_write
    from espnet_ext.text import g2p

    faults: list[UserError] = []
    name = "standard input" if args.input == "-" else args.input
    try:
        with _reading(args.input) as given:
            if args.lexicon:
                made = _lexicon(given, args.kaldi, name, args.stress, faults)
            else:
                made = g2p.lines(
                    given,
                    _pronouncer(args),
                    name,
                    kaldi=args.kaldi,
                    sentinel=NA,
                    unknown=args.unknown,
                    unk=args.unk_symbol,
                    faults=faults,
                )
            if args.output == "-":
                for line in made:  # at once: whoever sends a line may wait for its answer
                    print(line, flush=True)
            else:
                with atomic_write(args.output) as handle:
                    handle.writelines(line + "\n" for line in made)
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not UTF-8: {error}", "convert it with iconv") from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise UserError(f"{name}: cannot read: {error.strerror}", "check the path") from None
    if faults:
        raise g2p.report(faults)
    return 0


def _reading(path: str):
    if path == "-":
        sys.stdin.reconfigure(encoding="utf-8", newline="\n")
        sys.stdout.reconfigure(encoding="utf-8")
        import contextlib

        return contextlib.nullcontext(sys.stdin)
    sys.stdout.reconfigure(encoding="utf-8")
    return open(path, encoding="utf-8", newline="\n")


def _pronouncer(args) -> Callable[[str], str]:
    if args.lang == "en":
        from espnet_ext.text import english_g2p

        return lambda text: english_g2p.pronounce(text, args.stress)
    from espnet_ext.text import korean

    style = korean.Style(
        sandhi=args.sandhi,
        saisiot="ㄷ" if args.saisiot == "kept" else "",
        neutral_itta=args.itta == "neutral",
        tolerated=args.vowels == "tolerated",
    )
    return lambda text: korean.pronounce(text, style)


def _lexicon(given, kaldi: bool, name: str, stress: bool, faults: list):
    """Lines `word PHONES` of all words, in the order in which they first occur."""
    from espnet_ext.errors import UserError
    from espnet_ext.text import english_g2p

    seen: set[str] = set()
    for number, line in enumerate(given, 1):
        text = line.partition(" ")[2] if kaldi else line
        for written in text.split():
            try:
                spoken = english_g2p.words(written)
            except UserError as error:
                faults.append(UserError(f"{name}:{number}: {error.message}", error.remedy))
                continue
            for word in spoken:
                if word.lower() not in seen:
                    seen.add(word.lower())
                    for phones in english_g2p.phones_of(word, stress):
                        yield f"{word.lower()} {phones}"


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
