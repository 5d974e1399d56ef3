"""Options of decoding with canonical forms: the error model, and the form of each utterance."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.canonical_forms import SURFACE, CanonicalText, Pronouncer, pronouncer
from espnet_ext.decoding.pronunciation_errors import DEFAULT_WEIGHT, PronunciationErrors
from espnet_ext.decoding.search import Result
from espnet_ext.errors import UserError
from espnet_ext.progress import say
from espnet_ext.text.tokenizers import Tokenizer

CANONICAL = "canonical"
MAX_NAMED = 3  # utterances that a note lists


@dataclass(frozen=True)
class CanonicalOptions:
    """Options of `espnet-ext decode` for canonical forms.

    Args:
        model: data directory that the error model is estimated from, or file of the model.
        file: canonical forms of the set, such as its text.canonical; the prompt is known.
        source: meanings that the canonical forms are derived from: an output of the system, or a
            text file of another decoding.
        weight: weight of log P(surface | canonical); None: that of the model file, or the default.
        lexicon: pronunciations of words, for `source`.
    """

    model: str
    file: str | None = None
    source: str | None = None
    weight: float | None = None
    lexicon: str | None = None


def use_canonical(
    recogniser: DualSpeech2Text,
    options: CanonicalOptions,
    utterances: Sequence[str],
    cache: Path,
) -> tuple[dict[str, CanonicalText], dict[str, Any]]:
    """Prepare a recogniser for canonical forms.

    Args:
        recogniser: a system with the output `surface`.
        options: the options.
        utterances: ids of the set.
        cache: folder for the estimated model.

    Returns:
        The canonical form of each utterance that has one, and the settings for decode.json.

    Raises:
        UserError: if the surface or the source is not decoded, or no utterance of the set has a
            canonical form.
    """
    if SURFACE not in recogniser.outputs:
        raise UserError(
            f"canonical forms, but the output {SURFACE} is not decoded: only "
            + ", ".join(recogniser.outputs),
            f"decode a system with the output {SURFACE}, or leave out the canonical forms",
        )
    others = [name for name in recogniser.outputs if name != SURFACE]
    if options.source and options.source not in others and not Path(options.source).is_file():
        raise UserError(
            f"--canonical_from {options.source}: neither a file nor another output that is "
            f"decoded ({', '.join(others) or 'there is none'})",
            "name a file of recognised meanings, or decode that output too (--outputs)",
        )
    tokenizer = recogniser.tokenizers[SURFACE]
    errors, weight = read_errors(options.model, tokenizer, cache)
    weight = weight if options.weight is None else options.weight
    source = options.source if options.source in others else None
    pronounce = None
    if options.source:
        token_type = recogniser.model.heads[SURFACE].options.token_type
        pronounce = pronouncer(token_type, options.lexicon)
    recogniser.use_canonical(errors, weight, source, pronounce)
    forms: dict[str, CanonicalText] = {}
    if options.file:
        forms = read_forms(options.file, utterances)
    elif options.source and source is None:
        forms = read_forms(options.source, utterances, pronounce)
    settings = {
        "model": options.model,
        "file": options.file,
        "source": options.source,
        "lexicon": options.lexicon,
        "weight": weight,
        # whether the system knows the prompt
        "prompt": options.file is not None or _has_references(options.source),
    }
    return forms, settings


def _has_references(source: str | None) -> bool:
    """Return whether a file of meanings is in a data directory, and not in one of a decoding."""
    if source is None or not Path(source).is_file():
        return False
    folder = Path(source).parent
    return (folder / "wav.scp").is_file() and not (folder / "decode.json").is_file()


def read_errors(path: str, tokenizer: Tokenizer, cache: Path) -> tuple[PronunciationErrors, float]:
    """Return the error model of a data directory or a model file, and the weight to use it with."""
    if not Path(path).is_dir():
        errors, facts = PronunciationErrors.load(path)
        return errors, facts.get("weight", DEFAULT_WEIGHT)
    canonical, surface = (
        [tokenizer.encode(text) for text in texts]
        for texts in read_pairs(path, [CANONICAL, SURFACE])
    )
    return PronunciationErrors.estimate_or_load(canonical, surface, cache), DEFAULT_WEIGHT


def read_pairs(folder: str, outputs: Sequence[str]) -> list[list[str]]:
    """Return the transcripts of the utterances that are labelled for all outputs.

    Args:
        folder: data directory.
        outputs: names of `text.<output>` files.

    Returns:
        One list of transcripts per output, of the same utterances.
    """
    tables = [read_table(Path(folder) / f"text.{name}") for name in outputs]
    labelled = [{utt_id for utt_id, text in table.items() if text != NA} for table in tables]
    utt_ids = sorted(set.intersection(*labelled))
    if not utt_ids:
        raise UserError(
            f"{folder}: no utterance has all of {', '.join(outputs)}", "give another set"
        )
    return [[table[utt_id] for utt_id in utt_ids] for table in tables]


def read_forms(
    path: str, utterances: Collection[str], pronounce: Pronouncer | None = None
) -> dict[str, CanonicalText]:
    """Return the canonical form of each utterance that has one; print how many have none.

    Args:
        path: file with a canonical form per utterance, or with `pronounce` a meaning.
        utterances: ids of the set.
        pronounce: function from a meaning to its canonical form.

    Raises:
        UserError: if no utterance of the set has a canonical form.
    """
    table = read_table(path, empty_ok=True)
    forms: dict[str, CanonicalText] = {}
    missing: dict[str, list[str]] = {}
    for utt_id in utterances:
        text = table.get(utt_id, NA)
        form: CanonicalText | None = text
        if text == NA or not text.strip():
            missing.setdefault("no text in the file", []).append(utt_id)
        elif pronounce is not None and (form := pronounce(text)) is None:
            missing.setdefault("a word that cannot be pronounced", []).append(utt_id)
        elif form is not None:
            forms[utt_id] = form
    for reason, utt_ids in missing.items():
        _note_without_form(path, utt_ids, len(utterances), reason)
    if not forms:
        raise UserError(
            f"{path}: no utterance of the set has a canonical form",
            "give the file of the set that is decoded"
            + ("" if pronounce is None else ", with words that can be pronounced"),
        )
    return forms


def without_cut(
    forms: Mapping[str, CanonicalText], cut: Collection[str], total: int, max_seconds: float
) -> dict[str, CanonicalText]:
    """Return the canonical forms without those of audio that is cut; print how many are left out.

    It is not known which part of the form a segment contains.

    Args:
        forms: utterance id → canonical form.
        cut: ids of the utterances that are cut into segments.
        total: number of utterances of the set.
        max_seconds: the longest audio that is not cut.

    Raises:
        UserError: if that leaves none.
    """
    utt_ids = [utt_id for utt_id in forms if utt_id in cut]
    if not utt_ids:
        return dict(forms)
    if len(utt_ids) == len(forms):
        raise UserError(
            f"--segment_seconds {max_seconds:g}: all {len(forms)} utterances with a canonical form "
            "are longer and would be cut, and a segment cannot be decoded with the form of its "
            "utterance",
            "raise --segment_seconds, or leave out the canonical forms",
        )
    reason = f"longer than {max_seconds:g} s, so cut into segments"
    _note_without_form("--segment_seconds", utt_ids, total, reason)
    return {utt_id: form for utt_id, form in forms.items() if utt_id not in cut}


def count_derived(results: Mapping[str, Result], source: str) -> int:
    """Return how many utterances were decoded with a derived canonical form; print the others.

    The scores of a hypothesis show whether there was a form. Long audio counts if all its segments
    had one.

    Args:
        results: results by utterance.
        source: output that the forms are derived from.
    """
    without = []
    for utt_id, result in sorted(results.items()):
        segments = [part.result for part in result.parts] or [result]
        scores = [segment.best[SURFACE].scores.get(CANONICAL, 0.0) for segment in segments]
        if not all(scores):
            without.append(utt_id)
    if without:
        reason = f"the recognised {source} is empty or has a word that cannot be pronounced"
        _note_without_form(f"--canonical_from {source}", without, len(results), reason)
    return len(results) - len(without)


def _note_without_form(where: str, utt_ids: Sequence[str], total: int, reason: str) -> None:
    names = ", ".join(utt_ids[:MAX_NAMED]) + (" …" if len(utt_ids) > MAX_NAMED else "")
    say(
        f"note: {where}: {len(utt_ids)} of {total} utterances are decoded without a canonical "
        f"form: {reason} ({names})"
    )
