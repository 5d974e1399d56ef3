"""Error rates of inline tags such as `<l1:Hindi>`, which are removed before texts are scored.

`score_tags` returns one row per kind of tag::

    {"output": "meaning", "tag": "l1", "utterances": 160, "wrong": 12, "missing": 3, "rate",
     "interval", "invented": 0}

`utterances` is the number of utterances whose reference has the tag. `wrong` counts hypotheses with
another value or without the tag (`missing`). `rate` is the share of `wrong` in percent, and
`interval` its interval over speakers. `invented` counts utterances whose hypothesis has the tag
although their reference does not.
"""

from collections.abc import Mapping

from espnet_ext.scoring import bootstrap
from espnet_ext.text.tags import split_tags

Tags = Mapping[str, Mapping[str, str]]  # utterance → name → value


def split_all_tags(texts: Mapping[str, str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Split the transcripts of utterances into texts without tags, and tags."""
    both = {utt_id: split_tags(text) for utt_id, text in texts.items()}
    return {i: plain for i, (plain, _) in both.items()}, {i: tags for i, (_, tags) in both.items()}


def score_tags(
    output: str,
    references: Tags,
    hypotheses: Tags,
    speakers: Mapping[str, str],
    resamples: int = bootstrap.RESAMPLES,
    seed: int = bootstrap.SEED,
) -> list[dict]:
    """Return one row per kind of tag in the references. See the module's description."""
    rows = []
    for name in sorted({name for tags in references.values() for name in tags}):
        sums: dict[str, list[int]] = {}  # speaker → wrong tags, all tags
        missing = invented = 0
        for utt_id, tags in references.items():
            recognised = hypotheses.get(utt_id, {}).get(name)
            if name not in tags:
                invented += recognised is not None
                continue
            missing += recognised is None
            counts = sums.setdefault(speakers[utt_id], [0, 0])
            counts[0] += recognised != tags[name]
            counts[1] += 1
        wrong, total = (list(column) for column in zip(*sums.values(), strict=True))
        rows.append(
            {
                "output": output,
                "tag": name,
                "utterances": sum(total),
                "wrong": sum(wrong),
                "missing": missing,
                "invented": invented,
                "rate": 100.0 * sum(wrong) / sum(total),
                "interval": bootstrap.interval(wrong, total, resamples=resamples, seed=seed),
            }
        )
    return rows
