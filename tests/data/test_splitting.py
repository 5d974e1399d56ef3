"""`espnet-ext split`: disjoint speakers, shares, seeds, disjoint sentences; nothing is lost."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ext.bin import cli, format_audio, split
from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.data.splitting import SplitOptions, assign, overlapping_sentences


def utterances(sizes, sentence="sentence {}"):
    """Return utterances of speakers s00, s01, … with these numbers of utterances."""
    return [
        Utterance(
            f"s{s:02}-u{u:02}",
            f"s{s:02}",
            f"/audio/s{s:02}-u{u:02}.wav",
            {"meaning": sentence.format(u)} if sentence else {},
            lang="en",
        )
        for s, size in enumerate(sizes)
        for u in range(size)
    ]


def write(folder, items):
    write_directory(folder, items)
    return folder


def run(source, target, *options):
    return cli.run(split.main, ["--input", str(source), "--output", str(target), *options])


def read(folder, names=("train", "valid", "test")):
    return {name: read_directory(Path(folder) / name) for name in names}


def test_sets_share_no_speaker_and_have_all_utterances(tmp_path, capsys):
    items = utterances([10] * 10)
    source = write(tmp_path / "en/all", items)
    assert run(source, tmp_path / "en") == 0
    sets = read(tmp_path / "en")
    assert {name: len(part) for name, part in sets.items()} == {
        "train": 80,
        "valid": 10,
        "test": 10,
    }
    speakers = [{one.speaker for one in part} for part in sets.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 10
    assert sorted((one for part in sets.values() for one in part), key=lambda one: one.utt_id) == (
        items
    )
    out = capsys.readouterr().out
    assert "en/train: 80 utterances, 8 speakers; labelled: meaning 80" in out
    assert "10 of 10 sentences of test are in train too" in out
    report = json.loads((tmp_path / "en/split.json").read_text())
    assert report["seed"] == 0 and report["utterances"]["train"] == 80


def test_seed_decides_and_is_reproducible(tmp_path):
    source = write(tmp_path / "all", utterances([3] * 12))
    ids = {}
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run(source, tmp_path / folder, "--seed", seed) == 0
        ids[folder] = [one.utt_id for one in read(tmp_path / folder)["test"]]
    assert ids["a"] == ids["b"] != ids["c"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 30), min_size=3, max_size=40),
    st.integers(0, 5),
    st.lists(st.sampled_from((1, 2, 5, 8)), min_size=2, max_size=3),
)
def test_every_set_is_within_one_speaker_of_its_share(sizes, seed, shares):
    items = utterances(sizes)
    names = ("train", "valid", "test")[: len(shares)]
    options = SplitOptions(dict(zip(names, shares, strict=True)), seed=seed)
    set_of = assign(items, options)
    by_speaker = {one.speaker: set() for one in items}
    for one in items:
        by_speaker[one.speaker].add(set_of[one.utt_id])
    assert all(len(sets) == 1 for sets in by_speaker.values())
    counts = {name: sum(of == name for of in set_of.values()) for name in names}
    assert min(counts.values()) > 0
    for name, share in zip(names, shares, strict=True):
        expected = share / sum(shares) * len(items)
        assert counts[name] <= expected + max(sizes)


def test_disjoint_sentences_leave_out_what_prevents_them(tmp_path, capsys):
    items = utterances([10] * 10)  # all speakers read the same ten sentences
    source = write(tmp_path / "all", items)
    assert run(source, tmp_path / "out", "--disjoint_sentences", "true") == 0
    sets = read(tmp_path / "out")
    sentences = [{one.texts["meaning"] for one in part} for part in sets.values()]
    assert sum(map(len, sentences)) == len(set.union(*sentences)) == 10
    report = json.loads((tmp_path / "out/split.json").read_text())
    kept = {one.utt_id for part in sets.values() for one in part}
    assert kept.isdisjoint(report["left_out"]) and len(kept) + len(report["left_out"]) == 100
    assert f"left out: {len(report['left_out'])} utterances" in capsys.readouterr().out
    assert len(sets["train"]) > len(sets["test"]) > 0


def test_sentences_of_one_set_are_all_kept():
    items = [
        Utterance(f"s{s}-u{u}", f"s{s}", "/a.wav", {"meaning": f"{s} {u}"})
        for s in range(5)
        for u in range(4)
    ]
    options = SplitOptions(disjoint_sentences=True)
    set_of = assign(items, options)
    assert overlapping_sentences(items, set_of, options, "d") == []


def test_few_speakers_name_the_option(tmp_path, capsys):
    source = write(tmp_path / "all", utterances([10, 10]))
    assert run(source, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "2 speakers are too few for 3 sets" in error and "--by utterance" in error
    assert not (tmp_path / "out").exists()
    assert run(source, tmp_path / "out", "--by", "utterance") == 0
    assert {name: len(part) for name, part in read(tmp_path / "out").items()} == {
        "train": 16,
        "valid": 2,
        "test": 2,
    }
    assert "2 of 2 speakers of valid are in train too" in capsys.readouterr().out
    assert run(source, tmp_path / "two", "--sets", "train=1 test=1") == 0
    assert len(read_directory(tmp_path / "two/test")) == 10


def test_source_and_hand_made_sets_are_not_overwritten(tmp_path, capsys):
    source = write(tmp_path / "en/train", utterances([10] * 4))
    assert run(source, tmp_path / "en") == 1
    error = capsys.readouterr().err
    assert "en/train: is both input and output" in error
    assert f"rename {source} first, for example to {tmp_path}/en/all" in error
    assert len(read_directory(source)) == 40 and not (tmp_path / "en/test").exists()
    source = source.rename(tmp_path / "en/all")
    mine = write(tmp_path / "en/test", utterances([1]))
    assert run(source, tmp_path / "en") == 1
    assert "`split` did not write them" in capsys.readouterr().err
    assert len(read_directory(mine)) == 1
    assert run(source, tmp_path / "en", "--overwrite", "true") == 0
    assert run(source, tmp_path / "en", "--seed", "3") == 0  # its own sets


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("train", "'train': has no share"),
        ("train=8 valid", "'valid': has no share"),
        ("train=8 test=-1", "'test=-1': the share '-1' is not a number above 0"),
        ("train=8 test=nan", "'test=nan': the share 'nan' is not a number above 0"),
        ("train=8 =1", "'=1': has no name of a set"),
        ("a=1 a=2", "'a=2': there are two sets 'a'"),
        ("a/b=1 c=2", "'a/b=1': the name has a \"/\""),
    ],
)
def test_malformed_sets_raise_user_error(tmp_path, capsys, sets, message):
    source = write(tmp_path / "all", utterances([1] * 4))
    assert run(source, tmp_path / "out", "--sets", sets) == 1
    error = capsys.readouterr().err
    assert f"--sets: {message}" in error
    assert "write, for example, --sets 'train=8 valid=1 test=1'" in error


def test_other_tables_are_named(tmp_path, capsys):
    source = write(tmp_path / "all", utterances([1] * 4))
    (source / "gender.txt").write_text("s00-u00 f\n")
    assert run(source, tmp_path / "out") == 0
    assert "not carried over to" in (err := capsys.readouterr().err) and "gender.txt" in err


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("en/valid", "espnet-ext split --input DIR --output {}/en"),
        ("en/train_sp", "run stage 2 (speed perturbation)"),
        ("dump/raw/org/en/test", "run stage 3 (audio format)"),
        ("dump/raw/en/test", "run stage 4 (validate and filter)"),
        ("corpora/raw/en/test", "run.sh stage 1, espnet-ext prepare"),
        ("fr/train", "run.sh stage 1, espnet-ext prepare"),
    ],
)
def test_missing_directory_names_the_stage_that_writes_it(tmp_path, capsys, missing, remedy):
    write(tmp_path / "en/train", utterances([1]))
    (tmp_path / "dump/raw/org").mkdir(parents=True)
    arguments = ["--input", str(tmp_path / missing), "--output", str(tmp_path / "o")]
    assert cli.run(format_audio.main, arguments) == 1
    assert remedy.format(tmp_path) in capsys.readouterr().err
