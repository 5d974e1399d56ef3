"""Hypotheses: the files `text.<output>` of a folder, in the form for comparison.

A row `<na>` is a missing hypothesis. Files are read in step with the ids of a set. One that is not
sorted by id is held while it is read.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from espnet_ext.data.directory import Column, text_files
from espnet_ext.data.record import NA, Utterance
from espnet_ext.data.table import read_table, stream_values
from espnet_ext.errors import UserError
from espnet_ext.files import read_json
from espnet_ext.progress import say
from espnet_ext.scoring.baseline import has_nothing
from espnet_ext.scoring.normal_form import PHONE, Changes, comparison_form


class HypothesisColumn(Column):
    """The hypotheses of a file, asked for in order of ids.

    Args:
        data: the data directory that was decoded, for messages.
    """

    def __init__(self, file: Path, data: Path):
        super().__init__(file, (row for row in stream_values(file, empty_ok=True) if row[1] != NA))
        self._data = data

    def require_end(self) -> None:
        """Raise a `UserError` if a hypothesis is left: it belongs to no utterance."""
        if self._head is not None:
            raise UserError(
                f"{self._file}: {self._head[0]}: not in {self._data}",
                "decode the same data that you score against",
            )


def recorded_token_types(folder: Path) -> dict[str, str]:
    """Return output → token type of the model that wrote hypotheses, from `decode.json`.

    Hypotheses of other programs and of earlier versions have none.
    """
    path = folder / "decode.json"
    record = read_json(path) if path.is_file() else {}
    return dict(record.get("token_types") or {})


def require_recorded_types(folder: Path, token_types: Mapping[str, str]) -> None:
    """Raise a `UserError` if phones would be compared as characters or words, or the reverse."""
    for output, written in recorded_token_types(folder).items():
        requested = token_types.get(output, written)
        if (requested == PHONE) != (written == PHONE):
            raise UserError(
                f"{folder}: {output} has the token type {written} (decode.json), not {requested}",
                f'give --token_types "{output}={written}"',
            )


def check_hypotheses(
    folder: Path,
    utt_ids: Callable[[], Iterable[str]],
    data: Path,
    token_types: Mapping[str, str],
    changes: Changes,
    leave_out_missing: bool = False,
) -> dict[str, Path]:
    """Return kind → file `text.<kind>`, after reading all of them.

    Prints a note if texts are not in the form for comparison, and a warning if utterances have no
    hypothesis or could not be decoded.

    Args:
        utt_ids: returns the ids of the utterances of `data`, in order.
        token_types: kind → token type.
        changes: counts the texts that are not in the form for comparison.
        leave_out_missing: what the warning says about utterances without a hypothesis.

    Raises:
        UserError: there are no such files, or a hypothesis belongs to no utterance of `data`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", "decode first (stage 12)")
    paths = text_files(folder)
    if not paths and not has_nothing(folder):
        raise UserError(f"{folder}: contains no text.<output>", "decode first (stage 12)")
    files, warnings = [], []
    for kind, path in paths.items():
        file = changes.file(str(path), token_types.get(kind, ""))
        files.append(file)
        column = HypothesisColumn(path, data)
        utterances, first_missing = 0, ""
        for utt_id in utt_ids():
            utterances += 1
            if (text := column.value(utt_id)) is not None:
                file.apply(utt_id, text)
            else:
                first_missing = first_missing or utt_id
        column.require_end()
        if first_missing:
            level, what = "warning", "scored as empty hypotheses"
            if leave_out_missing:
                level, what = "note", "left out"
            warnings.append(
                f"{level}: {path}: {utterances - file.texts} of {utterances} utterances have no "
                f"hypothesis (the first is {first_missing}); they are {what}"
            )
    for file in files:
        changes.report(file)
    for warning in warnings:
        say(warning)
    failed = folder / "failed"  # written by `decoding.command`
    if failed.is_file() and (rows := list(read_table(failed, empty_ok=True))):
        say(
            f"warning: {failed}: {len(rows)} of {sum(1 for _ in utt_ids())} utterances could not "
            f"be decoded (the first is {rows[0]}); they are scored as empty hypotheses"
        )
    return paths


def read_hypotheses(
    folder: Path, utterances: Mapping[str, Utterance], data: Path
) -> dict[str, dict[str, str]]:
    """Return kind → utterance → hypothesis, after `check_hypotheses`.

    Args:
        utterances: the utterances of `data` by id, in order.
    """
    paths = check_hypotheses(folder, lambda: utterances, data, {}, Changes())
    return {
        kind: {
            utt_id: comparison_form(text, "")
            for utt_id, text in stream_values(path, empty_ok=True)
            if text != NA
        }
        for kind, path in paths.items()
    }
