"""Faster versions of ESPnet's layers for training, with the same parameters and results.

`use_fast_layers` changes the classes of a model's layers. Parameters, their names and checkpoints
stay as they are, and losses differ by rounding only. Dropout draws other random numbers.

Symbols: B utterances, T frames or tokens, S frames or tokens that are attended to, D width,
H heads, E width of a head.
"""

import contextlib
import math
from typing import Any

import torch
from torch.nn import functional

from espnet_ext.model import espnet

MultiHeadedAttention: Any = espnet.load("MultiHeadedAttention")
RelPositionMultiHeadedAttention: Any = espnet.load("RelPositionMultiHeadedAttention")
ConvolutionModule: Any = espnet.load("ConvolutionModule")
_MOST_ROWS = 1 << 13  # computing more takes much longer than compiling the kernel
_DROPOUT_LEVELS = 1 << 16  # the resolution of dropout rates


def use_fast_layers(model: torch.nn.Module, keep_attention_weights: bool = False) -> dict[str, int]:
    """Replace the classes of a model's layers by those of this module.

    Args:
        model: a model that is to be trained. It is changed.
        keep_attention_weights: leave attention as it is, because its weights are plotted.
    Returns:
        Class → number of layers.
    """
    counts: dict[str, int] = {}
    for module in model.modules():
        fast = _fast_class(module)
        if fast is None or (keep_attention_weights and isinstance(module, MultiHeadedAttention)):
            continue
        module.__class__ = fast
        if fast is FastConvolution:
            module.norm.__class__ = torch.nn.BatchNorm2d
        counts[fast.__name__] = counts.get(fast.__name__, 0) + 1
    return counts


def _fast_class(module: torch.nn.Module) -> type | None:
    """Return the class that replaces the class of a layer; None if it stays."""
    fast = _REPLACED.get(type(module))
    if fast is FastConvolution:
        parts = (module.pointwise_conv1, module.depthwise_conv, module.pointwise_conv2)
        plain = all(type(part) is torch.nn.Conv1d for part in parts)
        return fast if plain and type(module.norm) is torch.nn.BatchNorm1d else None
    if fast is FastSubsampling:
        layers: list[Any] = list(module.children())
        kinds = {type(layer) for layer in layers} == {torch.nn.Conv2d, torch.nn.ReLU}
        plain = kinds and all(getattr(layer, "padding", (0, 0)) == (0, 0) for layer in layers)
        return fast if plain else None
    if fast is not None and issubclass(fast, MultiHeadedAttention):
        return None if module.use_flash_attn or module.use_sdpa else fast
    return fast


class FastLinear(torch.nn.Linear):
    """A linear layer that computes in few shapes within autocast on a CPU.

    oneDNN compiles kernels of half a megabyte per number of rows, which takes as long as using
    them a few times. A batch of speech has a number of rows of its own. Rows of zeros are added
    up to a number of which there are 16 per power of two.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return linear(input, self.weight, self.bias)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return a linear function of rows (…, D), computed in few shapes; see `FastLinear`."""
    rows = math.prod(x.shape[:-1])
    if not _compiles_kernels(x) or rows > _MOST_ROWS:
        return functional.linear(x, weight, bias)
    padded = functional.pad(x.reshape(rows, -1), (0, 0, 0, rounded(rows) - rows))
    return functional.linear(padded, weight, bias)[:rows].view(*x.shape[:-1], -1)


class FastSubsampling(torch.nn.Sequential):
    """The convolutions of ESPnet's `Conv2dSubsampling`, computed for few numbers of frames."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return (B, D, T, M') for features (B, 1, F, M)."""
        frames = input.size(2)
        if not _compiles_kernels(input):
            return super().forward(input)
        for layer in self:
            if isinstance(layer, torch.nn.Conv2d):
                frames = (frames - layer.kernel_size[0]) // layer.stride[0] + 1
        added = rounded(input.size(2)) - input.size(2)
        # Without padding, an output frame reads no frame after the end of the utterance.
        return super().forward(functional.pad(input, (0, 0, 0, added)))[:, :, :frames]


