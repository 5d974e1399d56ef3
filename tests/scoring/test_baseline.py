"""Hypotheses of other recognisers: what is compared, what is left out, and the messages."""

import json
import re
from pathlib import Path

import pytest
from make_set import data_directory, hypothesis_folder, table

from espnet_ext.bin import baseline as command
from espnet_ext.errors import UserError
from espnet_ext.scoring.baseline import Source, import_hypotheses
from espnet_ext.scoring.cross import cross_task
from espnet_ext.scoring.score import score_directory

TYPES = {"surface": "phone", "meaning": "char"}
SPEAKERS = {"a-1": "a", "a-2": "a", "b-1": "b", "b-2": "b"}
TEXTS = {
    "surface": {"a-1": "K AE T", "a-2": "D AO G", "b-1": "K AO", "b-2": "D AE D"},
    "meaning": {"a-1": "a cat", "a-2": "dog's", "b-1": "caw", "b-2": "dad"},
    "canonical": {"a-1": "K AE T", "a-2": "D AO G Z", "b-1": "K AO", "b-2": "D AE D"},
}
RIGHT = TEXTS["meaning"]


@pytest.fixture
def data(tmp_path):
    return data_directory(tmp_path / "data/test", SPEAKERS, TEXTS)


def imported(data, rows, name="text", output="meaning", types=TYPES, **options):
    root = data.parents[1]
    table(root / "hyp/test" / name, rows)
    source = Source(root / "hyp/test", output)
    return import_hypotheses([source], data, root / "exp/baseline_w/d/test", types, **options)


def written(data, output="meaning"):
    path = data.parents[1] / f"exp/baseline_w/d/test/text.{output}"
    return dict(line.split(" ", 1) for line in path.read_text().splitlines())


@pytest.mark.parametrize("name", ["text", "text.meaning", "text.text", "1best_recog/text"])
def test_files_of_kaldi_of_stock_models_and_of_asr_inference(data, name):
    result = imported(data, RIGHT, name)
    assert written(data) == RIGHT
    assert result["outputs"]["meaning"]["hypotheses"] == 4 and result["left_out"] == {}


def test_plain_text_is_the_meaning_if_no_output_is_named(data):
    assert list(imported(data, RIGHT, output="")["outputs"]) == ["meaning"]
    with pytest.raises(UserError, match="which output these hypotheses are of is not clear"):
        imported(data, RIGHT, output="", types={"surface": "phone"}, overwrite=True)


def test_missing_and_extra_utterances_are_named_and_the_others_compared(data, capsys):
    result = imported(data, {"a-1": "a cat", "b-2": "dat", "x-1": "no", "x-2": "no"})
    message = capsys.readouterr().err
    assert "2 of 4 utterances" in message and "the first is a-2" in message
    assert "2 hypotheses are of no utterance" in message and "the first is x-1" in message
    assert written(data) == {"a-1": "a cat", "b-2": "dat"}
    fact = result["outputs"]["meaning"]
    assert (fact["hypotheses"], fact["missing"], fact["extra"]) == (2, 2, 2)


@pytest.mark.parametrize("clean", [False, True])
def test_na_is_no_hypothesis(data, capsys, clean):
    """Neither does it count as one, nor does cleaning turn it into an ordinary text."""
    path = data / "text.meaning"
    path.write_text("".join(f"{i} {t.upper()}\n" for i, t in sorted(RIGHT.items())))
    result = imported(data, {**RIGHT, "a-2": "<na>"}, clean=clean)
    assert set(written(data)) == {"a-1", "b-1", "b-2"}
    fact = result["outputs"]["meaning"]
    assert (fact["hypotheses"], fact["missing"], fact["unread"]) == (3, 1, 0)
    assert "the first is a-2" in capsys.readouterr().err


def test_missing_hypotheses_are_left_out_of_rates_and_differences(data):
    imported(data, {"a-1": "a cat", "b-2": "dat"})
    folder = data.parents[1] / "exp/baseline_w/d/test"
    score = score_directory(data, folder, TYPES, leave_out_missing=True)
    cell = next(cell for cell in score["cells"] if cell["own"])
    assert (cell["utterances"], cell["no_hypothesis"], cell["missing_hypotheses"]) == (2, 2, 0)
    assert cell["metrics"]["cer"]["errors"] == 1 and cell["metrics"]["cer"]["tokens"] == 8
    ours = hypothesis_folder(
        data.parents[1] / "exp/do_small/d/test",
        {"surface": TEXTS["surface"], "meaning": {**RIGHT, "a-1": "a mat", "b-1": "cow"}},
    )
    score_directory(data, ours, TYPES)
    result = cross_task({"do": ours}, baselines={"w": folder})
    (difference,) = result["differences"]
    row = next(r for r in difference["cells"] if r["name"] == "meaning-meaning" and not r["by"])
    assert (difference["a"], difference["b"], difference["joint"]) == ("w", "do", False)
    assert row["utterances"] == 2 and row["rate_a"] == row["rate_b"] == pytest.approx(100 / 8)
    assert difference["no_hypothesis"]["meaning-meaning"] == 2
    assert difference["not_comparable"]["meaning-meaning"] == 0
    assert [one["name"] for one in result["consistency"]["outputs"]] == ["do"]


