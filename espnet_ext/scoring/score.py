"""Score the hypotheses of a set against all its references: `score.json` and `utterances.json`.

`score.json` has the results of the set. Rates and intervals are in percent, and null where
undefined::

    {"kind": "score", "version": 1,
     "set": "test", "token_types": {"surface": "phone", "meaning": "char"},
     "data": {"directory", "utterances", "speakers",
              "sha256", "source_sha256"},                see `labels_sha256`: of the labels in the
                                                         form for comparison, and as they are
     "normalised": {"<file>": 3},      texts that `normal_form` changed, if there are any
     "bootstrap": {"resamples", "seed", "unit": "speaker"},
     "cells": [{"name": "surface-meaning", "hypothesis", "reference", "own": false,
                "metric": "per",                                     the main metric of the cell
                "conversion": null | "reference as canonical phones"
                                   | "hypothesis as phones by lexicon",
                "utterances", "unlabelled", "not_comparable",
                "missing_hypotheses", "no_hypothesis",      counted as empty, and left out
                "metrics": {"per": {"rate", "interval": [low, high] | null, "errors", "tokens",
                                    "correct", "substitutions", "deletions", "insertions",
                                    "sentences", "sentence_errors"}},
                "speakers": {"<speaker>": {"per": {the same without interval}}},
                "l1": {"<first language>": {"per": {the same}}},
                "bands": {"<band>": {"per": {as in metrics}}},        empty if all have one band
                "confusions": [["IH", "IY", 12]]}],       reference token, recognised token, number;
                                                          the most frequent, of own cells only
     "divergence": null | {"between": ["canonical", "surface"], "metric", "utterances",
                "bins": [{"bin": "1-3", "utterances", "share"}],
                "cells": {"surface-surface": [{"bin", "utterances", "rate", "interval",
                                               "errors", "tokens"}]}},
     "tags": [{"output", "tag", "utterances", …}]}                   see `tag_errors`; often empty

`utterances.json` has the results per utterance, for paired comparisons and examples::

    {"kind": "utterances", "version": 1, "set": "test", "data_sha256": …,
     "utterances": [{"id", "speaker", "lang", "l1", "band", "audio", "distance": int | null,
                     "texts": {"surface": …}, "hypotheses": {"surface": …},
                     "cells": {"surface-surface": {"errors", "tokens", "columns": "==sd"}},
                     "labels": {"canonical-surface": "=s="}}]}

`columns` is the alignment of hypothesis and reference by the cell's main metric (see `counts`).
`labels` are alignments of two references. `distance` is the divergence (see `divergence`). `band`
is null if all have the same. Cells and their terms are defined in `cells`. References and
hypotheses are normalised by the same rule (`normal_form`) before anything is counted. A reference
may be empty (an utterance of silence): all tokens of its hypothesis are insertions. An utterance
without a hypothesis counts as an empty one; for hypotheses of other recognisers, which may cover a
part of the set, it can be left out instead.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from espnet_ext.data.directory import read_directory, text_files, text_languages
from espnet_ext.data.record import NA, Utterance
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.files import write_json
from espnet_ext.progress import say, track
from espnet_ext.scoring import bootstrap, cells, divergence, normal_form, sclite, tag_errors
from espnet_ext.scoring.baseline import has_nothing, refuse_data_directory
from espnet_ext.scoring.confusions import Confusion, count_confusions
from espnet_ext.scoring.counts import Counts, align_texts, count_all_edits, count_edits, tokenize
from espnet_ext.text.lexicon import make_pronouncer, read_lexicon

_BLOCK = 2000  # utterances whose texts are tokenized at the same time
Hypotheses = Mapping[str, Mapping[str, str]]  # kind → utterance → text


def score_directory(
    data: str | Path,
    hypotheses_dir: str | Path,
    token_types: Mapping[str, str],
    *,
    lexicon: str | Path | None = None,
    symbols: Sequence[str] = (),
    resamples: int = bootstrap.RESAMPLES,
    seed: int = bootstrap.SEED,
    leave_out_missing: bool = False,
    provenance: Mapping | None = None,
) -> dict:
    """Score `<hypotheses_dir>/text.<kind>` against `<data>/text.<kind>`.

    Writes `score.json` and `utterances.json` into `hypotheses_dir`, and ESPnet's score folders next
    to it.

    Args:
        token_types: kind → token type. Only these kinds of references are scored against.
        lexicon: file with pronunciations of words, for cells that need a conversion to phones.
        symbols: non-linguistic symbols, removed from references and hypotheses.
        resamples, seed: of the bootstrap.
        leave_out_missing: leave out utterances without a hypothesis, instead of counting it as
            empty.
        provenance: stored in `score.json`.

    Returns:
        The contents of `score.json`.

    Raises:
        UserError: the hypotheses are references, one belongs to no utterance, or there is nothing
            to score.
    """
    folder = Path(hypotheses_dir).resolve()  # resolved, because its name is the name of the set
    refuse_data_directory(folder)
    utterances = {item.utt_id: item for item in read_directory(data, empty_texts=True)}
    source_digest = labels_sha256(data, utterances.values())
    changes = normal_form.Changes(symbols=symbols)
    hypotheses = read_hypotheses(
        folder, utterances, Path(data), token_types, changes, leave_out_missing
    )
    utterances = normal_form.normalise_references(utterances, token_types, data, changes)
    labelled = {kind for utterance in utterances.values() for kind in utterance.texts}
    references = [kind for kind in token_types if kind in labelled]
    if not references:
        raise UserError(
            f"{data}: none of the outputs {' '.join(token_types)} is labelled",
            "name the outputs that have a text.<output> there in --token_types",
        )
    digest = labels_sha256(data, utterances.values())
    bootstrap_options = {"resamples": resamples, "seed": seed}
    tags = _score_tags(utterances, hypotheses, bootstrap_options, leave_out_missing)
    scorer = _Scorer(
        {utt_id: _without_tags(utterance) for utt_id, utterance in utterances.items()},
        {kind: tag_errors.split_all_tags(texts)[0] for kind, texts in hypotheses.items()},
        token_types,
        bootstrap_options,
        folder,
        leave_out_missing,
    )
    pronounce = make_pronouncer(read_lexicon(lexicon) if lexicon else None)
    kinds = sorted(hypotheses, key=lambda kind: [*token_types, kind].index(kind))
    planned = cells.plan_cells(kinds, references, token_types, text_languages(data))
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
            "speakers": len({utterance.speaker for utterance in utterances.values()}),
            "sha256": digest,
            "source_sha256": source_digest,
        },
        "normalised": changes.counts,
        "bootstrap": {**bootstrap_options, "unit": "speaker"},
        "cells": scored,
        "divergence": scorer.divergence(),
        "tags": tags,
        "provenance": dict(provenance or {}),
    }
    write_json(folder / "utterances.json", scorer.utterance_file(digest))
    write_json(folder / "score.json", result)  # last: if it exists, all other files do
    return result


def read_hypotheses(
    folder: Path,
    utterances: Mapping[str, Utterance],
    data: Path,
    token_types: Mapping[str, str] | None = None,
    changes: normal_form.Changes | None = None,
    leave_out_missing: bool = False,
) -> dict[str, dict[str, str]]:
    """Read `text.<kind>` files as kind → utterance → hypothesis, in the form for comparison.

    A row `<na>` is a missing hypothesis. Prints a warning if utterances have no hypothesis or could
    not be decoded, and a note if texts were normalised.

    Args:
        token_types: kind → token type.
        changes: counts the texts that were normalised.
        leave_out_missing: what the warning says about utterances without a hypothesis.

    Raises:
        UserError: there are no such files, or a hypothesis belongs to no utterance of `data`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", "decode first (stage 12)")
    changes = changes or normal_form.Changes()
    hypotheses = {
        kind: changes.apply(
            str(path),
            {i: text for i, text in read_table(path, empty_ok=True).items() if text != NA},
            (token_types or {}).get(kind, ""),
        )
        for kind, path in text_files(folder).items()
    }
    if not hypotheses and not has_nothing(folder):
        raise UserError(f"{folder}: contains no text.<output>", "decode first (stage 12)")
    for kind, texts in hypotheses.items():
        path = folder / f"text.{kind}"
        for utt_id in texts:
            if utt_id not in utterances:
                raise UserError(
                    f"{path}: {utt_id}: not in {data}",
                    "decode the same data that you score against",
                )
        missing = [utt_id for utt_id in utterances if utt_id not in texts]
        if missing:
            level, what = "warning", "scored as empty hypotheses"
            if leave_out_missing:
                level, what = "note", "left out"
            say(
                f"{level}: {path}: {len(missing)} of {len(utterances)} utterances have no "
                f"hypothesis (the first is {missing[0]}); they are {what}"
            )
    failed = folder / "failed"  # written by `decoding.command`
    if failed.is_file() and (utt_ids := list(read_table(failed, empty_ok=True))):
        say(
            f"warning: {failed}: {len(utt_ids)} of {len(utterances)} utterances could not be "
            f"decoded (the first is {utt_ids[0]}); they are scored as empty hypotheses"
        )
    return hypotheses


