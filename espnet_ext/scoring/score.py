"""Score one set's hypotheses against all its references: `score.json` and `utterances.json`.

`score.json`, the aggregate (rates and intervals in percent; `null` where undefined)::

    {"kind": "score", "version": 1,
     "set": "test", "token_types": {"surface": "phone", "meaning": "char"},
     "data": {"directory", "utterances", "speakers", "sha256"},      sha256 over the label tables
     "bootstrap": {"resamples", "seed", "unit": "speaker"},
     "cells": [{"name": "surface-meaning", "hypothesis", "reference", "own": false,
                "metric": "per",                                      the cell's own metric
                "conversion": null | "reference as canonical phones"
                                   | "hypothesis as phones by lexicon",
                "utterances", "unlabelled", "not_comparable", "missing_hypotheses",
                "metrics": {"per": {"rate", "interval": [low, high] | null, "errors", "tokens",
                                    "correct", "substitutions", "deletions", "insertions",
                                    "sentences", "sentence_errors"}},
                "speakers": {"<speaker>": {"per": {the same without interval}}}}],
     "divergence": null | {"between": ["canonical", "surface"], "metric", "utterances",
                "bins": [{"bin": "1-3", "utterances", "share"}],
                "cells": {"surface-surface": [{"bin", "utterances", "rate", "interval",
                                               "errors", "tokens"}]}},
     "tags": [{"output", "tag", "utterances", …}]}                    see `tags`; often empty

`utterances.json`, what paired comparisons and examples need::

    {"kind": "utterances", "version": 1, "set": "test", "data_sha256": …,
     "utterances": [{"id", "speaker", "lang", "l1", "audio", "distance": int | null,
                     "texts": {"surface": …}, "hypotheses": {"surface": …},
                     "cells": {"surface-surface": {"errors", "tokens", "columns": "==sd"}},
                     "labels": {"canonical-surface": "=s="}}]}

`columns` and `labels` are alignments, a letter a column (`=` equal, `s` substituted, `d` deleted,
`i` inserted), of reference and hypothesis, and of two references.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from espnet_ext.data.directory import read_directory, text_files
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import normalized, read_table
from espnet_ext.errors import UserError
from espnet_ext.files import write_json
from espnet_ext.progress import say, track
from espnet_ext.scoring import bootstrap, cells, divergence, sclite, tags
from espnet_ext.scoring.counts import Counts, align_texts, counts_of, tokenize, total_of
from espnet_ext.scoring.lexicon import pronouncer, read_lexicon


def score_directory(
    data: str | Path,
    hypotheses_dir: str | Path,
    token_types: Mapping[str, str],
    *,
    lexicon: str | Path | None = None,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = bootstrap.SEED,
    provenance: Mapping | None = None,
) -> dict:
    """Score `<hypotheses_dir>/text.<kind>` against `<data>/text.<kind>`, and return the scores.

    Writes `score.json` and `utterances.json` into `hypotheses_dir` and ESPnet's score folders
    beside it. UserError for an unknown hypothesis id, or where there is nothing to score.
    """
    folder = Path(hypotheses_dir).resolve()  # its name is the set's, also of "."
    utterances = {u.utt_id: u for u in read_directory(data)}
    hypotheses = read_hypotheses(folder, utterances, Path(data))
    references = [kind for kind in token_types if any(kind in u.texts for u in utterances.values())]
    if not references:
        raise UserError(
            f"{data}: none of the outputs {' '.join(token_types)} is labelled",
            "name the outputs that have a text.<output> there in --token_types",
        )
    digest = labels_sha256(data, utterances.values())
    utterances, hypotheses, tagged = _without_tags(utterances, hypotheses, (resamples, seed))
    scorer = _Scorer(utterances, hypotheses, token_types, (resamples, seed), folder)
    pronounce = pronouncer(read_lexicon(lexicon) if lexicon else None)
    kinds = sorted(hypotheses, key=lambda kind: [*token_types, kind].index(kind))
    planned = cells.plan(kinds, references, token_types)
    scored = [scorer.score(cell, pronounce) for cell in track(planned, "scoring", unit="cell")]
    sclite.remove_stale(folder.parent, folder.name, scorer.written)
    result = {
        "kind": "score",
        "version": 1,
        "set": folder.name,
        "token_types": dict(token_types),
        "data": {
            "directory": str(data),
            "utterances": len(utterances),
            "speakers": len({u.speaker for u in utterances.values()}),
            "sha256": digest,
        },
        "bootstrap": {"resamples": resamples, "seed": seed, "unit": "speaker"},
        "cells": scored,
        "divergence": scorer.divergence(),
        "tags": tagged,
        "provenance": dict(provenance or {}),
    }
    write_json(folder / "utterances.json", scorer.utterance_file(digest))
    write_json(folder / "score.json", result)  # last: where it is, everything is
    return result


def read_hypotheses(
    folder: Path, utterances: Mapping[str, Utterance], data: Path
) -> dict[str, dict[str, str]]:
    """Hypotheses by kind and utterance id; a missing one is announced, an unknown one an error."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", "decode first (stage 12)")
    found = {
        name: {i: normalized(t) for i, t in read_table(path, empty_ok=True).items()}
        for name, path in text_files(folder).items()
    }
    if not found:
        raise UserError(f"{folder}: no text.<output> in it", "decode first (stage 12)")
    for kind, rows in found.items():
        for utt_id in rows:
            if utt_id not in utterances:
                raise UserError(
                    f"{folder / f'text.{kind}'}: {utt_id}: not in {data}",
                    "decode the same data that you score against",
                )
        missing = [utt_id for utt_id in utterances if utt_id not in rows]
        if missing:
            say(
                f"warning: {folder / f'text.{kind}'}: no hypothesis for {len(missing)} of "
                f"{len(utterances)} utterances, the first {missing[0]}; each counts as empty"
            )
    return found


