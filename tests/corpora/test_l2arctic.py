"""Tests of L2-ARCTIC: label conventions, splits, and the report on unlabelled utterances."""

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest
from published import long_textgrid, prepare_corpus, write_l2arctic, write_sound

from espnet_ext.bin import prepare as command
from espnet_ext.corpora import l2arctic
from espnet_ext.corpora.l2arctic import L1, TEST_SPEAKERS, VALID_SPEAKERS, parse_label
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.directory import read_directory
from espnet_ext.errors import UserError


@pytest.mark.parametrize(
    ("label", "canonical", "perceived"),
    [
        ("AH0", "AH", "AH"),
        ("K", "K", "K"),
        (" ah1 ", "AH", "AH"),
        ("ER)", "ER", "ER"),
        ("AX", "AH", "AH"),
        ("sil", "", ""),
        ("SIL", "", ""),
        ("sp", "", ""),
        ("spn", "", ""),
        ("", "", ""),
        ("  ", "", ""),
        ("DH,D,s", "DH", "D"),
        ("AH0,IH,s", "AH", "IH"),
        ("ah0 , ih1 , S", "AH", "IH"),
        ("AH,AO*,s", "AH", "AO"),
        ("R,R*,s", "R", "R"),
        ("V,V``,s", "V", "V"),
        ("W,W`, s", "W", "W"),
        ("AA1,AX,s.", "AA", "AH"),
        ("T,D_,s,", "T", "D"),
        ("T,sil,d", "T", ""),
        ("T, SIL, D", "T", ""),
        ("T,sp,d", "T", ""),
        ("T,,d", "T", ""),
        ("sil,AH0,a", "", "AH"),
        ("sil, T ,a", "", "T"),
        ("L,err,s", "L", "ERR"),
        ("L,ERR*,s", "L", "ERR"),
        ("sil,err,a", "", "ERR"),
    ],
)
def test_parse_label_of_all_conventions(label, canonical, perceived):
    parsed = parse_label(label)
    assert (parsed.canonical, parsed.perceived, parsed.problem) == (canonical, perceived, "")
    assert parsed.marked == ("*" in label)


@pytest.mark.parametrize(
    ("label", "canonical"),
    [
        ("QX", None),
        ("AH IH", None),
        ("A1H", None),
        ("err", None),
        ("*", None),
        ("ʌ", None),
        ("<unk>", None),
        ("AH,IH", "AH"),
        ("AH,IH,s,s", "AH"),
        ("AH,QX,s", "AH"),
        ("AH,sil,s", None),  # contradicts itself: a substitution or a deletion?
        ("AH,IH,d", None),
        ("AH,IH,a", None),
        ("AH,IH,x", None),
        ("sil,sil,d", None),
        ("err,IH,s", None),
    ],
)
def test_unknown_labels_are_not_guessed(label, canonical):
    parsed = parse_label(label)
    assert parsed.canonical == canonical
    assert parsed.perceived is None or parsed.canonical is None
    assert parsed.problem.startswith(f"label '{label}'")


def read(tmp_path, labels, **options):
    path = tmp_path / "a.TextGrid"
    path.write_text(long_textgrid(words=["a"], phones=labels))
    report = Report("l2arctic")
    return l2arctic.read_annotation(path, report, "X-a", **options), report


def test_read_annotation_returns_surface_and_canonical(tmp_path):
    texts, report = read(tmp_path, ["sil", "DH,D,s", "AH0", "T,sil,d", "sil,IH,a", "", "K", "sp"])
    assert texts == {"surface": "D AH IH K", "canonical": "DH AH T K"}
    assert report.unlabelled == {}


def test_unidentified_phone_leaves_only_the_surface_unlabelled(tmp_path):
    texts, report = read(tmp_path, ["L,err,s", "AH0"])
    assert texts == {"canonical": "L AH"}
    assert list(report.unlabelled["X-a"]) == ["surface"]
    texts, report = read(tmp_path, ["L,err,s", "AH0"], unidentified="token")
    assert texts == {"surface": "ERR AH", "canonical": "L AH"}
    assert report.unlabelled == {}


