"""Whether transcripts go together: of one utterance, with its audio, with a model's units.

Two transcripts of an utterance differ by what a learner does; where they differ by far more, one
of them is another utterance's. What they fit is looked for among those that stick out likewise,
which finds texts that were exchanged or have slipped by a row.
"""

import array
import os
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from operator import eq
from pathlib import Path

from espnet_ext.data.checking import Check, Frames, Tokens
from espnet_ext.data.directory import text_files
from espnet_ext.data.findings import NOTE, WARNING
from espnet_ext.data.skeleton import of_phones, of_words
from espnet_ext.data.table import scan_table
from espnet_ext.data.text_checks import is_phonetic, rows_of, script_of
from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml
from espnet_ext.text.phones import is_phone
from espnet_ext.text.tags import split_tags
from espnet_ext.text.tokenizers import Tokenizer, build_tokenizer, read_token_list

Way = Callable[[str], Sequence[str]]  # how a transcript is written for comparison
PAIRS = (("surface", "meaning"), ("surface", "canonical"), ("canonical", "meaning"))
# Shares of edits, in phones or in letters of Hangul. In the embedded corpus, whose learners deviate
# by up to 0.62 (Korean) and 0.70 (English), nine of ten exchanged texts are further off.
_FAR = 0.7  # from here on, two texts of one utterance are suspect
_FAR_SKELETON = 0.66  # likewise for words beside phones (data.skeleton)
_NEAR = 0.5  # up to here, a text fits another utterance's
_SHORTEST = 4  # units; shorter texts may differ wholly
_CANDIDATES = 500  # suspects among which a better partner is looked for
_RATIO = 2.2  # how many times longer or shorter than usual is suspect
_SAMPLE = 200  # pairs that show what outputs are written in
_SURE = 20  # pairs that it takes to know what is usual
# Units a second that nobody says: syllables of Hangul, characters of Han, letters, phones.
_FASTEST = {"Hangul": 15.0, "Han": 12.0, "phones": 35.0, "": 45.0}
_SLOWEST = 0.2  # units a second, in audio of at least …
_UNIDENTIFIED = "ERR"  # heard, but not told which (corpora.preparation)
_LONG = 8.0  # … so many seconds


def check_pairs(check: Check, folder: Path) -> None:
    """Transcripts of two outputs that cannot be of one utterance."""
    there = text_files(folder)
    damaged = {finding.file for finding in check.findings if finding.code == "unsorted"}
    for one, other in PAIRS:
        if one in there and other in there:
            _Pairs(check, folder, one, other, damaged).check_all()


class _Pairs:
    """The transcripts of two outputs, in the order of ids."""

    def __init__(self, check: Check, folder: Path, one: str, other: str, unsorted: set[str]):
        self.check, self.folder, self.one, self.other = check, folder, one, other
        self.file = text_files(folder)[one]
        self.sorted = not {str(text_files(folder)[name]) for name in (one, other)} & unsorted

    def rows(self) -> Iterator[tuple[int, str, str, str]]:
        """Line of the first, id, both transcripts."""
        if not self.sorted:  # needs memory, but then this should not be
            other = {row[1]: row[2] for row in rows_of(self.folder, self.other)}
            for line, key, text in rows_of(self.folder, self.one):
                if key in other:
                    yield line, key, text, other[key]
            return
        right = rows_of(self.folder, self.other)
        current = next(right, None)
        for line, key, text in rows_of(self.folder, self.one):
            while current is not None and current[1] < key:
                current = next(right, None)
            if current is not None and current[1] == key:
                yield line, key, text, current[2]

    def check_all(self) -> None:
        sample = list(islice(self.rows(), _SAMPLE))
        if not sample:
            return
        phonetic = [_mostly(is_phonetic(row[side]) for row in sample) for side in (2, 3)]
        if all(phonetic):
            self._check_shares(str.split, str.split, _FAR)
        elif phonetic[0] == phonetic[1] and _same_script(sample):
            self._check_shares(_letters, _letters, _FAR)
        elif any(phonetic) and _is_english(sample, phonetic.index(False)):
            ways = [of_phones if side else of_words for side in phonetic]
            self._check_shares(*ways, _FAR_SKELETON)
        else:
            self._check_ratios(*phonetic)

    def _check_shares(self, first_way: Way, second_way: Way, limit: float) -> None:
        """Pairs of which more than `limit` has to be edited, each written in its way."""
        from rapidfuzz.distance import Levenshtein

        distance = Levenshtein.normalized_distance
        letters = first_way is _letters

        def share(first: str, second: str) -> float:
            if first == second:
                return 0.0
            # Syllables first, which are fewer; letters only where these differ much.
            if letters and (whole := distance(first, second)) < limit - 0.1:
                return whole
            return distance(first_way(first), second_way(second))

        shares = array.array("f", (share(*texts) for _, _, *texts in self.rows()))
        if max(shares) < limit or (len(shares) >= _SURE and statistics.median(shares) > _NEAR):
            return  # nothing, or outputs that have little in common
        suspects = []
        for share_, (line, key, *texts) in zip(shares, self.rows(), strict=True):
            left, right = first_way(texts[0]), second_way(texts[1])
            if share_ >= limit and min(len(left), len(right)) >= _SHORTEST:
                suspects.append((share_, line, key, left, right))
        for place, (share_, line, key, left, _) in enumerate(suspects):
            message = f"differs from its {self.other} in {100 * share_:.0f} % of it"
            if partner := _partner(left, place, suspects):
                message += f"; it fits the {self.other} of {partner}"
            self._add(line, key, message)

    def _check_ratios(self, first_phonetic: bool, second_phonetic: bool) -> None:
        def sizes(first: str, second: str) -> tuple[int, int]:
            return _size(first, first_phonetic), _size(second, second_phonetic)

        pairs = (sizes(first, second) for _, _, first, second in self.rows())
        ratios = array.array("f", (left / max(1, right) for left, right in pairs))
        if len(ratios) < _SURE:
            return
        usual = statistics.median(ratios)
        low, high = usual / _RATIO, usual * _RATIO
        if min(ratios) >= low and max(ratios) <= high:
            return
        for ratio, (line, key, first, second) in zip(ratios, self.rows(), strict=True):
            left, right = sizes(first, second)
            if not low <= ratio <= high and max(left, right) >= 2 * _SHORTEST:
                message = f"has {left} units beside {right} of its {self.other}"
                self._add(line, key, f"{message}; usual are {usual:.2f} times as many")

    def _add(self, line: int, key: str, message: str) -> None:
        remedy = "listen to it: are both transcripts of this utterance?"
        self.check.add(WARNING, "implausible-pair", (self.file, line, key), message, remedy)


