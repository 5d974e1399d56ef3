"""The digest of the audio of a data directory, in its file `audio.sha256`.

Stage 4 writes it. A training records it, and does not continue on other recordings.
"""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from espnet_ext.data.audio import source_file
from espnet_ext.data.record import Utterance
from espnet_ext.files import atomic_write, sha256_of

FILE = "audio.sha256"
_BATCH = 256  # utterances whose audio is read in parallel


def with_digest(
    utterances: Iterable[Utterance], folder: str | os.PathLike, nj: int = 8
) -> Iterator[Utterance]:
    """Yield utterances, and write the digest of their audio at the end.

    It depends on ids, order and content of the recordings, and not on their paths. The audio of a
    command in `wav.scp` is represented by the command.

    Args:
        utterances: the utterances, each with an entry of `wav.scp` as audio.
        folder: where the file is written.
        nj: number of files that are read in parallel.
    """
    total = hashlib.sha256()
    known: dict[str, str] = {}  # file → digest, of the last batch: an archive is read once
    with ThreadPoolExecutor(nj) as pool, atomic_write(Path(folder) / FILE) as handle:
        for batch in itertools.batched(utterances, _BATCH):
            paths = dict.fromkeys(path for u in batch if (path := source_file(u.audio)))
            known = {path: known[path] for path in paths if path in known}
            new = [path for path in paths if path not in known]
            known.update(zip(new, pool.map(_digest_of, new), strict=True))
            for utterance in batch:
                path = source_file(utterance.audio)
                member = utterance.audio.removeprefix(path)  # of an archive; or the command
                total.update(f"{utterance.utt_id} {member} {known.get(path, '')}\n".encode())
                yield utterance
        handle.write(f"{total.hexdigest()}\n")


def _digest_of(path: str) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return "cannot be read"  # only if stage 4 does not check audio


def read_digest(folder: str | os.PathLike) -> str | None:
    """Return the digest of the audio of a data directory; None if it has none."""
    path = Path(folder) / FILE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None