def test_faulty_annotations_are_reported(tmp_path):
    texts, report = read(tmp_path, ["AH", "QX"])
    assert texts == {}
    assert report.unlabelled["X-a"]["surface"] == "label 'QX' is not a phone"
    assert read(tmp_path, ["sil", "T,sil,d"])[0] == {"canonical": "T"}  # the surface is empty
    assert read(tmp_path, [])[1].unlabelled["X-a"]["surface"] == "the annotation has no phones"
    report = Report("l2arctic")
    path = tmp_path / "b.TextGrid"
    path.write_text(long_textgrid(phones=["AH", "B"]).replace("xmin = 1.5", "xmin = 0.5"))
    assert l2arctic.read_annotation(path, report, "X-b") == {}
    assert "out of order" in report.unlabelled["X-b"]["surface"]
    path.write_text(long_textgrid(words=["the", "<unk>"], phones=["DH", "AH", "spn"]))
    assert l2arctic.read_annotation(path, report, "X-c") == {}
    path.write_text(path.read_text()[:-30])
    assert l2arctic.read_annotation(path, report, "X-d") == {}
    assert "faulty TextGrid" in report.unlabelled["X-d"]["canonical"]


def sentences(count, labels=("HH", "AY1,AA,s")):
    return {f"arctic_a{i:04}": (f"Hi number {'i' * i}", list(labels)) for i in range(1, count + 1)}


def speakers_of(sets):
    return {name: sorted({one.speaker for one in utterances}) for name, utterances in sets.items()}


def test_standard_split_of_all_speakers(tmp_path):
    root = write_l2arctic(tmp_path, {speaker: sentences(1) for speaker in L1})
    sets = prepare_corpus(l2arctic, root)
    speakers = speakers_of(sets)
    assert speakers["test"] == sorted(TEST_SPEAKERS) and len(speakers["test"]) == 6
    assert speakers["valid"] == sorted(VALID_SPEAKERS) and len(speakers["valid"]) == 6
    assert len(speakers["train"]) == 12
    for name in ("valid", "test"):  # one speaker of each first language
        assert {one.l1 for one in sets[name]} == {"ar", "zh", "hi", "ko", "es", "vi"}
    assert sets["test"][0].utt_id == "NJS-arctic_a0001"
    assert sets["test"][0].texts == {
        "surface": "HH AA",
        "canonical": "HH AY",
        "meaning": "hi number i",
    }


@pytest.mark.parametrize(
    ("speakers", "expected"),
    [
        # Only test speakers: the standard split would leave no training speakers.
        ("TLV TNI TXHC ZHAA", {"train": "TLV TNI", "valid": "TXHC", "test": "ZHAA"}),
        ("ABA SKA TLV", {"train": "ABA", "valid": "SKA", "test": "TLV"}),
        ("NCC TLV YBAA", {"train": "NCC", "valid": "YBAA", "test": "TLV"}),
        ("ABA NCC TLV", {"train": "ABA", "valid": "NCC", "test": "TLV"}),
        ("ABA BWC SKA", {"train": "ABA", "valid": "BWC", "test": "SKA"}),
        ("ABA TLV", {"train": "ABA", "valid": "ABA", "test": "TLV"}),
    ],
)
def test_auto_split_of_some_speakers(tmp_path, speakers, expected):
    root = write_l2arctic(tmp_path, {speaker: sentences(10) for speaker in speakers.split()})
    report = Report("l2arctic")
    sets = prepare_corpus(l2arctic, root, report=report)
    assert speakers_of(sets) == {name: value.split() for name, value in expected.items()}
    ids = [one.utt_id for utterances in sets.values() for one in utterances]
    assert len(ids) == len(set(ids)) == 10 * len(speakers.split())
    assert any("split by" in note for note in report.notes)


