"""Tests of Speak & Improve: STMs paired by time, word annotation, cutting, splits, damage."""

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import RATE, prepare_corpus, write_speakandimprove

from espnet_ext.bin import prepare as command
from espnet_ext.corpora import speakandimprove
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.directory import read_directory
from espnet_ext.data.validate import validate_directory
from espnet_ext.errors import UserError

IGNORED = speakandimprove.IGNORED


def words(text, **marks):
    """Return the items of an annotated transcript.

    `word!` has the mark `marks[word]`, by default "disfluency"; `(…)` is a tag; `|` ends a phrase.
    """
    items = []
    for word in text.split():
        if word == "|":
            items.append({"tag": "speech-unit-statement"})
        elif word.startswith("("):
            items.append({"tag": word.strip("()")})
        else:
            name = word.rstrip("!")
            item = {"word": name.upper()}
            if word.endswith("!"):
                item["marks"] = [marks.get(name, "disfluency")]
            items.append(item)
    return items


FULL = {
    "seconds": 4.0,
    "phrases": [
        (
            0.0,
            1.5,
            "i i live in (%hesitation%) (lon-) london",
            "i live in london",
            "i live in london",
        ),
        (1.5, 20.0, "we is happy", "we is happy", "we are happy"),
    ],
    "marks": words("i! i live in (hesitation) lon! london | we is happy |", lon="partial"),
}
VERBATIM = {  # not corrected; the annotators excluded its second phrase
    "seconds": 3.0,
    "phrases": [
        (0.0, 1.0, "and and so", None, None),
        (1.0, 2.0, IGNORED, None, None),
        (2.0, 20.0, "i think video", None, None),
    ],
    "marks": words(
        "and! and so | it (foreign-proper-noun) | i think video! |", video="pronunciation"
    ),
}
SETS = {
    "train": {"SI1A-00001-P10005": FULL, "SI1A-00001-P30017": VERBATIM, "SI1A-00002-P10005": FULL},
    "dev": {"SI2B-00009-P40018": FULL},
}


def prepare(tmp_path, sets=SETS, **options):
    root = write_speakandimprove(tmp_path / "corpus", sets)
    return prepare_corpus(speakandimprove, root, data_dir=tmp_path, **options)


def by_id(sets):
    return {utterance.utt_id: utterance for of_set in sets.values() for utterance in of_set}


def test_transcripts_and_audio_of_a_phrase(tmp_path):
    report = Report("speakandimprove")
    utterances = by_id(prepare(tmp_path, report=report))
    first = utterances["SI1A-00001-P10005-000000"]
    assert first.texts == {
        "surface": "i i live in uh lon- london",
        "fluent": "i live in london",
        "meaning": "i live in london",
    }
    second = utterances["SI1A-00001-P10005-000150"]
    assert (second.texts["fluent"], second.texts["meaning"]) == ("we is happy", "we are happy")
    assert (second.speaker, second.domain, second.lang) == ("SI1A-00001", "P1", "en")
    whole, _ = soundfile.read(tmp_path / "corpus/data/flac/train/01/SI1A-00001-P10005.flac")
    cut = int(1.5 * RATE)
    assert np.allclose(soundfile.read(first.audio)[0], whole[:cut], atol=2**-15)
    # The STM gives an end at 20 s; the recording has 4 s.
    assert np.allclose(soundfile.read(second.audio)[0], whole[cut:], atol=2**-15)
    assert report.seconds[second.utt_id] == 2.5


def test_uncorrected_phrase_has_surface_and_fluent_from_the_annotation(tmp_path):
    report = Report("speakandimprove")
    utterances = by_id(prepare(tmp_path, report=report))
    first, last = (utterances[f"SI1A-00001-P30017-{at}"] for at in ("000000", "000200"))
    assert first.texts == {"surface": "and and so", "fluent": "and so"}
    assert last.texts == {"surface": "i think video", "fluent": "i think video"}
    assert report.unlabelled[first.utt_id] == {"meaning": "not annotated"}
    assert report.left_out == {"SI1A-00001-P30017-000100": "no transcript of any kind"}
    assert report.counts["fluent phrases taken from the word annotation"] == 2
    assert report.counts["words marked pronunciation"] == 1
    assert report.counts["tags foreign-proper-noun"] == 1


def test_fluent_from_the_annotation_equals_the_fluent_stm(tmp_path):
    units = speakandimprove.split_units(FULL["marks"])
    for unit, phrase in zip(units, FULL["phrases"], strict=True):
        assert speakandimprove.fluent(unit) == (phrase[3], "")


@pytest.mark.parametrize("change", ["one phrase more", "another word", "an odd tag", "an odd mark"])
def test_annotation_that_does_not_match_is_not_used(tmp_path, change):
    marks = {
        "one phrase more": words("and! and so | x | it | i think video |"),
        "another word": words("and! but so | it | i think video |"),
        "an odd tag": words("and! and (unknown) so | it | i think (odd) video |"),
        "an odd mark": words("and! and so! | it | i think video! |", so="odd", video="odd"),
    }[change]
    sets = {
        "train": {**SETS["train"], "SI1A-00001-P30017": {**VERBATIM, "marks": marks}},
        "dev": SETS["dev"],
    }
    report = Report("speakandimprove")
    utterances = by_id(prepare(tmp_path, sets, report=report))
    first = utterances["SI1A-00001-P30017-000000"]
    assert first.texts == {"surface": "and and so"}
    assert report.unlabelled[first.utt_id]["fluent"]


