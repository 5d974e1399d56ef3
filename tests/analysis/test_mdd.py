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
        ["with", "accuracy", "recognised", "-0.50 [-0.71 to -0.25]", "–", "40"],
        ["with", "<b>", "annotated", "-0.62", "-0.60", "40"],
    ]
    assert ratings(RESULT).caveats[0].startswith("4 speakers: ")
    assert ratings({**RESULT, "ratings": []}) is None


def test_detection_by_phone_and_first_language():
    """R is deleted once unnoticed and kept once; TH becomes S, is reported once and missed once."""
    texts = {
        "canonical": {"a-1": "TH R", "a-2": "TH R", "b-1": "TH"},
        "perceived": {"a-1": "S R", "a-2": "S", "b-1": "TH"},
        "hypotheses": {"a-1": "S R", "a-2": "TH R", "b-1": "S"},
    }
    from espnet_ext.scoring.mdd import evaluate

    numbers = evaluate(*texts.values(), groups={"a-1": "vi", "a-2": "vi", "b-1": "zh"})
    result = {**numbers, "prompted": True, "left_out": {}, "speakers": 8}
    tables = {table.title: table for table in mdd.section(result).tables}
    by_phone = tables["Detection by phone"]
    assert by_phone.header[2:] == ["judged", "mispronounced", "recall", "precision"]
    assert by_phone.rows == [
        ["TH", "with", "3", "66.7", "50.0", "50.0"],  # the S of b-1 is a wrong report
        ["R", "with", "2", "50.0", "0.0", "–"],
    ]
    by_l1 = {row[0]: row for row in tables["Detection by first language"].rows}
    assert by_l1["vi"][2] == "50.00" and by_l1["zh"][2] == "0.00"  # 2·1 / (1 + 3), 0 of 1
    assert by_l1["vi"][-1] == "4" and by_l1["zh"][-1] == "1"
    unknown = mdd.section({**result, "groups": {"": numbers["groups"]["vi"]}})
    assert "Detection by first language" not in {table.title for table in unknown.tables}
