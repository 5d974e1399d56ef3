"""What transcripts and recordings hold, and what goes together: each fault is planted and found."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from directories import IDS, RATE, findings, found, noise, sound_directory, write_table

from espnet_ext.data.checks.context import CheckOptions, FrameOptions
from espnet_ext.data.checks.tokens import encoder_frames, frame_options
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
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ids(count):
    return [f"s{n % 2 + 1}-{n:03}" for n in sorted(range(count), key=lambda n: (n % 2, n))]


# -- texts


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
        ("A cat", "en", ["both-cases"]),
        ("국물 주세요", "en", ["foreign-characters", "script"]),
    ],
)
def test_scripts_and_characters(here, text, lang, codes):
    usual = "국물 주세요" if lang == "ko" else "a cat"
    sound_directory("d", lang=lang, meaning=[text, usual, usual, usual])
    assert sorted(found("d", "--check_audio", "false")[1]) == codes
    for one in findings("d", codes[0], "--check_audio", "false") if codes else ():
        assert (one["line"], one["utt_id"]) == (1, "s1-u1") or one["code"] == "both-cases"


def test_a_row_in_another_language_is_found_without_labels_and_by_its_own(here):
    texts = ["국물 주세요", "국물", "give me soup", "물 주세요"]
    sound_directory("d", meaning=texts)
    (one,) = findings("d", "script")
    assert one["utt_id"] == "s2-u1" and "wholly in Latin" in one["message"]
    write_table("d", "utt2lang", "s1-u1 ko", "s1-u2 ko", "s2-u1 en", "s2-u2 ko")
    assert findings("d", "script") == []
    write_table("d", "utt2lang", "s1-u1 ko", "s1-u2 en", "s2-u1 en", "s2-u2 ko")
    assert [one["utt_id"] for one in findings("d", "script")] == ["s1-u2"]


def test_a_file_in_another_language_is_one_finding(here):
    sound_directory("d", lang="ko", meaning=["give me soup"] * 4)
    (one,) = findings("d", "script")
    assert one["line"] == 0 and "utt2lang says ko" in one["message"]


def test_words_among_phones(here):
    count = 20
    phones = [list(ENGLISH.values())[n % 6] for n in range(count)]
    sound_directory("d", ids(count), lang="en", surface=[*phones[:-1], "OPEN the window"])
    (one,) = findings("d", "not-phones", "--check_audio", "false")
    assert one["line"] == count


def test_the_inventory_is_kept_with_counts(here):
    sound_directory("d", meaning=["aab", "b c", None, "c"])
    check = check_directory("d", CheckOptions(check_audio=False))
    assert check.characters["meaning"] == {"a": 2, "b": 2, "c": 2, " ": 1}
    assert check.transcripts == {"meaning": 3}
    assert check.as_json()["characters"]["meaning"][" "] == 1
    notes = {one.code: one.message for one in check.findings if one.severity == "note"}
    assert "1 utterances are unlabelled, 75.0 % are labelled" in notes["coverage"]


# -- pairs


def plant(name, one, other):
    """Exchange two transcripts of d/text.<name>."""
    path = Path(f"d/text.{name}")
    rows = [row.split(" ", 1) for row in path.read_text(encoding="utf-8").splitlines()]
    rows[one][1], rows[other][1] = rows[other][1], rows[one][1]
    path.write_text("".join(f"{key} {text}\n" for key, text in rows), encoding="utf-8")


@pytest.mark.parametrize("order", ["sorted", "unsorted"])
def test_exchanged_korean_texts(here, order):
    surface = [text.replace("있", "이").replace("을", "을르") for text in KOREAN]
    sound_directory("d", ids(12), surface=surface, meaning=KOREAN)
    if order == "unsorted":
        rows = Path("d/text.meaning").read_text(encoding="utf-8").splitlines()
        write_table("d", "text.meaning", *rows[::-1])
    assert "implausible-pair" not in found("d", "--check_audio", "false")[1]
    plant("surface", 3, 9)
    told = findings("d", "implausible-pair", "--check_audio", "false")
    assert [one["line"] for one in told] == [4, 10]
    assert f"it fits the meaning of {ids(12)[9]}" in told[0]["message"]
    assert f"it fits the meaning of {ids(12)[3]}" in told[1]["message"]


@pytest.mark.parametrize("name", ["surface", "meaning"])
def test_exchanged_english_texts_beside_phones(here, name):
    said = [phones.replace("V", "B").replace("Z", "JH") for phones in ENGLISH.values()]
    texts = {"meaning": list(ENGLISH), "surface": said}
    sound_directory("d", ids(6), lang="en", **texts)
    assert "implausible-pair" not in found("d", "--check_audio", "false")[1]
    plant(name, 1, 4)
    told = findings("d", "implausible-pair", "--check_audio", "false")
    assert [one["line"] for one in told] == [2, 5]
    assert "it fits" in told[0]["message"]


def test_texts_that_slipped_by_a_row(here):
    texts = list(KOREAN)
    sound_directory("d", ids(12), surface=[*texts[:6], *texts[7:], texts[6]], meaning=texts)
    told = findings("d", "implausible-pair", "--check_audio", "false")
    assert len(told) >= 5 and sum("it fits" in one["message"] for one in told) >= 4


def test_outputs_that_have_nothing_in_common_are_not_compared(here):
    """All pairs are far apart: they are no two transcripts of one kind."""
    texts = [KOREAN[n % 12] for n in range(24)]
    sound_directory("d", ids(24), surface=[*texts[5:], *texts[:5]], meaning=texts)
    assert "implausible-pair" not in found("d", "--check_audio", "false")[1]


def test_lengths_that_cannot_be_of_one_utterance(here):
    """Phones beside Hangul: nothing to compare but how much there is."""
    meaning = [KOREAN[n % 12] for n in range(30)]
    surface = [" ".join(["AH"] * len(text.replace(" ", "") * 2)) for text in meaning]
    surface[7] = "AH B K AH"
    sound_directory("d", ids(30), surface=surface, meaning=meaning)
    (one,) = findings("d", "implausible-pair", "--check_audio", "false")
    assert one["line"] == 8 and "has 4 units, its meaning has" in one["message"]


# -- texts and audio


def test_too_much_and_too_little_for_the_audio(here):
    sound_directory("d", meaning=["가" * 40, "국물", "국물", "국물"])
    soundfile.write("d/s2-u2.wav", noise(9, 12), RATE)
    assert [one["utt_id"] for one in findings("d", "too-fast")] == ["s1-u1"]
    assert [one["utt_id"] for one in findings("d", "too-slow")] == ["s2-u2"]


def test_what_ctc_cannot_align(here):
    sound_directory("d", meaning=["가" * 13, "가나" * 12, "가" * 12 + "나", "가나" * 13])
    Path("c.yaml").write_text(
        "frontend_conf: {fs: 16k, hop_length: 160}\nencoder_conf: {input_layer: conv2d}\n"
    )
    told = findings("d", "ctc-infeasible", "--config", "c.yaml", "--tokens", "meaning=char")
    # a second or a little more gives 24 frames: 13 + 12 repeats, 24, 13 + 11, 26
    assert [one["utt_id"] for one in told] == ["s1-u1", "s2-u2"]
    assert "13 labels (12 of them repeated) with 24 encoder frames" in told[0]["message"]


@pytest.mark.parametrize("layer", ["conv2d", "conv2d1", "conv2d2", "conv2d6", "conv2d8", "linear"])
def test_encoder_frames_are_those_of_espnet(layer):
    torch = pytest.importorskip("torch")
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
    from espnet2.asr.frontend.default import DefaultFrontend

    frontend = DefaultFrontend(fs=16000, n_fft=400, hop_length=160, n_mels=80)
    encoder = ConformerEncoder(
        80,
        output_size=8,
        attention_heads=2,
        linear_units=8,
        num_blocks=1,
        input_layer=layer,
        rel_pos_type="latest",
    ).eval()
    for samples in (4000, 4159, 4160, 16000, 23456):
        features, lengths = frontend(torch.zeros(1, samples), torch.tensor([samples]))
        _, made, _ = encoder(features, lengths)
        assert encoder_frames(samples / 16000, FrameOptions(16000, 160, layer)) == int(made[0])


def test_frames_of_what_is_not_known():
    assert frame_options({"frontend": "s3prl"}) is None
    assert frame_options({"encoder_conf": {"input_layer": "embed"}}) is None


def test_unknown_tokens(here):
    sound_directory("d", meaning=["가나", "가", "나 라", "라"])
    Path("t.txt").write_text("<blank>\n<unk>\n가\n나\n<space>\n<sos/eos>\n", encoding="utf-8")
    (one,) = findings("d", "unknown-token", "--tokens", "meaning=char:t.txt")
    assert (one["line"], one["utt_id"]) == (3, "s2-u1")
    assert "'라' is not in t.txt (2 times" in one["message"]
    assert found("d", "--tokens", "meaning=bpe")[0] == 0


# -- audio


def test_silence_clipping_and_offset(here):
    sound_directory("d")
    soundfile.write("d/s1-u1.wav", np.zeros(RATE), RATE)
    soundfile.write("d/s1-u2.wav", noise(1, level=0.001), RATE)
    time = np.arange(RATE) / RATE
    soundfile.write("d/s2-u1.wav", np.clip(3 * np.sin(600 * time), -1, 1), RATE)
    soundfile.write("d/s2-u2.wav", noise(2) + 0.2, RATE)
    assert found("d") == (0, [])
    code, told = found("d", "--read_samples", "true", "--nj", "2")
    assert (code, told) == (0, ["silent", "silent", "clipping", "offset"])
    silent = [one["message"] for one in findings("d", "silent", "--read_samples", "true")]
    assert "its peak is zero" in silent[0] and "-60 dB" in silent[1]


def test_loud_speech_is_not_clipping(here):
    sound_directory("d")
    loud = noise(3)
    soundfile.write("d/s1-u1.wav", loud / np.abs(loud).max(), RATE)
    assert found("d", "--read_samples", "true") == (0, [])


@pytest.mark.parametrize("options", [[], ["--read_samples", "true"]])
def test_the_same_recording_twice_in_another_format(here, options):
    sound_directory("d")
    samples, _ = soundfile.read("d/s1-u1.wav", dtype="int16")
    soundfile.write("d/copy.flac", samples, RATE)
    rows = Path("d/wav.scp").read_text().replace("d/s2-u2.wav", "d/copy.flac")
    Path("d/wav.scp").write_text(rows)
    (one,) = findings("d", "duplicate-audio", *options)
    assert one["utt_id"] == "s2-u2" and "the same recording as s1-u1" in one["message"]
    assert found("d", "--check_audio", "false") == (0, [])


def test_numbers_of_jobs_do_not_matter(here):
    sound_directory("d", ids(30))
    Path("d/s1-004.wav").write_bytes(b"no sound")
    Path("d/s2-007.wav").unlink()
    results = [found("d", "--nj", nj, "--read_samples", "true") for nj in (1, 2, 7)]
    assert results[0] == (1, ["unreadable-audio", "no-audio"])
    assert results == [results[0]] * 3


# -- splits


def test_what_a_test_set_shares_with_its_training_set(here):
    train = sound_directory("train", meaning=["국물 주세요", "물 주세요", "가", "나"])
    test = ["s2-u9", "s3-u1", "s3-u2"]
    sound_directory("test", test, meaning=["국물  주세요", "밥 주세요", "다"])
    samples, _ = soundfile.read("train/s1-u2.wav", dtype="int16")
    soundfile.write("test/s3-u2.wav", samples, RATE)
    code, told = found("test", "--against", train)
    assert code == 1  # a recording of the training set
    assert sorted(told) == ["shared-audio", "shared-sentences", "shared-speakers", "whitespace"]
    (speakers,) = findings("test", "shared-speakers", "--against", train)
    assert "1 of 2 speakers (1 utterances) are in train too: s2" in speakers["message"]
    (known,) = findings("test", "shared-sentences", "--against", train)
    assert "1 of 3 utterances (33.3 %)" in known["message"] and "s2-u9" in known["message"]
    (audio,) = findings("test", "shared-audio", "--against", train)
    assert audio["utt_id"] == "s3-u2" and "the recording of s1-u2 in train" in audio["message"]
    (unseen,) = findings("test", "unseen-characters", "--against", train)
    assert "다 밥" in unseen["message"] and unseen["severity"] == "note"
    sound_directory("other", IDS[:2])
    assert "shared-ids" in found("other", "--against", train)[1]
    assert found("test", "--against", "nowhere")[0] == 1


def test_sets_that_share_nothing(here):
    sound_directory("train")
    sound_directory("test", ["s3-u1", "s4-u1"], meaning=["밥", "물"])
    assert found("test", "--against", "train") == (0, [])
