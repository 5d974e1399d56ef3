"""Lhotse cuts: JSON Lines manifests, and Shar folders, which hold their audio.

A cut with one supervision is one utterance; one with several is an utterance each supervision, cut
to its times. Columns are `text`, `speaker`, `language`, `gender` and the custom fields of
supervisions and cuts. By default the custom fields that `to_lhotse` writes are read, and `text` as
meaning where there is no such field.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from espnet_ext.corpora.interchange.columns import Columns, as_id, library, utterance
from espnet_ext.corpora.interchange.sink import Sink
from espnet_ext.data.record import is_output_name
from espnet_ext.errors import UserError
from espnet_ext.progress import track

EXTRA = "lhotse"
OUTPUTS = ("surface", "meaning", "canonical")  # custom fields that are transcripts by their name
TEXT_ = "text_"  # before the name of any other output
MANIFESTS = (".jsonl", ".jsonl.gz")
DEFAULTS = {
    "speaker": "speaker",
    "lang": "language",
    "l1": "l1",
    "band": "band",
    "domain": "domain",
}


def read(source: str | os.PathLike, columns: Columns, sink: Sink, *, root: str = "") -> None:
    """Give the cuts' utterances to the sink, streamed; `root` is where relative paths start."""
    chosen = bool(columns.texts)
    columns = replace(
        columns,
        **{name: column for name, column in DEFAULTS.items() if not getattr(columns, name)},
    )
    seen: set[str] = set()
    for cut in track(_cuts(Path(source)), f"reading {source}", unit="cut"):
        _read_cut(cut, columns, sink, root, chosen, seen)
    asked = set(columns.named()) - set(DEFAULTS.values())
    if missing := sorted(asked - seen):
        remedy = f"name one of: {', '.join(sorted(seen)) or 'there is none'}"
        raise UserError(f"{source}: no supervision has a field {', '.join(missing)}", remedy)


def _cuts(source: Path) -> Iterator[Any]:
    """Cuts one after the other, of a manifest or of a Shar folder."""
    if source.is_dir() and (source / "cuts.jsonl.gz").is_file():
        source = source / "cuts.jsonl.gz"
    if source.is_dir() and any(source.glob("cuts.*.jsonl*")):
        cuts = library("lhotse", EXTRA).CutSet.from_shar(in_dir=str(source))
    elif source.is_file() and source.name.endswith(MANIFESTS):
        cuts = library("lhotse", EXTRA).CutSet.from_jsonl_lazy(str(source))
    else:
        what = "no such file" if not source.exists() else "neither cuts nor a Shar folder"
        remedy = f"name a manifest of cuts ({' or '.join(MANIFESTS)}) or a Shar folder"
        raise UserError(
            f"{source}: {what}",
            f"{remedy}; recordings and supervisions become cuts with: lhotse cut simple",
        )
    number = 0
    try:
        for number, cut in enumerate(cuts, 1):  # noqa: B007 for the message
            if not hasattr(cut, "supervisions"):
                raise UserError(f"{source}: line {number}: is no cut", "name a manifest of cuts")
            yield cut
    except UserError:
        raise
    except GeneratorExit:
        raise
    except Exception as error:  # whatever its parsers stumble over
        message = f"{source}: after {number} cuts: {type(error).__name__}: {error}"
        raise UserError(message, "is it a whole manifest of cuts? lhotse validate FILE") from None


def _read_cut(
    cut: Any, columns: Columns, sink: Sink, root: str, chosen: bool, seen: set[str]
) -> None:
    supervisions = list(getattr(cut, "supervisions", ()))
    if not supervisions:
        sink.leave_out(cut.id, "cut without supervisions")
        return
    if type(cut).__name__ == "PaddingCut" or not getattr(cut, "has_recording", False):
        sink.leave_out(cut.id, "cut without a recording")
        return
    for one in supervisions:
        row = _row(cut, one)
        seen.update(row)
        named = columns if chosen else replace(columns, texts=_outputs(row))
        with sink.faults.noting():
            _read_supervision(cut, one, row, named, sink, root, len(supervisions) == 1)


