"""The report shows the calibration of a system: reliability diagram, operating curve, errors."""

import json

import numpy as np
import pytest
from result_tree import make

from espnet_ext.document import Figure
from espnet_ext.errors import UserError
from espnet_ext.feedback import calibration as c
from espnet_ext.report import calibration
from espnet_ext.report.collect import Language, collect


def write(path):
    """Write a calibration whose probabilities are exact, and measures of a test set."""
    random = np.random.default_rng(0)
    scores = random.normal(0.0, 2.0, 300)
    is_real = random.random(300) < 1 / (1 + np.exp(-scores))
    rows = [(score, *(0.0,) * 7) for score in scores]
    function = c.fit(rows, is_real.tolist(), [f"s{i % 5}" for i in range(300)])
    measured = {
        "deviations": 4,
        "real": 1,
        "ece": 0.25,
        "reliability": [
            {"probability": 0.5, "real": 0.25, "count": 40},
            {"probability": 0.9, "real": 0.0, "count": 1},
        ],
        "curve": [{"threshold": 0.5, "reported": 4, "precision": 0.25, "recall": 1.0}],
    }
    facts = {"evaluated": {"dump/en/test": {"prompt": measured}}}
    c.Calibration({"prompt": function}, 0.5, facts=facts).save(path)
    return function


def test_reliability_diagram_has_the_measured_shares(tmp_path):
    function = write(tmp_path / "calibration.json")
    language = Language(
        "en", calibrations={"do": json.loads((tmp_path / "calibration.json").read_text())}
    )
    section = calibration.section(language)
    diagram, curve = section.figures
    assert isinstance(diagram, Figure) and diagram.y_range == (0, 1)
    held_out = diagram.series["prompt, held-out speakers"]
    assert [(p.x, p.y) for p in held_out] == [
        (row["probability"], row["real"])
        for row in function.facts["reliability"]
        if row["count"] >= 5
    ]
    assert list(diagram.series)[-1] == "exact"
    assert [(p.x, p.y) for p in diagram.series["prompt, test"]] == [(0.5, 0.25)]
    points = curve.series["prompt, held-out speakers"]
    rows = function.facts["curve"]
    assert len(points) <= 101 and points[0].x == rows[0]["recall"] == 1.0
    assert (points[-1].x, points[-1].y) == (rows[-1]["recall"], rows[-1]["precision"])
    held_out_row, test_row = section.tables[0].rows
    assert held_out_row[1] == "300" and held_out_row[4] != "–"
    assert test_row == ("prompt, test", "4", "1", "25.0", "–")


def test_report_reads_the_calibration_of_each_system(tmp_path):
    tree = make(tmp_path, systems=("do",), languages=("en",), audio=False)
    path = tree / "exp/en/do_small/calibration.json"
    write(path)
    arguments = (tree / "exp", ["en"], ["do"], "small", "decode", ["test"])
    language = collect(*arguments).languages[0]
    assert "do: " not in calibration.section(language).title
    assert calibration.section(language).findings[0].startswith("do, prompt, held-out speakers: ")
    weights = path.with_name("model.pth")
    weights.write_bytes(b"further epochs")
    content = json.loads(path.read_text())
    content["facts"]["model_sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    results = collect(*arguments)
    assert calibration.section(results.languages[0]) is None
    assert f"en: {path} is of other weights: run espnet-ext calibrate again" in results.missing
    path.write_text("{}")
    with pytest.raises(UserError, match=r"calibration.json of do \(en\): not a calibration"):
        calibration.section(collect(*arguments).languages[0])


def test_system_without_calibration_has_no_section():
    assert calibration.section(Language("en")) is None
