"""Audio and text as the input ids of a model that reads discrete units (`frontend: units`)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_ext.errors import UserError, is_out_of_memory
from espnet_ext.model.unit_frontend import (
    InputLayout,
    reads_units,
    trained_with_text,
    unit_files,
)
from espnet_ext.progress import say
from espnet_ext.text.unicode import normalize
from espnet_ext.units.corpus import BATCH_SECONDS, batches_of
from espnet_ext.units.inputs import UnitInput
from espnet_ext.units.sequences import KEEP
from espnet_ext.units.vocabulary import UNKNOWN_ID


def text_warning(config: Mapping[str, Any], model_dir: str | Path) -> str:
    """Return what is wrong with text as the input of a model that reads units; "" if nothing."""
    has_text = trained_with_text(config)
    if has_text:
        return ""
    if has_text is None:
        return f"{model_dir}: does not record whether it was trained with text"
    reason = "text_ratio: 0" if config.get("text_ratio") == 0 else "its training set has none"
    return f"{model_dir}: was trained without text ({reason}); its transcripts are random"


class UnitReader:
    """Maps audio and text to input ids.

    Args:
        units: k-means and joint vocabulary.
        layout: what the model was trained with.
        where: names the model in errors.
        text_warning: printed before the first text is read, if not empty.

    Raises:
        UserError: if the vocabulary is not that of the model.
    """

    def __init__(
        self,
        units: UnitInput,
        layout: InputLayout,
        where: str = "model",
        text_warning: str = "",
    ):
        if units.vocabulary.digest != layout.vocabulary_sha256:
            raise UserError(
                f"{where}: vocabulary.json is not the joint vocabulary that the model was trained "
                f"with (SHA-256 {units.vocabulary.digest[:12]}, not "
                f"{layout.vocabulary_sha256[:12]})",
                "restore the vocabulary files, or train again",
            )
        self.units = units
        self.layout = layout
        self._text_warning = text_warning

    @classmethod
    def from_pretrained(
        cls, config: Mapping[str, Any], model_dir: str | Path, device: str, encoder: str | None
    ) -> "UnitReader | None":
        """Load the k-means and the vocabulary of a model; None if it reads audio.

        Args:
            config: configuration of the model.
            encoder: folder or hub name of the network that units are made with, if it is no longer
                where it was.
        """
        if not reads_units(config):
            if encoder is not None:
                message = f"unit_encoder {encoder}: the model reads audio, not discrete units"
                raise UserError(message, "leave unit_encoder out")
            return None
        unit_files(config, model_dir)
        layout = InputLayout.of((config.get("frontend_conf") or {}).get("layout"))
        units = UnitInput.from_pretrained(model_dir, model_dir, device, encoder)
        return cls(units, layout, str(model_dir), text_warning(config, model_dir))

    def check_times(self, requested: Iterable[bool]) -> None:
        """Raise `UserError` if token times are requested."""
        if any(requested):
            raise UserError(
                "times: a model that reads discrete units has no token times: SentencePiece, and "
                "removed repeats, hide the durations of units",
                "leave times out, or decode with a system that reads audio",
            )

    @property
    def sample_rate(self) -> int:
        """The sample rate that audio must have, in Hz."""
        return self.units.sample_rate

    def is_too_short(self, samples: int) -> bool:
        """Return whether a number of samples (at `sample_rate`) makes no unit."""
        if samples >= self.sample_rate:
            return False
        return samples == 0 or not len(self.units.extractor(torch.zeros(samples)))

    def speech(self, waves: Sequence[torch.Tensor], names: Sequence[str]) -> list[torch.Tensor]:
        """Return the input ids (L,) of waveforms (S,); none if a waveform is too short.

        Args:
            names: how errors name each waveform: "a.wav: ".

        Raises:
            UserError: names a waveform that the encoder cannot read, or that exceeds the memory.
        """
        ids = [torch.zeros(0, dtype=torch.long) for _ in waves]
        vocabulary = self.units.vocabulary
        long_enough = [i for i, wave in enumerate(waves) if wave.numel()]
        lengths = [waves[i].numel() for i in long_enough]
        for batch in batches_of(lengths, int(BATCH_SECONDS * self.sample_rate)):
            numbers = [long_enough[position] for position in batch]
            rows = self._extract([waves[i] for i in numbers], [names[i] for i in numbers])
            for i, units in zip(numbers, rows, strict=True):
                if len(units):
                    ids[i] = torch.tensor(vocabulary.unit_ids(units))
        return ids

    def _extract(self, waves: Sequence[torch.Tensor], names: Sequence[str]) -> list[np.ndarray]:
        """Return the units of a batch; if it fails, those of its halves."""
        keep = self.units.vocabulary.source.repeats == KEEP
        try:
            return self.units.extractor.batch(waves, keep_repeats=keep)
        except UserError as error:
            if len(waves) == 1:
                raise UserError(f"{names[0]}{error.message}", error.remedy) from None
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(waves) == 1:
                seconds = waves[0].numel() / self.sample_rate
                message = f"{names[0]}out of memory on units of {seconds:.0f} s of audio"
                raise UserError(message, "cut the audio") from None
        middle = len(waves) // 2
        first = self._extract(waves[:middle], names[:middle])
        return [*first, *self._extract(waves[middle:], names[middle:])]

    def text(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """Return the input ids (L,) of texts, up-sampled as in training."""
        if isinstance(texts, str):
            raise UserError(f"texts: {texts!r} is not a list", "give a list of texts")
        if self._text_warning:
            say(f"warning: {self._text_warning}")
            self._text_warning = ""
        rows = [self.units.text(normalize(text), self.layout.upsample) for text in texts]
        unknown = [i for i, row in enumerate(rows) if row and set(row) == {UNKNOWN_ID}]
        if unknown:
            first = texts[unknown[0]]
            say(
                f"warning: {len(unknown)} of {len(rows)} texts have no token of the vocabulary, so "
                f"their transcripts are random; the first: {first[:60]!r}"
            )
        return [torch.tensor(row, dtype=torch.long) for row in rows]
