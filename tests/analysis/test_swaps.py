"""Swaps of encoders: exact where nothing was exchanged, and closed forms."""

import json
import shutil

import pytest

jiwer = pytest.importorskip("jiwer")
torch = pytest.importorskip("torch")
pytest.importorskip("espnet2")

from espnet_ext.analysis import swaps  # noqa: E402
from espnet_ext.analysis.computation.encoder_swaps import (  # noqa: E402
    LinearMap,
    PredictedVariance,
    _rows,
    apply_map,
    swap,
)
from espnet_ext.analysis.computation.hidden_states import Stream  # noqa: E402
from espnet_ext.analysis.computation.inputs import speaker_errors  # noqa: E402
from espnet_ext.bin import analyze  # noqa: E402
from espnet_ext.data.record import Utterance  # noqa: E402
from espnet_ext.document import signed_with_interval  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.text.tags import split_tags  # noqa: E402

OPTIONS = {"beam_size": 2, "maxlenratio": -4}


def test_linear_map_is_least_squares():
    torch.manual_seed(0)
    x, noise = torch.randn(500, 6).double(), 0.1 * torch.randn(500, 4).double()
    y = x @ torch.randn(6, 4).double() + 3.0 + noise
    fit = LinearMap(6, 4)
    for part in range(0, 500, 90):
        fit.add(x[part : part + 90], y[part : part + 90])
    weights = fit.solve()
    wide = torch.cat([x, torch.ones(500, 1).double()], 1)
    expected = torch.linalg.lstsq(wide, y).solution
    assert torch.allclose(weights, expected, atol=1e-3)
    assert torch.allclose(apply_map(x, weights), wide @ weights)
    residual = (apply_map(x, weights) - y).square().mean()
    assert float(residual) == pytest.approx(float(noise.square().mean()), rel=0.1)


def test_system_on_the_encoder_of_its_copy_is_unchanged(trained):
    folder = str(trained.root / "exp")
    data = trained.root / "dump/valid"
    result = swap({"a": folder, "b": folder}, data, trained.root / "dump/train", OPTIONS)
    rows = {(r["encoder"], r["decoder"], r["output"], r["connection"]): r for r in result["rows"]}
    assert len(rows) == 2 * 2 + 2 * 2 * 2
    for (encoder, decoder, output, connection), row in rows.items():
        unswapped = rows[decoder, decoder, output, "unswapped"]
        assert (connection == "unswapped") == (encoder == decoder)
        if connection == "direct":
            assert row["rate"] == unswapped["rate"] and row["interval"] == unswapped["interval"]
        if connection == "stitched":
            assert 0.5 < row["r2"] <= 1.0
    assert result["metric"]["surface"] == "per" and result["utterances"] == 4


def test_paired_difference_decides_where_intervals_of_rates_overlap():
    """Speakers differ much, and all make one more error with the map, and five without it."""
    a, b, speakers = Stream("a"), Stream("b"), [f"s{number}" for number in range(12)]
    utterances = [Utterance(f"{s}-u", s, "u.wav", {"surface": "a" * 40}) for s in speakers]

    def recognised(more):
        return {
            f"{s}-u": "b" * (2 * i + more) + "a" * (40 - 2 * i - more)
            for i, s in enumerate(speakers)
        }

    def finding(direct, stitched):
        hypotheses = {
            (b, "b", "surface", "unswapped"): recognised(0),
            (a, "b", "surface", "direct"): recognised(direct),
            (a, "b", "surface", "stitched"): recognised(stitched),
        }
        types, explained = {"surface": "char"}, {(a, b): PredictedVariance()}
        rows = list(_rows(hypotheses, utterances, types, explained, ()))
        intervals = [row["interval"] for row in rows]
        assert max(low for low, _ in intervals) < min(high for _, high in intervals)
        result = {"rows": rows, "utterances": 12, "train_utterances": 9, "speakers": 12}
        shown = swaps.section(result)
        more = signed_with_interval(2.5 * stitched, (2.5 * stitched, 2.5 * stitched))
        assert shown.items[0].rows[-1][6] == more
        return shown.findings[0]

    assert "; a gap remains" in finding(direct=5, stitched=1)
    assert "; the information is available in other coordinates" in finding(direct=5, stitched=0)
    assert "; the interval of the difference includes zero" in finding(direct=0, stitched=0)