@pytest.mark.parametrize("hesitation", ["", "none"])
def test_hesitations_and_partial_words_can_be_dropped(tmp_path, hesitation):
    utterances = by_id(prepare(tmp_path, hesitation=hesitation, partials=False))
    assert utterances["SI1A-00001-P10005-000000"].texts["surface"] == "i i live in london"


def test_split_with_and_without_evaluation_set(tmp_path):
    sets = prepare(tmp_path)
    speakers = {name: {one.speaker for one in part} for name, part in sets.items()}
    assert speakers == {"train": {"SI1A-00001"}, "valid": {"SI1A-00002"}, "test": {"SI2B-00009"}}
    more = {**SETS, "eval": {"SI3C-00007-P10005": FULL}}
    sets = prepare(tmp_path / "b", more)
    speakers = {name: {one.speaker for one in part} for name, part in sets.items()}
    assert speakers["valid"] == {"SI2B-00009"} and speakers["test"] == {"SI3C-00007"}


def test_command_writes_valid_directories_and_cuts_once(tmp_path):
    root = write_speakandimprove(tmp_path / "c", SETS)
    argv = [
        "speakandimprove",
        "--corpus_dir",
        str(root),
        "--data_dir",
        str(tmp_path / "d"),
        "--nj",
        "2",
    ]
    assert command.main(argv) == 0
    for name in ("train", "valid", "test"):
        findings = validate_directory(tmp_path / "d/en" / name)
        assert not [one for one in findings if one.severity == "error"], findings
    assert len(read_directory(tmp_path / "d/en/test")) == 2
    cut = {path: path.stat().st_mtime_ns for path in (tmp_path / "d").rglob("*.flac")}
    assert len(cut) == 8  # one of nine phrases has no transcript
    assert command.main(argv) == 0
    assert cut == {path: path.stat().st_mtime_ns for path in (tmp_path / "d").rglob("*.flac")}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: (m / "stms/dev-asr.stm").unlink(), "has only: train"),
        (lambda m: (m / "stms/train-asr.stm").write_text("a b c\n"), "1 lines are not phrases"),
        (lambda m: (m / "stms/train-asr.stm").write_text("f 1 s 2.0 1.0 <o> x\n"), "not phrases"),
        (lambda m: (m / "stms/train-asr.stm").write_text("../f 1 s 0 1 <o> x\n"), "not phrases"),
        (
            lambda m: (m / "stms/train-asr.stm").write_text("f 1 s 0 1 <o> x\nf 1 s 0 2 <o> y\n"),
            "two phrases start at 0 s",
        ),
        (lambda m: (m / "stms/train-asr.stm").write_bytes(b"\xff"), "not UTF-8"),
        (lambda m: (m / "flists.flac/train-asr.tsv").unlink(), "has no flists.flac/train-asr.tsv"),
        (
            lambda m: (m / "flists.flac/train-asr.tsv").write_text("a b\n"),
            ":1: expected a name and",
        ),
        (
            lambda m: (m / "flists.flac/train-asr.tsv").write_text("a\tb\n"),
            "none of its files exists",
        ),
        (lambda m: (m / "annotations/train-trans-ref.json").write_text("[]"), "unexpected content"),
        (lambda m: (m / "annotations/train-trans-ref.json").write_text("{"), "not valid JSON"),
    ],
)
def test_damaged_copies_raise_user_error(tmp_path, damage, message):
    root = write_speakandimprove(tmp_path / "c", SETS)
    damage(root / "reference-materials")
    with pytest.raises(UserError, match=message) as error:
        prepare_corpus(speakandimprove, root, data_dir=tmp_path)
    assert error.value.remedy


def test_missing_and_short_recordings(tmp_path):
    train = {**SETS["train"], "SI1A-00003-P10005": FULL}
    root = write_speakandimprove(tmp_path / "c", {**SETS, "train": train})
    (root / "data/flac/train/01/SI1A-00001-P30017.flac").unlink()
    report = Report("speakandimprove")
    utterances = by_id(prepare_corpus(speakandimprove, root, data_dir=tmp_path, report=report))
    assert len(utterances) == 8
    assert report.left_out["SI1A-00001-P30017-000000"] == "no audio"
    soundfile.write(root / "data/flac/train/01/SI1A-00001-P10005.flac", np.zeros(RATE // 2), RATE)
    with pytest.raises(UserError, match="2 phrases cannot be cut"):
        prepare_corpus(speakandimprove, root, data_dir=tmp_path)
    kept = prepare_corpus(speakandimprove, root, data_dir=tmp_path, skip_unreadable=True)
    assert len(by_id(kept)) == 6


TOKEN = st.sampled_from(["so", "(%hesitation%)", "(lon-)", "it's", "{", "/", "(a)", "@", "--", "É"])


@settings(max_examples=300, deadline=None)
@given(st.lists(TOKEN | st.text(max_size=5), max_size=6))
def test_read_words_returns_words_or_a_reason(tokens):
    text, reason = speakandimprove.read_words(" ".join(tokens))
    assert bool(text) != bool(reason)
    assert not set(text) & set("(){}@<>%")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=80), st.integers(0, 300))
def test_any_stm_is_read_or_raises_user_error(tmp_path, noise, position):
    root = write_speakandimprove(tmp_path / "c", {"train": SETS["dev"]})
    path = root / "reference-materials/stms/train-asr.stm"
    content = path.read_bytes()
    path.write_bytes(content[:position] + noise + content[position:])
    try:
        for phrase in speakandimprove.read_stm(path):
            assert phrase.end > phrase.start >= 0 and "/" not in phrase.file
    except UserError as error:
        assert error.remedy
