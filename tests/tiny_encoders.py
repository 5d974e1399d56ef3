"""Tiny random wav2vec 2.0, HuBERT and WavLM in Hugging Face's layout; see also `tiny_whisper`."""

from pathlib import Path
from typing import Any

import torch

# Family → class of its configuration, class of its network
CLASSES = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
    "hubert": ("HubertConfig", "HubertModel"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
}
SETTINGS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "layerdrop": 0.0,
}


def build(family: str, **changes: Any) -> torch.nn.Module:
    """Return a network in evaluation mode, the same in every call."""
    import transformers

    config, network = (getattr(transformers, name) for name in CLASSES[family])
    torch.manual_seed(0)
    return network(config(**SETTINGS | changes)).eval()


def save(network: torch.nn.Module, folder: Path) -> Path:
    """Write the files of a checkpoint."""
    import transformers

    network.save_pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    extractor.save_pretrained(folder)
    return folder
