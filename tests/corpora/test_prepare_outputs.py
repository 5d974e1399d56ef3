"""`prepare` does not replace data directories and reports that it did not write."""

import json

import pytest
from published import write_sound
from published_korean import encoded, label505, write_aihub

from espnet_ext.bin import cli, prepare
from espnet_ext.data.directory import read_directory
from espnet_ext.overwriting import MARK


def run(*argv):
    return cli.run(prepare.main, [str(word) for word in argv])


def write_table(root):
    write_sound(root / "a.wav")
    rows = [f"u{i}\ts{i}\ta.wav\twe see\t{name}" for i, name in enumerate(("train", "test"))]
    rows.append("u2\ts2\ta.wav\twe see\tvalid")
    (root / "corpus.tsv").write_text("utt_id\tspeaker\taudio\tmeaning\tset\n" + "\n".join(rows))
    return ["plain", "--manifest", root / "corpus.tsv", "--lang", "ko"]


def write_aihub505(root):
    parts = {"train": {}, "valid": {}}
    for i in range(6):
        speaker = f"EN000{i}"
        stem = f"EN10QC226_{speaker}_20210801"
        label = label505(stem, speaker, "저는 학교에 가요.", "저는 학꾜에 가요")
        parts["valid" if i > 3 else "train"][stem] = encoded(label)
    write_aihub(root / "aihub", parts)
    return ["aihub505", "--corpus_dir", root / "aihub"]


def hand_made(folder):
    """Write a data directory by hand; return its files."""
    folder.mkdir(parents=True)
    tables = {"wav.scp": "u1 /a.wav\n", "utt2spk": "u1 me\n", "text.meaning": "u1 by hand\n"}
    for name, content in {**tables, "text.gloss": "u1 gloss\n"}.items():
        (folder / name).write_text(content)
    return contents(folder)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("corpus", [write_table, write_aihub505])
@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_hand_made_directory_is_not_replaced(tmp_path, capsys, corpus, name):
    command = [*corpus(tmp_path), "--data_dir", tmp_path / "data"]
    before = hand_made(tmp_path / f"data/ko/{name}")
    assert run(*command) == 1
    error = capsys.readouterr().err
    assert f"data/ko/{name}: text.gloss, text.meaning, utt2spk and 1 more would be" in error
    assert "--overwrite true" in error
    assert contents(tmp_path / f"data/ko/{name}") == before
    others = {"train", "valid", "test"} - {name}
    assert not any((tmp_path / f"data/ko/{other}").exists() for other in others)

    assert run(*command, "--overwrite", "true") == 0
    assert not (tmp_path / f"data/ko/{name}/text.gloss").exists()
    assert "u1" not in [one.utt_id for one in read_directory(tmp_path / f"data/ko/{name}")]


@pytest.mark.parametrize("corpus", [write_table, write_aihub505])
def test_second_preparation_replaces_the_first(tmp_path, capsys, corpus):
    command = [*corpus(tmp_path), "--data_dir", tmp_path / "data"]
    for quick in ("true", "true", "false", "false"):
        assert run(*command, "--quick", quick) == 0


def test_small_sets_do_not_replace_whole_ones(tmp_path, capsys):
    command = [*write_table(tmp_path), "--data_dir", tmp_path / "data"]
    with open(tmp_path / "corpus.tsv", "a") as table:
        table.writelines(f"\nv{i}\ts0\ta.wav\twe see\ttrain" for i in range(60))
    for quick in ("true", "false"):
        assert run(*command, "--quick", quick) == 0
    before = contents(tmp_path / "data/ko/train")
    assert before["wav.scp"].count(b"\n") == 61
    assert run(*command, "--quick", "true") == 1
    assert "`prepare plain --quick true` did not write them" in capsys.readouterr().err
    assert contents(tmp_path / "data/ko/train") == before
    assert run(*command, "--quick", "true", "--overwrite", "true") == 0


@pytest.mark.parametrize("corpus", [write_table, write_aihub505])
def test_edited_transcripts_are_not_replaced(tmp_path, capsys, corpus):
    command = [*corpus(tmp_path), "--data_dir", tmp_path / "data"]
    assert run(*command) == 0
    with open(tmp_path / "data/ko/test/text.meaning", "a") as handle:
        handle.write("\n")
    assert run(*command) == 1
    error = capsys.readouterr().err
    assert "text.meaning would be overwritten, but it has changed since `prepare" in error


def test_data_of_another_corpus_is_not_replaced(tmp_path, capsys):
    assert run(*write_table(tmp_path), "--data_dir", tmp_path / "data") == 0
    before = contents(tmp_path / "data/ko/test")
    assert run(*write_aihub505(tmp_path), "--data_dir", tmp_path / "data") == 1
    assert "`prepare aihub505` did not write them" in capsys.readouterr().err
    assert contents(tmp_path / "data/ko/test") == before


def test_file_named_as_the_report_is_not_replaced(tmp_path, capsys):
    (tmp_path / "data/ko").mkdir(parents=True)
    (tmp_path / "data/ko/prepare.json").write_text('{"mine": 1}')
    assert run(*write_table(tmp_path), "--data_dir", tmp_path / "data") == 1
    assert "data/ko: prepare.json would be overwritten" in capsys.readouterr().err
    assert json.loads((tmp_path / "data/ko/prepare.json").read_text()) == {"mine": 1}


def test_corpus_folder_is_not_an_output(tmp_path, capsys):
    command = write_aihub505(tmp_path)
    (tmp_path / "aihub").rename(tmp_path / "ko")
    assert run(*command[:1], "--corpus_dir", tmp_path / "ko", "--data_dir", tmp_path) == 1
    assert "ko: is both input and output" in capsys.readouterr().err
    assert not (tmp_path / "ko" / MARK).exists()
