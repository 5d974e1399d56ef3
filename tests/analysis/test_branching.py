"""The layer up to which outputs share: by CKA of single-output encoders, by gradient conflicts."""

import json
import random
import statistics

import pytest

from espnet_ext.analysis.branching import conflict_shares, divide
from espnet_ext.bin import branch_layer
from espnet_ext.errors import UserError


def cka(values, a="so_surface", b="so_meaning"):
    curve = [{"layer": name, "debiased": value} for name, value in values.items()]
    return {"kind": "cka", "pairs": [{"a": a, "b": b, "ceiling": False, "curve": curve}]}


def step(**cosines):
    cosines = {name.removeprefix("l"): value for name, value in cosines.items()}
    return {"step": 1, "gradients": {"pairs": [{"a": "s", "b": "m", "cosine": cosines}]}}


def test_division_has_the_least_squared_error_of_all():
    generator = random.Random(1)
    for _ in range(50):
        values = [generator.random() for _ in range(6)]
        errors = {}
        for shared in range(1, 6):
            groups = values[:shared], values[shared:]
            means = [statistics.mean(group) for group in groups]
            variances = [statistics.pvariance(group) * len(group) for group in groups]
            errors[shared] = (sum(variances), means)
        best = min(errors, key=lambda shared: errors[shared][0])
        below, above = errors[best][1]
        branching = divide({str(i): value for i, value in enumerate(values)})
        assert (branching is None) == (above >= below)
        if branching:
            assert (branching.shared, branching.layers) == (best, 6)


def test_similarity_of_the_encoders_gives_the_layer(tmp_path, capsys):
    path = tmp_path / "cka.json"
    path.write_text(json.dumps(cka({"embed": 0.95, "0": 0.9, "1": 0.85, "2": 0.4, "3": 0.3})))
    assert branch_layer.main(["--cka", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "the encoders of so_surface and so_meaning part after encoder layer 2 of 4: mean CKA 0.90 "
        "up to there, 0.35 above",
        "  private layers per output: conditioning_conf.layers: 2 (do_tops)",
        "  CTC of the surface: ctc_layer: 2 (do_ctc_layer)",
    ]


def test_encoders_that_part_at_once_share_no_layer(tmp_path, capsys):
    path = tmp_path / "cka.json"
    path.write_text(
        json.dumps(cka({"embed": 0.95, "0": 0.4, "1": 0.5}, "so_meaning", "so_surface"))
    )
    branch_layer.main(["--cka", str(path)])
    printed = capsys.readouterr().out
    assert "part before encoder layer 1" in printed and "ctc_layer: 1" in printed
    assert "conditioning_conf.layers: 2" in printed


def test_encoders_that_do_not_part(tmp_path, capsys):
    path = tmp_path / "cka.json"
    path.write_text(json.dumps(cka({"embed": 0.5, "0": 0.9, "1": 0.9})))
    branch_layer.main(["--cka", str(path)])
    assert "do not part more in upper layers" in capsys.readouterr().out


def test_conflicts_of_gradients_give_the_layer(tmp_path, capsys):
    records = [
        step(embed=0.5, l0=0.4, l1=-0.1, l2=-0.3, all=0.1),
        step(embed=0.5, l0=-0.4, l1=-0.1, l2=0.3, all=0.1),
        {"step": 3, "gradients": None},
        step(embed=0.5, l0=0.4, l1=-0.1, l2=-0.3, all=0.1),
        step(embed=None, l0=0.4, l1=0.1, l2=-0.3, all=0.1),
    ]
    assert conflict_shares(records) == {"embed": 0.0, "0": 0.25, "1": 0.75, "2": 0.75}
    path = tmp_path / "diagnostics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert branch_layer.main(["--diagnostics", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "the gradients of the outputs conflict more after encoder layer 1 of 3" in printed
    assert "mean share of conflicts 0.12 up to there, 0.75 above" in printed
    assert "conditioning_conf.layers: 2" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cka", "{cka}", "--systems", "so_surface do"], "does not compare so_surface with do"),
        (["--cka", "{other}"], "not a result of the analysis cka"),
        (["--diagnostics", "{single}"], "no gradients of two outputs"),
    ],
)
def test_wrong_files_are_errors(tmp_path, words, message):
    files = {"cka": cka({"0": 0.9}), "other": {"kind": "probes"}}
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "single").write_text(json.dumps({"step": 1, "gradients": None}) + "\n")
    paths = {name: tmp_path / name for name in ("cka", "other", "single")}
    with pytest.raises(UserError, match=message):
        branch_layer.main([word.format(**paths) for word in words])


@pytest.mark.parametrize("words", [[], ["--cka", "x", "--systems", "a"]])
def test_wrong_usage_exits_2(words):
    with pytest.raises(SystemExit) as caught:
        branch_layer.main(words)
    assert caught.value.code == 2
