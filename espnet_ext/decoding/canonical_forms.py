"""Canonical forms of utterances: read from a file, or derived from the recognised meaning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.decoding.canonical import Canonical, CanonicalPrior
from espnet_ext.decoding.pronunciation_errors import PronunciationErrors
from espnet_ext.errors import UserError
from espnet_ext.text import korean
from espnet_ext.text.lexicon import list_pronunciations, read_pronunciations
from espnet_ext.text.tags import split_tags
from espnet_ext.text.tokenizers import Tokenizer

# A transcript; or alternative transcripts of an utterance; or the pronunciations of each word.
CanonicalText = str | Sequence[str] | Sequence[Sequence[str]]
Pronouncer = Callable[[str], CanonicalText | None]  # of a meaning; None: cannot be pronounced

SURFACE = "surface"  # the output that is decoded with the prior


@dataclass(frozen=True)
class CanonicalDecoding:
    """How the surface is decoded with its canonical form.

    Args:
        errors: the error model.
        weight: weight of log P(surface | canonical), in nats like the scores of the search.
        source: output whose best hypothesis gives the canonical form of an utterance that has
            no other; None: such an utterance is decoded without the prior.
        pronounce: converts the text of `source`.
    """

    errors: PronunciationErrors
    weight: float
    source: str | None = None
    pronounce: Pronouncer | None = None

    def prior(self, vocabulary: Sequence[str]) -> CanonicalPrior:
        """Return the prior of an output with this token list."""
        return CanonicalPrior(self.errors, vocabulary, self.weight)

    def complete(
        self, forms: Sequence[Canonical | None], texts: Sequence[str], tokenizer: Tokenizer
    ) -> list[Canonical | None]:
        """Return the canonical forms of a batch; those that are None come from recognised texts.

        Args:
            forms, texts: canonical form, and recognised text of `source`, per utterance.
            tokenizer: tokenizer of the surface.
        """
        completed = []
        for form, text in zip(forms, texts, strict=True):
            if form is None and self.pronounce is not None and text.strip():
                pronounced = self.pronounce(text)
                form = None if pronounced is None else parse_canonical(pronounced, tokenizer)
            completed.append(form)
        return completed


def parse_all(
    canonical: Sequence[CanonicalText | None] | None, count: int, tokenizer: Tokenizer | None
) -> list[Canonical | None]:
    """Return the tokens of the canonical forms of `count` utterances; see `parse_canonical`.

    Raises:
        UserError: if their number is another.
    """
    if canonical is None or tokenizer is None:
        return [None] * count
    if isinstance(canonical, str) or len(canonical) != count:
        raise UserError(
            f"{'one text' if isinstance(canonical, str) else len(canonical)} as canonical forms "
            f"of {count} utterances",
            "give a list with a canonical form, or None, per utterance",
        )
    return [None if text is None else parse_canonical(text, tokenizer) for text in canonical]


def parse_canonical(text: CanonicalText, tokenizer: Tokenizer) -> Canonical:
    """Return the tokens of a canonical form.

    Args:
        text: a transcript, or a list of alternative transcripts, or for each word the list of its
            pronunciations.
        tokenizer: tokenizer of the surface.

    >>> from espnet_ext.text.tokenizers import WordTokenizer
    >>> parse_canonical([["AY"], ["R EH D", "R IY D"]], WordTokenizer())
    [[('AY',)], [('R', 'EH', 'D'), ('R', 'IY', 'D')]]
    """
    items = [text] if isinstance(text, str) else text
    alternatives = [item for item in items if isinstance(item, str)]
    words = [alternatives] if alternatives else items
    return [
        [tuple(tokenizer.encode(pronunciation)) for pronunciation in pronunciations]
        for pronunciations in words
    ]


def pronouncer(token_type: str, lexicon: str | Path | None = None) -> Pronouncer:
    """Return a function from a meaning to its canonical form.

    Args:
        token_type: token type of the surface. For `phone`, the words are English, and all
            pronunciations of the lexicon or of the CMU dictionary are canonical; G2P pronounces
            other words. For other types, Korean G2P pronounces the text.
        lexicon: file with the pronunciations of words.

    >>> pronouncer("phone")("I read")
    [['AY'], ['R IY D', 'R EH D']]
    """
    if token_type == "phone":
        listed = read_pronunciations(lexicon) if lexicon else None

        def pronounce_words(text: str) -> CanonicalText | None:
            words = list_pronunciations(split_tags(text)[0], listed)
            return None if words is None else [list(word.pronunciations) for word in words]

        return pronounce_words
    if lexicon:
        raise UserError(
            f"{lexicon}: a lexicon has phones, but the token type of the surface is {token_type}",
            "leave out the lexicon: the text is pronounced by Korean G2P",
        )

    def pronounce_korean(text: str) -> CanonicalText | None:
        try:
            return korean.pronounce(split_tags(text)[0], korean.LEARNER)
        except UserError:
            return None

    return pronounce_korean
