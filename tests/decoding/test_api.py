"""The Python API: what audio it takes, in which order it answers, what it does with nothing."""

import numpy as np
import pytest
import soundfile
import torch

from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.request import active_outputs
from espnet_ext.errors import UserError

NOISE = np.random.default_rng(3).standard_normal(16000).astype(np.float32) * 0.1


@pytest.fixture(scope="module")
def recognise(trained):
    return DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2, maxlenratio=-4)


def same(one, other):
    for name in one.best:
        assert one.best[name].token_ids == other.best[name].token_ids
        assert one.best[name].score == pytest.approx(other.best[name].score, abs=1e-4)


def test_paths_arrays_and_tensors_are_the_same_speech(recognise, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, 16000, subtype="FLOAT")
    expected = recognise(NOISE)
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
        same(recognise(audio), expected)


def test_another_sample_rate_is_resampled(recognise, tmp_path):
    slow = np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000).astype(np.float32) * 0.3
    path = tmp_path / "8k.wav"
    soundfile.write(path, slow, 8000, subtype="FLOAT")
    assert recognise.samples(path).numel() == 16000
    assert recognise.samples(slow, 8000).numel() == 16000
    same(recognise(path), recognise(slow, 8000))
    tone = np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000) * 0.3
    middle = slice(2000, 14000)  # resampling rings at the ends
    assert np.abs(recognise.samples(slow, 8000).numpy()[middle] - tone[middle]).max() < 1e-3


def test_results_come_in_the_order_given(recognise):
    lengths = [5000, 16000, 300, 9000, 12000, 0]
    audios = [NOISE[:length] for length in lengths]
    narrow = recognise.with_options(batch_frames=20)  # cut into several batches
    for audio, result in zip(audios, narrow.batch(audios), strict=True):
        same(recognise(audio), result)
    assert recognise.batch([]) == []


def test_too_short_audio_has_empty_transcripts(recognise):
    shortest = next(n for n in range(16000) if not recognise.is_too_short(n))
    assert shortest == 960  # seven frames of 160 samples, the first at 0
    for length in (0, 1, shortest - 1):
        best = recognise(NOISE[:length]).best
        assert [(h.text, h.tokens) for h in best.values()] == [("", ())] * 2
    assert recognise(NOISE[:shortest]).best["surface"].score < 0


@pytest.mark.parametrize(
    ("audio", "named"),
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
def test_wrong_audio(recognise, audio, named):
    with pytest.raises(UserError) as caught:
        recognise(audio)
    assert named in str(caught.value)


def test_other_options_leave_the_first_recogniser_alone(recognise):
    wide = recognise.with_options(beam_size=4, nbest=3)
    assert len(wide(NOISE).nbest["surface"]) == 3
    assert len(recognise(NOISE).nbest["surface"]) == 1
    assert wide.model is recognise.model
    same(wide.with_options(beam_size=2, nbest=1)(NOISE), recognise(NOISE))
    scores = [h.score for h in wide(NOISE).nbest["surface"]]
    assert scores == sorted(scores, reverse=True)
    with pytest.raises(UserError, match="beam_sise"):
        recognise.with_options(beam_sise=3)


def test_language_model_can_be_weighed_later(trained):
    lm = pytest.importorskip("espnet2.lm.transformer_lm").TransformerLM
    recognise = DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2, maxlenratio=-4)
    size = len(recognise.model.heads["meaning"].tokens)
    torch.manual_seed(0)
    model = lm(size, pos_enc=None, embed_unit=8, att_unit=8, head=2, unit=8, layer=1).eval()
    fused = DualSpeech2Text(
        recognise.model,
        {},
        {"beam_size": 2, "maxlenratio": -4},
        trained.root / "exp",
        {"meaning": model},
    )
    same(fused(NOISE), recognise(NOISE))  # weighs nothing yet
    heard = fused.with_options(lm_weight=0.5)(NOISE)
    assert "lm" in heard.best["meaning"].scores
    assert "lm" not in heard.best["surface"].scores
    with pytest.raises(UserError, match="meanning"):
        DualSpeech2Text(recognise.model, {}, {}, lms={"meanning": model})


@pytest.mark.parametrize("rate", [0, -16000, 16, float("nan"), float("inf"), "16000", True])
def test_wrong_sample_rates(recognise, rate):
    with pytest.raises(UserError, match="sample_rate.*\n.*in Hz"):
        recognise(NOISE, rate)


@pytest.mark.parametrize("audios", ["a.wav", b"a.wav", None])
def test_a_batch_is_a_list(recognise, audios):
    with pytest.raises(UserError, match="give a list"):
        recognise.batch(audios)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "tpu"])
