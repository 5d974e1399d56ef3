"""Results of an interrupted decoding, which the next start continues.

A hidden file in the output folder, `FILE`, has one JSON value per line: first the key of the
decoding (model, options, code), then one line per decoded batch. It is removed when the decoding is
complete.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

import espnet_ext
from espnet_ext.decoding.search import Hypothesis, Part, Result
from espnet_ext.errors import UserError
from espnet_ext.files import read_json_lines, sha256_of

FILE = ".finished.jsonl"
_PACKAGE = Path(espnet_ext.__file__).parent
_CODE = ("decoding", "model", "text", "data", "units")  # packages that the result depends on


class FinishedResults:
    """Results of utterances by the digest of their audio and labels, kept in a file.

    Args:
        folder: the output folder.
        key: what the results depend on besides the audio, see `decoding_key`.
    """

    def __init__(self, folder: Path, key: str):
        self.path, self.key = folder / FILE, key
        self.seconds = 0.0  # that the decoding of the kept results took
        self._results: dict[tuple[str, str], Result] = {}  # (utterance, digest of its audio) →
        self._read()

    def __len__(self) -> int:
        return len(self._results)

    def get(self, utt_id: str, audio_digest: str) -> Result | None:
        """Return the result of an utterance if it was decoded with the same audio."""
        return self._results.get((utt_id, audio_digest))

    def add(
        self, results: Mapping[str, Result], digests: Mapping[str, str], seconds: float
    ) -> None:
        """Append the results of a batch to the file.

        Args:
            results: results by utterance.
            digests: digests of the audio by utterance.
            seconds: that decoding them took.

        Raises:
            UserError: if the file cannot be written.
        """
        rows = [[utt_id, digests[utt_id], _to_json(result)] for utt_id, result in results.items()]
        line = json.dumps({"seconds": seconds, "rows": rows}, ensure_ascii=False) + "\n"
        try:
            if not self._results:  # a new file, or one of another decoding
                self.path.write_text(json.dumps(self.key) + "\n", encoding="utf-8")
            with open(self.path, "a", encoding="utf-8") as handle:
                handle.write(line)
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot write: {error.strerror}",
                "free space on that disk, or check the folder's permissions, and run again",
            ) from None
        for utt_id, result in results.items():
            self._results[utt_id, digests[utt_id]] = result

    def remove(self) -> None:
        """Remove the file, after all results are written."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        """Read the results of an earlier decoding with the same key."""
        try:
            lines = read_json_lines(self.path)
            if not lines or lines[0] != self.key:
                return
            for line in lines[1:]:
                for utt_id, digest, content in line["rows"]:
                    self._results[utt_id, digest] = _from_json(content)
                self.seconds += line["seconds"]
            # Without a line that was being written when the decoding was killed
            kept = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
            self.path.write_text(kept, encoding="utf-8")
        except (UserError, OSError, KeyError, TypeError, ValueError):  # missing, or damaged
            self._results, self.seconds = {}, 0.0


def decoding_key(files: Iterable[str | os.PathLike | None], settings: Any) -> str:
    """Return a digest of what results depend on besides the audio.

    It covers the content of files, settings, the code of this package and the version of PyTorch.

    Args:
        files: weights, configuration, language models; None for one that is not used.
        settings: anything that JSON can represent.
    """
    code = hashlib.sha256()
    for package in _CODE:
        for path in sorted((_PACKAGE / package).rglob("*.py")):
            code.update(path.read_bytes())
    digests = [sha256_of(path) for path in files if path is not None and os.path.isfile(path)]
    content = [digests, settings, code.hexdigest(), torch.__version__]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _to_json(result: Result) -> Any:
    nbest = {
        name: [dataclasses.asdict(hypothesis) for hypothesis in hypotheses]
        for name, hypotheses in result.nbest.items()
    }
    return [nbest, [[part.start, part.end, _to_json(part.result)] for part in result.parts]]


def _from_json(content: Any) -> Result:
    nbest, parts = content
    return Result(
        {
            name: [_hypothesis(**values) for values in hypotheses]
            for name, hypotheses in nbest.items()
        },
        tuple(Part(start, end, _from_json(part)) for start, end, part in parts),
    )


def _hypothesis(tokens, token_ids, confidences, times, **values) -> Hypothesis:
    """Return a hypothesis whose sequences are tuples, which JSON does not have."""
    return Hypothesis(
        tokens=tuple(tokens),
        token_ids=tuple(token_ids),
        confidences=tuple(confidences),
        times=None if times is None else tuple(map(tuple, times)),
        **values,
    )
