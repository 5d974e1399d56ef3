"""Sets of input ids: they belong to their data directory and units, and list what is left out."""

import shutil
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from espnet_ext.bin import cli, unit_inputs
from espnet_ext.data.table import read_table, write_table
from espnet_ext.decoding.text_set import outputs_of_text
from espnet_ext.errors import UserError
from espnet_ext.units.input_set import InputOptions, read_input_manifest, write_input_set

sys.path.insert(0, str(Path(__file__).parent))
import unit_systems  # noqa: E402
from tones import write_corpus  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("input_set")
    corpus = write_corpus(root / "corpus", [0.5, 0.4, 0.6])
    unit_systems.write_texts(corpus)
    units = unit_systems.write_units(corpus, root / "units", clusters=4)
    joint = unit_systems.write_vocabulary(root / "joint", units)
    return Namespace(root=root, corpus=corpus, joint=joint)


@pytest.fixture
def corpus(made, tmp_path):
    return shutil.copytree(made.corpus, tmp_path / "corpus")


def remove_rows(path, count):
    rows = list(read_table(path, empty_ok=True).items())
    write_table(path, dict(rows[count:]))
    return [utt_id for utt_id, _ in rows[:count]]


def write(made, corpus, tmp_path, outputs=unit_systems.OUTPUTS, text_output="surface"):
    (tmp_path / "set").mkdir(exist_ok=True)
    return write_input_set(
        made.joint, corpus, tmp_path / "set", InputOptions(outputs, text_output, upsample=2)
    )


def test_misspelt_output_is_an_error(made, corpus, tmp_path):
    with pytest.raises(UserError, match=r"text\.meanning: no such file") as caught:
        write(made, corpus, tmp_path, ("surface", "meanning"))
    assert "correct --outputs" in caught.value.remedy


def test_utterances_without_units_are_an_error(made, corpus, tmp_path):
    rows = read_table(corpus / "utt2spk")
    write_table(corpus / "utt2spk", {**rows, "s2-new": "s2", "s3-new": "s3"})
    with pytest.raises(UserError, match=r"2 utterances of .* have no units: s2-new, s3-new"):
        write(made, corpus, tmp_path)


def test_units_of_utterances_that_the_directory_lacks_are_listed(made, corpus, tmp_path):
    (removed,) = remove_rows(corpus / "utt2spk", 1)
    for name in ("text.surface", "text.meaning"):
        assert remove_rows(corpus / name, 1) == [removed]
    done = write(made, corpus, tmp_path)
    assert done.speech == done.text == 2
    assert removed not in read_table(tmp_path / "set/input_ids")
    assert f"{removed}\tis not in {corpus}" in (tmp_path / "set/removed.tsv").read_text()


def test_texts_without_a_transcript_to_map_to_are_listed(made, corpus, tmp_path):
    (removed,) = remove_rows(corpus / "text.meaning", 1)
    done = write(made, corpus, tmp_path)
    assert (done.speech, done.text, done.labelled) == (3, 2, {"surface": 3, "meaning": 4})
    listed = (tmp_path / "set/removed.tsv").read_text().splitlines()[1:]
    assert listed == [f"{removed}-text\tno transcript of meaning to map it to"]


def test_unknown_tokens_of_text_are_counted_and_texts_of_nothing_else_are_listed(
    made, corpus, tmp_path, capsys
):
    first, second, third = read_table(corpus / "text.surface")
    write_table(corpus / "text.surface", {first: "zzz", second: "azz", third: "ab"})
    arguments = ["--input", str(corpus), "--joint_token_dir", str(made.root / "joint")]
    arguments += ["--outputs", "surface meaning", "--text_input", "surface"]
    assert cli.run(unit_inputs.main, [*arguments, "--output", str(tmp_path / "set")]) == 0
    printed = capsys.readouterr()
    assert "2 of text (20 ids); 1 removed" in printed.out  # "azz" and "ab", four times
    assert "with a transcript: surface 3, meaning 5" in printed.out
    assert "2 of 5 tokens of the text input are not in the vocabulary" in printed.err
    listed = (tmp_path / "set/removed.tsv").read_text()
    assert f"{first}-text\tno token of the transcript is in the vocabulary" in listed


def test_changed_input_ids_are_an_error(made, corpus, tmp_path):
    write(made, corpus, tmp_path)
    folder = tmp_path / "set"
    assert read_input_manifest(folder)["text_output"] == "surface"
    rows = read_table(folder / "input_ids")
    first, second, *_ = rows
    write_table(folder / "input_ids", {**rows, first: rows[second]})
    with pytest.raises(UserError, match=r"input_ids: is not the file that input_ids\.json was"):
        read_input_manifest(folder)


def test_text_of_another_output_than_in_training_is_an_error():
    layout = {"text_output": "surface", "upsample": 3}
    config = {
        "frontend": "units",
        "frontend_conf": {"layout": layout},
        "outputs": dict.fromkeys(("surface", "meaning")),
    }
    assert outputs_of_text(config, "exp/do", "surface", None) == ["meaning"]
    with pytest.raises(UserError, match="trained on transcripts of surface, not of meaning") as e:
        outputs_of_text(config, "exp/do", "meaning", None)
    assert e.value.remedy == "--text_input surface"
    with pytest.raises(UserError, match="surface is an output to decode, too"):
        outputs_of_text(config, "exp/do", "surface", ["surface", "meaning"])
