"""Two systems with several seeds each: intervals against resampling, and what is refused."""

import json

import numpy as np
import pytest
from grids import write_json

from espnet_ext.bin import compare_seeds as command
from espnet_ext.errors import UserError
from espnet_ext.study.effects import compare
from espnet_ext.study.seed_comparison import read_scores, relative_change

SPEAKERS = 6


def write_model(folder, seed, rate, output="surface", **changes):
    """Write the scores of a model: per speaker, 50 tokens of narrow- and of wideband speech."""
    rng = np.random.default_rng([seed, int(1000 * rate)])
    rows = [
        {
            "id": f"s{speaker}-{band}",
            "speaker": f"s{speaker}",
            "band": band,
            "cells": {
                f"{output}-{output}": {
                    "errors": int(rng.poisson(50 * rate * (1.5 if band == "narrow" else 1))),
                    "tokens": 50,
                },
                f"{output}-meaning": {"errors": 50, "tokens": 50},
            },
        }
        for speaker in range(SPEAKERS)
        for band in ("narrow", "wide")
    ]
    content = {"token_types": {output: "phone"}, "data_sha256": "x", "utterances": rows}
    write_json(folder / "decode/test/utterances.json", content)
    configuration = {"seed": seed, "optim": "adam", "outputs": {output: {"weight": rate}}}
    data = {"train text.surface": "a"}
    trained = {"configuration": {**configuration, **changes}, "data": data, "initial weights": {}}
    write_json(folder / "trained_with.json", trained)
    write_json(folder / "train.json", {"max_epoch": 5, "patience": None, "epochs": 5})
    decoded = {"failed": 0, "weights": "w", "options": {}, "coupling": None, "canonical": None}
    write_json(folder / "decode/test/decode.json", decoded)
    return folder


@pytest.fixture
def models(tmp_path):
    return {
        name: [write_model(tmp_path / f"{name}_seed{s}", s, rate) for s in range(3)]
        for name, rate in {"do": 0.2, "do_tops": 0.15}.items()
    }


def run(models, *more):
    a, b = models.values()
    return command.main(["--a", *map(str, a), "--b", *map(str, b), "--set", "test", *more])


def test_table_has_all_utterances_and_each_band(models, capsys):
    assert run(models) == 0
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if line.startswith("| surface")]
    assert [line.split("|")[2].strip() for line in lines] == ["all", "narrow", "wide"]
    assert "means of 3 and 3 trainings" in text and "difference: do_tops − do," in text
    scores = {name: read_scores(folders, "test") for name, folders in models.items()}
    for line, group in zip(lines, ("all", "narrow", "wide"), strict=True):
        key = ("surface", group)
        errors = [scores[name].errors[key] for name in models]
        tokens = scores["do"].tokens[key]
        assert tokens.tolist() == [100 if group == "all" else 50] * SPEAKERS
        effect = compare(*errors, tokens)
        assert f"| {effect.rate_a:.2f} | {effect.rate_b:.2f} |" in line


def test_relative_interval_is_that_of_resampled_speakers_and_seeds():
    rng = np.random.default_rng(0)
    skill = rng.gamma(8, 1 / 8, 400)
    tokens = rng.integers(80, 120, 400)
    a, b = (rng.poisson(tokens * 0.2 * skill * level, (40, 400)) for level in (1.0, 0.9))
    a = rng.poisson(a * rng.normal(1, 0.05, (40, 1)).clip(0))  # seeds differ
    change, interval = relative_change(a, b, tokens)
    ratios = []
    for _ in range(4000):
        speakers = rng.integers(0, 400, 400)
        means = [x[rng.integers(0, 40, 40)][:, speakers].sum() for x in (a, b)]
        ratios.append(100 * (means[1] / means[0] - 1))
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert change == pytest.approx(100 * (b.sum() / a.sum() - 1))
    assert interval == pytest.approx((low, high), abs=0.2 * (high - low) / 2)


