"""Speak & Improve: STMs paired by time, marks, cutting, splits, faulty copies."""

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import RATE, write_speakandimprove

from espnet_ext.bin import prepare as command
from espnet_ext.corpora import speakandimprove
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.directory import read_directory
from espnet_ext.data.validate import validate_directory
from espnet_ext.errors import UserError

IGNORED = speakandimprove.IGNORED


def words(text, **marks):
    """Items of a Transcript: `marks` gives a word its mark; (…) is a tag, `|` ends a phrase."""
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
VERBATIM = {  # in no correction; its second phrase was excluded by the annotators
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
    return speakandimprove.prepare(root, tmp_path / "audio", **options)


def all_of(sets):
    return {one.utt_id: one for part in sets.values() for one in part}


def test_three_texts_of_a_phrase_and_its_audio(tmp_path):
    report = Report("speakandimprove")
    found = all_of(prepare(tmp_path, report=report))
    first = found["SI1A-00001-P10005-000000"]
    assert first.texts == {
        "surface": "i i live in uh lon- london",
        "fluent": "i live in london",
        "meaning": "i live in london",
    }
    second = found["SI1A-00001-P10005-000150"]
    assert (second.texts["fluent"], second.texts["meaning"]) == ("we is happy", "we are happy")
    assert (second.speaker, second.domain, second.lang) == ("SI1A-00001", "P1", "en")
    whole, _ = soundfile.read(tmp_path / "corpus/data/flac/train/01/SI1A-00001-P10005.flac")
    cut = int(1.5 * RATE)
    assert np.allclose(soundfile.read(first.audio)[0], whole[:cut], atol=2**-15)
    # The STM says that it ends at 20 s; the recording ends after four.
    assert np.allclose(soundfile.read(second.audio)[0], whole[cut:], atol=2**-15)
    assert report.seconds[second.utt_id] == 2.5


def test_what_is_not_corrected_keeps_its_surface_and_marks_make_it_fluent(tmp_path):
    report = Report("speakandimprove")
    found = all_of(prepare(tmp_path, report=report))
    first, last = (found[f"SI1A-00001-P30017-{at}"] for at in ("000000", "000200"))
    assert first.texts == {"surface": "and and so", "fluent": "and so"}
    assert last.texts == {"surface": "i think video", "fluent": "i think video"}
    assert report.unlabelled[first.utt_id] == {"meaning": "not annotated"}
    assert report.left_out == {"SI1A-00001-P30017-000100": "no transcript of any kind"}
    assert report.counts["fluent phrases taken from the marks"] == 2
    assert report.counts["words marked pronunciation"] == 1
    assert report.counts["tags foreign-proper-noun"] == 1


def test_marks_agree_with_the_fluent_stm_wherever_both_are(tmp_path):
    """The published fluent STM is the oracle for what is made of the marks."""
    units = speakandimprove.split_units(FULL["marks"])
    for unit, phrase in zip(units, FULL["phrases"], strict=True):
        assert speakandimprove.fluent(unit) == (phrase[3], "")


@pytest.mark.parametrize("change", ["one phrase more", "another word", "an odd tag", "an odd mark"])
def test_marks_that_do_not_fit_are_not_used(tmp_path, change):
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
    found = all_of(prepare(tmp_path, sets, report=report))
    first = found["SI1A-00001-P30017-000000"]
    assert first.texts == {"surface": "and and so"}
    assert report.unlabelled[first.utt_id]["fluent"]


def test_hesitations_and_broken_off_words_are_the_users_choice(tmp_path):
    found = all_of(prepare(tmp_path, hesitation="", partials=False))
    assert found["SI1A-00001-P10005-000000"].texts["surface"] == "i i live in london"


def test_dev_tests_and_train_speakers_validate_unless_eval_is_there(tmp_path):
    sets = prepare(tmp_path)
    speakers = {name: {one.speaker for one in part} for name, part in sets.items()}
    assert speakers == {"train": {"SI1A-00001"}, "valid": {"SI1A-00002"}, "test": {"SI2B-00009"}}
    more = {**SETS, "eval": {"SI3C-00007-P10005": FULL}}
    sets = prepare(tmp_path / "b", more)
    speakers = {name: {one.speaker for one in part} for name, part in sets.items()}
    assert speakers["valid"] == {"SI2B-00009"} and speakers["test"] == {"SI3C-00007"}


def test_the_command_writes_valid_directories_and_cuts_once(tmp_path):
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
    assert len(cut) == 8  # of nine phrases one has no transcript at all
    assert command.main(argv) == 0
    assert cut == {path: path.stat().st_mtime_ns for path in (tmp_path / "d").rglob("*.flac")}


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda m: (m / "stms/dev-asr.stm").unlink(), "has only: train"),
        (lambda m: (m / "stms/train-asr.stm").write_text("a b c\n"), "1 lines are no phrases"),
        (lambda m: (m / "stms/train-asr.stm").write_text("f 1 s 2.0 1.0 <o> x\n"), "no phrases"),
        (lambda m: (m / "stms/train-asr.stm").write_text("../f 1 s 0 1 <o> x\n"), "no phrases"),
        (
            lambda m: (m / "stms/train-asr.stm").write_text("f 1 s 0 1 <o> x\nf 1 s 0 2 <o> y\n"),
            "two phrases begin at 0 s",
        ),
        (lambda m: (m / "stms/train-asr.stm").write_bytes(b"\xff"), "not UTF-8"),
        (lambda m: (m / "flists.flac/train-asr.tsv").unlink(), "has no flists.flac/train-asr.tsv"),
        (lambda m: (m / "flists.flac/train-asr.tsv").write_text("a b\n"), ":1: not a name and"),
        (lambda m: (m / "flists.flac/train-asr.tsv").write_text("a\tb\n"), "not one of its files"),
        (lambda m: (m / "annotations/train-trans-ref.json").write_text("[]"), "not as expected"),
        (lambda m: (m / "annotations/train-trans-ref.json").write_text("{"), "not valid JSON"),
    ],
)
def test_faulty_copies(tmp_path, break_it, message):
    root = write_speakandimprove(tmp_path / "c", SETS)
    break_it(root / "reference-materials")
    with pytest.raises(UserError, match=message) as error:
        speakandimprove.prepare(root, tmp_path / "audio")
    assert error.value.remedy


