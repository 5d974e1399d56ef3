"""Conditions: labels of utterances in `utt2<name>`, such as `utt2band`, that a model reads."""

from collections.abc import Sequence
from pathlib import Path

from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError


def read_condition(
    folder: str | Path, name: str, known: Sequence[str] | None = None
) -> dict[str, str]:
    """Return utterance id → label, for every utterance of a data directory.

    Args:
        folder: the data directory; the labels are in its file `utt2<name>`.
        known: labels that are allowed; None: all.

    Raises:
        UserError: if there is no such file, or an utterance has no label or an unknown one.
    """
    path = Path(folder) / f"utt2{name}"
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, but the model reads the condition '{name}'",
            "write a label for every utterance into it, or use a system without this condition",
        )
    labels = read_table(path)
    values = {}
    audio = Path(folder) / "wav.scp"  # a set of input ids has none (`units.input_set`)
    for utt_id in read_table(audio if audio.is_file() else Path(folder) / "utt2spk"):
        value = labels.get(utt_id, "")
        if not value:
            raise UserError(
                f"{path}: {utt_id}: no label", f"add a line: {utt_id} {known[0] if known else name}"
            )
        if known is not None and value not in known:
            raise UserError(
                f"{path}: {utt_id}: unknown label '{value}'",
                f"the model knows {', '.join(known)}: correct the label, or train with it",
            )
        values[utt_id] = value
    return values
