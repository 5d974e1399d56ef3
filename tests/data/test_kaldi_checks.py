"""Rules of Kaldi and lhotse: a directory that follows all of them, and one violation per rule.

The rules are those of `utils/validate_data_dir.sh`, `utils/validate_text.pl` and `lhotse validate`.
None of these programs is run.
"""

from pathlib import Path

import pytest
from directories import IDS, RATE, make_directory, run_validate, write_table


@pytest.fixture
def d(tmp_path, monkeypatch):
    """A valid directory with every table that Kaldi has."""
    monkeypatch.chdir(tmp_path)
    folder = make_directory("d", lang="ko")
    Path("d/text.meaning").rename("d/text")
    seconds = [1 + number / 100 for number in range(4)]
    for name, values in {
        "utt2dur": [f"{s:.2f}" for s in seconds],
        "reco2dur": [f"{s:.2f}" for s in seconds],
        "utt2num_frames": ["98", "99", "100", "101"],
        "utt2num_samples": [str(int(s * RATE)) for s in seconds],
        "utt2warp": ["0.9", "1.0", "1.1", "1"],
        "utt2uniq": IDS,
        "feats.scp": [f"x.ark:{n}" for n in range(4)],
        "vad.scp": [f"v.ark:{n}" for n in range(4)],
        "reco2file_and_channel": [f"{key} A" for key in IDS],
    }.items():
        write_table("d", name, *map(" ".join, zip(IDS, values, strict=True)))
    for name, values in {"spk2gender": "mf", "spk2warp": "11", "cmvn.scp": "xy"}.items():
        write_table("d", name, *(f"s{n} {value}" for n, value in enumerate(values, 1)))
    return folder


def replace_in(name, old, new):
    text = Path("d", name).read_text(encoding="utf-8")
    assert old in text
    Path("d", name).write_text(text.replace(old, new, 1), encoding="utf-8", newline="")


def remove(name):
    return lambda: Path("d", name).unlink()


def change(name, old, new):
    return lambda: replace_in(name, old, new)


