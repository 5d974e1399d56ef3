"""Tables of utterances and speakers that no stage reads are carried over by every stage."""

import numpy as np
import pytest
import soundfile
from directories import make_directory, write_table

from espnet_ext.bin import cli, combine, drop_labels, filter, format_audio, perturb, split
from espnet_ext.data.table import read_table
from espnet_ext.data.validate import validate_directory

IDS = ("s1-u1", "s1-u2", "s2-u1", "s3-u1")


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make_directory(tmp_path / "train", IDS, meaning=["가", "나", "다", "라"])
    write_table(folder, "utt2device", *(f"{key} phone {key[-1]}" for key in IDS[:3]))
    write_table(folder, "spk2age", "s1 30", "s2 41", "s3 9", "s9 50")
    write_table(folder, "feats.scp", *(f"{key} feats.ark:{i}" for i, key in enumerate(IDS)))
    write_table(folder, "notes.txt", "read by hand")
    return folder


def run(command, source, target, *options):
    assert cli.run(command.main, ["--input", str(source), "--output", str(target), *options]) == 0


def test_perturbed_copies_get_the_values_of_their_originals(source, tmp_path, capsys):
    run(perturb, source, tmp_path / "sp", "--speeds", "0.9 1.0")
    device = read_table(tmp_path / "sp/utt2device")
    assert device == {
        **{key: f"phone {key[-1]}" for key in IDS[:3]},
        **{f"sp0.9-{key}": f"phone {key[-1]}" for key in IDS[:3]},
    }
    ages = {"s1": "30", "s2": "41", "s3": "9"}
    copies = {f"sp0.9-{speaker}": age for speaker, age in ages.items()}
    assert read_table(tmp_path / "sp/spk2age") == {**ages, **copies}
    note = f"note: {source}: not carried over to {tmp_path}/sp: "
    names = "feats.scp (made from the former audio), notes.txt"
    assert f"{note}{names}\n" in capsys.readouterr().err
    assert not (tmp_path / "sp/feats.scp").exists()


def test_stages_3_and_4_keep_the_rows_of_kept_utterances(source, tmp_path, capsys):
    soundfile.write(source / "s3-u1.wav", np.zeros(800) + 0.01, 16000)  # shorter than 0.1 s
    run(format_audio, source, tmp_path / "org")
    assert "feats.scp (made from the former audio)" in capsys.readouterr().err
    write_table(tmp_path / "org", "vad.scp", *(f"{key} vad.ark:{key[-1]}" for key in IDS))
    run(filter, tmp_path / "org", tmp_path / "dump", "--outputs", "meaning")
    assert "not carried" not in capsys.readouterr().err
    assert read_table(tmp_path / "dump/spk2age") == {"s1": "30", "s2": "41"}
    assert read_table(tmp_path / "dump/utt2device").keys() == set(IDS[:3])
    for name in ("vad.scp", "utt2dur", "utt2num_samples"):
        assert read_table(tmp_path / "dump" / name).keys() == set(IDS[:3])
    assert not [f for f in validate_directory(tmp_path / "dump") if f.severity == "error"]


def test_table_that_the_source_lost_is_removed_and_others_are_protected(source, tmp_path, capsys):
    run(format_audio, source, tmp_path / "org")
    (source / "utt2device").unlink()
    write_table(tmp_path / "org", "utt2mood", "s1-u1 good")  # by hand: stays
    run(format_audio, source, tmp_path / "org")
    assert not (tmp_path / "org/utt2device").exists()
    assert (tmp_path / "org/utt2mood").exists() and (tmp_path / "org/spk2age").exists()
    write_table(tmp_path / "org", "spk2age", "s1 31")
    options = ["--input", str(source), "--output", str(tmp_path / "org")]
    assert cli.run(format_audio.main, options) == 1
    assert "spk2age would be overwritten" in capsys.readouterr().err


def test_combined_sets_have_the_rows_of_all_sources(source, tmp_path, capsys):
    other = make_directory(tmp_path / "other", ("t1-u1", "t1-u2"))
    write_table(other, "spk2age", "t1 22")
    arguments = ["--inputs", str(source), str(other), "--output", str(tmp_path / "both")]
    assert cli.run(combine.main, [*arguments, "--outputs", "meaning"]) == 0
    ages = {"s1": "30", "s2": "41", "s3": "9", "t1": "22"}
    assert read_table(tmp_path / "both/spk2age") == ages
    assert read_table(tmp_path / "both/utt2device").keys() == set(IDS[:3])
    assert read_table(tmp_path / "both/feats.scp").keys() == set(IDS)
    assert capsys.readouterr().err.count("notes.txt") == 1


