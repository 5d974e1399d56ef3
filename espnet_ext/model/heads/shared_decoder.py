"""One attention decoder for several outputs: a guiding token per output, a joint vocabulary.

S-MoE (arXiv 2508.10009, sec. 3): the first input token of the decoder names the task. Here it is
`<surface>` or `<meaning>`, in place of the start token. The vocabulary has the tokens of all
outputs, once each, and the guiding tokens. An output can only predict its tokens, so its softmax is
over these. With `conditioning_conf.decoder_task` each output has its own feed-forward parts.

Symbols: N labelled utterances, T encoder frames, L tokens, D encoder size, J joint tokens,
V tokens of one output.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.conditioning.routing import TASK, Routing, unroute
from espnet_ext.model.config import construct

SHARED = "shared"  # value of `outputs.<name>.decoder`
MODULE = "shared_decoder"  # its name in the model


def guiding_token(output: str) -> str:
    """Return the token that tells the decoder which output to write.

    >>> guiding_token("surface")
    '<surface>'
    """
    return f"<{output}>"


def joint_vocabulary(tokens: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the tokens of all outputs, then the guiding tokens; the last is sos and eos.

    Args:
        tokens: output → its token list, whose last token is sos and eos.

    >>> joint_vocabulary({"a": ["<blank>", "x", "<e>"], "b": ["<blank>", "y", "<e>"]})
    ['<blank>', 'x', 'y', '<a>', '<b>', '<e>']
    """
    ends = {token_list[-1] for token_list in tokens.values()}
    if len(ends) > 1:
        raise UserError(
            f"decoder: shared: token lists end with different tokens: {', '.join(sorted(ends))}",
            "write the token lists with stage 5 again",
        )
    joint = list(dict.fromkeys(token for one in tokens.values() for token in one[:-1]))
    guides = [guiding_token(output) for output in tokens]
    for guide in guides:
        if guide in joint:
            raise UserError(
                f"decoder: shared: the token list contains {guide}, the guiding token of an output",
                "rename the output, or remove the token from the transcripts",
            )
    return [*joint, *guides, ends.pop()]


def build_shared_decoder(
    tokens: Mapping[str, Sequence[str]], size: int, config: Mapping[str, Any]
) -> torch.nn.Module:
    """Build the decoder of all outputs with `decoder: shared`.

    Args:
        tokens: these outputs → their token lists.
        size: D.
        config: the whole configuration; `decoder` and `decoder_conf` describe the decoder.
    Returns:
        ESPnet's decoder over the joint vocabulary. Its attribute `joint` is that vocabulary.
    """
    if len(tokens) < 2:
        raise UserError(
            f"outputs.{next(iter(tokens))}.decoder: shared, but no other output with an attention "
            "decoder shares it",
            "write decoder: shared for another output too, or remove it",
        )
    kind = config.get("decoder")
    if kind != "transformer":
        raise UserError(
            f"decoder: {kind}: several outputs can only share a Transformer decoder",
            "write decoder: transformer, or remove decoder: shared from the outputs",
        )
    conf = config.get("decoder_conf") or {}
    if conf.get("gradient_checkpoint_layers") or conf.get("use_output_layer") is False:
        raise UserError(
            "decoder_conf: gradient_checkpoint_layers and use_output_layer cannot be used with "
            "decoder: shared",
            "remove them",
        )
    joint = joint_vocabulary(tokens)
    sizes = {"vocab_size": len(joint), "encoder_output_size": size}
    decoder: Any = construct(espnet.resolve("decoder", kind), conf, "decoder_conf", sizes)
    if not isinstance(decoder.embed[0], torch.nn.Embedding):
        raise UserError("decoder_conf.input_layer: not embed", "remove input_layer")
    decoder.joint, decoder.outputs = joint, tuple(tokens)
    decoder.routing = Routing()
    return decoder