def test_references_are_normalised_and_changes_are_counted(trained, tmp_path, capsys):
    """Stress digits do not count as errors, and an empty transcript is accepted."""
    folder, train = str(trained.root / "exp"), trained.root / "dump/train"
    results = []
    for vowel in "A", "A1":
        data = tmp_path / vowel
        shutil.copytree(trained.root / "dump/valid", data)
        rows = dict(line.split(" ", 1) for line in (data / "text.surface").read_text().splitlines())
        ids = sorted(rows)
        rows = {i: rows[i].replace("AE", f"AE{vowel[1:]}") for i in ids} | {ids[-1]: ""}
        changed = sum("AE1" in row for row in rows.values())
        (data / "text.surface").write_text("".join(f"{i} {rows[i]}".rstrip() + "\n" for i in ids))
        results.append(swap({"a": folder, "b": folder}, data, train, OPTIONS))
    plain, stressed = results
    assert changed and plain["normalised"] == {}
    assert stressed["normalised"] == {str(data / "text.surface"): changed}
    assert stressed["rows"] == plain["rows"]
    assert f"{changed} of" in capsys.readouterr().err


def test_inline_tags_are_removed_as_in_scoring():
    """The rate of a system on its own encoder is that of score.json, with inline tags too."""
    references = {"a": "in gold <l1:Hindi>", "b": "no"}
    hypotheses = {"a": "in god <l1:Thai>", "b": "no <l1:Hindi>"}
    sums = speaker_errors(references, hypotheses, {"a": "s", "b": "s"}, "char")
    plain = [
        {utt_id: split_tags(text)[0] for utt_id, text in side.items()}
        for side in (references, hypotheses)
    ]
    errors = 100 * jiwer.cer(list(plain[0].values()), list(plain[1].values()))
    assert sums == {"s": (1, 9)} and errors == pytest.approx(100 / 9)


def test_non_linguistic_symbols_are_removed_as_in_scoring(trained, tmp_path):
    references, hypotheses = {"a": "in <noise> gold", "b": "no"}, {"a": "in god", "b": "<noise> no"}
    speakers = {"a": "s", "b": "s"}
    assert speaker_errors(references, hypotheses, speakers, "char", ["<noise>"]) == {"s": (1, 9)}
    assert jiwer.cer(["in gold", "no"], ["in god", "no"]) == pytest.approx(1 / 9)

    noisy, symbols = tmp_path / "noisy", tmp_path / "nlsyms.txt"
    shutil.copytree(trained.root / "dump/valid", noisy)
    for output in "surface", "meaning":
        lines = (noisy / f"text.{output}").read_text().splitlines()
        (noisy / f"text.{output}").write_text("".join(f"{line} <noise>\n" for line in lines))
    symbols.write_text("<noise>\n")
    models = [f"{name}={trained.root / 'exp'}" for name in "ab"]
    rates = []
    for data, extra in ((noisy, []), (noisy, ["--nlsyms_txt", str(symbols)]), (None, [])):
        options = ["--data", str(data or trained.root / "dump/valid")]
        options += ["--train", str(trained.root / "dump/train"), "--max_train", "4", *extra]
        out = str(tmp_path / "swaps.json")
        assert analyze.main(["swaps", "--models", *models, *options, "--output", out]) == 0
        rows = json.loads((tmp_path / "swaps.json").read_text())["rows"]
        rates.append([row["rate"] for row in rows])
    assert rates[0] != rates[1] == rates[2]


def test_command(trained, tmp_path, capsys):
    folder = trained.root / "exp"
    out = tmp_path / "swaps.json"
    dump = trained.root / "dump"
    arguments = [
        "--data",
        str(dump / "valid"),
        "--train",
        str(dump / "train"),
        "--output",
        str(out),
    ]
    assert analyze.main(["swaps", "--models", f"a={folder}", f"b={folder}", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "| surface | a | b | stitched |" in shown
    assert json.loads(out.read_text())["kind"] == "swaps"
    empty = tmp_path / "none"
    empty.mkdir()
    for name in ("wav.scp", "utt2spk"):
        (empty / name).write_text("")
    with pytest.raises(UserError):
        swap({"a": str(folder), "b": str(folder)}, empty, empty, OPTIONS)
