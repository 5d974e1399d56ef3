"""Step-by-step inference with ESPnet's transformer decoders, with cached keys and values.

Symbols:
    B: utterances
    K: hypotheses per utterance (beam size)
    T: encoder frames
    D: model size
    H: attention heads
    M: cached token positions per utterance
    V: vocabulary size

The keys and values of the encoder output are projected once per utterance. Those of the tokens are
written once and not moved when the beam is reordered: all hypotheses of an utterance share a cache
of M positions, and a mask tells which positions are ancestors of which hypothesis. Positions that
are not ancestors of any hypothesis are removed every few steps.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

COMPACT_EVERY = 16  # steps between removals of unused cache positions
MIN_CACHE_GROWTH = 64  # positions that a full cache grows by, at least


class CachedTransformer(nn.Module):
    """A scorer (see `scorers.Scorer`) made of ESPnet's transformer decoder layers.

    It has the weights of the decoder; later changes of the decoder do not affect it.

    Args:
        embed: token embedding, followed by `PositionalEncoding`.
        layers: ESPnet decoder layers.
        after_norm: layer normalisation after the last layer, if any.
        output: linear layer to V logits.
    """

    def __init__(
        self,
        embed: nn.Sequential,
        layers: Iterable[nn.Module],
        after_norm: nn.Module | None,
        output: nn.Module,
    ):
        super().__init__()
        self.token_embedding = embed[:-1]
        self.positional_encoding: Any = embed[-1]
        self.layers = nn.ModuleList(_CachedLayer(layer) for layer in layers)
        self.after_norm = after_norm or nn.Identity()
        self.output = output
        # (P, D) embeddings that decoding starts with in place of the first token, if there are any
        self.prompt: torch.Tensor | None = getattr(embed[0], "prompt", None)
        # number of learned positions; None if positions are unlimited
        self.max_positions: int | None = getattr(embed[-1], "max_positions", None)

    @classmethod
    def from_decoder(cls, decoder: Any) -> "CachedTransformer | None":
        """Return the cached form of a decoder, or None if its architecture is not supported."""
        layers = list(getattr(decoder, "decoders", None) or [])
        embed = getattr(decoder, "embed", None)
        if not _has_absolute_positions(embed) or not all(map(_is_standard_layer, layers)):
            return None
        if not layers or decoder.output_layer is None:
            return None
        after_norm = decoder.after_norm if decoder.normalize_before else None
        return cls(cast(nn.Sequential, embed), layers, after_norm, decoder.output_layer)

    def _cached_layers(self) -> Iterator["_CachedLayer"]:
        return cast(Iterator["_CachedLayer"], iter(self.layers))

    def start(self, encoder_out: torch.Tensor, lengths: torch.Tensor, beam_size: int) -> None:
        """Begin a batch.

        Args:
            encoder_out: (B, T, D).
            lengths: (B,) frames per utterance.
            beam_size: K.
        """
        batch, frames, _ = encoder_out.shape
        device = encoder_out.device
        self.position = 0
        is_frame = torch.arange(frames, device=device) < lengths.to(device)[:, None]  # (B, T)
        self.memory_mask = None if bool(is_frame.all()) else is_frame[:, None, None, :]
        # (B, K, M): whether a cached position is an ancestor of a hypothesis
        self.ancestors = torch.zeros(batch, beam_size, 0, dtype=torch.bool, device=device)
        self.identity = torch.eye(beam_size, dtype=torch.bool, device=device)[None]  # (1, K, K)
        for layer in self._cached_layers():
            layer.start(encoder_out)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return log probabilities (B, K, V) of the next token, given the last tokens (B, K)."""
        if self.max_positions is not None and self.position >= self.max_positions:
            return self._only_eos(tokens)
        if self.position == 0 and self.prompt is not None:
            for embedding in self.prompt:
                x = self._advance(embedding.expand(*tokens.shape, -1))
        else:
            x = self._advance(self.token_embedding(tokens))
        logits = self.output(self.after_norm(x))
        # The search adds up many log probabilities: half precision is not enough for that.
        logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
        return logits.log_softmax(-1)

    def _only_eos(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return log probabilities (B, K, V) that end every hypothesis: no position is left."""
        vocabulary = cast(nn.Linear, self.output).out_features
        log_probs = torch.full((*tokens.shape, vocabulary), -torch.inf, device=tokens.device)
        log_probs[..., -1] = 0.0
        return log_probs

    def _advance(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output (B, K, D) of the last layer for one more position, embedded as x."""
        x = x * self.positional_encoding.xscale + self._encoding_of_position(x)
        # Each hypothesis writes one new position, and is its only descendant so far.
        new_positions = self.identity.expand(len(x), -1, -1)
        self.ancestors = torch.cat([self.ancestors, new_positions], -1)
        token_mask = self.ancestors.unsqueeze(1)  # (B, 1, K, M)
        for layer in self._cached_layers():
            x = layer(x, token_mask, self.memory_mask)
        self.position += 1
        return x

    def _encoding_of_position(self, x: torch.Tensor) -> torch.Tensor:
        """Return the positional encoding (D,) of the current step, in the type of x (B, K, D)."""
        table = self.positional_encoding.pe  # (1, positions, D)
        if table.size(1) <= self.position or table.dtype != x.dtype:
            self.positional_encoding.extend_pe(x.new_zeros(1, 2 * self.position + 1))
            table = self.positional_encoding.pe
        return table[0, self.position].to(x)

    def reorder(self, parents: torch.Tensor) -> None:
        """Let hypothesis k continue hypothesis parents[:, k]; parents: (B, K)."""
        index = parents.unsqueeze(-1).expand(-1, -1, self.ancestors.size(-1))
        self.ancestors = self.ancestors.gather(1, index)
        if self.position % COMPACT_EVERY == 0:
            self._compact()

    def keep(self, rows: torch.Tensor) -> None:
        """Continue with the utterances `rows` only."""
        self.ancestors = self.ancestors[rows]
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask[rows]
        for layer in self._cached_layers():
            layer.keep(rows)

    def _compact(self) -> None:
        """Remove cached positions that are not ancestors of any hypothesis."""
        is_used = self.ancestors.any(1)  # (B, M)
        max_used = int(is_used.sum(-1).max())
        if max_used == is_used.size(-1):
            return
        # Used positions first, in their order.
        order = torch.sort(is_used, dim=-1, descending=True, stable=True).indices
        index = order[:, :max_used]  # (B, M′)
        beam_size = self.ancestors.size(1)
        self.ancestors = self.ancestors.gather(2, index[:, None].expand(-1, beam_size, -1))
        for layer in self._cached_layers():
            layer.keep_positions(index)


class _CachedLayer(nn.Module):
    """A decoder layer that processes one token per hypothesis, with caches for its attention."""

    def __init__(self, layer: Any):
        super().__init__()
        self_attn, src_attn = layer.self_attn, layer.src_attn
        self.num_heads, self.head_size = self_attn.h, self_attn.d_k
        self.qkv = _stack(self_attn.linear_q, self_attn.linear_k, self_attn.linear_v)
        self.self_out = self_attn.linear_out
        self.query_norm, self.key_norm = _query_key_norms(self_attn)
        self.cross_query, self.cross_out = src_attn.linear_q, src_attn.linear_out
        self.cross_kv = _stack(src_attn.linear_k, src_attn.linear_v)
        self.cross_query_norm, self.cross_key_norm = _query_key_norms(src_attn)
        self.normalize_before = layer.normalize_before
        self.norms = nn.ModuleList([layer.norm1, layer.norm2, layer.norm3])
        self.feed_forward = layer.feed_forward

    def start(self, encoder_out: torch.Tensor) -> None:
        """Project the encoder output (B, T, D) to keys and values, and empty the token cache."""
        keys, values = self.cross_kv(encoder_out).chunk(2, -1)
        self.memory_keys = self.cross_key_norm(self._split_heads(keys)).contiguous()
        self.memory_values = self._split_heads(values).contiguous()  # (B, H, T, D/H)
        # (B, H, positions, D/H), of which the first `num_cached` are in use
        self.keys = self.values = self.memory_keys[:, :, :0]
        self.num_cached = 0

    def forward(
        self, x: torch.Tensor, token_mask: torch.Tensor, memory_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the layer's output (B, K, D) for the newest token of each hypothesis.

        Args:
            x: (B, K, D).
            token_mask: (B, 1, K, M).
            memory_mask: (B, 1, 1, T), or None if there is no padding.
        """
        pre_norm = self.normalize_before
        norm1, norm2, norm3 = self.norms
        query, key, value = self.qkv(norm1(x) if pre_norm else x).chunk(3, -1)
        self._append(self.key_norm(self._split_heads(key)), self._split_heads(value))
        keys, values = self.keys[:, :, : self.num_cached], self.values[:, :, : self.num_cached]
        query = self.query_norm(self._split_heads(query))
        x = x + self.self_out(_attend(query, keys, values, token_mask))
        if not pre_norm:
            x = norm1(x)
        query = self.cross_query(norm2(x) if pre_norm else x)
        query = self.cross_query_norm(self._split_heads(query))
        context = _attend(query, self.memory_keys, self.memory_values, memory_mask)
        x = x + self.cross_out(context)
        if not pre_norm:
            x = norm2(x)
        if pre_norm:
            return x + self.feed_forward(norm3(x))
        return norm3(x + self.feed_forward(x))

    def _split_heads(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K, D) to (B, H, K, D/H)."""
        return x.unflatten(-1, (self.num_heads, self.head_size)).transpose(1, 2)

    def _append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write keys and values (B, H, K, D/H) to the cache, which grows if it is full."""
        end = self.num_cached + keys.size(2)
        if end > self.keys.size(2):
            padding = (0, 0, 0, max(end, MIN_CACHE_GROWTH))
            self.keys = functional.pad(self.keys, padding)
            self.values = functional.pad(self.values, padding)
        self.keys[:, :, self.num_cached : end] = keys
        self.values[:, :, self.num_cached : end] = values
        self.num_cached = end

    def keep(self, rows: torch.Tensor) -> None:
        """Continue with the utterances `rows` only."""
        self.keys, self.values = self.keys[rows], self.values[rows]
        self.memory_keys, self.memory_values = self.memory_keys[rows], self.memory_values[rows]

    def keep_positions(self, index: torch.Tensor) -> None:
        """Keep the cached positions `index` (B, M′) only."""
        index_per_head = index[:, None, :, None].expand(-1, self.num_heads, -1, self.head_size)
        self.num_cached = index.size(1)
        self.keys[:, :, : self.num_cached] = self.keys.gather(2, index_per_head)
        self.values[:, :, : self.num_cached] = self.values.gather(2, index_per_head)


def _attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Multi-head attention (Vaswani et al., 2017, equation 1), heads concatenated: (B, K, D)."""
    context = functional.scaled_dot_product_attention(query, keys, values, mask)
    return context.transpose(1, 2).flatten(-2)


def _stack(*linears: nn.Linear) -> nn.Linear:
    """Return one linear layer whose output is the concatenated outputs of `linears`."""
    stacked = nn.Linear(1, 1)
    stacked.weight = nn.Parameter(torch.cat([linear.weight for linear in linears]).detach())
    stacked.bias = nn.Parameter(torch.cat([linear.bias for linear in linears]).detach())
    stacked.out_features, stacked.in_features = stacked.weight.shape
    return stacked.requires_grad_(False).train(linears[0].training)


def _query_key_norms(attention: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return the normalisations of queries and keys (`qk_norm`); identities if there are none."""
    identity = nn.Identity()
    return getattr(attention, "q_norm", identity), getattr(attention, "k_norm", identity)


def _has_absolute_positions(embed: nn.Module | None) -> bool:
    """Return whether the embedding ends with sinusoidal (ESPnet's) or learned positions."""
    return (
        isinstance(embed, nn.Sequential)
        and len(embed) > 1
        and type(embed[-1]).__name__ in ("PositionalEncoding", "LearnedPositions")
    )


def _is_standard_layer(layer: nn.Module) -> bool:
    """Return whether a layer is a standard one, without ESPnet's optional extensions."""
    kinds = {type(getattr(layer, name, None)).__name__ for name in ("self_attn", "src_attn")}
    return (
        kinds == {"MultiHeadedAttention"}
        and not getattr(layer, "concat_after", False)
        and getattr(layer, "sequential_attn", None) is None
    )
