"""Translations: BLEU and chrF of systems, their differences, and published results."""

from collections.abc import Iterator, Mapping
from typing import Any

from espnet_ext.analysis import definition
from espnet_ext.analysis.definition import Analysis, Option, Output, Result
from espnet_ext.document import (
    Section,
    p_value,
    signed_with_interval,
    speaker_caveats,
    with_interval,
)

NAMES = {"bleu": "BLEU", "chrf": "chrF"}
SCORES = Output(
    "BLEU and chrF",
    "By sacrebleu, from 0 to 100; higher is better. Intervals are those of a bootstrap over "
    "speakers.",
)
DIFFERENCES = Output(
    "Differences of BLEU and chrF",
    "Second system minus first, over the same utterances; above zero, the second system is better. "
    "Paired bootstrap over speakers.",
)
PUBLISHED = Output(
    "Published gains of one model for speech and text",
    "Hard parameter sharing against speech translation alone, on MuST-C, as published "
    "(arXiv 2309.15826). The corpus, the units and the size of the models differ from those above.",
)
GAINS = {  # arXiv 2309.15826: BLEU points
    "without external text": "+0.5",
    "with external text": "+0.8",
    "started from a pre-trained text model": "+1.8",
}


def run(
    systems: Mapping[str, str],
    *,
    data: str,
    outputs: str,
    tokenize: str,
    baselines: Mapping[str, str] | None = None,
) -> Result:
    """Score the translations of systems and baselines (`scoring.translation`)."""
    from espnet_ext.scoring.translation import score_translations

    every = {**systems, **(baselines or {})}
    return score_translations(every, data, outputs.split(), tokenize=tokenize)


def section(result: Mapping[str, Any]) -> Section:
    """Return scores with their signatures, differences, and published gains."""
    caveats = speaker_caveats(result["speakers"])
    score_rows = [[*row] for output in result["outputs"] for row in _score_rows(output)]
    rows = [row for output in result["outputs"] for row in _difference_rows(output)]
    header = ["output", "second − first", "BLEU", "p", "chrF", "p", "utt"]
    tables = [
        SCORES.table(
            ["output", "system", *NAMES.values(), "utt"],
            score_rows,
            text_columns=2,
            caveats=caveats,
        ),
        DIFFERENCES.table(header, rows, text_columns=2, caveats=caveats),
        PUBLISHED.table(["system", "BLEU"], [list(row) for row in GAINS.items()]),
    ]
    findings = [text for output in result["outputs"] for text in _signatures(output)]
    notes = [
        f"{row['system']}: {row['no_hypothesis']} utterances have no hypothesis for "
        f"{output['output']} and are left out."
        for output in result["outputs"]
        for row in output["systems"]
        if row["no_hypothesis"]
    ]
    shown = [table for table in tables if table.rows]
    title = f"Translations of {result['set']}"
    return Section(title, findings, shown, notes, topic="errors")


def _score_rows(output: Mapping[str, Any]) -> Iterator[list[str]]:
    for row in output["systems"]:
        scores = [with_interval(row[key]["score"], row[key]["interval"]) for key in NAMES]
        yield [output["output"], row["system"], *scores, str(row["utterances"])]


def _difference_rows(output: Mapping[str, Any]) -> Iterator[list[str]]:
    for row in output["differences"]:
        cells = [output["output"], f"{row['b']} − {row['a']}"]
        for key in NAMES:
            value = row[key]
            cells.append(signed_with_interval(value["difference"], value["interval"]))
            cells.append(p_value(value["p_value"]))
        yield [*cells, str(row["utterances"])]


def _signatures(output: Mapping[str, Any]) -> Iterator[str]:
    """Yield sacrebleu's signatures, which are the same for all systems."""
    first = output["systems"][0]
    language = f" ({output['language']})" if output["language"] else ""
    for key, name in NAMES.items():
        yield f"{output['output']}{language}: {name} is {first[key]['signature']}."


ANALYSIS = Analysis(
    name="translation",
    description="BLEU and chrF of translations, with signatures and paired differences",
    inputs=[definition.SCORED_DECODINGS, definition.BASELINES, definition.DATA],
    options=[
        Option(
            "--outputs",
            "outputs that are translations, separated by spaces",
            "translation",
            value="{translations}",
        ),
        Option(
            "--tokenize",
            "sacrebleu's tokenization for BLEU. auto: zh for Chinese, char for other languages "
            "without spaces, else 13a; the language is that in utt2lang_<output>",
            "auto",
            value="{bleu_tokenize}",
        ),
    ],
    outputs=[SCORES, DIFFERENCES, PUBLISHED],
    run=run,
    section=section,
    result_files=["analysis/translation_{set}.json"],
    requested_by="translations",
)