def _read_supervision(
    cut: Any,
    supervision: Any,
    row: dict[str, Any],
    columns: Columns,
    sink: Sink,
    root: str,
    alone: bool,
) -> None:
    name = row.get(columns.id) if columns.id else supervision.id
    if name is None:
        message = f"{supervision.id}: nothing in {columns.id}"
        raise UserError(message, "name another column: --id")
    utt_id = as_id(str(name), sink.report)
    found = utterance(utt_id, "", row, columns, sink.report)
    if alone:
        _give(cut, found, sink, root)
        return
    begin, end = max(0.0, supervision.start), min(cut.duration, supervision.end)
    if begin >= end:
        sink.leave_out(utt_id, "supervision outside its cut")
        return
    if (begin, end) != (supervision.start, supervision.end):
        sink.report.counts["supervisions that reach out of their cuts, cut there"] += 1
    part = cut.truncate(offset=begin, duration=end - begin, preserve_id=True)
    _give(part, found, sink, root)


def _row(cut: Any, supervision: Any) -> dict[str, Any]:
    """A supervision's fields by name; its own before those of its cut."""
    row = {**(getattr(cut, "custom", None) or {}), **(supervision.custom or {})}
    for name in ("text", "speaker", "language", "gender"):
        if (value := getattr(supervision, name)) is not None:
            row[name] = value
    return row


def _outputs(row: dict[str, Any]) -> dict[str, str]:
    """Output → field, of a row without a choice of columns."""
    texts = {name: name for name in OUTPUTS if name in row}
    for name in row:
        output = name.removeprefix(TEXT_)
        if name.startswith(TEXT_) and is_output_name(output):
            texts[output] = name
    return texts or {"meaning": "text"}


def _give(cut: Any, one: Any, sink: Sink, root: str) -> None:
    """The cut's audio: referred to, cut out by us where it is in a file, else read by lhotse."""
    recording = getattr(cut, "recording", None)  # a mix of cuts has several
    for source in _sources(cut):
        if source.type == "url":
            remedy = "fetch it, and name the file in the manifest"
            raise UserError(f"{cut.id}: its audio is at an address: {source.source}", remedy)
        if source.type == "command" and not sink.allow_pipes:
            remedy = "if you trust the manifest, pass --allow_pipes true"
            raise UserError(f"{cut.id}: {source.source}: is a command, not run unasked", remedy)
    channels = getattr(cut, "channel", 0)
    plain = recording is not None and not recording.transforms and isinstance(channels, int)
    if plain:
        plain = [source for source in recording.sources if channels in source.channels]
    if not plain or plain[0].type != "file":
        samples = _load(cut)
        sink.write(one, samples.T, cut.sampling_rate)
        return
    file = os.path.join(os.path.abspath(root or "."), str(plain[0].source))
    several = len(plain[0].channels) > 1
    channel = plain[0].channels.index(channels) if several else None
    step = 1 / recording.sampling_rate
    whole = cut.start < step / 2 and abs(cut.duration - recording.duration) < step
    one = replace(one, audio=file)
    if whole and not several:
        sink.refer(one)
    else:
        sink.cut(one, cut.start, None if whole else cut.duration, channel)


def _sources(cut: Any) -> Iterator[Any]:
    """Where the audio of a cut, or of all cuts in a mix, comes from."""
    for track_ in getattr(cut, "tracks", None) or ():
        yield from _sources(track_.cut)
    recording = None if hasattr(cut, "tracks") else getattr(cut, "recording", None)
    yield from recording.sources if recording is not None else ()


def _load(cut: Any):
    """(channels, T) as lhotse reads it: transforms, mixes and what is in memory."""
    import numpy as np

    try:
        samples = np.asarray(cut.load_audio())
    except Exception as error:  # its readers raise many kinds
        remedy = "does lhotse read it? CutSet…[id].load_audio()"
        raise UserError(f"{cut.id}: lhotse cannot read its audio: {error}", remedy) from None
    if not np.isfinite(samples).all():
        raise UserError(f"{cut.id}: has samples that are not finite", "remove the cut")
    return samples.reshape(-1, samples.shape[-1])
