"""Bad corpora, hostile archives and broken downloads: exit code, cause and remedy."""

import hashlib
import http.server
import io
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from timing import cpu_seconds

sys.path.insert(0, str(Path(__file__).parents[1] / "corpora"))

from published import long_textgrid, word, write_l2arctic, write_sound, write_speechocean762  # noqa: E402

from espnet_ext.bin import cli, prepare  # noqa: E402
from espnet_ext.corpora import download  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402


def run(capsys, *argv):
    """Run `prepare`; return its exit code and messages. It must not raise."""
    code = cli.run(prepare.main, [str(word) for word in argv])
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return code, message


def l2arctic(root):
    stem = {"arctic_a0001": ("Hello", ["HH", "AH0", "L", "OW1"])}
    return write_l2arctic(root, {speaker: stem for speaker in ("ABA", "NCC", "TLV")})


def speechocean762(root):
    def part(numbers):
        return {f"{n:04}": [(f"{n:04}1", [word("RED", "R EH1 D")])] for n in numbers}

    return write_speechocean762(root, {"train": part(range(1, 21)), "test": part([99])})


# -- corpora


@pytest.mark.parametrize("corpus", ["l2arctic", "speechocean762"])
def test_missing_corpus_paths_are_errors(capsys, tmp_path, corpus):
    code, message = run(capsys, corpus, "--data_dir", tmp_path)
    assert code == 1 and "no corpus path given" in message and "remedy:" in message
    code, message = run(capsys, corpus, "--corpus_dir", tmp_path / "nope", "--data_dir", tmp_path)
    assert code == 1 and f"{tmp_path}/nope: no such folder" in message


@pytest.mark.parametrize("corpus", ["l2arctic", "speechocean762"])
def test_folders_with_another_layout_are_errors(capsys, tmp_path, corpus):
    (tmp_path / "music").mkdir()
    code, message = run(capsys, corpus, "--corpus_dir", tmp_path, "--data_dir", tmp_path / "d")
    assert code == 1 and str(tmp_path) in message and "has no" in message
    assert not (tmp_path / "d").exists()


def test_zipped_corpus_is_an_error(capsys, tmp_path):
    (tmp_path / "ABA.zip").write_bytes(b"")
    code, message = run(capsys, "l2arctic", "--corpus_dir", tmp_path)
    assert code == 1 and "unpack ABA.zip" in message


def test_speaker_without_transcripts_is_an_error(capsys, tmp_path):
    root = l2arctic(tmp_path)
    (root / "NCC/transcript").rename(root / "NCC/text")
    code, message = run(capsys, "l2arctic", "--corpus_dir", root)
    assert code == 1 and "NCC: has wav/ but no transcript/" in message


def test_unreadable_audio_is_listed_at_once_or_left_out(capsys, tmp_path):
    root = l2arctic(tmp_path / "corpus")
    for speaker in ("ABA", "TLV"):
        (root / speaker / "wav/arctic_a0002.wav").write_bytes(b"RIFF no sound")
        (root / speaker / "transcript/arctic_a0002.txt").write_text("Bye")
    argv = ["l2arctic", "--corpus_dir", root, "--data_dir", tmp_path / "d", "--unannotated", "all"]
    code, message = run(capsys, *argv)
    assert code == 1 and "2 audio files cannot be read" in message
    assert "ABA/wav/arctic_a0002.wav" in message and "TLV/wav/arctic_a0002.wav" in message
    assert "--skip_unreadable true" in message
    code, message = run(capsys, *argv, "--skip_unreadable", "true")
    names = "ABA-arctic_a0002, TLV-arctic_a0002"
    assert code == 0 and f"left out: 2 × unreadable audio ({names})" in message


def test_transcript_in_another_encoding_is_an_error(capsys, tmp_path):
    root = l2arctic(tmp_path)
    (root / "ABA/transcript/arctic_a0001.txt").write_bytes("café".encode("latin-1"))
    code, message = run(capsys, "l2arctic", "--corpus_dir", root)
    assert code == 1 and "ABA/transcript/arctic_a0001.txt: cannot read" in message


