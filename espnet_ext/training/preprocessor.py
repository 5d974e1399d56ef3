"""Prepare an utterance for a batch: augment speech, turn transcripts into token ids."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from espnet_ext.data.record import NA
from espnet_ext.model import espnet
from espnet_ext.model.config import TEXT_PREFIX, UNLABELLED, OutputConfig
from espnet_ext.text.tokenizers import UNK, build_tokenizer
from espnet_ext.text.unicode import normalize


class OutputsPreprocessor:
    """Turn the transcript of every output into token ids, by its tokenizer and token list.

    An unlabelled output (`<na>`) becomes a row with the single id −2, which losses leave out.

    Args:
        outputs: options of each output, with token lists.
        train: whether augmentation applies.
        speech: options of ESPnet's CommonPreprocessor (RIR, noise, volume); empty for none.
    """

    def __init__(self, outputs: Mapping[str, OutputConfig], train: bool, speech: Mapping[str, Any]):
        self.train = train
        self.tokenizers = {}
        self.ids = {}
        for name, output in outputs.items():
            self.tokenizers[name] = build_tokenizer(output.token_type, output.bpemodel)
            self.ids[name] = {token: i for i, token in enumerate(output.token_list or ())}
        # ESPnet's module takes seconds to import, and only augmentation needs it.
        self.speech = espnet.load("CommonPreprocessor")(train=train, **speech) if speech else None

    def __call__(self, utt_id: str, data: dict[str, Any]) -> dict[str, np.ndarray]:
        if self.speech is not None:
            data = self.speech(utt_id, data)
        if "speech" in data:
            data["speech"] = np.asarray(data["speech"], dtype=np.float32)
        for name in self.tokenizers:
            key = TEXT_PREFIX + name
            if key in data:
                data[key] = self.encode(name, data[key])
        return data

    def encode(self, name: str, text: str) -> np.ndarray:
        """Return the token ids (L,) of a transcript; for `<na>` or no text the unlabelled row."""
        text = normalize(text)
        if text == NA:
            return np.array([UNLABELLED], dtype=np.int64)
        ids = self.ids[name]
        unk = ids[UNK]
        row = [ids.get(token, unk) for token in self.tokenizers[name].encode(text)]
        return np.array(row or [UNLABELLED], dtype=np.int64)
