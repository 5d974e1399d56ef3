"""Tests of `--sets`: only the named sets are prepared, and only their data must be there."""

import json
import shutil

import pytest
from published import (
    word,
    write_commonvoice,
    write_epadb,
    write_l2arctic,
    write_sound,
    write_speakandimprove,
    write_speechocean762,
)
from published_korean import encoded, label505, write_aihub, write_ksponspeech

from espnet_ext.bin import cli, prepare
from espnet_ext.corpora.registry import CORPORA
from espnet_ext.data.directory import read_directory


def run(*argv):
    return cli.run(prepare.main, [str(word) for word in argv])


def prepared(folder):
    """Return the ids of each set of a language's folder."""
    return {
        path.name: [one.utt_id for one in read_directory(path)]
        for path in sorted(folder.iterdir())
        if path.is_dir()
    }


def l2arctic(root):
    stems = {f"a{i}": (f"Hi {'there' * i}", ["HH", "AY1,AA,s"]) for i in range(3)}
    return write_l2arctic(root, {name: stems for name in ("ABA", "HJK", "NCC", "TLV", "NJS")})


def speechocean762(root):
    def part(numbers):
        return {f"{n:04}": [(f"{n:04}1", [word("RED", "R EH1 D")])] for n in numbers}

    return write_speechocean762(root, {"train": part(range(1, 30)), "test": part([99])})


def commonvoice(root):
    tables = ("train", "dev", "test", "validated")
    return write_commonvoice(
        root,
        {name: [(f"{name}{n}", f"{name}{n}", "A b.", "") for n in range(3)] for name in tables},
    )


def epadb(root):
    sentences = {"1": ("Our toy", ["AW", "ER", "Th", "OY"])}
    return write_epadb(
        root, {"train": {"spkr1": sentences, "spkr2": sentences}, "test": {"spkr3": sentences}}
    )


def speakandimprove(root):
    recording = {"seconds": 2.0, "phrases": [(0.0, 2.0, "so i go", "so i go", "i went")]}
    train = {f"SI-{n:05}-P10005": recording for n in range(4)}
    return write_speakandimprove(root, {"train": train, "dev": {"SI-00009-P10005": recording}})


def ksponspeech(root):
    return write_ksponspeech(
        root,
        {
            "train": {"KsponSpeech_000001": "네"},
            "dev": {"KsponSpeech_620001": "네"},
            "eval_clean": {"KsponSpeech_E00001": "네"},
            "eval_other": {"KsponSpeech_E00016": "네"},
        },
    )


def labels(numbers, speakers=20):
    stems = [f"EN10QC{number:03}_EN{number % speakers:04}_20210801" for number in numbers]
    return {stem: encoded(label505(stem, stem.split("_")[1], "가", "나")) for stem in stems}


def aihub505(root):
    return write_aihub(root, {"train": labels(range(30)), "valid": labels(range(30, 40))})


# Corpus → (writes it, language, part of the paths of what only the training set needs)
CASES = {
    "l2arctic": (l2arctic, "en", ("ABA", "HJK", "NCC")),
    "speechocean762": (speechocean762, "en", ("train",)),
    "commonvoice": (commonvoice, "en", ("train.tsv", "dev.tsv", "validated.tsv")),
    "epadb": (epadb, "en", ("train/spkr1", "train/spkr2")),
    "speakandimprove": (speakandimprove, "en", ("train-asr.stm", "flac/train")),
    "ksponspeech": (
        ksponspeech,
        "ko",
        ("train.trn", "dev.trn", "KsponSpeech_01", "KsponSpeech_05"),
    ),
    "aihub505": (aihub505, "ko", ("1.Training",)),
}


@pytest.mark.parametrize("name", CASES)
def test_test_sets_need_no_training_data(tmp_path, name):
    """They are the same as when everything is prepared, and the other sets stay as they are."""
    write, lang, training = CASES[name]
    root = write(tmp_path / "corpus")
    argv = [name, "--corpus_dir", root, "--data_dir"]
    assert run(*argv, tmp_path / "all") == 0
    everything = prepared(tmp_path / "all" / lang)
    assert list(everything) == sorted(CORPORA[name].sets) and all(everything.values())
    tests = [one for one in CORPORA[name].sets if one not in ("train", "valid", "dev")]
    for path in sorted(root.rglob("*"), reverse=True):
        if any(str(path).endswith(part) for part in training):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert run(*argv, tmp_path / "test", "--sets", " ".join(tests)) == 0
    only = prepared(tmp_path / "test" / lang)
    assert only == {test: everything[test] for test in tests}
    report = json.loads((tmp_path / "test" / lang / "prepare.json").read_text())
    assert list(report["sets"]) == tests and report["left_out"] == {}
    assert report["notes"][0] == f"only {' and '.join(tests)}: --sets"
    if name not in ("l2arctic", "aihub505"):  # which split the rest
        assert run(*argv, tmp_path / "none") == 1
    assert run(*argv, tmp_path / "all", "--sets", tests[0]) == 0
    assert prepared(tmp_path / "all" / lang) == everything
    earlier = [path.name for path in (tmp_path / "all" / lang).glob("prepare_*.json")]
    assert earlier == [f"prepare_{'_'.join(CORPORA[name].sets)}.json"]


