"""Load Hugging Face checkpoints from a folder or from the hub: safetensors only, strictly.

`Source.read` reads what describes a network, `Source.network` builds it and loads its weights.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from espnet_ext.errors import UserError
from espnet_ext.model.pretrained import whisper_network
from espnet_ext.model.uninitialised import Uninitialised

PREPROCESSOR = "preprocessor"  # key of an architecture that holds the feature extractor's settings
# Entries of a Hugging Face config that say where it came from, not what the network is.
_PROVENANCE = ("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype")
# Settings of a feature extractor that the features depend on.
_SETTINGS = (
    "feature_extractor_type",
    "sampling_rate",
    "do_normalize",
    "n_fft",
    "hop_length",
    "feature_size",
    "chunk_length",
    "dither",
)
_WITHOUT_PREPROCESSOR = ("t5", "mt5", "mbart", "bart")  # models of text
_PICKLED = "pytorch_model.bin"
_PICKLED_PARTS = f"{_PICKLED}.index.json"  # of weights in several files
_FILES = "config.json, preprocessor_config.json and model.safetensors"


@dataclass(frozen=True)
class Source:
    """Where a network comes from, and its architecture.

    Attributes:
        architecture: plain values only: the network's config, and under `preprocessor` the settings
            of its feature extractor. The config.yaml of a trained model contains it.
        model: folder or hub name of the weights; None if the weights will come from elsewhere.
        revision: branch, tag or commit on the hub.
        where: configuration key, for messages.
    """

    architecture: Mapping[str, Any]
    model: str | None
    revision: str | None
    where: str

    @property
    def model_type(self) -> str:
        """The family of networks, for example "whisper"."""
        return self.architecture["model_type"]

    @property
    def preprocessor(self) -> Mapping[str, Any]:
        return self.architecture.get(PREPROCESSOR) or {}

    @classmethod
    def read(
        cls,
        model: str | None,
        architecture: Mapping[str, Any] | None,
        revision: str | None,
        families: Sequence[str],
        where: str,
        *,
        allow_pickled: bool = False,
    ) -> "Source":
        """Read the config of a checkpoint, unless `architecture` is given.

        With `architecture`, `model` is ignored: a trained model directory names a checkpoint that
        it no longer needs. With `allow_pickled`, a folder may have pickled weights only.

        Raises:
            UserError: there is no such checkpoint, or its family is not in `families`.
        """
        if architecture is None:
            architecture = _read_architecture(model, revision, where, allow_pickled)
        else:
            architecture = _with_preprocessor(architecture)
            model = None
        kind = architecture.get("model_type")
        if kind not in families:
            raise UserError(
                f"{where}.model: {model or 'the architecture'} is a {kind}",
                f"use a model of type {', '.join(sorted(families))}; for other models write "
                "frontend: huggingface or frontend: s3prl (of ESPnet)",
            )
        return cls(architecture, model, revision, where)

    def network(self, class_name: str) -> Any:
        """Return the network, a class of transformers, with the weights of `model` or random ones.

        If the weights will come from a file (`uninitialised`), Whisper needs no transformers.

        Raises:
            UserError: a weight is missing, has another size, or can't be read.
        """
        if (
            self.model is None
            and Uninitialised.depth
            and whisper_network.can_build(self.architecture)
        ):
            return whisper_network.WhisperNetwork(self.architecture)
        build = getattr(import_transformers(self.where), class_name)
        if self.model is None:
            settings = {k: v for k, v in self.architecture.items() if k != PREPROCESSOR}
            settings.pop("model_type")
            return build(build.config_class(**settings))
        try:
            network, report = build.from_pretrained(
                self.model,
                revision=self.revision,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `check_weights` names them
                dtype=torch.float32,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            if _has_pickled_weights_only(self.model, self.revision):
                raise UserError(
                    f"{self.where}.model: {self.model}: has pickled weights only ({_PICKLED})",
                    _conversion(self.model, self.revision),
                ) from None
            raise _unreadable(self.model, error, self.where) from None
        check_weights(report, f"{self.where}.model: {self.model}")
        return network

    def tokenizer(self) -> Any:
        """Return the tokenizer of `model`, a `tokenizers.Tokenizer`.

        Raises:
            UserError: there is no tokenizer.json.
        """
        from espnet_ext.text.tokenizers import HuggingFaceTokenizer

        assert self.model is not None
        path = tokenizer_file(self.model, self.revision, self.where)
        return HuggingFaceTokenizer(path).tokenizer


def tokenizer_file(model: str, revision: str | None, where: str) -> str:
    """Return the path of a checkpoint's tokenizer.json, downloaded if `model` is a hub name."""
    transformers = import_transformers(where)
    try:
        path = transformers.utils.cached_file(model, "tokenizer.json", revision=revision)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{where}: {model}: no tokenizer.json: {reason}",
            "write it with AutoTokenizer.from_pretrained(...).save_pretrained(folder)",
        ) from None
    return str(path)


