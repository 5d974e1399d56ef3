"""Validation and filtering (stage 4): the directory that training and decoding read.

Nothing goes silently: what is removed is listed in `removed.tsv` with its reason.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet_ext import files
from espnet_ext.data.checking import Checks
from espnet_ext.data.directory import (
    LABEL_TABLES,
    require_label_tables,
    require_output,
    write_directory,
)
from espnet_ext.data.findings import WARNING, describe
from espnet_ext.data.policy import Policy, take
from espnet_ext.data.record import Utterance
from espnet_ext.data.validate import MENDED, check_directory
from espnet_ext.errors import UserError
from espnet_ext.progress import say
from espnet_ext.text.tags import label_token, make_tag, split_tags

PASSED_ON = ("feats_type", "audio_format")  # what ESPnet's scripts want to find beside wav.scp


@dataclass(frozen=True)
class Filter:
    """What an utterance must be like to stay."""

    outputs: Sequence[str]  # it has a transcript for at least one of these
    min_seconds: float = 0.1
    max_seconds: float = 20.0
    keep_all: bool = False  # for sets to decode: their files are completed, and nothing is removed
    checks: Checks = field(default_factory=Checks)  # what else to check
    policy: Policy = field(default_factory=Policy)  # what to do with broken utterances
    labels: Mapping[str, str] = field(default_factory=dict)  # output → label table: "utt2l1"
    tags: Sequence[tuple[str, str]] = ()  # (output, one of `labels`): also written into it as a tag

    def __post_init__(self) -> None:
        require_label_tables(self.labels)
        for name, label in self.tags:
            if label not in self.labels or name not in self.outputs or name in self.labels:
                raise UserError(
                    f"tag {name}={label}: '{name}' must be an output with transcripts and "
                    f"'{label}' one of a label table",
                    'write, e.g., --label_outputs "l1=utt2l1" --inline_tags "meaning=l1"',
                )

    def labelled(self, utterance: Utterance) -> Utterance:
        """The utterance with its labels as transcripts, and as tags behind transcripts."""
        values = {
            name: label_token(value)
            for name, table in self.labels.items()
            if (value := getattr(utterance, LABEL_TABLES[table]))
        }
        texts = {**utterance.texts, **values}
        for name, label in self.tags:
            if name in utterance.texts and label in values:
                plain = split_tags(texts[name])[1]
                if label not in plain:  # a corpus may bring its own
                    texts[name] = f"{texts[name]} {make_tag(label, values[label])}"
        return replace(utterance, texts=texts)

    def reason_against(self, utterance: Utterance, seconds: float) -> str:
        """Why the utterance has to go; empty if it stays."""
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
    source: str | os.PathLike, target: str | os.PathLike, rule: Filter
) -> list[str]:
    """Validate `source`, write what stays of it to `target`; returns lines saying what was done.

    `text.<output>` of every output has a row for every utterance, `<na>` where it is unlabelled;
    other transcripts (canonical) are passed on as they are. Any error ends it, with all of them
    listed and in `<target>/validation.json`, unless the rule's policy leaves broken utterances out.
    """
    require_output(source, target)
    check = check_directory(source, rule.checks)
    files.write_json(Path(target) / "validation.json", check.as_json())
    policy = replace(rule.policy, whole=rule.policy.whole or rule.keep_all)
    utterances = take(check, target, policy)
    warnings = [one for one in check.findings if one.severity == WARNING and one.code not in MENDED]
    for line in describe(warnings):
        say(line)
    kept: list[Utterance] = []
    removed: list[tuple[Utterance, str]] = []
    for utterance in map(rule.labelled, utterances):
        reason = rule.reason_against(utterance, check.audio[utterance.utt_id].seconds)
        if reason:
            removed.append((utterance, reason))
        else:
            kept.append(utterance)
    seconds = {utt_id: info.seconds for utt_id, info in check.audio.items()}
    _write_removed(Path(target) / "removed.tsv", removed, seconds)
    if not kept:
        reasons = Counter(reason for _, reason in removed).most_common()
        raise UserError(
            f"{source}: no utterance is left: "
            + "; ".join(f"{count} {reason}" for reason, count in reasons),
            f"change --min_seconds, --max_seconds or --outputs; see {target}/removed.tsv",
        )
    durations = {one.utt_id: f"{seconds[one.utt_id]:.4f}" for one in kept}
    write_directory(target, kept, fill_missing=tuple(rule.outputs), extra={"utt2dur": durations})
    for name in PASSED_ON:
        if (Path(source) / name).exists():
            files.write_text(Path(target) / name, (Path(source) / name).read_text("utf-8"))
    return _summary(target, kept, removed, seconds, rule)


def _write_removed(
    path: Path, removed: Sequence[tuple[Utterance, str]], seconds: dict[str, float]
) -> None:
    rows = ["utterance\tspeaker\tseconds\treason\n"]
    for one, reason in removed:
        rows.append(f"{one.utt_id}\t{one.speaker}\t{seconds[one.utt_id]:.4f}\t{reason}\n")
    files.write_text(path, "".join(rows))


def _summary(
    target: str | os.PathLike,
    kept: Sequence[Utterance],
    removed: Sequence[tuple[Utterance, str]],
    seconds: dict[str, float],
    rule: Filter,
) -> list[str]:
    hours = sum(seconds[one.utt_id] for one in kept) / 3600
    labelled = ", ".join(
        f"{sum(name in one.texts for one in kept)} {name}" for name in rule.outputs
    )
    lines = [
        f"{target}: {len(kept)} of {len(kept) + len(removed)} utterances kept, {hours:.2f} h, "
        f"labelled: {labelled}"
    ]
    for reason, count in Counter(reason for _, reason in removed).most_common():
        lines.append(f"  removed {count}: {reason} (listed in {target}/removed.tsv)")
    return lines