def _without_tags(
    utterances: Mapping[str, Utterance], hypotheses: Mapping[str, Mapping[str, str]], resampling
) -> tuple[dict[str, Utterance], dict[str, dict[str, str]], list[dict]]:
    """References and hypotheses as text alone, and how their tags fared."""
    speakers = {utt_id: one.speaker for utt_id, one in utterances.items()}
    plain: dict[str, dict[str, str]] = {utt_id: {} for utt_id in utterances}
    references: dict[str, dict[str, dict[str, str]]] = {}
    for kind in dict.fromkeys(kind for one in utterances.values() for kind in one.texts):
        texts = {i: one.texts[kind] for i, one in utterances.items() if kind in one.texts}
        texts, references[kind] = tags.split_all(texts)
        for utt_id, text in texts.items():
            plain[utt_id][kind] = text
    stripped, scored = {}, []
    for kind, rows in hypotheses.items():
        stripped[kind], found = tags.split_all(rows)
        scored += tags.score_tags(kind, references.get(kind, {}), found, speakers, *resampling)
    bare = {i: dataclasses.replace(one, texts=plain[i]) for i, one in utterances.items()}
    return bare, stripped, scored


def labels_sha256(data: str | Path, utterances: Iterable[Utterance]) -> str:
    """A hash of what is scored against: ids, speakers and transcripts, not paths or audio."""
    digest = hashlib.sha256()
    for utterance in utterances:
        row = [utterance.utt_id, utterance.speaker]
        row += [f"{kind}={text}" for kind, text in sorted(utterance.texts.items())]
        digest.update("\t".join(row).encode() + b"\n")
    return digest.hexdigest()


