"""Whether two transcripts can be of the same utterance.

Surface, canonical and meaning transcripts of one utterance differ by what a learner does. If they
differ by far more, one of them probably is another utterance's. For each suspicious transcript, the
other suspicious rows are searched for one that fits, which finds texts that were exchanged or that
have slipped by a row.
"""

import array
import statistics
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from espnet_ext.data.checks.consonants import skeleton_of_phones, skeleton_of_words
from espnet_ext.data.checks.context import Checked, TextRow, labelled_rows
from espnet_ext.data.checks.findings import WARNING
from espnet_ext.data.checks.text import is_phonetic, scripts_of
from espnet_ext.data.directory import text_files

PAIRS = (("surface", "meaning"), ("surface", "canonical"), ("canonical", "meaning"))
# Limits of the normalised edit distance, in phones or in jamo. Learners in the embedded corpus
# deviate by up to 0.62 (Korean) and 0.70 (English); nine of ten exchanged texts by more.
_SUSPICIOUS = 0.7
_SUSPICIOUS_SKELETON = 0.66  # for words against phones (`consonants`)
_FITTING = 0.5  # up to here, a text fits another utterance
_MIN_UNITS = 4  # shorter texts may differ wholly, unless the other one is much longer:
_MIN_LONGER, _MIN_TIMES_LONGER = 6, 3  # units of the longer text, and times the shorter one
_MAX_CANDIDATES = 500  # suspicious rows that are searched for one that fits
_MAX_LENGTH_FACTOR = 2.2  # times longer or shorter than the median ratio of lengths
_SAMPLE = 200  # pairs that are read to see what the outputs are written in
_MIN_PAIRS = 20  # needed for a median to be meaningful
_FEWEST_PAIRS = 5  # from here on, a median shows lengths that differ by twice the factor

Normalizer = Callable[[str], Sequence[str]]  # transcript → units that are compared


class _Pair(NamedTuple):
    line: int  # in the first output's file
    utt_id: str
    first: str
    second: str


class _Suspect(NamedTuple):
    line: int
    utt_id: str
    distance: float
    first: Sequence[str]  # units
    second: Sequence[str]


def check_pairs(checked: Checked) -> None:
    """Report transcripts of two outputs that cannot be of one utterance."""
    available = text_files(checked.folder)
    unsorted = {finding.file for finding in checked.findings if finding.code == "unsorted"}
    for first, second in PAIRS:
        if first in available and second in available:
            is_sorted = not {str(available[first]), str(available[second])} & unsorted
            _PairCheck(checked, first, second, is_sorted).run()


