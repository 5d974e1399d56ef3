"""Systems record whether they were trained with text; without it, decoding of text warns."""

import argparse
import sys
from pathlib import Path

import pytest

from espnet_ext.decoding.unit_input import text_warning
from espnet_ext.errors import UserError
from espnet_ext.model.unit_frontend import InputLayout
from espnet_ext.training.trained_with import describe, differences
from espnet_ext.training.unit_training import add_unit_layout
from espnet_ext.units.input_set import InputOptions, write_input_set

sys.path.insert(0, str(Path(__file__).parent))
import unit_systems  # noqa: E402
from tones import write_corpus  # noqa: E402

RANDOM = "its transcripts are random"


@pytest.fixture(scope="module")
def configure(tmp_path_factory):
    """Return a function that makes the configuration of a training on some sets."""
    root = tmp_path_factory.mktemp("text_input")
    corpus = write_corpus(root / "corpus", [0.5, 0.4, 0.6])
    unit_systems.write_texts(corpus)
    units = unit_systems.write_units(corpus, root / "units", clusters=4)
    joint = unit_systems.write_vocabulary(root / "joint", units)

    def configure(train, valid="", upsample=3):
        sets = []
        for name, text_output in (("train", train), ("valid", valid)):
            sets.append(root / f"{name}-{text_output}-{upsample}")
            sets[-1].mkdir(exist_ok=True)
            options = InputOptions(unit_systems.OUTPUTS, text_output, upsample=upsample)
            write_input_set(joint, corpus, sets[-1], options)
        config = {**unit_systems.CONFIG, "outputs": dict.fromkeys(unit_systems.OUTPUTS, {})}
        return add_unit_layout(config, sets, root / "joint", units)[0]

    return configure


@pytest.mark.parametrize(
    "sets,changes,message",
    [
        ({"train": "surface"}, {}, ""),
        ({"train": "surface", "upsample": 1}, {}, ""),
        ({"train": "surface"}, {"text_ratio": 0.5}, ""),
        ({"train": "surface"}, {"text_ratio": 0.0}, f"(text_ratio: 0); {RANDOM}"),
        ({"train": ""}, {"text_ratio": None}, f"(its training set has none); {RANDOM}"),
        ({"train": "", "valid": "surface"}, {}, f"(its training set has none); {RANDOM}"),
    ],
)
def test_decoding_of_text_warns_without_text_in_training(configure, sets, changes, message):
    config = {**configure(**sets), **changes}
    layout = config["frontend_conf"]["layout"]
    assert InputLayout.of(layout).as_config() == layout
    expected = f"exp/do: was trained without text {message}" if message else ""
    assert text_warning(config, "exp/do") == expected


def test_systems_of_earlier_versions(configure):
    with_text = configure("surface")["frontend_conf"]["layout"]
    assert "text_input" not in with_text  # up-sampling shows it, as before
    config = configure("")
    layout = config["frontend_conf"]["layout"]
    assert layout.pop("text_input") is False
    message = "exp/do: does not record whether it was trained with text"
    assert text_warning(config, "exp/do") == message
    with pytest.raises(UserError, match="text_input: 'surface' is not true or false"):
        InputLayout.of({**layout, "text_input": "surface"})


def test_training_of_an_earlier_version_can_be_continued(configure):
    records = []
    for recorded in (True, False):
        config = configure("")
        if not recorded:
            del config["frontend_conf"]["layout"]["text_input"]
        names = [
            f"{part}_{name}"
            for part in ("train", "valid")
            for name in ("data_path_and_name_and_type", "shape_file")
        ]
        args = argparse.Namespace(**config, **dict.fromkeys(names, ()), init_param=())
        records.append(describe(args, {}))
    assert differences(*records) == []