def test_a_recording_that_is_missing_or_short(tmp_path):
    train = {**SETS["train"], "SI1A-00003-P10005": FULL}
    root = write_speakandimprove(tmp_path / "c", {**SETS, "train": train})
    (root / "data/flac/train/01/SI1A-00001-P30017.flac").unlink()
    report = Report("speakandimprove")
    found = all_of(speakandimprove.prepare(root, tmp_path / "audio", report=report))
    assert len(found) == 8
    assert report.left_out["SI1A-00001-P30017-000000"] == "no audio"
    soundfile.write(root / "data/flac/train/01/SI1A-00001-P10005.flac", np.zeros(RATE // 2), RATE)
    with pytest.raises(UserError, match="2 phrases cannot be cut"):
        speakandimprove.prepare(root, tmp_path / "audio")
    kept = speakandimprove.prepare(root, tmp_path / "audio", skip_unreadable=True)
    assert len(all_of(kept)) == 6


TOKEN = st.sampled_from(["so", "(%hesitation%)", "(lon-)", "it's", "{", "/", "(a)", "@", "--", "É"])


@settings(max_examples=300, deadline=None)
@given(st.lists(TOKEN | st.text(max_size=5), max_size=6))
def test_a_phrase_is_words_or_has_a_reason(tokens):
    text, reason = speakandimprove.read_words(" ".join(tokens))
    assert bool(text) != bool(reason)
    assert not set(text) & set("(){}@<>%")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=80), st.integers(0, 300))
def test_no_stm_makes_a_trace(tmp_path, noise, place):
    root = write_speakandimprove(tmp_path / "c", {"train": SETS["dev"]})
    path = root / "reference-materials/stms/train-asr.stm"
    content = path.read_bytes()
    path.write_bytes(content[:place] + noise + content[place:])
    try:
        for one in speakandimprove.read_stm(path):
            assert one.end > one.start >= 0 and "/" not in one.file
    except UserError as error:
        assert error.remedy
