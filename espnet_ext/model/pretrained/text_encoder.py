"""The encoder of a pre-trained text sequence-to-sequence model, for input ids of units and text.

mBART (Liu et al., arXiv 2001.08210), BART (Lewis et al., arXiv 1910.13461), T5 and mT5 (Raffel et
al., arXiv 1910.10683; Xue et al., 2010.11934) and ByT5 (Xue et al., 2105.13626). The embeddings of
the joint vocabulary are those of `frontend: units`; `remap_embeddings` makes their first values.

Symbols: B utterances, L input ids, D model size, V joint vocabulary, V' that of the checkpoint.
"""

from collections.abc import Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.pretrained.checkpoint import Source
from espnet_ext.model.pretrained.layers import inside
from espnet_ext.text.tokenizers import SPACE

# `model_type` → class of transformers. ByT5 is a T5.
NETWORKS = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "mbart": "MBartModel",
    "bart": "BartModel",
}
# In a file of embeddings: the SHA-256 of the joint vocabulary that they are of
VOCABULARY = "vocabulary_sha256"
_BOUNDARY = "▁"  # SentencePiece writes it before a word


class TextEncoder(torch.nn.Module):
    """Embeddings of input ids (B, L, D) to hidden states (B, L, D), with ESPnet's interface.

    Args:
        source: the checkpoint.
        input_size: D; it is `frontend_conf.embed_dim`.
    """

    def __init__(self, source: Source, input_size: int):
        super().__init__()
        self.network = source.network(NETWORKS[source.model_type]).get_encoder()
        self.architecture = source.architecture
        self.has_pretrained_weights = source.model is not None
        size = self.network.config.d_model
        if input_size != size:
            raise UserError(
                f"{source.where}: {source.model or 'the architecture'} reads embeddings of size "
                f"{size}, but gets {input_size}",
                f"write frontend: units and frontend_conf.embed_dim: {size}",
            )
        self.network.embed_tokens = torch.nn.Identity()  # the frontend has the embeddings
        scaled = getattr(self.network.config, "scale_embedding", False)
        self.scale = size**0.5 if scaled else 1.0
        positions = getattr(self.network, "embed_positions", None)
        self.max_length = self.network.config.max_position_embeddings if positions else None

    @property
    def encoders(self) -> torch.nn.ModuleList:
        """The blocks, from the bottom."""
        blocks = getattr(self.network, "block", None)
        return self.network.layers if blocks is None else blocks

    def output_size(self) -> int:
        return self.network.config.d_model

    def forward(
        self, embeddings: torch.Tensor, lengths: torch.Tensor, prev_states: Any = None
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return hidden states (B, L, D), lengths (B,) and None, as ESPnet's encoders do."""
        longest = embeddings.size(1)
        if self.max_length is not None and longest > self.max_length:
            raise UserError(
                f"an input has {longest} ids, but the pre-trained encoder has positions for "
                f"{self.max_length}",
                "decode shorter texts, or audio with espnet-ext decode --segment_seconds 20",
            )
        mask = inside(lengths.to(embeddings.device), longest)  # (B, L)
        states = self.network(inputs_embeds=embeddings * self.scale, attention_mask=mask.long())
        return states.last_hidden_state, lengths, None


def remap_embeddings(
    source: Source, tokens: Sequence[str], text: range, units: range, seed: int = 0
) -> tuple[torch.Tensor, int]:
    """Return embeddings (V, D) of a joint vocabulary, made from those of a checkpoint.

    A token of text gets the mean of the embeddings of its characters or pieces in the checkpoint's
    vocabulary. Units have no counterpart: they are drawn from a normal distribution with the mean
    and the standard deviation of each dimension of the checkpoint's embeddings. The other
    tokens (blank, mask, end) get the mean.

    Args:
        source: the checkpoint.
        tokens: the V tokens.
        text: ids of text.
        units: ids of units.
        seed: seed of the random numbers.
    Returns:
        The embeddings, and the number of tokens of text that the checkpoint has no pieces for;
        they get the mean.
    """
    network = source.network(NETWORKS[source.model_type])
    weights = network.get_input_embeddings().weight.detach().double()  # (V', D)
    tokenizer = _tokenizer(source)
    mean, deviation = weights.mean(0), weights.std(0)
    random = torch.Generator().manual_seed(seed)
    embeddings = mean.repeat(len(tokens), 1)  # (V, D)
    noise = torch.randn(len(units), weights.size(1), generator=random, dtype=torch.float64)
    embeddings[units.start : units.stop] = mean + deviation * noise
    unknown = 0
    for row in text:
        piece = " " if tokens[row] == SPACE else tokens[row].replace(_BOUNDARY, " ")
        ids = tokenizer.encode(piece, add_special_tokens=False)
        ids = [i for i in ids if i != tokenizer.unk_token_id and i < len(weights)]
        unknown += not ids
        if ids:
            embeddings[row] = weights[ids].mean(0)
    return embeddings.float(), unknown


def _tokenizer(source: Source) -> Any:
    """Return the tokenizer of a checkpoint. ByT5's has no files: it splits text into bytes."""
    from transformers import AutoTokenizer

    assert source.model is not None
    try:
        return AutoTokenizer.from_pretrained(source.model, revision=source.revision)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"{source.model}: cannot read its tokenizer: {str(error).partition(chr(10))[0]}",
            "name a folder with tokenizer.json and tokenizer_config.json",
        ) from None
