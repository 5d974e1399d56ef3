"""Write the sets of a corpus: which folders, and what they may replace."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from espnet_ext import files
from espnet_ext.corpora.preparation import REPORT_FILE, CorpusOptions, Report, Sets, list_faults
from espnet_ext.data.directory import TABLES, write_directory
from espnet_ext.errors import UserError
from espnet_ext.overwriting import OutputFolder
from espnet_ext.progress import say

REPORT_FILES = (
    r"prepare(_\w+)*\.json"  # the report, and those of earlier preparations of other sets
)


class SetFolders:
    """The folders `<data_dir>/<lang>/<set>` of a preparation, protected by `OutputFolder`.

    Args:
        options: The options of the corpus; its corpus folder or manifest is an input.
        corpus: Name of the corpus.
        tables: Names of further tables in the data directories.
    """

    def __init__(self, options: CorpusOptions, corpus: str, tables: Sequence[str] = ()):
        self.options = options
        self.corpus = corpus
        self.names = "|".join([TABLES, *map(re.escape, tables)])

    def check(self, lang: str, sets: Iterable[str]) -> None:
        """Raise a UserError if these sets would replace files that `prepare` did not write."""
        for output in self._outputs(lang, sets):
            output.check()

    @contextmanager
    def writing(self, lang: str, sets: Iterable[str]) -> Iterator[Path]:
        """Yield the folder of a language, in which sets and their report are written."""
        with ExitStack() as stack:
            for output in self._outputs(lang, sets):
                stack.enter_context(output)
            yield self._folder(lang)

    def _folder(self, lang: str) -> Path:
        return Path(self.options.data_dir) / lang

    def _outputs(self, lang: str, sets: Iterable[str]) -> list[OutputFolder]:
        sources = (getattr(self.options, name, "") for name in ("corpus_dir", "manifest"))
        inputs = [source for source in sources if source]
        overwrite = self.options.overwrite
        reports = OutputFolder(
            self._folder(lang), "prepare", REPORT_FILES, inputs=inputs, overwrite=overwrite
        )
        whole = f"prepare {self.corpus}"
        small = f"{whole} --quick true"  # whose sets must not replace whole ones
        command, replaces = (small, ()) if self.options.quick else (whole, (small,))
        return [reports] + [
            OutputFolder(
                self._folder(lang) / name,
                command,
                self.names,
                inputs=inputs,
                overwrite=overwrite,
                replaces=replaces,
            )
            for name in sets
        ]


def write_sets(options: CorpusOptions, sets: Sets, report: Report) -> None:
    """Write `<data_dir>/<lang>/<set>` and the report of each language.

    Raises:
        UserError: A language has no utterances for one of the sets; an utterance is also in
            another set there, which an earlier preparation wrote; or a folder has files that no
            preparation of this corpus wrote, or that have changed since.
    """
    folders = SetFolders(options, report.corpus)
    by_lang: dict[str, Sets] = {}
    for name, utterances in sets.items():
        for utterance in utterances:
            sets_of_lang = by_lang.setdefault(utterance.lang or "und", {})
            sets_of_lang.setdefault(name, []).append(utterance)
    for lang, sets_of_lang in sorted(by_lang.items()):
        if missing := [name for name in sets if name not in sets_of_lang]:
            message = f"{report.corpus}: {lang}: no utterances for {' and '.join(missing)}"
            if len(by_lang) > 1:  # a typing error would be one of them
                sizes = {one: sum(map(len, of.values())) for one, of in sorted(by_lang.items())}
                listed = ", ".join(f"{one} {size}" for one, size in sizes.items())
                message += f" (utterances by language: {listed})"
            remedy = "get more speakers, or choose another split"
            remedy += f"; to prepare the other sets only: --sets '{' '.join(sets_of_lang)}'"
            raise UserError(message, remedy)
        folders.check(lang, sets_of_lang)
        _check_source(Path(options.data_dir) / lang, report, overwrite=options.overwrite)
        _require_no_overlap(Path(options.data_dir) / lang, sets_of_lang)
    if not by_lang:
        raise UserError(f"{report.corpus}: no utterances for {' and '.join(sets)}", "see --sets")
    for lang, sets_of_lang in sorted(by_lang.items()):
        with folders.writing(lang, sets_of_lang) as folder:
            keep_earlier_report(folder, sets_of_lang)
            for name, utterances in sets_of_lang.items():
                write_directory(folder / name, utterances)
            files.write_json(folder / REPORT_FILE, report.as_json(sets_of_lang))
        for line in report.lines(sets_of_lang):
            say(line)
        print(f"{report.corpus}: wrote {folder}/{{{','.join(sets_of_lang)}}} and {REPORT_FILE}")


def _require_no_overlap(folder: Path, sets: Sets) -> None:
    """Raise a UserError if utterances are also in another set of a folder, such as its train."""
    for name in sorted({"train", "valid", "dev", "test"} - sets.keys()):
        try:
            lines = (folder / name / "wav.scp").read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        known = {line.split(maxsplit=1)[0] for line in lines if line.strip()}
        for new_name, utterances in sets.items():
            if shared := [one.utt_id for one in utterances if one.utt_id in known]:
                message = f"{folder}: {len(shared)} utterances of {new_name} are also in {name}"
                remedy = f"state their sets in the corpus, remove {folder / name}, or name another "
                remedy += "folder: --data_dir"
                raise UserError(f"{message}:{list_faults(shared, 3)}", remedy)


def keep_earlier_report(folder: Path, sets: Iterable[str]) -> None:
    """Rename the report of an earlier preparation if it describes sets that are not in `sets`."""
    path = folder / REPORT_FILE
    try:
        earlier = list(files.read_json(path)["sets"])
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return  # no report, or not a whole one
    if set(earlier) - set(sets):
        path.replace(folder / f"prepare_{'_'.join(earlier)}.json")


def _check_source(folder: Path, report: Report, *, overwrite: bool) -> None:
    """Warn if the sets of a language were prepared from another table before.

    Raises:
        UserError: The example table of `new_corpus` would replace another one.
    """
    try:
        earlier = str(files.read_json(folder / REPORT_FILE)["source"])
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return  # no report, or not that of a table
    if report.source in ("", earlier):
        return
    if report.is_example and not overwrite:
        raise UserError(
            f"{folder}: was prepared from {earlier}; the example table {report.source} would "
            "replace it",
            f"write manifest={earlier} into conf/recipe.conf, or give it in each command: "
            f"--manifest {earlier}; --overwrite true prepares the example",
        )
    say(f"warning: {folder}: was prepared from {earlier} before, and is now from {report.source}")
