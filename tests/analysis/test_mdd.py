"""Tables of mispronunciation detection: correlations with human ratings."""

from espnet_ext.analysis import mdd

ROWS = [
    {
        "score": "accuracy",
        "measure": "recognised",
        "utterances": 40,
        "speakers": 8,
        "pearson": -0.5,
        "spearman": None,
        "intervals": {"pearson": [-0.7123, -0.25], "spearman": None},
    },
    {
        "score": "<b>",
        "measure": "annotated",
        "utterances": 40,
        "speakers": 1,
        "pearson": -0.625,
        "spearman": -0.6,
        "intervals": {"pearson": None, "spearman": None},
    },
]
RESULT = {
    "F1": dict.fromkeys(mdd.F1_NAMES),
    "counts": {},
    "confusions": {},
    "left_out": {},
    "prompted": True,
    "PER": 1.0,
    "utterances": 40,
    "speakers": 4,
    "ratings": ROWS,
    "measures": {"with_insertions": dict.fromkeys(("FRR", "FAR", "DER"), 1.0)},
}


def ratings(result):
    tables = {table.title: table for table in mdd.section(result).tables}
    return tables.get(mdd.RATINGS.title)


def test_ratings_have_intervals_where_there_are_any():
    assert ratings(RESULT).rows == [
        ["accuracy", "recognised", "-0.50 [-0.71 to -0.25]", "–", "40"],
        ["<b>", "annotated", "-0.62", "-0.60", "40"],
    ]
    assert ratings(RESULT).caveats[0].startswith("4 speakers: ")
    assert ratings({**RESULT, "ratings": []}) is None
