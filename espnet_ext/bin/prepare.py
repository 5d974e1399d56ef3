"""Stage 1: a corpus in its published layout becomes `data/<lang>/{train,valid,test}`.

    python -m espnet_ext.bin.prepare l2arctic --corpus_dir PATH --data_dir data
    python -m espnet_ext.bin.prepare speechocean762 --download true --data_dir data
    python -m espnet_ext.bin.prepare aihub505 --corpus_dir PATH --data_dir data --nj 8
    python -m espnet_ext.bin.prepare commonvoice --corpus_dir cv-corpus-17.0 --data_dir data
    python -m espnet_ext.bin.prepare epadb --corpus_dir EpaDB --data_dir data
    python -m espnet_ext.bin.prepare speakandimprove --corpus_dir PATH --data_dir data
    python -m espnet_ext.bin.prepare plain --manifest corpus.tsv --data_dir data
    python -m espnet_ext.bin.prepare mini_l2 --langs "ko en" --data_dir data

Beside the sets lies `prepare.json`: counts, decisions, and why each utterance was left out or has
no transcript for an output.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_ext.bin import audio_options, cli
from espnet_ext.corpora.registry import CORPORA, Option, suggestion

if TYPE_CHECKING:
    from espnet_ext.corpora.preparation import Report, Sets

# Kind of an option in the registry → what argparse makes of its value
TYPES: dict[str, Callable[[str], Any]] = {
    "text": str,
    "path": str,
    "boolean": cli.boolean,
    "count": audio_options.count,
    "words": cli.words,
}


def get_parser() -> argparse.ArgumentParser:
    """Return the parser, with one sub-command per corpus of the registry."""
    parser = cli.parser("Prepare a corpus: write data/<lang>/{train,valid,test}.")
    subparsers = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS")
    for corpus in CORPORA.values():
        subparser = subparsers.add_parser(
            corpus.name,
            help=corpus.title,
            description=corpus.title,
            allow_abbrev=False,
            formatter_class=parser.formatter_class,
        )
        for option in corpus.options:
            _add_option(subparser, option)
    return parser


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    parser.add_argument(
        f"--{option.name}",
        type=TYPES[option.kind],
        default=option.default,
        required=option.default is None,
        choices=option.choices or None,
        help=option.help.replace("%", "%%"),
    )


def _check_names(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Exit with a suggestion if argv names an unknown corpus or an unknown option of a corpus."""
    if not argv or argv[0].startswith("-"):
        return  # argparse says what is missing, or prints the help
    if argv[0] not in CORPORA:
        parser.error(f"no corpus '{argv[0]}': {suggestion(argv[0], CORPORA)}")
    names = [option.name for option in CORPORA[argv[0]].options]
    for word in argv[1:]:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and name not in (*names, "", "help"):
            parser.error(f"{argv[0]}: no option --{name}: {suggestion(name, names, '--')}")


def main(argv: Sequence[str] | None = None) -> int | None:
    parser = get_parser()
    _check_names(parser, list(sys.argv[1:] if argv is None else argv))
    args = parser.parse_args(argv)
    from espnet_ext.corpora.preparation import Report

    if args.corpus in LARGE:
        LARGE[args.corpus](args)
        return 0
    report = Report(args.corpus)
    sets = PREPARE[args.corpus](args, report)
    if args.quick and args.corpus != "mini_l2":  # which makes less to begin with
        from espnet_ext.corpora.preparation import small_part

        sets = small_part(sets, report)
    _write(Path(args.data_dir), sets, report)
    return 0


def _prepare_mini_l2(args: argparse.Namespace, report: "Report") -> "Sets":
    from espnet_ext.corpora.mini_l2 import build
    from espnet_ext.corpora.preparation import check_audio

    sets = build.prepare(Path(args.data_dir) / "mini_l2_audio", args.langs, args.quick, args.nj)
    check_audio([one for utterances in sets.values() for one in utterances], report)  # for hours
    return sets


def _prepare_l2arctic(args: argparse.Namespace, report: "Report") -> "Sets":
    from espnet_ext.corpora import download, l2arctic

    source = download.Source("l2arctic", "*/wav", l2arctic.HOW_TO_GET)
    return l2arctic.prepare(
        _corpus_dir(args, source),
        split=args.split,
        unannotated=args.unannotated,
        unidentified=args.unidentified,
        suitcase=args.suitcase,
        skip_unreadable=args.skip_unreadable,
        nj=args.nj,
        report=report,
    )


def _prepare_speechocean762(args: argparse.Namespace, report: "Report") -> "Sets":
    from espnet_ext.corpora import download, speechocean762

    source = download.Source(
        "speechocean762",
        "resource/scores.json",
        speechocean762.HOW_TO_GET,
        speechocean762.URL,
        size=speechocean762.ARCHIVE_BYTES,
    )
    return speechocean762.prepare(
        _corpus_dir(args, source), skip_unreadable=args.skip_unreadable, nj=args.nj, report=report
    )


def _prepare_plain(args: argparse.Namespace, report: "Report") -> "Sets":
    from espnet_ext.corpora import plain

    return plain.prepare(
        args.manifest, lang=args.lang, skip_unreadable=args.skip_unreadable, report=report
    )


