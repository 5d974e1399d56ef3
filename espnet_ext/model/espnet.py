"""The one module that knows where ESPnet 202611 keeps things, and what its imports cost.

ESPnet's task modules import every frontend, encoder and decoder that exists (10 s on two cores).
`resolve` imports only the one that a configuration names, and `light_imports` keeps heavy
bystanders from being loaded until something really calls them.
"""

import contextlib
import functools
import importlib
import io
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from espnet_ext.errors import UserError

_ASR = "espnet2.asr"
_LEGACY = "espnet2.legacy.nets.pytorch_backend"
CHOICES: dict[str, dict[str, str]] = {
    "frontend": {
        "default": f"{_ASR}.frontend.default:DefaultFrontend",
        "sliding_window": f"{_ASR}.frontend.windowing:SlidingWindow",
        "s3prl": f"{_ASR}.frontend.s3prl:S3prlFrontend",
        "espnet_ssl": f"{_ASR}.frontend.espnet_ssl:ESPnetSSLFrontend",
        "fused": f"{_ASR}.frontend.fused:FusedFrontends",
        "whisper": f"{_ASR}.frontend.whisper:WhisperFrontend",
        "huggingface": f"{_ASR}.frontend.huggingface:HuggingFaceFrontend",
        "wav2vec2": "espnet_ext.model.wav2vec2:Wav2Vec2Features",
    },
    "specaug": {"specaug": f"{_ASR}.specaug.specaug:SpecAug"},
    "normalize": {
        "global_mvn": "espnet2.layers.global_mvn:GlobalMVN",
        "utterance_mvn": "espnet2.layers.utterance_mvn:UtteranceMVN",
    },
    "preencoder": {
        "sinc": f"{_ASR}.preencoder.sinc:LightweightSincConvs",
        "linear": f"{_ASR}.preencoder.linear:LinearProjection",
    },
    "encoder": {
        "conformer": f"{_ASR}.encoder.conformer_encoder:ConformerEncoder",
        "transformer": f"{_ASR}.encoder.transformer_encoder:TransformerEncoder",
        "e_branchformer": f"{_ASR}.encoder.e_branchformer_encoder:EBranchformerEncoder",
        "branchformer": f"{_ASR}.encoder.branchformer_encoder:BranchformerEncoder",
        "rnn": f"{_ASR}.encoder.rnn_encoder:RNNEncoder",
        "vgg_rnn": f"{_ASR}.encoder.vgg_rnn_encoder:VGGRNNEncoder",
        "whisper": f"{_ASR}.encoder.whisper_encoder:OpenAIWhisperEncoder",
        "wav2vec2": "espnet_ext.model.wav2vec2:Wav2Vec2Encoder",
    },
    "postencoder": {
        "hugging_face_transformers": f"{_ASR}.postencoder.hugging_face_transformers_postencoder"
        ":HuggingFaceTransformersPostEncoder",
        "length_adaptor": f"{_ASR}.postencoder.length_adaptor_postencoder:LengthAdaptorPostEncoder",
    },
    "decoder": {
        "transformer": f"{_ASR}.decoder.transformer_decoder:TransformerDecoder",
        "lightweight_conv": f"{_ASR}.decoder.transformer_decoder"
        ":LightweightConvolutionTransformerDecoder",
        "dynamic_conv": f"{_ASR}.decoder.transformer_decoder:DynamicConvolutionTransformerDecoder",
        "rnn": f"{_ASR}.decoder.rnn_decoder:RNNDecoder",
    },
    "ctc": {"ctc": f"{_ASR}.ctc:CTC"},
}
_NAMES = {
    "AbsESPnetModel": "espnet2.train.abs_espnet_model:AbsESPnetModel",
    "AbsPreprocessor": "espnet2.train.preprocessor:AbsPreprocessor",
    "AbsSampler": "espnet2.samplers.abs_sampler:AbsSampler",
    "AbsTask": "espnet2.tasks.abs_task:AbsTask",
    "CommonCollateFn": "espnet2.train.collate_fn:CommonCollateFn",
    "CommonPreprocessor": "espnet2.train.preprocessor:CommonPreprocessor",
    "DistributedOption": "espnet2.train.distributed_utils:DistributedOption",
    "JointNetwork": "espnet2.asr_transducer.joint_network:JointNetwork",
    "LMTask": "espnet2.tasks.lm:LMTask",
    "LabelSmoothingLoss": "espnet2.legacy.nets.pytorch_backend.transformer.label_smoothing_loss"
    ":LabelSmoothingLoss",
    "NestedDictAction": "espnet2.utils.nested_dict_action:NestedDictAction",
    "SequenceIterFactory": "espnet2.iterators.sequence_iter_factory:SequenceIterFactory",
    "Trainer": "espnet2.train.trainer:Trainer",
    "TrainerOptions": "espnet2.train.trainer:TrainerOptions",
    "add_sos_eos": "espnet2.legacy.nets.pytorch_backend.transformer.add_sos_eos:add_sos_eos",
    "build_batch_sampler": "espnet2.samplers.build_batch_sampler:build_batch_sampler",
    "check_short_utt": "espnet2.legacy.nets.pytorch_backend.transformer.subsampling"
    ":check_short_utt",
    "force_gatherable": "espnet2.torch_utils.device_funcs:force_gatherable",
    "initialize": "espnet2.torch_utils.initialize:initialize",
    "make_pad_mask": "espnet2.legacy.nets.pytorch_backend.nets_utils:make_pad_mask",
    "optim_classes": "espnet2.tasks.abs_task:optim_classes",
    "scheduler_classes": "espnet2.tasks.abs_task:scheduler_classes",
    "str2bool": "espnet2.utils.types:str2bool",
    "str_or_none": "espnet2.utils.types:str_or_none",
    "th_accuracy": "espnet2.legacy.nets.pytorch_backend.nets_utils:th_accuracy",
}


