"""A frontend that embeds the input ids of units and text (arXiv 2309.15826): `frontend: units`.

Symbols: B utterances, L input ids, D embedding size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_count, check_keys, check_smoothing

UNITS = "units"  # the value of `frontend`
# Files of the k-means and of the joint vocabulary. The folder of a model contains them.
FILES = ("tokens.txt", "vocabulary.json", "units.model", "text.model", "units.json", "kmeans.npz")
SPECIAL = 2  # ids of <blank> and <unk>, the first ones
_OPTIONAL = ("units.model", "text.model")  # only for SentencePiece
TEXT_INPUT, TEXT_OUTPUT = "text_input", "text_output"  # keys of the layout


def input_guide(output: str) -> str:
    """Return the symbol of the joint vocabulary that names an output at the start of an input.

    >>> input_guide("meaning")
    '<to:meaning>'
    """
    return f"<to:{output}>"


@dataclass(frozen=True)
class InputLayout:
    """What a model must know of its joint vocabulary. Training writes it to config.yaml."""

    tokens: int  # size of the vocabulary
    mask: int  # id of <mask>
    units: tuple[int, int]  # ids of units: the first, and one more than the last
    text: tuple[int, int]  # ids of text
    upsample: int  # how often a text token is repeated
    vocabulary_sha256: str  # digest of the vocabulary, and so of its k-means
    # output → id of its guiding token (`conditioning: input_tokens`)
    guides: Mapping[str, int] = field(default_factory=dict)
    # whether the training set had inputs of text; None: see `trained_with_text`
    text_input: bool | None = None
    # output whose transcripts were these inputs; "": an earlier version has not recorded it
    text_output: str = ""

    @classmethod
    def of(cls, values: Any, where: str = "frontend_conf.layout") -> "InputLayout":
        """Return the layout in a configuration; `UserError` if it is not valid."""
        names = list(cls.__dataclass_fields__)
        required = set(names) - {"guides", TEXT_INPUT, TEXT_OUTPUT}
        if not isinstance(values, Mapping) or required - set(values):
            raise UserError(
                f"{where}: is missing or not complete",
                "train with espnet-ext train --joint_token_dir and --units, which write it",
            )
        check_keys(values, names, where)
        for name, least in (("tokens", 1), ("mask", 0), ("upsample", 1)):
            check_count(values[name], f"{where}.{name}", least)
        ranges = [values["units"], values["text"]]
        if not all(_is_range(ids, values["tokens"]) for ids in ranges):
            raise UserError(f"{where}: units or text are not ranges of ids", "train again")
        units, text = (tuple(ids) for ids in ranges)
        if units[1] > text[0] and text[1] > units[0]:
            raise UserError(f"{where}: ids of units are ids of text too", "train again")
        if not isinstance(values.get(TEXT_INPUT), bool | None):
            message = f"{where}.{TEXT_INPUT}: {values[TEXT_INPUT]!r} is not true or false"
            raise UserError(message, "train again")
        if not isinstance(values.get(TEXT_OUTPUT, ""), str):
            message = f"{where}.{TEXT_OUTPUT}: {values[TEXT_OUTPUT]!r} is not the name of an output"
            raise UserError(message, "train again")
        layout = cls(**{**values, "units": units, "text": text})
        _check_guides(layout, f"{where}.guides")
        return layout

    def as_config(self) -> dict[str, Any]:
        """Return the layout as values for YAML."""
        values = {**vars(self), "units": list(self.units), "text": list(self.text)}
        guides = values.pop("guides")
        if self.text_input is None or _is_evident(self.text_input, self.upsample):
            del values[TEXT_INPUT]
        if not self.text_output:
            del values[TEXT_OUTPUT]
        return {**values, "guides": dict(guides)} if guides else values


def _is_evident(text_input: bool | None, upsample: int) -> bool:
    """Return whether a layout without `text_input` says the same: only text is up-sampled."""
    return upsample > 1 and text_input is not False


def _is_range(ids: Any, tokens: int) -> bool:
    is_pair = isinstance(ids, list | tuple) and len(ids) == 2
    return is_pair and all(type(i) is int for i in ids) and 0 <= ids[0] <= ids[1] <= tokens


def _check_guides(layout: InputLayout, where: str) -> None:
    """Raise `UserError` if guiding tokens have ids of units, of text, or of special tokens."""
    if not isinstance(layout.guides, Mapping):
        raise UserError(f"{where}: is not a mapping of outputs to ids", "train again")
    taken = {layout.mask, layout.tokens - 1, *range(SPECIAL)}
    for output, guide in layout.guides.items():
        is_id = type(guide) is int and 0 <= guide < layout.tokens and guide not in taken
        if not is_id or any(first <= guide < end for first, end in (layout.units, layout.text)):
            raise UserError(
                f"{where}.{output}: {guide} is not an id of a symbol of its own",
                "train again with the joint vocabulary of the training set",
            )
        taken.add(guide)


class UnitEmbedding(torch.nn.Module):
    """Maps input ids (B, L) to embeddings (B, L, D); padding becomes zeros.

    Args:
        embed_dim: D.
        dropout_rate: dropout rate of embeddings.
        fs: sample rate of the audio that units are made of, in Hz.
        layout: layout of the joint vocabulary, see `InputLayout`.

    >>> layout = {"tokens": 6, "mask": 2, "units": [3, 4], "text": [4, 5], "upsample": 1}
    >>> frontend = UnitEmbedding(8, layout={**layout, "vocabulary_sha256": ""})
    >>> embedded, lengths = frontend(torch.tensor([[3, 4, -1]]), torch.tensor([2]))
    >>> tuple(embedded.shape), embedded[0, 2].any().item()
    ((1, 3, 8), False)
    """

    min_samples = 1  # the fewest input ids of an utterance, see `model.frames`

    def __init__(
        self,
        embed_dim: int = 256,
        dropout_rate: float = 0.0,
        fs: int | str = 16000,
        layout: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        check_count(embed_dim, "frontend_conf.embed_dim", 1)
        check_smoothing(dropout_rate, "frontend_conf.dropout_rate")
        self.layout = InputLayout.of(layout)
        self.embed = torch.nn.Embedding(self.layout.tokens, embed_dim)
        self.dropout = torch.nn.Dropout(dropout_rate)

    def output_size(self) -> int:
        return self.embed.embedding_dim

    def forward(
        self, ids: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if ids.is_floating_point() or ids.dim() != 2:
            raise UserError(
                "the model reads input ids of units and text, and got samples or features",
                "this analysis or command supports only systems that read audio; decode with "
                "espnet-ext decode, or with DualSpeech2Text",
            )
        positions = torch.arange(ids.size(1), device=ids.device)
        is_padding = positions >= lengths.to(ids.device).unsqueeze(1)  # (B, L)
        ids = ids.masked_fill(is_padding, 0)
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= self.layout.tokens):
            wrong = ids[(ids < 0) | (ids >= self.layout.tokens)][0]
            raise UserError(
                f"input id {int(wrong)} is not one of the {self.layout.tokens} of the model",
                "write the input ids with the vocabulary that the model is trained with",
            )
        embedded = self.dropout(self.embed(ids))  # (B, L, D)
        return embedded.masked_fill(is_padding.unsqueeze(2), 0.0), lengths


def reads_units(config: Mapping[str, Any]) -> bool:
    """Return whether the model of a configuration reads input ids instead of samples."""
    return config.get("frontend") == UNITS


def trained_with_text(config: Mapping[str, Any]) -> bool | None:
    """Return whether a model that reads units was trained with inputs of text.

    None: an earlier version has trained the model, and did not record it.

    >>> trained_with_text({"frontend_conf": {"layout": {"upsample": 3}}})
    True
    >>> trained_with_text({"frontend_conf": {"layout": {"upsample": 1, "text_input": False}}})
    False
    """
    if config.get("text_ratio") == 0:
        return False
    layout = (config.get("frontend_conf") or {}).get("layout") or {}
    recorded = layout.get(TEXT_INPUT)
    return True if _is_evident(recorded, layout.get("upsample", 1)) else recorded


def unit_files(config: Mapping[str, Any], folder: str | Path) -> list[str]:
    """Return the names of the k-means and vocabulary files in the folder of a model.

    There are none for a model that reads samples.

    Raises:
        UserError: if a file is missing.
    """
    if not reads_units(config):
        return []
    present = [name for name in FILES if (Path(folder) / name).is_file()]
    for name in FILES:
        if name not in present and name not in _OPTIONAL:
            raise UserError(
                f"{Path(folder) / name}: no such file",
                "restore it: it is a copy from the folder of the k-means or of the vocabulary",
            )
    return present
