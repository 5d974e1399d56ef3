"""Mispronunciation detection from Kaldi text files, in phones or in Korean letters."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.scoring.lexicon import pronouncer, read_lexicon
from espnet_ext.scoring.mdd import evaluate
from espnet_ext.scoring.ratings import deviations, rate, read_scores

PHONE, JAMO, CHAR = "phone", "jamo", "char"
# What a place holds; spaces between written words are not said, and no places.
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
    """`mdd.evaluate` of files; `left_out` says by reason how many utterances it could not judge.

    That may be all of them, as with a system whose meanings have no known word in them.

    Args:
        prompt: canonical phones that the system went by, if not `canonical`.
        meaning: recognised words, whose pronunciation it went by: by `lexicon` and the package's
            own for phones, by the rules of Standard Korean for letters.
        g2p: whether other English words are pronounced too, by the CMU dictionary or by letters.
        unit: what a place holds, a key of UNITS.
        utt2l1: first languages, to list apart; utt2spk: speakers, for intervals.
        utt2score: human scores, to correlate with deviations (`ratings`).
    """
    if unit not in UNITS:
        raise UserError(f"unit '{unit}'", f"choose among {', '.join(UNITS)}")
    texts = [_read(path, unit) for path in (canonical, perceived, hypothesis)]
    shared = set.intersection(*map(set, texts))
    if not shared:
        raise UserError(
            f"{canonical}, {perceived} and {hypothesis} have no utterance in common",
            "give files of one set",
        )
    prompts, silent = None, 0
    if prompt is not None:
        prompts = _read(prompt, unit)
    elif meaning is not None:
        said = {i: text for i, text in _plain(meaning).items() if i in shared}
        pronounce = _pronounce(unit, lexicon, g2p)
        spoken = {i: pronounce(text) for i, text in said.items()}
        prompts = {i: UNITS[unit](text) for i, text in spoken.items() if text is not None}
        silent = len(said) - len(prompts)
    groups = _plain(utt2l1) if utt2l1 else None
    speakers = _plain(utt2spk) if utt2spk else None
    if speakers is not None and (unknown := sorted(shared - set(speakers))):
        raise UserError(f"{utt2spk}: {unknown[0]} is not in it", "give that of the set")
    found = evaluate(*texts, prompts, groups, speakers)
    absent = len(set.union(*map(set, texts))) - found["utterances"] - silent
    if utt2score is not None:
        found["ratings"] = _ratings(texts, _plain(utt2score), speakers)
    return {
        **found,
        "unit": unit,
        "prompted": prompts is None or prompt is not None,
        "left_out": {"not in all files": absent, "words without pronunciation": silent},
    }


def _ratings(
    texts: list[dict[str, str]], table: dict[str, str], speakers: dict[str, str] | None
) -> list[dict]:
    canonical, perceived, hypothesis = texts
    scores = {
        name: {key: value for key, value in given.items() if key in hypothesis}
        for name, given in read_scores(table).items()
    }
    recognised = deviations(canonical, {key: hypothesis[key] for key in hypothesis if key in table})
    if speakers is not None and (unknown := sorted(set(recognised) - set(speakers))):
        raise UserError(f"utt2spk: {unknown[0]} is not in it", "give that of the set")
    return rate(scores, recognised, deviations(canonical, perceived), speakers)


def _plain(path: str | Path) -> dict[str, str]:
    return {i: text for i, text in read_table(path, empty_ok=True).items() if text != NA}


def _read(path: str | Path, unit: str) -> dict[str, str]:
    return {i: UNITS[unit](text) for i, text in _plain(path).items()}


def _pronounce(unit: str, lexicon: str | None, g2p: bool) -> Callable[[str], str | None]:
    if unit == PHONE:
        return pronouncer(read_lexicon(lexicon) if lexicon else None, g2p)
    from espnet_ext.text import korean

    def pronounce(sentence: str) -> str | None:
        try:
            return korean.pronounce(sentence, korean.LEARNER)
        except UserError:
            return None

    return pronounce
