"""Canonical phones of utterances whose words have several pronunciations.

Every listed pronunciation of a word is correct: those of a lexicon, or of the CMU dictionary, and
the one in the canonical phones of the utterance. Of these, the canonical phones of an utterance are
those nearest to what was perceived, and a system assumes those nearest to what it recognised.
"""

from collections.abc import Mapping, Sequence

from espnet_ext.progress import say
from espnet_ext.scoring.counts import edit_distances
from espnet_ext.scoring.nearest_pronunciation import Lattice, nearest, split_by_words
from espnet_ext.text.lexicon import list_pronunciations

Lexicon = Mapping[str, Sequence[str]]  # word → phone strings
# With more edits per canonical phone, words and canonical phones belong to different sentences.
_MOST_EDITS = 0.6


class WordVariants:
    """The words of utterances as lattices of pronunciations, and why some have none.

    Args:
        path: the file with the words, for messages.
        lexicon: see `list_pronunciations`.
    """

    def __init__(self, path: str, lexicon: Lexicon | None):
        self.path, self.lexicon = path, lexicon
        self.lattices: dict[str, Lattice] = {}
        # (utterance, its canonical phones of a word, the listed pronunciations of the word)
        self.not_listed: list[tuple[str, str, Sequence[str]]] = []
        # reason → utterances that keep their canonical phones
        self.left_alone: dict[str, list[str]] = {
            "no words": [],
            "words that cannot be pronounced": [],
            "words of another sentence": [],
        }

    def read(self, sentences: Mapping[str, str], canonical: Mapping[str, str]) -> None:
        """Make the lattices of all utterances with canonical phones, and print what has none.

        Args:
            sentences, canonical: words and phones, by utterance.
        """
        for utt_id, phones in sorted(canonical.items()):
            lattice = self._lattice(utt_id, sentences.get(utt_id), phones.split())
            if isinstance(lattice, str):
                self.left_alone[lattice].append(utt_id)
            else:
                self.lattices[utt_id] = lattice
        for reason, utterances in self.left_alone.items():
            if utterances:
                say(
                    f"note: {self.path}: {len(utterances)} of {len(canonical)} utterances are "
                    f"compared with their canonical phones alone: {reason} (the first is "
                    f"{utterances[0]})"
                )

        if self.not_listed:
            utt_id, part, listed = self.not_listed[0]
            say(
                f"note: {self.path}: {len(self.not_listed)} words in "
                f"{len({utt_id for utt_id, *_ in self.not_listed})} utterances have canonical "
                f"phones that no lexicon lists for them, which are correct too (the first is in "
                f"{utt_id}: '{part}', listed: {', '.join(listed)})"
            )

    def _lattice(
        self, utt_id: str, sentence: str | None, canonical: Sequence[str]
    ) -> Lattice | str:
        """Return the lattice of an utterance, or the reason why it has none."""
        if sentence is None:
            return "no words"
        words = list_pronunciations(sentence, self.lexicon)
        if words is None:
            return "words that cannot be pronounced"
        lattice = [[tuple(p.split()) for p in word.pronunciations] for word in words]
        nearest_path = nearest(lattice, canonical)
        if edit_distances([canonical], [nearest_path])[0] > _MOST_EDITS * len(canonical):
            return "words of another sentence"
        parts = split_by_words(lattice, canonical)
        for part, variants, word in zip(parts, lattice, words, strict=True):
            if word.is_listed and tuple(part) not in variants:
                self.not_listed.append((utt_id, " ".join(part), word.pronunciations))
        # the canonical pronunciation comes first: it is chosen unless another one is nearer
        return [
            list(dict.fromkeys((part, *(variants if word.is_listed else ()))))
            for part, variants, word in zip(parts, lattice, words, strict=True)
        ]

    def counts(self, canonical: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, int]:
        """Return the number of words with several pronunciations, and of utterances by result.

        Args:
            canonical: phones in the canonical file, by utterance.
            chosen: phones that are nearest to the perceived ones, by utterance.
        """
        return {
            "words": sum(
                len(variants) > 1
                for utt_id, lattice in self.lattices.items()
                if utt_id in chosen
                for variants in lattice
            ),
            "other pronunciation perceived": sum(
                chosen[utt_id] != canonical[utt_id] for utt_id in chosen
            ),
            "canonical phones not listed": len(self.not_listed),
            **{reason: len(utterances) for reason, utterances in self.left_alone.items()},
        }


def recognised_lattices(
    sentences: Mapping[str, str], lexicon: Lexicon | None, g2p: bool
) -> dict[str, Lattice]:
    """Return recognised words as lattices, without utterances that cannot be pronounced.

    Args:
        sentences: words by utterance.
        lexicon: see `list_pronunciations`.
        g2p: whether words that no lexicon has are pronounced by G2P.
    """
    lattices: dict[str, Lattice] = {}
    for utt_id, sentence in sentences.items():
        words = list_pronunciations(sentence, lexicon)
        if words is not None and all(word.is_listed or g2p for word in words):
            lattices[utt_id] = [[tuple(p.split()) for p in word.pronunciations] for word in words]
    return lattices


def nearest_phones(lattices: Mapping[str, Lattice], targets: Mapping[str, str]) -> dict[str, str]:
    """Return the pronunciation of each utterance that is nearest to its target.

    Args:
        lattices, targets: by utterance. Utterances without a lattice or a target are left out.
    """
    return {
        utt_id: " ".join(nearest(lattice, targets[utt_id].split()))
        for utt_id, lattice in lattices.items()
        if utt_id in targets
    }
