"""The utterances of a report as compact data for the page's utterance browser.

The data are columns of equal length per test set (ids, speakers, texts, alignments), as gzipped
JSON in base64. 10,000 utterances of three systems take about 2 MB, and nothing in base64 can be
taken for markup. `templates/data.js` decodes them.
"""

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from espnet_ext.report.collect import Language, Results
from espnet_ext.report.utterances import SEPARATED, Utterance, UtteranceSet

AudioSource = Callable[[Utterance], str | None]


def browser_data(results: Results, audio_source: AudioSource) -> str:
    """Return the data block of the page; empty if no utterance is known.

    Args:
        audio_source: returns where the page finds the recording of an utterance: a URL, `#` and an
            id of an `<audio>` element, or None.
    """
    groups = [
        _group(language, name, utterances, audio_source)
        for language in results.languages
        for name, utterances in language.utterances.items()
    ]
    if not any(group["id"] for group in groups):
        return ""
    text = json.dumps({"groups": groups}, ensure_ascii=False, separators=(",", ":"))
    packed = gzip.compress(text.encode("utf-8", "surrogatepass"), 6, mtime=0)
    return base64.b64encode(packed).decode()


def _group(
    language: Language, name: str, utterances: UtteranceSet, audio_source: AudioSource
) -> dict[str, Any]:
    """Return the columns of one test set."""
    rows = list(utterances.utterances.values())
    systems = list(language.sets.get(name, {}))
    return {
        "language": language.name,
        "lang": language.code,
        "set": name,
        "systems": systems,
        "baselines": language.baselines,
        "separated": {o: metric in SEPARATED for o, metric in utterances.metrics.items()},
        "phones": utterances.token_types.get("surface") == "phone",
        "id": [row.utt_id for row in rows],
        "speaker": _indexed(row.speaker for row in rows),
        "l1": _indexed(row.l1 for row in rows),
        "distance": [row.distance for row in rows],
        "audio": [audio_source(row) for row in rows],
        "texts": {
            kind: [row.texts.get(kind) for row in rows]
            for kind in _names(row.texts for row in rows)
        },
        "labels": {
            pair: [row.label_columns.get(pair) for row in rows]
            for pair in _names(row.label_columns for row in rows)
        },
        "hypotheses": {
            system: {
                output: _hypotheses(rows, system, output)
                for output in _names(row.recognised.get(system, {}) for row in rows)
            }
            for system in systems
        },
    }


def _hypotheses(rows: Sequence[Utterance], system: str, output: str) -> dict[str, list]:
    recognised = [row.recognised.get(system, {}).get(output) for row in rows]
    columns: dict[str, list] = {
        "text": [one.text if one else None for one in recognised],
        "columns": [one.columns if one else None for one in recognised],
    }
    if any(one and one.starts for one in recognised):
        columns["starts"] = [list(one.starts) if one and one.starts else None for one in recognised]
    return columns


def _names(mappings: Iterable[Iterable[str]]) -> list[str]:
    """Return all keys, in the order in which they first occur."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _indexed(values: Iterable[str | None]) -> dict[str, list]:
    """Return a column of few different values: its `values`, and the `index` of each row."""
    places: dict[str | None, int] = {}
    index = [places.setdefault(value, len(places)) for value in values]
    return {"values": list(places), "index": index}
