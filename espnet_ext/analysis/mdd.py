"""Mispronunciation detection and diagnosis: recognised phones against annotated ones."""

from collections.abc import Iterator, Mapping
from typing import Any

from espnet_ext.analysis.definition import SYMBOLS, Analysis, Input, Option, Output, Result
from espnet_ext.document import Column, Section, Table, number, speaker_caveats, with_interval

WITHOUT_PROMPT = "{decoding}/mdd_no_prompt.json"
LISTED = 10  # most frequent errors of each group in the report; the result file has all
F1_NAMES = {
    "detection": "F1 detection",
    "diagnosis": "F1 diagnosis",
    "detection_without_insertions": "F1 without insertions",
}
SCORES = Output(
    "Mispronunciation detection and diagnosis",
    "Percent. F1 detection: an error is reported where there is one; F1 diagnosis: the reported "
    "phone is also the right one. FRR: correct phones reported as errors; FAR: errors not "
    "reported; DER: detected errors diagnosed wrongly. Without a prompt, the canonical phones come "
    "from the recognised meaning.",
)
COUNTS = Output(
    "Judged phones",
    "TA true acceptances, FR false rejections, FA false acceptances, CD correct diagnoses, ED "
    "diagnosis errors; precision and recall of detection in percent.",
)
RATINGS = Output(
    "Recognised deviations and human ratings",
    "Correlation of human ratings with the share of canonical units that an utterance deviates in; "
    "the correlation of the annotated deviations is about the best possible.",
)
BY_L1 = Output(
    "Detection by first language",
    "Percent, over the utterances of speakers of one first language; phones: how many were judged.",
)
BY_PHONE = Output(
    "Detection by phone",
    "Per canonical phone, percent: how often it is mispronounced as annotated, how many of these "
    "errors are reported (recall), and how many reports are right (precision); ∅ means an inserted "
    "phone.",
)
ERRORS = Output(
    "Most frequent pronunciation errors",
    "Canonical phone, perceived phone and how often, as annotated; ∅ means that there is none.",
)


def run(
    canonical: str,
    perceived: str,
    hypothesis: str,
    *,
    nlsyms_txt: str | None = None,
    **options: Any,
) -> Result:
    """Judge text files of phones (`scoring.mdd_files`)."""
    from espnet_ext.scoring.mdd_files import evaluate_files
    from espnet_ext.text.tokenizers import read_symbols

    symbols = read_symbols(nlsyms_txt) if nlsyms_txt else ()
    return evaluate_files(canonical, perceived, hypothesis, symbols=symbols, **options)


def section(result: Mapping[str, Any]) -> Section:
    """Return scores, counts, ratings and the most frequent errors."""
    skipped = [
        f", {count} left out ({reason})" for reason, count in result["left_out"].items() if count
    ]
    findings = [f"{result['utterances']} utterances{''.join(skipped)}.", *_conventions(result)]
    caveats = speaker_caveats(result.get("speakers"))
    tables = [
        _scores(result, caveats),
        _counts(result),
        _by_l1(result),
        _by_phone(result),
        _ratings(result, caveats),
        _errors(result),
    ]
    shown = [table for table in tables if table.rows]
    return Section(SCORES.title, findings, shown, topic="mispronunciation")


def _conventions(result: Mapping) -> Iterator[str]:
    """Yield how phones were counted, where that differs from the default."""
    if result.get("convention") == "leng":
        yield (
            "Counted by three pairwise alignments, as in published tables: phones that only the "
            "hypothesis has are ignored."
        )
    counts = result.get("variants") or {}
    if counts.get("words"):
        yield (
            f"Every listed pronunciation of a word counts as correct: {counts['words']} words have "
            f"several, and {counts['other pronunciation perceived']} utterances were perceived "
            "with another one than the canonical."
        )
    if result.get("speakers_from") == "ids":
        yield "Speakers are taken from the ids of the utterances."


def _prompt(result: Mapping) -> str:
    return "with" if result["prompted"] else "without"


def _scores(result: Mapping, caveats: list[str]) -> Table:
    intervals = result.get("intervals") or {}
    measures = result["measures"]["with_insertions"]
    row = [
        _prompt(result),
        *(with_interval(result["F1"][name], intervals.get(name)) for name in F1_NAMES),
        *(number(measures[name]) for name in ("FRR", "FAR", "DER")),
        number(result["PER"]),
        str(result["utterances"]),
    ]
    header = ["prompt", *F1_NAMES.values(), "FRR", "FAR", "DER", "PER", "utt"]
    return SCORES.table(header, [row], caveats=caveats)


def _counts(result: Mapping) -> Table:
    rows = [
        [
            _prompt(result),
            kind.replace("_", " "),
            *map(str, counts.values()),
            *(number(result["measures"][kind][name]) for name in ("precision", "recall")),
        ]
        for kind, counts in result["counts"].items()
    ]
    header = ["prompt", "positions", "TA", "FR", "FA", "CD", "ED", "precision", "recall"]
    return COUNTS.table(header, rows, text_columns=2, details=True)


