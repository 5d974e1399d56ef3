"""Removing transcripts, combining corpora, and making outputs and tags from labels."""

import pytest

from espnet_ext.bin import combine, drop_labels
from espnet_ext.data.audio import write_audio
from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.filtering import FilterOptions, filter_directory
from espnet_ext.data.labels import random_order
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError


def make_corpus(root, name, outputs, count=8, speaker=None, **labels):
    audio = root / "silence.wav"
    if not audio.exists():
        write_audio(audio, [0.0] * 8000, 16000)
    speaker = speaker or name
    utterances = [
        Utterance(f"{speaker}-{i}", speaker, str(audio), {o: f"t{i}" for o in outputs}, **labels)
        for i in range(count)
    ]
    write_directory(root / name, utterances)
    return root / name


def labelled(folder, output):
    return {item.utt_id for item in read_directory(folder) if output in item.texts}


def test_larger_share_removes_all_that_a_smaller_one_does(tmp_path, capsys):
    source = make_corpus(tmp_path, "a", ["surface", "meaning"], 40)
    remaining = {}
    for share in ("0", "0.25", "0.5", "0.9"):
        target = tmp_path / share
        assert (
            drop_labels.main(
                [
                    "--input",
                    str(source),
                    "--output",
                    str(target),
                    "--share",
                    share,
                    "--output_name",
                    "surface",
                    "--seed",
                    "3",
                ]
            )
            == 0
        )
        remaining[share] = labelled(target, "surface")
        assert len(labelled(target, "meaning")) == len(read_directory(target)) == 40
    assert [len(ids) for ids in remaining.values()] == [40, 30, 20, 4]
    assert remaining["0.9"] < remaining["0.5"] < remaining["0.25"] < remaining["0"]
    assert "20 surface" in capsys.readouterr().out
    dropped = (tmp_path / "0.9/dropped.tsv").read_text().splitlines()
    assert len(dropped) == 37 and dropped[1].endswith("\tlabel of surface")


def test_order_depends_only_on_ids_seed_and_output():
    ids = [f"s-{i}" for i in range(50)]
    assert random_order(ids, "surface", 0) == random_order(ids[::-1], "surface", 0)
    assert random_order(ids, "surface", 0) != random_order(ids, "surface", 1)
    assert random_order(ids, "surface", 0) != random_order(ids, "meaning", 0)


def test_complete_keeps_only_fully_labelled_utterances(tmp_path):
    source = make_corpus(tmp_path, "a", ["surface", "meaning"], 10)
    options = [
        "--input",
        str(source),
        "--output_name",
        "surface",
        "--share",
        "0.5",
        "--outputs",
        "surface meaning",
    ]
    options += ["--output"]
    assert drop_labels.main([*options, str(tmp_path / "all")]) == 0
    assert drop_labels.main([*options, str(tmp_path / "part"), "--complete", "true"]) == 0
    kept = {item.utt_id for item in read_directory(tmp_path / "part")}
    assert kept == labelled(tmp_path / "all", "surface")
    assert len(read_table(tmp_path / "all/text.surface")) == 10  # filled with <na>


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--share", "1.5", "--output_name", "surface"], "share 1.5"),
        (["--share", "0.5", "--output_name", "l1"], "no utterance has a transcript for 'l1'"),
        (
            [
                "--share",
                "1",
                "--output_name",
                "surface",
                "--outputs",
                "surface meaning",
                "--complete",
                "true",
            ],
            "no utterance is left",
        ),
        (["--share", "0.5", "--output_name", "surface", "--outputs", "meaning"], "'surface'"),
    ],
)
def test_invalid_options_raise_user_error(tmp_path, options, message):
    source = make_corpus(tmp_path, "a", ["surface", "meaning"], 4)
    with pytest.raises(UserError, match=message):
        drop_labels.main(["--input", str(source), "--output", str(tmp_path / "out"), *options])


