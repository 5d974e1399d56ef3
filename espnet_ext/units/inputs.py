"""Speech and text as input ids of a model with a joint vocabulary: `UnitInput`."""

from collections.abc import Sequence
from pathlib import Path

from espnet_ext.units.extractor import Samples, UnitExtractor
from espnet_ext.units.sequences import KEEP, upsample
from espnet_ext.units.vocabulary import JointVocabulary, UnitSource


class UnitInput:
    """Maps waveforms and text to input ids.

    Args:
        extractor: waveforms to units.
        vocabulary: units and text to ids.
        where: names the extractor in errors.

    Raises:
        UserError: if the vocabulary is for other units.
    """

    def __init__(self, extractor: UnitExtractor, vocabulary: JointVocabulary, where: str = "units"):
        source = UnitSource(extractor.digest, extractor.model.sizes, vocabulary.source.repeats)
        vocabulary.require_units(source, where)
        self.extractor = extractor
        self.vocabulary = vocabulary

    @classmethod
    def from_pretrained(
        cls,
        units: str | Path,
        vocabulary: str | Path,
        device: str = "cpu",
        encoder: str | None = None,
    ) -> "UnitInput":
        """Load a k-means and a joint vocabulary.

        Args:
            units: folder that `espnet-ext learn_kmeans` wrote.
            vocabulary: folder that `espnet-ext unit_tokens` wrote.
            device, encoder: see `UnitExtractor.from_pretrained`.
        """
        extractor = UnitExtractor.from_pretrained(units, device, encoder)
        return cls(extractor, JointVocabulary.read(vocabulary), str(units))

    @property
    def sample_rate(self) -> int:
        """The sample rate of waveforms, in Hz."""
        return self.extractor.sample_rate

    def speech(self, waves: Sequence[Samples], names: Sequence[str] = ()) -> list[list[int]]:
        """Return the input ids of waveforms (S,) at `sample_rate`.

        Args:
            names: names of the waveforms, for errors.

        Raises:
            UserError: if a waveform is too short for one unit.
        """
        keep = self.vocabulary.source.repeats == KEEP
        units = self.extractor.batch(waves, keep_repeats=keep)
        names = names or [f"audio {i + 1}" for i in range(len(waves))]
        pairs = zip(units, names, strict=True)
        return [self.vocabulary.unit_ids(row, name) for row, name in pairs]

    def text(self, text: str, factor: int = 1) -> list[int]:
        """Return the input ids of a text, each repeated `factor` times."""
        return upsample(self.vocabulary.text_ids(text), factor)
