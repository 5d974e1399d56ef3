"""Shards: tar archives with the audio and the tables of a data directory, to be read in sequence.

The layout is that of WebDataset: the files of an utterance stand next to each other and have the
same name up to the first dot, `<id>.wav` or `<id>.flac`, then `<id>.json`. The JSON object has the
id, the number of samples, the row of each table by the name of its file (`text.surface`), and the
CRC-32 of these and of the sound file. In names of files, a dot or a slash of an id is written as
in URLs (`%2E`).

Utterance i of the directory, in order of ids, is in shard i mod N, so shards are of equal size and
every shard contains all speakers with enough utterances. `shards.json` describes the shards.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import resource
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from espnet_ext import files
from espnet_ext.data import arks
from espnet_ext.data.audio import source_file
from espnet_ext.data.directory import text_files
from espnet_ext.data.paths import existing_path
from espnet_ext.data.table import stream_rows
from espnet_ext.errors import UserError

MANIFEST = "shards.json"
VERSION = 1
REMEDY = "write the shards again (stage 4)"
_OF_AUDIO = {"utt2dur", "utt2num_samples", "utt2num_frames", "utt2warp"}  # not labels
_FORMATS = {"WAV": "wav", "FLAC": "flac"}
_OPEN_AT_ONCE = 500  # shards that are written in one pass over the data directory
_FURTHER_FILES = 200  # that a process may have open beside them


@dataclass(frozen=True)
class Shard:
    """A shard as the manifest describes it."""

    path: Path
    utterances: int
    size: int  # bytes


@dataclass(frozen=True)
class Manifest:
    """The content of `shards.json`."""

    folder: Path
    shards: Sequence[Shard]
    tables: Mapping[str, str]  # file name of a table → SHA-256 of its content
    ids: str  # SHA-256 of all ids in order, each followed by a line feed

    @property
    def utterances(self) -> int:
        return sum(shard.utterances for shard in self.shards)


@dataclass(frozen=True, repr=False)
class ShardUtterance:
    """An utterance of a shard, with its sound file as it is stored."""

    utt_id: str
    content: bytes  # WAV or FLAC
    samples: int
    tables: Mapping[str, str]  # file name of a table → value
    shard: Path = field(compare=False)

    def __repr__(self) -> str:
        return repr(self.utt_id)


def write_shards(folder: str | os.PathLike, count: int) -> str:
    """Write the utterances of a data directory to `<folder>/shards`; return a summary line.

    Shards of an earlier run are removed. Memory does not grow with the number of utterances.

    Args:
        folder: the directory; its tables are sorted, and its audio is 16-bit mono WAV or FLAC, in
            files or arks (as stage 3 writes it).
        count: number of shards.

    Raises:
        UserError: if there are fewer utterances than shards, or audio has another format.
    """
    source, target = Path(folder), Path(folder) / "shards"
    remove_shards(source)
    names = _tables_of(source)
    ids, total = hashlib.sha256(), 0
    for _, utt_id, _ in stream_rows(source / "wav.scp"):
        ids.update(f"{utt_id}\n".encode())
        total += 1
    if not 1 <= count <= total:
        message = f"{source}: {count} shards for {total} utterances"
        raise UserError(message, "choose fewer shards, of about 1000 utterances each")
    target.mkdir(exist_ok=True)
    shards: list[dict[str, Any]] = []
    for first in range(0, count, _OPEN_AT_ONCE):
        shards += _write(
            source, target, names, range(first, min(first + _OPEN_AT_ONCE, count)), count
        )
    tables = {name: files.sha256_of(source / name) for name in names}
    manifest = {"version": VERSION, "shards": shards, "tables": tables, "ids": ids.hexdigest()}
    files.write_json(target / MANIFEST, manifest)
    megabytes = sum(shard["bytes"] for shard in shards) / count / 1e6
    return f"{target}: {total} utterances in {count} shards of {megabytes:.3g} MB each"


def remove_shards(folder: str | os.PathLike) -> None:
    """Remove the shards of a data directory, if it has any."""
    target = Path(folder) / "shards"
    for path in [target / MANIFEST, *sorted(target.glob("shard-*.tar"))]:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # missing, or with files of others
        target.rmdir()


def _tables_of(folder: Path) -> list[str]:
    """Return the names of the tables that shards contain, beside wav.scp.

    They are the transcripts and all labels of utterances, as conditions of a system may read them.
    """
    labels = {path.name for path in folder.glob("utt2*")} - _OF_AUDIO
    return sorted({path.name for path in text_files(folder).values()} | labels)


def _write(
    source: Path, target: Path, names: Sequence[str], numbers: range, count: int
) -> list[dict[str, Any]]:
    """Write the shards with these numbers; return their entries of the manifest."""
    paths = [target / f"shard-{number:06d}.tar" for number in numbers]
    sizes = [0] * len(paths)
    with _more_open_files(len(paths)), contextlib.ExitStack() as stack:
        archives = [
            stack.enter_context(
                tarfile.open(fileobj=stack.enter_context(files.atomic_write(path, "wb")), mode="w")
            )
            for path in paths
        ]
        for row, (utt_id, audio, values) in enumerate(_rows(source, names)):
            position = row % count - numbers.start
            if 0 <= position < len(paths):
                _add(archives[position], f"{source / 'wav.scp'}: {utt_id}", utt_id, audio, values)
                sizes[position] += 1
    return [
        {"file": path.name, "utterances": size, "bytes": path.stat().st_size}
        for path, size in zip(paths, sizes, strict=True)
    ]


def _rows(source: Path, names: Sequence[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield id, entry of wav.scp, and values of the tables of each utterance, in order of ids."""
    tables = {name: stream_rows(source / name) for name in names}
    heads = {name: next(rows, None) for name, rows in tables.items()}
    for _, utt_id, audio in stream_rows(source / "wav.scp"):
        values = {}
        for name, rows in tables.items():
            head = heads[name]
            while head is not None and head[1] < utt_id:
                head = next(rows, None)
            if head is not None and head[1] == utt_id:
                values[name] = head[2]
            heads[name] = head
        yield utt_id, audio, values


