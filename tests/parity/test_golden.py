"""Every system trains and decodes to the committed numbers: a change of structure changes none."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import golden_systems  # noqa: E402

GOLDEN = json.loads(golden_systems.GOLDEN.read_text())
SYSTEMS = golden_systems.systems()


def test_golden_file_covers_every_system():
    assert set(GOLDEN) == set(SYSTEMS)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_training_and_decoding_reproduce_the_golden_file(name):
    assert_equals_golden(golden_systems.run(SYSTEMS[name]), GOLDEN[name])


@pytest.mark.gpu
# do_vectors_end draws random numbers on the device
@pytest.mark.parametrize("name", sorted(set(SYSTEMS) - {"do_vectors_end"}))
def test_a_gpu_reproduces_the_golden_file(name):
    """Features are computed in float32, which the training steps amplify."""
    assert_equals_golden(golden_systems.run(SYSTEMS[name], "cuda"), GOLDEN[name], 1e-5)


def assert_equals_golden(result, expected, rel=1e-6):
    for key in ("loss", "gradient_norm"):
        assert result[key] == pytest.approx(expected[key], rel=rel), key
    assert result["stats"] == pytest.approx(expected["stats"], rel=rel, nan_ok=True)
    assert _tokens(result["nbest"]) == _tokens(expected["nbest"])
    assert _scores(result["nbest"]) == pytest.approx(_scores(expected["nbest"]), rel=rel)


def _tokens(results):
    return [{n: [h["tokens"] for h in nbest] for n, nbest in one.items()} for one in results]


def _scores(results):
    return [h["score"] for one in results for nbest in one.values() for h in nbest]
