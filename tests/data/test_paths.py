"""Names of files: Unicode forms, encodings, locales, and hints for missing files."""

import os
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest
from directories import IDS, RATE, findings_of, make_directory, noise, run_validate, write_table

from espnet_ext.bin import cli, format_audio, validate
from espnet_ext.data.arks import encode_entry
from espnet_ext.data.audio import audio_info, encode_audio
from espnet_ext.data.paths import existing_path, hint_for_missing
from espnet_ext.data.zips import list_members

ROOT = Path(cli.__file__).parents[2]
NAME = "발화 é"


def nfd(text):
    return unicodedata.normalize("NFD", text)


def write_sound(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_bytes(encode_audio(noise(3), RATE, ".wav"))


@pytest.mark.parametrize("folder_form", ["NFC", "NFD"])
@pytest.mark.parametrize("file_form", ["NFC", "NFD"])
@pytest.mark.parametrize("table_form", ["NFC", "NFD"])
def test_files_are_read_in_every_unicode_form(tmp_path, folder_form, file_form, table_form):
    folder = f"{tmp_path}/{unicodedata.normalize(folder_form, '한글')}"
    path = f"{folder}/{unicodedata.normalize(file_form, NAME)}.wav"
    write_sound(path)
    make_directory(tmp_path / "d", lang="ko")
    source = unicodedata.normalize(table_form, path)
    write_table(
        tmp_path / "d",
        "wav.scp",
        f"{IDS[0]} {source}",
        *(f"{key} {tmp_path}/d/{key}.wav" for key in IDS[1:]),
    )
    assert run_validate(tmp_path / "d", "--read_samples", "true") == (0, [])
    assert existing_path(source) == path
    # ESPnet reads the file too, under the name that it has on disk.
    arguments = ["--input", f"{tmp_path}/d", "--output", f"{tmp_path}/o"]
    assert cli.run(format_audio.main, arguments) == 0
    row = (tmp_path / "o/wav.scp").read_text(encoding="utf-8").splitlines()[0]
    assert row == f"{IDS[0]} {path}"
    assert run_validate(tmp_path / "o", severities=("error",)) == (0, [])


def test_archives_are_found_in_every_unicode_form(tmp_path):
    content = encode_audio(noise(3), RATE, ".wav")
    entry, start = encode_entry("u1", content)
    (tmp_path / nfd(f"{NAME}.ark")).write_bytes(entry)
    with zipfile.ZipFile(tmp_path / nfd(f"{NAME}.zip"), "w") as archive:
        archive.writestr("a.wav", content)
    (member,) = list_members(tmp_path / nfd(f"{NAME}.zip"))
    for source in (f"{tmp_path}/{NAME}.ark:{start}", member.reference(f"{tmp_path}/{NAME}.zip")):
        assert audio_info(source).frames == RATE


def test_directory_is_found_in_every_unicode_form(tmp_path):
    folder = make_directory(tmp_path / nfd("한글"), lang="ko")
    assert run_validate(folder) == (0, [])
    report = tmp_path / "report.json"
    arguments = [f"{tmp_path}/한글", "--json", str(report)]
    assert cli.run(validate.main, arguments) == 0


@pytest.mark.parametrize(
    "name, hint",
    [
        ("gone/a.wav", "the folder {}/gone does not exist"),
        ("A.WAV", "there is a.wav, which differs in upper and lower case"),
        ("가.wav", "a file has this name in the encoding CP949: convmv -f cp949"),
        ("b\\a.wav", "write / between folders"),
        ("b.wav", ""),
    ],
)
def test_hints_for_missing_files(tmp_path, name, hint):
    write_sound(f"{tmp_path}/a.wav")
    write_sound(os.fsdecode(os.fsencode(tmp_path) + b"/" + "가.wav".encode("cp949")))
    found_hint = hint_for_missing(f"{tmp_path}/{name}")
    assert found_hint.startswith(hint.format(tmp_path)) and bool(found_hint) == bool(hint)
    folder = make_directory(tmp_path / "d", lang="ko")
    rows = [f"{key} {folder}/{key}.wav" for key in IDS[1:]]
    write_table(folder, "wav.scp", f"{IDS[0]} {tmp_path}/{name}", *rows)
    (finding,) = findings_of(folder, "no-audio")
    assert finding["remedy"].startswith(found_hint or "correct the path")


def run_in_locale(script, environment, *arguments):
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    variables.pop("PYTHONUTF8", None)
    return subprocess.run(
        [sys.executable, *script, *arguments],
        capture_output=True,
        env={**variables, **environment},
        check=False,
    )


def make_locale(folder, name, source, charmap):
    """Compile a locale; skip the test if this machine cannot."""
    try:
        command = ["localedef", "-i", source, "-f", charmap, str(folder / name)]
        subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no localedef")
    if not (folder / name / "LC_CTYPE").exists():
        pytest.skip(f"localedef has no {source} or {charmap}")
    return {"LOCPATH": str(folder), "LC_ALL": name}


ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
LOCALES = {
    "C": lambda folder: {"LC_ALL": "C"},
    "ASCII": lambda folder: ASCII,
    "EUC-KR": lambda folder: make_locale(folder, "ko_KR.EUC-KR", "ko_KR", "EUC-KR"),
    "Latin-1": lambda folder: make_locale(folder, "en_US.ISO-8859-1", "en_US", "ISO-8859-1"),
    "UTF-8 with Latin-1 output": lambda folder: {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
}


@pytest.mark.parametrize("locale", LOCALES)
def test_commands_behave_equally_in_every_locale(tmp_path, locale):
    folder = make_directory(tmp_path / "한글", lang="ko")
    environment = LOCALES[locale](tmp_path)
    command = ["-m", "espnet_ext.bin.main", "validate", str(folder)]
    done = run_in_locale(command, environment)
    assert done.returncode == 0, done.stderr.decode()
    assert f"{folder}: 4 utterances" in done.stdout.decode("utf-8")
    missing = run_in_locale(command[:-1], environment, f"{folder}/없음")
    assert missing.returncode == 1
    assert f"{folder}/없음: no such data directory" in missing.stderr.decode("utf-8")


@pytest.mark.parametrize("locale", LOCALES)
def test_python_reads_audio_equally_in_every_locale(tmp_path, locale):
    write_sound(f"{tmp_path}/한글/{NAME}.wav")
    script = (
        "from espnet_ext.data.audio import load_audio; import sys; "
        r"path = sys.argv[1] + '/\ud55c\uae00/\ubc1c\ud654 \u00e9.wav'; "
        "print(len(load_audio(path)[0]))"
    )
    done = run_in_locale(["-c", script], LOCALES[locale](tmp_path), str(tmp_path))
    assert done.stdout.decode().strip() == str(RATE), done.stderr.decode()


def test_names_that_are_not_utf8_are_printed(tmp_path):
    folder = os.fsencode(make_directory(tmp_path / "d", lang="ko"))
    renamed = os.fsencode(tmp_path) + b"/" + "한글".encode("cp949")
    os.rename(folder, renamed)
    os.symlink(renamed, folder)  # wav.scp refers to it
    done = run_in_locale(["-m", "espnet_ext.bin.validate"], {"LC_ALL": "C.UTF-8"}, renamed)
    assert b"Traceback" not in done.stderr
    assert renamed + b": 4 utterances" in done.stdout
