"""Whisper's layers without transformers, for models whose weights come from their own file.

Importing the networks of transformers takes more than 3 s, since they import most of PyTorch.
Names of parameters and results are those of transformers' `WhisperModel`; weights of a
checkpoint are read by transformers (`checkpoint.Source.network`).

Symbols: B utterances, T frames, D model size, H attention heads.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_NEEDED = (
    *("d_model", "num_mel_bins", "max_source_positions", "max_target_positions", "dropout"),
    *("attention_dropout", "activation_dropout", "activation_function", "encoder_layerdrop"),
    *(f"{part}_{name}" for part in ("encoder", "decoder") for name in ("layers", "ffn_dim")),
    *("encoder_attention_heads", "decoder_attention_heads"),
)


def can_build(architecture: Mapping[str, Any]) -> bool:
    """Return whether an architecture is one that this module knows."""
    return (
        architecture.get("model_type") == "whisper"
        and architecture.get("activation_function") == "gelu"
        and all(architecture.get(name) is not None for name in _NEEDED)
    )


class WhisperNetwork(nn.Module):
    """Encoder and decoder of Whisper, as `WhisperEncoder` and `WhisperDecoder` take them over.

    Args:
        architecture: the config of the checkpoint, see `can_build`.
    """

    def __init__(self, architecture: Mapping[str, Any]):
        super().__init__()
        config = SimpleNamespace(**architecture)
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)


class _Encoder(nn.Module):
    def __init__(self, config: Any):
        super().__init__()
        size = config.d_model
        self.num_mel_bins = config.num_mel_bins
        self.dropout, self.layerdrop = config.dropout, config.encoder_layerdrop
        self.conv1 = nn.Conv1d(config.num_mel_bins, size, 3, padding=1)
        self.conv2 = nn.Conv1d(size, size, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_source_positions, size)
        self.embed_positions.requires_grad_(False)  # fixed sinusoids
        heads, width = config.encoder_attention_heads, config.encoder_ffn_dim
        self.layers = nn.ModuleList(
            _Layer(config, heads, width) for _ in range(config.encoder_layers)
        )
        self.layer_norm = nn.LayerNorm(size)


class _Decoder(nn.Module):
    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.embed_positions = nn.Embedding(config.max_target_positions, config.d_model)
        heads, width = config.decoder_attention_heads, config.decoder_ffn_dim
        self.layers = nn.ModuleList(
            _DecoderLayer(config, heads, width) for _ in range(config.decoder_layers)
        )
        self.layer_norm = nn.LayerNorm(config.d_model)


class _Layer(nn.Module):
    """A layer of the encoder."""

    def __init__(self, config: Any, heads: int, width: int):
        super().__init__()
        size = config.d_model
        self.dropout, self.activation_dropout = config.dropout, config.activation_dropout
        self.self_attn = _Attention(size, heads, config.attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(size)
        self.fc1, self.fc2 = nn.Linear(size, width), nn.Linear(width, size)
        self.final_layer_norm = nn.LayerNorm(size)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return (B, T, D) for (B, T, D).

        Args:
            mask: (B, 1, 1, T) frames that exist; None: all.
        """
        context = self.self_attn(self.self_attn_layer_norm(hidden), mask)
        hidden = hidden + functional.dropout(context, self.dropout, self.training)
        inner = functional.gelu(self.fc1(self.final_layer_norm(hidden)))
        inner = self.fc2(functional.dropout(inner, self.activation_dropout, self.training))
        return hidden + functional.dropout(inner, self.dropout, self.training)


class _DecoderLayer(_Layer):
    """The weights of a layer of the decoder; `whisper_decoder` makes an ESPnet layer of them."""

    def __init__(self, config: Any, heads: int, width: int):
        super().__init__(config, heads, width)
        self.encoder_attn = _Attention(config.d_model, heads, config.attention_dropout)
        self.encoder_attn_layer_norm = nn.LayerNorm(config.d_model)


class _Attention(nn.Module):
    """Multi-head attention whose keys have no bias."""

    def __init__(self, size: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj, self.q_proj, self.out_proj = (nn.Linear(size, size) for _ in range(3))

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return (B, T, D) for (B, T, D)."""
        scale = (hidden.size(-1) // self.heads) ** -0.5
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2).contiguous()  # (B, H, T, D/H)
            for x in (self.q_proj(hidden) * scale, self.k_proj(hidden), self.v_proj(hidden))
        )
        dropout = self.dropout if self.training else 0.0
        context = functional.scaled_dot_product_attention(
            query, key, value, mask, dropout, scale=1.0
        )
        return self.out_proj(context.transpose(1, 2).flatten(-2))
