"""Running sums over the blocks of a set: edit counts, confusions and errors of tags.

Nothing is held per utterance. Sums are held per speaker, and confusions per pair of tokens.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from espnet_ext.scoring import bootstrap, cells, divergence
from espnet_ext.scoring.blocks import Block
from espnet_ext.scoring.confusions import Confusions
from espnet_ext.scoring.counts import Counts, align, align_texts, count_all_edits, tokenize
from espnet_ext.scoring.sclite import WriteTranscripts
from espnet_ext.scoring.tag_errors import TagErrors
from espnet_ext.scoring.utterance_file import utterance_row

Sums = dict[str, Counts]  # group of utterances, such as a speaker → counts


class _Group(NamedTuple):
    """What an utterance is counted as, besides in the whole set."""

    speaker: str
    l1: str | None
    band: str | None
    distance: str | None  # bin


class _MetricSums:
    """Edit counts by one metric. Groups are in the order in which they first occur.

    Args:
        with_distances: also count by bin of divergence.
    """

    def __init__(self, with_distances: bool):
        self._with_distances = with_distances
        self.speakers: Sums = {}
        self.l1: Sums = {}
        self.bands: dict[str, Sums] = {}  # band → speaker → counts
        self.distances: dict[str, Sums] = {}  # bin → speaker → counts

    def add(self, alignments: Mapping[str, str], groups: Mapping[str, _Group]) -> None:
        """Add utterance → alignment; `groups` is utterance → group."""
        by_group: dict[_Group, list[str]] = {}
        for utt_id, alignment in alignments.items():
            by_group.setdefault(groups[utt_id], []).append(alignment)
        for group, of_group in by_group.items():
            counts = count_all_edits(of_group)
            _add(self.speakers, group.speaker, counts)
            if group.l1:
                _add(self.l1, group.l1, counts)
            if group.band:
                _add(self.bands.setdefault(group.band, {}), group.speaker, counts)
            if group.distance and self._with_distances:
                _add(self.distances.setdefault(group.distance, {}), group.speaker, counts)


class _CellSums:
    """What is counted for one cell."""

    def __init__(self, cell: cells.Cell):
        self.cell = cell
        self.metrics = {
            metric: _MetricSums(cell.is_own and metric == cell.metrics[0])
            for metric in cell.metrics
        }
        self.utterances = self.unlabelled = self.not_comparable = 0
        self.missing_hypotheses = self.no_hypothesis = 0
        self.confusions = Confusions()  # of an own cell

    def count(self, texts: cells.CellTexts, hypotheses: Mapping[str, str]) -> None:
        self.utterances += len(texts.pairs)
        self.unlabelled += len(texts.unlabelled)
        self.not_comparable += len(texts.not_comparable)
        self.missing_hypotheses += sum(pair.utt_id not in hypotheses for pair in texts.pairs)
        self.no_hypothesis += len(texts.no_hypothesis)


class SetScorer:
    """Scores the cells of one set, block by block.

    Args:
        planned: the cells.
        hypotheses: kinds of hypotheses.
        token_types: kind → token type.
        pronounce: returns the phones of a written text, or None if they are not known.
        with_bands: also count by band.
        leave_out_missing: leave out utterances without a hypothesis, instead of counting it as
            empty.
        resamples, seed: of the bootstrap.
    """

    def __init__(
        self,
        planned: Sequence[cells.Cell],
        hypotheses: Sequence[str],
        token_types: Mapping[str, str],
        pronounce: Callable[[str], str | None],
        *,
        with_bands: bool,
        leave_out_missing: bool,
        resamples: int,
        seed: int,
    ):
        self._cells = [_CellSums(cell) for cell in planned]
        self._tags = {kind: TagErrors(kind) for kind in hypotheses}
        self._token_types = token_types
        self._pronounce = pronounce
        self._with_bands = with_bands
        self._leave_out_missing = leave_out_missing
        self._bootstrap_options = {"resamples": resamples, "seed": seed}
        self._bins: Counter[str] = Counter()  # bin of divergence → utterances

    def add(
        self, block: Block, write: Mapping[tuple[cells.Cell, str], WriteTranscripts]
    ) -> list[dict]:
        """Add the utterances of a block, and return their rows of `utterances.json`.

        Args:
            write: (cell, metric) → function that writes tokens.
        """
        references = {item.utt_id: item.texts for item in block.utterances}
        distances = divergence.divergences(references, self._token_types)
        bins = {i: divergence.distance_bin(distance) for i, distance in distances.items()}
        self._bins.update(bins.values())
        speakers = {item.utt_id: item.speaker for item in block.utterances}
        groups = {
            item.utt_id: _Group(
                item.speaker,
                item.l1,
                item.band if self._with_bands else None,
                bins.get(item.utt_id),
            )
            for item in block.utterances
        }
        self._add_tags(block)
        split = functools.cache(tokenize)  # cells share texts
        alignments: dict[str, dict[str, str]] = {}  # cell → utterance → alignment by main metric
        for sums in self._cells:
            cell, hypotheses = sums.cell, block.hypotheses[sums.cell.hypothesis]
            texts = cells.pair_texts(
                cell, references, hypotheses, self._pronounce, self._leave_out_missing
            )
            sums.count(texts, hypotheses)
            for metric, metric_sums in sums.metrics.items():
                left = {pair.utt_id: split(pair.reference, metric) for pair in texts.pairs}
                right = {pair.utt_id: split(pair.hypothesis, metric) for pair in texts.pairs}
                aligned = dict(
                    zip(left, align(list(left.values()), list(right.values())), strict=True)
                )
                metric_sums.add(aligned, groups)
                write[cell, metric](speakers, left, right)
                if metric == cell.metrics[0]:
                    alignments[cell.name] = aligned
                    if cell.is_own:
                        for utt_id, alignment in aligned.items():
                            sums.confusions.add(left[utt_id], right[utt_id], alignment)
        labels = self._align_references(references)
        return [
            utterance_row(
                item,
                band=groups[item.utt_id].band,
                distance=distances.get(item.utt_id),
                hypotheses={
                    kind: texts.get(item.utt_id, "")
                    for kind, texts in block.hypotheses.items()
                    if item.utt_id in texts or not self._leave_out_missing
                },
                alignments=_rows_of(item.utt_id, alignments),
                labels=_rows_of(item.utt_id, labels),
            )
            for item in block.utterances
        ]

    def _add_tags(self, block: Block) -> None:
        for kind, errors in self._tags.items():
            texts, recognised = block.hypotheses[kind], block.hypothesis_tags[kind]
            for item in block.utterances:
                if kind in item.texts and (item.utt_id in texts or not self._leave_out_missing):
                    tags = block.reference_tags[item.utt_id][kind]
                    errors.add(item.speaker, tags, recognised.get(item.utt_id, {}))

    def _align_references(
        self, references: Mapping[str, Mapping[str, str]]
    ) -> dict[str, dict[str, str]]:
        """Align surface references with other references in the same alphabet."""
        if "surface" not in self._token_types:
            return {}
        is_phones = self._token_types["surface"] == "phone"
        alignments = {}
        for kind in (cells.CANONICAL,) if is_phones else ("meaning", cells.CANONICAL):
            both = {i: t for i, t in references.items() if kind in t and "surface" in t}
            rows = align_texts(
                [texts[kind] for texts in both.values()],
                [texts["surface"] for texts in both.values()],
                "per" if is_phones else "cer",
            )
            alignments[f"{kind}-surface"] = dict(zip(both, rows, strict=True))
        return alignments

    def speaker_sums(self) -> Iterator[tuple[cells.Cell, str, Sums]]:
        """Yield cell, metric, and speaker → counts."""
        for sums in self._cells:
            for metric, metric_sums in sums.metrics.items():
                yield sums.cell, metric, metric_sums.speakers

    def cell_rows(self) -> list[dict]:
        """Return `cells` of `score.json`."""
        return [self._cell_row(sums) for sums in self._cells]

    def _cell_row(self, sums: _CellSums) -> dict:
        cell = sums.cell
        metrics = {}
        speakers: dict[str, dict[str, dict]] = {}
        first_languages: dict[str, dict[str, dict]] = {}
        bands: dict[str, dict[str, dict]] = {}
        for metric, metric_sums in sums.metrics.items():
            metrics[metric] = self._summary(metric_sums.speakers)
            for speaker, counts in metric_sums.speakers.items():
                speakers.setdefault(speaker, {})[metric] = _record(counts)
            for l1, counts in sorted(metric_sums.l1.items()):
                first_languages.setdefault(l1, {})[metric] = _record(counts)
            for band, of_band in sorted(metric_sums.bands.items()):
                bands.setdefault(band, {})[metric] = self._summary(of_band)
        return {
            "name": cell.name,
            "hypothesis": cell.hypothesis,
            "reference": cell.reference,
            "own": cell.is_own,
            "metric": cell.metrics[0],
            "conversion": cell.conversion,
            "utterances": sums.utterances,
            "unlabelled": sums.unlabelled,
            "not_comparable": sums.not_comparable,
            "missing_hypotheses": sums.missing_hypotheses,
            "no_hypothesis": sums.no_hypothesis,
            "metrics": metrics,
            "speakers": speakers,
            "l1": first_languages,
            "bands": bands,
            "confusions": sums.confusions.most_frequent(),
        }

    def _summary(self, by_speaker: Sums) -> dict:
        record = _record(sum(by_speaker.values(), Counts()))
        record["interval"] = bootstrap.interval(
            [counts.errors for counts in by_speaker.values()],
            [counts.tokens for counts in by_speaker.values()],
            **self._bootstrap_options,
        )
        return record

    def divergence(self) -> dict | None:
        """Return the error rates of own cells by bin of divergence."""
        kinds = divergence.divergence_kinds(self._token_types)
        if kinds is None or not self._bins:
            return None
        names = [name for name, _ in divergence.DISTANCE_BINS]
        return {
            "between": list(kinds[:2]),
            "metric": kinds[2],
            "utterances": self._bins.total(),
            "bins": divergence.bin_shares(self._bins, names),
            "cells": {
                sums.cell.name: [self._bin_row(sums, name) for name in names]
                for sums in self._cells
                if sums.cell.is_own
            },
        }

    def _bin_row(self, sums: _CellSums, name: str) -> dict:
        summary = self._summary(sums.metrics[sums.cell.metrics[0]].distances.get(name, {}))
        kept = {key: summary[key] for key in ("rate", "interval", "errors", "tokens")}
        return {"bin": name, "utterances": summary["sentences"], **kept}

    def tag_rows(self) -> list[dict]:
        """Return `tags` of `score.json`."""
        return [
            row for errors in self._tags.values() for row in errors.rows(**self._bootstrap_options)
        ]


def _add(sums: Sums, group: str, counts: Counts) -> None:
    before = sums.get(group)
    sums[group] = before + counts if before else counts


def _rows_of(utt_id: str, by_name: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return name → alignment of an utterance, where it has one."""
    return {name: rows[utt_id] for name, rows in by_name.items() if utt_id in rows}


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
