"""Correlations with human scores, as both reports show them."""

from pathlib import Path

from espnet_ext.report import facts, sections
from espnet_ext.report.collect import Language, Run

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
FOUND = {
    "F1": {},
    "counts": {},
    "PER": 1.0,
    "utterances": 40,
    "ratings": ROWS,
    "measures": {"with_insertions": dict.fromkeys(("FRR", "FAR", "DER"), 1.0)},
}


def runs(found):
    return {"do": Run(Path("x"), {}, None, None, {"with prompt": found})}


def test_rows_have_intervals_where_there_are_any():
    assert facts.rating_rows(runs(FOUND))[1] == [
        ["do", "accuracy", "recognised", "-0.50 [-0.71 to -0.25]", "–", "40"],
        ["do", "<b>", "annotated", "-0.62", "-0.60", "40"],
    ]
    assert facts.rating_rows(runs({**FOUND, "ratings": []}))[1] == []


def test_the_page_has_them_escaped():
    shown = str(sections.mispronunciations(Language("en"), runs(FOUND), ""))
    assert "human score" in shown and "&lt;b&gt;" in shown and "-0.71 to -0.25" in shown
    without = str(sections.mispronunciations(Language("en"), runs({**FOUND, "ratings": []}), ""))
    assert "human score" not in without
