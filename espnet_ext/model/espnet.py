"""The one module that knows ESPnet 202611's import paths.

ESPnet's task modules import every frontend, encoder and decoder (10 s on two cores). `resolve`
imports only the class that a configuration names, and `load` imports a name on first use, so that
each command imports what it needs and nothing else.
"""

import contextlib
import functools
import importlib
import io
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
        "pretrained": "espnet_ext.model.pretrained.registry:build_frontend",
        "wav2vec2": "espnet_ext.model.pretrained.registry:build_frontend",  # former name
        "units": "espnet_ext.model.unit_frontend:UnitEmbedding",
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
        "pretrained": "espnet_ext.model.pretrained.registry:build_encoder",
        "wav2vec2": "espnet_ext.model.pretrained.registry:build_encoder",  # former name
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
        "pretrained": "espnet_ext.model.pretrained.registry:build_decoder",
    },
    "ctc": {"ctc": f"{_ASR}.ctc:CTC"},
}
_NAMES = {
    "AbsESPnetModel": "espnet2.train.abs_espnet_model:AbsESPnetModel",
    "AbsIterFactory": "espnet2.iterators.abs_iter_factory:AbsIterFactory",
    "AbsPreprocessor": "espnet2.train.preprocessor:AbsPreprocessor",
    "AbsSampler": "espnet2.samplers.abs_sampler:AbsSampler",
    "asr_inference_parser": "espnet2.bin.asr_inference:get_parser",
    "ASRTask": "espnet2.tasks.asr:ASRTask",
    "AbsTask": "espnet2.tasks.abs_task:AbsTask",
    "CommonPreprocessor": "espnet2.train.preprocessor:CommonPreprocessor",
    "ConvolutionModule": f"{_LEGACY}.conformer.convolution:ConvolutionModule",
    "DecoderLayer": f"{_LEGACY}.transformer.decoder_layer:DecoderLayer",
    "DistributedOption": "espnet2.train.distributed_utils:DistributedOption",
    "FeedForward": f"{_LEGACY}.transformer.positionwise_feed_forward:PositionwiseFeedForward",
    "JointNetwork": "espnet2.asr_transducer.joint_network:JointNetwork",
    "LMTask": "espnet2.tasks.lm:LMTask",
    "LabelSmoothingLoss": "espnet2.legacy.nets.pytorch_backend.transformer.label_smoothing_loss"
    ":LabelSmoothingLoss",
    "MultiHeadedAttention": f"{_LEGACY}.transformer.attention:MultiHeadedAttention",
    "NestedDictAction": "espnet2.utils.nested_dict_action:NestedDictAction",
    "Average": "espnet2.train.reporter:Average",
    "RelPositionMultiHeadedAttention": f"{_LEGACY}.transformer.attention"
    ":RelPositionMultiHeadedAttention",
    "Reporter": "espnet2.train.reporter:Reporter",
    "WeightedAverage": "espnet2.train.reporter:WeightedAverage",
    "SequenceIterFactory": "espnet2.iterators.sequence_iter_factory:SequenceIterFactory",
    "to_device": "espnet2.torch_utils.device_funcs:to_device",
    "Trainer": "espnet2.train.trainer:Trainer",
    "TrainerOptions": "espnet2.train.trainer:TrainerOptions",
    "add_sos_eos": "espnet2.legacy.nets.pytorch_backend.transformer.add_sos_eos:add_sos_eos",
    "build_batch_sampler": "espnet2.samplers.build_batch_sampler:build_batch_sampler",
    "check_short_utt": "espnet2.legacy.nets.pytorch_backend.transformer.subsampling"
    ":check_short_utt",
    "force_gatherable": "espnet2.torch_utils.device_funcs:force_gatherable",
    "initialize": "espnet2.torch_utils.initialize:initialize",
    "make_pad_mask": "espnet2.legacy.nets.pytorch_backend.nets_utils:make_pad_mask",
    "load_pretrained_model": "espnet2.torch_utils.load_pretrained_model:load_pretrained_model",
    "optim_classes": "espnet2.tasks.abs_task:optim_classes",
    "scheduler_classes": "espnet2.tasks.abs_task:scheduler_classes",
    "str2bool": "espnet2.utils.types:str2bool",
    "str_or_none": "espnet2.utils.types:str_or_none",
    "worker_init_fn": "espnet2.iterators.sequence_iter_factory:worker_init_fn",
    "th_accuracy": "espnet2.legacy.nets.pytorch_backend.nets_utils:th_accuracy",
}


# Prints "Failed to import Flash Attention" to stderr where flash-attn is not installed.
_PRINTS_ON_IMPORT = f"{_LEGACY}.transformer.attention"


@functools.cache
def load(name: str) -> Any:
    """Return an ESPnet class or function by its name in `_NAMES`, imported on first use.

    >>> load("add_sos_eos").__name__
    'add_sos_eos'
    """
    return _import(_NAMES[name])


def resolve(kind: str, name: object) -> type:
    """Return the class that a configuration names, e.g. `resolve("encoder", "conformer")`.

    >>> resolve("normalize", "utterance_mvn").__name__
    'UtteranceMVN'
    """
    choices = CHOICES[kind]
    if not isinstance(name, str) or name not in choices:
        raise UserError(f"unknown {kind} '{name}'", f"use one of: {', '.join(sorted(choices))}")
    return _import(choices[name])


def _import(path: str) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):
        importlib.import_module(_PRINTS_ON_IMPORT)
    module, attribute = path.split(":")
    return getattr(importlib.import_module(module), attribute)