# Rule → function that violates it, codes of all findings that follow, whether one is an error.
RULES = {
    "spk2utt is there": (remove("spk2utt"), ["spk2utt"], False),
    "utt2spk has two fields": (
        change("utt2spk", "s1-u1 s1", "s1-u1 s1 x"),
        ["malformed-speaker", "speaker-order", "spk2utt", "other-ids"],
        True,
    ),
    "utt2spk is not empty": (
        lambda: write_table("d", "utt2spk"),
        ["no-speaker", "spk2utt", "other-ids"],
        True,
    ),
    "more than one speaker": (
        lambda: (
            write_table("d", "utt2spk", *(f"{k} s" for k in IDS)),
            write_table("d", "spk2utt", f"s {' '.join(IDS)}"),
            [remove(n)() for n in ("spk2gender", "spk2warp", "cmvn.scp")],
        ),
        ["one-speaker"],
        False,
    ),
    "lines end with a newline": (
        lambda: Path("d/text").write_bytes(Path("d/text").read_bytes()[:-1]),
        ["no-newline"],
        False,
    ),
    "sorted text": (
        lambda: write_table("d", "text", *(f"{k} 국물 주세요" for k in IDS[::-1])),
        ["unsorted"],
        True,
    ),
    "unique": (change("text", "s1-u2", "s1-u1"), ["duplicate-id", "no-text"], True),
    "sorted utt2dur": (
        lambda: write_table(
            "d", "utt2dur", *(f"{k} 1.0{n}" for n, k in reversed(list(enumerate(IDS))))
        ),
        ["unsorted"],
        True,
    ),
    "sorted by speaker": (
        lambda: (
            write_table("d", "utt2spk", "s1-u1 s1-u", "s1-u2 s1", "s2-u1 s2", "s2-u2 s2"),
            write_table("d", "spk2utt", "s1 s1-u2", "s1-u s1-u1", "s2 s2-u1 s2-u2"),
            [remove(n)() for n in ("spk2gender", "spk2warp", "cmvn.scp")],
        ),
        ["speaker-order"],
        False,
    ),
    "speaker as prefix": (
        lambda: (
            replace_in("utt2spk", "s1-u2 s1", "s1-u2 s2"),
            write_table("d", "spk2utt", "s1 s1-u1", "s2 s1-u2 s2-u1 s2-u2"),
        ),
        ["speaker-prefix"],
        False,
    ),
    "spk2utt and utt2spk match": (change("spk2utt", "s1-u1 s1-u2", "s1-u1"), ["spk2utt"], False),
    "spk2utt is sorted": (change("spk2utt", "s1-u1 s1-u2", "s1-u2 s1-u1"), ["spk2utt"], False),
    "text is there": (remove("text"), ["no-text"], False),
    "no carriage return in text": (change("text", "주세요\n", "주세요\r\n"), ["crlf"], True),
    "no other whitespace in text": (
        change("text", "국물 주", "국물\u00a0주"),
        ["whitespace"],
        False,
    ),
    "no <s> in text": (
        change("text", "국물 주", "<s> 주"),
        ["reserved-symbol", "markup", "foreign-characters"],
        False,
    ),
    "no #0 in text": (
        change("text", "국물 주", "#0 주"),
        ["reserved-symbol", "digits", "markup"],
        False,
    ),
    "text has no other utterances": (
        change("text", "s2-u2", "s2-u3"),
        ["unknown-id", "no-text"],
        True,
    ),
    "wav.scp has all utterances": (
        change("wav.scp", "s2-u2 d/s2-u2.wav\n", ""),
        ["unknown-id", "other-ids"],
        True,
    ),
    "wav.scp is unique": (
        change("wav.scp", "s1-u2", "s1-u1"),
        ["duplicate-id", "unknown-id", "other-ids"],
        True,
    ),
    "no tilde in wav.scp": (change("wav.scp", "d/s1-u1", "~/s1-u1"), ["tilde", "no-audio"], True),
    "reco2file_and_channel has channels": (
        change("reco2file_and_channel", "s1-u1 A", "s1-u1 C"),
        ["malformed-value"],
        False,
    ),
    "reco2file_and_channel has three fields": (
        change("reco2file_and_channel", "s1-u1 A", "A"),
        ["malformed-value"],
        False,
    ),
    "reco2file_and_channel has all": (
        change("reco2file_and_channel", "s1-u1 s1-u1 A\n", ""),
        ["other-ids"],
        False,
    ),
    "feats.scp has all utterances": (
        change("feats.scp", "s1-u1 x.ark:0\n", ""),
        ["other-ids"],
        False,
    ),
    "feats.scp has no others": (change("feats.scp", "s2-u2", "s2-u3"), ["other-ids"], False),
    "vad.scp has all utterances": (change("vad.scp", "s1-u1 v.ark:0\n", ""), ["other-ids"], False),
    "utt2uniq has all utterances": (change("utt2uniq", "s1-u1 s1-u1\n", ""), ["other-ids"], False),
    "cmvn.scp has all speakers": (change("cmvn.scp", "s1 x\n", ""), ["other-ids"], False),
    "spk2gender is m or f": (change("spk2gender", "s1 m", "s1 x"), ["malformed-value"], False),
    "spk2gender has all speakers": (change("spk2gender", "s1 m\n", ""), ["other-ids"], False),
    "spk2warp is a factor": (change("spk2warp", "s1 1", "s1 1.5"), ["malformed-value"], False),
    "utt2warp is a factor": (change("utt2warp", "0.9", "0.5"), ["malformed-value"], False),
    "utt2warp has two fields": (change("utt2warp", "0.9", "0.9 1"), ["malformed-value"], False),
    "utt2dur is positive": (change("utt2dur", "1.00", "0"), ["malformed-value"], False),
    "utt2dur is a number": (change("utt2dur", "1.00", "long"), ["malformed-value"], False),
    "utt2num_frames is whole": (change("utt2num_frames", "98", "98.5"), ["malformed-value"], False),
    "reco2dur is positive": (change("reco2dur", "1.00", "-1"), ["malformed-value"], False),
    "reco2dur has all": (change("reco2dur", "s1-u1 1.00\n", ""), ["other-ids"], False),
    "lhotse: duration is that of the samples": (
        change("utt2dur", "1.00", "1.30"),
        ["wrong-length"],
        False,
    ),
    "lhotse: recordings' duration": (change("reco2dur", "1.00", "1.30"), ["wrong-length"], False),
    "lhotse: number of samples": (
        change("utt2num_samples", "16000", "17000"),
        ["wrong-length"],
        False,
    ),
}


def test_valid_directory_has_no_findings(d):
    assert run_validate("d") == (0, [])
    assert run_validate("d", "--strict", "true", "--read_samples", "true") == (0, [])


@pytest.mark.parametrize("rule", RULES)
def test_violation_is_reported(d, rule):
    violate, codes, is_error = RULES[rule]
    violate()
    code, reported = run_validate("d")
    assert set(reported) == set(codes)
    assert code == int(is_error)
    assert run_validate("d", "--strict", "true")[0] == int(bool(codes))


SEGMENTS = {
    "s1-u1 s1-u1 0 0.5": [],
    "s1-u1 s1-u1 0": ["malformed-value"],
    "s1-u1 s1-u1 0.5 0.5": ["malformed-value"],
    "s1-u1 s1-u1 -1 0.5": ["malformed-value"],
    "s1-u1 s1-u1 a b": ["malformed-value"],
    "s1-u1 s9 0 0.5": ["unknown-recording"],
}


@pytest.mark.parametrize("row", SEGMENTS)
def test_segments_are_errors_and_their_rows_are_checked(d, row):
    valid_rows = [f"{key} {key} 0 0.5" for key in IDS[1:]]
    write_table("d", "segments", row, *valid_rows)
    code, reported = run_validate("d", severities=("error",))
    assert (code, reported) == (1, ["segments", *SEGMENTS[row]])


def test_directory_without_utterances_is_checked_completely(d):
    write_table("d", "wav.scp")
    code, reported = run_validate("d", severities=("error",))
    assert code == 1 and "no-utterances" in reported
    assert reported.count("unknown-id") >= 8