def rounded(size: int) -> int:
    """Return the next number that has at most five significant bits, so at most 6 % more.

    >>> [rounded(size) for size in (31, 33, 500, 513)]
    [31, 34, 512, 544]
    """
    step = 1 << max(0, size.bit_length() - 5)
    return -(-size // step) * step


def _compiles_kernels(x: torch.Tensor) -> bool:
    """Return whether oneDNN compiles a kernel for each shape of a linear layer that reads x.

    Functions of `torch.compile` are made for all shapes, so rounding would only add work to them.
    """
    if torch.compiler.is_compiling():
        return False
    return x.device.type == "cpu" and torch.is_autocast_enabled("cpu")


class FastConvolution(ConvolutionModule):
    """The convolution module of a Conformer layer, without transposing its input.

    Frames stay rows: the pointwise convolutions are matrix products, the depthwise convolution and
    the batch normalisation read (B, D, 1, T) in the layout `channels_last`. These two run in
    float32 also within autocast: bfloat16 makes them slower on a CPU.
    """

    def forward(self, x: torch.Tensor, mask_pad: torch.Tensor | None = None) -> torch.Tensor:
        """Return (B, T, D) for frames (B, T, D); mask_pad (B, 1, T) is true for real frames."""
        x = _pointwise(self.pointwise_conv1, x)  # (B, T, 2 D)
        x = functional.glu(x, dim=-1)
        if mask_pad is not None and _is_frame_mask(mask_pad, x):
            x = x.masked_fill(mask_pad.transpose(1, 2).eq(0), 0.0)
        with _float32_on_cpu(x):
            x = _to_float(x).unsqueeze(1).permute(0, 3, 1, 2)  # (B, D, 1, T), channels_last
            depthwise = self.depthwise_conv
            x = functional.conv2d(
                x,
                depthwise.weight.unsqueeze(2),
                depthwise.bias,
                padding=(0, depthwise.padding[0]),
                groups=depthwise.groups,
            )
            x = self.activation(self.norm(x))
        return _pointwise(self.pointwise_conv2, x.permute(0, 2, 3, 1).squeeze(1))


def _is_frame_mask(mask: torch.Tensor, x: torch.Tensor) -> bool:
    """Return whether a mask is (B, 1, T) for x (B, T, D), as ESPnet's `mask_padded_frames`."""
    return mask.dim() == 3 and mask.size(1) == 1 and mask.size(2) == x.size(1)


def _pointwise(convolution: Any, x: torch.Tensor) -> torch.Tensor:
    """Apply a convolution with a kernel of 1 to rows (B, T, D)."""
    return linear(x, convolution.weight.squeeze(-1), convolution.bias)


class FastAttention(MultiHeadedAttention):
    """Attention by PyTorch's fused kernel where no dropout is applied to its weights."""

    def forward(self, query, key, value, mask, expand_kv=False):
        q, k, v = self.forward_qkv(query, key, value, expand_kv)  # (B, H, T or S, E)
        # PyTorch chooses its kernel by sizes, so a compiled function would serve few of them.
        if _drops(self) or torch.compiler.is_compiling():
            return self.linear_out(_attend(self, q, k, v, None, mask))
        with _float32_on_cpu(q):
            q, k, v = _to_float(q), _to_float(k), _to_float(v)
            keys = None if mask is None else mask.unsqueeze(1).ne(0)  # (B, 1, 1 or T, S)
            x = functional.scaled_dot_product_attention(q, k, v, keys)
        return self.linear_out(x.transpose(1, 2).flatten(2))


class FastRelativeAttention(RelPositionMultiHeadedAttention):
    """Attention with relative positions (Dai et al., arXiv 1901.02860, section 3.3).

    The scores are scaled, masked and normalised in fewer passes.
    """

    def forward(self, query, key, value, pos_emb, mask):
        q, k, v = self.forward_qkv(query, key, value)  # (B, H, T, E)
        positions = self.linear_pos(pos_emb).view(pos_emb.size(0), -1, self.h, self.d_k)
        scale = 1 / math.sqrt(self.d_k)
        to_keys = (q + self.pos_bias_u.unsqueeze(1)) * scale
        to_positions = (q + self.pos_bias_v.unsqueeze(1)) * scale
        scores = torch.matmul(to_positions, positions.permute(0, 2, 3, 1))  # (B, H, T, 2 T − 1)
        return self.linear_out(_attend(self, to_keys, k, v, self.rel_shift(scores), mask))


def _drops(attention: Any) -> bool:
    """Return whether dropout is applied to attention weights now."""
    return attention.training and getattr(attention.dropout, "p", 0.0) > 0


def _attend(attention, q, k, v, added, mask) -> torch.Tensor:
    """Return attended values (B, T, H E).

    Args:
        q, k, v: (B, H, T, E), (B, H, S, E) and (B, H, S, E). With `added`, q is already divided by
            √E.
        added: (B, H, T, S), added to the scores, or None.
        mask: (B, 1, S) or (B, T, S), 0 where a key must not be read, or None.
    """
    q = q / math.sqrt(attention.d_k) if added is None else q
    scores = torch.matmul(q, k.transpose(-2, -1))  # (B, H, T, S)
    scores = scores if added is None else scores + added
    if mask is None:
        weights = torch.softmax(scores, dim=-1)
    else:
        hidden = mask.unsqueeze(1).eq(0)
        # The softmax of the smallest number is exactly 0, except if all keys are hidden.
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, dim=-1)
    weights = attention.dropout(weights)
    return torch.matmul(weights, v).transpose(1, 2).flatten(2)


