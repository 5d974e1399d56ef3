"""Members of zip archives are read as `zipfile` reads them; damaged and false ones are refused."""

import io
import struct
import zipfile

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ext.data import zips
from espnet_ext.data.audio import audio_info, load_audio, source_file
from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.formatting import AudioFormat, format_directory
from espnet_ext.data.long_audio import LongAudio
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError

CONTENTS = st.binary(max_size=300) | st.integers(0, 800).map(lambda n: bytes(range(256)) * n)
NAMES = st.text("ab가힣/. ", min_size=1, max_size=8).filter(lambda name: not name.endswith("/"))


def write_zip(path, members, method=zipfile.ZIP_DEFLATED, prefix=b"", comment=b""):
    path.write_bytes(prefix)
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
        archive.comment = comment
    return path


def content_of(path, member):
    with open(path, "rb") as handle:
        return zips.read_member(handle, member.offset, member.compressed_size, member.size)


@settings(max_examples=40, deadline=None)
@given(
    members=st.dictionaries(NAMES, CONTENTS, max_size=6),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    prefix=st.binary(max_size=50),
    comment=st.binary(max_size=50).filter(lambda text: b"PK\x05\x06" not in text),
)
def test_content_equals_zipfiles(tmp_path_factory, members, method, prefix, comment):
    path = write_zip(tmp_path_factory.mktemp("zip") / "a.zip", members, method, prefix, comment)
    with zipfile.ZipFile(path) as archive:
        expected = {info.filename: archive.read(info) for info in archive.infolist()}
    contents = {member.name: content_of(path, member) for member in zips.list_members(path)}
    assert contents == expected


@settings(max_examples=40, deadline=None)
@given(
    content=CONTENTS,
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    reads=st.lists(st.tuples(st.integers(0, 210_000), st.integers(0, 70_000)), max_size=6),
)
def test_member_stream_is_seekable(tmp_path_factory, content, method, reads):
    path = write_zip(tmp_path_factory.mktemp("zip") / "a.zip", {"a": content}, method)
    (member,) = zips.list_members(path)
    expected = io.BytesIO(content)
    with zips.open_reference(zips.parse_reference(member.reference(str(path)))) as stream:
        for start, count in reads:
            expected.seek(start)
            assert stream.seek(start) == start
            assert stream.read(count) == expected.read(count)
        assert stream.seek(0, 2) == len(content)


def test_more_members_than_fit_into_16_bits(tmp_path):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(70_000):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
    assert sum(1 for _ in zips.list_members(path)) == 70_000


def test_offset_beyond_four_gigabytes(tmp_path):
    path = tmp_path / "large.zip"
    with open(path, "wb") as handle:
        handle.truncate(5 << 30)  # a hole, which needs no disk space
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a.json", b"far")
    (member,) = zips.list_members(path)
    assert member.offset == 5 << 30 and content_of(path, member) == b"far"


def test_names_in_utf8_and_cp949_are_decoded(tmp_path):
    class Named(zipfile.ZipInfo):
        encoding = "utf-8"

        def _encodeFilenameFlags(self):  # noqa: N802
            return self.filename.encode(self.encoding), self.flag_bits

    for Named.encoding in ("cp949", "utf-8"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(Named("5. 한국문화II/가.wav"), b"1")
        assert [member.name for member in zips.list_members(tmp_path / "a.zip")] == [
            "5. 한국문화II/가.wav"
        ]


def patch(path, offset, fmt, value):
    content = bytearray(path.read_bytes())
    struct.pack_into(fmt, content, offset, value)
    path.write_bytes(content)


def offset_of_directory_entry(path):
    return path.read_bytes().index(b"PK\x01\x02")


@pytest.mark.parametrize(
    ("offset", "fmt", "value", "problem"),
    [
        (8, "<H", 1, "is encrypted"),
        (10, "<H", 99, "compression method 99"),
        (24, "<L", 0x7FFFFFFF, "cannot have"),
        (24, "<L", 0x90000000, "too many"),
    ],
)
def test_unreadable_members_have_a_problem(tmp_path, offset, fmt, value, problem):
    path = write_zip(tmp_path / "a.zip", {"a": b"1" * 1000})
    patch(path, offset_of_directory_entry(path) + offset, fmt, value)
    (member,) = zips.list_members(path)
    assert problem in member.problem


@pytest.mark.parametrize("length", [0, 10, 40, 100, 130, -1])
def test_truncated_archives_raise_user_error(tmp_path, length):
    whole = write_zip(tmp_path / "a.zip", {"a": bytes(range(256))}, zipfile.ZIP_STORED).read_bytes()
    (tmp_path / "b.zip").write_bytes(whole[:length])
    with pytest.raises(UserError, match="not a complete zip archive"):
        list(zips.list_members(tmp_path / "b.zip"))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_archives_never_give_wrong_content(tmp_path_factory, data):
    """If any byte is changed, the member has its original content, is empty, or is refused."""
    folder = tmp_path_factory.mktemp("zip")
    content = b"kimchi jjigae " * 20
    whole = write_zip(folder / "a.zip", {"a": content}).read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] ^= data.draw(st.integers(1, 255))
    (folder / "b.zip").write_bytes(damaged)
    try:
        for member in zips.list_members(folder / "b.zip"):
            if not member.problem:
                assert content_of(folder / "b.zip", member) in (content, b"")
    except (UserError, ValueError):
        pass


