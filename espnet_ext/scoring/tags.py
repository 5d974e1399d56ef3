"""Tags in transcripts, `<l1:Hindi>`: scored by themselves, so that text is scored as if without.

`score_tags` returns a row for each output and kind of tag::

    {"output": "meaning", "tag": "l1", "utterances": 160, "wrong": 12, "missing": 3, "rate",
     "interval", "invented": 0}

`wrong` counts hypotheses without the tag too (`missing`); the rate is in percent of the utterances
whose reference has the tag, with its interval over speakers. `invented`: utterances whose reference
has no such tag and whose hypothesis does.
"""

from collections.abc import Mapping

from espnet_ext.scoring import bootstrap
from espnet_ext.text.tags import split_tags

Tags = Mapping[str, Mapping[str, str]]  # utterance → name → value


def split_all(texts: Mapping[str, str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Transcripts by utterance without their tags, and the tags."""
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
    """Rows for the tags that references have; see above."""
    rows = []
    for name in sorted({name for tags in references.values() for name in tags}):
        sums: dict[str, list[int]] = {}  # by speaker: wrong ones, all
        missing = invented = 0
        for utt_id, tags in references.items():
            found = hypotheses.get(utt_id, {}).get(name)
            if name not in tags:
                invented += found is not None
                continue
            missing += found is None
            total = sums.setdefault(speakers[utt_id], [0, 0])
            total[0] += found != tags[name]
            total[1] += 1
        wrong, every = (list(column) for column in zip(*sums.values(), strict=True))
        rows.append(
            {
                "output": output,
                "tag": name,
                "utterances": sum(every),
                "wrong": sum(wrong),
                "missing": missing,
                "invented": invented,
                "rate": 100.0 * sum(wrong) / sum(every),
                "interval": bootstrap.interval(wrong, every, resamples=resamples, seed=seed),
            }
        )
    return rows
