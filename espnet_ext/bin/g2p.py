"""Convert text to its pronunciation: Korean to Hangul as pronounced, English to phones.

The pronunciation of an English homograph (live, read, record) depends on the neighbouring words.
The command prints how many words have several pronunciations.
"""

import argparse
import contextlib
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

from espnet_ext.bin import cli
from espnet_ext.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Convert text to its pronunciation, line by line: Korean to Hangul as pronounced, "
        "English to phones of the CMU dictionary. If an English word has several pronunciations "
        "(live, read, record), the neighbouring words decide, or the most common one is written. "
        "The command prints the number of such words."
    )
    parser.add_argument("input", nargs="?", default="-", help="text file, or - for standard input")
    parser.add_argument(
        "output", nargs="?", default="-", help="output file, or - for standard output"
    )
    parser.add_argument("--lang", required=True, choices=("ko", "en"), help="language of the text")
    parser.add_argument(
        "--kaldi",
        action="store_true",
        help="the first field of each line is an utterance id, which is kept",
    )
    parser.add_argument(
        "--unknown",
        default="error",
        choices=("error", "keep", "unk"),
        help="what to do with words that cannot be pronounced: report an error (all other lines "
        "are written, the exit code is 1; the line itself becomes empty, or is omitted with "
        "--kaldi), keep the spelling, or replace the word by --unk_symbol",
    )
    parser.add_argument(
        "--unk_symbol", default="<unk>", help="symbol for unknown words with --unknown unk"
    )
    parser.add_argument(
        "--sandhi",
        default="phrase",
        choices=("phrase", "word"),
        help="ko: whether sounds change across spaces, up to the next punctuation "
        "(옷 한 벌: 오 탄 벌), or only within words (옫 한 벌)",
    )
    parser.add_argument(
        "--saisiot",
        default="dropped",
        choices=("dropped", "kept"),
        help="ko: pronounce 냇가 as 내까, or as 낻까, which the standard also permits (art. 30)",
    )
    parser.add_argument(
        "--itta",
        default="linked",
        choices=("linked", "neutral"),
        help="ko: pronounce 맛있다 as 마싣따 or as 마딛따 (art. 15)",
    )
    parser.add_argument(
        "--vowels",
        default="standard",
        choices=("standard", "tolerated"),
        help="ko: pronounce the vowels of 시계, 주의, 나의 as written, or reduce them to "
        "시게, 주이, 나에 (art. 5)",
    )
    parser.add_argument("--stress", type=cli.boolean, default=False, help="en: write stress digits")
    parser.add_argument(
        "--lexicon",
        type=cli.boolean,
        default=False,
        help="en: write a lexicon for --lexicon of mdd and score: every word of the text "
        "once, with one line per pronunciation",
    )
    parser.add_argument(
        "--json",
        help="en: JSON file for the numbers of words with several pronunciations, and for the "
        "pronunciations that were written",
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)
    if args.lexicon and args.lang != "en":
        parser.error(
            "--lexicon is only for English, because Korean words change with their context"
        )
    if args.json and (args.lang != "en" or args.lexicon):
        parser.error("--json counts the readings of English text: use it with --lang en alone")

    from espnet_ext.data.record import NA
    from espnet_ext.files import atomic_write, write_json
    from espnet_ext.overwriting import require_new_file
    from espnet_ext.progress import say
    from espnet_ext.text import g2p

    for path in (args.output, args.json):
        if path and path != "-":
            require_new_file(path, inputs=[args.input], overwrite=args.overwrite)
    english = g2p.EnglishPronouncer(args.stress) if args.lang == "en" else None
    errors: list[UserError] = []
    name = "standard input" if args.input == "-" else args.input
    try:
        with _open_input(args.input) as lines:
            if args.lexicon:
                listed: Counter[str] = Counter()
                results = _lexicon_lines(lines, args.kaldi, name, args.stress, errors, listed)
            else:
                results = g2p.pronounce_lines(
                    lines,
                    english or _korean_function(args),
                    name,
                    kaldi=args.kaldi,
                    sentinel=NA,
                    unknown=args.unknown,
                    unk=args.unk_symbol,
                    errors=errors,
                )
            if args.output == "-":
                for line in results:  # flush, because the sender may wait for each answer
                    print(line, flush=True)
                    if getattr(sys.stdout, "has_ended", False):  # the reader of the output
                        return 0
            else:
                with atomic_write(args.output) as handle:
                    handle.writelines(line + "\n" for line in results)
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not UTF-8: {error}", "convert it with iconv") from None
    except OSError as error:
        raise UserError(f"{name}: cannot read: {error.strerror}", "check the path") from None
    if english is not None and not args.lexicon:
        if args.json:
            write_json(args.json, {"kind": "g2p", "version": 1, **english.counts()})
        say(f"note: {name}: {english.summary()}")
    if args.lexicon:
        several = sum(count > 1 for count in listed.values())
        say(f"note: {name}: {several} of {len(listed)} words have several pronunciations")
    if errors:
        raise g2p.combine_errors(errors)
    return 0


def _open_input(path: str) -> contextlib.AbstractContextManager[TextIO]:
    """Open the input as UTF-8, and set standard output to UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    if path != "-":
        return open(path, encoding="utf-8", newline="\n")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", newline="\n")
    return contextlib.nullcontext(sys.stdin)


def _korean_function(args: argparse.Namespace) -> Callable[[str], str]:
    from espnet_ext.text import korean

    style = korean.Style(
        sandhi=args.sandhi,
        saisiot="ㄷ" if args.saisiot == "kept" else "",
        neutral_itta=args.itta == "neutral",
        tolerated=args.vowels == "tolerated",
    )
    return lambda text: korean.pronounce(text, style)


def _lexicon_lines(
    lines: Iterable[str],
    kaldi: bool,
    name: str,
    stress: bool,
    errors: list[UserError],
    listed: Counter[str],
) -> Iterator[str]:
    """Yield `word PHONES` for every word, in the order of first occurrence.

    Args:
        errors: is appended to.
        listed: gets the number of pronunciations of every word.
    """
    from espnet_ext.text import english_g2p

    for number, line in enumerate(lines, 1):
        text = line.partition(" ")[2] if kaldi else line
        for token in text.split():
            try:
                words = english_g2p.words(token)
            except UserError as error:
                errors.append(UserError(f"{name}:{number}: {error.message}", error.remedy))
                continue
            for word in words:
                if word.lower() not in listed:
                    for phones in english_g2p.pronunciations(word, stress):
                        listed[word.lower()] += 1
                        yield f"{word.lower()} {phones}"


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
