"""Preprocess an utterance before it enters a batch: augment its audio, encode its transcripts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from espnet_ext.data.narrowband import NARROW, WIDE, narrowband
from espnet_ext.data.record import NA
from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.config import TEXT_PREFIX, UNLABELLED, OutputConfig
from espnet_ext.text.tokenizers import UNK, build_tokenizer
from espnet_ext.text.unicode import normalize
from espnet_ext.training.unit_rows import UnitRows


class OutputsPreprocessor:
    """Converts the transcripts of an utterance to token ids, and augments its audio.

    Each output has its own tokenizer and token list. The transcript of an unlabelled output
    (`<na>`) becomes the single id −2, which the losses ignore.

    Args:
        outputs: outputs by name, with token lists.
        train: whether to augment the audio.
        speech: options of ESPnet's CommonPreprocessor (RIR, noise, volume); empty: no augmentation.
        conditions: condition → its values (see `model.conditions`). A value becomes its position.
        narrowband_prob: probability that training makes an utterance sound like telephone speech
            (`data.narrowband`). Its band, if the model reads it, becomes `narrow`.
        sample_rate: sample rate of the audio in Hz.
        input_ids: prepares the input of a model that reads discrete units; None: it is audio or
            features.
    """

    def __init__(
        self,
        outputs: Mapping[str, OutputConfig],
        train: bool,
        speech: Mapping[str, Any],
        conditions: Mapping[str, Sequence[str]] | None = None,
        narrowband_prob: float = 0.0,
        sample_rate: int = 16000,
        input_ids: UnitRows | None = None,
    ):
        self.train = train
        self.input_ids = input_ids
        self.conditions = {name: list(values) for name, values in (conditions or {}).items()}
        is_number = isinstance(narrowband_prob, int | float)
        if not is_number or not 0 <= narrowband_prob <= 1:
            raise UserError(f"narrowband_prob: {narrowband_prob!r}", "give a number from 0 to 1")
        self.narrowband_prob = narrowband_prob if train else 0.0
        self.sample_rate = sample_rate
        if self.narrowband_prob and NARROW not in self.conditions.get("band", [NARROW]):
            raise UserError(
                f"narrowband_prob: {narrowband_prob}, but the model knows no band '{NARROW}'",
                f"write conditions: {{band: [{NARROW}, {WIDE}]}}, or set narrowband_prob: 0",
            )
        self.tokenizers = {}
        self.ids = {}
        for name, output in outputs.items():
            self.tokenizers[name] = build_tokenizer(
                output.token_type, output.bpemodel, output.token_list or ()
            )
            self.ids[name] = {token: i for i, token in enumerate(output.token_list or ())}
        # Importing ESPnet's module takes seconds, so do it only for augmentation.
        self.speech = espnet.load("CommonPreprocessor")(train=train, **speech) if speech else None

    @property
    def is_random(self) -> bool:
        """Whether random numbers are drawn for an utterance."""
        is_augmented = self.input_ids is not None and self.input_ids.augmentation is not None
        return self.speech is not None or self.narrowband_prob > 0 or is_augmented

    def __call__(self, utt_id: str, data: dict[str, Any]) -> dict[str, np.ndarray]:
        if self.speech is not None:
            data = self.speech(utt_id, data)
        if self.narrowband_prob and "speech" in data and np.random.rand() < self.narrowband_prob:
            data["speech"] = narrowband(np.asarray(data["speech"]), self.sample_rate)
            if "band" in data:
                data["band"] = NARROW
        if "speech" in data and self.input_ids is not None:
            data["speech"] = self.input_ids(data["speech"], utt_id)
        elif "speech" in data:
            data["speech"] = np.asarray(data["speech"], dtype=np.float32)
        for name in self.tokenizers:
            key = TEXT_PREFIX + name
            if key in data:
                data[key] = self.encode(name, data[key])
        for name, values in self.conditions.items():
            if name in data:
                data[name] = np.array([values.index(data[name])], dtype=np.int64)
        return data

    def encode(self, name: str, text: str) -> np.ndarray:
        """Return the token ids (L,) of a transcript; the single id −2 for `<na>` and empty text."""
        text = normalize(text)
        if text == NA:
            return np.array([UNLABELLED], dtype=np.int64)
        ids = self.ids[name]
        unk = ids[UNK]
        token_ids = [ids.get(token, unk) for token in self.tokenizers[name].encode(text)]
        return np.array(token_ids or [UNLABELLED], dtype=np.int64)
