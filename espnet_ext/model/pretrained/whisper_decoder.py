"""Whisper's decoder as the attention decoder of an output (Radford et al., arXiv 2212.04356).

Its layers are ESPnet's decoder layers with Whisper's weights, so the search caches their keys and
values as it does for other decoders. The token list may be Whisper's own (token type
`hugging_face`) or any other, for example phones: embeddings are taken from Whisper's.

Symbols: B utterances, T encoder frames, L tokens, P prompt tokens, D model size, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.pretrained.checkpoint import Source
from espnet_ext.model.pretrained.layers import inside
from espnet_ext.text.tokenizers import BLANK, SOS_EOS, SPACE, UNK

START, END, NO_TIMESTAMPS = "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>"
TASKS = ("transcribe", "translate")


class WhisperDecoder(torch.nn.Module):
    """Encoder output and tokens to logits, with ESPnet's interface of a decoder.

    The first input token, sos, is replaced by the prompt: the tokens of start, language and task,
    and that of no timestamps.

    Args:
        source: the checkpoint.
        vocab_size: V.
        encoder_output_size: must be D.
        tokens: V tokens. Tokens of the type `hugging_face` get Whisper's embeddings; another one
            gets the mean of the embeddings of its text in Whisper's tokens. Not needed, and
            embeddings are random, if the source has no weights.
        token_type: type of the tokens.
        language: code of the language that is written, for example en or ko. A checkpoint for
            English only has none.
        task: transcribe or translate; only with a language.
        dropout: after attention and feed-forward; the checkpoint's (usually 0) unless given.
    """

    normalize_before = True
    pretrained = True

    def __init__(
        self,
        source: Source,
        vocab_size: int,
        encoder_output_size: int,
        tokens: Sequence[str] = (),
        token_type: str = "hugging_face",
        language: str | None = None,
        task: str = "transcribe",
        dropout: float | None = None,
    ):
        super().__init__()
        network = source.network("WhisperModel").decoder
        config = network.config
        size = config.d_model
        if encoder_output_size != size:
            raise UserError(
                f"{source.where}: {source.model or 'the architecture'} reads encoder output of "
                f"size {size}, but gets {encoder_output_size}",
                "use encoder: pretrained with the same checkpoint",
            )
        if task not in TASKS:
            raise UserError(f"{source.where}.task: '{task}'", f"write {' or '.join(TASKS)}")
        self.architecture = source.architecture
        self.has_pretrained_weights = source.model is not None
        prompt = [START, NO_TIMESTAMPS]
        if language is not None:
            prompt[1:1] = [f"<|{language}|>", f"<|{task}|>"]
        embedding = _Embedding(vocab_size, len(prompt), size)
        self.has_new_tokens = True
        if source.model is not None:
            weights = network.embed_tokens.weight.detach()
            is_own = token_type == "hugging_face"
            self.has_new_tokens = _copy_embeddings(
                embedding, weights, tokens, is_own, prompt, source
            )
        self.embed = torch.nn.Sequential(
            embedding, LearnedPositions(network.embed_positions.weight)
        )
        self.dropout = config.dropout if dropout is None else dropout
        self.decoders = torch.nn.ModuleList(
            _espnet_layer(layer, config, self.dropout) for layer in network.layers
        )
        self.after_norm = network.layer_norm
        self.output_layer = torch.nn.Linear(size, vocab_size, bias=False)
        self.output_layer.weight = embedding.weight  # tied, as in Whisper

    @property
    def prompt(self) -> torch.Tensor:
        """Embeddings (P, D) of the prompt, without positions."""
        return cast(_Embedding, self.embed[0]).prompt

    def new_parameters(self) -> Iterator[torch.nn.Parameter]:
        """Yield the embeddings if a token is not in the checkpoint's vocabulary."""
        if self.has_new_tokens:
            yield from [p for p in self.embed[0].parameters() if p is not self.prompt]

    @property
    def max_tokens(self) -> int:
        """The tokens of the longest transcript: all positions but those of the prompt."""
        return cast(LearnedPositions, self.embed[1]).max_positions - len(self.prompt)

    def forward(
        self,
        hs_pad: torch.Tensor,
        hlens: torch.Tensor,
        ys_in_pad: torch.Tensor,
        ys_in_lens: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (B, L, V) and lengths (B,).

        Args:
            hs_pad: (B, T, D) encoder output; hlens: (B,) frames.
            ys_in_pad: (B, L) token ids that begin with sos; ys_in_lens: (B,).
        """
        prompt = self.prompt.unsqueeze(0).expand(len(ys_in_pad), -1, -1)  # (B, P, D)
        rows = self.embed[0](ys_in_pad[:, 1:])  # (B, L-1, D)
        hidden = self.embed[1](torch.cat([prompt, rows], 1))  # (B, P+L-1, D)
        hidden = torch.nn.functional.dropout(hidden, self.dropout, self.training)
        size = hidden.size(1)
        lengths = ys_in_lens.to(hidden.device) + prompt.size(1) - 1
        causal = torch.ones(size, size, dtype=torch.bool, device=hidden.device).tril()
        mask = inside(lengths, size)[:, None] & causal  # (B, P+L-1, P+L-1)
        memory_mask = inside(hlens.to(hidden.device), hs_pad.size(1))[:, None]  # (B, 1, T)
        for layer in self.decoders:
            hidden, _, _, _ = layer(hidden, mask, hs_pad, memory_mask)
        hidden = self.after_norm(hidden)[:, prompt.size(1) - 1 :]
        return self.output_layer(hidden), ys_in_lens


class _Embedding(torch.nn.Embedding):
    """Embeddings of V tokens, and of the P tokens of the prompt."""

    pretrained = True  # `scale_embeddings` leaves it alone

    def __init__(self, vocab_size: int, prompt_size: int, size: int):
        super().__init__(vocab_size, size)
        self.prompt = torch.nn.Parameter(torch.zeros(prompt_size, size))


class LearnedPositions(torch.nn.Module):
    """Adds learned positions to embeddings (B, L, D); has the attributes of ESPnet's encoding."""

    xscale = 1.0

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.weight = torch.nn.Parameter(weight.detach().clone())  # (positions, D)

    @property
    def max_positions(self) -> int:
        return len(self.weight)

    @property
    def pe(self) -> torch.Tensor:
        """The positions (1, positions, D)."""
        return self.weight.unsqueeze(0)

    def extend_pe(self, _embeddings: torch.Tensor) -> None:
        """Positions are learned: there are no more."""

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        length = embeddings.size(1)
        if length > len(self.weight):
            raise UserError(
                f"a transcript has {length} tokens with its prompt, but Whisper has positions for "
                f"{len(self.weight)}",
                "remove longer transcripts from training",
            )
        return embeddings + self.weight[:length]


def _copy_embeddings(
    embedding: _Embedding,
    weights: torch.Tensor,
    tokens: Sequence[str],
    is_own: bool,
    prompt: Sequence[str],
    source: Source,
) -> bool:
    """Fill the embeddings from Whisper's.

    Args:
        weights: (V', D) Whisper's embeddings.
        is_own: whether the tokens are Whisper's. The character é is not: its name in Whisper's
            vocabulary is that of the byte 0xE9.
    Returns:
        Whether there is a token that Whisper does not have, other than blank and unknown.
    """
    tokenizer = source.tokenizer()
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in (*prompt, END) if token not in vocabulary]
    if missing:
        raise UserError(
            f"{source.where}: {source.model}: the tokenizer has no {', '.join(missing)}",
            "set decoder_conf.language to a language of the checkpoint (null for English-only "
            "checkpoints)",
        )
    with torch.no_grad():
        embedding.prompt.copy_(weights[[vocabulary[token] for token in prompt]])
        # In double precision, so that the result does not depend on the number of threads.
        mean = weights[: vocabulary[END]].double().mean(0).float()  # (D,)
        has_new_tokens = False
        for row, token in enumerate(tokens):
            name = END if token == SOS_EOS else token
            if name in vocabulary and (is_own or name == END):
                embedding.weight[row] = weights[vocabulary[name]]
            elif len(name) > 1 and name[0] == "<" and name != SPACE:  # blank, unknown, tags
                embedding.weight[row] = mean
                has_new_tokens |= name not in (BLANK, UNK)
            else:
                text = " " if name == SPACE else name
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                embedding.weight[row] = weights[ids].mean(0) if ids else mean
                has_new_tokens |= len(ids) != 1 or name == SPACE
    return has_new_tokens


