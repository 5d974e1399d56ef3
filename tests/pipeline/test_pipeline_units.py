"""Variables of run.sh for discrete units."""

import pytest

from espnet_ext.pipeline.options import OPTIONS
from espnet_ext.pipeline.remedies import translations
from espnet_ext.pipeline.units import variables
from espnet_ext.pipeline.usage import UsageError

TYPES = {"en": {"surface": "phone", "meaning": "char"}}


def of(tmp_path, types=TYPES, **changes):
    values = {name: option.default for name, option in OPTIONS.items()}
    values |= {"langs": "en", "fs": "16000", "kmeans_feature": "log_mel", **changes}
    return variables(values, types, tmp_path / "recipe", tmp_path)


def test_features_of_every_kind(tmp_path):
    (tmp_path / "recipe").mkdir()
    assert of(tmp_path, kmeans_feature="mfcc")["unit_features"] == [
        *("--features", "mfcc", "--fs", "16000")
    ]
    hub = of(tmp_path, kmeans_feature="microsoft/wavlm-large/21")
    assert hub["unit_features"] == [
        *("--features", "pretrained", "--model", "microsoft/wavlm-large", "--layer", "21")
    ]
    assert hub["unit_feature_inputs"] == []
    assert hub["unit_models"] == {"kmeans_feature": "microsoft/wavlm-large"}
    (tmp_path / "wavlm").mkdir()  # beside the recipe: relative to the current directory
    local = of(tmp_path, kmeans_feature="wavlm/3")
    assert local["unit_features"][3] == "../wavlm"
    assert local["unit_feature_inputs"] == ["--in", "../wavlm"]
    for name in ("model.pth", "config.yaml"):
        (tmp_path / "wavlm" / name).touch()
    system = of(tmp_path, kmeans_feature=f"{tmp_path}/wavlm/3")
    assert system["unit_features"][1] == "system"
    assert f"{tmp_path}/wavlm/model.pth" in system["unit_feature_inputs"]


def test_text_model_of_embeddings(tmp_path):
    (tmp_path / "recipe").mkdir()
    assert of(tmp_path)["embedding_model"] == ""
    hub = of(tmp_path, unit_embeddings="google/byt5-small")
    assert hub["embedding_model"] == "google/byt5-small" and hub["embedding_inputs"] == []
    assert hub["unit_models"] == {"unit_embeddings": "google/byt5-small"}
    (tmp_path / "byt5").mkdir()  # beside the recipe: relative to the current directory
    local = of(tmp_path, unit_embeddings="byt5")
    assert local["embedding_model"] == "../byt5"
    assert local["embedding_inputs"] == ["--in", "../byt5"]


def test_text_input_by_language(tmp_path):
    names = of(tmp_path, text_input="surface", text_data="texts/{lang}")
    assert names["text_type_of"] == {"en": "phone"}
    assert names["text_data_of"] == {"en": "texts/en"}
    audio = of(tmp_path, kmeans_feature="")
    assert audio["stats_name"] == "stats" and audio["text_type_of"] == {}


def test_sizes_of_sentencepiece_are_limited_by_the_number_of_units(tmp_path):
    of(tmp_path, nclusters="998", src_nbpe="1000")
    of(tmp_path, nclusters="998", src_nbpe="999", src_token_type="unit")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kmeans_feature": "wavlm_large"}, "nor MODEL/LAYER"),
        ({"kmeans_feature": "", "text_input": "surface"}, "systems read audio"),
        ({"kmeans_feature": "", "unit_embeddings": "t5"}, "--unit_embeddings t5, but systems read"),
        ({"stress": "50"}, "--stress 50 with --kmeans_feature"),
        ({"pretrained": "x"}, "--pretrained x with --kmeans_feature"),
        ({"train_baseline": "true"}, "stock ESPnet"),
        ({"portion": "0"}, "not a share"),
        ({"nclusters": "998", "src_nbpe": "999"}, "--src_nbpe 999 for 998 units: .* needs 1000"),
        ({"residual_nclusters": "2000"}, "--src_nbpe 4000 for 4000 units: .* needs 4002"),
        ({"text_data": "texts"}, "without --text_input"),
        ({"text_input": "fluent"}, "'en' has no such output"),
        ({"text_input": "meaning", "types": {"en": {"meaning": "char"}}}, "no other output"),
        (
            {"text_input": "meaning", "types": {"en": {"a": "char", "meaning": "label"}}},
            "type label",
        ),
    ],
)
def test_wrong_options_raise_usage_errors(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        of(tmp_path, **changes)


@pytest.mark.parametrize(
    ("module", "option", "expected"),
    [
        ("learn_kmeans", "--clusters", "--clusters is --nclusters"),
        ("learn_kmeans", "--max_frames", 'write --kmeans_opts "--max_frames ..."'),
        ("unit_tokens", "--unit_vocab_size", "--unit_vocab_size is --src_nbpe"),
        ("unit_inputs", "--max_length", "--max_length is --max_input_length"),
        ("train", "--max_length", "--max_length is --max_input_length"),
    ],
)
def test_remedies_of_commands_name_options_of_run_sh(module, option, expected):
    command = ["python", "-m", f"espnet_ext.bin.{module}"]
    assert list(translations(command, [f"  remedy: change {option}"])) == [f"in run.sh, {expected}"]
