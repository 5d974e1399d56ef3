"""Mispronunciation detection (MDD) from Kaldi text files, in phones or in Korean letters."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.scoring.human_ratings import correlate_ratings, deviations, read_scores
from espnet_ext.scoring.lexicon import make_pronouncer, read_lexicon
from espnet_ext.scoring.mdd import evaluate
from espnet_ext.scoring.normal_form import PHONE, Changes

JAMO, CHAR = "jamo", "char"
# Unit → function that separates the units of a text by spaces. Spaces between Korean words are
# dropped, because they are not pronounced.
UNITS: dict[str, Callable[[str], str]] = {
    PHONE: str,
    JAMO: lambda text: " ".join(unicodedata.normalize("NFD", "".join(text.split()))),
    CHAR: lambda text: " ".join("".join(text.split())),
}


def evaluate_files(
    canonical: str,
    perceived: str,
    hypothesis: str,
    *,
    prompt: str | None = None,
    meaning: str | None = None,
    lexicon: str | None = None,
    g2p: bool = False,
    unit: str = PHONE,
    utt2l1: str | None = None,
    utt2spk: str | None = None,
    utt2score: str | None = None,
) -> dict:
    """Evaluate MDD from files.

    Args:
        canonical, perceived, hypothesis: Kaldi text files.
        prompt: text file with the phones that the system assumes, if not `canonical`.
        meaning: text file with recognised words. The system assumes their pronunciation: for phones
            by `lexicon` and the lexicon of the embedded corpus, for Korean by Korean G2P.
        lexicon: file with pronunciations of words.
        g2p: whether English words in no lexicon are pronounced by `english_g2p`.
        unit: a key of UNITS.
        utt2l1: file with first languages, for separate results.
        utt2spk: file with speakers, for intervals.
        utt2score: file with human ratings, to correlate with deviations (`human_ratings`).

    Returns:
        The result of `mdd.evaluate`, with `unit`, `prompted` (whether the system had the prompt),
        `normalised` (file → number of texts that `normal_form` changed), `left_out` (reason →
        number of utterances that could not be evaluated, possibly all of them), and `ratings` if
        `utt2score` is given.

    Raises: UserError: the files have no utterance in common, an utterance has no speaker, or the
        unit is unknown.
    """
    if unit not in UNITS:
        raise UserError(f"unknown unit '{unit}'", f"use one of {', '.join(UNITS)}")
    changes = Changes()
    texts = [_read_units(path, unit, changes) for path in (canonical, perceived, hypothesis)]
    shared = set.intersection(*map(set, texts))
    if not shared:
        raise UserError(
            f"{canonical}, {perceived} and {hypothesis} have no utterance in common",
            "give files of the same set",
        )
    prompts, without_pronunciation = None, 0
    if prompt is not None:
        prompts = _read_units(prompt, unit, changes)
    elif meaning is not None:
        pronounce = _pronouncer(unit, lexicon, g2p)
        recognised_words = _read_texts(meaning, "word", changes)
        words = {i: text for i, text in recognised_words.items() if i in shared}
        pronounced = {i: pronounce(text) for i, text in words.items()}
        prompts = {i: UNITS[unit](text) for i, text in pronounced.items() if text is not None}
        without_pronunciation = len(words) - len(prompts)
    groups = _read_labelled(utt2l1) if utt2l1 else None
    speakers = _read_labelled(utt2spk) if utt2spk else None
    if utt2spk and speakers is not None:
        _require_speakers(shared, speakers, utt2spk)
    reference, annotation, recognised = texts
    result = evaluate(reference, annotation, recognised, prompts, groups, speakers)
    absent = len(set.union(*map(set, texts))) - result["utterances"] - without_pronunciation
    if utt2score is not None:
        result["ratings"] = _ratings(texts, _read_labelled(utt2score), speakers)
    return {
        **result,
        "unit": unit,
        "prompted": prompts is None or prompt is not None,
        "normalised": changes.counts,
        "left_out": {
            "not in all files": absent,
            "words without pronunciation": without_pronunciation,
        },
    }


def _require_speakers(utterances: set[str], speakers: dict[str, str], name: str) -> None:
    if unknown := sorted(utterances - set(speakers)):
        raise UserError(f"{name}: {unknown[0]}: has no speaker", "give the utt2spk file of the set")


def _ratings(
    texts: list[dict[str, str]], table: dict[str, str], speakers: dict[str, str] | None
) -> list[dict]:
    canonical, perceived, hypothesis = texts
    scores = {
        name: {utt_id: score for utt_id, score in values.items() if utt_id in hypothesis}
        for name, values in read_scores(table).items()
    }
    rated = {utt_id: hypothesis[utt_id] for utt_id in hypothesis if utt_id in table}
    recognised = deviations(canonical, rated)
    if speakers is not None:
        _require_speakers(set(recognised), speakers, "utt2spk")
    return correlate_ratings(scores, recognised, deviations(canonical, perceived), speakers)


def _read_labelled(path: str | Path) -> dict[str, str]:
    """Read a Kaldi table without its unlabelled utterances."""
    return {i: text for i, text in read_table(path, empty_ok=True).items() if text != NA}


def _read_texts(path: str | Path, unit: str, changes: Changes) -> dict[str, str]:
    """Read the transcripts of a Kaldi table in the form in which texts are compared."""
    return changes.apply(str(path), _read_labelled(path), unit)


def _read_units(path: str | Path, unit: str, changes: Changes) -> dict[str, str]:
    return {i: UNITS[unit](text) for i, text in _read_texts(path, unit, changes).items()}


def _pronouncer(unit: str, lexicon: str | None, g2p: bool) -> Callable[[str], str | None]:
    if unit == PHONE:
        return make_pronouncer(read_lexicon(lexicon) if lexicon else None, g2p)
    from espnet_ext.text import korean

    def pronounce(sentence: str) -> str | None:
        try:
            return korean.pronounce(sentence, korean.LEARNER)
        except UserError:
            return None

    return pronounce
