"""Bad corpora from AI Hub: all errors at once with remedies, and no incomplete output."""

import os
import signal
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "corpora"))

from published_korean import (  # noqa: E402
    encoded,
    label505,
    label_l2,
    pcm,
    wav,
    write_aihub,
    write_aihub_zips,
    write_ksponspeech,
    zip_of,
)

from espnet_ext.bin import cli, prepare  # noqa: E402
from espnet_ext.corpora.corpus_files import parallel_map  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.overwriting import MARK  # noqa: E402

TRAINING = "01.데이터_new_20220719/1.Training"


def run(capsys, *argv):
    """Run `prepare`; return its exit code and messages. It must not raise."""
    code = cli.run(prepare.main, [str(word) for word in argv])
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return code, message


def labels(count=30):
    stems = [f"EN10QC{number:03}_EN{number:04}_20210801" for number in range(count)]
    return {stem: encoded(label505(stem, stem.split("_")[1], "가", "나")) for stem in stems}


def corpora(folder):
    l2 = {
        f"{n:05}-F-91-VI-A-LAR010-{n:07}": encoded(label_l2(f"{n:05}", "가", "나"))
        for n in range(30)
    }
    kspon = {
        name: {
            f"KsponSpeech_{'E' * ('eval' in name)}{start + n:0{5 + ('eval' not in name)}}": "네"
            for n in range(3)
        }
        for name, start in (("train", 1), ("dev", 620001), ("eval_clean", 1), ("eval_other", 9))
    }
    return {
        "aihub505": write_aihub(folder / "a", {"train": labels()}),
        "aihub_l2": write_aihub(folder / "b", {"train": l2}),
        "ksponspeech": write_ksponspeech(folder / "c", kspon),
    }


CORPORA = ("aihub505", "aihub_l2", "ksponspeech")


@pytest.mark.parametrize("corpus", CORPORA)
def test_paths_without_the_corpus_are_refused(capsys, tmp_path, corpus):
    code, message = run(capsys, corpus, "--data_dir", tmp_path / "d")
    assert code == 1 and "no corpus path given" in message and "https://aihub.or.kr" in message
    for path in (tmp_path / "nope", tmp_path / "nope.zip"):
        code, message = run(capsys, corpus, "--corpus_dir", path, "--data_dir", tmp_path / "d")
        assert code == 1 and str(path) in message and "remedy:" in message
    (tmp_path / "music").mkdir()
    (tmp_path / "music/song.wav").write_bytes(wav())
    argv = ["--corpus_dir", tmp_path / "music", "--data_dir", tmp_path / "d"]
    code, message = run(capsys, corpus, *argv)
    assert code == 1 and ": no utterances:" in message and "1 × no label" in message
    assert not list((tmp_path / "d").iterdir())  # the temporary database is removed too


@pytest.mark.parametrize("corpus", CORPORA)
def test_unreadable_audio_is_listed_at_once_or_left_out(capsys, tmp_path, corpus):
    root = corpora(tmp_path)[corpus]
    sounds = sorted(path for path in root.rglob("*") if path.suffix in (".wav", ".pcm"))
    for path in (sounds[0], sounds[-1]):
        path.write_bytes(b"" if corpus == "ksponspeech" else b"RIFF no sound")
    argv = [corpus, "--corpus_dir", root, "--data_dir", tmp_path / "d", "--nj", "2"]
    code, message = run(capsys, *argv)
    assert code == 1 and "2 audio files cannot be read" in message
    assert sounds[0].name in message and sounds[-1].name in message
    assert "--skip_unreadable true" in message
    assert not list((tmp_path / "d").iterdir())
    code, message = run(capsys, *argv, "--skip_unreadable", "true")
    assert code == 0 and "left out: 2 × unreadable audio" in message


