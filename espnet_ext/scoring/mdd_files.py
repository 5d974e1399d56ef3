"""Mispronunciation detection (MDD) from Kaldi text files, in phones or in Korean letters.

If the words of the utterances are given, every listed pronunciation of a word is correct
(`word_variants`).
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.progress import say
from espnet_ext.scoring.human_ratings import correlate_ratings, deviations, read_scores
from espnet_ext.scoring.mdd import COLUMNS, LENG, evaluate
from espnet_ext.scoring.normal_form import PHONE, Changes
from espnet_ext.scoring.tag_errors import split_all_tags
from espnet_ext.scoring.word_variants import WordVariants, nearest_phones, recognised_lattices
from espnet_ext.text.lexicon import make_pronouncer, read_lexicon, read_pronunciations

JAMO, CHAR = "jamo", "char"
_SILENCES = frozenset(["sil", "<sil>", "sp", "<sp>", "spn", "<spn>", "pau", "<pau>", "h#", "<eps>"])
_SYLLABLES = re.compile("[가-힣]{2,}")
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
    words: str | None = None,
    lexicon: str | None = None,
    g2p: bool = False,
    unit: str = PHONE,
    convention: str = COLUMNS,
    utt2l1: str | None = None,
    utt2spk: str | None = None,
    utt2score: str | None = None,
    symbols: Sequence[str] = (),
) -> dict:
    """Evaluate MDD from files.

    Args:
        canonical, perceived, hypothesis: Kaldi text files.
        prompt: text file with the phones that the system assumes, if not `canonical`.
        meaning: text file with recognised words. The system assumes their pronunciation: for phones
            by `lexicon` and the lexicon of the embedded corpus, for Korean by Korean G2P.
        words: text file with the words that were to be read, in English. Every pronunciation in
            `lexicon`, or for other words in the CMU dictionary, is correct.
        lexicon: file with pronunciations of words.
        g2p: whether English words in no lexicon are pronounced by `english_g2p`.
        unit: a key of UNITS.
        convention: one of `mdd.CONVENTIONS`. `leng` allows no `prompt`, `meaning`, `words`.
        utt2l1: file with first languages, for separate results.
        utt2spk: file with speakers, for intervals. Without it, the speaker is a prefix of the id
            (`speakers_from_ids`).
        utt2score: file with human ratings, to correlate with deviations (`human_ratings`).
        symbols: non-linguistic symbols, removed from all texts.

    Returns:
        The result of `mdd.evaluate`, with `unit`, `prompted` (whether the system had the prompt),
        `normalised` (file → number of texts that `normal_form` changed), `left_out` (reason →
        number of utterances that could not be evaluated, possibly all of them), `variants` if
        `words` is given (`WordVariants.counts`), `ratings` if `utt2score` is given, `speakers`
        (their number, or None if they are not known) and `speakers_from` ("utt2spk" or "ids").

    Raises: UserError: the files have no utterance in common, an utterance has no speaker, the
        hypothesis is the annotation, or the unit or the convention is unknown or does not support
        the other options.
    """
    if unit not in UNITS:
        raise UserError(f"unknown unit '{unit}'", f"use one of {', '.join(UNITS)}")
    if words is not None and unit != PHONE:
        raise UserError(
            f"words have listed pronunciations in phones only, not in the unit {unit}",
            "leave out the words, or use the unit phone",
        )
    if convention == LENG and (words or prompt or meaning):
        raise UserError(
            "the convention leng uses only canonical phones: it supports no prompt, recognised "
            "meaning or words",
            "leave these out, or use the convention columns",
        )
    if os.path.realpath(hypothesis) == os.path.realpath(perceived):
        raise UserError(
            f"{hypothesis}: is both the perceived and the recognised pronunciation",
            "give the file that the recogniser wrote as the hypothesis",
        )
    changes = Changes(symbols=symbols)
    texts = [_read_units(path, unit, changes) for path in (canonical, perceived, hypothesis)]
    if unit == PHONE:
        for path, content in zip((canonical, perceived, hypothesis), texts, strict=True):
            _require_no_words(path, content)
            _warn_of_silences(path, content)
    shared = set.intersection(*map(set, texts))
    if not shared:
        raise UserError(
            f"{canonical}, {perceived} and {hypothesis} have no utterance in common",
            "give files of the same set",
        )
    reference, annotation, recognised = texts
    variants = None
    if words is not None:
        listed = read_pronunciations(lexicon) if lexicon else None
        variants = WordVariants(words, listed)
        sentences = _read_words(words, changes)
        variants.read(sentences, reference)
        if without_words := sorted(shared - sentences.keys()):
            say(
                f"warning: {words}: {len(without_words)} of {len(shared)} utterances are missing "
                f"(the first is {without_words[0]}); only their canonical phones are correct"
            )
        nearest_to_perceived = nearest_phones(variants.lattices, annotation)
        reference = {**reference, **nearest_to_perceived}
    prompts, without_pronunciation = None, 0
    if prompt is not None:
        prompts = _read_units(prompt, unit, changes)
        if variants is not None:
            prompt_variants = WordVariants(words or "", listed)
            prompt_variants.read(sentences, prompts)
            prompts = {**prompts, **nearest_phones(prompt_variants.lattices, recognised)}
    elif meaning is not None:
        recognised_words = _read_words(meaning, changes)
        meanings = {i: text for i, text in recognised_words.items() if i in shared}
        if variants is not None:
            prompts = nearest_phones(recognised_lattices(meanings, listed, g2p), recognised)
        else:
            pronounce = _pronouncer(unit, lexicon, g2p)
            pronounced = {i: pronounce(text) for i, text in meanings.items()}
            prompts = {i: UNITS[unit](text) for i, text in pronounced.items() if text is not None}
        without_pronunciation = len(meanings) - len(prompts)
    elif variants is not None:
        prompts = {**texts[0], **nearest_phones(variants.lattices, recognised)}
    groups = _read_labelled(utt2l1) if utt2l1 else None
    all_ids = set.union(*map(set, texts))
    speakers = _read_labelled(utt2spk) if utt2spk else speakers_from_ids(all_ids)
    if utt2spk and speakers is not None:
        _require_speakers(shared, speakers, utt2spk)
    result = evaluate(reference, annotation, recognised, prompts, groups, speakers, convention)
    absent = len(all_ids) - result["utterances"] - without_pronunciation
    if utt2score is not None:
        assumed = prompts if variants and not (prompt or meaning) else None
        scores = _read_labelled(utt2score)
        result["ratings"] = _ratings([reference, annotation, recognised], assumed, scores, speakers)
    if variants is not None:
        result["variants"] = variants.counts(texts[0], nearest_to_perceived)
    return {
        **result,
        "unit": unit,
        "prompted": prompt is not None or meaning is None,
        "normalised": changes.counts,
        "speakers": len({speakers[utt_id] for utt_id in shared}) if speakers else None,
        "speakers_from": "utt2spk" if utt2spk else "ids" if speakers else None,
        "left_out": {
            "not in all files": absent,
            "words without pronunciation": without_pronunciation,
        },
    }


def speakers_from_ids(utterances: Iterable[str]) -> dict[str, str] | None:
    """Return utterance → speaker if all ids have the speaker as a prefix, and None otherwise.

    The prefix ends at the first `-`, or else at the first `_`. There must be two or more speakers,
    with two or more utterances on average.

    >>> speakers_from_ids(["NJS_1", "NJS_2", "TXHC_1", "TXHC_2"])["TXHC_1"]
    'TXHC'
    >>> speakers_from_ids(["utt-1", "utt-2"]) is None
    True
    """
    ids = sorted(utterances)
    for separator in "-_":
        speakers = {utt_id: utt_id.partition(separator)[0] for utt_id in ids}
        count = len(set(speakers.values()))
        if all(separator in utt_id[1:] for utt_id in ids) and 2 <= count <= len(ids) / 2:
            say(
                f"note: no utt2spk is given: the part of each id before the first '{separator}' "
                f"counts as the speaker ({count} speakers)"
            )
            return speakers
    return None


def _require_speakers(utterances: set[str], speakers: dict[str, str], name: str) -> None:
    if unknown := sorted(utterances - set(speakers)):
        raise UserError(f"{name}: {unknown[0]}: has no speaker", "give the utt2spk file of the set")


def _ratings(
    texts: list[dict[str, str]],
    assumed: Mapping[str, str] | None,
    table: dict[str, str],
    speakers: dict[str, str] | None,
) -> list[dict]:
    """Return the correlations of ratings with recognised and annotated deviations.

    Args:
        texts: canonical, perceived and recognised phones.
        assumed: the phones that recognised ones deviate from, if not the canonical ones.
        table: the rows of utt2score.
    """
    canonical, perceived, hypothesis = texts
    scores = {
        name: {utt_id: score for utt_id, score in values.items() if utt_id in hypothesis}
        for name, values in read_scores(table).items()
    }
    rated = {utt_id: hypothesis[utt_id] for utt_id in hypothesis if utt_id in table}
    recognised = deviations(canonical if assumed is None else assumed, rated)
    if speakers is not None:
        _require_speakers(set(recognised), speakers, "utt2spk")
    return correlate_ratings(scores, recognised, deviations(canonical, perceived), speakers)


def _read_labelled(path: str | Path) -> dict[str, str]:
    """Read a Kaldi table without its unlabelled utterances."""
    return {i: text for i, text in read_table(path, empty_ok=True).items() if text != NA}


def _read_texts(path: str | Path, unit: str, changes: Changes) -> dict[str, str]:
    """Read the transcripts of a Kaldi table in the form for comparison, without inline tags."""
    return split_all_tags(changes.apply(str(path), _read_labelled(path), unit))[0]


def _read_words(path: str, changes: Changes) -> dict[str, str]:
    return _read_texts(path, "word", changes)


def _read_units(path: str | Path, unit: str, changes: Changes) -> dict[str, str]:
    return {i: UNITS[unit](text) for i, text in _read_texts(path, unit, changes).items()}


def _require_no_words(path: str, texts: Mapping[str, str]) -> None:
    """Raise a `UserError` if a text has Korean words, which would be taken for phones."""
    for utt_id, text in texts.items():
        if word := _SYLLABLES.search(text):
            raise UserError(
                f"{path}: {utt_id}: '{word[0]}' is a Korean word, not a phone",
                "compare it in letters: espnet-ext mdd --unit jamo",
            )


def _warn_of_silences(path: str, texts: Mapping[str, str]) -> None:
    """Print a warning if symbols of silence count as phones."""
    counts = Counter(phone for text in texts.values() for phone in text.split())
    silences = sorted(phone for phone in counts if phone.lower() in _SILENCES)
    if silences:
        number = sum(counts[phone] for phone in silences)
        say(
            f"warning: {path}: {number} symbols of silence count as phones: {' '.join(silences)}\n"
            "  remedy: remove them from all files"
        )


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
