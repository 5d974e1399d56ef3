"""BLEU and chrF of translations by sacrebleu, with intervals of a bootstrap over speakers.

Sources: Papineni et al., ACL 2002 (BLEU); Popović, WMT 2015 (chrF); Post, WMT 2018 (sacrebleu and
its signatures); Koehn, EMNLP 2004 (paired bootstrap). Here speakers are resampled instead of
sentences. Both metrics are functions of counts that are summed over sentences, so a resample needs
only the sums per speaker.

`score_translations` returns::

    {"kind": "translation", "version": 1, "set", "data_sha256", "utterances", "speakers",
     "bootstrap": {"resamples", "seed", "unit": "speaker"},
     "outputs": [{"output", "language",
       "systems": [{"system", "utterances", "no_hypothesis",
                    "bleu": {"score", "interval": [low, high] | null, "signature"},
                    "chrf": {the same}}],
       "differences": [{"a", "b", "utterances",
                        "bleu": {"difference", "interval", "p_value"}, "chrf": {the same}}]}]}

Scores are from 0 to 100. Differences are b − a over the utterances that both systems have. Interval
and p value are null for fewer than two speakers.

Symbols: N sentences, S speakers, R resamples, C counts of a metric.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.data.directory import text_languages
from espnet_ext.errors import UserError
from espnet_ext.files import read_json
from espnet_ext.scoring import bootstrap

AUTO = "auto"
# sacrebleu's tokenization for languages that are written without spaces; others: 13a
TOKENIZERS = {
    **dict.fromkeys(("zh", "cmn", "zho"), "zh"),
    **dict.fromkeys(("yue", "ja", "th", "lo", "km", "my"), "char"),
}
METRICS = ("bleu", "chrf")

Sentences = Mapping[str, tuple[str, str]]  # utterance → (hypothesis, reference)


def score_translations(
    systems: Mapping[str, str | Path],
    data: str | Path,
    outputs: Sequence[str],
    *,
    tokenize: str = AUTO,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = bootstrap.SEED,
) -> dict[str, Any]:
    """Score outputs that are translations. See the module's description of the result.

    Args:
        systems: name → folder with `utterances.json`.
        data: data directory; `utt2lang_<output>` there has the language of a translation.
        outputs: names of the outputs.
        tokenize: sacrebleu's tokenization for BLEU; "auto" follows from the language.
        resamples, seed: of the bootstrap.

    Raises:
        UserError: sacrebleu is missing or lacks the tokenization, a file is missing, systems were
            scored against different labels, or nothing has a reference for an output.
    """
    files = {name: _read_utterances(Path(folder)) for name, folder in systems.items()}
    first_name, first = next(iter(files.items()))
    for name, file in files.items():
        if file["data_sha256"] != first["data_sha256"]:
            raise UserError(
                f"{systems[name]}: {name} was scored against other labels than {first_name}",
                "score all systems against the same data (stage 13)",
            )
    languages = text_languages(data)
    speakers = {row["id"]: row["speaker"] for row in first["utterances"]}
    options = {"resamples": resamples, "seed": seed}
    scored = []
    for output in outputs:
        language = languages.get(output, "")
        chosen = tokenizer_of(language) if tokenize == AUTO else tokenize
        metrics = make_metrics(chosen)
        scored.append(
            {
                "output": output,
                "language": language,
                **_score_output(output, files, speakers, metrics, data, options),
            }
        )
    return {
        "kind": "translation",
        "version": 1,
        "set": first["set"],
        "data_sha256": first["data_sha256"],
        "utterances": len(speakers),
        "speakers": len(set(speakers.values())),
        "bootstrap": {**options, "unit": "speaker"},
        "outputs": scored,
    }


def tokenizer_of(language: str) -> str:
    """Return sacrebleu's tokenization for a language code, with or without a region.

    >>> tokenizer_of("zh-TW"), tokenizer_of("ja_JP"), tokenizer_of("de")
    ('zh', 'char', '13a')
    """
    return TOKENIZERS.get(re.split("[-_]", language.lower())[0], "13a")


def make_metrics(tokenize: str = "13a") -> dict[str, Any]:
    """Return sacrebleu's BLEU with a tokenization, and its chrF.

    Raises:
        UserError: sacrebleu or what the tokenization needs is not installed, or there is no such
            tokenization.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError:
        raise UserError(
            "BLEU and chrF need sacrebleu, which is not installed",
            'pip install "espnet-ext[translation]"',
        ) from None
    if tokenize not in BLEU.TOKENIZERS:
        known = ", ".join(sorted(BLEU.TOKENIZERS))
        raise UserError(f"--tokenize {tokenize}: no tokenization of sacrebleu", f"one of: {known}")
    try:
        return {"bleu": BLEU(tokenize=tokenize), "chrf": CHRF()}
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"--tokenize {tokenize}: {str(error).strip().splitlines()[0]}",
            "install what sacrebleu needs for it, or choose another one, such as char",
        ) from None


def corpus_score(metric: Any, sentences: Sentences) -> float:
    """Return the score of all sentences together.

    >>> corpus_score(make_metrics()["bleu"], {"u1": ("we see a cat", "we see a cat")})
    100.0
    """
    hypotheses, references = zip(*sentences.values(), strict=True)
    return round(float(metric.corpus_score(list(hypotheses), [list(references)]).score), 10)