def _add(
    archive: tarfile.TarFile, place: str, utt_id: str, audio: str, values: Mapping[str, str]
) -> None:
    """Write an utterance to a shard."""
    import soundfile

    try:
        content = _sound_file(audio)
    except UserError as error:
        raise UserError(f"{place}: {error.message}", error.remedy) from None
    try:
        info = soundfile.info(io.BytesIO(content))
    except soundfile.LibsndfileError as error:
        raise UserError(f"{place}: cannot read: {error}", "run stage 3 again") from None
    if info.format not in _FORMATS or info.subtype != "PCM_16" or info.channels != 1:
        kind = f"{info.format} {info.subtype} with {info.channels} channel(s)"
        message = f"{place}: is {kind}, but shards contain 16-bit mono WAV or FLAC"
        raise UserError(message, "run stage 3, which converts audio, then stage 4 on its output")
    record = {"id": utt_id, "samples": info.frames, "tables": values}
    record["crc32"] = _checksum(content, record)
    key = utt_id.replace("%", "%25").replace(".", "%2E").replace("/", "%2F")
    encoded = json.dumps(record, ensure_ascii=False).encode()
    for suffix, member in ((_FORMATS[info.format], content), ("json", encoded)):
        header = tarfile.TarInfo(f"{key}.{suffix}")
        header.size = len(member)
        archive.addfile(header, io.BytesIO(member))
    vars(archive)["members"].clear()  # tarfile keeps the headers of all members


def _checksum(content: bytes, record: Mapping[str, Any]) -> int:
    """Return the CRC-32 of a sound file and of its record without the checksum."""
    fields = [record["id"], record["samples"], sorted(record["tables"].items())]
    return zlib.crc32(json.dumps(fields).encode(), zlib.crc32(content))


