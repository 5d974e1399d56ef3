"""Tests of MuST-C: segments, cases of texts, languages of outputs, and damaged files."""

import numpy as np
import pytest
import soundfile
from published import RATE, prepare_corpus, write_must_c

from espnet_ext.bin import cli
from espnet_ext.bin import prepare as command
from espnet_ext.corpora import must_c
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.directory import read_directory, text_languages, write_directory
from espnet_ext.data.filtering import FilterOptions, filter_directory
from espnet_ext.data.validate import validate_directory
from espnet_ext.errors import UserError

SEGMENTS = [
    (7, 0.0, 0.5, "So, it’s good.", "Es ist also gut."),
    (7, 0.75, 1.25, "We\u2028see (Laughter)", "Wir sehen"),
    (9, 0.25, 1.0, "Thank you!", "Danke!"),
]
SPLITS = {"train": SEGMENTS, "dev": SEGMENTS[2:], "tst-COMMON": SEGMENTS[:1]}


@pytest.fixture
def root(tmp_path):
    return write_must_c(tmp_path / "corpus", SPLITS)


def prepare(root, **options):
    options = {"corpus_dir": root, "data_dir": root.parent / "data", **options}
    return prepare_corpus(must_c, **options)


def edit(root, name, old, new):
    path = root / "en-de/data/train/txt" / name
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    return path


def test_segments_are_cut_and_texts_have_the_published_case(root):
    report = Report("must_c")
    sets = prepare(root, report=report)
    assert [len(sets[name]) for name in ("train", "valid", "test")] == [3, 1, 1]
    first, second, _ = sets["train"]
    assert first.utt_id == "spk.7-ted_7-000000" and first.speaker == "spk.7"
    assert first.texts == {"transcript": "so it's good", "translation": "Es ist also gut."}
    assert (first.lang, first.text_langs) == ("en", {"translation": "de"})
    # U+2028 is not the end of a line
    assert second.texts["transcript"] == "we see laughter"
    whole, _ = soundfile.read(root / "en-de/data/train/wav/ted_7.wav")
    cut = whole[int(0.75 * RATE) :]
    assert np.allclose(soundfile.read(second.audio)[0], cut, atol=2**-15)
    assert report.seconds[second.utt_id] == 1.25
    true_case = prepare(root, transcript_case="tc", translation_case="lc", sets=("test",))
    assert true_case["test"][0].texts == {
        "transcript": "So, it’s good.",
        "translation": "es ist also gut.",
    }


def test_both_published_layouts_and_the_folder_of_a_pair_are_read(root):
    expected = [utterance.utt_id for utterance in prepare(root)["train"]]
    for folder in (root / "en-de", root / "en-de/data"):
        assert [u.utt_id for u in prepare(folder)["train"]] == expected
    (root / "other/data").mkdir(parents=True)
    (root / "en-de/data").rename(root / "other/data/en-de")
    assert [u.utt_id for u in prepare(root / "other")["train"]] == expected


def test_language_of_translations_stays_with_the_data(root, tmp_path):
    for path in root.glob("en-de/data/*/txt/*.de"):
        path.rename(path.with_suffix(".ko"))
        lines = path.with_suffix(".ko").read_text(encoding="utf-8").splitlines()
        path.with_suffix(".ko").write_text("이것은 좋아요\n" * len(lines), encoding="utf-8")
    (root / "en-de").rename(root / "en-ko")
    arguments = ["must_c", "--corpus_dir", str(root), "--data_dir", str(tmp_path / "data")]
    assert cli.run(command.main, [*arguments, "--tgt_lang", "ko"]) == 0
    folder = tmp_path / "data/en/train"
    assert text_languages(folder) == {"translation": "ko"}
    codes = [finding.code for finding in validate_directory(folder)]
    assert "script" not in codes and "foreign-characters" not in codes
    filter_directory(folder, tmp_path / "dump", FilterOptions(("transcript", "translation")))
    assert text_languages(tmp_path / "dump") == {"translation": "ko"}
    assert cli.run(command.main, [*arguments, "--tgt_lang", "ko"]) == 0  # again, unchanged
    (folder / "utt2lang_translation").unlink()
    assert "script" in [finding.code for finding in validate_directory(folder)]


