"""Shards of a data directory: layout, order, formats, and damage."""

import io
import json
import tarfile
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from espnet_ext.bin import filter as filter_command
from espnet_ext.data import shards, table
from espnet_ext.data.audio import write_audio
from espnet_ext.data.directory import write_directory
from espnet_ext.data.formatting import AudioFormat, format_directory
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError

TEXTS = ["a cat", None, "국물", "caw", "dog", "tack", "coat"]


def make(folder, texts=TEXTS, suffix=".wav", samples=800):
    random = np.random.default_rng(0)
    utterances = []
    for i, text in enumerate(texts):
        path = folder / f"wav/{i}{suffix}"
        write_audio(path, 0.1 * random.standard_normal(samples + i), 16000)
        labelled = {"meaning": text} if text else {}
        l1 = "Hindi" if i % 2 else ""
        utterances.append(Utterance(f"s{i:03d}.x-u", f"s{i:03d}.x", str(path), labelled, l1=l1))
    write_directory(folder / "set", utterances, fill_missing=("meaning",))
    return folder / "set"


def read(folder):
    """Return the utterances of all shards, by shard."""
    manifest = shards.read_manifest(folder / "shards")
    return [list(shards.read_shard(shard)) for shard in manifest.shards]


def test_shards_have_the_layout_of_webdataset_and_all_rows(tmp_path):
    folder = make(tmp_path, suffix=".flac")
    line = shards.write_shards(folder, 3)
    assert line.startswith(f"{folder}/shards: 7 utterances in 3 shards of ")
    with tarfile.open(folder / "shards/shard-000001.tar") as archive:
        names = archive.getnames()
        record = json.load(archive.extractfile(names[1]))
        audio = archive.extractfile(names[0]).read()
    # WebDataset groups files by their name up to the first dot
    assert names == [f"s00{i}%2Ex-u.{kind}" for i in (1, 4) for kind in ("flac", "json")]
    assert record.pop("crc32") == shards._checksum(audio, record)
    assert record == {
        "id": "s001.x-u",
        "samples": 801,
        "tables": {"text.meaning": "<na>", "utt2spk": "s001.x", "utt2l1": "Hindi"},
    }
    assert audio == (tmp_path / "wav/1.flac").read_bytes()
    assert [[u.utt_id[:4] for u in shard] for shard in read(folder)] == [
        ["s000", "s003", "s006"],
        ["s001", "s004"],
        ["s002", "s005"],
    ]
    assert read(folder)[2][0].tables["text.meaning"] == "국물"


def test_arks_and_several_passes_give_the_same_shards(tmp_path, monkeypatch):
    folder = make(tmp_path, suffix=".flac")
    shards.write_shards(folder, 5)
    format_directory(folder, tmp_path / "arks", AudioFormat(audio_format="flac.ark"))
    monkeypatch.setattr(shards, "_OPEN_AT_ONCE", 2)
    shards.write_shards(tmp_path / "arks", 5)
    from_arks = [u for shard in read(tmp_path / "arks") for u in shard]
    from_files = [u for shard in read(folder) for u in shard]
    for ark, file in zip(from_arks, from_files, strict=True):
        assert decoded(ark).tolist() == decoded(file).tolist()
        assert replace(ark, content=b"", tables={}) == replace(file, content=b"", tables={})


def decoded(utterance):
    import soundfile

    return soundfile.read(io.BytesIO(utterance.content), dtype="int16")[0]


def test_stage_4_writes_shards_and_removes_those_of_an_earlier_run(tmp_path, capsys):
    folder = make(tmp_path)
    command = ["--input", str(folder), "--output", str(tmp_path / "out"), "--outputs", "meaning"]
    command += ["--min_seconds", "0"]
    assert filter_command.main([*command, "--shards", "4"]) == 0
    assert "6 utterances in 4 shards" in capsys.readouterr().out  # one has no transcript
    assert filter_command.main([*command, "--shards", "2"]) == 0
    assert len(list((tmp_path / "out/shards").glob("*.tar"))) == 2
    assert filter_command.main(command) == 0
    assert not (tmp_path / "out/shards").exists()
    with pytest.raises(UserError, match="7 shards for 6 utterances"):
        filter_command.main([*command, "--shards", "7"])
    with pytest.raises(SystemExit):
        filter_command.main([*command, "--shards", "-1"])


