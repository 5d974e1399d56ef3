"""Our lengths (from headers and token counts) are those of ESPnet's own --collect_stats."""

import numpy as np
import pytest
import yaml

from espnet_ext.data.audio import write_audio
from espnet_ext.data.directory import write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.training import run
from espnet_ext.training.stats import write_shapes
from tests.parity.conftest import SMALL, output

TEXTS = ["ab ca", "bc", "a", "cab abc"]


@pytest.fixture
def dump(tmp_path):
    generator = np.random.default_rng(0)
    utterances = []
    for i, text in enumerate(TEXTS):
        path = tmp_path / f"{i}.wav"
        write_audio(path, generator.normal(0, 0.1, 8000 + 1000 * i).astype("float32"), 16000)
        texts = {"meaning": text} if i else {}  # the first is unlabelled
        utterances.append(Utterance(f"s-{i}", "s", str(path), texts))
    for name in ("train", "valid"):
        write_directory(tmp_path / "dump" / name, utterances, fill_missing=["meaning"])
    return tmp_path / "dump"


def test_shapes_equal_collect_stats(dump, tmp_path):
    entry = output(content=["a", "b", "c", "<space>"])
    stock = tmp_path / "stock"
    config = {**SMALL, "outputs": {"meaning": entry}, "normalize": None, "specaug": None}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    options = []
    for kind in ("train", "valid"):
        for source in ("wav.scp,speech,sound", "text.meaning,text_meaning,text"):
            options += [f"--{kind}_data_path_and_name_and_type", f"{dump / kind}/{source}"]
    command = [
        "--collect_stats",
        "true",
        "--config",
        str(tmp_path / "c.yaml"),
        "--output_dir",
        str(stock),
        "--num_workers",
        "0",
        *options,
    ]
    run._run_task(run._parse(command), command)
    outputs = run.parse_outputs({"outputs": {"meaning": entry}})
    write_shapes(dump / "train", outputs, tmp_path / "ours")
    speech = (tmp_path / "ours" / "speech_shape").read_text()
    assert speech == (stock / "train" / "speech_shape").read_text()
    text = (tmp_path / "ours" / "text_meaning_shape").read_text()
    assert text.replace(",7", "") == (stock / "train" / "text_meaning_shape").read_text()
    assert "s-0 1,7" in text  # unlabelled: one token
    assert (stock / "train" / "feats_stats.npz").is_file()  # what global_mvn needs