def test_output_in_several_languages_raises_user_error(tmp_path):
    from dataclasses import replace

    from espnet_ext.data.record import Utterance

    one = Utterance("s-1", "s", "a.wav", {"x": "a"}, "en", text_langs={"x": "de"})
    write_directory(tmp_path, [one, replace(one, utt_id="s-2", text_langs={"x": "fr"})])
    assert len(read_directory(tmp_path)) == 2
    with pytest.raises(UserError, match="utt2lang_x: transcripts of one output are in de and fr"):
        text_languages(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("train.yaml", "offset: 0.75", "offset: 1.75", r"train.yaml:2: ted_7.wav: 1.75 s \+ 1.25"),
        ("train.yaml", "offset: 0.25", "offset: 9.25", r"train.yaml:3: ted_9.wav: 9.25 s"),
        ("train.yaml", "offset: 0.75", "offset: x", "train.yaml:2: offset 'x0000'"),
        ("train.yaml", "duration: 1.0", "duration: -1.0", "train.yaml:3: .* out of range"),
        ("train.yaml", "offset: 0.75", "offset: .nan", "train.yaml:2: offset"),
        ("train.yaml", "wav: ted_9.wav", "wav: ../ted_9.wav", "train.yaml:3: the name"),
        ("train.yaml", "speaker_id: spk.9,", "", "train.yaml:3: has no speaker_id"),
        ("train.yaml", "wav: ted_9.wav", "wav: [ted_9.wav]", "train.yaml:3: not a sequence"),
        ("train.yaml", "wav: ted_9.wav}", "wav: ted_9.wav", "train.yaml:[34]: is not valid YAML"),
        ("train.yaml", "wav: ted_9.wav", "wav: ted_8.wav", "1 recordings cannot be read"),
        ("train.de", "Danke!\n", "", "train.de: has 2 lines, but .*train.yaml has 3 segments"),
        ("train.de", "Wir sehen", "", "train.de:2: no translation"),
        ("train.en", "Thank you!", " ", "train.en:3: no transcript"),
    ],
)
def test_damaged_file_raises_user_error_with_its_line(root, name, old, new, message):
    edit(root, name, old, new)
    with pytest.raises(UserError, match=message) as caught:
        prepare(root)
    assert caught.value.remedy


def test_other_damage_raises_user_errors(root):
    with pytest.raises(UserError, match="has no pair en-fr, only en-de"):
        prepare(root, tgt_lang="fr")
    with pytest.raises(UserError, match="has no split tst-HE, only dev train tst-COMMON"):
        prepare(root, sets=("test", "test_he"))
    with pytest.raises(UserError, match="has no folder en-de"):
        prepare(root / "en-de/data/train/wav")
    path = root / "en-de/data/train/txt/train.de"
    path.write_bytes(b"gut\nD\xfc\nja\n")
    with pytest.raises(UserError, match="train.de:2: is not UTF-8"):
        prepare(root)
    path.unlink()
    with pytest.raises(UserError, match="train.de: cannot read"):
        prepare(root)


def test_missing_translation_can_stay_unlabelled(root):
    edit(root, "train.de", "Wir sehen", "")
    report = Report("must_c")
    second = prepare(root, report=report, missing_text="unlabelled")["train"][1]
    assert second.texts == {"transcript": "we see laughter"}
    assert report.unlabelled == {second.utt_id: {"translation": "an empty line"}}


def test_unreadable_audio_can_be_left_out(root):
    edit(root, "train.yaml", "wav: ted_9.wav", "wav: ted_8.wav")
    edit(root, "train.yaml", "offset: 0.75", "offset: 1.75")
    report = Report("must_c")
    sets = prepare(root, report=report, skip_unreadable=True)
    assert [utterance.utt_id for utterance in sets["train"]] == ["spk.7-ted_7-000000"]
    assert report.left_out == {
        "spk.7-ted_7-000001": "ends after its recording",
        "spk.9-ted_8-000002": "unreadable audio",
    }
