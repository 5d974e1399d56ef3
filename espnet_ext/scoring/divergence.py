"""How far surface and meaning lie apart, and how the error depends on it.

The distance of an utterance is the Levenshtein distance between its two *references*: characters
of surface against meaning where both are written, phones of surface against canonical where the
surface is phones. The bins 0, 1–3, 4–10, ≥11 are those of arXiv 2606.06065. Raw distance grows with
length; that confound is the bins', and is stated, not removed, here.
"""

from collections.abc import Mapping

from espnet_ext.scoring.counts import align_texts, counts_of

BINS = (("0", 0, 0), ("1-3", 1, 3), ("4-10", 4, 10), (">=11", 11, None))


def bin_of(distance: int) -> str:
    """The name of a distance's bin.

    >>> [bin_of(d) for d in (0, 3, 4, 11)]
    ['0', '1-3', '4-10', '>=11']
    """
    return next(name for name, _, high in BINS if high is None or distance <= high)


def comparison(token_types: Mapping[str, str]) -> tuple[str, str, str] | None:
    """(reference kind, compared kind, metric) whose distance is the divergence, or None.

    >>> comparison({"surface": "phone", "meaning": "char"})
    ('canonical', 'surface', 'per')
    """
    if "surface" not in token_types or "meaning" not in token_types:
        return None
    if token_types["surface"] == "phone" and token_types["meaning"] != "phone":
        return "canonical", "surface", "per"
    return "meaning", "surface", "per" if token_types["surface"] == "phone" else "cer"


def distances(
    texts: Mapping[str, Mapping[str, str]], token_types: Mapping[str, str]
) -> dict[str, int]:
    """The divergence of every utterance that has both references.

    >>> distances({"a": {"surface": "궁물", "meaning": "국물"}, "b": {"meaning": "국"}},
    ...           {"surface": "char", "meaning": "char"})
    {'a': 1}
    """
    kinds = comparison(token_types)
    if kinds is None:
        return {}
    intended, said, metric = kinds
    both = [utt for utt, labels in texts.items() if intended in labels and said in labels]
    columns = align_texts(
        [texts[utt][intended] for utt in both], [texts[utt][said] for utt in both], metric
    )
    return {utt: counts_of(c).errors for utt, c in zip(both, columns, strict=True)}
