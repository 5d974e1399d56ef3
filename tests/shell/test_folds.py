"""The cross-validation recipe egs2/l2arctic/folds1."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "egs2/l2arctic/folds1/run.sh"
SYSTEMS = {"so_surface": ["surface"], "do": ["surface", "meaning"]}


def run(*options):
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, options)], capture_output=True, text=True, encoding="utf-8"
    )


@pytest.fixture
def corpora(tmp_path):
    for folder in ("ABA/annotation", "BWC/annotation", "suitcase_corpus/annotation"):
        (tmp_path / "l2arctic" / folder).mkdir(parents=True)
    (tmp_path / "speechocean762").mkdir()
    return ["--l2arctic", tmp_path / "l2arctic", "--speechocean762", tmp_path / "speechocean762"]


def write_table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key} {value}\n" for key, value in sorted(rows.items())))


def write_fold(folder, speaker, utterances):
    """Write the test sets of a fold, and hypotheses: surfaces with one error per utterance."""
    for dset in ("test", "test_seen"):
        data = folder / "dump/raw/en" / dset
        ids = [f"{speaker}_{dset}{number}" for number in range(utterances)]
        tables = {
            "text.surface": "DH AH K AE T",
            "text.canonical": "DH AH K AE T",
            "text.meaning": "the cat",
            "utt2spk": speaker,
        }
        for name, value in tables.items():
            write_table(data / name, dict.fromkeys(ids, value))
        write_table(data / "spk2utt", {speaker: " ".join(ids)})
        wavs = {}
        for utt_id in ids:
            wavs[utt_id] = folder / f"{utt_id}.wav"
            soundfile.write(wavs[utt_id], np.zeros(1600, np.float32), 16000)
        write_table(data / "wav.scp", wavs)
        for system, outputs in SYSTEMS.items():
            decoded = folder / f"exp/en/{system}_folds/decode" / dset
            for output in outputs:
                text = "DH AH K AE" if output == "surface" else "the cat"
                write_table(decoded / f"text.{output}", dict.fromkeys(ids, text))
            for variant in ("prompt", "twopass") if system == "do" else ("prompt",):
                decoded = folder / f"exp/en/{system}_folds/decode_{variant}" / dset
                for output in outputs:
                    text = "DH AH K AE T" if output == "surface" else "the cat"
                    write_table(decoded / f"text.{output}", dict.fromkeys(ids, text))
                prior = {"prompt": variant == "prompt", "file": f"{folder}/text.canonical"}
                record = {"canonical": prior, "seconds": 1.5, "audio_seconds": 3, "rtf": 0.5}
                (decoded / "decode.json").write_text(json.dumps(record))


def test_help_names_every_option():
    done = run("--help")
    assert done.returncode == 0
    cases = re.search(r"(--l2arctic \|.*?)\)\n", SCRIPT.read_text(encoding="utf-8"), re.S)[1]
    options = re.findall(r"--\w+", cases)
    assert len(options) == 11 and all(f"  {option} " in done.stdout for option in options)


def test_unusable_options_are_reported(corpora, tmp_path):
    for options, message in (
        (["--seed", 1], "unknown option --seed"),
        (["--nj"], "--nj needs a value"),
        (["--stage=3"], "write option and value with a space: --stage 3"),
        ([*corpora, "--stage", "abc"], "--stage 'abc' is not a whole number"),
        ([*corpora, "--stop_stage", ""], "--stop_stage '' is not a whole number"),
        ([*corpora, "--stage", 5, "--stop_stage", 4], "there are no stages from 5 to 4"),
        ([*corpora, "--nj", 0], "--nj and --parallel_trainings are at least 1"),
        ([*corpora, "--systems", "do foo"], "there is no conf/systems/foo.yaml"),
        ([*corpora, "--systems", ""], "--systems is empty"),
        ([], "--l2arctic '' is not a folder"),
        ([*corpora[:2], "--speechocean762", tmp_path / "none"], "is not a folder"),
        ([*corpora, "--speakers", "suitcase_corpus"], "no annotated speaker suitcase_corpus"),
    ):
        done = run(*options)
        assert done.returncode == 2 and message in done.stderr, done.stderr


def test_folds_are_pooled(corpora, tmp_path):
    """Every utterance of all folds is scored once, and the report has both test sets."""
    for speaker, utterances in (("ABA", 2), ("BWC", 3)):
        write_fold(tmp_path / "out" / speaker, speaker, utterances)
    options = ["--speakers", "ABA BWC", "--systems", " ".join(SYSTEMS), "--dir", tmp_path / "out"]
    done = run(*corpora, *options, "--stage", 6, "--stop_stage", 6)
    assert done.returncode == 0, done.stderr
    assert "analysis cka is not run for en: " in done.stderr  # no model of all folds
    exp = tmp_path / "out/pooled/exp"
    for dset in ("test", "test_seen"):
        decoded = exp / "en/do_folds/decode" / dset
        cell = json.loads((decoded / "score.json").read_text())["cells"][0]
        assert cell["name"] == "surface-surface" and cell["utterances"] == 5
        assert (decoded / "mdd.json").exists() and (decoded / "mdd_no_prompt.json").exists()
        assert (exp / f"en/analysis/cross_{dset}.json").exists()
    record = json.loads((exp / "en/do_folds/decode_prompt/test/decode.json").read_text())
    assert record == {
        "canonical": {"prompt": True},
        "seconds": 3.0,
        "audio_seconds": 6,
        "rtf": 0.5,
    }
    results = (exp / "RESULTS.md").read_text()
    assert "so_surface_prompt, do_prompt: decoded with the canonical form of the prompt" in results
    assert results.count("20.00") >= 4


def test_utterance_in_two_folds_is_refused(corpora, tmp_path):
    for speaker in ("ABA", "BWC"):
        write_fold(tmp_path / "out" / speaker, speaker, 1)
        table = tmp_path / "out" / speaker / "exp/en/do_folds/decode/test/text.surface"
        table.write_text("ABA_test0 DH AH\n")
    options = ["--speakers", "ABA BWC", "--systems", "do", "--dir", tmp_path / "out"]
    done = run(*corpora, *options, "--stage", 6, "--stop_stage", 6)
    assert done.returncode == 1 and "ABA_test0: is in two folds" in done.stderr