class _Scorer:
    """The state of scoring one set: texts in, per-utterance results collected cell by cell."""

    def __init__(self, utterances, hypotheses, token_types, resampling, folder: Path):
        self.utterances: dict[str, Utterance] = utterances
        self.hypotheses: dict[str, dict[str, str]] = hypotheses
        self.token_types: Mapping[str, str] = token_types
        self.resamples, self.seed = resampling
        self.folder = folder
        self.texts = {utt_id: u.texts for utt_id, u in utterances.items()}
        self.speakers = {utt_id: u.speaker for utt_id, u in utterances.items()}
        self.distances = divergence.distances(self.texts, token_types)
        self.columns: dict[str, dict[str, str]] = {}  # cell → utterance → own metric's alignment
        self.own: list[str] = []
        self.written: set[Path] = set()

    def score(self, cell: cells.Cell, pronounce) -> dict:
        """Count one cell by every metric, write ESPnet's folders, keep the own metric's columns."""
        hypotheses = self.hypotheses[cell.hypothesis]
        paired = cells.pair(cell, self.texts, hypotheses, pronounce)
        speakers: dict[str, dict[str, dict]] = {}
        metrics = {}
        for metric in cell.metrics:
            columns = self._columns(paired.pairs, metric)
            by_speaker = self._by_speaker(columns)
            metrics[metric] = self._summary(by_speaker)
            for speaker, counts in by_speaker.items():
                speakers.setdefault(speaker, {})[metric] = _record(counts)
            self._write_espnet(cell, metric, paired.pairs, by_speaker)
            if metric == cell.metrics[0]:
                self.columns[cell.name] = columns
        if cell.own:
            self.own.append(cell.name)
        return {
            "name": cell.name,
            "hypothesis": cell.hypothesis,
            "reference": cell.reference,
            "own": cell.own,
            "metric": cell.metrics[0],
            "conversion": cell.conversion,
            "utterances": len(paired.pairs),
            "unlabelled": len(paired.unlabelled),
            "not_comparable": len(paired.not_comparable),
            "missing_hypotheses": sum(p.utt_id not in hypotheses for p in paired.pairs),
            "metrics": metrics,
            "speakers": speakers,
        }

    @staticmethod
    def _columns(pairs: list[cells.Pair], metric: str) -> dict[str, str]:
        columns = align_texts([p.reference for p in pairs], [p.hypothesis for p in pairs], metric)
        return {p.utt_id: c for p, c in zip(pairs, columns, strict=True)}

    def _by_speaker(self, columns: Mapping[str, str]) -> dict[str, Counts]:
        alignments: dict[str, list[str]] = {}
        for utt_id, letters in columns.items():
            alignments.setdefault(self.speakers[utt_id], []).append(letters)
        return {speaker: total_of(found) for speaker, found in alignments.items()}

    def _summary(self, by_speaker: Mapping[str, Counts]) -> dict:
        record = _record(sum(by_speaker.values(), Counts()))
        record["interval"] = bootstrap.interval(
            [c.errors for c in by_speaker.values()],
            [c.tokens for c in by_speaker.values()],
            resamples=self.resamples,
            seed=self.seed,
        )
        return record

    def _write_espnet(self, cell, metric: str, pairs: list[cells.Pair], by_speaker) -> None:
        folder = self.folder.parent / f"{self.folder.name}.{cell.name}"
        references = {p.utt_id: tokenize(p.reference, metric) for p in pairs}
        hypotheses = {p.utt_id: tokenize(p.hypothesis, metric) for p in pairs}
        sclite.write_cell(folder, metric, by_speaker, self.speakers, references, hypotheses)
        self.written |= {folder / name for name in sclite.FOLDERS[metric]}

    def divergence(self) -> dict | None:
        """Own cells' errors by bin of surface–meaning divergence."""
        kinds = divergence.comparison(self.token_types)
        if kinds is None or not self.distances:
            return None
        bins = {name: [] for name, *_ in divergence.BINS}
        for utt_id, distance in self.distances.items():
            bins[divergence.bin_of(distance)].append(utt_id)
        total = len(self.distances)
        return {
            "between": list(kinds[:2]),
            "metric": kinds[2],
            "utterances": total,
            "bins": [
                {"bin": name, "utterances": len(ids), "share": len(ids) / total}
                for name, ids in bins.items()
            ],
            "cells": {
                name: [self._bin(name, label, ids) for label, ids in bins.items()]
                for name in self.own
            },
        }

    def _bin(self, cell: str, label: str, ids: list[str]) -> dict:
        columns = {utt: self.columns[cell][utt] for utt in ids if utt in self.columns[cell]}
        summary = self._summary(self._by_speaker(columns))
        kept = {key: summary[key] for key in ("rate", "interval", "errors", "tokens")}
        return {"bin": label, "utterances": len(columns), **kept}

    def utterance_file(self, digest: str) -> dict:
        labels = self._label_alignments()
        return {
            "kind": "utterances",
            "version": 1,
            "set": self.folder.name,
            "token_types": dict(self.token_types),
            "data_sha256": digest,
            "utterances": [self._utterance(u, labels) for u in self.utterances.values()],
        }

    def _label_alignments(self) -> dict[str, dict[str, str]]:
        """Alignments between references of one alphabet, for showing where they deviate."""
        phones = self.token_types.get("surface") == "phone"
        before = (cells.CANONICAL,) if phones else ("meaning", cells.CANONICAL)
        found = {}
        for kind in before if "surface" in self.token_types else ():
            pairs = [
                cells.Pair(utt_id, labels[kind], labels["surface"])
                for utt_id, labels in self.texts.items()
                if kind in labels and "surface" in labels
            ]
            found[f"{kind}-surface"] = self._columns(pairs, "per" if phones else "cer")
        return found

    def _utterance(self, utterance: Utterance, labels: Mapping[str, Mapping[str, str]]) -> dict:
        utt_id = utterance.utt_id
        found = {}
        for name, columns in self.columns.items():
            if utt_id in columns:
                counts = counts_of(columns[utt_id])
                found[name] = {
                    "errors": counts.errors,
                    "tokens": counts.tokens,
                    "columns": columns[utt_id],
                }
        return {
            "id": utt_id,
            "speaker": utterance.speaker,
            "lang": utterance.lang,
            "l1": utterance.l1,
            "audio": utterance.audio,
            "distance": self.distances.get(utt_id),
            "texts": dict(utterance.texts),
            "hypotheses": {kind: rows.get(utt_id, "") for kind, rows in self.hypotheses.items()},
            "cells": found,
            "labels": {name: rows[utt_id] for name, rows in labels.items() if utt_id in rows},
        }


def _record(counts: Counts) -> dict:
    return {
        "rate": counts.rate,
        "errors": counts.errors,
        "tokens": counts.tokens,
        "correct": counts.correct,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "sentences": counts.sentences,
        "sentence_errors": counts.sentence_errors,
    }