def test_combined_corpora_keep_all_utterances(tmp_path, capsys):
    sources = [
        make_corpus(tmp_path, "both", ["surface", "meaning"], 3),
        make_corpus(tmp_path, "read", ["meaning"], 4, l1="Hindi"),
        make_corpus(tmp_path, "phonetic", ["surface"], 2),
    ]
    target = tmp_path / "all"
    assert combine.main(["--inputs", *map(str, sources), "--output", str(target)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"{target}: 9 utterances, labelled: 5 surface, 7 meaning"
    )
    combined = {item.utt_id: item for item in read_directory(target)}
    for source in sources:
        for utterance in read_directory(source):
            assert combined.pop(utterance.utt_id) == utterance
    assert not combined


def test_corpus_with_only_label_tables_is_combined_and_kept(tmp_path, capsys):
    """It trains the outputs that stage 4 makes from label tables."""
    sources = [
        make_corpus(tmp_path, "read", ["meaning"], 3),
        make_corpus(tmp_path, "accents", [], 2, l1="Hindi"),
    ]
    target = tmp_path / "all"
    command = [
        "--inputs",
        *map(str, sources),
        "--output",
        str(target),
        "--outputs",
        "surface meaning l1",
    ]
    with pytest.raises(UserError, match="accents: no utterance has a transcript for surface or"):
        combine.main(command)
    with pytest.raises(UserError, match="utt2age is not a label table"):
        combine.main([*command, "--label_outputs", "l1=utt2age"])
    assert combine.main([*command, "--label_outputs", "l1=utt2l1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{sources[0]}: 3 utterances, labelled: 0 surface, 3 meaning, 0 l1",
        f"{sources[1]}: 2 utterances, labelled: 0 surface, 0 meaning, 2 l1",
        f"{target}: 5 utterances, labelled: 0 surface, 3 meaning, 2 l1",
    ]
    options = FilterOptions(
        ("surface", "meaning", "l1"), labels={"l1": "utt2l1"}, tags=(("meaning", "l1"),)
    )
    lines = filter_directory(target, tmp_path / "dump", options)
    assert "5 of 5 utterances kept" in lines[0]
    assert read_table(tmp_path / "dump/text.l1")["accents-1"] == "Hindi"
    assert read_table(tmp_path / "dump/text.meaning")["accents-1"] == "<na>"


def test_corpora_with_common_ids_or_without_labels_raise_user_error(tmp_path):
    a = make_corpus(tmp_path, "a", ["meaning"])
    twin = make_corpus(tmp_path, "twin", ["meaning"], speaker="a")
    other = make_corpus(tmp_path, "other", ["meaning"], 2, speaker="b")
    (other / "utt2spk").write_text("b-0 a\nb-1 a\n")
    empty = make_corpus(tmp_path, "empty", ["canonical"])
    for second, message in (
        (twin, "utterance a-0 also exists in"),
        (other, "speaker a also exists in"),
        (empty, "no utterance has a transcript for surface or meaning"),
        (a, "twice"),
    ):
        with pytest.raises(UserError, match=message):
            combine.main(["--inputs", str(a), str(second), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out/wav.scp").exists()


def test_labels_become_outputs_and_inline_tags(tmp_path):
    source = make_corpus(tmp_path, "a", ["meaning"], 2, l1="Mandarin Chinese", lang="en")
    outputs = ("surface", "meaning", "l1", "language")
    options = FilterOptions(
        outputs, labels={"l1": "utt2l1", "language": "utt2lang"}, tags=(("meaning", "l1"),)
    )
    target = tmp_path / "out"
    filter_directory(source, target, options)
    assert read_table(target / "text.l1") == dict.fromkeys(("a-0", "a-1"), "Mandarin_Chinese")
    assert read_table(target / "text.language") == dict.fromkeys(("a-0", "a-1"), "en")
    assert read_table(target / "text.meaning")["a-1"] == "t1 <l1:Mandarin_Chinese>"
    assert read_table(target / "text.surface") == dict.fromkeys(("a-0", "a-1"), "<na>")
    with pytest.raises(UserError, match="utt2age is not a label table"):
        FilterOptions(outputs, labels={"l1": "utt2age"})
    with pytest.raises(UserError, match="tag meaning=language"):
        FilterOptions(outputs, labels={"l1": "utt2l1"}, tags=(("meaning", "language"),))