def _letters(text: str) -> str:
    """Without spaces, syllables of Hangul as their letters."""
    return unicodedata.normalize("NFD", text.replace(" ", ""))


def _is_english(sample: Sequence[tuple[int, str, str, str]], side: int) -> bool:
    """Whether the transcripts of one side are written in Latin."""
    return _mostly({script_of(c) for c in set(row[2 + side])} - {""} == {"Latin"} for row in sample)


def _size(text: str, tokens: bool) -> int:
    """Tokens, or visible characters."""
    return text.count(" ") + 1 if tokens else len(text) - text.count(" ")


def _mostly(answers: Iterable[bool]) -> bool:
    given = list(answers)
    return 2 * sum(given) > len(given)


def _same_script(sample: Sequence[tuple[int, str, str, str]]) -> bool:
    """Whether both transcripts of most pairs share a script."""
    scripts = [[{script_of(c) for c in set(text)} - {""} for text in row[2:]] for row in sample]
    return _mostly(bool(left & right) or not left or not right for left, right in scripts)


def _partner(text, place: int, suspects: list[tuple]) -> str:
    """The id of the suspect whose other transcript fits; those near in the file come first."""
    from rapidfuzz.distance import Levenshtein

    low = max(0, min(place - _CANDIDATES // 2, len(suspects) - _CANDIDATES))
    best, found = _NEAR, ""
    for other in suspects[low : low + _CANDIDATES]:
        share = Levenshtein.normalized_distance(text, other[4], score_cutoff=best)
        if share < best and other is not suspects[place]:
            best, found = share, other[2]
    return found


def check_rates(check: Check, folder: Path) -> None:
    """Transcripts that are too long or too short for their audio."""
    for name, file in text_files(folder).items():
        for line, key, text in rows_of(folder, name):
            info = check.audio.get(key)
            if info is None or not info.frames:
                continue
            phonetic = is_phonetic(text)
            script = "phones" if phonetic else next(filter(None, map(script_of, text)), "")
            size = _size(text, phonetic)
            rate = size / info.seconds
            fastest = _FASTEST.get(script, _FASTEST[""])
            what = "phones" if phonetic else "characters"
            remedy = "listen to it: is the audio whole, and is this its transcript?"
            if rate > fastest and size >= _SHORTEST:
                message = f"{size} {what} in {info.seconds:.2f} s: nobody speaks so fast"
                check.add(WARNING, "too-fast", (file, line, key), message, remedy)
            elif rate < _SLOWEST and info.seconds >= _LONG:
                message = f"{size} {what} in {info.seconds:.2f} s: something is not transcribed"
                check.add(WARNING, "too-slow", (file, line, key), message, remedy)


# (kernel, stride) along time of ESPnet's input layers, without padding.
_LAYERS = {
    "conv1d1": ((3, 1), (3, 1)),
    "conv1d2": ((3, 1), (3, 2)),
    "conv1d3": ((3, 1), (5, 3)),
    "conv2d": ((3, 2), (3, 2)),
    "conv2d1": ((3, 1), (3, 1)),
    "conv2d2": ((3, 2), (3, 1)),
    "conv2d6": ((3, 2), (5, 3)),
    "conv2d8": ((3, 2), (3, 2), (3, 2)),
    "linear": (),
}


def frames_of_config(config: Mapping) -> Frames | None:
    """How a training configuration makes frames; None where only the model would tell.

    >>> frames_of_config({"encoder_conf": {"input_layer": "conv2d6"}})
    Frames(rate=16000, hop=128, input_layer='conv2d6')
    """
    frontend = config.get("frontend_conf") or {}
    layer = (config.get("encoder_conf") or {}).get("input_layer", "conv2d")
    if config.get("frontend", "default") != "default" or layer not in _LAYERS:
        return None
    rate = str(frontend.get("fs", 16000))
    rate = rate[:-1] + "000" if rate.endswith("k") else rate
    return Frames(int(rate), int(frontend.get("hop_length", 128)), layer)


def read_frames(path: str | os.PathLike) -> Frames | None:
    """`frames_of_config` of a YAML file."""
    return frames_of_config(read_yaml(path, missing="name a training configuration"))


def encoder_frames(seconds: float, frames: Frames) -> int:
    """Encoder frames of so much audio; the frontend pads half a window at both ends.

    >>> encoder_frames(1.0, Frames(16000, 160, "conv2d"))
    24
    """
    length = round(seconds * frames.rate) // frames.hop + 1
    for kernel, stride in _LAYERS[frames.input_layer]:
        length = (length - kernel) // stride + 1
    return max(0, length)


def check_tokens(
    check: Check, folder: Path, tokens: Mapping[str, Tokens], frames: Frames | None
) -> None:
    """Tokens that a list has not, and labels that CTC cannot align with so little audio."""
    seconds = {key: info.seconds for key, info in check.audio.items()}
    if not seconds and (folder / "utt2dur").exists():
        rows, _ = scan_table(folder / "utt2dur")
        seconds = {row.key: float(row.value) for row in rows if _is_number(row.value)}
    there = text_files(folder)
    for name, units in tokens.items():
        if name not in there:
            continue
        tokenizer = _tokenizer(units)
        if tokenizer is None:
            message = f"its units ({units.token_type}) are not known yet"
            check.add(NOTE, "units", (there[name], 0, ""), message, "check it after stage 5")
            continue
        known = set(read_token_list(units.token_list)) if units.token_list else None
        if units.token_type == "phone":
            _check_phones(check, folder, name)
        unknown: Counter[str] = Counter()
        first: dict[str, tuple[int, str]] = {}
        for line, key, text in rows_of(folder, name):
            labels = tokenizer.encode(text)
            if known is not None:
                for token in labels:
                    if token not in known:
                        unknown[token] += 1
                        first.setdefault(token, (line, key))
            if frames is None or not units.has_ctc or key not in seconds:
                continue
            repeats = sum(map(eq, labels, labels[1:]))
            made = encoder_frames(seconds[key], frames)
            if made < len(labels) + repeats:
                message = (
                    f"CTC cannot align {len(labels)} labels ({repeats} of them repeated) with "
                    f"{made} encoder frames ({seconds[key]:.2f} s)"
                )
                remedy = "use larger units, an input_layer that joins less, or check the audio"
                check.add(WARNING, "ctc-infeasible", (there[name], line, key), message, remedy)
        for token, count in unknown.most_common():
            message = f"'{token}' is not in {units.token_list} ({count} times in all)"
            remedy = "it becomes <unk>; is it meant? Else make the list anew (stage 5)"
            check.add(WARNING, "unknown-token", (there[name], *first[token]), message, remedy)


def _check_phones(check: Check, folder: Path, name: str) -> None:
    """Tokens of an output in phones that are none of the 39 (nor `ERR`, nor an inline tag)."""
    counts: Counter[str] = Counter()
    first: dict[str, tuple[int, str]] = {}
    for line, key, text in rows_of(folder, name):
        for token in split_tags(text)[0].split():
            if not is_phone(token) and token != _UNIDENTIFIED:
                counts[token] += 1
                first.setdefault(token, (line, key))
    for token, count in counts.most_common():
        times = "once" if count == 1 else f"{count} times in all, here first"
        message = f"'{token}' is no phone ({times})"
        remedy = "is it meant? It is a unit of its own; the 39 phones have capitals and no digits"
        place = (text_files(folder)[name], *first[token])
        check.add(WARNING, "not-phones", place, message, remedy)


@cache
def _tokenizer(units: Tokens) -> Tokenizer | None:
    if units.token_type != "bpe":
        return build_tokenizer(units.token_type)
    model = Path(units.token_list).parent / "bpe.model"
    if not units.token_list or not model.is_file():
        return None
    return build_tokenizer("bpe", model)


def _is_number(value: str) -> bool:
    try:
        return float(value) > 0
    except ValueError:
        return False


def read_units(words: list[str]) -> dict[str, Tokens]:
    """`surface=phone:data/tokens.txt meaning=char` → units by output.

    >>> read_units(["surface=phone:t.txt"])["surface"].token_list
    't.txt'
    """
    units = {}
    for word in words:
        name, equals, rest = word.partition("=")
        token_type, _, token_list = rest.partition(":")
        if not equals or not name:
            remedy = "write <output>=<type>, or <output>=<type>:<token list>"
            raise UserError(f"'{word}': no units of an output", remedy)
        if token_type != "bpe":
            build_tokenizer(token_type)  # refuses what is no type
        units[name] = Tokens(token_type, token_list)
    return units
