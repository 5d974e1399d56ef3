"""ESPnet's transformer decoders, one token at a time, nothing computed twice.

Symbols: B utterances, K hypotheses of each, T frames, L tokens so far, D model size, H heads,
M cached positions of an utterance, V tokens.

Keys and values of the audio are projected once an utterance. Those of the tokens are written once
and never moved: the hypotheses of an utterance share one cache, and a mask says which of its
positions are a hypothesis's own ancestors. Positions that are nobody's ancestors are dropped.
"""

import torch
from torch import nn
from torch.nn import functional

COMPACT_EVERY = 16  # steps between the clearings of the cache


class CachedTransformer(nn.Module):
    """A stack of ESPnet's transformer layers; scorer of the next token.

    Takes over the weights of the module it is made of, and nothing else of it.
    """

    def __init__(self, embed: nn.Module, layers, after_norm: nn.Module | None, output: nn.Module):
        super().__init__()
        self.tokens, self.positions = embed[:-1], embed[-1]
        self.layers = nn.ModuleList(_Layer(layer) for layer in layers)
        self.after_norm = after_norm or nn.Identity()
        self.output = output

    @classmethod
    def of(cls, module: nn.Module) -> "CachedTransformer | None":
        """The cached form of a decoder; None if it is of another build."""
        layers = list(getattr(module, "decoders", None) or [])
        if not _known(getattr(module, "embed", None)) or not all(map(_plain, layers)):
            return None
        if not layers or module.output_layer is None:
            return None
        norm = module.after_norm if module.normalize_before else None
        return cls(module.embed, layers, norm, module.output_layer)

    def start(self, states: torch.Tensor, lengths: torch.Tensor, width: int) -> None:
        """Begin a batch: encoder states (B, T, D), `width` hypotheses an utterance."""
        batch, frames, _ = states.shape
        self.step_number = 0
        inside = torch.arange(frames, device=states.device) < lengths.to(states.device)[:, None]
        self.memory_mask = None if bool(inside.all()) else inside[:, None, None, :]
        # (B, K, M): which cached positions are ancestors of a hypothesis
        self.ancestors = torch.zeros(batch, width, 0, dtype=torch.bool, device=states.device)
        self.own = torch.eye(width, dtype=torch.bool, device=states.device)[None]
        for layer in self.layers:
            layer.start(states)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Log probabilities (B, K, V) of the token after these last ones (B, K)."""
        batch, width = tokens.shape
        x = self.tokens(tokens)
        scale, table = self.positions.xscale, self.positions.pe
        if table.size(1) <= self.step_number or table.dtype != x.dtype:
            self.positions.extend_pe(x.new_zeros(1, 2 * self.step_number + 1))
            table = self.positions.pe
        x = x * scale + table[0, self.step_number].to(x)
        own = self.own.expand(batch, -1, -1)
        self.ancestors = torch.cat([self.ancestors, own], -1)
        visible = self.ancestors.unsqueeze(1)
        for layer in self.layers:
            x = layer(x, visible, self.memory_mask)
        self.step_number += 1
        logits = self.output(self.after_norm(x))
        # sums of many logarithms want more digits than the network's arithmetic
        logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
        return logits.log_softmax(-1)

    def reorder(self, parents: torch.Tensor) -> None:
        """Hypothesis k becomes a continuation of hypothesis parents[:, k] (B, K)."""
        index = parents.unsqueeze(-1).expand(-1, -1, self.ancestors.size(-1))
        self.ancestors = self.ancestors.gather(1, index)
        if self.step_number % COMPACT_EVERY == 0:
            self._compact()

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some utterances only."""
        self.ancestors = self.ancestors[rows]
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask[rows]
        for layer in self.layers:
            layer.keep(rows)

    def _compact(self) -> None:
        used = self.ancestors.any(1)  # (B, M)
        most = int(used.sum(-1).max())
        if most == used.size(-1):
            return
        # used positions first, in their order
        index = torch.sort(used, dim=-1, descending=True, stable=True).indices[:, :most]
        width = self.ancestors.size(1)
        self.ancestors = self.ancestors.gather(2, index[:, None].expand(-1, width, -1))
        for layer in self.layers:
            layer.choose(index)


