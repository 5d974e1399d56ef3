"""The Python API: accepted audio, order of results, short audio, precision, memory, errors."""

import numpy as np
import pytest
import soundfile
import torch

from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.pronunciation_errors import PronunciationErrors
from espnet_ext.decoding.request import active_tasks
from espnet_ext.errors import UserError

NOISE = np.random.default_rng(3).standard_normal(16000).astype(np.float32) * 0.1  # 1 s


@pytest.fixture(scope="module")
def recogniser(trained):
    return DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2, maxlenratio=-4)


def assert_same(result, expected):
    for name in result.best:
        assert result.best[name].token_ids == expected.best[name].token_ids
        assert result.best[name].score == pytest.approx(expected.best[name].score, abs=1e-4)


def test_paths_arrays_and_tensors_give_the_same_result(recogniser, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, 16000, subtype="FLOAT")
    expected = recogniser(NOISE)
    assert list(expected.best) == ["surface", "meaning"]
    for audio in (
        path,
        str(path),
        torch.from_numpy(NOISE),
        NOISE.astype(np.float64),
        NOISE.tolist(),
        torch.from_numpy(NOISE).requires_grad_(),
        NOISE[::-1].copy()[::-1],
        NOISE.astype(">f4"),
    ):
        assert_same(recogniser(audio), expected)


def test_other_sample_rates_are_resampled(recogniser, tmp_path):
    tone_8k = np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000).astype(np.float32) * 0.3
    path = tmp_path / "8k.wav"
    soundfile.write(path, tone_8k, 8000, subtype="FLOAT")
    assert recogniser.samples(path).numel() == 16000
    assert recogniser.samples(tone_8k, 8000).numel() == 16000
    assert_same(recogniser(path), recogniser(tone_8k, 8000))
    tone_16k = np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000) * 0.3
    middle = slice(2000, 14000)  # resampling rings at the ends
    resampled = recogniser.samples(tone_8k, 8000).numpy()
    assert np.abs(resampled[middle] - tone_16k[middle]).max() < 1e-3


def test_channel_of_files_is_chosen_at_construction(trained, recogniser, tmp_path):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([NOISE, 0 * NOISE], 1), 16000, subtype="FLOAT")
    mixing = DualSpeech2Text.from_pretrained(
        trained.root / "exp", beam_size=2, maxlenratio=-4, channel="mix"
    )
    assert_same(mixing(path), recogniser(NOISE / 2))
    with pytest.raises(UserError, match="has 2 channels") as caught:
        recogniser(path)
    assert 'channel="mix"' in caught.value.remedy
    with pytest.raises(UserError, match="channel -1"):
        DualSpeech2Text(recogniser.model, {"sample_rate": 16000}, channel=-1)


def test_results_are_in_the_order_of_the_audio(recogniser):
    lengths = [5000, 16000, 300, 9000, 12000, 1]
    audios = [NOISE[:length] for length in lengths]
    small_batches = recogniser.with_options(batch_frames=20)
    for audio, result in zip(audios, small_batches.batch(audios), strict=True):
        assert_same(recogniser(audio), result)
    assert recogniser.batch([]) == []


def test_too_short_audio_has_empty_transcripts(recogniser, capsys):
    shortest = next(n for n in range(16000) if not recogniser.is_too_short(n))
    assert shortest == 960  # seven frames of 160 samples, the first at 0
    for length in (1, shortest - 1):
        best = recogniser(NOISE[:length]).best
        assert [(h.text, h.tokens) for h in best.values()] == [("", ())] * 2
        warning = f"warning: {length / 16000:.3f} s of audio are too short for the model"
        assert capsys.readouterr().err.startswith(warning)
    assert recogniser(NOISE[:shortest]).best["surface"].score < 0
    recogniser.batch([NOISE, NOISE[:800], NOISE[:8]])
    [warning] = capsys.readouterr().err.splitlines()
    assert "2 of 3 recordings are too short" in warning and "audio 2 of 3: 0.050 s" in warning


