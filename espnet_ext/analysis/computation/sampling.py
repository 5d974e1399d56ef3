"""Which utterances, in which batches and groups of speakers."""

from collections.abc import Mapping, Sequence

from espnet_ext.data.record import Utterance

GROUPS = 20  # more speakers than that are drawn in so many groups, which bounds memory


def choose(ids: Sequence[str], limit: int) -> list[str]:
    """At most `limit` ids, evenly spread over the sorted list and so over the speakers.

    >>> choose(["a-1", "a-2", "b-1", "b-2"], 2)
    ['a-1', 'b-1']
    """
    ordered = sorted(ids)
    if limit <= 0 or len(ordered) <= limit:
        return ordered
    return [ordered[i * len(ordered) // limit] for i in range(limit)]


def group_numbers(utterances: Sequence[Utterance]) -> Mapping[str, int]:
    """The group of each speaker, 0 … G − 1: one a speaker, or GROUPS of about equal size."""
    speakers = sorted({u.speaker for u in utterances})
    count = min(GROUPS, len(speakers))
    return {speaker: i * count // len(speakers) for i, speaker in enumerate(speakers)}


def groups_of(utterances: Sequence[Utterance]) -> int:
    """How many groups there are."""
    return len(set(group_numbers(utterances).values()))


def batches_by_group(
    utterances: Sequence[Utterance], size: int
) -> list[tuple[int, list[Utterance]]]:
    """Batches of at most `size` utterances, each of one group of speakers."""
    number = group_numbers(utterances)
    members: dict[int, list[Utterance]] = {}
    for utterance in utterances:
        members.setdefault(number[utterance.speaker], []).append(utterance)
    return [
        (group, own[start : start + size])
        for group, own in sorted(members.items())
        for start in range(0, len(own), size)
    ]