def _sound_file(source: str) -> bytes:
    """Return the sound file of an entry of wav.scp: a file, or an entry of an ark."""
    path, offset = source_file(source), source[len(source_file(source)) + 1 :]
    if path != source and not (path.endswith(".ark") and offset.isdigit()):
        raise UserError(f"{source}: is not a sound file", "run stage 3, which writes sound files")
    if path == source:
        try:
            return Path(existing_path(path)).read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot read: {error.strerror}", "run stage 3") from None
    with arks.open_at(path, int(offset)) as handle:
        if handle.read(len(arks.AUDIO)) != arks.AUDIO:
            remedy = "run stage 3, which writes sound files"
            raise UserError(f"{source}: contains samples, not a sound file", remedy)
        return arks.read_sound_file(handle, source)


@contextlib.contextmanager
def _more_open_files(count: int) -> Iterator[None]:
    """Let the process open `count` more files than usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _FURTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Read `shards.json`, and check that every shard exists and has its size.

    Raises:
        UserError: if not; it names the first shard.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise UserError(f"{path}: no such file, so the shards are missing or incomplete", REMEDY)
    content = files.read_json(path)
    try:
        if content["version"] != VERSION:
            raise UserError(f"{path}: version {content['version']}, not {VERSION}", REMEDY)
        shards = [
            Shard(path.parent / Path(entry["file"]).name, entry["utterances"], entry["bytes"])
            for entry in content["shards"]
        ]
        manifest = Manifest(path.parent, shards, content["tables"], content["ids"])
    except (KeyError, TypeError):
        raise UserError(f"{path}: is not a description of shards", REMEDY) from None
    for shard in shards:
        if not shard.path.is_file():
            message = f"{shard.path}: no such file, but {path} lists it"
            raise UserError(message, f"restore it, or {REMEDY}")
        if (size := shard.path.stat().st_size) != shard.size:
            message = f"{shard.path}: has {size} bytes, but had {shard.size} when it was written"
            raise UserError(f"{message}: it was cut off or replaced", f"restore it, or {REMEDY}")
    return manifest


def check_tables(manifest: Manifest, folder: str | os.PathLike, names: Iterable[str]) -> None:
    """Raise `UserError` if tables of the data directory differ from those in the shards."""
    for name in names:
        if name not in manifest.tables:
            raise UserError(f"{manifest.folder / MANIFEST}: the shards have no {name}", REMEDY)
        if files.sha256_of(Path(folder) / name) != manifest.tables[name]:
            path = Path(folder) / name
            raise UserError(f"{path}: differs from the table in {manifest.folder}", REMEDY)


def read_shard(shard: Shard) -> Iterator[ShardUtterance]:
    """Yield the utterances of a shard in order, and read its file in sequence.

    Raises:
        UserError: if the shard is damaged; it names the utterance before the damage.
    """
    previous = "the beginning"
    number = 0
    try:
        with open(shard.path, "rb") as handle, tarfile.open(fileobj=handle, mode="r|") as archive:
            for audio, record in _pairs(archive):
                values = json.loads(record)
                if values["crc32"] != _checksum(audio, values):
                    raise ValueError(f"the checksum of {values['id']} is wrong")
                utterance = ShardUtterance(
                    values["id"], audio, values["samples"], values["tables"], shard.path
                )
                previous, number = f"utterance {utterance.utt_id}", number + 1
                yield utterance
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        message = f"{shard.path}: damaged after {previous}: {reason or type(error).__name__}"
        raise UserError(message, f"restore it, or {REMEDY}") from error
    if number != shard.utterances:
        message = f"{shard.path}: has {number} utterances, but {MANIFEST} says {shard.utterances}"
        raise UserError(f"{message}; the last one is {previous}", f"restore it, or {REMEDY}")


def _pairs(archive: tarfile.TarFile) -> Iterator[tuple[bytes, bytes]]:
    """Yield the sound file and the JSON object of each utterance."""
    contents = ((member.name, _content(archive, member)) for member in archive)
    for (name, audio), (record_name, record) in itertools.batched(contents, 2):
        if record_name != f"{name.rpartition('.')[0]}.json":
            raise ValueError(f"{name} is not followed by its JSON file")
        yield audio, record


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file: IO[bytes] | None = archive.extractfile(member) if member.isreg() else None
    if file is None:
        raise ValueError(f"{member.name} is not a file")
    return file.read()