class _PairCheck:
    """Compares the transcripts of two outputs, in the order of ids."""

    def __init__(self, checked: Checked, first: str, second: str, is_sorted: bool):
        self.checked, self.first, self.second = checked, first, second
        self.is_sorted = is_sorted

    def pairs(self) -> Iterator[_Pair]:
        """Yield the utterances that have both transcripts, reading both files in step."""
        folder = self.checked.folder
        second_rows = labelled_rows(folder, self.second)
        if not self.is_sorted:  # held in memory; sorted tables of any size are not
            by_id = {key: text for _, key, text in second_rows}
            for line, key, text in labelled_rows(folder, self.first):
                if key in by_id:
                    yield _Pair(line, key, text, by_id[key])
            return
        second: TextRow | None = next(second_rows, None)
        for line, key, text in labelled_rows(folder, self.first):
            while second is not None and second[1] < key:
                second = next(second_rows, None)
            if second is not None and second[1] == key:
                yield _Pair(line, key, text, second[2])

    def run(self) -> None:
        sample = list(islice(self.pairs(), _SAMPLE))
        if not sample:
            return
        first_phonetic = _mostly(is_phonetic(pair.first) for pair in sample)
        second_phonetic = _mostly(is_phonetic(pair.second) for pair in sample)
        if first_phonetic and second_phonetic:
            self._check_distances(str.split, str.split, _SUSPICIOUS)
        elif first_phonetic == second_phonetic and _mostly(map(_share_script, sample)):
            self._check_distances(_to_jamo, _to_jamo, _SUSPICIOUS)
        elif first_phonetic and _mostly(scripts_of(pair.second) == {"Latin"} for pair in sample):
            self._check_distances(skeleton_of_phones, skeleton_of_words, _SUSPICIOUS_SKELETON)
        elif second_phonetic and _mostly(scripts_of(pair.first) == {"Latin"} for pair in sample):
            self._check_distances(skeleton_of_words, skeleton_of_phones, _SUSPICIOUS_SKELETON)
        else:
            self._check_lengths(first_phonetic, second_phonetic)

    def _check_distances(self, first_units: Normalizer, second_units: Normalizer, limit: float):
        """Report pairs whose units have a normalised edit distance of at least `limit`."""
        from rapidfuzz.distance import Levenshtein

        normalized_distance = Levenshtein.normalized_distance
        in_jamo = first_units is _to_jamo

        def distance(first: str, second: str) -> float:
            if first == second:
                return 0.0
            # Compare characters first, which are fewer; jamo only if these differ much.
            if in_jamo and (in_characters := normalized_distance(first, second)) < limit - 0.1:
                return in_characters
            return normalized_distance(first_units(first), second_units(second))

        distances = array.array("f", (distance(pair.first, pair.second) for pair in self.pairs()))
        if max(distances) < limit:
            return
        if len(distances) >= _MIN_PAIRS and statistics.median(distances) > _FITTING:
            return  # the two outputs have little in common
        suspects = []
        for value, pair in zip(distances, self.pairs(), strict=True):
            if value >= limit:
                first, second = first_units(pair.first), second_units(pair.second)
                shorter, longer = sorted((len(first), len(second)))
                much_longer = longer >= max(_MIN_LONGER, _MIN_TIMES_LONGER * shorter)
                if shorter >= _MIN_UNITS or much_longer:
                    suspects.append(_Suspect(pair.line, pair.utt_id, value, first, second))
        for index, suspect in enumerate(suspects):
            message = f"differs from its {self.second} in {100 * suspect.distance:.0f} % of it"
            if match := _find_match(index, suspects):
                message += f"; it fits the {self.second} of {match}"
            self._add(suspect.line, suspect.utt_id, message)

    def _check_lengths(self, first_phonetic: bool, second_phonetic: bool) -> None:
        """Report pairs whose ratio of lengths is far from the median ratio."""

        def sizes(pair: _Pair) -> tuple[int, int]:
            return text_size(pair.first, first_phonetic), text_size(pair.second, second_phonetic)

        ratios = array.array(
            "f", (first / max(1, second) for first, second in map(sizes, self.pairs()))
        )
        if len(ratios) < _FEWEST_PAIRS:
            return
        usual = statistics.median(ratios)
        factor = _MAX_LENGTH_FACTOR * (1 if len(ratios) >= _MIN_PAIRS else 2)
        low, high = usual / factor, usual * factor
        if min(ratios) >= low and max(ratios) <= high:
            return
        for ratio, pair in zip(ratios, self.pairs(), strict=True):
            first, second = sizes(pair)
            if not low <= ratio <= high and max(first, second) >= 2 * _MIN_UNITS:
                message = f"has {first} units, its {self.second} has {second}"
                self._add(pair.line, pair.utt_id, f"{message}; the median ratio is {usual:.2f}")

    def _add(self, line: int, utt_id: str, message: str) -> None:
        file = text_files(self.checked.folder)[self.first]
        remedy = "listen to it: check that both transcripts are of this utterance"
        self.checked.add(WARNING, "implausible-pair", (file, line, utt_id), message, remedy)


def text_size(text: str, count_tokens: bool) -> int:
    """Return the number of tokens, or of visible characters."""
    return text.count(" ") + 1 if count_tokens else len(text) - text.count(" ")


def _to_jamo(text: str) -> str:
    """Return a text without spaces, Hangul syllables as conjoining jamo."""
    return unicodedata.normalize("NFD", text.replace(" ", ""))


def _share_script(pair: _Pair) -> bool:
    """Return whether both transcripts have letters of one script, or one has no letters."""
    first, second = scripts_of(pair.first), scripts_of(pair.second)
    return bool(first & second) or not first or not second


def _mostly(values: Iterable[bool]) -> bool:
    values = list(values)
    return 2 * sum(values) > len(values)


def _find_match(index: int, suspects: Sequence[_Suspect]) -> str:
    """Return the id of the suspect whose second text fits best to the first text of another.

    Only suspects near in the file are compared; "" if none fits.
    """
    from rapidfuzz.distance import Levenshtein

    start = max(0, min(index - _MAX_CANDIDATES // 2, len(suspects) - _MAX_CANDIDATES))
    text = suspects[index].first
    best, match = _FITTING, ""
    for candidate in suspects[start : start + _MAX_CANDIDATES]:
        distance = Levenshtein.normalized_distance(text, candidate.second, score_cutoff=best)
        if distance < best and candidate is not suspects[index]:
            best, match = distance, candidate.utt_id
    return match
