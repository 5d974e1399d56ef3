"""Checks of transcripts, recordings and splits: each planted problem is reported."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from directories import IDS, RATE, findings_of, make_directory, noise, run_validate, write_table

from espnet_ext.data.checks.context import Checked, CheckOptions, FrameOptions
from espnet_ext.data.checks.text import _check_characters
from espnet_ext.data.checks.tokens import _CONVOLUTIONS, encoder_frames, frame_options
from espnet_ext.data.validate import check_directory

KOREAN = (
    "국물이 정말 맛있어요",
    "어제 학교에 갔습니다",
    "친구를 만나서 기뻐요",
    "날씨가 아주 좋네요",
    "사과를 먹고 싶어요",
    "오늘은 일찍 일어났어요",
    "버스를 타고 왔어요",
    "책을 읽는 중이에요",
    "주말에 영화를 봤어요",
    "한국어를 배우고 있어요",
    "비가 많이 내립니다",
    "지갑을 잃어버렸어요",
)
ENGLISH = {
    "i like to read a good book": "AY L AY K T AH R IY D AH G UH D B UH K",
    "the zoo is closed today": "DH AH Z UW IH Z K L OW Z D T AH D EY",
    "he plays with his brother": "HH IY P L EY Z W IH DH HH IH Z B R AH DH ER",
    "we bought five apples": "W IY B AO T F AY V AE P AH L Z",
    "she is very happy now": "SH IY IH Z V EH R IY HH AE P IY N AW",
    "please open the window": "P L IY Z OW P AH N DH AH W IH N D OW",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ids(count):
    return [f"s{n % 2 + 1}-{n:03}" for n in sorted(range(count), key=lambda n: (n % 2, n))]


# -- texts


def test_apostrophes_that_are_no_longer_in_the_file_are_reported_without_a_row(folder):
    write_table(folder, "text", "a changed meanwhile")
    checked = Checked(folder, CheckOptions())
    _check_characters(checked, folder / "text", Counter("a'\u2019"), {"Latin"})
    (finding,) = [one for one in checked.findings if one.code == "two-apostrophes"]
    assert finding.line == 0


@pytest.mark.parametrize(
    ("text", "lang", "codes"),
    [
        ("국물 주세요", "ko", []),
        ("ㄱ ㅏ 국물", "ko", []),
        ("tv를 봐요", "ko", ["foreign-characters"]),
        ("hello there", "ko", ["foreign-characters", "script"]),
        ("국물 3개", "ko", ["digits"]),
        ("(국물)/(궁물) 주세요", "ko", ["markup"]),
        ("국물 주세요 ｶﾀ", "ko", ["other-forms"]),
        ("ﾡ 국물 주세요", "ko", ["other-forms", "whitespace"]),
        ("국물 주세요 你好", "ko", ["foreign-characters"]),
        ("a cаt", "en", ["foreign-characters", "mixed-scripts"]),  # a Cyrillic а
        ("wɪθ eɪ ˈhaʊs iː", "en", []),  # IPA
        ("α cat", "en", ["foreign-characters"]),
        ("A cat", "en", ["both-cases"]),
        ("i don\u2019t, you don't", "en", ["two-apostrophes"]),
        ("i don\u2019t", "en", []),
        ("국물 주세요", "en", ["foreign-characters", "script"]),
    ],
)
def test_scripts_and_characters_are_checked(folder, text, lang, codes):
    usual = "국물 주세요" if lang == "ko" else "a cat"
    make_directory("d", lang=lang, meaning=[text, usual, usual, usual])
    assert sorted(run_validate("d", "--check_audio", "false")[1]) == codes
    for finding in findings_of("d", codes[0], "--check_audio", "false") if codes else ():
        if finding["code"] != "both-cases":  # which is about the whole file
            assert (finding["line"], finding["utt_id"]) == (1, "s1-u1")


def test_row_in_another_script_is_reported_unless_its_language_is(folder):
    texts = ["국물 주세요", "국물", "give me soup", "물 주세요"]
    make_directory("d", meaning=texts)
    (finding,) = findings_of("d", "script")
    assert finding["utt_id"] == "s2-u1" and "wholly in Latin" in finding["message"]
    write_table("d", "utt2lang", "s1-u1 ko", "s1-u2 ko", "s2-u1 en", "s2-u2 ko")
    assert findings_of("d", "script") == []
    write_table("d", "utt2lang", "s1-u1 ko", "s1-u2 en", "s2-u1 en", "s2-u2 ko")
    assert [finding["utt_id"] for finding in findings_of("d", "script")] == ["s1-u2"]


def test_file_in_another_language_is_one_finding(folder):
    make_directory("d", lang="ko", meaning=["give me soup"] * 4)
    (finding,) = findings_of("d", "script")
    assert finding["line"] == 0 and "utt2lang says ko" in finding["message"]


def test_words_among_phones_are_reported(folder):
    count = 20
    phones = [list(ENGLISH.values())[n % 6] for n in range(count)]
    make_directory("d", ids(count), lang="en", surface=[*phones[:-1], "OPEN the window"])
    (finding,) = findings_of("d", "not-phones", "--check_audio", "false")
    assert finding["line"] == count


def test_characters_are_counted(folder):
    make_directory("d", meaning=["aab", "b c", None, "c"])
    checked = check_directory("d", CheckOptions(check_audio=False))
    assert checked.characters["meaning"] == {"a": 2, "b": 2, "c": 2, " ": 1}
    assert checked.transcripts == {"meaning": 3}
    assert checked.as_json()["characters"]["meaning"][" "] == 1
    notes = {item.code: item.message for item in checked.findings if item.severity == "note"}
    assert "1 utterances are unlabelled, 75.0 % are labelled" in notes["coverage"]


# -- pairs


def exchange_rows(name, first, second):
    """Exchange two transcripts of d/text.<name>."""
    path = Path(f"d/text.{name}")
    rows = [row.split(" ", 1) for row in path.read_text(encoding="utf-8").splitlines()]
    rows[first][1], rows[second][1] = rows[second][1], rows[first][1]
    path.write_text("".join(f"{key} {text}\n" for key, text in rows), encoding="utf-8")


@pytest.mark.parametrize("order", ["sorted", "unsorted"])
def test_exchanged_korean_texts_are_matched(folder, order):
    surface = [text.replace("있", "이").replace("을", "을르") for text in KOREAN]
    make_directory("d", ids(12), surface=surface, meaning=KOREAN)
    if order == "unsorted":
        rows = Path("d/text.meaning").read_text(encoding="utf-8").splitlines()
        write_table("d", "text.meaning", *rows[::-1])
    assert "implausible-pair" not in run_validate("d", "--check_audio", "false")[1]
    exchange_rows("surface", 3, 9)
    reported = findings_of("d", "implausible-pair", "--check_audio", "false")
    assert [finding["line"] for finding in reported] == [4, 10]
    assert f"it fits the meaning of {ids(12)[9]}" in reported[0]["message"]
    assert f"it fits the meaning of {ids(12)[3]}" in reported[1]["message"]


@pytest.mark.parametrize("name", ["surface", "meaning"])
def test_exchanged_english_texts_and_phones_are_matched(folder, name):
    pronounced = [phones.replace("V", "B").replace("Z", "JH") for phones in ENGLISH.values()]
    texts = {"meaning": list(ENGLISH), "surface": pronounced}
    make_directory("d", ids(6), lang="en", **texts)
    assert "implausible-pair" not in run_validate("d", "--check_audio", "false")[1]
    exchange_rows(name, 1, 4)
    reported = findings_of("d", "implausible-pair", "--check_audio", "false")
    assert [finding["line"] for finding in reported] == [2, 5]
    assert "it fits" in reported[0]["message"]


def test_texts_that_slipped_by_a_row_are_matched(folder):
    texts = list(KOREAN)
    make_directory("d", ids(12), surface=[*texts[:6], *texts[7:], texts[6]], meaning=texts)
    reported = findings_of("d", "implausible-pair", "--check_audio", "false")
    assert len(reported) >= 5 and sum("it fits" in finding["message"] for finding in reported) >= 4


def test_outputs_with_nothing_in_common_are_not_compared(folder):
    """If all pairs differ, the outputs are of different kinds."""
    texts = [KOREAN[n % 12] for n in range(24)]
    make_directory("d", ids(24), surface=[*texts[5:], *texts[:5]], meaning=texts)
    assert "implausible-pair" not in run_validate("d", "--check_audio", "false")[1]


@pytest.mark.parametrize(("count", "units"), [(30, 4), (8, 2)])
def test_implausible_ratio_of_lengths_is_reported(folder, count, units):
    """Of phones and Hangul, only the lengths can be compared."""
    meaning = [KOREAN[n % 12] for n in range(count)]
    surface = [" ".join(["AH"] * len(text.replace(" ", "") * 2)) for text in meaning]
    surface[7] = " ".join(["AH"] * units)
    make_directory("d", ids(count), surface=surface, meaning=meaning)
    (finding,) = findings_of("d", "implausible-pair", "--check_audio", "false")
    assert finding["line"] == 8 and f"has {units} units, its meaning has" in finding["message"]


def test_short_surface_of_a_long_meaning_is_reported(folder):
    texts = ENGLISH | {"thank you very much": "T S", "no": "S IY"}
    make_directory("d", ids(8), lang="en", meaning=list(texts), surface=list(texts.values()))
    (finding,) = findings_of("d", "implausible-pair", "--check_audio", "false")
    assert finding["line"] == 7 and "differs from its meaning in 71 %" in finding["message"]


# -- texts and audio


def test_too_long_and_too_short_transcripts_are_reported(folder):
    make_directory("d", meaning=["가" * 40, "국물", "국물", "국물"])
    soundfile.write("d/s2-u2.wav", noise(9, 12), RATE)
    assert [finding["utt_id"] for finding in findings_of("d", "too-fast")] == ["s1-u1"]
    assert [finding["utt_id"] for finding in findings_of("d", "too-slow")] == ["s2-u2"]


def test_transcript_too_long_for_ctc_is_reported(folder):
    make_directory("d", meaning=["가" * 13, "가나" * 12, "가" * 12 + "나", "가나" * 13])
    Path("c.yaml").write_text(
        "frontend_conf: {fs: 16k, hop_length: 160}\nencoder_conf: {input_layer: conv2d}\n"
    )
    reported = findings_of("d", "ctc-infeasible", "--config", "c.yaml", "--tokens", "meaning=char")
    # Audio of 1 to 1.03 s has 24 frames. Labels and repeats: 13 + 12, 24 + 0, 13 + 11, 26 + 0
    assert [finding["utt_id"] for finding in reported] == ["s1-u1", "s2-u2"]
    assert "13 labels (12 of them repeated) with 24 encoder frames" in reported[0]["message"]


@pytest.mark.parametrize("layer", _CONVOLUTIONS)
def test_encoder_frames_equal_espnets_and_those_of_the_model(layer):
    torch = pytest.importorskip("torch")
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
    from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
    from espnet2.asr.frontend.default import DefaultFrontend

    frontend = DefaultFrontend(fs=16000, n_fft=400, hop_length=160, n_mels=80)
    kind = EBranchformerEncoder if layer.startswith("conv1d") else ConformerEncoder
    size = {"output_size": 8, "attention_heads": 2, "linear_units": 8, "num_blocks": 1}
    encoder = kind(80, input_layer=layer, rel_pos_type="latest", **size).eval()
    for samples in (4000, 4159, 4160, 16000, 23456):
        features, lengths = frontend(torch.zeros(1, samples), torch.tensor([samples]))
        _, made, _ = encoder(features, lengths)
        assert encoder_frames(samples / 16000, FrameOptions(16000, 160, layer)) == int(made[0])

    from espnet_ext.model.frames import min_feature_frames

    options = FrameOptions(16000, 160, layer)
    fewest = min_feature_frames(None, encoder)
    assert encoder_frames((fewest - 1) * 0.01, options) >= 1
    assert fewest == 1 or encoder_frames((fewest - 2) * 0.01, options) == 0


def test_unknown_frontend_or_layer_has_no_frame_options():
    assert frame_options({"frontend": "s3prl"}) is None
    assert frame_options({"encoder_conf": {"input_layer": "embed"}}) is None


def test_tokens_outside_the_list_are_reported(folder):
    make_directory("d", meaning=["가나", "가", "나 라", "라"])
    Path("t.txt").write_text("<blank>\n<unk>\n가\n나\n<space>\n<sos/eos>\n", encoding="utf-8")
    (finding,) = findings_of("d", "unknown-token", "--tokens", "meaning=char:t.txt")
    assert (finding["line"], finding["utt_id"]) == (3, "s2-u1")
    assert "'라' is not in t.txt (2 times" in finding["message"]
    assert run_validate("d", "--tokens", "meaning=bpe")[0] == 0


def test_characters_that_a_sentencepiece_model_merges_are_reported(folder):
    """A model that normalises by NFKC, as an earlier version of stage 5 trained it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    make_directory("d", meaning=["가나", "ㄱㅏ 나", "나 ㄱ", "가"])
    Path("t").mkdir()
    options = {"model_prefix": "t/bpe", "vocab_size": 10, "hard_vocab_limit": False}
    texts = iter(["가나 나 ㄱ 가"] * 20)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=texts, minloglevel=2, **options)
    model = sentencepiece.SentencePieceProcessor(model_file="t/bpe.model")
    units = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    listed = ["<blank>", *dict.fromkeys(["<unk>", *units]), "<sos/eos>"]
    Path("t/tokens.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    findings = findings_of("d", "lossy-tokens", "--tokens", "meaning=bpe:t/tokens.txt")
    assert [finding["message"].split()[0] for finding in findings] == ["'ㄱ'", "'ㅏ'"]
    assert (findings[1]["line"], findings[1]["utt_id"]) == (2, "s1-u2")


# -- audio


def test_silence_clipping_and_offset_are_reported(folder):
    make_directory("d")
    soundfile.write("d/s1-u1.wav", np.zeros(RATE), RATE)
    soundfile.write("d/s1-u2.wav", noise(1, level=0.001), RATE)
    time = np.arange(RATE) / RATE
    soundfile.write("d/s2-u1.wav", np.clip(3 * np.sin(600 * time), -1, 1), RATE)
    soundfile.write("d/s2-u2.wav", noise(2) + 0.2, RATE)
    assert run_validate("d") == (0, [])
    code, codes = run_validate("d", "--read_samples", "true", "--nj", "2")
    assert (code, codes) == (0, ["silent", "silent", "clipping", "offset"])
    silent, quiet = findings_of("d", "silent", "--read_samples", "true")
    assert "its peak is zero" in silent["message"] and "-60 dB" in quiet["message"]


def test_loud_speech_is_not_clipping(folder):
    make_directory("d")
    loud = noise(3)
    soundfile.write("d/s1-u1.wav", loud / np.abs(loud).max(), RATE)
    assert run_validate("d", "--read_samples", "true") == (0, [])


@pytest.mark.parametrize("options", [[], ["--read_samples", "true"]])
def test_repeated_recording_in_another_format_is_reported(folder, options):
    make_directory("d")
    samples, _ = soundfile.read("d/s1-u1.wav", dtype="int16")
    soundfile.write("d/copy.flac", samples, RATE)
    rows = Path("d/wav.scp").read_text().replace("d/s2-u2.wav", "d/copy.flac")
    Path("d/wav.scp").write_text(rows)
    (finding,) = findings_of("d", "duplicate-audio", *options)
    assert finding["utt_id"] == "s2-u2" and "the same recording as s1-u1" in finding["message"]
    assert run_validate("d", "--check_audio", "false") == (0, [])


def test_number_of_threads_does_not_change_findings(folder):
    make_directory("d", ids(30))
    Path("d/s1-004.wav").write_bytes(b"no sound")
    Path("d/s2-007.wav").unlink()
    results = [run_validate("d", "--nj", nj, "--read_samples", "true") for nj in (1, 2, 7)]
    assert results[0] == (1, ["unreadable-audio", "no-audio"])
    assert results == [results[0]] * 3


# -- splits


def test_shared_speakers_sentences_and_recordings_are_reported(folder):
    train = make_directory("train", meaning=["국물 주세요", "물 주세요", "가", "나"])
    test = ["s2-u9", "s3-u1", "s3-u2"]
    make_directory("test", test, meaning=["국물  주세요", "밥 주세요", "다"])
    samples, _ = soundfile.read("train/s1-u2.wav", dtype="int16")
    soundfile.write("test/s3-u2.wav", samples, RATE)
    code, codes = run_validate("test", "--against", train)
    assert code == 1  # a recording of the training set
    assert sorted(codes) == ["shared-audio", "shared-sentences", "shared-speakers", "whitespace"]
    (speakers,) = findings_of("test", "shared-speakers", "--against", train)
    assert "1 of 2 speakers (1 utterances) are in train too: s2" in speakers["message"]
    (known,) = findings_of("test", "shared-sentences", "--against", train)
    assert "1 of 3 utterances (33.3 %)" in known["message"] and "s2-u9" in known["message"]
    (audio,) = findings_of("test", "shared-audio", "--against", train)
    assert audio["utt_id"] == "s3-u2" and "the recording of s1-u2 in train" in audio["message"]
    (unseen,) = findings_of("test", "unseen-characters", "--against", train)
    assert "다 밥" in unseen["message"] and unseen["severity"] == "note"
    make_directory("other", IDS[:2])
    assert "shared-ids" in run_validate("other", "--against", train)[1]
    assert run_validate("test", "--against", "nowhere")[0] == 1


def test_sets_that_share_nothing_have_no_findings(folder):
    make_directory("train")
    make_directory("test", ["s3-u1", "s4-u1"], meaning=["밥", "물"])
    assert run_validate("test", "--against", "train") == (0, [])


def test_words_for_missing_values_are_named(tmp_path):
    make_directory(tmp_path, lang="ko", meaning=["국물", "nan", "NA 국물", "None"])
    write_table(tmp_path, "utt2l1", "s1-u1 en", "s1-u2 NaN", "s2-u1 en", "s2-u2 en")
    places = [
        (Path(finding.file).name, finding.utt_id)
        for finding in check_directory(tmp_path, CheckOptions()).findings
        if finding.code == "missing-word"
    ]
    assert places == [("utt2l1", "s1-u2"), ("text.meaning", "s1-u2"), ("text.meaning", "s2-u2")]