def test_array_and_file_without_samples_raise_user_error(recogniser, tmp_path):
    soundfile.write(tmp_path / "empty.wav", NOISE[:0], 16000)
    with pytest.raises(UserError, match="empty.wav: has no samples"):
        recogniser(tmp_path / "empty.wav")
    with pytest.raises(UserError, match="audio 2 of 2: there are no samples"):
        recogniser.batch([NOISE, NOISE[:0]])


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros((2, 8000), np.float32), "one channel"),
        (np.zeros(8000, np.int16), "floats"),
        (np.full(8000, np.nan, np.float32), "finite"),
        ("no/such.wav", "no/such.wav"),
        (None, "NoneType"),
        (b"RIFF", "bytes"),
        (np.array(["a"]), "floats"),
    ],
)
def test_invalid_audio_raises_user_error(recogniser, audio, message):
    with pytest.raises(UserError) as caught:
        recogniser(audio)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("https://example.com/a.wav", "this is a URL: download the file"),
        ("file:///tmp/a.wav", "write the path alone"),
        ("~/a.wav", "~ is not expanded here: write /"),
        ("a.wav", "correct the path: relative paths start in the current folder"),
        (".", "name a file in it"),
        ("cat a.wav |", "give the path of an audio file"),
    ],
)
def test_remedies_for_paths_do_not_speak_of_tables(recogniser, path, remedy):
    for recognise in (recogniser, recogniser.long):
        with pytest.raises(UserError) as caught:
            recognise(path)
        assert caught.value.message.startswith(f"{path}: ")
        assert caught.value.remedy.startswith(remedy) and "wav.scp" not in caught.value.remedy


def test_with_options_does_not_change_the_original(recogniser):
    wide = recogniser.with_options(beam_size=4, nbest=3)
    assert len(wide(NOISE).nbest["surface"]) == 3
    assert len(recogniser(NOISE).nbest["surface"]) == 1
    assert wide.model is recogniser.model
    assert_same(wide.with_options(beam_size=2, nbest=1)(NOISE), recogniser(NOISE))
    scores = [hypothesis.score for hypothesis in wide(NOISE).nbest["surface"]]
    assert scores == sorted(scores, reverse=True)
    with pytest.raises(UserError, match="beam_sise"):
        recogniser.with_options(beam_sise=3)


def test_language_model_weight_can_be_set_later(recogniser, trained):
    lm_class = pytest.importorskip("espnet2.lm.transformer_lm").TransformerLM
    vocab_size = len(recogniser.model.heads["meaning"].tokens)
    torch.manual_seed(0)
    lm = lm_class(
        vocab_size, pos_enc=None, embed_unit=8, att_unit=8, head=2, unit=8, layer=1
    ).eval()
    with_lm = DualSpeech2Text(
        recogniser.model,
        {},
        {"beam_size": 2, "maxlenratio": -4},
        trained.root / "exp",
        {"meaning": lm},
    )
    assert_same(with_lm(NOISE), recogniser(NOISE))  # its weight is 0
    fused = with_lm.with_options(lm_weight=0.5)(NOISE)
    assert "lm" in fused.best["meaning"].scores
    assert "lm" not in fused.best["surface"].scores
    with pytest.raises(UserError, match="meanning"):
        DualSpeech2Text(recogniser.model, {}, {}, lms={"meanning": lm})


@pytest.mark.parametrize("rate", [0, -16000, 16, float("nan"), float("inf"), "16000", True])
def test_invalid_sample_rate_raises_user_error(recogniser, rate):
    with pytest.raises(UserError, match="sample_rate.*\n.*in Hz"):
        recogniser(NOISE, rate)


@pytest.mark.parametrize("audios", ["a.wav", b"a.wav", None])
def test_batch_must_be_a_list(recogniser, audios):
    with pytest.raises(UserError, match="give a list"):
        recogniser.batch(audios)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "tpu"])
def test_missing_device_raises_user_error(trained, device):
    with pytest.raises(UserError, match="(device|no GPU).*\n.*remedy: run on the CPU"):
        DualSpeech2Text.from_pretrained(trained.root / "exp", device=device)


def test_tokens_have_confidences_and_times(recogniser):
    """Times need CTC."""
    best = recogniser.with_options(times=True, maxlenratio=0.0)(NOISE).best
    for name, hypothesis in best.items():
        assert len(hypothesis.confidences) == len(hypothesis.tokens) > 0
        assert all(0 <= confidence <= 1 for confidence in hypothesis.confidences)
        if recogniser.model.heads[name].ctc is None:
            assert hypothesis.times is None
            continue
        edges = [edge for span in hypothesis.times for edge in span]
        assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= 1.0
        assert len(hypothesis.times) == len(hypothesis.tokens)
    assert any(hypothesis.times for hypothesis in best.values())
    assert recogniser(NOISE).best["surface"].times is None  # not requested


def test_product_of_confidences_is_at_least_the_score(recogniser):
    unlimited = recogniser.with_options(maxlenratio=0.0)
    for hypothesis in unlimited(NOISE).best.values():
        log_confidence = float(np.log(hypothesis.confidences).sum())
        assert log_confidence >= hypothesis.score - 1e-4  # the score also contains eos


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8_search"])
def test_lower_precision_gives_similar_scores(trained, recogniser, precision):
    approximate = DualSpeech2Text.from_pretrained(
        trained.root / "exp", beam_size=2, maxlenratio=-4, precision=precision
    )
    for name, hypothesis in approximate(NOISE).best.items():
        exact = recogniser(NOISE).best[name]
        assert hypothesis.score == pytest.approx(exact.score, rel=0.1)
        assert hypothesis.score != exact.score  # the precision has an effect