def test_malformed_textgrid_leaves_its_utterance_unlabelled_and_is_reported(capsys, tmp_path):
    root = l2arctic(tmp_path / "corpus")
    write_sound(root / "ABA/wav/arctic_a0002.wav")
    (root / "ABA/transcript/arctic_a0002.txt").write_text("Bye")
    grid = long_textgrid(words=["bye"], phones=["B", "AY1"])
    (root / "ABA/annotation/arctic_a0002.TextGrid").write_text(grid[:-25])
    code, message = run(capsys, "l2arctic", "--corpus_dir", root, "--data_dir", tmp_path / "d")
    assert code == 0 and "unlabelled surface: 1 × faulty TextGrid" in message
    account = (tmp_path / "d/en/prepare.json").read_text()
    assert "ABA-arctic_a0002" in account and "arctic_a0002.TextGrid:" in account


def test_invalid_scores_and_empty_tables_are_errors(capsys, tmp_path):
    root = speechocean762(tmp_path)
    (root / "resource/scores.json").write_text('{"1": ')
    code, message = run(capsys, "speechocean762", "--corpus_dir", root)
    assert code == 1 and "scores.json: not valid JSON" in message
    (root / "resource/scores.json").write_text("[]")
    assert "not an object" in run(capsys, "speechocean762", "--corpus_dir", root)[1]
    (root / "resource/scores.json").write_text("{}")
    (root / "train/utt2spk").write_text("")
    code, message = run(capsys, "speechocean762", "--corpus_dir", root)
    assert code == 1 and "train/utt2spk: 00011: has no row" in message


def test_commands_in_wav_scp_are_not_run(capsys, tmp_path):
    root = speechocean762(tmp_path)
    scp = root / "test/wav.scp"
    scp.write_text(f"00991 touch {tmp_path}/hacked |\n")
    code, message = run(capsys, "speechocean762", "--corpus_dir", root)
    assert code == 1 and "00991: is a command" in message
    assert not (tmp_path / "hacked").exists()


def test_bad_usage_exits_2(capsys, tmp_path):
    for argv in (["l2arctic", "--splt", "auto"], ["l2arctic", "--split", "x"], ["klingon"], []):
        with pytest.raises(SystemExit) as caught:
            prepare.main(argv)
        assert caught.value.code == 2
    argv = ["l2arctic", "--corpus_dir", tmp_path, "--archive", "x.zip"]
    assert "give one of them" in run(capsys, *argv)[1]


def test_command_starts_quickly_without_torch():
    started = cpu_seconds()
    subprocess.run(
        [sys.executable, "-m", "espnet_ext.bin.prepare", "--help"], check=True, capture_output=True
    )
    code = "import sys, espnet_ext.corpora.l2arctic; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
    assert cpu_seconds() - started < 5  # both


# -- manifests


def manifest(folder, *rows, columns="utt_id speaker audio meaning"):
    lines = ["\t".join(columns.split()), *["\t".join(row) for row in rows]]
    path = folder / "m.tsv"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_all_errors_of_a_manifest_are_listed_at_once(capsys, tmp_path):
    path = manifest(
        tmp_path,
        ("u1", "s1", "a.wav", "hello", "train"),
        ("u1", "s1", "a.wav", "hello", "train"),
        ("u\a2", "s1", "a.wav", "hello", "valid"),
        ("u3", "s1", "rm -rf x |", "hello", "test"),
        ("u4", "s1", "", "hello", "exam"),
        columns="utt_id speaker audio meaning set",
    )
    code, message = run(capsys, "plain", "--manifest", path, "--data_dir", tmp_path / "d")
    assert code == 1
    for part in (
        f"{path}:3: s1-u1: line 2 has the same utt_id",
        f"{path}:4: s1-u\a2: utt_id has control or invisible characters",
        f"{path}:5: s1-u3: audio is a command",
        f"{path}:6: s1-u4: audio is empty",
        f"{path}:6: s1-u4: set is 'exam'",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "m.tsv: is empty"),
        (b"utt_id\tspeaker\taudio\tmeaning\n", "no utterances"),
        (b"utt_id\tspeaker\tmeaning\n1\ts\thi\n", "no column audio"),
        (b"utt_id\tspeaker\taudio\n1\ts\ta.wav\n", "no transcript"),
        (b"utt_id\tspeaker\taudio\tmeening\n1\ts\ta.wav\thi\n", "'meening' is similar to meaning"),
        (b"utt_id\tspeaker\taudio\tmeaning\ttext.meaning\n1\ts\ta\tb\tc\n", "two columns meaning"),
        (b"utt_id\tspeaker\taudio\tmeaning\n1\ts\ta.wav\thi\tthere\n", "m.tsv:2: 5 cells"),
        (
            "utt_id\tspeaker\taudio\tmeaning\n1\ts\ta.wav\t국물\n".encode("cp949"),
            "m.tsv:2: not UTF-8; probably CP949",
        ),
    ],
)
def test_malformed_manifests_are_errors(capsys, tmp_path, text, problem):
    path = tmp_path / "m.tsv"
    path.write_bytes(text)
    code, message = run(capsys, "plain", "--manifest", path)
    assert code == 1 and problem in message and "remedy:" in message
    assert run(capsys, "plain", "--manifest", tmp_path / "no.tsv")[0] == 1


