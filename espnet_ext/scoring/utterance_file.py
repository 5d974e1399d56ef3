"""`utterances.json` (see `score`): written in parts, and renamed when it is complete."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from espnet_ext.data.record import Utterance
from espnet_ext.files import atomic_append
from espnet_ext.scoring.counts import count_edits

_ENCODER = json.JSONEncoder(ensure_ascii=False, indent=1)  # as in `files.write_json`
_END = "]\n}"


@contextlib.contextmanager
def write_utterances(path: Path, head: Mapping) -> Iterator[Callable[[Iterable[dict]], None]]:
    """Yield a function that appends rows. The result is that of `files.write_json`.

    Args:
        head: all items of the file except for `utterances`.
    """
    with atomic_append(path) as append:
        append(_ENCODER.encode({**head, "utterances": []}).removesuffix(_END))
        separator = ""

        def add(rows: Iterable[dict]) -> None:
            nonlocal separator
            parts = []
            for row in rows:
                # There are no line feeds in strings of JSON: those here separate lines.
                parts.append(f"{separator}\n  " + _ENCODER.encode(row).replace("\n", "\n  "))
                separator = ","
            append("".join(parts))

        yield add
        append(("\n " if separator else "") + _END + "\n")


def utterance_row(
    utterance: Utterance,
    *,
    band: str | None,
    distance: int | None,
    hypotheses: Mapping[str, str],
    alignments: Mapping[str, str],
    labels: Mapping[str, str],
) -> dict:
    """Return the row of an utterance.

    Args:
        distance: the divergence of its references.
        hypotheses: kind → hypothesis.
        alignments: cell → alignment by the cell's main metric.
        labels: pair of references → alignment.
    """
    cells = {}
    for cell, alignment in alignments.items():
        counts = count_edits(alignment)
        cells[cell] = {"errors": counts.errors, "tokens": counts.tokens, "columns": alignment}
    return {
        "id": utterance.utt_id,
        "speaker": utterance.speaker,
        "lang": utterance.lang,
        "l1": utterance.l1,
        "band": band,
        "audio": utterance.audio,
        "distance": distance,
        "texts": dict(utterance.texts),
        "hypotheses": dict(hypotheses),
        "cells": cells,
        "labels": dict(labels),
    }