@functools.cache
def load(name: str) -> Any:
    """An ESPnet class or function by its name in the table above, imported on first use.

    >>> load("add_sos_eos").__name__
    'add_sos_eos'
    """
    with light_imports():
        return _import(_NAMES[name])


def resolve(kind: str, name: str) -> type:
    """The class that a configuration names, e.g. `resolve("encoder", "conformer")`.

    >>> resolve("normalize", "utterance_mvn").__name__
    'UtteranceMVN'
    """
    choices = CHOICES[kind]
    if not isinstance(name, str) or name not in choices:
        raise UserError(f"unknown {kind} '{name}'", f"use one of: {', '.join(sorted(choices))}")
    with light_imports():
        return _import(choices[name])


def _import(path: str) -> Any:
    module, attribute = path.split(":")
    return getattr(importlib.import_module(module), attribute)


# Prints a line of regret when imported without flash-attn, which nothing here uses.
_TALKATIVE = f"{_LEGACY}.transformer.attention"
# Modules that ESPnet imports for functions that are called only with an option on (adapters,
# attention plots, reverberation), and those functions; loading them costs seconds.
_BYSTANDERS = {
    "espnet2.layers.create_adapter": ["create_adapter"],
    "espnet2.main_funcs.calculate_all_attentions": ["calculate_all_attentions"],
    "scipy.signal": [],
}
_PACKAGES = ("scipy.signal", "torch._dynamo")  # have submodules, by which they may be reached


@contextlib.contextmanager
def light_imports() -> Iterator[None]:
    """While open, heavy bystanders are imported as stand-ins that load the real thing when used.

    Also turns two decorators into no-ops: `torch.compiler.disable`, on one mask helper, would
    import torch's whole compiler (3 s), and nothing here is compiled; typeguard's `typechecked`
    re-compiles every function that it stands on (5 s), and is meant to find mistakes in ESPnet.
    """
    import torch
    import typeguard

    hidden = {
        name: StandIn(name, {f: _deferred(name, f) for f in functions})
        for name, functions in _BYSTANDERS.items()
        if name not in sys.modules
    }
    sys.modules.update(hidden)
    # None makes `import wandb` raise ImportError, which ESPnet catches.
    without_wandb = "wandb" not in sys.modules and "--use_wandb" not in sys.argv
    if without_wandb:
        sys.modules["wandb"] = None  # type: ignore[assignment]
    disable, typechecked = torch.compiler.disable, typeguard.typechecked
    torch.compiler.disable = typeguard.typechecked = _keep  # type: ignore[assignment]
    try:
        if _TALKATIVE not in sys.modules:
            with contextlib.redirect_stderr(io.StringIO()):
                importlib.import_module(_TALKATIVE)
        yield
    finally:
        torch.compiler.disable, typeguard.typechecked = disable, typechecked
        if without_wandb:
            del sys.modules["wandb"]
        for name, module in hidden.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def spare_compiler() -> None:
    """Let optimizers step without torch's compiler, which they import (3 s) to tell it to stay out.

    In its place stands a module with the two functions that say so; whatever else is asked of it,
    as DistributedDataParallel does, loads the real one.
    """
    name = "torch._dynamo"
    if name not in sys.modules:
        functions = {"disable": _keep, "graph_break": lambda *_, **__: None}
        sys.modules[name] = StandIn(name, functions)


class StandIn(types.ModuleType):
    """In `sys.modules` for a module that is not imported until something else of it is used."""

    def __init__(self, name: str, functions: Mapping[str, Callable]):
        super().__init__(name)
        self.__dict__.update(functions)

    def __getattr__(self, attribute: str) -> Any:
        name = self.__name__
        # `inspect` and `from … import` ask for such names; only a package's __path__ means use.
        if attribute.startswith("__") and (attribute != "__path__" or name not in _PACKAGES):
            raise AttributeError(attribute)
        if sys.modules.get(name) is self:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)


def _keep(function=None, *_arguments, **_options):
    return function if function is not None else _keep


def _deferred(module: str, function: str):
    def call(*args, **kwargs):
        return getattr(importlib.import_module(module), function)(*args, **kwargs)

    call.__name__ = function
    return call