def _large_options(args: argparse.Namespace) -> dict[str, Any]:
    """What all of `LARGE` take."""
    return {"skip_unreadable": args.skip_unreadable, "quick": args.quick, "nj": args.nj}


def _prepare_aihub505(args: argparse.Namespace) -> None:
    from espnet_ext.corpora import aihub, aihub505

    privacy = aihub.Privacy(args.personal, aihub.read_key(args.pseudonym_key_file))
    options = aihub505.Options(args.disfluencies, args.unintelligible, privacy)
    more = _large_options(args)
    aihub505.prepare(args.corpus_dir, args.data_dir, split=args.split, options=options, **more)


def _prepare_aihub_l2(args: argparse.Namespace) -> None:
    from espnet_ext.corpora import aihub, aihub_l2

    options = aihub_l2.Options(
        args.lang,
        tuple(args.read_tasks),
        args.disfluencies,
        args.unintelligible,
        aihub.Privacy(args.personal, aihub.read_key(args.pseudonym_key_file)),
    )
    more = _large_options(args)
    aihub_l2.prepare(args.corpus_dir, args.data_dir, split=args.split, options=options, **more)


def _prepare_ksponspeech(args: argparse.Namespace) -> None:
    from espnet_ext.corpora import ksponspeech

    options = ksponspeech.Options(args.disfluencies, args.unintelligible)
    more = _large_options(args)
    ksponspeech.prepare(args.corpus_dir, args.data_dir, labels=args.labels, options=options, **more)


# These write their sets themselves, as they do not fit into memory.
LARGE = {
    "aihub505": _prepare_aihub505,
    "aihub_l2": _prepare_aihub_l2,
    "ksponspeech": _prepare_ksponspeech,
}


def _prepare_commonvoice(args: argparse.Namespace, report: "Report") -> "Sets":
    from espnet_ext.corpora import commonvoice

    return commonvoice.prepare(
        args.corpus_dir,
        langs=args.langs,
        train=args.train,
        text=args.text,
        nj=args.nj,
        quick=args.quick,
        skip_unreadable=args.skip_unreadable,
        report=report,
    )


def _prepare_epadb(args: argparse.Namespace, report: "Report") -> "Sets":
    from espnet_ext.corpora import epadb

    return epadb.prepare(
        args.corpus_dir,
        allophones=args.allophones,
        unidentified=args.unidentified,
        nj=args.nj,
        skip_unreadable=args.skip_unreadable,
        report=report,
    )


def _prepare_speakandimprove(args: argparse.Namespace, report: "Report") -> "Sets":
    from espnet_ext.corpora import speakandimprove

    return speakandimprove.prepare(
        args.corpus_dir,
        Path(args.data_dir) / "speakandimprove_audio",
        nj=args.nj,
        hesitation="" if args.hesitation == "none" else args.hesitation,
        partials=args.partials,
        quick=args.quick,
        skip_unreadable=args.skip_unreadable,
        report=report,
    )


PREPARE = {
    "mini_l2": _prepare_mini_l2,
    "l2arctic": _prepare_l2arctic,
    "speechocean762": _prepare_speechocean762,
    "commonvoice": _prepare_commonvoice,
    "epadb": _prepare_epadb,
    "speakandimprove": _prepare_speakandimprove,
    "plain": _prepare_plain,
}


def _corpus_dir(args: argparse.Namespace, source) -> str:
    """The corpus folder: the one given, or that of the archive or download."""
    from espnet_ext.corpora import download
    from espnet_ext.errors import UserError

    if args.corpus_dir and (args.archive or args.download):
        message = "--corpus_dir and an archive or download are given: which one?"
        raise UserError(message, "leave one of them out")
    if args.corpus_dir or not (args.archive or args.download):
        return args.corpus_dir
    return str(
        download.obtain(
            source,
            args.downloads_dir,
            archive=args.archive,
            sha256=args.sha256,
            accept_unverified=args.accept_unverified,
        )
    )


def _write(data_dir: Path, sets: "Sets", report: "Report") -> None:
    """Write every language's sets, then its account; a set without utterances is a bad input."""
    from espnet_ext import files
    from espnet_ext.data.directory import write_directory
    from espnet_ext.errors import UserError
    from espnet_ext.progress import say

    by_lang: dict[str, Sets] = {}
    for name, utterances in sets.items():
        for one in utterances:
            by_lang.setdefault(one.lang or "und", {}).setdefault(name, []).append(one)
    for lang, of_lang in sorted(by_lang.items()):
        if missing := [name for name in sets if name not in of_lang]:
            message = f"{report.corpus}: {lang}: no utterances for {' and '.join(missing)}"
            raise UserError(message, "more speakers or another split are needed")
    for lang, of_lang in sorted(by_lang.items()):
        for name, utterances in of_lang.items():
            write_directory(data_dir / lang / name, utterances)
        files.write_json(data_dir / lang / "prepare.json", report.as_json(of_lang))
        for line in report.lines(of_lang):
            say(line)
        print(f"{report.corpus}: wrote {data_dir / lang}/{{{','.join(of_lang)}}} and prepare.json")


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
