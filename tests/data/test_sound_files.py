"""Sound files of every format: whole, of unknown length, truncated, and with a wrong header."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest
import soundfile
from directories import RATE, make_directory, run_validate

from espnet_ext.bin import cli, format_audio
from espnet_ext.data import rendering
from espnet_ext.data.audio import audio_info, load_audio, read_audio, read_part
from espnet_ext.data.long_audio import LongAudio
from espnet_ext.data.zips import list_members
from espnet_ext.errors import UserError

# Formats with a promise of bytes in their header.
CONTAINERS = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST"]
ALL = [
    (container, subtype)
    for container in [*CONTAINERS, "FLAC", "OGG", "MP3"]
    for subtype in soundfile.available_subtypes(container)
]
# libsndfile reads these but cannot write them.
ALL = [pair for pair in ALL if pair not in {("MP3", "MPEG_LAYER_I"), ("MP3", "MPEG_LAYER_II")}]
STREAMS = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16")]


def speech(seconds=2.0):
    """Return samples that compress about as well as speech."""
    time = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, len(time))
    return 0.3 * np.sin(2 * np.pi * 300 * time) * np.sin(5 * time) + noise


def encode(container, subtype, seconds=2.0, **options):
    """Return a sound file as bytes; skip the test if libsndfile cannot write it."""
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, speech(seconds), RATE, format=container, subtype=subtype, **options)
    except soundfile.LibsndfileError:
        pytest.skip(f"libsndfile cannot write {subtype} at {RATE} Hz")
    return bytearray(buffer.getvalue())


def write(path, content):
    path.write_bytes(content)
    return str(path)


def set_length(content, container, length):
    """Write the number of bytes of samples into the header."""
    if container in ("WAV", "WAVEX"):
        struct.pack_into("<I", content, content.index(b"data") + 4, length % 2**32)
    elif container == "RF64":
        start = content.index(b"ds64") + 8
        struct.pack_into("<QQQ", content, start, *[length % 2**64] * 3)
    elif container == "W64":
        struct.pack_into("<Q", content, content.index(b"data\xf3") + 16, length % 2**64)
    elif container == "AIFF":
        struct.pack_into(">I", content, content.index(b"SSND") + 4, length % 2**32)
    elif container == "AU":
        struct.pack_into(">I", content, 8, length % 2**32)
    elif container == "CAF":
        struct.pack_into(">Q", content, content.index(b"data") + 4, length % 2**64)


def set_flac_samples(content, samples):
    """Write the total number of samples (0: unknown) into the header of a FLAC file."""
    fields = int.from_bytes(content[18:26])
    content[18:26] = (fields >> 36 << 36 | samples).to_bytes(8)


def strip_xing(content):
    """Return an MP3 without its first frame, which says how long the file is."""
    return content[content.index(content[:2], 10) :]


@pytest.mark.parametrize("container, subtype", ALL)
def test_every_format_is_read_whole_in_parts_and_in_blocks(tmp_path, container, subtype):
    path = write(tmp_path / "a.bin", encode(container, subtype))
    samples, rate = read_audio(path)
    info = audio_info(path)
    assert (info.frames, info.rate, info.channels) == (len(samples), rate, 1)
    assert 0 <= len(samples) - 2 * rate < 1024  # some codecs fill up their last block
    assert np.corrcoef(samples[: 2 * rate, 0], speech())[0, 1] > 0.9
    part, _ = read_part(path, 0.5, 0.25)
    np.testing.assert_allclose(part, samples[rate // 2 : rate * 3 // 4], atol=1e-4)
    long_audio = LongAudio(path)
    assert long_audio.seconds == info.seconds
    np.testing.assert_array_equal(np.concatenate(list(long_audio.blocks(rate))), samples[:, 0])
    later, earlier = long_audio.part(1.0, 1.5, rate), long_audio.part(0.25, 0.5, rate)
    np.testing.assert_allclose(later, samples[rate : rate * 3 // 2, 0], atol=1e-4)
    np.testing.assert_allclose(earlier, samples[rate // 4 : rate // 2, 0], atol=1e-4)
    long_audio.close()


@pytest.mark.parametrize("subtype", ["GSM610", "DWVW_16", "DWVW_24"])
def test_codecs_that_cannot_seek_are_read_in_aiff_too(tmp_path, subtype):
    path = write(tmp_path / "a.aiff", encode("AIFF", subtype))
    assert len(read_audio(path)[0]) == audio_info(path).frames == 2 * RATE
    assert len(read_part(path, 0.5, 0.25)[0]) == RATE // 4


@pytest.mark.parametrize("length", [0, -1, 2**31 - 1, 2**31 - 37])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"])
def test_audio_of_unknown_length_is_read_to_its_end(tmp_path, container, length):
    """A program that writes to a pipe, or is killed, leaves such a length in the header."""
    if container in ("RF64", "W64", "CAF") and length > 0:
        length = 2**63 - 1
    content = encode(container, "PCM_16")
    expected = read_audio(write(tmp_path / "whole.bin", content))[0]
    set_length(content, container, length)
    path = write(tmp_path / "a.bin", content)
    samples, _ = read_audio(path)
    np.testing.assert_array_equal(samples, expected)
    info = audio_info(path)
    assert info.frames == 2 * RATE
    np.testing.assert_array_equal(read_part(path, 1.5)[0], expected[RATE * 3 // 2 :])
    assert len(read_part(path, 1.0, 0.5)[0]) == RATE // 2


@pytest.mark.parametrize("subtype", ["FLOAT", "ULAW", "MS_ADPCM", "GSM610", "G721_32"])
def test_compressed_wav_of_unknown_length_is_read_to_its_end(tmp_path, subtype):
    content = encode("WAV", subtype)
    for length in (0, -1):
        set_length(content, "WAV", length)
        path = write(tmp_path / "a.wav", content)
        assert 2 * RATE <= audio_info(path).frames == len(read_audio(path)[0]) < 2.05 * RATE


@pytest.mark.parametrize("samples", [0, 2**36 - 1])
def test_flac_of_unknown_length_is_read_to_its_end(tmp_path, samples):
    """Programs that write to a pipe leave 0, damaged headers impossible numbers."""
    content = encode("FLAC", "PCM_16")
    expected = read_audio(write(tmp_path / "whole.flac", content))[0]
    set_flac_samples(content, samples)
    path = write(tmp_path / "a.flac", content)
    info = audio_info(path)
    assert (info.frames, info.has_length) == (2 * RATE, False)
    np.testing.assert_array_equal(read_audio(path)[0], expected)
    np.testing.assert_array_equal(read_part(path, 1.0, 0.5)[0], expected[RATE : RATE * 3 // 2])
    part = LongAudio(path).part(1.0, 1.5, RATE)
    np.testing.assert_array_equal(part, expected[RATE : RATE * 3 // 2, 0])
    with pytest.raises(UserError, match="cannot be read as audio"):
        audio_info(write(tmp_path / "cut.flac", content[: len(content) // 2]))


def test_empty_wav_with_further_chunks_has_no_samples(tmp_path):
    content = encode("WAV", "PCM_16", 0)
    path = write(tmp_path / "a.wav", content + b"LIST" + struct.pack("<I", 4) + b"INFO")
    assert audio_info(path).frames == 0
    with pytest.raises(UserError, match="has no samples"):
        read_audio(path)


@pytest.mark.parametrize("share", [0.25, 0.6, 0.97])
@pytest.mark.parametrize("container", CONTAINERS)
def test_truncated_container_is_refused(tmp_path, container, share):
    content = encode(container, "PCM_16")
    path = write(tmp_path / "a.bin", content[: int(share * len(content))])
    for read in (audio_info, read_audio, LongAudio):
        with pytest.raises(UserError, match="a.bin: is truncated: it has [0-9]+ of 64000 bytes"):
            read(path)


@pytest.mark.parametrize("share", [0.25, 0.6, 0.97])
@pytest.mark.parametrize("container, subtype", STREAMS)
def test_truncated_stream_is_refused(tmp_path, container, subtype, share):
    content = encode(container, subtype, 10.0)
    path = write(tmp_path / "a.bin", content[: int(share * len(content))])
    for read in (audio_info, read_audio):
        with pytest.raises(UserError, match="is truncated|cannot be read") as caught:
            read(path)
        assert caught.value.remedy


def test_ogg_that_lacks_its_last_page_is_refused(tmp_path):
    content = encode("OGG", "VORBIS", 10.0)
    path = write(tmp_path / "a.ogg", content[: content.rindex(b"OggS")])
    with pytest.raises(UserError, match="its last page is not marked") as caught:
        audio_info(path)
    assert "if it is complete" in caught.value.remedy


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_without_length_is_read_whole_or_refused(tmp_path, mode):
    """Without a length, libsndfile takes the first frame's bit rate for that of the whole file."""
    content = encode("MP3", "MPEG_LAYER_III", 10.0, bitrate_mode=mode, compression_level=0.3)
    assert audio_info(write(tmp_path / "a.mp3", content)).frames == 10 * RATE
    path = write(tmp_path / "b.mp3", strip_xing(content))
    if mode == "CONSTANT":
        assert 10 * RATE <= audio_info(path).frames == len(read_audio(path)[0]) < 10.2 * RATE
    else:
        with pytest.raises(UserError, match="has 161280 samples, but no header that says so"):
            audio_info(path)
    half = strip_xing(content)[: len(content) // 2]
    with pytest.raises(UserError, match="ends within a frame|no header that says so"):
        audio_info(write(tmp_path / "c.mp3", half))


@pytest.mark.parametrize("tag", [b"TAG" + bytes(125), b"APETAGEX" + bytes(9000)])
def test_tags_of_mp3_are_not_audio(tmp_path, tag):
    content = encode("MP3", "MPEG_LAYER_III", 10.0)
    identity = b"ID3\x04\x00\x00\x00\x00\x10\x00" + bytes(2048)
    path = write(tmp_path / "a.mp3", identity + content + tag)
    assert audio_info(path).frames == len(read_audio(path)[0]) == 10 * RATE


@pytest.mark.parametrize("container, subtype", [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_joined_files_are_refused(tmp_path, container, subtype):
    """Only the first part would be read."""
    content = encode(container, subtype)
    path = write(tmp_path / "a.bin", 2 * content)
    for read in (audio_info, read_audio):
        with pytest.raises(UserError, match="several streams|more audio than"):
            read(path)


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "AIFF", "AU", "CAF"])
def test_header_that_says_too_little_is_refused(tmp_path, container):
    content = encode(container, "PCM_16")
    set_length(content, container, 1000)
    with pytest.raises(UserError, match="has 64000 bytes of samples, but its header says"):
        audio_info(write(tmp_path / "a.bin", content))


def test_flac_header_that_says_too_little_is_refused(tmp_path):
    content = encode("FLAC", "PCM_16")
    set_flac_samples(content, RATE // 2)
    with pytest.raises(UserError, match="has more audio than the 8000 samples"):
        audio_info(write(tmp_path / "a.flac", content))


@pytest.mark.parametrize("chunk", [b"LIST", b"id3 ", b"ID3\x04"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8"])
def test_chunks_after_the_samples_are_not_audio(tmp_path, chunk, subtype):
    content = encode("WAV", subtype, 2.0001)  # an odd number of bytes with 8 bits per sample
    extra = chunk + struct.pack("<I", 50_000) + bytes(range(1, 251)) * 200
    assert audio_info(write(tmp_path / "a.wav", content + extra)).frames == 2 * RATE + 1
    assert audio_info(write(tmp_path / "b.wav", content + bytes(50_000))).frames == 2 * RATE + 1


@pytest.mark.parametrize("place", ["zip", "pipe"])
@pytest.mark.parametrize("fault", ["", "unknown length", "truncated"])
@pytest.mark.parametrize("container, subtype", [*STREAMS, ("WAV", "PCM_16"), ("WAV", "GSM610")])
def test_archives_and_commands_are_read_like_files(tmp_path, container, subtype, fault, place):
    content = encode(container, subtype)
    if fault == "truncated":
        content = content[: len(content) // 2]
    elif fault and container == "FLAC":
        set_flac_samples(content, 0)
    elif fault:
        set_length(content, container, -1)
    path = write(tmp_path / "a.bin", content)
    source = f"cat {path} |"
    if place == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, "a.bin")
        (member,) = list_members(tmp_path / "a.zip")
        source = member.reference(str(tmp_path / "a.zip"))
    if fault == "truncated":
        with pytest.raises(UserError, match="is truncated|cannot be read"):
            read_audio(source, allow_pipes=True)
        if container != "FLAC":
            with pytest.raises(UserError, match="is truncated"):
                audio_info(source, allow_pipes=True)
        return
    expected, _ = read_audio(path)
    assert audio_info(source, allow_pipes=True).frames == len(expected)
    np.testing.assert_array_equal(read_audio(source, allow_pipes=True)[0], expected)


def test_stage_3_copies_what_other_programs_cannot_read(tmp_path):
    """It refers to files that have the format already, unless their header says no length."""
    make_directory(tmp_path / "d", lang="ko")
    content = encode("WAV", "PCM_16")
    set_length(content, "WAV", 0)
    write(tmp_path / "d/s1-u1.wav", content)
    flac = encode("FLAC", "PCM_16")
    set_flac_samples(flac, 0)
    write(tmp_path / "d/s1-u2.wav", flac)
    output = tmp_path / "o"
    assert cli.run(format_audio.main, ["--input", f"{tmp_path}/d", "--output", str(output)]) == 0
    rows = dict(line.split(" ", 1) for line in (output / "wav.scp").read_text().splitlines())
    for key in ("s1-u1", "s1-u2"):
        assert rows[key] == str(output / f"data/{key}.wav")
        assert soundfile.info(rows[key]).frames == 2 * RATE
        assert (output / "utt2num_samples").read_text().count(f"{key} {2 * RATE}\n") == 1
    assert rows["s2-u1"] == f"{tmp_path}/d/s2-u1.wav"


FAULTS = {
    "garbage": lambda: b"not a sound" * 99,
    "no bytes": lambda: b"",
    "first bytes of a WAV": lambda: encode("WAV", "PCM_16")[:20],
    "truncated WAV": lambda: encode("WAV", "PCM_16")[:40_000],
    "truncated FLAC": lambda: encode("FLAC", "PCM_16")[:-2000],
    "truncated FLAC of unknown length": lambda: _flac_without_length()[:-2000],
    "FLAC with damage inside": lambda: _with_hole(encode("FLAC", "PCM_16")),
    "truncated MP3": lambda: encode("MP3", "MPEG_LAYER_III", 10.0)[:10_000],
    "truncated Ogg": lambda: encode("OGG", "OPUS", 10.0)[:10_000],
    "truncated GSM 6.10": lambda: encode("WAV", "GSM610")[:-2000],
    "no samples": lambda: encode("WAV", "PCM_16", 0),
    "another container": lambda: b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0" * 99,
}


def _flac_without_length():
    content = encode("FLAC", "PCM_16")
    set_flac_samples(content, 0)
    return content


def _with_hole(content):
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    return content


@pytest.mark.parametrize("policy", ["error", "skip", "quarantine"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_failure_of_reading_can_be_skipped(tmp_path, capsys, fault, policy):
    make_directory(tmp_path / "d", lang="ko")
    write(tmp_path / "d/s1-u2.wav", FAULTS[fault]())
    arguments = ["--input", f"{tmp_path}/d", "--output", f"{tmp_path}/o", "--copy", "true"]
    policy_options = ["--on_error", policy, "--max_broken", "0.3"]
    code = cli.run(format_audio.main, [*arguments, *policy_options])
    message = capsys.readouterr().err
    if policy == "error":
        assert code == 1 and "s1-u2" in message and "remedy:" in message
        assert not (tmp_path / "o/wav.scp").exists()
        return
    assert code == 0
    kept = [line.split()[0] for line in (tmp_path / "o/wav.scp").read_text().splitlines()]
    assert kept == ["s1-u1", "s2-u1", "s2-u2"]
    assert "s1-u2" in (tmp_path / "o/removed_broken.tsv").read_text()
    assert (tmp_path / "o/quarantine/wav.scp").exists() == (policy == "quarantine")
    assert run_validate(tmp_path / "o", severities=("error",)) == (0, [])


@pytest.mark.parametrize("fault", FAULTS)
def test_every_failure_of_reading_is_a_finding(tmp_path, fault):
    make_directory(tmp_path / "d", lang="ko")
    write(tmp_path / "d/s1-u2.wav", FAULTS[fault]())
    code, errors = run_validate(tmp_path / "d", "--read_samples", "true", severities=("error",))
    assert code == 1
    assert errors == ["empty-audio" if fault == "no samples" else "unreadable-audio"]
    with pytest.raises(UserError) as caught:
        load_audio(f"{tmp_path}/d/s1-u2.wav")
    assert "s1-u2.wav" in caught.value.message and caught.value.remedy


def test_stage_3_reports_a_worker_that_was_killed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rendering, "_render_group", lambda group: os._exit(9))
    ids = [f"s1-u{index:02}" for index in range(40)]
    make_directory(tmp_path / "d", ids, lang="ko")
    arguments = ["--input", f"{tmp_path}/d", "--output", f"{tmp_path}/o", "--nj", "2"]
    assert cli.run(format_audio.main, [*arguments, "--copy", "true"]) == 1
    message = capsys.readouterr().err
    assert "was killed" in message and "--nj" in message and "Traceback" not in message