def _espnet_layer(layer: Any, config: Any, dropout: float) -> torch.nn.Module:
    """Return an ESPnet decoder layer with the weights of a layer of transformers."""
    size, heads = config.d_model, config.decoder_attention_heads
    attention, feed_forward = espnet.load("MultiHeadedAttention"), espnet.load("FeedForward")
    activation = {"gelu": torch.nn.GELU(), "relu": torch.nn.ReLU()}[config.activation_function]
    converted = espnet.load("DecoderLayer")(
        size,
        attention(heads, size, config.attention_dropout),
        attention(heads, size, config.attention_dropout),
        feed_forward(size, config.decoder_ffn_dim, config.activation_dropout, activation),
        dropout,
        True,  # normalize_before
        False,  # concat_after
    )
    for target, source in (
        (converted.self_attn, layer.self_attn),
        (converted.src_attn, layer.encoder_attn),
    ):
        for name in ("q", "k", "v", "out"):
            linear = getattr(target, f"linear_{name}")
            weights = getattr(source, f"{name}_proj")
            linear.weight.data.copy_(weights.weight)
            if weights.bias is not None:
                linear.bias.data.copy_(weights.bias)
            else:  # a bias of the keys adds the same to all scores: it changes nothing
                linear.bias.data.zero_()
    converted.feed_forward.w_1, converted.feed_forward.w_2 = layer.fc1, layer.fc2
    converted.norm1 = layer.self_attn_layer_norm
    converted.norm2 = layer.encoder_attn_layer_norm
    converted.norm3 = layer.final_layer_norm
    return converted