def test_set_without_utterances_is_an_error(capsys, tmp_path):
    write_sound(tmp_path / "a.wav")
    path = manifest(
        tmp_path,
        ("u1", "s1", "a.wav", "hello", "train"),
        columns="utt_id speaker audio meaning set",
    )
    code, message = run(capsys, "plain", "--manifest", path, "--data_dir", tmp_path / "d")
    assert code == 1 and "no utterances for valid and test" in message


# -- archives


def tar_of(path, *members):
    with tarfile.open(path, "w:gz") as bundle:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                bundle.addfile(member, io.BytesIO(content))
            else:
                member.type, member.linkname = content
                bundle.addfile(member)
    return path


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil", "C:evil"])
def test_members_outside_the_folder_are_refused(tmp_path, name):
    archives = [tar_of(tmp_path / "a.tar.gz", ("good", b"1"), (name, b"2"))]
    if "\\" not in name:  # zipfile replaces them by /
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
            bundle.writestr(name, "2")
        archives.append(tmp_path / "a.zip")
    for archive in archives:
        with pytest.raises(UserError, match="has a path outside the folder; nothing was unpacked"):
            download.unpack(archive, tmp_path / "out" / "corpus")
        assert not list((tmp_path / "out").iterdir())
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = tar_of(tmp_path / "a.tar.gz", ("link", (kind, "/etc/passwd")))
    with pytest.raises(UserError, match="member 'link' is a link or a device"):
        download.unpack(archive, tmp_path / "out")
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match="is a link or a device"):
        download.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_too_large_archives_are_refused(tmp_path):
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("zeros", b"\0" * 5_000_000)
        bundle.writestr("more", b"1")
    assert archive.stat().st_size < 10_000
    with pytest.raises(UserError, match="too many bytes"):
        download.unpack(archive, tmp_path / "out", max_bytes=1_000_000)
    with pytest.raises(UserError, match="too many files"):
        download.unpack(archive, tmp_path / "out", max_members=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bomb.zip"]


def test_damaged_archives_are_errors(tmp_path):
    whole = tar_of(tmp_path / "a.tar.gz", ("a", bytes(range(256)) * 400)).read_bytes()
    for content in (b"", b"<html>404</html>", whole[: len(whole) // 2]):
        archive = tmp_path / "b.tar.gz"
        archive.write_bytes(content)
        with pytest.raises(UserError, match="cannot unpack"):
            download.unpack(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_archive_of_archives_is_unpacked_once(capsys, tmp_path):
    """L2-ARCTIC is a zip of one zip per speaker; a second call must not unpack again."""
    root = l2arctic(tmp_path / "corpus")
    archive = tmp_path / "l2arctic.zip"
    with zipfile.ZipFile(archive, "w") as outer:
        for speaker in ("ABA", "NCC", "TLV"):
            inner = io.BytesIO()
            with zipfile.ZipFile(inner, "w") as bundle:
                for path in sorted((root / speaker).rglob("*")):
                    if path.is_file():
                        bundle.write(path, path.relative_to(root))
                bundle.writestr(f"__MACOSX/{speaker}/wav/._arctic_a0001.wav", "junk")
            outer.writestr(f"release/{speaker}.zip", inner.getvalue())
    argv = ["l2arctic", "--archive", archive, "--downloads_dir", tmp_path / "downloads"]
    argv += ["--data_dir", tmp_path / "d"]
    assert run(capsys, *argv)[0] == 0
    scp = (tmp_path / "d/en/test/wav.scp").read_text()
    assert f"{tmp_path}/downloads/l2arctic/release/TLV/wav/arctic_a0001.wav" in scp
    before = (tmp_path / "downloads/l2arctic/release/TLV/wav/arctic_a0001.wav").stat().st_ino
    assert run(capsys, *argv)[0] == 0
    after = (tmp_path / "downloads/l2arctic/release/TLV/wav/arctic_a0001.wav").stat().st_ino
    assert before == after
    code, message = run(capsys, *argv, "--sha256", "0" * 64)
    assert code == 1 and "wrong content" in message
    tar_of(tmp_path / "other.tar.gz", ("x", b"1"))
    code, message = run(capsys, *argv[:2], tmp_path / "other.tar.gz", *argv[3:])
    assert code == 1 and "was not unpacked from this archive" in message


def test_download_of_l2arctic_names_the_request_form(capsys, tmp_path):
    code, message = run(capsys, "l2arctic", "--download", "true", "--data_dir", tmp_path)
    assert code == 1 and "request the corpus" in message and "--archive" in message


# -- downloads


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one file; can end connections early, and resumes if the tag is the same."""

    content = b""
    tag = '"one"'
    breaks: list[int] = []  # number of bytes after which each connection ends
    requests: list[str] = []

    def do_GET(self):
        start = 0
        byte_range = self.headers.get("Range")
        type(self).requests.append(byte_range or "all")
        if byte_range and self.headers.get("If-Range") == self.tag:
            start = int(byte_range.removeprefix("bytes=").removesuffix("-"))
        body = self.content[start:]
        self.send_response(206 if start else 200)
        if start:
            end = len(self.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(self.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.tag)
        self.end_headers()
        self.wfile.write(body[: self.breaks.pop(0)] if self.breaks else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Handler.content = bytes(range(251)) * 12_000
    Handler.tag, Handler.breaks, Handler.requests = '"one"', [], []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_address[1]}/corpus.tar.gz"
        http_server.shutdown()


def test_interrupted_download_is_resumed(tmp_path, server):
    Handler.breaks = [1_000_000, 500_000]
    target = download.fetch(server, tmp_path / "corpus.tar.gz")
    assert target.read_bytes() == Handler.content
    assert Handler.requests == ["all", "bytes=1000000-", "bytes=1500000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.tar.gz"]
    download.fetch(server, target)
    assert len(Handler.requests) == 3  # an existing file is not downloaded again


def test_later_run_resumes_a_download_unless_the_file_has_changed(tmp_path, server):
    Handler.breaks = [1000] * download.ATTEMPTS
    with pytest.raises(UserError, match=r"download failed after 4000 bytes.*ended at"):
        download.fetch(server, tmp_path / "corpus.tar.gz")
    assert not (tmp_path / "corpus.tar.gz").exists()
    Handler.content, Handler.tag = Handler.content[::-1], '"two"'
    target = download.fetch(server, tmp_path / "corpus.tar.gz")
    assert (
        target.read_bytes() == Handler.content
    )  # not the beginning of one version and the end of the other
    assert Handler.requests[-1] == "bytes=4000-"


def test_unreachable_servers_and_invalid_addresses_are_errors(tmp_path, server):
    with pytest.raises(UserError, match="download failed"):
        download.fetch("http://127.0.0.1:9/none", tmp_path / "a")
    with pytest.raises(UserError, match="not an http"):
        download.fetch("ftp://host/file", tmp_path / "a")
    with pytest.raises(UserError, match="download failed.*No such file"):
        download.fetch(f"file://{tmp_path}/none", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_unverified_download_is_used_only_if_accepted(capsys, tmp_path, server, monkeypatch):
    """A download is refused without or with a wrong checksum, and used with the right one."""
    root = speechocean762(tmp_path / "speechocean762")
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as bundle:
        bundle.add(root, "speechocean762")
    Handler.content = (tmp_path / "c.tar.gz").read_bytes()
    sha256 = hashlib.sha256(Handler.content).hexdigest()
    monkeypatch.setattr("espnet_ext.corpora.speechocean762.URL", server)
    argv = ["speechocean762", "--download", "true", "--downloads_dir", tmp_path / "downloads"]
    argv += ["--data_dir", tmp_path / "d"]
    code, message = run(capsys, *argv)
    assert code == 1 and sha256 in message and "--accept_unverified true" in message
    assert not (tmp_path / "downloads/speechocean762").exists()
    code, message = run(capsys, *argv, "--sha256", "a" * 64)
    assert code == 1 and "wrong content" in message
    code, message = run(capsys, *argv, "--sha256", "abc")
    assert code == 1 and "not a SHA-256" in message
    code, message = run(capsys, *argv, "--sha256", sha256.upper())
    assert code == 0
    assert Handler.requests == ["all"]  # downloaded once for all four
    code, message = run(capsys, *argv, "--accept_unverified", "true")
    assert code == 0 and f"used without verification: {len(Handler.content)} bytes" in message