def test_member_with_a_false_size_is_refused(tmp_path):
    content = b"\0" * 100_000
    path = write_zip(tmp_path / "bomb.zip", {"a": content})
    (member,) = zips.list_members(path)
    for size in (99_999, 100_001, zips.MAX_MEMBER + 1):
        with pytest.raises(ValueError, match="another file|many"):
            content_of(path, member._replace(size=size))


def test_archives_written_to_a_stream_are_read(tmp_path):
    class Stream(io.RawIOBase):
        def __init__(self, handle):
            self.handle = handle

        def writable(self):
            return True

        def write(self, content):
            return self.handle.write(content)

    with open(tmp_path / "a.zip", "wb") as handle, zipfile.ZipFile(Stream(handle), "w") as archive:
        archive.writestr("a", b"streamed " * 100, zipfile.ZIP_DEFLATED)
        archive.writestr("b", b"stored", zipfile.ZIP_STORED)
    path = tmp_path / "a.zip"
    contents = {member.name: content_of(path, member) for member in zips.list_members(path)}
    assert contents == {"a": b"streamed " * 100, "b": b"stored"}
    (member, _) = zips.list_members(tmp_path / "a.zip")
    for size in (899, 901):  # the local header has no size; only decompression finds the error
        with pytest.raises(ValueError, match="another size|ends within"):
            content_of(tmp_path / "a.zip", member._replace(size=size))


# -- sounds in archives, and sounds without headers


@pytest.fixture
def sound(tmp_path):
    samples = (np.random.default_rng(0).uniform(-0.5, 0.5, 16000) * 32768).astype("<i2")
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    (tmp_path / "a.pcm").write_bytes(samples.tobytes())
    (tmp_path / "odd.pcm").write_bytes(samples.tobytes() + b"\x01")
    (tmp_path / "riff.pcm").write_bytes((tmp_path / "a.wav").read_bytes())
    members = {path.name: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    write_zip(tmp_path / "z.zip", members)
    write_zip(tmp_path / "s.zip", members, zipfile.ZIP_STORED)
    return tmp_path, samples


def sources_of(folder):
    yield from (str(folder / name) for name in ("a.wav", "a.pcm", "odd.pcm", "riff.pcm"))
    for archive in ("z.zip", "s.zip"):
        for member in zips.list_members(folder / archive):
            yield member.reference(str(folder / archive))


def test_sounds_are_the_same_in_files_and_archives(sound):
    folder, samples = sound
    sources = list(sources_of(folder))
    assert len(sources) == 12
    for source in sources:
        assert audio_info(source).seconds == 1.0
        loaded, rate = load_audio(source)
        assert rate == 16000 and np.array_equal(loaded * 32768, samples)
        assert np.array_equal(np.concatenate(list(LongAudio(source).blocks(16000))), loaded)
        assert source_file(source) == source.partition(".zip")[0] + ".zip" * (".zip" in source)


def test_stage_3_reads_sounds_in_archives(sound, tmp_path):
    folder, samples = sound
    utterances = [
        Utterance(f"s-{i:02}", "s", source) for i, source in enumerate(sources_of(folder))
    ]
    write_directory(folder / "in", utterances)
    format_directory(folder / "in", folder / "out", AudioFormat(copy=True), nj=1)
    for utterance in read_directory(folder / "out"):
        assert utterance.audio.startswith(str(folder / "out"))
        assert np.array_equal(load_audio(utterance.audio)[0] * 32768, samples)


def test_sound_of_a_changed_archive_raises_user_error(sound):
    folder, _ = sound
    source = list(sources_of(folder))[-1]
    for other in (b"content", b"content" * 50_000):
        write_zip(folder / "s.zip", {"other": other})
        with pytest.raises(UserError, match="the archive has changed"):
            audio_info(f"{folder}/s.zip:0:40:40:wav")
    with pytest.raises(UserError, match=r"(?s)s\.zip:\d+: cannot be read.*run data preparation"):
        audio_info(source)
    (folder / "s.zip").unlink()
    with pytest.raises(UserError, match="No such file"):
        load_audio(source)


def test_damaged_sound_in_an_archive_raises_user_error(sound):
    folder, _ = sound
    member = next(m for m in zips.list_members(folder / "z.zip") if m.name == "a.wav")
    content = bytearray((folder / "z.zip").read_bytes())
    content[member.offset + member.compressed_size // 2] ^= 255
    (folder / "z.zip").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        load_audio(member.reference(str(folder / "z.zip")))


def test_empty_sound_without_header_raises_user_error(tmp_path):
    (tmp_path / "a.pcm").write_bytes(b"")
    with pytest.raises(UserError, match="a.pcm: is empty"):
        load_audio(str(tmp_path / "a.pcm"))
