"""Validate a data directory: run all checks and report everything that is wrong at once."""

import os
from collections import Counter
from collections.abc import Callable, Sequence

from espnet_ext.data.checks import audio, kaldi, pairs, speaking_rate, splits, tables, text, tokens
from espnet_ext.data.checks.context import Checked, CheckOptions
from espnet_ext.data.checks.findings import NOTE, Finding, describe
from espnet_ext.data.directory import require_directory
from espnet_ext.errors import UserError
from espnet_ext.progress import say

# All checks, in the order in which they run. Later ones use what earlier ones fill in: ids,
# languages, transcripts, audio.
CHECKS: tuple[Callable[[Checked], None], ...] = (
    tables.check_recordings,
    tables.check_speakers,
    tables.check_labels,
    text.check_transcripts,
    tables.check_coverage,
    pairs.check_pairs,
    kaldi.check_tables,
    tables.check_outputs,
    audio.check_audio,
    kaldi.check_durations,
    speaking_rate.check_speaking_rate,
    tokens.check_tokens,
    splits.check_splits,
)
# Errors that every stage fixes when it writes a directory, which sorts it and normalises texts.
FIXED_ON_WRITING = frozenset({"unsorted", "not-nfc", "whitespace", "spk2utt", "no-newline"})


def validate_directory(
    path: str | os.PathLike,
    *,
    sample_rate: int | None = None,
    check_audio: bool = True,
    outputs: Sequence[str] | None = None,
    allow_pipes: bool = False,
    read_samples: bool = False,
) -> list[Finding]:
    """Return the errors and warnings of a data directory. The options are those of `CheckOptions`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = {"wav.scp": "s1-u1 a.wav", "utt2spk": "s1-u1 s1", "text": "s1-u2 가"}
    ...     for name, row in rows.items():
    ...         _ = Path(folder, name).write_text(row + "\\n")
    ...     [finding.code for finding in validate_directory(folder)]
    ['spk2utt', 'unknown-id', 'no-text', 'no-audio']
    """
    options = CheckOptions(
        sample_rate=sample_rate,
        check_audio=check_audio,
        outputs=outputs or (),
        allow_pipes=allow_pipes,
        read_samples=read_samples,
    )
    findings = check_directory(path, options).findings
    return [finding for finding in findings if finding.severity != NOTE]


def check_directory(path: str | os.PathLike, options: CheckOptions | None = None) -> Checked:
    """Run all checks on a directory. Memory grows with its ids and findings, not with its texts."""
    checked = Checked(require_directory(path), options or CheckOptions())
    for check in CHECKS:
        check(checked)
    return checked


# Errors of audio for which --fix leaves an utterance out.
_AUDIO_ERRORS = frozenset({"no-audio", "unreadable-audio", "empty-audio", "channels"})


def require_valid(checked: Checked, *, ignore: frozenset[str] = FIXED_ON_WRITING) -> None:
    """Raise a `UserError` that lists the errors, except those with a code in `ignore`."""
    errors = [finding for finding in checked.errors if finding.code not in ignore]
    if errors:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        listing = "\n".join(["", *describe(errors)])
        remedy = f"fix these; espnet-ext validate {checked.folder} checks it again"
        unusable = {finding.utt_id for finding in errors if finding.code in _AUDIO_ERRORS}
        if not unusable.issuperset(checked.ids):  # else the copy would be empty
            remedy = (
                f"fix these; espnet-ext validate {checked.folder} checks it again, and with --fix "
                "DIR writes a copy without what is broken"
            )
        raise UserError(f"{checked.folder}: {count} in the data directory:{listing}", remedy)
    report_fixed(checked, ignore)


def report_fixed(checked: Checked, codes: frozenset[str] = FIXED_ON_WRITING) -> None:
    """Print which errors, of some codes, are not in the directory that the caller writes."""
    for code, count in Counter(finding.code for finding in checked.errors).items():
        if code in codes:
            say(f"{checked.folder}: fixed on writing: {count} × [{code}]")