def texts_of(sets, name):
    return {one.texts["meaning"] for one in sets[name]}


@pytest.mark.parametrize("fold", [1, 4])
def test_disjoint_split_shares_neither_speakers_nor_sentences(tmp_path, fold):
    common, alone = sentences(40), {"arctic_b0001": ("only one reads this", ["HH"])}
    speakers = {"TLV": common | alone, "TNI": common, "NJS": common}
    root = write_l2arctic(tmp_path, speakers)
    report = Report("l2arctic")
    sets = prepare_corpus(
        l2arctic, root, report=report, split="disjoint", test_speakers=("TLV",), fold=fold
    )
    assert set(sets) == {"train", "valid", "test", "test_seen"}
    speakers = speakers_of(sets)
    assert speakers["test"] == speakers["test_seen"] == ["TLV"]
    assert speakers["train"] == speakers["valid"] == ["NJS", "TNI"]
    others = texts_of(sets, "train") | texts_of(sets, "valid") | texts_of(sets, "test_seen")
    assert not texts_of(sets, "test") & others
    assert not texts_of(sets, "train") & texts_of(sets, "valid")
    assert texts_of(sets, "test_seen") <= texts_of(sets, "train") | texts_of(sets, "valid")
    assert "only one reads this" in texts_of(sets, "test")
    assert len(sets["test"]) + len(sets["test_seen"]) == 41
    counted = sum(map(len, sets.values())) + len(report.left_out)
    assert counted == 121 and set(report.left_out.values()) == {f"its sentence is in fold {fold}"}


def test_folds_of_the_disjoint_split_hold_out_every_sentence_once(tmp_path):
    speakers = ("TLV", "TNI", "NJS")
    root = write_l2arctic(tmp_path, {speaker: sentences(40) for speaker in speakers})
    held_out = [
        texts_of(
            prepare_corpus(l2arctic, root, split="disjoint", test_speakers=("TLV",), fold=fold),
            "test",
        )
        for fold in (1, 2, 3, 4)
    ]
    assert sum(map(len, held_out)) == len(set.union(*held_out)) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "it needs test speakers"),
        ({"test_speakers": ("XYZ",)}, "unknown speaker XYZ"),
        ({"test_speakers": ("NJS", "TLV")}, "all speakers are test speakers, so none is left"),
        ({"test_speakers": ("NJS",), "fold": 5}, "--fold 5"),
        (
            {"split": "sentences", "sets": ("test", "test_seen")},
            "--split sentences has no such set",
        ),
    ],
)
def test_invalid_disjoint_split_is_refused(tmp_path, options, message):
    root = write_l2arctic(tmp_path, {speaker: sentences(8) for speaker in ("TLV", "NJS")})
    with pytest.raises(UserError, match=message):
        prepare_corpus(l2arctic, root, **{"split": "disjoint", **options})


def test_sentence_split_has_disjoint_sentences(tmp_path):
    root = write_l2arctic(tmp_path, {speaker: sentences(20) for speaker in ("TLV", "TNI", "NJS")})
    sets = prepare_corpus(l2arctic, root, split="sentences")
    assert {name: len(utterances) for name, utterances in sets.items()} == {
        "train": 48,
        "valid": 6,
        "test": 6,
    }
    texts = {name: {one.texts["meaning"] for one in part} for name, part in sets.items()}
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["valid"]


def test_unannotated_utterances_go_to_the_chosen_sets(tmp_path):
    stems = {**sentences(2), "arctic_b0001": ("Someone's phones", None)}
    root = write_l2arctic(tmp_path, {"ABA": stems, "NCC": stems, "TLV": stems})
    report = Report("l2arctic")
    sets = prepare_corpus(l2arctic, root, report=report)
    assert {name: len(part) for name, part in sets.items()} == {"train": 3, "valid": 2, "test": 2}
    words_only = next(one for one in sets["train"] if one.utt_id == "ABA-arctic_b0001")
    assert words_only.texts == {"meaning": "someone's phones"}
    assert set(report.left_out) == {"NCC-arctic_b0001", "TLV-arctic_b0001"}
    assert set(report.unlabelled) == {"ABA-arctic_b0001"}
    assert len(prepare_corpus(l2arctic, root, unannotated="all")["test"]) == 3
    assert len(prepare_corpus(l2arctic, root, unannotated="none")["train"]) == 2