def test_combined_sets_name_the_corpus_of_each_utterance(source, tmp_path):
    """A corpus that a source names itself, as one that was combined does, is kept."""
    other = make_directory(tmp_path / "second/train", ("t1-u1", "t1-u2"))
    write_table(other, "utt2corpus", "t1-u1 read")
    target = tmp_path / "both"
    arguments = ["--inputs", str(source), str(other), "--output", str(target)]
    for _ in range(2):  # the second run replaces what the first has written
        assert cli.run(combine.main, [*arguments, "--outputs", "meaning"]) == 0
        corpora = {**dict.fromkeys(IDS, "train"), "t1-u1": "read", "t1-u2": "second/train"}
        assert read_table(target / "utt2corpus") == corpora
    (other / "utt2corpus").unlink()
    assert cli.run(combine.main, [*arguments, "--outputs", "meaning"]) == 0
    assert read_table(target / "utt2corpus")["t1-u1"] == "second/train"
    arguments = ["--inputs", str(target), "--output", str(tmp_path / "again")]
    assert cli.run(combine.main, [*arguments, "--outputs", "meaning"]) == 0
    assert read_table(tmp_path / "again/utt2corpus") == {**corpora, "t1-u1": "second/train"}


def test_directory_that_is_combined_twice_is_named(source, tmp_path, capsys):
    link = tmp_path / "link"
    link.symlink_to(source)
    arguments = ["--inputs", str(source), str(link), "--output", str(tmp_path / "both")]
    assert cli.run(combine.main, arguments) == 1
    assert f"{source}: named twice" in capsys.readouterr().err


def test_sets_of_a_split_and_partly_labelled_copies_have_the_rows(source, tmp_path, capsys):
    run(split, source, tmp_path / "sets", "--disjoint_sentences", "false")
    ages = [read_table(tmp_path / "sets" / name / "spk2age") for name in ("train", "valid", "test")]
    assert [len(rows) for rows in ages] == [1, 1, 1]
    assert capsys.readouterr().err.count("notes.txt") == 1
    options = ("--output_name", "meaning", "--share", "0.5")
    run(drop_labels, source, tmp_path / "half", *options)
    assert read_table(tmp_path / "half/spk2age") == {"s1": "30", "s2": "41", "s3": "9"}


def test_row_that_cannot_be_read_is_left_out_with_a_warning(source, tmp_path, capsys):
    (source / "utt2device").write_bytes(b"s1-u1 phone\ns1-u2 \xff\n")
    run(format_audio, source, tmp_path / "org")
    assert read_table(tmp_path / "org/utt2device") == {"s1-u1": "phone"}
    assert "utt2device: 1 rows are not carried over: line 2" in capsys.readouterr().err


def test_combined_corpora_with_equal_names_get_prefixes(source, tmp_path, capsys):
    other = make_directory(tmp_path / "b c", IDS[:2], meaning=["마", "바"])
    write_table(other, "spk2age", "s1 77")
    write_table(other, "utt2device", "s1-u1 tablet")
    words = ["--inputs", str(source), str(other), "--output", str(tmp_path / "both")]
    assert cli.run(combine.main, words) == 1
    assert "espnet-ext combine --prefix true puts the corpus before both" in capsys.readouterr().err
    assert cli.run(combine.main, [*words, "--prefix", "true"]) == 0
    ids = [f"train_{key}" for key in IDS]
    texts = dict(zip(ids, ["가", "나", "다", "라"], strict=True))
    assert read_table(tmp_path / "both/text.meaning") == {
        **{"b_c_s1-u1": "마", "b_c_s1-u2": "바"},
        **texts,
    }
    ages = {"train_s1": "30", "train_s2": "41", "train_s3": "9", "b_c_s1": "77"}
    assert read_table(tmp_path / "both/spk2age") == ages
    devices = {"b_c_s1-u1": "tablet"} | {f"train_{key}": f"phone {key[-1]}" for key in IDS[:3]}
    assert read_table(tmp_path / "both/utt2device") == devices
    assert read_table(tmp_path / "both/utt2corpus")["b_c_s1-u1"] == "b_c"
    assert not [f for f in validate_directory(tmp_path / "both") if f.severity == "error"]
