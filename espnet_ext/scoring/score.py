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

Tables are read twice, in step: once to check all of them before anything is written, and once in
blocks of utterances, whose rows are written at once. Held in memory are a block, the counts of each
speaker, different confusions, and tables that are not sorted by id (each while it is read).
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_ext.data.directory import stream_directory, stream_ids, text_languages
from espnet_ext.errors import UserError
from espnet_ext.files import write_json
from espnet_ext.progress import track
from espnet_ext.scoring import bootstrap, cells, normal_form, sclite
from espnet_ext.scoring.baseline import refuse_data_directory
from espnet_ext.scoring.blocks import BlockReader
from espnet_ext.scoring.hypotheses import check_hypotheses, require_recorded_types
from espnet_ext.scoring.references import survey_references
from espnet_ext.scoring.set_scorer import SetScorer
from espnet_ext.scoring.utterance_file import write_utterances
from espnet_ext.text.lexicon import make_pronouncer, read_lexicon

_BLOCK = 250  # utterances


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
        UserError: the hypotheses are references, one belongs to no utterance, a token type is not
            that of the model, or there is nothing to score.
    """
    folder = Path(hypotheses_dir).resolve()  # resolved, because its name is the name of the set
    refuse_data_directory(folder)
    require_recorded_types(folder, token_types)
    changes = normal_form.Changes(symbols=symbols)
    survey = survey_references(data, token_types, changes)
    hypotheses = check_hypotheses(
        folder, lambda: stream_ids(data), Path(data), token_types, changes, leave_out_missing
    )
    survey.report(changes)
    references = [kind for kind in token_types if kind in survey.files]
    if not references:
        raise UserError(
            f"{data}: none of the outputs {' '.join(token_types)} is labelled",
            "name the outputs that have a text.<output> there in --token_types",
        )
    pronounce = make_pronouncer(read_lexicon(lexicon) if lexicon else None)
    kinds = sorted(hypotheses, key=lambda kind: [*token_types, kind].index(kind))
    planned = cells.plan_cells(kinds, references, token_types, text_languages(data))
    bootstrap_options = {"resamples": resamples, "seed": seed}
    scorer = SetScorer(
        planned,
        list(hypotheses),
        token_types,
        pronounce,
        with_bands=len(survey.bands) > 1,
        leave_out_missing=leave_out_missing,
        **bootstrap_options,
    )
    reader = BlockReader(Path(data), hypotheses, survey.files, token_types, symbols)
    utterances = track(stream_directory(data, empty_texts=True), "scoring", survey.utterances)
    head = {
        "kind": "utterances",
        "version": 1,
        "set": folder.name,
        "token_types": dict(token_types),
        "data_sha256": survey.sha256,
    }
    cell_folders = {cell: folder.parent / f"{folder.name}.{cell.name}" for cell in planned}
    # Nothing is renamed before all blocks are scored; `utterances.json` is last.
    with write_utterances(folder / "utterances.json", head) as add_rows:
        with contextlib.ExitStack() as stack:
            write = {
                (cell, metric): stack.enter_context(sclite.write_transcripts(path, metric))
                for cell, path in cell_folders.items()
                for metric in cell.metrics
            }
            for block in reader.read(utterances, _BLOCK):
                add_rows(scorer.add(block, write))
        written = set()  # score folders in ESPnet's format
        for cell, metric, by_speaker in scorer.speaker_sums():
            written |= sclite.write_result(cell_folders[cell], metric, by_speaker)
        sclite.remove_stale(folder.parent, folder.name, written)
    result = {
        "kind": "score",
        "version": 1,
        "set": folder.name,
        "token_types": dict(token_types),
        "data": {
            "directory": str(data),
            "utterances": survey.utterances,
            "speakers": len(survey.speakers),
            "sha256": survey.sha256,
            "source_sha256": survey.source_sha256,
        },
        "normalised": changes.counts,
        "bootstrap": {**bootstrap_options, "unit": "speaker"},
        "cells": scorer.cell_rows(),
        "divergence": scorer.divergence(),
        "tags": scorer.tag_rows(),
        "provenance": dict(provenance or {}),
    }
    write_json(folder / "score.json", result)  # last: if it exists, all other files do
    return result