def _score_tags(
    utterances: Mapping[str, Utterance],
    hypotheses: Hypotheses,
    bootstrap_options: Mapping,
    leave_out_missing: bool,
) -> list[dict]:
    speakers = {utt_id: utterance.speaker for utt_id, utterance in utterances.items()}
    rows = []
    for kind, texts in hypotheses.items():
        references = {
            i: u.texts[kind]
            for i, u in utterances.items()
            if kind in u.texts and (i in texts or not leave_out_missing)
        }
        reference_tags, hypothesis_tags = (
            tag_errors.split_all_tags(side)[1] for side in (references, texts)
        )
        rows += tag_errors.score_tags(
            kind, reference_tags, hypothesis_tags, speakers, **bootstrap_options
        )
    return rows


def _without_tags(utterance: Utterance) -> Utterance:
    texts, _ = tag_errors.split_all_tags(utterance.texts)
    return dataclasses.replace(utterance, texts=texts)


def labels_sha256(data: str | Path, utterances: Iterable[Utterance]) -> str:
    """Return a hash of ids, speakers and transcripts, but not of paths and audio."""
    digest = hashlib.sha256()
    for utterance in utterances:
        row = [utterance.utt_id, utterance.speaker]
        row += [f"{kind}={text}" for kind, text in sorted(utterance.texts.items())]
        digest.update("\t".join(row).encode() + b"\n")
    return digest.hexdigest()


