"""Read lhotse cuts: JSON Lines manifests, and Shar folders, which contain their audio.

A cut with one supervision is one utterance; a cut with several is one utterance per supervision,
cut at its times. Columns are `text`, `speaker`, `language`, `gender` and the custom fields of
supervisions and cuts. Of outputs that are not named, the custom fields that `to_lhotse` writes are
read, and `text` as meaning if no supervision has a custom field `meaning`. The report names fields
that are not imported.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_ext.corpora.interchange.column_mapping import (
    LEFT_OUT,
    ColumnMapping,
    as_id,
    import_library,
    make_utterance,
    note_not_imported,
    remedy_for_source,
)
from espnet_ext.corpora.interchange.directory_builder import DirectoryBuilder
from espnet_ext.data.record import Utterance, is_output_name
from espnet_ext.errors import UserError
from espnet_ext.progress import track
from espnet_ext.text.unicode import normalize

if TYPE_CHECKING:
    import numpy as np

EXTRA = "lhotse"
OUTPUTS = ("surface", "meaning", "canonical")  # custom fields with the names of outputs
TEXT_PREFIX = "text_"  # of the custom fields of all other outputs
_CELLS = str | int | float | list  # types of fields that can be transcripts or labels
_OF_LHOTSE = ("dataloading_info", "shard_origin", "shar_epoch")  # fields that lhotse adds
MANIFESTS = (".jsonl", ".jsonl.gz")
DEFAULTS = {
    "speaker": "speaker",
    "lang": "language",
    "l1": "l1",
    "band": "band",
    "domain": "domain",
}


def read(
    source: str | os.PathLike, columns: ColumnMapping, builder: DirectoryBuilder, *, root: str = ""
) -> None:
    """Add the utterances of the cuts to the builder; relative audio paths start from `root`."""
    defaults: dict[str, Any] = {
        name: column for name, column in DEFAULTS.items() if not getattr(columns, name)
    }
    columns = replace(columns, **defaults)
    fields: Counter = Counter()  # number of supervisions by field
    sentences: dict[str, str] = {}  # utterance id → `text`, which may be the meaning
    for cut in track(_cuts(Path(source)), f"reading {source}", unit="cut"):
        supervisions = list(getattr(cut, "supervisions", ()))
        if not supervisions:
            builder.leave_out(cut.id, "cut without supervisions")
            continue
        if type(cut).__name__ == "PaddingCut" or not getattr(cut, "has_recording", False):
            builder.leave_out(cut.id, "cut without a recording")
            continue
        for supervision in supervisions:
            row = _row(cut, supervision)
            fields.update(name for name, value in row.items() if isinstance(value, _CELLS))
            columns_of_row = columns.with_default_texts(_outputs(row)).without_left_out()
            with builder.errors.collecting():
                utterance = _make_utterance(supervision, row, columns_of_row, builder)
                if columns.cell(row.get("text")):
                    sentences[utterance.utt_id] = row["text"]
                part = cut if len(supervisions) == 1 else _truncate(cut, supervision, builder)
                if part is None:
                    builder.leave_out(utterance.utt_id, "supervision outside its cut")
                else:
                    _add_audio(part, utterance, builder, root)
    used = {*columns.names(), *_outputs(fields).values()}
    if "text" not in used:
        _use_sentences(sentences, columns, fields, builder)
        used.add("text")
    others = {name: n for name, n in fields.items() if name not in {*used, *_OF_LHOTSE}}
    remedy = "name transcripts as --surface FIELD, --meaning FIELD or --texts OUTPUT=FIELD"
    note_not_imported(builder.report, "fields", others, remedy)
    requested = set(columns.names()) - set(DEFAULTS.values())
    if missing := sorted(requested - fields.keys()):
        remedy = f"name one of: {', '.join(sorted(fields)) or 'there is none'}"
        raise UserError(f"{source}: no supervision has a field {', '.join(missing)}", remedy)


def _use_sentences(
    sentences: Mapping[str, str],
    columns: ColumnMapping,
    fields: Mapping[str, int],
    builder: DirectoryBuilder,
) -> None:
    """Use `text` as the meaning, or note that it is not imported.

    `to_lhotse` also writes a transcript of another field to `text`, which is then not used.
    """
    utterances = builder.utterances
    differing = {
        utt_id: text
        for utt_id, text in sentences.items()
        if utt_id in utterances and normalize(text) not in utterances[utt_id].texts.values()
    }
    if "meaning" in columns.texts or "meaning" in fields:
        is_left_out = columns.texts.get("meaning") == LEFT_OUT
        if differing and not is_left_out:
            remedy = "to import it, name it: --meaning text or --texts OUTPUT=text"
            counts = {"text": len(differing)}
            note_not_imported(builder.report, "fields", counts, remedy)
        return
    if not differing and any(utterances[utt_id].texts for utt_id in sentences.keys() & utterances):
        return
    columns = replace(columns, texts={"meaning": "text"})
    for utt_id in utterances:
        builder.add_texts(utt_id, {"text": sentences.get(utt_id)}, columns)


def _cuts(source: Path) -> Iterator[Any]:
    """Yield the cuts of a manifest or of a Shar folder."""
    if source.is_dir() and (source / "cuts.jsonl.gz").is_file():
        source = source / "cuts.jsonl.gz"
    if source.is_dir() and any(source.glob("cuts.*.jsonl*")):
        cuts = import_library("lhotse", EXTRA).CutSet.from_shar(in_dir=str(source))
    elif source.is_file() and source.name.endswith(MANIFESTS):
        cuts = import_library("lhotse", EXTRA).CutSet.from_jsonl_lazy(str(source))
    else:
        what = "no such file" if not source.exists() else "neither cuts nor a Shar folder"
        remedy = (
            f"name a manifest of cuts ({' or '.join(MANIFESTS)}) or a Shar folder; recordings and "
            "supervisions become cuts with: lhotse cut simple"
        )
        raise UserError(f"{source}: {what}", remedy_for_source(source, remedy))
    number = 0
    try:
        for number, cut in enumerate(cuts, 1):  # noqa: B007 used in the message
            if not hasattr(cut, "supervisions"):
                message = f"{source}: line {number}: is not a cut"
                raise UserError(message, "name a manifest of cuts")
            yield cut
    except (UserError, GeneratorExit):
        raise
    except Exception as error:  # any error of lhotse's parsers
        message = f"{source}: after {number} cuts: {type(error).__name__}: {error}"
        remedy = "check that it is a complete manifest of cuts: lhotse validate FILE"
        raise UserError(message, remedy) from None


def _make_utterance(
    supervision: Any, row: dict[str, Any], columns: ColumnMapping, builder: DirectoryBuilder
) -> Utterance:
    """Return the utterance of a supervision, without its audio."""
    name = row.get(columns.id) if columns.id else supervision.id
    if name is None:
        message = f"{supervision.id}: {columns.id} is empty"
        raise UserError(message, "name another column: --id")
    utt_id = as_id(str(name), builder.report)
    return make_utterance(utt_id, "", row, columns, builder.report)


def _truncate(cut: Any, supervision: Any, builder: DirectoryBuilder) -> Any:
    """Return the part of a cut that a supervision covers; None if there is none."""
    start, end = max(0.0, supervision.start), min(cut.duration, supervision.end)  # seconds
    if start >= end:
        return None
    if (start, end) != (supervision.start, supervision.end):
        builder.report.counts["supervisions that extend beyond their cut, shortened"] += 1
    return cut.truncate(offset=start, duration=end - start, preserve_id=True)


def _row(cut: Any, supervision: Any) -> dict[str, Any]:
    """Return the fields of a supervision by name; they override those of its cut."""
    row = {**(getattr(cut, "custom", None) or {}), **(supervision.custom or {})}
    for name in ("text", "speaker", "language", "gender"):
        if (value := getattr(supervision, name)) is not None:
            row[name] = value
    return row


def _outputs(row: Mapping[str, Any]) -> dict[str, str]:
    """Return output → custom field of a row (or of all rows), for outputs that are not named."""
    texts = {name: name for name in OUTPUTS if name in row}
    for name in row:
        output = name.removeprefix(TEXT_PREFIX)
        if name.startswith(TEXT_PREFIX) and is_output_name(output):
            texts[output] = name
    return texts


def _add_audio(cut: Any, utterance: Utterance, builder: DirectoryBuilder, root: str) -> None:
    """Add an utterance with the audio of a cut.

    A whole file is referred to; a part of a file is cut here; other audio is read by lhotse.
    """
    for source in _sources(cut):
        if source.type == "url":
            remedy = "download it, and name the file in the manifest"
            raise UserError(f"{cut.id}: its audio is at a URL: {source.source}", remedy)
        if source.type == "command" and not builder.options.allow_pipes:
            remedy = "if you trust the manifest, give --allow_pipes true"
            message = f"{cut.id}: {source.source}: is a command, which is not run"
            raise UserError(message, remedy)
    recording: Any = getattr(cut, "recording", None)  # None for a mix of several cuts
    channel_of_cut = getattr(cut, "channel", 0)
    file_sources = []
    if recording is not None and not recording.transforms and isinstance(channel_of_cut, int):
        file_sources = [source for source in recording.sources if channel_of_cut in source.channels]
    if not file_sources or file_sources[0].type != "file":
        samples = _load_audio(cut)  # (channels, T)
        builder.add_samples(utterance, samples.T, cut.sampling_rate)
        return
    source = file_sources[0]
    file = os.path.join(os.path.abspath(root or "."), str(source.source))
    utterance = replace(utterance, audio=file)
    several_channels = len(source.channels) > 1
    channel = source.channels.index(channel_of_cut) if several_channels else None
    frame = 1 / recording.sampling_rate  # seconds
    is_whole = cut.start < frame / 2 and abs(cut.duration - recording.duration) < frame
    if is_whole and not several_channels:
        builder.add_file(utterance)
    else:
        builder.add_part(utterance, cut.start, None if is_whole else cut.duration, channel)


def _sources(cut: Any) -> Iterator[Any]:
    """Yield the audio sources of a cut, or of all cuts in a mix."""
    for mixed in getattr(cut, "tracks", None) or ():
        yield from _sources(mixed.cut)
    recording = None if hasattr(cut, "tracks") else getattr(cut, "recording", None)
    yield from recording.sources if recording is not None else ()


def _load_audio(cut: Any) -> "np.ndarray":
    """Return samples (channels, T) as lhotse reads them: with transforms, mixes, memory audio."""
    import numpy as np

    try:
        samples = np.asarray(cut.load_audio())
    except Exception as error:  # any error of lhotse's audio readers
        remedy = "check that lhotse can read it: CutSet…[id].load_audio()"
        raise UserError(f"{cut.id}: lhotse cannot read its audio: {error}", remedy) from None
    if not np.isfinite(samples).all():
        raise UserError(f"{cut.id}: has samples that are not finite", "remove the cut")
    return samples.reshape(-1, samples.shape[-1])