def test_equal_change_of_all_has_no_uncertainty_and_zero_errors_have_no_change():
    a, tokens = np.array([[10, 20, 40]] * 2), np.array([100, 100, 100])
    assert relative_change(a, a // 2, tokens) == (-50.0, pytest.approx((-50.0, -50.0)))
    assert relative_change(0 * a, a, tokens) is None
    assert relative_change(a[:, :1], a[:, :1], tokens[:1]) == (0.0, None)


def test_one_seed_and_other_options_have_a_note(models, tmp_path, capsys):
    other = write_model(tmp_path / "other_seed0", 0, 0.1, optim="sgd")
    run({"do": models["do"], "other": [other]}, "--names", "joint mine")
    text = capsys.readouterr().out
    assert "means of 3 and 1 trainings" in text and "mine − joint" in text
    assert "nothing about other seeds" in text and "more options: optim" in text


def test_model_compared_with_itself_raises_user_error(models):
    first, second, _ = models["do"]
    with pytest.raises(UserError, match=f"{first}/.: is in --a and in --b"):
        run({"do": [first, second], "again": [f"{first}/."]})
    with pytest.raises(SystemExit):
        run(models, "--names", "do do")


def test_systems_with_equal_folder_names_have_different_labels(models, tmp_path, capsys):
    other = write_model(tmp_path / "other/do_seed0", 0, 0.1)
    run({"do": models["do"], "other": [other]})
    assert f"{tmp_path.name}/do_seed0 and other/do_seed0" in capsys.readouterr().out


def change_file(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_trainings_that_do_not_belong_together_are_refused(models, tmp_path):
    first, second, _ = models["do"]

    def message(folders):
        with pytest.raises(UserError) as caught:
            run({"do": folders, "do_tops": models["do_tops"]})
        assert caught.value.remedy
        return caught.value.message

    again = write_model(tmp_path / "do_again", 0, 0.2)
    assert f"{again} and {first} have the same seed 0" in message([first, again])
    assert "is not scored on 'test'" in message([tmp_path / "none"])
    other = write_model(tmp_path / "do_seed9", 9, 0.2, optim="sgd")
    assert f"optim differ from those of {first}" in message([first, other])
    change_file(second / "decode/test/decode.json", options={"beam_size": 1})
    assert f"{second}: was decoded with other options than {first}" in message([first, second])
    change_file(second / "decode/test/decode.json", options={}, failed=2)
    assert "2 utterances could not be decoded" in message([first, second])
    change_file(second / "decode/test/decode.json", failed=0)
    change_file(second / "trained_with.json", data={"train text.surface": "b"})
    assert "the training data (train text.surface) differ" in message([first, second])
    change_file(second / "trained_with.json", data={"train text.surface": "a"})
    change_file(second / "train.json", max_epoch=9, epochs=9)
    assert f"{second}: max_epoch differ from those of {first}" in message([first, second])
    change_file(second / "train.json", max_epoch=5, epochs=5)
    change_file(second / "decode/test/utterances.json", data_sha256="y")
    assert f"{second}: other references than {first}" in message([first, second])
    assert "do and do_tops have other references" in message([second])
    meaning = write_model(tmp_path / "so_meaning_seed0", 0, 0.2, output="meaning")
    assert "no output with the same unit" in message([meaning])


def test_systems_that_were_scored_on_other_utterances_are_refused(models):
    for folder in models["do_tops"]:  # as with --missing leave_out: the digest stays
        path = folder / "decode/test/utterances.json"
        rows = json.loads(path.read_text())["utterances"]
        for row in rows[::2]:
            row["cells"] = {}
        change_file(path, utterances=rows)
    with pytest.raises(UserError, match="do and do_tops: other utterances of surface were scored"):
        run(models)


def test_band_of_some_utterances_has_a_row_of_its_own(models, capsys):
    """With a label for a part of the utterances, the band is not the same as all of them."""
    for folder in [*models["do"], *models["do_tops"]]:
        path = folder / "decode/test/utterances.json"
        rows = json.loads(path.read_text())["utterances"]
        for row in rows:
            row["band"] = "narrow" if row["band"] == "narrow" else None
        change_file(path, utterances=rows)
    run(models)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| surface")]
    assert [line.split("|")[2].strip() for line in lines] == ["all", "narrow"]
    for folder in [*models["do"], *models["do_tops"]]:
        path = folder / "decode/test/utterances.json"
        rows = json.loads(path.read_text())["utterances"]
        change_file(path, utterances=[row for row in rows if row["band"] == "narrow"])
    run(models)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| surface")]
    assert [line.split("|")[2].strip() for line in lines] == ["all"]


def test_few_speakers_have_neither_interval_nor_p(models, capsys):
    for folder in [*models["do"], *models["do_tops"]]:
        path = folder / "decode/test/utterances.json"
        rows = json.loads(path.read_text())["utterances"]
        change_file(path, utterances=[row for row in rows if row["speaker"] in ("s0", "s1")])
    run(models)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| surface")]
    assert all("[" not in line and line.endswith("| – | – |") for line in lines) and lines


def test_outputs_and_options_of_one_system_only_have_a_note(models, capsys):
    for folder in models["do_tops"]:
        path = folder / "decode/test/utterances.json"
        change_file(path, token_types={"surface": "phone", "meaning": "char"})
        change_file(folder / "decode/test/decode.json", options={"beam_size": 1})
        change_file(folder / "trained_with.json", data={"train text.surface": "b"})
        change_file(folder / "train.json", max_epoch=9)
    run(models)
    text = capsys.readouterr().out
    assert "only one system has the output or the units differ: meaning." in text
    assert "decoded with other options" in text and "options: max_epoch, the training data" in text
