"""Values of all utterances of a directory in little memory, by position in wav.scp."""

import array
from collections.abc import Iterator, Mapping
from itertools import repeat

from espnet_ext.data.audio import AudioInfo

_NONE = 0  # the code of utterances without a value


class _Column[Value](Mapping[str, Value]):
    """Utterance id → value, in order of positions.

    Args:
        ids: id → position. Positions that are added later are known too.
    """

    def __init__(self, ids: Mapping[str, int]):
        self._ids = ids
        self._codes = array.array("I")  # position → code of a set of properties; see `_NONE`

    def _set_code(self, utt_id: str, code: int) -> int:
        """Store a code; return the position."""
        position = self._ids[utt_id]
        if position >= len(self._codes):
            self._codes.extend(repeat(_NONE, len(self._ids) - len(self._codes)))
        self._codes[position] = code
        return position

    def _code(self, utt_id: object) -> int:
        position = self._ids.get(utt_id, len(self._codes))  # type: ignore[call-overload]
        return self._codes[position] if position < len(self._codes) else _NONE

    def __contains__(self, utt_id: object) -> bool:
        return self._code(utt_id) != _NONE

    def __iter__(self) -> Iterator[str]:
        return (utt_id for utt_id in self._ids if utt_id in self)

    def __len__(self) -> int:
        return len(self._codes) - self._codes.count(_NONE)

    def __bool__(self) -> bool:
        return any(self._codes)


class LabelColumn(_Column[str]):
    """Labels of utterances, 4 bytes each.

    >>> labels = LabelColumn({"u1": 0, "u2": 1})
    >>> labels.set("u2", "ko")
    >>> dict(labels), labels.get("u1")
    ({'u2': 'ko'}, None)
    """

    def __init__(self, ids: Mapping[str, int]):
        super().__init__(ids)
        self._values = {"": _NONE}  # label → code; not a label, to occupy the code
        self._labels = [""]

    def set(self, utt_id: str, label: str) -> None:
        """Set the label of an utterance; ids without a position are left out."""
        if utt_id in self._ids and label:
            code = self._values.setdefault(label, len(self._labels))
            self._labels[code:] = self._labels[code:] or [label]
            self._set_code(utt_id, code)

    def __getitem__(self, utt_id: str) -> str:
        if code := self._code(utt_id):
            return self._labels[code]
        raise KeyError(utt_id)


class AudioColumn(_Column[AudioInfo]):
    """Parameters of recordings, 12 bytes each.

    >>> audio = AudioColumn({"u1": 0, "u2": 1})
    >>> audio.set("u2", AudioInfo(800, 16000, 1))
    >>> audio["u2"].seconds, len(audio)
    (0.05, 1)
    """

    def __init__(self, ids: Mapping[str, int]):
        super().__init__(ids)
        self._frames = array.array("q")  # position → samples per channel
        self._codes_of: dict[tuple, int] = {}  # all other properties → code
        self._properties: list[tuple] = [()]

    def set(self, utt_id: str, info: AudioInfo) -> None:
        """Store the parameters of a recording; its id has a position."""
        properties = (info.rate, info.channels, info.format, info.subtype, info.has_length)
        code = self._codes_of.setdefault(properties, len(self._properties))
        self._properties[code:] = self._properties[code:] or [properties]
        position = self._set_code(utt_id, code)
        self._frames.extend(repeat(0, len(self._codes) - len(self._frames)))
        self._frames[position] = info.frames

    def __getitem__(self, utt_id: str) -> AudioInfo:
        if code := self._code(utt_id):
            return AudioInfo(self._frames[self._ids[utt_id]], *self._properties[code])
        raise KeyError(utt_id)

    def of_equal_length(self) -> list[str]:
        """Return the ids of recordings of equal length and rate, in groups of at least two.

        Empty recordings are left out. Groups are in order of their first members.
        """
        import numpy as np

        frames = np.array(self._frames, dtype=np.int64)
        rates = np.array([0] + [p[0] for p in self._properties[1:]])[
            np.array(self._codes, dtype=np.int64)
        ]
        positions = np.flatnonzero((frames > 0) & (rates > 0))
        if not len(positions):
            return []
        lengths = np.stack([frames[positions], rates[positions]], axis=1)
        _, first, groups, counts = np.unique(
            lengths, axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        groups = groups.reshape(-1)
        repeated = np.flatnonzero(counts[groups] > 1)
        repeated = repeated[np.argsort(first[groups[repeated]], kind="stable")]
        selected = positions[repeated]
        ids = np.empty(len(self._frames), dtype=object)
        is_selected = np.zeros(len(self._frames), dtype=bool)
        is_selected[selected] = True
        for utt_id, position in self._ids.items():
            if is_selected[position]:
                ids[position] = utt_id
        return list(ids[selected])
