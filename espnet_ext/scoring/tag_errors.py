"""Error rates of inline tags such as `<l1:Hindi>`, which are removed before texts are scored.

`TagErrors.rows` returns one row per kind of tag::

    {"output": "meaning", "tag": "l1", "utterances": 160, "wrong": 12, "missing": 3, "rate",
     "interval", "invented": 0}

`utterances` is the number of utterances whose reference has the tag. `wrong` counts hypotheses with
another value or without the tag (`missing`). `rate` is the share of `wrong` in percent, and
`interval` its interval over speakers. `invented` counts utterances whose hypothesis has the tag
although their reference does not.
"""

from collections import Counter
from collections.abc import Mapping

from espnet_ext.scoring import bootstrap
from espnet_ext.text.tags import split_tags

Tags = Mapping[str, str]  # name → value


def split_all_tags(texts: Mapping[str, str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Split the transcripts of utterances into texts without tags, and tags."""
    both = {utt_id: split_tags(text) for utt_id, text in texts.items()}
    return {i: plain for i, (plain, _) in both.items()}, {i: tags for i, (_, tags) in both.items()}


class TagErrors:
    """Counts the errors of the tags of one output. See the module's description.

    >>> errors = TagErrors("meaning")
    >>> errors.add("s1", {"l1": "Hindi"}, {"l1": "Korean"})
    >>> [(row["tag"], row["wrong"], row["missing"]) for row in errors.rows()]
    [('l1', 1, 0)]
    """

    def __init__(self, output: str):
        self.output = output
        self._sums: dict[str, dict[str, list[int]]] = {}  # name → speaker → wrong tags, all tags
        self._missing: Counter[str] = Counter()  # name → utterances
        self._invented: Counter[str] = Counter()  # name → utterances

    def add(self, speaker: str, reference: Tags, hypothesis: Tags) -> None:
        """Count the tags of an utterance. A missing hypothesis has no tags."""
        for name, value in reference.items():
            recognised = hypothesis.get(name)
            self._missing[name] += recognised is None
            counts = self._sums.setdefault(name, {}).setdefault(speaker, [0, 0])
            counts[0] += recognised != value
            counts[1] += 1
        self._invented.update(hypothesis.keys() - reference.keys())

    def rows(self, resamples: int = bootstrap.RESAMPLES, seed: int = bootstrap.SEED) -> list[dict]:
        """Return one row per kind of tag in the references."""
        rows = []
        for name, sums in sorted(self._sums.items()):
            wrong, total = (list(column) for column in zip(*sums.values(), strict=True))
            rows.append(
                {
                    "output": self.output,
                    "tag": name,
                    "utterances": sum(total),
                    "wrong": sum(wrong),
                    "missing": self._missing[name],
                    "invented": self._invented[name],
                    "rate": 100.0 * sum(wrong) / sum(total),
                    "interval": bootstrap.interval(wrong, total, resamples=resamples, seed=seed),
                }
            )
        return rows