def test_unreadable_archives_are_listed_at_once(capsys, tmp_path):
    root = write_aihub_zips(tmp_path / "c", {"train": labels()})
    folder = root / TRAINING / "라벨링데이터"
    whole = (folder / "TL_1. 영어.zip").read_bytes()
    (folder / "TL_2. 중국어.zip").write_bytes(whole[: len(whole) // 2])
    (folder / "TL_3. 일본어.zip.part0").write_bytes(whole)
    (folder / "TL_4. 태국어.tar").write_bytes(b"")
    zip_of(folder / "TL_5. 기타.zip", {"inner.zip": whole, "a.json": b"{}"})
    with zipfile.ZipFile(folder / "TL_6. 베트남어.zip", "w", zipfile.ZIP_LZMA) as bundle:
        bundle.writestr("b.json", "{}")
    argv = ["aihub505", "--corpus_dir", root, "--data_dir", tmp_path / "d"]
    code, message = run(capsys, *argv)
    assert code == 1 and "5 folders or files cannot be read" in message
    for part in (
        "TL_2. 중국어.zip: not a complete zip archive: ",
        "TL_3. 일본어.zip.part0: unsupported archive: unpack it, or join its parts",
        "TL_4. 태국어.tar: unsupported archive",
        "TL_5. 기타.zip/inner.zip: archive inside an archive",
        "TL_6. 베트남어.zip/b.json: has compression method 14, which is not supported",
    ):
        assert part in message
    code, message = run(capsys, *argv, "--skip_unreadable", "true")
    assert code == 0 and "not read: " in message and "label names no speaker" in message


def test_names_of_members_outside_the_folder_are_harmless(capsys, tmp_path):
    """Members are read in place, so that nothing is written under their names."""
    members = {f"../../../{stem}.json": content for stem, content in labels().items()}
    members |= {f"/etc/{stem}.wav": wav() for stem in labels()}
    archive = zip_of(tmp_path / "in/corpus.zip", members)
    code, _ = run(capsys, "aihub505", "--corpus_dir", archive, "--data_dir", tmp_path / "in/d")
    assert code == 0
    written = [path.name for path in tmp_path.rglob("*") if path.suffix in (".json", ".wav")]
    assert set(written) == {"prepare.json", MARK}
    assert not list(Path("/etc").glob("EN10QC*"))


def test_too_large_label_in_an_archive_is_not_read(capsys, tmp_path):
    members = {f"{stem}.json": content for stem, content in labels().items()}
    members |= {f"{stem}.wav": wav() for stem in labels()}
    members["bomb.json"] = b" " * 50_000_000
    archive = zip_of(tmp_path / "corpus.zip", members)
    code, message = run(capsys, "aihub505", "--corpus_dir", archive, "--data_dir", tmp_path / "d")
    assert code == 0 and "label cannot be read: … bytes are too many" in message


def test_audio_paths_that_are_not_utf8_are_errors_and_label_paths_are_not(capsys, tmp_path):
    root = write_aihub(tmp_path / "c", {"train": labels()})
    folder = root / TRAINING / "원천데이터"
    old = os.fsencode(folder) + b"/" + "한국".encode("cp949")
    os.rename(folder / "TS_1. 영어", old)
    code, message = run(capsys, "aihub505", "--corpus_dir", root, "--data_dir", tmp_path / "d")
    assert code == 1 and "30 × its path is not UTF-8" in message and "convmv" in message
    os.rename(old, folder / "TS_1. 영어")
    for path in list((root / TRAINING / "라벨링데이터").rglob("*.json")):  # labels are only read
        os.rename(path, os.fsencode(path.parent) + b"/\xb0\xa1" + os.fsencode(path.name))
    code, message = run(capsys, "aihub505", "--corpus_dir", root, "--data_dir", tmp_path / "d")
    assert code == 0 and "30 × labels whose fileName differs from their own name" in message


def test_circular_links_are_followed_once(capsys, tmp_path):
    root = write_aihub(tmp_path / "c", {"train": labels()})
    (root / "again").symlink_to(root, target_is_directory=True)
    code, message = run(capsys, "aihub505", "--corpus_dir", root, "--data_dir", tmp_path / "d")
    assert code == 0 and "duplicate" not in message


def test_damaged_lists_are_errors(capsys, tmp_path):
    root = corpora(tmp_path)["ksponspeech"]
    content = (root / "KsponSpeech_scripts/train.trn").read_bytes()
    (root / "KsponSpeech_scripts/train.trn").unlink()
    (root / "KsponSpeech_scripts/test.trn").write_bytes(content)
    zip_of(root / "scripts.zip", {"train.trn": content * 2000})
    damaged = bytearray((root / "scripts.zip").read_bytes())
    damaged[200:260] = bytes(60)
    (root / "scripts.zip").write_bytes(damaged)
    argv = ["ksponspeech", "--corpus_dir", root, "--data_dir", tmp_path / "d"]
    code, message = run(capsys, *argv)
    assert code == 1
    unreadable = "scripts.zip/train.trn: cannot read"
    assert unreadable in message or "test.trn: a list that is not" in message
    (root / "scripts.zip").unlink()
    code, message = run(capsys, *argv)
    assert (
        code == 1
        and "KsponSpeech_scripts/test.trn: a list that is not one of the published sets" in message
    )


@pytest.mark.parametrize("corpus", CORPORA)
def test_unwritable_output_folder_is_an_error(capsys, tmp_path, corpus):
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("no /dev/full here")
    (tmp_path / "d").write_text("a file where a folder should be")
    root = corpora(tmp_path)[corpus]
    code, message = run(capsys, corpus, "--corpus_dir", root, "--data_dir", tmp_path / "d")
    assert code == 1 and f"{tmp_path}/d: cannot write" in message


def test_invalid_pseudonym_keys_are_errors(capsys, tmp_path):
    root = corpora(tmp_path)["aihub505"]
    argv = ["aihub505", "--corpus_dir", root, "--data_dir", tmp_path / "d", "--pseudonym_key_file"]
    code, message = run(capsys, *argv, tmp_path / "no")
    assert code == 1 and f"{tmp_path}/no: cannot read" in message
    (tmp_path / "empty").write_text("\n")
    code, message = run(capsys, *argv, tmp_path / "empty")
    assert code == 1 and "is empty" in message


def test_bad_usage_exits_2():
    for argv in (
        ["aihub505", "--disfluencies", "surface"],
        ["aihub_l2", "--lang", "fr"],
        ["ksponspeech", "--labels", "wav"],
        ["ksponspeech", "--split", "auto"],
    ):
        with pytest.raises(SystemExit) as caught:
            prepare.main(argv)
        assert caught.value.code == 2


def test_sound_shorter_than_a_sample_is_an_error(capsys, tmp_path):
    root = corpora(tmp_path)["ksponspeech"]
    sound = next(iter(sorted(root.rglob("*.pcm"))))
    sound.write_bytes(pcm()[:1])
    code, message = run(capsys, "ksponspeech", "--corpus_dir", root, "--data_dir", tmp_path / "d")
    assert code == 1 and f"{sound}: has no samples" in message


def kill_self(item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_reader_raises_user_error():
    with pytest.raises(UserError, match="reading the corpus was killed"):
        list(parallel_map(kill_self, range(8), 2))