class GuidedDecoder(torch.nn.Module):
    """The shared decoder as the decoder of one output, with ESPnet's interface.

    It has no parameters of its own: those of the shared decoder are in the model once, as
    `shared_decoder`.

    Args:
        shared: decoder from `build_shared_decoder`.
        output: the output, whose guiding token replaces the start token.
        tokens: V tokens of the output.
    """

    input_ids: torch.Tensor  # (V,): joint id of each token as input
    output_ids: torch.Tensor  # (V,): joint id of each token as prediction

    def __init__(self, shared: Any, output: str, tokens: Sequence[str]):
        super().__init__()
        self.output = output
        # In a tuple, so that it is not registered as a part of this module.
        self._shared = (shared,)
        self._search_copy: tuple[torch.nn.Module, ...] = ()
        place = {token: i for i, token in enumerate(shared.joint)}
        ids = [place[token] for token in tokens]
        inputs = [*ids[:-1], place[guiding_token(output)]]
        self.register_buffer("output_ids", torch.tensor(ids), persistent=False)
        self.register_buffer("input_ids", torch.tensor(inputs), persistent=False)

    @property
    def shared(self) -> Any:
        """The decoder of all outputs."""
        return self._shared[0]

    @property
    def decoders(self) -> torch.nn.ModuleList:
        """The layers."""
        return self.shared.decoders

    def parameters(self, recurse: bool = True) -> Iterator[torch.nn.Parameter]:
        """Yield the parameters of the shared decoder."""
        return self.shared.parameters(recurse)

    def forward(
        self,
        hs_pad: torch.Tensor,
        hlens: torch.Tensor,
        ys_in_pad: torch.Tensor,
        ys_in_lens: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (N, L, V) and lengths (N,).

        Args:
            hs_pad: (N, T, D) encoder output; hlens: (N,) frames.
            ys_in_pad: (N, L) token ids of the output that begin with sos; ys_in_lens: (N,).
        """
        self.shared.routing.begin((self.output,), {}, {})
        logits, lengths = self.shared(hs_pad, hlens, self.input_ids[ys_in_pad], ys_in_lens)
        return logits[..., self.output_ids], lengths

    @torch.no_grad()
    def standalone(self) -> torch.nn.Module:
        """Return an equal decoder of this output alone: an ordinary one of ESPnet with V tokens."""
        for module in self.shared.modules():
            if isinstance(getattr(module, "attn", None), torch.Tensor):
                module.attn = None  # attention weights of the last batch; they cannot be copied
        decoder = copy.deepcopy(self.shared)
        del decoder.joint, decoder.outputs, decoder.routing
        unroute(decoder, {TASK: self.output})
        embedding, linear = decoder.embed[0], decoder.output_layer
        count, size = len(self.output_ids), embedding.embedding_dim
        decoder.embed[0] = torch.nn.Embedding(count, size).to(embedding.weight)
        decoder.embed[0].weight.copy_(embedding.weight[self.input_ids])
        decoder.output_layer = torch.nn.Linear(size, count).to(linear.weight)
        decoder.output_layer.weight.copy_(linear.weight[self.output_ids])
        decoder.output_layer.bias.copy_(linear.bias[self.output_ids])
        return decoder.train(self.shared.training)

    def search_copy(self) -> torch.nn.Module:
        """Return a standalone decoder for a search, and keep it as `searched`."""
        self._search_copy = (self.standalone(),)
        return self._search_copy[0]

    @property
    def searched(self) -> torch.nn.Module:
        """The decoder that the latest search reads."""
        return self._search_copy[0] if self._search_copy else self


def own_decoder(head: Any, model: torch.nn.Module) -> None:
    """Give an output that shares its decoder an equal one of its own, in place."""
    decoder = head.parts.get("decoder")
    if isinstance(decoder, GuidedDecoder):
        head.parts["decoder"] = decoder.standalone()
        setattr(model, f"{head.name}_decoder", head.parts["decoder"])