class _Layer(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        own = layer.self_attn
        self.heads, self.width = own.h, own.d_k
        self.qkv = _stack(own.linear_q, own.linear_k, own.linear_v)
        self.self_out = own.linear_out
        self.query_norm, self.key_norm = _norms(own)
        self.before = layer.normalize_before
        self.norms = nn.ModuleList([layer.norm1, layer.norm2, layer.norm3])
        cross = layer.src_attn
        self.cross_query, self.cross_out = cross.linear_q, cross.linear_out
        self.cross_kv = _stack(cross.linear_k, cross.linear_v)
        self.cross_query_norm, self.cross_key_norm = _norms(cross)
        self.feed_forward = layer.feed_forward

    def start(self, states: torch.Tensor) -> None:
        self.used = 0
        self.keys = self.values = None
        keys, values = self.cross_kv(states).chunk(2, -1)
        self.memory_keys = self.cross_key_norm(self._split(keys)).contiguous()
        self.memory_values = self._split(values).contiguous()

    def forward(self, x, visible, memory_mask):
        """x (B, K, D) with masks (B, 1, K, M) and (B, 1, 1, T) or None."""
        before = self.before
        query, key, value = self.qkv(self.norms[0](x) if before else x).chunk(3, -1)
        self._write(self.key_norm(self._split(key)), self._split(value))
        keys, values = self.keys[:, :, : self.used], self.values[:, :, : self.used]
        query = self.query_norm(self._split(query))
        x = x + self.self_out(_attend(query, keys, values, visible))
        if not before:
            x = self.norms[0](x)
        query = self.cross_query(self.norms[1](x) if before else x)
        query = self.cross_query_norm(self._split(query))
        found = _attend(query, self.memory_keys, self.memory_values, memory_mask)
        x = x + self.cross_out(found)
        if not before:
            x = self.norms[1](x)
        last = self.norms[2]
        return x + self.feed_forward(last(x)) if before else last(x + self.feed_forward(x))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K, D) to (B, H, K, D/H)."""
        return x.unflatten(-1, (self.heads, self.width)).transpose(1, 2)

    def _write(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        end = self.used + keys.size(2)
        if self.keys is None:
            self.keys = self.values = keys[:, :, :0]
        if end > self.keys.size(2):
            room = (0, 0, 0, max(end, 64))
            self.keys = functional.pad(self.keys, room)
            self.values = functional.pad(self.values, room)
        self.keys[:, :, self.used : end] = keys
        self.values[:, :, self.used : end] = values
        self.used = end

    def keep(self, rows: torch.Tensor) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]
        self.memory_keys, self.memory_values = self.memory_keys[rows], self.memory_values[rows]

    def choose(self, index: torch.Tensor) -> None:
        """Keep the cached positions `index` (B, M′), the same of every head."""
        wide = index[:, None, :, None].expand(-1, self.heads, -1, self.width)
        count = index.size(1)
        self.keys[:, :, :count] = self.keys.gather(2, wide)
        self.values[:, :, :count] = self.values.gather(2, wide)
        self.used = count


def _attend(query, keys, values, mask):
    found = functional.scaled_dot_product_attention(query, keys, values, mask)
    return found.transpose(1, 2).flatten(-2)


def _stack(*linears: nn.Linear) -> nn.Linear:
    """One linear layer that gives the outputs of several, one after another."""
    stacked = nn.Linear(1, 1)
    stacked.weight = nn.Parameter(torch.cat([linear.weight for linear in linears]).detach())
    stacked.bias = nn.Parameter(torch.cat([linear.bias for linear in linears]).detach())
    stacked.out_features, stacked.in_features = stacked.weight.shape
    return stacked.requires_grad_(False).train(linears[0].training)


def _norms(attention: nn.Module) -> tuple[nn.Module, nn.Module]:
    nothing = nn.Identity()
    return getattr(attention, "q_norm", nothing), getattr(attention, "k_norm", nothing)


def _known(embed: nn.Module | None) -> bool:
    """Whether positions are added as ESPnet's plain sinusoids."""
    return (
        isinstance(embed, nn.Sequential)
        and len(embed) > 1
        and type(embed[-1]).__name__ == "PositionalEncoding"
    )


def _plain(layer: nn.Module) -> bool:
    """Whether a layer is of the standard build."""
    kinds = {type(getattr(layer, name, None)).__name__ for name in ("self_attn", "src_attn")}
    return (
        kinds == {"MultiHeadedAttention"}
        and not getattr(layer, "concat_after", False)
        and getattr(layer, "sequential_attn", None) is None
    )