class FastDropout(torch.nn.Dropout):
    """Dropout with 16 random bits per element, drawn by one call of PyTorch's generator.

    On a CPU, PyTorch calls its generator once per element and takes three times as long. The rate
    is rounded to a multiple of 2⁻¹⁶; the kept elements are divided by the rounded rate of keeping,
    so that the expectation is exact. On other devices this is `torch.nn.Dropout`.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        dropped = round(self.p * _DROPOUT_LEVELS)
        if not self.training or dropped == 0:
            return input
        if input.device.type != "cpu" or dropped == _DROPOUT_LEVELS or self.inplace:
            return super().forward(input)
        if torch.compiler.is_compiling():  # which merges dropout with the operations around it
            return super().forward(input)
        return input * dropout_mask(input, dropped)


def dropout_mask(like: torch.Tensor, dropped: int) -> torch.Tensor:
    """Return a tensor of 0 and 1 / (rate of keeping), of the shape and type of a tensor.

    Args:
        like: any tensor on the CPU.
        dropped: rate of dropping, in units of 2⁻¹⁶.
    """
    count = like.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)  # 64 bits each
    bits = words.view(torch.int16)[:count].view(like.shape)
    kept = bits >= dropped - _DROPOUT_LEVELS // 2  # −2¹⁵ … 2¹⁵ − 1
    return kept.to(like.dtype).mul_(_DROPOUT_LEVELS / (_DROPOUT_LEVELS - dropped))


def _to_float(x: torch.Tensor) -> torch.Tensor:
    """Return bfloat16 on a CPU as float32, and other tensors unchanged."""
    return x.float() if x.dtype == torch.bfloat16 and x.device.type == "cpu" else x


def _float32_on_cpu(x: torch.Tensor) -> Any:
    """Return a context without autocast for a tensor on the CPU."""
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return torch.autocast("cpu", enabled=False)
    return contextlib.nullcontext()


_REPLACED = {
    ConvolutionModule: FastConvolution,
    MultiHeadedAttention: FastAttention,
    RelPositionMultiHeadedAttention: FastRelativeAttention,
    torch.nn.Dropout: FastDropout,
    torch.nn.Linear: FastLinear,
    torch.nn.Sequential: FastSubsampling,
}
