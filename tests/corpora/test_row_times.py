"""Tests of tables whose rows are parts of recordings: columns start, end and duration."""

import numpy
import pytest
import soundfile
from published import prepare_corpus

from espnet_ext.corpora import plain
from espnet_ext.corpora.preparation import Report
from espnet_ext.errors import UserError

RATE = 8000
RAMP = numpy.arange(2 * RATE, dtype="int16")  # 2 s; each sample is its own number


def write(folder, columns, *times, samples=RAMP):
    """Write a table of one utterance per set, and its recording; `times` are the last cells."""
    soundfile.write(folder / "long.wav", samples, RATE, subtype="PCM_16")
    lines = [f"utt_id,speaker,audio,meaning,set,{columns}"]
    for number, (name, cells) in enumerate(zip(plain.SETS, times, strict=True)):
        lines.append(f"u{number},s{number},long.wav,we see,{name},{cells}")
    path = folder / "corpus.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def prepare(folder, path, **options):
    report = Report("plain")
    sets = prepare_corpus(plain, path, data_dir=folder / "data", report=report, **options)
    return sets, report


@pytest.mark.parametrize(
    ("columns", "times"),
    [
        ("Start,end", ["0.5,1", "1,2.2", ","]),
        ("start,duration", ["0.5,0.5", "1,1.2", ","]),
        ("duration,start,end", ["9,0.5,1", "9,1,2.2", "9,,"]),  # a duration beside both is ignored
    ],
)
def test_rows_are_cut_out_of_their_recordings(tmp_path, columns, times):
    sets, report = prepare(tmp_path, write(tmp_path, columns, *times))
    expected = {"train": RAMP[4000:8000], "valid": RAMP[8000:], "test": RAMP}
    for name, samples in expected.items():
        (utterance,) = sets[name]
        cut, rate = soundfile.read(utterance.audio, dtype="int16")
        assert rate == RATE and (cut == samples).all()
        assert report.seconds[utterance.utt_id] == len(samples) / RATE
    assert sets["test"][0].audio == str(tmp_path / "long.wav")  # the whole recording
    assert "2 rows are parts of recordings: columns start and" in "\n".join(report.notes)
    assert ("ignored columns: 'duration'" in report.notes) == ("start,end" in columns)


@pytest.mark.parametrize(
    ("columns", "cells", "message"),
    [
        ("start,end", "-1,1", "start '-1' is negative"),
        ("start,end", "1,0.5", "end '0.5' is not after start '1'"),
        ("start,end", "1,", "end is empty"),
        ("start,end", "0:01,1", "start '0:01' is not a number of seconds"),
        ("start,duration", "1,0", "duration '0' is zero"),
        ("start,end", "1,2.6", "'1' to '2.6' s is not in the recording of '2' s"),
        ("start,end", "2,2.1", "'2' to '2.1' s is not in the recording of '2' s"),
    ],
)
def test_wrong_times_are_named_with_their_line(tmp_path, columns, cells, message):
    path = write(tmp_path, columns, "0,1", cells, ",")
    with pytest.raises(UserError) as caught:
        prepare(tmp_path, path)
    assert f"{path}:3: s1-u1: {message}" in caught.value.message
    assert "in seconds from the beginning of the recording" in caught.value.remedy
    assert not (tmp_path / "data").exists()


def test_parts_of_recordings_with_several_channels_are_refused(tmp_path):
    path = write(tmp_path, "start,end", "0,1", ",", ",", samples=numpy.stack([RAMP, RAMP], 1))
    with pytest.raises(UserError, match=":2: s0-u0: a part of a recording with 2 channels: mix it"):
        prepare(tmp_path, path)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ("offset,duration", "'offset' is probably a time"),
        ("begin,end_time", "'begin' and 'end_time' are probably times"),
        ("onset,stop", "'onset' and 'stop' are probably times"),
        ("start,gender", "'start' is probably a time"),
        ("gender,end", "'end' is probably a time"),
    ],
)
def test_columns_of_times_with_other_names_are_errors(tmp_path, columns, named):
    path = write(tmp_path, columns, "0,1", "0,1", "0,1")
    with pytest.raises(UserError, match=f"{named}.* in the recording: name the columns start and"):
        prepare(tmp_path, path)


@pytest.mark.parametrize("columns", ["start_time,duration", "duration,sex", "end,en"])
def test_columns_that_are_no_times_in_a_recording_are_ignored(tmp_path, columns):
    path = write(tmp_path, columns, *["Monday,1"] * 3)
    _, report = prepare(tmp_path, path)
    assert any(note.startswith("ignored columns: ") for note in report.notes)