def test_a_device_that_is_not_there(trained, device):
    with pytest.raises(UserError, match="(device|no GPU).*\n.*remedy: run on the CPU"):
        DualSpeech2Text.from_pretrained(trained.root / "exp", device=device)


def test_tokens_have_confidences_and_times(recognise):
    """Of branches with CTC; what is said sums up to the score."""
    found = recognise.with_options(times=True, maxlenratio=0.0)(NOISE).best
    for name, hypothesis in found.items():
        assert len(hypothesis.confidences) == len(hypothesis.tokens) > 0
        assert all(0 <= sure <= 1 for sure in hypothesis.confidences)
        if recognise.model.heads[name].ctc is None:
            assert hypothesis.times is None
            continue
        edges = [edge for span in hypothesis.times for edge in span]
        assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= 1.0
        assert len(hypothesis.times) == len(hypothesis.tokens)
    assert any(h.times for h in found.values())
    assert recognise(NOISE).best["surface"].times is None  # only where they are asked for


def test_confidences_make_up_the_score(recognise):
    free = recognise.with_options(maxlenratio=0.0)
    for hypothesis in free(NOISE).best.values():
        said = float(np.log(hypothesis.confidences).sum())
        assert said >= hypothesis.score - 1e-4  # the rest is the end's


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_lower_precision_finds_nearly_the_same(trained, recognise, precision):
    folder = trained.root / "exp"
    rough = DualSpeech2Text.from_pretrained(
        folder, beam_size=2, maxlenratio=-4, precision=precision
    )
    for name, hypothesis in rough(NOISE).best.items():
        exact = recognise(NOISE).best[name]
        assert hypothesis.score == pytest.approx(exact.score, rel=0.1)
        assert hypothesis.score != exact.score  # it really computes otherwise


@pytest.mark.parametrize(
    ("precision", "words"), [("float8", "choose among"), ("float16", "float16 on cpu")]
)
def test_a_precision_that_is_none_here(trained, precision, words):
    with pytest.raises(UserError) as caught:
        DualSpeech2Text.from_pretrained(trained.root / "exp", precision=precision)
    assert words in f"{caught.value} {caught.value.remedy}"


def test_what_does_not_fit_into_memory_is_cut_in_halves(recognise, monkeypatch):
    whole = recognise._decode_batch
    sizes = []

    def narrow(waves):
        sizes.append(len(waves))
        if len(waves) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(waves)

    audios = [NOISE[start : start + 8000] for start in range(0, 5000, 1000)]
    expected = recognise.batch(audios)
    monkeypatch.setattr(recognise, "_decode_batch", narrow)
    for one, other in zip(recognise.batch(audios), expected, strict=True):
        same(one, other)
    assert max(sizes) == 5 and sizes.count(2) + sizes.count(1) == 3


def test_one_utterance_too_long_for_the_memory_is_named(recognise, monkeypatch):
    def full(_waves):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(recognise, "_decode_batch", full)
    with pytest.raises(UserError, match="out of memory on 1 s of audio"):
        recognise(NOISE)


@pytest.mark.parametrize("longest", [0, -1, float("nan"), "20", None])
def test_parts_of_no_length(recognise, longest):
    with pytest.raises(UserError, match="longest"):
        recognise.long("a.wav", longest)


def test_what_cannot_be_coupled(recognise):
    texts = {"surface": ["K AE"], "meaning": ["a"]}
    with pytest.raises(UserError, match="coupling of one hypothesis"):
        recognise.with_options().couple(texts)
    for weight in ("0.3", -1, float("nan"), True):
        with pytest.raises(UserError, match="coupling weight"):
            recognise.with_options(nbest=2).couple(texts, weight)
    with pytest.raises(UserError, match="long audio of type ndarray"):
        recognise.long(NOISE)
    with pytest.raises(UserError, match="give a list"):
        recognise.batch(torch.tensor(1.0))


def test_an_utterance_is_the_same_beside_one_that_is_hardly_longer(recognise):
    exact = recognise.with_options(maxlenratio=0.0)
    for cut in (1, 50, 100, 200, 255, 300):
        short = NOISE[:-cut]
        same(exact.batch([NOISE, short])[1], exact(short))


@pytest.mark.parametrize(
    ("active", "named"),
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
def test_wrong_ways_to_name_active_outputs(recognise, active, named):
    with pytest.raises(UserError, match=named):
        active_outputs(recognise.model, recognise.outputs, active)
