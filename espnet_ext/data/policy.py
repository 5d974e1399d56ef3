"""What a stage does with broken utterances: stop, skip them, or keep them aside; never silently."""

import os
from dataclasses import dataclass
from pathlib import Path

from espnet_ext import files
from espnet_ext.data.checking import Check
from espnet_ext.data.directory import LABEL_TABLES, read_directory, remove_stale, text_files
from espnet_ext.data.findings import ERROR
from espnet_ext.data.fixing import all_rows, mend, write_changes
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import Row
from espnet_ext.data.validate import MENDED, require_valid, say_mended
from espnet_ext.errors import UserError
from espnet_ext.progress import say

POLICIES = ("error", "skip", "quarantine")
REMOVED = "removed_broken.tsv"
QUARANTINE = "quarantine"


@dataclass(frozen=True)
class Policy:
    """What a stage does with utterances that are broken."""

    on_error: str = "error"  # stop; or "skip" them; or "quarantine": skip, and keep them aside
    most: float = 0.05  # share of the utterances that may be left out before it is an error
    whole: bool = False  # a set to decode: nothing is left out of it, whatever on_error says


def take(check: Check, target: str | os.PathLike, policy: Policy) -> list[Utterance]:
    """The utterances that a stage works on: all, or those that `policy` leaves of them."""
    utterances = None
    if any(one.code not in MENDED for one in check.errors):
        utterances = admit(check, target, policy)
    else:
        for stale in (Path(target) / REMOVED, *(Path(target) / QUARANTINE).glob("*")):
            remove_stale(stale)
    if utterances is None:
        require_valid(check)
        return read_directory(check.path)
    say_mended(check)
    if not utterances:
        require_valid(check)
    return utterances


def admit(check: Check, target: str | os.PathLike, policy: Policy) -> list[Utterance] | None:
    """The utterances that `policy` lets a stage take in spite of errors; None if it must stop.

    Raises a `UserError` if more than the cap would be lost. What is left out is listed in
    `<target>/removed_broken.tsv`; in quarantine it is a data directory of its own, too.
    """
    if policy.on_error not in POLICIES:
        raise UserError(f"on_error '{policy.on_error}'", f"use one of: {', '.join(POLICIES)}")
    if policy.on_error == "error" or policy.whole or not check.ids:
        return None
    utterances, changes = mend(check, rename=False)
    lost = {change.utt_id for change in changes if change.what == "left out"}
    unlabelled = {one.utt_id for one in changes if one.what in ("unlabelled", "row left out")}
    touched = lost | unlabelled
    if len(touched) > policy.most * max(1, len(check.ids)):
        share = 100 * len(touched) / max(1, len(check.ids))
        message = (
            f"{check.path}: {len(touched)} utterances ({share:.1f} %) are broken, more than the "
            f"{100 * policy.most:g} % that may be left out"
        )
        remedy = f"espnet-ext validate {check.path} lists what is wrong; mend it, or raise the cap"
        raise UserError(message, remedy)
    folder = Path(target)
    write_changes(folder / REMOVED, changes)
    if policy.on_error == "quarantine":
        _quarantine(check, folder / QUARANTINE, touched - {one.utt_id for one in utterances})
    say(
        f"warning: {check.path}: {len(lost)} broken utterances left out, {len(unlabelled - lost)} "
        f"with something of theirs left out: {folder / REMOVED}"
    )
    return utterances


def _quarantine(check: Check, folder: Path, lost: set[str]) -> None:
    """The rows of what was left out, table by table, and why, to be mended and given back."""
    for name in ("wav.scp", "utt2spk", *LABEL_TABLES):
        if (Path(check.path) / name).exists():
            rows = [row for row in all_rows(Path(check.path) / name) if row.key in lost]
            _write_rows(folder / name, rows)
    for name, file in text_files(check.path).items():
        rows = [row for row in all_rows(file) if row.key in lost]
        _write_rows(folder / f"text.{name}", rows)
    why = [str(one) for one in check.errors if one.utt_id in lost and one.severity == ERROR]
    files.write_text(folder / "findings.txt", "".join(f"{line}\n" for line in why))


def _write_rows(path: Path, rows: list[Row]) -> None:
    if rows:
        text = "".join(f"{row.key} {row.value}\n" for row in rows)
        files.write_text(path, text.encode(errors="replace").decode())
