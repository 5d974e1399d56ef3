"""Cut the utterances of a corpus out of longer recordings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from espnet_ext.corpora.preparation import CorpusOptions, Report, list_faults
from espnet_ext.data.record import Utterance
from espnet_ext.data.rendering import Job, render
from espnet_ext.errors import UserError

Planned = Sequence[tuple[Utterance, Job]]  # the job cuts the utterance; its target is still empty


def cut_segments(
    planned: Planned, folder: Path, options: CorpusOptions, report: Report, what: str = "segments"
) -> list[Utterance]:
    """Return the utterances with their audio, which is written to `<folder>/<utterance>.flac`.

    Files that an earlier run cut from the same audio are kept.

    Args:
        what: what the corpus calls its segments, for messages.

    Raises:
        UserError: audio cannot be read and `options.skip_unreadable` is False; names them all.
    """
    jobs = [
        replace(job, target=str((folder / f"{job.utt_id}.flac").absolute())) for _, job in planned
    ]
    label = f"{report.corpus}: cutting {what}"
    rendered, failed = render(jobs, folder, nj=options.nj, label=label)
    if failed and not options.skip_unreadable:
        faults = [f"{utt_id}: {error.message}" for utt_id, error in sorted(failed.items())]
        raise UserError(
            f"{report.corpus}: {len(faults)} {what} cannot be cut:{list_faults(faults)}",
            "take the audio from a fresh copy, or leave them out: --skip_unreadable true",
        )
    utterances = []
    for utterance, _ in planned:
        if utterance.utt_id in failed:
            report.leave_out(utterance.utt_id, "unreadable audio")
            continue
        audio = rendered[utterance.utt_id]
        report.seconds[utterance.utt_id] = audio.frames / audio.rate
        utterances.append(replace(utterance, audio=audio.audio))
    return utterances
