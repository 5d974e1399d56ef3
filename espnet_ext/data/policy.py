"""What stages 3 and 4 do with broken utterances: stop, skip them, or keep them aside."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from espnet_ext import files
from espnet_ext.data.checks.context import Checked
from espnet_ext.data.directory import LABEL_TABLES, remove_stale, stream_directory, text_files
from espnet_ext.data.fixing import all_rows, repair, write_changes
from espnet_ext.data.record import Utterance
from espnet_ext.data.validate import FIXED_ON_WRITING, report_fixed, require_valid
from espnet_ext.errors import UserError
from espnet_ext.progress import say

POLICIES = ("error", "skip", "quarantine")
REMOVED = "removed_broken.tsv"
QUARANTINE = "quarantine"


@dataclass(frozen=True)
class Policy:
    """What a stage does with broken utterances."""

    on_error: str = "error"  # stop; or "skip" them; or "quarantine": skip, and keep them aside
    max_broken: float = 0.05  # share of the utterances; if more are broken, the stage stops
    keep_all: bool = False  # a set to decode must stay complete: `on_error` has no effect


def usable_utterances(
    checked: Checked, target: str | os.PathLike, policy: Policy
) -> list[Utterance]:
    """Return the utterances of `stream_usable_utterances`."""
    return list(stream_usable_utterances(checked, target, policy))


def stream_usable_utterances(
    checked: Checked, target: str | os.PathLike, policy: Policy
) -> Iterable[Utterance]:
    """Return the utterances that a stage works on: all, or those that are not broken.

    If none is broken, memory does not grow with sorted tables.

    Utterances that are left out are listed in `<target>/removed_broken.tsv`. With "quarantine",
    they are also written to `<target>/quarantine`, a data directory.

    Raises:
        UserError: if there are errors and the policy does not allow to leave utterances out, or
            if more than `policy.max_broken` are broken.
    """
    if policy.on_error not in POLICIES:
        raise UserError(f"on_error '{policy.on_error}'", f"use one of: {', '.join(POLICIES)}")
    if all(finding.code in FIXED_ON_WRITING for finding in checked.errors):
        for stale in (Path(target) / REMOVED, *(Path(target) / QUARANTINE).glob("*")):
            remove_stale(stale)
        require_valid(checked)  # prints what is fixed on writing
        return stream_directory(checked.folder, empty_texts=checked.options.empty_texts)
    if policy.on_error == "error" or policy.keep_all or not checked.ids:
        require_valid(checked)  # raises
    utterances = _leave_out_broken(checked, Path(target), policy)
    report_fixed(checked)
    if not utterances:
        require_valid(checked)  # raises
    return utterances


def _leave_out_broken(checked: Checked, target: Path, policy: Policy) -> list[Utterance]:
    utterances, changes = repair(checked, rename=False)
    left_out = {change.utt_id for change in changes if change.what == "left out"}
    incomplete = {
        change.utt_id for change in changes if change.what in ("unlabelled", "row left out")
    }
    broken = left_out | incomplete
    share = len(broken) / len(checked.ids)
    if share > policy.max_broken:
        message = (
            f"{checked.folder}: {len(broken)} utterances ({100 * share:.1f} %) are broken, more "
            f"than the {100 * policy.max_broken:g} % that may be left out"
        )
        remedy = (
            f"espnet-ext validate {checked.folder} lists what is wrong; fix it, or raise "
            "--max_broken"
        )
        raise UserError(message, remedy)
    write_changes(target / REMOVED, changes)
    if policy.on_error == "quarantine":
        kept = {utterance.utt_id for utterance in utterances}
        _quarantine(checked, target / QUARANTINE, broken - kept)
    say(
        f"warning: {checked.folder}: {len(left_out)} broken utterances left out, "
        f"{len(incomplete - left_out)} with a broken row left out: {target / REMOVED}"
    )
    return utterances


def _quarantine(checked: Checked, folder: Path, utt_ids: set[str]) -> None:
    """Write all rows of some utterances, and findings.txt with what is wrong with them."""
    sources = {name: checked.folder / name for name in ("wav.scp", "utt2spk", *LABEL_TABLES)}
    sources |= {f"text.{name}": file for name, file in text_files(checked.folder).items()}
    for name, file in sources.items():
        rows = [row for row in all_rows(file) if row.key in utt_ids] if file.exists() else []
        if rows:
            text = "".join(f"{row.key} {row.value}\n" for row in rows)
            files.write_text(folder / name, text.encode(errors="replace").decode())
    errors = [str(finding) for finding in checked.errors if finding.utt_id in utt_ids]
    files.write_text(folder / "findings.txt", "".join(f"{line}\n" for line in errors))
