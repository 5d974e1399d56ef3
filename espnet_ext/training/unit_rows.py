"""Input ids of a model that reads discrete units: check them, and add noise in training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from espnet_ext.model.config import check_count, check_keys, check_smoothing
from espnet_ext.model.unit_frontend import InputLayout, reads_units
from espnet_ext.units.input_set import check_ids
from espnet_ext.units.sequences import drop_randomly, mask_spans, replace_randomly


@dataclass(frozen=True)
class UnitAugmentation:
    """Changes of the input ids in training. Shares are from 0 to below 1."""

    mask: float = 0.0  # share of ids that become <mask>, in spans
    mask_span: int = 5  # length of a span
    replace: float = 0.0  # share that becomes another id of the same modality
    drop: float = 0.0  # share that is left out

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "UnitAugmentation":
        """Return the options in a configuration; `UserError` if one is not valid."""
        where = "unit_augment_conf"
        check_keys(values, list(cls.__dataclass_fields__), where)
        for name, value in values.items():
            check = check_count if name == "mask_span" else check_smoothing
            check(value, f"{where}.{name}", *((1,) if name == "mask_span" else ()))
        return cls(**values)


class UnitRows:
    """Checks the input ids of utterances, and changes them in training.

    Args:
        layout: layout of the joint vocabulary.
        augmentation: None: ids stay as they are.
    """

    def __init__(self, layout: InputLayout, augmentation: UnitAugmentation | None):
        self.layout = layout
        self.augmentation = augmentation

    def __call__(self, ids: np.ndarray, utt_id: str) -> np.ndarray:
        """Return the input ids (L,) of an utterance."""
        row = np.asarray(ids).astype(np.int64).tolist()
        check_ids(row, self.layout.tokens, utt_id)
        if self.augmentation is not None:
            # ESPnet seeds this generator in every worker process.
            random = np.random.default_rng(np.random.randint(2**31))
            row = self._augmented(row, self.augmentation, random)
        return np.array(row, dtype=np.int64)

    def _augmented(
        self, row: list[int], options: UnitAugmentation, random: np.random.Generator
    ) -> list[int]:
        """Return ids with noise. Ids that are neither units nor text, such as symbols, stay."""
        if options.replace:
            for first, end in (self.layout.units, self.layout.text):
                if end > first:
                    noisy = replace_randomly(row, options.replace, first, end - 1, random)
                    pairs = zip(row, noisy, strict=True)
                    row = [new if first <= old < end else old for old, new in pairs]
        if options.mask:
            masked = mask_spans(row, options.mask, options.mask_span, self.layout.mask, random)
            pairs = zip(row, masked, strict=True)
            row = [new if self._is_content(old) else old for old, new in pairs]
        return drop_randomly(row, options.drop, random) if options.drop else row

    def _is_content(self, item: int) -> bool:
        ranges = (self.layout.units, self.layout.text)
        return any(first <= item < end for first, end in ranges)


def unit_rows(config: Mapping[str, Any], train: bool) -> UnitRows | None:
    """Return what prepares the input ids of a model; None if it reads audio or features."""
    if not reads_units(config):
        return None
    conf = config.get("frontend_conf") or {}
    options = UnitAugmentation.of(config.get("unit_augment_conf") or {})
    return UnitRows(InputLayout.of(conf.get("layout")), options if train else None)