def test_hypotheses_of_another_set_raise_user_error(data):
    with pytest.raises(UserError, match=r"none of its 1 hypotheses is of an utterance of .*test"):
        imported(data, {"x-1": "a cat"})


def test_baseline_of_another_set_is_named_and_the_systems_are_compared(data, capsys):
    root = data.parents[1]
    target = root / "exp/baseline_w/d/test"
    table(root / "hyp/test/text", {"x-1": "a cat"})
    words = ["--hypotheses", f"meaning={root}/hyp/test", "--data", str(data)]
    words += ["--output_dir", str(target), "--token_types", "surface=phone meaning=char"]
    assert command.main([*words, "--nothing_comparable", "warning"]) == 0
    assert "none of its 1 hypotheses is of an utterance of" in capsys.readouterr().err
    result = json.loads((target / "baseline.json").read_text())
    assert result["outputs"] == {} and list(result["left_out"]) == ["meaning"]
    (finding,) = result["section"]["findings"]
    assert finding.startswith("meaning is not compared: ")
    score = score_directory(data, target, TYPES, leave_out_missing=True)
    assert score["cells"] == []
    systems = {}
    for name in ("so_meaning", "do"):
        texts = {"surface": TEXTS["surface"], "meaning": RIGHT}
        texts = texts if name == "do" else {"meaning": RIGHT}
        systems[name] = hypothesis_folder(root / f"exp/{name}_small/d/test", texts)
        score_directory(data, systems[name], TYPES)
    compared = cross_task(systems, baselines={"w": target})["differences"]
    assert [(one["a"], one["b"]) for one in compared] == [("so_meaning", "do")]


@pytest.mark.parametrize(
    ("rows", "output", "message"),
    [
        ({"a-1": "K AE T"}, "meaning", "these are phones (a-1: K AE T)"),
        ({"a-1": "a cat", "a-2": "dog"}, "surface", "0 % of the symbols are phones"),
        ({"a-1": "▁a ▁cat"}, "meaning", "SentencePiece tokens"),
        ({"a-1": "a <space> c a t"}, "meaning", "tokens of characters"),
        (RIGHT, "gloss", "the outputs here are surface, meaning, not gloss"),
    ],
)
def test_other_token_kinds_and_outputs_are_not_compared(data, rows, output, message):
    with pytest.raises(UserError, match=re.escape(message)):
        imported(data, rows, output=output)


def test_comparable_outputs_stay_if_another_one_is_not(data, capsys):
    root = data.parents[1]
    hypothesis_folder(root / "hyp/test", {"meaning": RIGHT, "surface": RIGHT, "gloss": RIGHT})
    target = root / "exp/baseline_w/d/test"
    assert (
        command.main(
            [
                "--hypotheses",
                str(root / "hyp/test"),
                "--data",
                str(data),
                "--output_dir",
                str(target),
            ]
            + ["--token_types", "surface=phone meaning=char"]
        )
        == 0
    )
    captured = capsys.readouterr()
    assert "surface is not compared" in captured.err and "gloss is not compared" in captured.err
    assert "meaning: 4 of 4 utterances" in captured.out
    result = json.loads((target / "baseline.json").read_text())
    assert list(result["outputs"]) == ["meaning"] and set(result["left_out"]) == {
        "surface",
        "gloss",
    }
    assert [path.name for path in target.glob("text.*")] == ["text.meaning"]


def test_case_and_punctuation_are_warned_of_or_adapted(data, capsys):
    rows = {"a-1": "A cat.", "a-2": "Dog’s!", "b-1": "caw", "b-2": "Dad"}
    result = imported(data, rows)
    assert "3 of 4 hypotheses have capital letters or punctuation" in capsys.readouterr().err
    assert written(data) == rows and result["outputs"]["meaning"]["cleaned"] == 0
    result = imported(data, rows, clean=True)
    assert written(data) == RIGHT and result["outputs"]["meaning"]["cleaned"] == 3