@pytest.mark.parametrize("name", CASES)
def test_training_sets_need_no_test_data(tmp_path, name):
    write, lang, _ = CASES[name]
    root = write(tmp_path / "corpus")
    argv = [name, "--corpus_dir", root, "--data_dir"]
    assert run(*argv, tmp_path / "all") == 0
    everything = prepared(tmp_path / "all" / lang)
    train = [one for one in CORPORA[name].sets if one in ("train", "valid", "dev")]
    for path in sorted(root.rglob("*"), reverse=True):
        parts = ("/TLV", "/NJS", "/test", "test.tsv", "dev-asr.stm", "/eval_clean", "2.Validation")
        if name == "commonvoice":
            parts = ("test.tsv",)
        if any(str(path).endswith(part) for part in parts) and not str(path).endswith("/data/test"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    split = ["--split", "official"] if name == "aihub505" else []
    assert run(*argv, tmp_path / "train", *split, "--sets", " ".join(train)) == 0
    only = prepared(tmp_path / "train" / lang)
    assert only == {one: everything[one] for one in train}


def test_embedded_corpus_synthesises_only_the_requested_sets(tmp_path):
    pytest.importorskip("espeakng_loader")
    argv = ["mini_l2", "--langs", "en", "--quick", "true", "--data_dir", tmp_path]
    assert run(*argv, "--sets", "test") == 0
    assert {name: len(ids) for name, ids in prepared(tmp_path / "en").items()} == {"test": 24}
    assert len(list((tmp_path / "mini_l2_audio").rglob("*.flac"))) == 24


@pytest.mark.parametrize("name", ["aihub505", "epadb", "l2arctic"])
def test_two_speakers_can_be_one_set(tmp_path, name, capsys):
    sentences = {str(n): ("Our toy", ["AW", "ER", "Th", "OY"]) for n in (1, 2)}
    stems = {f"a{i}": ("Hi", ["HH", "AY1,AA,s"]) for i in range(3)}
    root = tmp_path / "corpus"
    if name == "epadb":
        write_epadb(root, {"": {"spkr1": sentences, "spkr2": sentences}})
    elif name == "l2arctic":
        write_l2arctic(root, {"ABA": stems, "HJK": stems})
    else:
        write_aihub(root, {"train": labels(range(6), speakers=2)})
    argv = [name, "--corpus_dir", root, "--data_dir"]
    if name != "l2arctic":  # which splits the sentences of two speakers
        assert run(*argv, tmp_path / "all") == 1
    assert run(*argv, tmp_path / "test", "--sets", "test") == 0
    ((_, ids),) = prepared(next((tmp_path / "test").iterdir())).items()
    assert len(ids) == {"epadb": 4, "l2arctic": 6, "aihub505": 6}[name]
    assert (
        f"all {'2 ' if name == 'aihub505' else ''}speakers are in test" in capsys.readouterr().err
    )


def test_validation_part_alone_is_the_test_set_only_on_request(tmp_path):
    root = write_aihub(tmp_path / "corpus", {"valid": labels(range(40))})
    argv = ["aihub505", "--corpus_dir", root, "--data_dir"]
    assert run(*argv, tmp_path / "all") == 0  # split by speakers
    assert [len(ids) for ids in prepared(tmp_path / "all/ko").values()] == [4, 32, 4]
    assert run(*argv, tmp_path / "test", "--sets", "test") == 0
    assert {name: len(ids) for name, ids in prepared(tmp_path / "test/ko").items()} == {"test": 40}
    assert run(*argv, tmp_path / "same", "--sets", "test", "--split", "speakers") == 0
    assert prepared(tmp_path / "same/ko")["test"] == prepared(tmp_path / "all/ko")["test"]


def test_one_list_of_ksponspeech_is_enough(tmp_path):
    """The lists of all sets and the audio of one: only what is missing of this set is reported."""
    root = ksponspeech(tmp_path / "corpus")
    shutil.rmtree(root / "KsponSpeech_01")
    shutil.rmtree(root / "KsponSpeech_eval/eval_other")
    argv = ["ksponspeech", "--corpus_dir", root, "--data_dir", tmp_path / "d"]
    assert run(*argv, "--sets", "eval_clean") == 0
    assert prepared(tmp_path / "d/ko") == {"eval_clean": ["KsponSpeech_E00001"]}
    report = json.loads((tmp_path / "d/ko/prepare.json").read_text())
    assert report["left_out"] == {}


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("tests", "'tests' is not one of all, train, valid, test"),
        ("", "is empty; choose among all, train"),
        ("train exam", "'exam' is not one of"),
    ],
)
def test_unknown_sets_are_wrong_usage(tmp_path, capsys, sets, message):
    with pytest.raises(SystemExit) as caught:
        run("epadb", "--corpus_dir", tmp_path, "--sets", sets)
    assert caught.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=lambda corpus: corpus.name)
def test_every_corpus_and_recipe_has_the_option(corpus):
    option = corpus.options[1]
    assert option.name == "sets"
    assert option.choices == ("all", *corpus.sets, *corpus.optional_sets)
    assert option in corpus.recipe_options or "sets" in [one.name for one in corpus.recipe_options]
    assert not option.problem("all") and not option.problem(" ".join(corpus.sets))


def test_corpus_that_ignores_the_option_writes_only_the_named_sets(tmp_path, monkeypatch):
    from espnet_ext.corpora.registry import Corpus, Option

    folder = Option("corpus_dir", "", "folder of sounds", "path", (), "corpus", "toy")
    options = (folder, Option("case", "lower", "case"), Option("drop", "", "words", "words"))
    monkeypatch.setitem(CORPORA, "toy", Corpus("toy", "a toy", "toy_corpus", ("en",), options))
    for number in range(3):
        write_sound(tmp_path / f"corpus/s{number}_yes.wav")
    argv = ["toy", "--corpus_dir", tmp_path / "corpus", "--data_dir", tmp_path / "d"]
    assert run(*argv, "--sets", "valid test") == 0
    assert list(prepared(tmp_path / "d/en")) == ["test", "valid"]