def _by_l1(result: Mapping) -> Table:
    groups = result.get("groups") or {}
    rows = [
        [
            group or "not known",
            _prompt(result),
            *(number(values["F1"][name]) for name in F1_NAMES),
            *(number(values["measures"]["with_insertions"][name]) for name in ("FRR", "FAR")),
            str(sum(values["counts"]["with_insertions"].values())),
        ]
        for group, values in groups.items()
    ]
    header = ["first language", "prompt", *F1_NAMES.values(), "FRR", "FAR", "phones"]
    rows = rows if any(groups) else []  # else first languages are not known
    return BY_L1.table(header, rows, text_columns=2, details=True)


def _by_phone(result: Mapping) -> Table:
    rows = []
    for phone, counts in (result.get("phones") or {}).items():
        detected = counts.get("CD", 0) + counts.get("ED", 0)
        errors = detected + counts.get("FA", 0)
        reported = detected + counts.get("FR", 0)
        total = reported + counts.get("FA", 0) + counts.get("TA", 0)
        row = [phone or "∅", _prompt(result), str(total)]
        row += [_share(*pair) for pair in ((errors, total), (detected, errors))]
        rows.append((-errors, [*row, _share(detected, reported)]))
    header = ["phone", "prompt", "judged", "mispronounced", "recall", "precision"]
    ranked = [row for _, row in sorted(rows)]
    return BY_PHONE.table(header, ranked, text_columns=2, details=True)


def _share(part: int, whole: int) -> str:
    return number(100.0 * part / whole if whole else None, 1)


def _ratings(result: Mapping, caveats: list[str]) -> Table:
    columns: dict[str, Column] = {
        "prompt": lambda _: _prompt(result),
        "human rating": "score",
        "deviations": "measure",
        "Pearson": lambda row: _coefficient(row, "pearson"),
        "Spearman": lambda row: _coefficient(row, "spearman"),
        "utt": "utterances",
    }
    return RATINGS.table(columns, result.get("ratings") or (), text_columns=3, caveats=caveats)


def _coefficient(row: Mapping, name: str) -> str:
    bounds = row["intervals"][name]
    return number(row[name]) + (" [{:.2f} to {:.2f}]".format(*bounds) if bounds else "")


def _errors(result: Mapping) -> Table:
    def most_frequent(group: str) -> str:
        errors = [
            (count, canonical, perceived)
            for canonical, by_perceived in result["confusions"][group].items()
            for perceived, count in by_perceived.items()
        ]
        most = sorted(errors, key=lambda error: (-error[0], error))[:LISTED]
        return ", ".join(f"{c or '∅'}→{p or '∅'} {count}" for count, c, p in most)

    columns: dict[str, Column] = {
        "group": lambda group: group or "all",
        "errors": lambda group: most_frequent(group) or "–",
    }
    return ERRORS.table(columns, result["confusions"], text_columns=2, details=True)


ANALYSIS = Analysis(
    name="mdd",
    description="mispronunciation detection and diagnosis of one decoding",
    inputs=[
        Input(
            "--canonical",
            "canonical phones of each utterance",
            path="{data}/text.canonical",
            remedy="give the table of the corpus a column canonical, or write data/LANG/SET/"
            "text.canonical after stage 1; espnet-ext g2p makes it from text.meaning",
        ),
        Input("--perceived", "perceived phones, as annotated", path="{data}/text.surface"),
        Input("--hypothesis", "perceived phones, as recognised", path="{decoding}/text.surface"),
        Input(
            "--prompt",
            "canonical phones that the system was given, if not --canonical",
            required=False,
        ),
        Input(
            "--meaning",
            "recognised words, to derive the canonical phones by --lexicon",
            required=False,
            path="{decoding}/text.meaning",
            only_if="mdd_without_prompt",
            result_file=WITHOUT_PROMPT,
        ),
        Input(
            "--words",
            "the words that were to be read, in English: every pronunciation that --lexicon or the "
            "CMU dictionary lists for a word is correct",
            required=False,
            path="{data}/text.meaning",
            only_if="mdd_g2p",
        ),
        Input(
            "--lexicon",
            "words and phones, beside those of the package",
            required=False,
            path="{mdd_lexicon}",
        ),
        Input(
            "--utt2l1",
            "first languages, to list results and errors by",
            required=False,
            path="{data}/utt2l1",
        ),
        Input(
            "--utt2spk",
            "speakers, for intervals; default: the part of each id before the first - or _",
            required=False,
            path="{data}/utt2spk",
        ),
        Input(
            "--utt2score",
            "human ratings, to correlate with deviations",
            required=False,
            path="{data}/utt2score",
        ),
        SYMBOLS,
    ],
    options=[
        Option(
            "--g2p",
            "derive phones of English words outside the lexicon from the CMU dictionary "
            "or the spelling, instead of leaving out their utterances",
            False,
            bool,
            value="{mdd_g2p}",
            result_file=WITHOUT_PROMPT,
        ),
        Option(
            "--convention",
            "columns: one alignment of all sequences; leng: the counts of published tables, from "
            "three pairwise alignments without the insertions of the hypothesis",
            "columns",
            choices=["columns", "leng"],
        ),
        Option(
            "--unit",
            "what the texts are compared in: phone, jamo or char",
            "phone",
            value="{mdd_unit}",
        ),
    ],
    outputs=[SCORES, COUNTS, BY_L1, BY_PHONE, RATINGS, ERRORS],
    run=run,
    section=section,
    result_files=["{decoding}/mdd.json", WITHOUT_PROMPT],
    unprompted_files=[WITHOUT_PROMPT],
    verb="mdd",
)