def speaker_counts(metric: Any, sentences: Sentences, speakers: Mapping[str, str]) -> np.ndarray:
    """Return the counts of a metric by speaker, (S, C), sorted by name of the speaker."""
    hypotheses, references = zip(*sentences.values(), strict=True)
    counts = np.array(
        metric._extract_corpus_statistics(list(hypotheses), [list(references)]), dtype=np.float64
    )  # (N, C)
    names = [speakers[utt_id] for utt_id in sentences]
    index = {name: i for i, name in enumerate(sorted(set(names)))}
    sums = np.zeros((len(index), counts.shape[1]))
    np.add.at(sums, [index[name] for name in names], counts)
    return sums


def resampled_scores(metric: Any, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the score of each resample of speakers, (R,), from counts (S, C)."""
    weights = bootstrap.speaker_weights(len(counts), resamples, seed)  # (R, S)
    sums = weights @ counts  # (R, C)
    return np.array([metric._compute_score_from_stats(_counts(row)).score for row in sums])


def _counts(row: np.ndarray) -> list[int]:
    return np.rint(row).astype(np.int64).tolist()


def _score_output(
    output: str,
    files: Mapping[str, Mapping[str, Any]],
    speakers: Mapping[str, str],
    metrics: Mapping[str, Any],
    data: str | Path,
    options: Mapping[str, int],
) -> dict[str, Any]:
    """Return the scores of all systems that have an output, and their differences."""
    pairs = {name: _sentences(file, output) for name, file in files.items()}
    pairs = {name: sentences for name, sentences in pairs.items() if sentences}
    labelled = sum(output in row["texts"] for row in next(iter(files.values()))["utterances"])
    if not labelled or not pairs:
        what = "no system has hypotheses" if labelled else "no utterance has a reference"
        remedy = "name the outputs that are translations, and decode and score them (stages 12, 13)"
        raise UserError(f"{data}: {what} for the output '{output}'", remedy)
    counts: dict[str, dict[str, np.ndarray]] = {}
    rows = []
    for name, sentences in pairs.items():
        row: dict[str, Any] = {"system": name, "utterances": len(sentences)}
        row["no_hypothesis"] = labelled - len(sentences)
        for key, metric in metrics.items():
            score = corpus_score(metric, sentences)
            of_speakers = speaker_counts(metric, sentences, speakers)
            interval = None
            if len(of_speakers) > 1:
                resampled = resampled_scores(metric, of_speakers, **options)
                interval = bootstrap.percentile_interval(resampled)
                counts.setdefault(name, {})[key] = resampled
            signature = str(metric.get_signature())
            row[key] = {"score": score, "interval": interval, "signature": signature}
        rows.append(row)
    differences = []
    for a, b in itertools.combinations(pairs, 2):
        shared = pairs[a].keys() & pairs[b].keys()
        if not shared:
            continue
        both = [{u: pairs[name][u] for u in pairs[name] if u in shared} for name in (a, b)]
        difference: dict[str, Any] = {"a": a, "b": b, "utterances": len(shared)}
        for key, metric in metrics.items():
            known = None
            if all(len(pairs[name]) == len(shared) for name in (a, b)) and a in counts:
                known = [counts[name][key] for name in (a, b)]
            difference[key] = _difference(metric, both, speakers, known, options)
        differences.append(difference)
    return {"systems": rows, "differences": differences}


def _difference(
    metric: Any,
    both: Sequence[Sentences],
    speakers: Mapping[str, str],
    resampled: Sequence[np.ndarray] | None,
    options: Mapping[str, int],
) -> dict[str, Any]:
    """Return the difference of two systems, second minus first, with a paired bootstrap."""
    first, second = (corpus_score(metric, sentences) for sentences in both)
    result: dict[str, Any] = {"difference": second - first, "interval": None, "p_value": None}
    if len({speakers[utt_id] for utt_id in both[0]}) < 2:
        return result
    if resampled is None:
        counts = [speaker_counts(metric, sentences, speakers) for sentences in both]
        resampled = [resampled_scores(metric, of_system, **options) for of_system in counts]
    differences = resampled[1] - resampled[0]  # (R,); equal seeds draw equal speakers
    return {
        **result,
        "interval": bootstrap.percentile_interval(differences),
        "p_value": bootstrap.two_sided_p_value(differences),
    }


def _sentences(file: Mapping[str, Any], output: str) -> dict[str, tuple[str, str]]:
    """Return the hypothesis and the reference of each utterance that has both."""
    return {
        row["id"]: (row["hypotheses"][output], row["texts"][output])
        for row in file["utterances"]
        if output in row["texts"] and output in row["hypotheses"]
    }


def _read_utterances(folder: Path) -> dict[str, Any]:
    path = folder / "utterances.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file", "score these hypotheses first (stage 13)")
    value = read_json(path)
    if not isinstance(value, dict) or value.get("kind") != "utterances":
        raise UserError(f"{path}: is not a result of scoring", "score again (stage 13)")
    return value