def test_int8_search_keeps_the_ctc_posteriors(trained, recogniser):
    results = []
    for precision in ("float32", "int8_search"):
        one = DualSpeech2Text.from_pretrained(trained.root / "exp", precision=precision)
        one.log_probs_of = ("surface",)
        results.append(one(NOISE).log_probs["surface"])
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("precision", "message"), [("float8", "choose among"), ("float16", "float16 on cpu")]
)
def test_unsupported_precision_raises_user_error(trained, precision, message):
    with pytest.raises(UserError) as caught:
        DualSpeech2Text.from_pretrained(trained.root / "exp", precision=precision)
    assert message in f"{caught.value} {caught.value.remedy}"


def test_batch_that_exceeds_memory_is_halved(recogniser, monkeypatch):
    decode_batch = recogniser._decode_batch
    sizes = []

    def fail_above_two(waves, *inputs):
        sizes.append(len(waves))
        if len(waves) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode_batch(waves, *inputs)

    audios = [NOISE[start : start + 8000] for start in range(0, 5000, 1000)]
    expected_results = recogniser.batch(audios)
    monkeypatch.setattr(recogniser, "_decode_batch", fail_above_two)
    for result, expected in zip(recogniser.batch(audios), expected_results, strict=True):
        assert_same(result, expected)
    assert max(sizes) == 5 and sizes.count(2) + sizes.count(1) == 3


def test_single_utterance_that_exceeds_memory_raises_user_error(recogniser, monkeypatch):
    def fail(*_inputs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(recogniser, "_decode_batch", fail)
    with pytest.raises(UserError, match="out of memory on a single utterance of 1 s"):
        recogniser(NOISE)


@pytest.mark.parametrize("longest", [0, -1, float("nan"), "20", None])
def test_invalid_segment_length_raises_user_error(recogniser, longest):
    with pytest.raises(UserError, match="longest"):
        recogniser.long("a.wav", longest)


def test_invalid_use_of_canonical_forms_raises_user_error(recogniser):
    with pytest.raises(UserError, match="without an error model"):
        recogniser(NOISE, canonical="A")
    errors = PronunciationErrors.estimate([["A"]], [["A"]])
    clone = recogniser.with_options()
    with pytest.raises(UserError, match="canonical weight"):
        clone.use_canonical(errors, -1)
    with pytest.raises(UserError, match="source of canonical forms: unknown key 'surface'"):
        clone.use_canonical(errors, source="surface")
    with pytest.raises(UserError, match="the search is greedy"):
        recogniser.with_options(greedy=True, nbest=1).use_canonical(errors)
    assert clone.canonical is None


def test_invalid_coupling_raises_user_error(recogniser):
    texts = {"surface": ["K AE"], "meaning": ["a"]}
    with pytest.raises(UserError, match="n-best lists with one hypothesis"):
        recogniser.with_options().couple(texts)
    for weight in ("0.3", -1, float("nan"), True):
        with pytest.raises(UserError, match="coupling weight"):
            recogniser.with_options(nbest=2).couple(texts, weight)


def test_arguments_of_wrong_type_raise_user_error(recogniser):
    with pytest.raises(UserError, match="audio of type ndarray"):
        recogniser.long(NOISE)
    with pytest.raises(UserError, match="give a list"):
        recogniser.batch(torch.tensor(1.0))


def test_result_does_not_depend_on_a_slightly_longer_utterance(recogniser):
    unlimited = recogniser.with_options(maxlenratio=0.0)
    for cut in (1, 50, 100, 200, 255, 300):
        short = NOISE[:-cut]
        assert_same(unlimited.batch([NOISE, short])[1], unlimited(short))


@pytest.mark.parametrize(
    ("active", "message"),
    [
        (["surface"], r"active outputs \['surface'\]"),
        (None, "active outputs None"),
        ({"surface": "surface"}, "active outputs of 'surface': 'surface'"),
        ({"surface": 1}, "active outputs of 'surface': 1"),
        ({"l1": ["surface"]}, "active outputs: unknown key 'l1'"),
        ("all", "active outputs: 'all'"),
    ],
    ids=str,
)
def test_invalid_active_tasks_raise_user_error(recogniser, active, message):
    with pytest.raises(UserError, match=message):
        active_tasks(recogniser.model, recogniser.outputs, active)
