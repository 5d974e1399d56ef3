"""Variables of `run.sh` for systems that read discrete units (--kmeans_feature).

Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext.pipeline.usage import UsageError

if TYPE_CHECKING:
    Value = str | Sequence[str] | Mapping[str, str]

SIGNAL_FEATURES = ("log_mel", "mfcc")
TEXT_TYPES = ("char", "jamo", "phone", "word", "bpe")  # of the text input
REPEATS = {"rm": "remove", "ts": "keep"}  # ESPnet's names → those of espnet-ext dump_units
SENTENCEPIECE_SYMBOLS = 2  # tokens beside the units: unknown, and the boundary of words
SYSTEM_FILES = ("model.pth", "config.yaml")  # of a trained system whose encoder makes features


def variables(
    values: Mapping[str, str],
    token_types: Mapping[str, Mapping[str, str]],
    folder: Path,
    start: Path,
) -> dict[str, Value]:
    """Return the variables of run.sh that concern discrete units.

    Args:
        values: values of all options.
        token_types: language → output → token type.
        folder: folder of the recipe.
        start: the user's current directory.

    Raises:
        UsageError: for options that contradict each other or have a wrong value.
    """
    reads_units = values["kmeans_feature"] != ""
    names: dict[str, Value] = {
        "stats_name": f"stats_units{input_suffix(values)}" if reads_units else "stats",
        "km_suffix": f"_{values['km_tag']}" if values["km_tag"] else "",
        "input_suffix": input_suffix(values),
        "unit_features": [],
        "unit_feature_inputs": [],
        "unit_repeats": REPEATS[values["src_case"]],
        "unit_models": {},
        "embedding_model": "",
        "embedding_inputs": [],
        "text_source_of": {},
        "text_type_of": {},
        "text_data_of": {},
    }
    if not reads_units:
        for name in ("text_input", "text_data", "km_tag", "input_tag", "unit_embeddings"):
            if values[name].strip():
                raise UsageError(
                    f"--{name} {values[name]}, but systems read audio",
                    "choose the features of units: --kmeans_feature log_mel",
                )
        return names
    check(values, token_types)
    features, inputs = _features(values, folder, start)
    names |= {"unit_features": features, "unit_feature_inputs": inputs}
    models = {}  # option → checkpoint that stage 5 reads
    if "--model" in features:
        models["kmeans_feature"] = features[features.index("--model") + 1]
    if values["unit_embeddings"]:
        model = _checkpoint(values["unit_embeddings"], folder, start)
        models["unit_embeddings"] = names["embedding_model"] = model
        names["embedding_inputs"] = ["--in", model] if (folder / model).is_dir() else []
    names["unit_models"] = models
    langs = values["langs"].split()
    sources = {lang: values["text_input"] or next(iter(token_types[lang])) for lang in langs}
    names["text_source_of"] = sources
    names["text_type_of"] = {
        lang: _text_type(values, lang, token_types[lang][sources[lang]]) for lang in langs
    }
    names["text_data_of"] = {
        lang: " ".join(word.replace("{lang}", lang) for word in values["text_data"].split())
        for lang in langs
    }
    return names


def input_suffix(values: Mapping[str, str]) -> str:
    """Return the suffix of folders that --input_tag names, or else --km_tag.

    >>> input_suffix({"km_tag": "k100", "input_tag": ""})
    '_k100'
    """
    tag = values["input_tag"] or values["km_tag"]
    return f"_{tag}" if tag else ""


def check(values: Mapping[str, str], token_types: Mapping[str, Mapping[str, str]]) -> None:
    """Raise a UsageError for options that have no meaning with discrete units."""
    for option in ("stress", "pretrained", "feats_normalize"):
        if values[option].strip():
            raise UsageError(
                f"--{option} {values[option]} with --kmeans_feature: it is for systems that read "
                "audio",
                f"leave out --{option}, or --kmeans_feature",
            )
    if values["train_baseline"] == "true":
        raise UsageError(
            "--train_baseline true with --kmeans_feature: stock ESPnet trains on audio here",
            "leave it out; --baselines compares with systems that are trained elsewhere",
        )
    if not 0 < float(values["portion"]) <= 1:
        raise UsageError(
            f"--portion {values['portion']}: not a share of the utterances",
            "choose a number above 0, at most 1",
        )
    units = int(values["nclusters"]) + int(values["residual_nclusters"])
    needed = units + SENTENCEPIECE_SYMBOLS
    if values["src_token_type"] == "bpe" and int(values["src_nbpe"]) < needed:
        raise UsageError(
            f"--src_nbpe {values['src_nbpe']} for {units} units: SentencePiece needs {needed} "
            "tokens or more, because every unit is a token",
            f"choose, for example, --src_nbpe {2 * units}, or fewer clusters (--nclusters), or "
            "--src_token_type unit",
        )
    text = values["text_input"]
    if values["text_data"].strip() and not text:
        raise UsageError(
            "--text_data without --text_input",
            "name the output whose transcripts are inputs: --text_input surface",
        )
    for lang, types in token_types.items():
        if text and text not in types:
            raise UsageError(
                f"--text_input {text}: '{lang}' has no such output",
                f"choose one of: {' '.join(types)}",
            )
        if text and len(types) < 2:
            raise UsageError(
                f"--text_input {text}: '{lang}' has no other output, which text is mapped to",
                "add an output to --token_types, or leave out --text_input",
            )


def _text_type(values: Mapping[str, str], lang: str, kind: str) -> str:
    """Return the token type of text input."""
    kind = values["text_token_type"] or kind
    if kind not in TEXT_TYPES:
        raise UsageError(
            f"the text input of '{lang}' would have the token type {kind}, which it cannot have",
            f"choose one of {', '.join(TEXT_TYPES)}: --text_token_type char",
        )
    return kind


def _features(values: Mapping[str, str], folder: Path, start: Path) -> tuple[list[str], list[str]]:
    """Return the options of espnet-ext learn_kmeans for the features, and its inputs."""
    feature = values["kmeans_feature"]
    if feature in SIGNAL_FEATURES:
        return ["--features", feature, "--fs", values["fs"]], []
    model, slash, layer = feature.rstrip("/").rpartition("/")
    if not slash or not layer.isdecimal():
        raise UsageError(
            f"--kmeans_feature {feature}: neither {' nor '.join(SIGNAL_FEATURES)}, nor MODEL/LAYER",
            "write, for example, --kmeans_feature microsoft/wavlm-large/21",
        )
    model = _checkpoint(model, folder, start)
    place = folder / model
    inputs: list[str] = []
    kind = "pretrained"
    if all((place / name).is_file() for name in SYSTEM_FILES):
        kind = "system"
        for name in SYSTEM_FILES:
            inputs += ["--in", f"{model}/{name}"]
    elif place.is_dir():
        inputs = ["--in", model]
    return ["--features", kind, "--model", model, "--layer", layer], inputs


def _checkpoint(model: str, folder: Path, start: Path) -> str:
    """Return a checkpoint as the recipe names it: a folder, or a name on the hub.

    A folder is looked up in the recipe and in the current directory.
    """
    if not (folder / model).exists() and (start / model).exists():
        return os.path.relpath((start / model).resolve(), folder)
    return model