class _Scorer:
    """Scores the cells of one set, and collects the alignments of utterances."""

    def __init__(
        self,
        utterances: Mapping[str, Utterance],
        hypotheses: Hypotheses,
        token_types: Mapping[str, str],
        bootstrap_options: Mapping[str, int],
        folder: Path,
        leave_out_missing: bool,
    ):
        self.utterances = utterances
        self.hypotheses = hypotheses
        self.token_types = token_types
        self.bootstrap_options = bootstrap_options
        self.folder = folder
        self.leave_out_missing = leave_out_missing
        self.references = {utt_id: u.texts for utt_id, u in utterances.items()}
        self.speakers = {utt_id: u.speaker for utt_id, u in utterances.items()}
        self.first_languages = {utt_id: u.l1 for utt_id, u in utterances.items() if u.l1}
        bands = {utt_id: u.band for utt_id, u in utterances.items() if u.band}
        self.bands = bands if len(set(bands.values())) > 1 else {}
        self.divergences = divergence.divergences(self.references, token_types)
        # cell → utterance → alignment by the cell's main metric
        self.alignments: dict[str, dict[str, str]] = {}
        self.own_cells: list[str] = []
        self.written: set[Path] = set()  # score folders in ESPnet's format

    def score(self, cell: cells.Cell, pronounce: Callable[[str], str | None]) -> dict:
        """Return the row of a cell, keep its alignments, and write ESPnet's folders."""
        hypotheses = self.hypotheses[cell.hypothesis]
        texts = cells.pair_texts(
            cell, self.references, hypotheses, pronounce, self.leave_out_missing
        )
        speakers: dict[str, dict[str, dict]] = {}
        first_languages: dict[str, dict[str, dict]] = {}
        bands: dict[str, dict[str, dict]] = {}
        metrics = {}
        for metric in cell.metrics:
            alignments = _align(texts.pairs, metric)
            by_speaker = self._count_by_speaker(alignments)
            metrics[metric] = self._summary(by_speaker)
            for speaker, counts in by_speaker.items():
                speakers.setdefault(speaker, {})[metric] = _record(counts)
            for l1, counts in self._count_by(self.first_languages, alignments).items():
                first_languages.setdefault(l1, {})[metric] = _record(counts)
            for band in sorted(set(self.bands.values())):
                of_band = {u: a for u, a in alignments.items() if self.bands.get(u) == band}
                if of_band:
                    counts_of_band = self._count_by_speaker(of_band)
                    bands.setdefault(band, {})[metric] = self._summary(counts_of_band)
            self._write_espnet_folders(cell, metric, texts.pairs, by_speaker)
            if metric == cell.metrics[0]:
                self.alignments[cell.name] = alignments
        if cell.is_own:
            self.own_cells.append(cell.name)
        return {
            "name": cell.name,
            "hypothesis": cell.hypothesis,
            "reference": cell.reference,
            "own": cell.is_own,
            "metric": cell.metrics[0],
            "conversion": cell.conversion,
            "utterances": len(texts.pairs),
            "unlabelled": len(texts.unlabelled),
            "not_comparable": len(texts.not_comparable),
            "missing_hypotheses": sum(pair.utt_id not in hypotheses for pair in texts.pairs),
            "no_hypothesis": len(texts.no_hypothesis),
            "metrics": metrics,
            "speakers": speakers,
            "l1": dict(sorted(first_languages.items())),
            "bands": bands,
            "confusions": self._confusions(cell, texts.pairs) if cell.is_own else [],
        }

    def _confusions(self, cell: cells.Cell, pairs: Iterable[cells.TextPair]) -> list[Confusion]:
        metric, alignments = cell.metrics[0], self.alignments[cell.name]
        return count_confusions(
            (
                tokenize(pair.reference, metric),
                tokenize(pair.hypothesis, metric),
                alignments[pair.utt_id],
            )
            for pair in pairs
        )

    def _count_by_speaker(self, alignments: Mapping[str, str]) -> dict[str, Counts]:
        return self._count_by(self.speakers, alignments)

    def _count_by(
        self, groups: Mapping[str, str], alignments: Mapping[str, str]
    ) -> dict[str, Counts]:
        """Return the counts of each group of utterances; leave out those without a group."""
        by_group: dict[str, list[str]] = {}
        for utt_id, alignment in alignments.items():
            if utt_id in groups:
                by_group.setdefault(groups[utt_id], []).append(alignment)
        return {group: count_all_edits(rows) for group, rows in by_group.items()}

    def _summary(self, by_speaker: Mapping[str, Counts]) -> dict:
        record = _record(sum(by_speaker.values(), Counts()))
        record["interval"] = bootstrap.interval(
            [counts.errors for counts in by_speaker.values()],
            [counts.tokens for counts in by_speaker.values()],
            **self.bootstrap_options,
        )
        return record

    def _write_espnet_folders(
        self,
        cell: cells.Cell,
        metric: str,
        pairs: list[cells.TextPair],
        by_speaker: Mapping[str, Counts],
    ) -> None:
        folder = self.folder.parent / f"{self.folder.name}.{cell.name}"
        references = _Tokenized({pair.utt_id: pair.reference for pair in pairs}, metric)
        hypotheses = _Tokenized({pair.utt_id: pair.hypothesis for pair in pairs}, metric)
        sclite.write_cell(folder, metric, by_speaker, self.speakers, references, hypotheses)
        self.written |= {folder / name for name in sclite.FOLDERS[metric]}

    def divergence(self) -> dict | None:
        """Return the error rates of own cells by bin of divergence."""
        kinds = divergence.divergence_kinds(self.token_types)
        if kinds is None or not self.divergences:
            return None
        bins = {i: divergence.distance_bin(value) for i, value in self.divergences.items()}
        names = [name for name, _ in divergence.DISTANCE_BINS]
        return {
            "between": list(kinds[:2]),
            "metric": kinds[2],
            "utterances": len(bins),
            "bins": divergence.count_bins(bins, names),
            "cells": {
                cell: [self._bin_row(cell, name, bins) for name in names] for cell in self.own_cells
            },
        }

    def _bin_row(self, cell: str, name: str, bins: Mapping[str, str]) -> dict:
        alignments = self.alignments[cell]
        in_bin = {i: alignments[i] for i in bins if bins[i] == name and i in alignments}
        summary = self._summary(self._count_by_speaker(in_bin))
        kept = {key: summary[key] for key in ("rate", "interval", "errors", "tokens")}
        return {"bin": name, "utterances": len(in_bin), **kept}

    def utterance_file(self, digest: str) -> dict:
        """Return the contents of `utterances.json`."""
        labels = self._align_references()
        return {
            "kind": "utterances",
            "version": 1,
            "set": self.folder.name,
            "token_types": dict(self.token_types),
            "data_sha256": digest,
            "utterances": [self._utterance_row(u, labels) for u in self.utterances.values()],
        }

    def _align_references(self) -> dict[str, dict[str, str]]:
        """Align surface references with other references in the same alphabet."""
        if "surface" not in self.token_types:
            return {}
        is_phones = self.token_types["surface"] == "phone"
        alignments = {}
        for kind in (cells.CANONICAL,) if is_phones else ("meaning", cells.CANONICAL):
            pairs = [
                cells.TextPair(utt_id, texts[kind], texts["surface"])
                for utt_id, texts in self.references.items()
                if kind in texts and "surface" in texts
            ]
            alignments[f"{kind}-surface"] = _align(pairs, "per" if is_phones else "cer")
        return alignments

    def _utterance_row(self, utterance: Utterance, labels: Mapping[str, Mapping[str, str]]) -> dict:
        utt_id = utterance.utt_id
        results = {}
        for cell, alignments in self.alignments.items():
            if utt_id in alignments:
                counts = count_edits(alignments[utt_id])
                results[cell] = {
                    "errors": counts.errors,
                    "tokens": counts.tokens,
                    "columns": alignments[utt_id],
                }
        return {
            "id": utt_id,
            "speaker": utterance.speaker,
            "lang": utterance.lang,
            "l1": utterance.l1,
            "band": self.bands.get(utt_id),
            "audio": utterance.audio,
            "distance": self.divergences.get(utt_id),
            "texts": dict(utterance.texts),
            "hypotheses": {
                kind: texts.get(utt_id, "")
                for kind, texts in self.hypotheses.items()
                if utt_id in texts or not self.leave_out_missing
            },
            "cells": results,
            "labels": {name: rows[utt_id] for name, rows in labels.items() if utt_id in rows},
        }


class _Tokenized(Mapping[str, Sequence[str]]):
    """Texts that are split into tokens when they are read, which saves memory."""

    def __init__(self, texts: Mapping[str, str], metric: str):
        self._texts, self._metric = texts, metric

    def __getitem__(self, utt_id: str) -> Sequence[str]:
        return tokenize(self._texts[utt_id], self._metric)

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def _align(pairs: list[cells.TextPair], metric: str) -> dict[str, str]:
    """Return utterance → alignment."""
    result: dict[str, str] = {}
    for start in range(0, len(pairs), _BLOCK):
        block = pairs[start : start + _BLOCK]
        references, hypotheses = [p.reference for p in block], [p.hypothesis for p in block]
        alignments = align_texts(references, hypotheses, metric)
        result.update(zip((pair.utt_id for pair in block), alignments, strict=True))
    return result


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
