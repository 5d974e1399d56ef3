"""Tests of Common Voice: unquoted tables, official sets, more training clips, accents, MP3."""

import importlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import client, prepare_corpus, write_commonvoice

from espnet_ext.bin import cli
from espnet_ext.bin import prepare as command
from espnet_ext.corpora import commonvoice
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.directory import read_directory
from espnet_ext.data.validate import validate_directory
from espnet_ext.errors import UserError

TABLES = {
    "train": [
        ("a", "c1", 'He said "no.', "United States English"),
        ("b", "c2", "It’s – fine!", "German English,Non native speaker"),
    ],
    "dev": [("c", "c3", "One.", "England English|United States English")],
    "test": [("d", "c4", "Two.", "Filipino")],
    "validated": [
        ("a", "c1", 'He said "no.', ""),
        ("a", "c5", "More.", ""),
        ("c", "c6", "Held out.", ""),
    ],
    "other": [("e", "c7", "Unjudged.", "")],
}


def by_clip(utterances):
    return {utterance.utt_id.partition("-")[2]: utterance for utterance in utterances}


def test_official_sets_speakers_and_first_languages(tmp_path):
    report = Report("commonvoice")
    sets = prepare_corpus(commonvoice, write_commonvoice(tmp_path, TABLES), report=report)
    train = by_clip(sets["train"])
    assert {name: len(part) for name, part in sets.items()} == {"train": 2, "valid": 1, "test": 1}
    assert train["c1"].texts == {"meaning": "he said no"}
    assert train["c2"].texts == {"meaning": "it's fine"}
    assert train["c1"].speaker == client("a")[:24] and train["c1"].domain == "read"
    assert [one.l1 for one in (train["c1"], train["c2"], *sets["valid"], *sets["test"])] == [
        "en",
        "de",
        "en",
        None,
    ]
    assert report.counts["accents that do not imply a first language"] == 1
    assert report.seconds[train["c1"].utt_id] == pytest.approx(0.5, abs=0.2)


def test_more_training_clips_exclude_held_out_speakers(tmp_path):
    root = write_commonvoice(tmp_path, TABLES)
    for train, clips in (("validated", {"c1", "c5"}), ("other", {"c1", "c5", "c7"})):
        report = Report("commonvoice")
        sets = prepare_corpus(commonvoice, root, train=train, text="raw", report=report)
        assert by_clip(sets["train"]).keys() == clips
        assert by_clip(sets["train"])["c1"].texts["meaning"] == 'He said "no.'
        assert report.counts["validated clips of speakers of dev and test, not used"] == 1
        held_out = {one.speaker for name in ("valid", "test") for one in sets[name]}
        assert not held_out & {one.speaker for one in sets["train"]}


def test_columns_and_paths_of_early_releases(tmp_path):
    root = write_commonvoice(tmp_path, TABLES)
    for path in (root / "en").glob("*.tsv"):
        text = path.read_text().replace("accents\tvariant", "accent\tvariant")
        path.write_text(text.replace(".mp3", "").replace("United States English", "us"))
    sets = prepare_corpus(commonvoice, root / "en")
    assert by_clip(sets["train"])["c1"].l1 == "en"


def test_command_writes_valid_directories_of_each_locale(tmp_path):
    write_commonvoice(tmp_path / "cv", TABLES)
    korean = {
        "train": [("f", "k1", "밥을 먹어요.", "")],
        "dev": [("g", "k2", "물.", "")],
        "test": [("h", "k3", "국물?", "")],
    }
    write_commonvoice(tmp_path / "cv", korean, "ko")
    argv = [
        "commonvoice",
        "--corpus_dir",
        str(tmp_path / "cv"),
        "--langs",
        "en ko",
        "--nj",
        "3",
        "--data_dir",
        str(tmp_path / "data"),
    ]
    assert command.main(argv) == 0
    for lang in ("en", "ko"):
        for name in ("train", "valid", "test"):
            findings = validate_directory(tmp_path / "data" / lang / name)
            assert not [one for one in findings if one.severity == "error"], findings
    (utterance,) = read_directory(tmp_path / "data/ko/train")
    assert utterance.texts == {"meaning": "밥을 먹어요"} and utterance.l1 is None
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("text.*")}
    assert command.main(argv) == 0
    assert before == {path: path.read_bytes() for path in (tmp_path / "data").rglob("text.*")}


