"""Stage 1: prepare a corpus: write `data/<lang>/{train,valid,test}`.

    python -m espnet_ext.bin.prepare l2arctic --corpus_dir PATH --data_dir data
    python -m espnet_ext.bin.prepare speechocean762 --download true --data_dir data
    python -m espnet_ext.bin.prepare aihub505 --corpus_dir PATH --data_dir data --nj 8
    python -m espnet_ext.bin.prepare commonvoice --corpus_dir cv-corpus-17.0 --data_dir data
    python -m espnet_ext.bin.prepare plain --manifest corpus.tsv --data_dir data
    python -m espnet_ext.bin.prepare mini_l2 --langs "ko en" --data_dir data

The corpora and their options are declared in `corpora/registry.py`. Beside the sets is the report,
`prepare.json`: counts, decisions, and why utterances were left out or have no transcript. With
`--sets test` only that set is prepared, and the others may be missing from the corpus.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from espnet_ext.bin import audio_options, cli
from espnet_ext.corpora.registry import CORPORA, Corpus, Option, suggestion


def words(value: str) -> tuple[str, ...]:
    """Parse a list given as one argument, as in `--langs "ko en"`."""
    return tuple(value.split())


# Kind of an option in the registry → parser of its value
PARSERS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "path": str,
    "boolean": cli.boolean,
    "count": audio_options.count,
    "real": float,
    "words": words,
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
    parse = PARSERS[option.kind]
    is_list = option.kind == "words"

    def parse_checked(value: str) -> Any:
        if problem := option.problem(value):
            raise argparse.ArgumentTypeError(problem)
        return parse(value)

    parser.add_argument(
        f"--{option.name}",
        type=parse_checked if is_list or option.kind == "real" else parse,
        default=option.default,
        required=option.default is None,
        choices=None if is_list else option.choices or None,
        help=option.help.replace("%", "%%"),
    )


def _check_names(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Exit with a suggestion if `argv` names an unknown corpus, or an unknown option of one."""
    if not argv or argv[0].startswith("-"):
        return  # argparse prints the help, or says that the corpus is missing
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
    args = vars(parser.parse_args(argv))
    prepare(CORPORA[args.pop("corpus")], args)
    return 0


def prepare(corpus: Corpus, values: dict[str, Any]) -> None:
    """Prepare a corpus, given the values of all its options."""
    from espnet_ext.corpora.preparation import Report, select_sets, shrink_sets
    from espnet_ext.corpora.set_folders import SetFolders, write_sets

    module = corpus.import_module()
    options = module.Options(**values)
    report = Report(corpus.name)
    all_sets = (*corpus.sets, *corpus.optional_sets)
    requested = options.selected(all_sets)
    if requested != all_sets:
        report.notes.append(f"only {' and '.join(requested)}: --sets")
    folders = SetFolders(options, corpus.name)
    for lang in _languages(corpus, values):  # before minutes of work
        folders.check(lang, requested)
    sets = module.prepare(options, report)
    if sets is None:  # written already
        return
    sets = select_sets(sets, requested, report)
    if options.quick and not corpus.makes_small_sets:
        sets = shrink_sets(sets, report)
    write_sets(options, sets, report)


def _languages(corpus: Corpus, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the languages that a corpus certainly is written in; () if its labels decide."""
    if "langs" in values:
        return values["langs"]
    if corpus.one_language:
        return (values["lang"],)
    return corpus.languages


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