def test_missing_audio_and_transcripts_are_reported(tmp_path):
    root = write_l2arctic(tmp_path, {speaker: sentences(3) for speaker in ("ABA", "NCC", "TLV")})
    (root / "ABA/wav/arctic_a0001.wav").unlink()
    (root / "ABA/transcript/arctic_a0002.txt").unlink()
    (root / "ABA/transcript/arctic_a0003.txt").unlink()
    (root / "ABA/annotation/arctic_a0003.TextGrid").unlink()
    (root / "ABA/wav/.hidden.wav").write_text("")
    report = Report("l2arctic")
    sets = prepare_corpus(l2arctic, root, report=report)
    assert [sorted(one.texts) for one in sets["train"]] == [["canonical", "surface"]]
    assert report.unlabelled == {"ABA-arctic_a0002": {"meaning": "no transcript file"}}
    assert report.left_out == {
        "ABA-arctic_a0001": "no audio",
        "ABA-arctic_a0003": "no transcript of any kind",
    }


def test_nested_folders_flac_and_suitcase(tmp_path):
    """Releases may nest <SPK>/<SPK> and have FLAC; narratives are added by option only."""
    for speaker in ("ABA", "NCC", "TLV"):
        write_l2arctic(tmp_path / speaker, {speaker: sentences(1)})
    (tmp_path / "ABA/ABA/wav/arctic_a0001.wav").unlink()
    write_sound(tmp_path / "ABA/ABA/wav/arctic_a0001.flac")
    suitcase = tmp_path / "suitcase_corpus"
    write_sound(suitcase / "wav/tlv.wav")
    (suitcase / "annotation").mkdir()
    (suitcase / "annotation/tlv.TextGrid").write_text(long_textgrid(phones=["AH"]))
    (suitcase / "transcript").mkdir()
    (suitcase / "transcript/tlv.txt").write_text("A man, and a woman.")
    assert len(prepare_corpus(l2arctic, tmp_path)["test"]) == 1
    test = prepare_corpus(l2arctic, tmp_path, suitcase=True)["test"]
    assert [(one.utt_id, one.domain) for one in test] == [
        ("TLV-arctic_a0001", "read"),
        ("TLV-suitcase", "spontaneous"),
    ]
    assert test[1].texts["meaning"] == "a man and a woman"


def test_command_writes_sets_and_report(tmp_path, capsys):
    stems = {**sentences(2), "arctic_b0009": ("What's up", ["W", "L,err,s"])}
    root = write_l2arctic(tmp_path / "corpus", {one: stems for one in ("ABA", "NCC", "TLV")})
    data = tmp_path / "data"
    assert command.main(["l2arctic", "--corpus_dir", str(root), "--data_dir", str(data)]) == 0
    utterances = read_directory(data / "en/test")
    assert [one.utt_id for one in utterances] == [
        "TLV-arctic_a0001",
        "TLV-arctic_a0002",
        "TLV-arctic_b0009",
    ]
    assert utterances[0].l1 == "vi" and utterances[0].lang == "en"
    assert "surface" not in utterances[2].texts
    report = json.loads((data / "en/prepare.json").read_text())
    assert report["sets"]["test"]["labelled"] == {"canonical": 3, "meaning": 3, "surface": 2}
    assert report["sets"]["test"]["divergence_percent"] == 50.0  # one of two phones
    assert report["unlabelled"]["TLV-arctic_b0009"]["surface"]
    lines = capsys.readouterr().err
    assert "test: 3 utterances" in lines and "unlabelled surface: 3 ×" in lines
    assert "3 of 3 test utterances have a sentence that is also in training" in lines