def test_import_of_a_table(tmp_path, capsys):
    root = write_commonvoice(tmp_path, TABLES)
    main = importlib.import_module("espnet_ext.bin.import_").main
    argv = ["--from", "commonvoice", str(root / "en"), "--output", str(tmp_path / "out")]
    assert cli.run(main, [*argv, "--split", "validated"]) == 0
    clips = by_clip(read_directory(tmp_path / "out"))
    assert clips["c1"].texts == {"meaning": 'He said "no.'} and clips["c1"].lang == "en"
    assert clips["c1"].speaker == clips["c5"].speaker == client("a")[:24]
    assert cli.run(main, argv) == 1
    assert "choose --split train or dev" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "en/dev.tsv").unlink(), "dev.tsv: no such table"),
        (lambda root: (root / "en/dev.tsv").write_text("a\tb\n"), ":1: no column client_id, path"),
        (
            lambda root: (root / "en/dev.tsv").write_bytes(b"client_id\tpath\tsentence\n\xff\n"),
            "is not UTF-8",
        ),
        (
            lambda root: (root / "en/dev.tsv").write_text(
                "client_id\tpath\tsentence\na\tb\tc\td\n"
            ),
            ":2: 4 cells, but 3 columns",
        ),
        (
            lambda root: (root / "en/dev.tsv").write_text("client_id\tpath\tsentence\n\tb\tc\n"),
            ":2: no client_id or path",
        ),
        (lambda root: (root / "en/clips/c3.mp3").unlink(), "1 audio files cannot be read"),
        (lambda root: (root / "en/train.tsv").unlink(), "has no en/train.tsv"),
    ],
)
def test_damaged_copies_raise_user_error(tmp_path, damage, message):
    root = write_commonvoice(tmp_path, TABLES)
    damage(root)
    with pytest.raises(UserError, match=message) as error:
        prepare_corpus(commonvoice, root)
    assert error.value.remedy


def test_skip_unreadable_leaves_out_unreadable_clips(tmp_path):
    root = write_commonvoice(tmp_path, TABLES)
    (root / "en/clips/c1.mp3").write_text("")
    report = Report("commonvoice")
    sets = prepare_corpus(commonvoice, root, skip_unreadable=True, report=report)
    assert by_clip(sets["train"]).keys() == {"c2"}
    (reason,) = report.left_out.values()
    assert reason.startswith("unreadable audio: ") and "clips/c1.mp3" in reason


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=30), max_size=6))
def test_any_table_is_read_or_raises_user_error(tmp_path_factory, lines):
    root = tmp_path_factory.getbasetemp() / "cv_fuzz"
    write_commonvoice(root, TABLES)
    head = "client_id\tpath\tsentence\n" if len(lines) % 2 else ""
    (root / "en/dev.tsv").write_text(
        head + "\n".join(lines), encoding="utf-8", errors="surrogatepass"
    )
    try:
        sets = prepare_corpus(commonvoice, root, skip_unreadable=True)
        assert all(one.texts.get("meaning", "x") for one in sets["valid"])
    except UserError as error:
        assert error.remedy


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_words_removes_punctuation_and_is_idempotent(text):
    words = commonvoice.words(text)
    assert commonvoice.words(words) == words
    assert not set(words) & set('.,!?"“”()[]{};:…。、')


def test_import_reports_all_bad_lines_together(tmp_path, capsys):
    root = write_commonvoice(tmp_path, TABLES)
    main = importlib.import_module("espnet_ext.bin.import_").main
    argv = ["--from", "commonvoice", str(root / "en"), "--split", "train"]
    argv += ["--output", str(tmp_path / "out")]
    assert cli.run(main, [*argv, "--id", "nothing"]) == 1
    assert "has no column nothing" in capsys.readouterr().err
    table = root / "en/train.tsv"
    lines = table.read_text().splitlines()
    lines[1] += "\ttoo\tmany" + "\tcells" * 20
    table.write_text("\n".join([*lines, "\tc9.mp3\tSomeone.", ""]))
    (root / "en/clips" / "c2.mp3").unlink()
    assert cli.run(main, argv) == 1
    error = capsys.readouterr().err
    for part in ("3 errors of 3 kinds", "train.tsv:2: ", "train.tsv:4: no client_id", "c2.mp3"):
        assert part in error, (part, error)
