"""Checks of configurations before any stage."""

import pytest

from espnet_ext.pipeline import checks


@pytest.mark.parametrize(
    ("stages", "options", "outputs", "code"),
    [
        (["11"], ["--train_baseline", "true"], "{meaning: {}}", 2),
        (["11"], ["--train_baseline", "true"], "{meaning: {}}\nbatch_bins: 5", 0),
        (["11"], ["--train_baseline", "true"], "{meaning: {}, surface: {}}", 0),
        (["12"], ["--train_baseline", "true"], "{meaning: {}}", 0),
        (["11"], [], "{meaning: {}}", 0),
    ],
)
def test_stock_models_need_a_number_of_bins(tmp_path, capsys, stages, options, outputs, code):
    config, system = tmp_path / "train.yaml", tmp_path / "so.yaml"
    config.write_text("encoder: conformer\nbatch_bins: auto\n")
    system.write_text(f"outputs: {outputs}\n")
    words = ["--asr_config", str(config), "--system_configs", f"so={system}", "--fs", "16000"]
    types = ["--token_types", "en surface=char meaning=char"]
    assert checks.main([*words, *types, "--stages", *stages, *options]) == code
    assert ("system so has batch_bins: auto" in capsys.readouterr().err) == (code == 2)