WRITTEN = {
    "a-1": "For the 23rd time, Dr. Lee paid $5.",
    "a-2": "10% of R&D",
    "b-1": "no number",
    "b-2": "May 5",
}
SPOKEN = {
    "a-1": "for the twenty third time dr lee paid five dollars",
    "a-2": "ten percent of r and d",
    "b-1": "no number",
    "b-2": "may fifth",
}


@pytest.fixture
def spoken(tmp_path):
    return data_directory(tmp_path / "data/test", SPEAKERS, {"meaning": SPOKEN})


def test_numbers_and_symbols_are_warned_of(spoken, capsys):
    result = imported(spoken, WRITTEN, lang="en")
    message = capsys.readouterr().err
    assert "3 of 4 hypotheses have digits or symbols that no reference has" in message
    assert "(the first is a-1: For the 23rd" in message
    assert "as English words, give --baseline_clean true" in message
    assert result["outputs"]["meaning"]["unread"] == 3 and written(spoken) == WRITTEN
    assert any("3 of 4 meaning hyp" in text for text in result["section"]["findings"])


@pytest.mark.parametrize("source", ["option", "utt2lang"])
def test_english_numbers_are_written_as_words(spoken, capsys, source):
    if source == "utt2lang":
        (spoken / "utt2lang").write_text("".join(f"{utt_id} en\n" for utt_id in SPOKEN))
    result = imported(spoken, WRITTEN, clean=True, lang="en" if source == "option" else "")
    assert written(spoken) == SPOKEN and "warning" not in capsys.readouterr().err
    assert result["outputs"]["meaning"]["cleaned"] == 3
    assert result["outputs"]["meaning"]["unread"] == 0


def test_symbols_of_other_languages_are_kept_and_named(spoken, capsys):
    result = imported(spoken, WRITTEN, clean=True, lang="de")
    assert written(spoken)["a-2"] == "10% of r&d"
    assert "write them as words in the hypotheses" in capsys.readouterr().err
    assert result["outputs"]["meaning"]["unread"] == 3


def test_digits_stay_if_references_have_digits(tmp_path, capsys):
    texts = {"meaning": {**SPOKEN, "a-1": "for the 23rd time"}}
    data = data_directory(tmp_path / "data/test", SPEAKERS, texts)
    imported(data, {"a-1": "the 24th time", "b-2": "may 5"}, clean=True, lang="en")
    assert written(data) == {"a-1": "the 24th time", "b-2": "may 5"}
    assert "digits or symbols" not in capsys.readouterr().err


def test_earlier_outputs_are_removed_and_facts_of_a_decoding_copied(data):
    imported(data, TEXTS["surface"], output="surface")
    folder = data.parents[1] / "hyp/test"
    (folder / "decode.json").write_text('{"rtf": 0.5}')
    imported(data, RIGHT)
    target = data.parents[1] / "exp/baseline_w/d/test"
    assert [path.name for path in target.glob("text.*")] == ["text.meaning"]
    assert json.loads((target / "decode.json").read_text()) == {"rtf": 0.5}


def test_two_decodings_name_their_searches_and_share_no_times(data):
    root = data.parents[1]
    for output, decoding in (("surface", {"search": "asr_inference", "rtf": 1}), ("meaning", {})):
        table(root / f"{output}/test/text", TEXTS[output])
        (root / f"{output}/test/decode.json").write_text(json.dumps(decoding))
    sources = [Source(root / f"{output}/test", output) for output in ("surface", "meaning")]
    target = root / "exp/baseline_w/d/test"
    result = import_hypotheses(sources, data, target, TYPES)
    searches = {output: fact["search"] for output, fact in result["outputs"].items()}
    assert searches == {"surface": "asr_inference", "meaning": "search of this project"}
    assert not (target / "decode.json").exists()  # its times would be those of one output
    import_hypotheses(sources[:1], data, target, TYPES)
    assert json.loads((target / "decode.json").read_text())["rtf"] == 1
    assert imported(data, RIGHT)["outputs"]["meaning"]["search"] == ""


def test_missing_folder_and_file_raise_user_error(data):
    with pytest.raises(UserError, match="no such folder"):
        import_hypotheses([Source(Path("/none"))], data, data.parents[1] / "x", TYPES)
    with pytest.raises(UserError, match="its transcripts are references, not hypotheses"):
        import_hypotheses([Source(data)], data, data.parents[1] / "x", TYPES)
    (data.parents[1] / "empty").mkdir()
    with pytest.raises(UserError, match="neither text nor"):
        import_hypotheses([Source(data.parents[1] / "empty")], data, data.parents[1] / "x", TYPES)
