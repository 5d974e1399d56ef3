"""Stage 4: validate a directory and remove utterances that are unsuitable for training.

Every removed utterance is listed in `removed.tsv` with the reason.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet_ext import files
from espnet_ext.data import audio_digest
from espnet_ext.data.audio import AudioInfo
from espnet_ext.data.bands import check_bands
from espnet_ext.data.checks.context import CheckOptions
from espnet_ext.data.checks.findings import ERROR, WARNING, describe
from espnet_ext.data.checks.phones import WRONG_UNITS
from espnet_ext.data.directory import (
    ESPNET_FILES,
    LABEL_TABLES,
    copy_espnet_files,
    output_directory,
    require_label_tables,
)
from espnet_ext.data.further_tables import FurtherTables
from espnet_ext.data.policy import REMOVED, Policy, stream_usable_utterances
from espnet_ext.data.record import Utterance
from espnet_ext.data.streaming import DirectoryWriter
from espnet_ext.data.validate import FIXED_ON_WRITING, check_directory
from espnet_ext.errors import UserError
from espnet_ext.progress import say
from espnet_ext.text.tags import label_token, make_tag, split_tags


@dataclass(frozen=True)
class FilterOptions:
    """Which utterances to keep, and which outputs and tags to make from their labels."""

    outputs: Sequence[str]  # an utterance needs a transcript for at least one of these
    min_seconds: float = 0.1
    max_seconds: float = 20.0
    keep_all: bool = False  # remove nothing, for sets to decode
    checks: CheckOptions = field(default_factory=CheckOptions)
    policy: Policy = field(default_factory=Policy)  # what to do with broken utterances
    labels: Mapping[str, str] = field(default_factory=dict)  # new output → label table: "utt2l1"
    # (output, one of `labels`): also add the label to transcripts of the output as an inline tag
    tags: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        require_label_tables(self.labels)
        for name, label in self.tags:
            if label not in self.labels or name not in self.outputs or name in self.labels:
                raise UserError(
                    f"tag {name}={label}: '{name}' must be an output with transcripts, and "
                    f"'{label}' one made from a label table",
                    'write, e.g., --label_outputs "l1=utt2l1" --inline_tags "meaning=l1"',
                )

    def add_labels(self, utterance: Utterance) -> Utterance:
        """Return the utterance with its labels as transcripts and as inline tags."""
        values = {
            name: label_token(value)
            for name, table in self.labels.items()
            if (value := getattr(utterance, LABEL_TABLES[table]))
        }
        texts = {**utterance.texts, **values}
        for name, label in self.tags:
            if name in utterance.texts and label in values:
                existing_tags = split_tags(texts[name])[1]
                if label not in existing_tags:  # transcripts of a corpus may have tags already
                    texts[name] = f"{texts[name]} {make_tag(label, values[label])}"
        return replace(utterance, texts=texts)

    def reason_to_remove(self, utterance: Utterance, seconds: float) -> str:
        """Return why the utterance must be removed; "" if it is kept."""
        if self.keep_all:
            return ""
        if seconds < self.min_seconds:
            return f"shorter than {self.min_seconds:g} s"
        if seconds > self.max_seconds:
            return f"longer than {self.max_seconds:g} s"
        if not any(utterance.texts.get(name) for name in self.outputs):
            return f"no transcript for {' or '.join(self.outputs)}"
        return ""


def filter_directory(
    source: str | os.PathLike,
    target: str | os.PathLike,
    options: FilterOptions,
    *,
    overwrite: bool = False,
) -> list[str]:
    """Validate `source` and write the utterances that are kept to `target`; return summary lines.

    `audio.sha256` is the digest of their audio.
    `text.<output>` of each of `options.outputs` has a row for every utterance, `<na>` where it is
    unlabelled. Transcripts of other outputs (canonical) are copied.

    Args:
        overwrite: replace files that this command did not write.

    Raises:
        UserError: with all errors of the directory, which are also in `<target>/validation.json`,
            unless the policy leaves broken utterances out.
    """
    further = FurtherTables([source], target, replaced=["utt2dur"])
    names = rf"validation\.json|removed\.tsv|{re.escape(REMOVED)}|utt2dur|{ESPNET_FILES}"
    names += f"|{re.escape(audio_digest.FILE)}"
    with output_directory(
        target,
        "filter",
        [source],
        overwrite=overwrite,
        further=f"{names}|{further.pattern()}",
        evidence=("validation.json", "removed.tsv"),
    ):
        return _filter(source, target, options, further)


def _filter(
    source: str | os.PathLike,
    target: str | os.PathLike,
    options: FilterOptions,
    further: FurtherTables,
) -> list[str]:
    keep_all = options.policy.keep_all or options.keep_all
    severity = WARNING if keep_all else ERROR
    checked = check_directory(source, replace(options.checks, empty_severity=severity))
    check_bands(checked)
    files.write_json(Path(target) / "validation.json", checked.as_json())
    for finding in checked.errors:
        if finding.code in WRONG_UNITS:  # of the whole output: no policy can leave it out
            raise finding.as_error()
    utterances = stream_usable_utterances(
        checked, target, replace(options.policy, keep_all=keep_all)
    )
    for line in describe(
        finding
        for finding in checked.findings
        if finding.severity == WARNING and finding.code not in FIXED_ON_WRITING
    ):
        say(line)
    with DirectoryWriter(
        target,
        ["utt2dur", *further.earlier],
        fill_missing=tuple(options.outputs),
        empty_texts=keep_all,
        any_speakers=True,
    ) as writer:
        counts = _Counts(options.outputs)
        kept = _kept(utterances, checked.audio, options, Path(target) / "removed.tsv", counts)
        kept = audio_digest.with_digest(kept, target, options.checks.nj)
        for utterance in further.copy(kept, writer):
            seconds = checked.audio[utterance.utt_id].seconds
            writer.add(utterance, {"utt2dur": f"{seconds:.4f}"})
            counts.add(utterance, seconds)
        if not counts.kept:
            raise UserError(
                f"{source}: no utterance is left: "
                + "; ".join(f"{count} {reason}" for reason, count in counts.removed.most_common()),
                f"change --min_seconds, --max_seconds or --outputs; see {target}/removed.tsv",
            )
    copy_espnet_files(source, target)
    return counts.summary(target)


def _kept(
    utterances: Iterable[Utterance],
    audio: Mapping[str, AudioInfo],
    options: FilterOptions,
    path: Path,
    counts: "_Counts",
) -> Iterator[Utterance]:
    """Yield the utterances to keep, with their labels; write the others to `path`."""
    with files.atomic_write(path) as handle:
        handle.write("utterance\tspeaker\tseconds\treason\n")
        for utterance in map(options.add_labels, utterances):
            seconds = audio[utterance.utt_id].seconds
            if reason := options.reason_to_remove(utterance, seconds):
                counts.removed[reason] += 1
                row = (utterance.utt_id, utterance.speaker, f"{seconds:.4f}", reason)
                handle.write("\t".join(row) + "\n")
            else:
                yield utterance


class _Counts:
    """What is kept and removed."""

    def __init__(self, outputs: Sequence[str]):
        self.kept, self.seconds = 0, 0.0
        self.labelled = dict.fromkeys(outputs, 0)  # output → utterances with a transcript
        self.removed: Counter[str] = Counter()  # reason → utterances

    def add(self, utterance: Utterance, seconds: float) -> None:
        """Count an utterance that is kept."""
        self.kept += 1
        self.seconds += seconds
        for name in self.labelled:
            self.labelled[name] += name in utterance.texts

    def summary(self, target: str | os.PathLike) -> list[str]:
        """Return lines to print."""
        labelled = ", ".join(f"{count} {name}" for name, count in self.labelled.items())
        lines = [
            f"{target}: {self.kept} of {self.kept + self.removed.total()} utterances kept, "
            f"{self.seconds / 3600:.2f} h, labelled: {labelled}"
        ]
        for reason, count in self.removed.most_common():
            lines.append(f"  removed {count}: {reason} (listed in {target}/removed.tsv)")
        return lines