def test_impossible_splits_raise_user_error(tmp_path):
    root = write_l2arctic(tmp_path, {"TLV": sentences(3), "TNI": sentences(3)})
    with pytest.raises(UserError, match="none of TLV TNI is a training speaker"):
        prepare_corpus(l2arctic, root, split="standard")
    with pytest.raises(UserError, match="needs three speakers"):
        prepare_corpus(l2arctic, root, split="speakers")


L2ARCTIC = os.environ.get("L2ARCTIC", "")


@pytest.mark.skipif(not L2ARCTIC, reason="L2ARCTIC does not name the corpus")
def test_all_labels_of_the_published_corpus_are_understood(tmp_path):
    """Compare with an independent count of the labels in all files, by regular expression."""
    report = Report("l2arctic")
    sets = prepare_corpus(l2arctic, L2ARCTIC, unidentified="token", report=report)
    utterances = [one for part in sets.values() for one in part if "surface" in one.texts]
    counts = Counter()
    for path in Path(L2ARCTIC).glob("*/annotation/*.TextGrid"):
        if f"{path.parts[-3]}-{path.stem}" in report.unlabelled:
            continue
        phones = path.read_text(encoding="utf-8").split('name = "phones"')[1]
        for label in re.findall(r'text = "(.*)"', phones):
            kind = label.rpartition(",")[2].strip().lower() if "," in label else "correct"
            silence = label.strip().lower() in ("", "sil", "sp", "spn")
            counts["silence" if silence else kind] += 1
    canonical = sum(len(one.texts["canonical"].split()) for one in utterances)
    surface = sum(len(one.texts["surface"].split()) for one in utterances)
    assert set(counts) <= {"silence", "correct", "s", "d", "a"}
    assert canonical == counts["correct"] + counts["s"] + counts["d"]
    assert surface == counts["correct"] + counts["s"] + counts["a"]
    assert not any("is not a phone" in str(reasons) for reasons in report.unlabelled.values())


def contents(folder):
    """Return path → bytes of all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_number_of_processes_and_second_run_do_not_change_the_bytes(tmp_path, capsys):
    stems = {**sentences(3), "arctic_b0008": ("Odd", ["AH,sil,s"]), "arctic_b0009": ("", None)}
    speakers = ("ABA", "NCC", "TLV", "HKK", "XXX")
    root = write_l2arctic(tmp_path / "corpus", {one: stems for one in speakers})
    (root / "HKK/wav/arctic_a0001.wav").unlink()
    (root / "NCC/annotation/arctic_a0002.TextGrid").write_text("no grid")
    messages = []
    for name, nj in (("a", "1"), ("b", "2"), ("b", "3")):
        argv = ["l2arctic", "--corpus_dir", str(root), "--data_dir", str(tmp_path / name)]
        assert command.main([*argv, "--nj", nj, "--unannotated", "all"]) == 0
        messages.append(capsys.readouterr().err)
        assert contents(tmp_path / "a") == contents(tmp_path / name)
    assert len(set(messages)) == 1  # in the same order
    report = json.loads((tmp_path / "b/en/prepare.json").read_text())
    assert report["left_out"]["HKK-arctic_a0001"] == "no audio"
    assert len(report["unlabelled"]) > len(speakers)


def test_error_in_another_process_is_the_same_error(tmp_path):
    root = write_l2arctic(tmp_path, {one: sentences(2) for one in ("ABA", "NCC", "TLV")})
    (root / "NCC/transcript/arctic_a0001.txt").write_bytes(b"\xff")
    errors = []
    for nj in (1, 2):
        with pytest.raises(UserError, match="cannot read") as raised:
            prepare_corpus(l2arctic, root, nj=nj)
        errors.append((raised.value.message, raised.value.remedy))
    assert errors[0] == errors[1] and errors[0][1]
