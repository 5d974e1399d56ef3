"""`collate` returns the batches of ESPnet's collate function."""

import numpy as np
import pytest
import torch

from espnet_ext.training.collate import collate


def utterances(*lengths):
    generator = np.random.default_rng(0)
    return [
        (
            f"u{length}",
            {
                "speech": generator.standard_normal(10 * length).astype(np.float32),
                "features": generator.standard_normal((length, 3)).astype(np.float32),
                "text_meaning": generator.integers(2, 9, length),
            },
        )
        for length in lengths
    ]


@pytest.mark.parametrize("lengths", [(3,), (2, 5, 1), (4, 4)])
def test_batch_equals_that_of_espnet(lengths):
    from espnet2.train.collate_fn import CommonCollateFn

    ids, batch = collate(utterances(*lengths))
    expected_ids, expected = CommonCollateFn(float_pad_value=0.0, int_pad_value=-1)(
        utterances(*lengths)
    )
    assert list(ids) == list(expected_ids)
    assert list(batch) == list(expected)
    for key, tensor in expected.items():
        assert torch.equal(batch[key], tensor) and batch[key].dtype == tensor.dtype


def test_utterances_with_different_keys_raise_value_error():
    first, second = utterances(2, 3)
    del second[1]["text_meaning"]
    with pytest.raises(ValueError, match="different keys: u2, u3"):
        collate([first, second])


def test_features_of_different_sizes_raise_value_error():
    first, second = utterances(2, 3)
    second[1]["features"] = second[1]["features"][:, :1]  # NumPy would broadcast it
    with pytest.raises(ValueError, match="different sizes of features: u2, u3"):
        collate([first, second])
