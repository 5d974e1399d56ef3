"""Tests of EpaDB: labels, reference variants (by brute force), splits, damaged copies."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import EPADB_REFERENCES, prepare_corpus, write_epadb

from espnet_ext.bin import prepare as command
from espnet_ext.corpora import epadb
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.directory import read_directory
from espnet_ext.data.validate import validate_directory
from espnet_ext.errors import UserError

PERFECT = {
    "1": ("Our toy", ["AW", "ER", "Th", "OY"]),
    "2": ("Hot tea", ["HH", "AA", "0", "CH", "IY"]),
}
LEARNER = {
    "1": ("Our toy", ["AW", "R", "T", "O+I*"]),
    "2": ("Hot tea", ["X", "O", "T", "Th", "I"]),
}


def corpus(root, **parts):
    parts = parts or {"train": {"spkr1": PERFECT, "spkr2": LEARNER}, "test": {"spkr3": PERFECT}}
    return write_epadb(root, parts)


def by_id(sets):
    return {utterance.utt_id: utterance for of_set in sets.values() for utterance in of_set}


def test_surface_is_the_annotation_and_canonical_the_best_variant(tmp_path):
    report = Report("epadb")
    utterances = by_id(prepare_corpus(epadb, corpus(tmp_path), report=report))
    assert utterances["spkr1-1"].texts == {
        "surface": "AW ER T OY",
        "canonical": "AW ER T OY",
        "meaning": "our toy",
    }
    assert utterances["spkr1-2"].texts["surface"] == "HH AA CH IY"  # without the deleted t
    assert utterances["spkr1-2"].texts["canonical"] == "HH AA CH IY"
    assert utterances["spkr2-1"].texts["surface"] == "AW R T O I"
    assert utterances["spkr2-1"].texts["canonical"] == "AW R T OY"
    assert utterances["spkr2-2"].texts["surface"] == "X O T T I"
    assert utterances["spkr2-2"].texts["canonical"] == "HH AO T T IY"
    assert report.counts["phones with a deviation mark (*), read as the phone"] == 1
    assert utterances["spkr1-1"].l1 == "es"


def test_allophones_can_be_kept(tmp_path):
    utterances = by_id(prepare_corpus(epadb, corpus(tmp_path), allophones="keep"))
    assert utterances["spkr2-1"].texts["canonical"] == "AW R Th OY"
    assert utterances["spkr2-1"].texts["surface"] == "AW R T O I"  # T for Th is now a deviation


def test_unknown_labels_leave_the_surface_unlabelled(tmp_path):
    unknown = {
        "1": ("Our toy", ["AW", "ER", "Th", "OSH"]),
        "2": ("Hot tea", ["ERR", "AA", "T", "T", "I"]),
    }
    root = corpus(tmp_path, train={"spkr1": unknown, "spkr2": PERFECT}, test={"spkr3": PERFECT})
    report = Report("epadb")
    utterances = by_id(prepare_corpus(epadb, root, report=report))
    assert (
        "surface" not in utterances["spkr1-1"].texts
        and "surface" not in utterances["spkr1-2"].texts
    )
    assert report.unlabelled["spkr1-1"]["surface"] == "label 'OSH' is not a phone"
    assert report.unlabelled["spkr1-2"]["surface"] == "a phone is ERR"
    assert report.counts["label 'OSH', not understood"] == 1
    assert utterances["spkr1-1"].texts["canonical"] == "AW ER T OY"
    token = by_id(prepare_corpus(epadb, root, unidentified="token"))
    assert token["spkr1-1"].texts["surface"] == "AW ER T ERR"


def test_annotation_longer_than_all_references_has_no_canonical(tmp_path):
    longer = {"1": ("Our toy", ["AW", "ER", "AH", "Th", "OY"])}
    root = corpus(tmp_path, train={"spkr1": longer, "spkr2": PERFECT}, test={"spkr3": PERFECT})
    report = Report("epadb")
    utterances = by_id(prepare_corpus(epadb, root, report=report))
    assert utterances["spkr1-1"].texts["surface"] == "AW ER AH T OY"
    assert "no reference has as many positions" in report.unlabelled["spkr1-1"]["canonical"]


def test_split_has_published_test_speakers_and_disjoint_speakers(tmp_path):
    many = {f"spkr{n}": PERFECT for n in range(10, 30)}
    sets = prepare_corpus(epadb, corpus(tmp_path, train=many, test={"spkr3": PERFECT}))
    speakers = {name: {one.speaker for one in part} for name, part in sets.items()}
    assert speakers["test"] == {"spkr3"} and len(speakers["valid"]) == 2
    assert not speakers["train"] & speakers["valid"] and len(speakers["train"]) == 18


def test_copy_without_parts_is_split_by_speakers(tmp_path):
    sets = prepare_corpus(
        epadb, write_epadb(tmp_path, {"": {f"spkr{n}": PERFECT for n in range(5)}})
    )
    assert [len({one.speaker for one in part}) for part in sets.values()] == [3, 1, 1]


def test_missing_files_are_reported(tmp_path):
    root = corpus(
        tmp_path,
        train={"spkr1": PERFECT, "spkr2": {"1": ("", None), "2": ("x", None)}},
        test={"spkr3": PERFECT},
    )
    (root / "train/spkr1/waveforms/spkr1_2.wav").unlink()
    report = Report("epadb")
    utterances = by_id(prepare_corpus(epadb, root, report=report))
    assert report.left_out == {"spkr1-2": "no audio"}
    assert utterances["spkr2-1"].texts == {"meaning": "our toy"}  # from the references
    assert report.unlabelled["spkr2-1"] == dict.fromkeys(("surface", "canonical"), "not annotated")
    (root / "train/spkr1/annotations_1/spkr1_1.TextGrid").write_text("broken")
    report = Report("epadb")
    prepare_corpus(epadb, root, report=report)
    assert "faulty TextGrid" in report.unlabelled["spkr1-1"]["surface"]


def test_command_writes_valid_directories(tmp_path):
    argv = ["epadb", "--corpus_dir", str(corpus(tmp_path / "c")), "--data_dir", str(tmp_path / "d")]
    assert command.main(argv) == 0
    for name in ("train", "valid", "test"):
        findings = validate_directory(tmp_path / "d/en" / name)
        assert not [one for one in findings if one.severity == "error"], findings
    before = {path.name: path.read_bytes() for path in (tmp_path / "d/en/train").iterdir()}
    assert command.main(argv) == 0
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "d/en/train").iterdir()}
    assert read_directory(tmp_path / "d/en/test")[0].speaker == "spkr3"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "train/reference_transcriptions.txt").unlink(), "has no reference_"),
        (
            lambda root: (root / "train/reference_transcriptions.txt").write_text("TEXT 1 x"),
            "reference_transcriptions.txt:1: neither TEXT nor TRANSCRIPTION",
        ),
        (
            lambda root: (root / "train/reference_transcriptions.txt").write_text(
                "TEXT 1: x\nTRANSCRIPTION 1: AA QQ\n"
            ),
            "txt:2: 'QQ' is not a phone",
        ),
        (
            lambda root: (root / "train/reference_transcriptions.txt").write_bytes(b"\xff"),
            "is not UTF-8",
        ),
        (lambda root: (root / "train/spkr1").rename(root / "test/spkr2"), "speakers in two parts"),
        (lambda root: (root / "train/spkr1").rename(root / "spkr1"), "1 speakers are too few"),
    ],
)
def test_damaged_copies_raise_user_error(tmp_path, damage, message):
    root = corpus(tmp_path)
    if "too few" in message:  # one speaker for train and valid
        parts = {"train": {"spkr1": PERFECT}, "test": {"spkr3": PERFECT}}
        root = write_epadb(tmp_path / "b", parts)
    else:
        damage(root)
    with pytest.raises(UserError, match=message) as error:
        prepare_corpus(epadb, root)
    assert error.value.remedy


def test_corpus_without_speaker_folders_raises_user_error(tmp_path):
    with pytest.raises(UserError, match="has no speaker folders"):
        prepare_corpus(epadb, tmp_path)


SYMBOLS = st.sampled_from(["AA", "AO", "Th", "T", "0", "IY", "DX"])
ALTERNATIVES = st.lists(SYMBOLS, min_size=1, max_size=3, unique=True).map(tuple)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.lists(ALTERNATIVES, min_size=1, max_size=4), max_size=3),
    st.lists(SYMBOLS, max_size=4),
)
def test_best_reference_equals_a_search_over_expanded_variants(variants, labels):
    """Expand all variants, as for the corpus's own labels; the first with most agreement wins."""
    best, most = None, -1
    for variant in variants:
        # the last position varies slowest
        for expanded in itertools.product(*reversed(variant)):
            expanded = list(reversed(expanded))
            if len(expanded) == len(labels):
                same = sum(a == b for a, b in zip(expanded, labels, strict=True))
                if same > most:
                    best, most = expanded, same
    assert epadb.best_reference(labels, variants) == best


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=8))
def test_any_label_gives_phones_or_none(label):
    phones = epadb.read_symbol(label)
    for phone in phones or ():
        assert phone and " " not in phone


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60), st.integers(0, len(EPADB_REFERENCES)))
def test_any_references_parse_or_raise_value_error(text, position):
    try:
        epadb.parse_references(EPADB_REFERENCES[:position] + text + EPADB_REFERENCES[position:])
    except ValueError as error:
        assert str(error)[0].isdigit()