@pytest.mark.parametrize("kind", ["float", "command", "missing"])
def test_unsuitable_audio_raises_user_error_that_names_the_utterance(tmp_path, kind):
    import soundfile

    folder = make(tmp_path)
    scp = folder / "wav.scp"
    if kind == "float":
        soundfile.write(tmp_path / "wav/2.wav", np.zeros(800), 16000, subtype="FLOAT")
    elif kind == "missing":
        (tmp_path / "wav/2.wav").unlink()
    else:
        path = str(tmp_path / "wav/2.wav")
        scp.write_text(scp.read_text().replace(path, f"cat {path} |"))
    message = {
        "float": "wav.scp: s002.x-u: is WAV FLOAT with 1 channel.*16-bit mono",
        "command": r"wav.scp: s002.x-u: cat .* is not a sound file",
        "missing": "wav.scp: s002.x-u: .*2.wav: cannot read: No such file",
    }[kind]
    with pytest.raises(UserError, match=message):
        shards.write_shards(folder, 2)
    with pytest.raises(UserError, match="shards are missing or incomplete"):
        shards.read_manifest(folder / "shards")


def test_damaged_shards_raise_user_errors_that_name_file_and_utterance(tmp_path):
    folder = make(tmp_path)
    shards.write_shards(folder, 2)
    manifest = shards.read_manifest(folder / "shards")
    shard = manifest.shards[0]
    content = shard.path.read_bytes()

    shard.path.write_bytes(content[:9000])  # in the third utterance
    with pytest.raises(UserError, match=r"shard-000000.tar: has 9000 bytes, but had \d+ when"):
        shards.read_manifest(folder / "shards")
    with pytest.raises(UserError, match="tar: damaged after utterance s002.x-u: ") as caught:
        list(shards.read_shard(shard))
    assert "write the shards again (stage 4)" in caught.value.remedy

    with tarfile.open(shard.path, "w") as archive:  # cut between two utterances
        for name in ("a.wav", "a.json"):
            record = {"id": "a", "samples": 1, "tables": {}}
            sound = json.dumps(record).encode()  # the content of a.wav does not matter
            record["crc32"] = shards._checksum(sound, record)
            record = sound if name == "a.wav" else json.dumps(record).encode()
            header = tarfile.TarInfo(name)
            header.size = len(record)
            archive.addfile(header, io.BytesIO(record))
    with pytest.raises(UserError, match="has 1 utterances, but shards.json says 4.*utterance a"):
        list(shards.read_shard(shard))

    shard.path.unlink()
    with pytest.raises(UserError, match="shard-000000.tar: no such file, but .*lists it"):
        shards.read_manifest(folder / "shards")
    (folder / "shards/shards.json").write_text('{"version": 1}')
    with pytest.raises(UserError, match="is not a description of shards"):
        shards.read_manifest(folder / "shards")


def test_tables_that_changed_raise_user_error(tmp_path):
    folder = make(tmp_path)
    shards.write_shards(folder, 2)
    manifest = shards.read_manifest(folder / "shards")
    shards.check_tables(manifest, folder, ["text.meaning", "utt2l1"])
    with pytest.raises(UserError, match="the shards have no text.surface"):
        shards.check_tables(manifest, folder, ["text.surface"])
    text = folder / "text.meaning"
    text.write_text(text.read_text().replace("a cat", "a tac"))
    with pytest.raises(UserError, match="text.meaning: differs from the table in "):
        shards.check_tables(manifest, folder, ["text.meaning"])


def test_memory_does_not_grow_with_the_number_of_utterances(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_BLOCK_BYTES", 1 << 12)

    def peak(count):
        folder = make(tmp_path / str(count), ["a"] * count, samples=8000)
        tracemalloc.start()
        shards.write_shards(folder, 2)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(10)  # imports
    assert peak(400) - peak(100) < 300 * 100  # bytes: less than 100 per utterance


@pytest.mark.parametrize("part", ["audio", "transcript"])
def test_flipped_bit_in_a_shard_is_noticed(tmp_path, part):
    folder = make(tmp_path)
    shards.write_shards(folder, 2)
    path = folder / "shards/shard-000001.tar"
    content = bytearray(path.read_bytes())
    place = content.index(b'"caw"') + 1 if part == "transcript" else content.index(b"data") + 100
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"shard-000001.tar: damaged .*the checksum of s00\d.x-u"):
        read(folder)


def test_every_table_of_labels_is_in_the_shards(tmp_path):
    folder = make(tmp_path)
    (folder / "utt2corpus").write_text((folder / "utt2l1").read_text(encoding="utf-8"))
    (folder / "utt2dur").write_text("")
    shards.write_shards(folder, 2)
    assert set(shards.read_manifest(folder / "shards").tables) == {
        *("text.meaning", "utt2spk", "utt2l1", "utt2corpus"),
    }
