"""Transcripts become token ids; unlabelled transcripts become an id that the losses ignore."""

import pickle
from argparse import Namespace

import numpy as np
import pytest

from espnet_ext.errors import UserError
from espnet_ext.model.config import UNLABELLED, OutputConfig
from espnet_ext.model.unit_frontend import InputLayout
from espnet_ext.training.preprocessor import OutputsPreprocessor
from espnet_ext.training.task import AUGMENTATION, DualOutputTask
from espnet_ext.training.unit_rows import UnitAugmentation, UnitRows

TOKENS = ["<blank>", "<unk>", "<space>", "a", "b", "한", "<sos/eos>"]
OUTPUTS = {
    "meaning": OutputConfig(token_type="char", token_list=TOKENS),
    "surface": OutputConfig(token_type="phone", token_list=["<blank>", "<unk>", "K", "<sos/eos>"]),
}


@pytest.fixture
def preprocess():
    return OutputsPreprocessor(OUTPUTS, train=True, speech={})


def test_each_output_has_its_own_vocabulary(preprocess):
    data = {"speech": np.zeros(4), "text_meaning": "a b", "text_surface": "K K"}
    batch = preprocess("u", data)
    assert batch["text_meaning"].tolist() == [3, 2, 4]
    assert batch["text_surface"].tolist() == [2, 2]
    assert batch["text_meaning"].dtype == np.int64
    assert batch["speech"].dtype == np.float32


@pytest.mark.parametrize("text", ["<na>", "", "   "])
def test_missing_transcript_becomes_the_unlabelled_id(preprocess, text):
    assert preprocess.encode("meaning", text).tolist() == [UNLABELLED]


def test_unknown_tokens_become_unk_and_unicode_is_normalised(preprocess):
    assert preprocess.encode("meaning", "az").tolist() == [3, 1]
    decomposed = "\u1112\u1161\u11ab"  # 한 as three conjoining jamo
    assert preprocess.encode("meaning", decomposed).tolist() == [5]
    assert preprocess.encode("surface", "K <na>").tolist() == [2, 1]


def test_absent_outputs_stay_absent(preprocess):
    assert set(preprocess("u", {"speech": np.zeros(4)})) == {"speech"}


def test_preprocessor_can_be_pickled(preprocess):
    twin = pickle.loads(pickle.dumps(preprocess))
    assert twin.encode("meaning", "ab").tolist() == preprocess.encode("meaning", "ab").tolist()


def test_preprocessor_says_whether_it_draws_random_numbers(preprocess):
    assert not preprocess.is_random
    assert OutputsPreprocessor(OUTPUTS, True, {"noise_scp": None}).is_random  # ESPnet decides
    bands = {"band": ["narrow", "wide"]}
    assert OutputsPreprocessor(OUTPUTS, True, {}, bands, 0.5).is_random
    assert not OutputsPreprocessor(OUTPUTS, False, {}, bands, 0.5).is_random
    layout = InputLayout(
        tokens=6, mask=1, units=(2, 4), text=(4, 6), upsample=1, vocabulary_sha256=""
    )
    for augmentation in (None, UnitAugmentation(mask=0.1)):
        units = OutputsPreprocessor(OUTPUTS, True, {}, input_ids=UnitRows(layout, augmentation))
        assert units.is_random == (augmentation is not None)


def test_volume_is_normalised_by_espnet():
    loud = OutputsPreprocessor(OUTPUTS, train=True, speech={"speech_volume_normalize": 0.5})
    speech = loud("u", {"speech": np.array([0.1, -0.2, 0.05], dtype=np.float32)})["speech"]
    assert np.abs(speech).max() == pytest.approx(0.5)


def test_simulated_narrowband_speech_gets_the_narrow_band():
    bands = {"band": ["narrow", "wide"]}
    speech = np.sin(2 * np.pi * 6000 * np.arange(1600) / 16000)  # above the telephone band
    for probability, train, band in ((1.0, True, 0), (1.0, False, 1), (0.0, True, 1)):
        preprocess = OutputsPreprocessor(OUTPUTS, train, {}, bands, probability)
        batch = preprocess("u", {"speech": speech, "band": "wide"})
        assert batch["band"].tolist() == [band]
        assert (np.abs(batch["speech"]).max() < 0.1) == (band == 0)
    OutputsPreprocessor(OUTPUTS, True, {}, None, 0.5)  # a model that reads no band


@pytest.mark.parametrize(
    ("probability", "bands", "message"),
    [
        (1.5, ["narrow", "wide"], "narrowband_prob: 1.5"),
        (0.5, ["wide"], "the model knows no band 'narrow'"),
    ],
)
def test_wrong_narrowband_probability_is_an_error(probability, bands, message):
    with pytest.raises(UserError, match=message):
        OutputsPreprocessor(OUTPUTS, True, {}, {"band": bands}, probability)


@pytest.mark.parametrize("fs", [16000, 16000.0, "16k"])
def test_sample_rate_is_read_as_in_decoding(fs):
    tokens = ["<blank>", "<unk>", "a", "<sos/eos>"]
    args = Namespace(
        **AUGMENTATION,
        output_dir=None,
        outputs={"surface": {"branch": "ctc", "ctc_weight": 1.0, "token_list": tokens}},
        frontend_conf={"fs": fs},
        input_size=None,
        narrowband_prob=0.5,
    )
    assert DualOutputTask.build_preprocess_fn(args, train=True).sample_rate == 16000