def import_transformers(where: str) -> Any:
    """Return the package `transformers`, or raise a `UserError` that says how to install it."""
    try:
        import transformers
    except ImportError:
        raise UserError(
            f"{where}: pre-trained models need the package transformers",
            'pip install "espnet-ext[pretrained]"',
        ) from None
    transformers.utils.logging.disable_progress_bar()
    return transformers


def check_rate(fs: int | str, source: Source) -> None:
    """Raise `UserError` if the audio's sample rate is not that of the pre-training."""
    expected = int(source.preprocessor.get("sampling_rate", 16000))
    text = str(fs)
    rate = float(text.removesuffix("k")) * (1000 if text.endswith("k") else 1)
    if rate != expected:
        raise UserError(
            f"{source.where}.fs: {fs}, but {source.model or 'the architecture'} was pre-trained at "
            f"{expected} Hz",
            f"write fs: {expected}, and format the audio with --fs {expected}",
        )


def _read_architecture(
    model: str | None, revision: str | None, where: str, allow_pickled: bool
) -> dict[str, Any]:
    transformers = import_transformers(where)
    if not model:
        raise UserError(
            f"{where}: the key 'model' is missing",
            f"name a folder with {_FILES}, or a model on the Hugging Face hub, for example "
            "openai/whisper-small",
        )
    if Path(model).is_dir() and not any(Path(model).glob("*.safetensors")) and not allow_pickled:
        pickled = sorted(p.name for p in Path(model).iterdir() if p.suffix in (".bin", ".pt"))
        raise UserError(
            f"{where}.model: {model}: no .safetensors file"
            + (f", only {', '.join(pickled)}" if pickled else ""),
            _conversion(model) if pickled else f"name a folder with {_FILES}",
        )
    try:
        config = transformers.AutoConfig.from_pretrained(model, revision=revision)
        settings: dict[str, Any] = {}
        if config.model_type not in _WITHOUT_PREPROCESSOR:
            settings, _ = transformers.FeatureExtractionMixin.get_feature_extractor_dict(
                model, revision=revision
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(model, error, where) from None
    plain = json.loads(config.to_json_string(use_diff=False))
    plain = {key: value for key, value in plain.items() if key not in _PROVENANCE}
    return plain | {PREPROCESSOR: {key: settings[key] for key in _SETTINGS if key in settings}}


def _conversion(model: str, revision: str | None = None) -> str:
    """Return the remedy for a checkpoint with pickled weights."""
    command = ["espnet-ext", "convert_checkpoint", "--model", model]
    command += ["--revision", revision] if revision else []
    command += ["--output", f"{Path(model).name}-safetensors"]
    return (
        f"pickled weights can run code and are not read; convert them once: {shlex.join(command)}"
    )


def _has_pickled_weights_only(model: str, revision: str | None) -> bool:
    """Return whether a repository on the hub has pickled weights and no safetensors."""
    from huggingface_hub import HfApi

    try:
        files = HfApi().list_repo_files(model, revision=revision)
    except Exception:  # no such repository, or the hub does not answer
        return False
    has_safetensors = any(file.endswith(".safetensors") for file in files)
    return not has_safetensors and any(file in (_PICKLED, _PICKLED_PARTS) for file in files)


def _with_preprocessor(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return an architecture in today's form; older ones had no `preprocessor` mapping."""
    plain = dict(architecture)
    if PREPROCESSOR not in plain:
        keys = ("sampling_rate", "do_normalize")
        plain[PREPROCESSOR] = {key: plain.pop(key) for key in keys if key in plain}
    return plain


def _unreadable(model: str, error: Exception, where: str) -> UserError:
    reason = str(error).strip().partition("\n")[0]
    return UserError(
        f"{where}.model: {model}: {reason}",
        f"name a folder with {_FILES}, or a model on the Hugging Face hub (which needs network "
        "access); check the spelling and the revision",
    )


def check_weights(report: Mapping[str, Any], where: str) -> None:
    """Refuse a checkpoint that lacks weights of the network: they would stay random."""
    missing = sorted(report.get("missing_keys", ()))
    mismatched = sorted(str(key) for key in report.get("mismatched_keys", ()))
    if wrong := missing + mismatched:
        more = ", …" if len(wrong) > 5 else ""
        raise UserError(
            f"{where}: {len(wrong)} weights are missing or of another size: "
            f"{', '.join(wrong[:5])}{more}",
            "use a complete checkpoint whose config.json fits its weights",
        )
