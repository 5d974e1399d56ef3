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

if TYPE_CHECKING:
    from espnet_ext.corpora.preparation import Report, Sets


def get_parser() -> argparse.ArgumentParser:
    parser = cli.parser("Prepare a corpus: write data/<lang>/{train,valid,test}.")
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS")

    def add(name: str, description: str) -> argparse.ArgumentParser:
        corpus = corpora.add_parser(
            name,
            help=description,
            description=description,
            allow_abbrev=False,
            formatter_class=parser.formatter_class,
        )
        corpus.add_argument("--data_dir", default="data", help="where <lang>/<set> is written")
        corpus.add_argument(
            "--quick", type=cli.boolean, default=False, help="a small part, to see that all works"
        )
        return corpus

    mini = add("mini_l2", "the embedded corpus, synthesised")
    mini.add_argument("--langs", type=cli.words, default=["ko", "en"], help="languages to make")
    mini.add_argument("--nj", type=audio_options.count, default=2, help="processes")

    l2arctic = add("l2arctic", "L2-ARCTIC: 24 speakers of six first languages, CC BY-NC 4.0")
    _add_corpus(l2arctic)
    l2arctic.add_argument(
        "--split",
        default="auto",
        choices=("auto", "standard", "speakers", "sentences"),
        help="standard: the field's six test speakers; auto: that, if others are there to train on",
    )
    l2arctic.add_argument(
        "--unannotated",
        default="train",
        choices=("train", "all", "none"),
        help="where utterances without phone annotation go (they have only words)",
    )
    l2arctic.add_argument(
        "--unidentified",
        default="unlabelled",
        choices=("unlabelled", "token"),
        help="surface with a phone that nobody could identify (err): none, or with the token ERR",
    )
    l2arctic.add_argument(
        "--suitcase", type=cli.boolean, default=False, help="add the spontaneous narratives"
    )

    speechocean = add("speechocean762", "speechocean762: 250 Mandarin speakers, CC BY 4.0")
    _add_corpus(speechocean)
    _add_aihub(add)
    _add_english_with_marks(add)
    plain = add("plain", "any corpus, from a tab-separated manifest")
    plain.add_argument("--manifest", required=True, help="a row an utterance, columns by name")
    plain.add_argument("--lang", default="en", help="language of rows without one")
    _add_skip(plain)
    return parser


def _add_aihub(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Corpora of AI Hub: large, and delivered as zip archives, which stay packed."""
    foreign = add("aihub505", "AI Hub 505: foreigners' Korean, read and answered")
    learners = add("aihub_l2", "AI Hub 71469 to 71479: learners' speech, read and free")
    learners.add_argument("--lang", default="ko", choices=("ko", "en"), help="what is spoken")
    learners.add_argument(
        "--read_tasks",
        type=cli.words,
        default=["LAR", "RS", "RW", "RP"],
        help="codes of the tasks whose prompt was to be read",
    )
    native = add("ksponspeech", "KsponSpeech, AI Hub 123: native Korean, transcribed twice")
    native.add_argument(
        "--labels",
        default="auto",
        choices=("auto", "trn", "txt"),
        help="transcripts from the lists or the files beside the sounds; auto: lists if there",
    )
    for corpus in (foreign, learners, native):
        corpus.add_argument("--corpus_dir", default="", help="as delivered, packed or unpacked")
        corpus.add_argument("--nj", type=audio_options.count, default=1, help="processes")
        corpus.add_argument(
            "--disfluencies",
            default="keep",
            choices=("keep", "surface", "drop") if corpus is native else ("keep", "drop"),
            help="fillers and repetitions",
        )
        corpus.add_argument(
            "--unintelligible",
            default="unlabelled",
            choices=("unlabelled", "drop"),
            help="texts with words that could not be told (u/, un/): none, or without the mark",
        )
        _add_skip(corpus)
    for corpus in (foreign, learners):
        corpus.add_argument(
            "--split",
            default="auto",
            choices=("auto", "official", "speakers"),
            help="official: the published Validation tests; auto: that, if both parts are there",
        )
        corpus.add_argument(
            "--personal",
            type=cli.boolean,
            default=False,
            help="also write year of birth, sex, country and grade (utt2birthyear, …)",
        )
        corpus.add_argument(
            "--pseudonym_key_file",
            default="",
            help="file with a secret: pseudonyms of names are made with it",
        )


def _add_english_with_marks(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Common Voice, EpaDB, Speak & Improve: unpacked by the user, read by several processes."""
    voice = add("commonvoice", "Common Voice: sentences read by volunteers, CC0")
    voice.add_argument("--langs", type=cli.words, default=["en"], help="locales to read")
    voice.add_argument(
        "--train",
        default="train",
        choices=("train", "validated", "other"),
        help="train: the official one; validated, other: all clips of speakers not held out",
    )
    voice.add_argument(
        "--text", default="words", choices=("words", "raw"), help="words: no punctuation, no case"
    )
    epadb = add("epadb", "EpaDB: English of speakers of Spanish, for research")
    epadb.add_argument(
        "--allophones",
        default="fold",
        choices=("fold", "keep"),
        help="Th, Kh, Ph, AX: as T, K, P, AH, or as the annotators wrote them",
    )
    epadb.add_argument(
        "--unidentified",
        default="unlabelled",
        choices=("unlabelled", "token"),
        help="surface with a label that is no phone: none, or with the token ERR",
    )
    improve = add("speakandimprove", "Speak & Improve 2025: free speech of learners of English")
    improve.add_argument("--hesitation", default="uh", help="word for a hesitation; '': none")
    improve.add_argument(
        "--partials", type=cli.boolean, default=True, help="keep broken-off words (univers-)"
    )
    for parser in (voice, epadb, improve):
        parser.add_argument("--corpus_dir", default="", help="the corpus as published, unpacked")
        parser.add_argument("--nj", type=audio_options.count, default=2, help="files at a time")
        _add_skip(parser)


def _add_corpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus_dir", default="", help="the corpus as published, unpacked")
    parser.add_argument("--archive", default="", help="the corpus as published, packed")
    parser.add_argument("--downloads_dir", default="downloads", help="where archives are unpacked")
    parser.add_argument(
        "--download",
        type=cli.boolean,
        default=False,
        help="fetch the corpus, where that is allowed",
    )
    parser.add_argument("--sha256", default="", help="checksum that the archive must have")
    parser.add_argument(
        "--accept_unverified",
        type=cli.boolean,
        default=False,
        help="take a download without a checksum to compare it with",
    )
    parser.add_argument("--nj", type=audio_options.count, default=2, help="files at a time")
    _add_skip(parser)


def _add_skip(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--skip_unreadable", type=cli.boolean, default=False, help="leave out unreadable audio"
    )


def main(argv: Sequence[str] | None = None) -> int | None:
    args = get_parser().parse_args(argv)
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
        hesitation=args.hesitation,
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
