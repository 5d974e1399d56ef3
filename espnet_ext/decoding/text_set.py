"""Decode the transcripts of a set instead of its audio: surface text is mapped to meaning text."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.finished import FinishedResults
from espnet_ext.decoding.search import Result
from espnet_ext.decoding.set_decoder import SetDecoder
from espnet_ext.errors import UserError
from espnet_ext.model.unit_frontend import TEXT_OUTPUT, reads_units


def read_texts(data: str, output: str) -> dict[str, str]:
    """Return the transcripts text.<output> of a data directory by utterance id.

    Unlabelled utterances are left out.

    Raises:
        UserError: if there is no such file, or no transcript in it.
    """
    path = Path(data) / f"text.{output}"
    if not path.is_file():
        raise UserError(f"{path}: no such file", "--text_input names the output whose text is read")
    texts = {utt: text for utt, text in read_table(path, empty_ok=True).items() if text != NA}
    if not texts:
        raise UserError(f"{path}: no transcripts", "give a set with transcripts of that output")
    return texts


def outputs_of_text(
    config: Mapping[str, Any], model_dir: str, text_input: str, outputs: Sequence[str] | None
) -> list[str]:
    """Return the outputs to decode: those requested, or all outputs but that of the text.

    Raises:
        UserError: if the model reads audio, was trained on the transcripts of another output, has
            no further output, or the output of the text is requested.
    """
    if not reads_units(config):
        raise UserError(
            f"{model_dir}: reads audio, and --text_input {text_input} is text",
            "use a system with frontend: units that was trained on text",
        )
    layout = (config.get("frontend_conf") or {}).get("layout") or {}
    trained = layout.get(TEXT_OUTPUT) or text_input
    if trained != text_input:
        raise UserError(
            f"{model_dir}: was trained on transcripts of {trained}, not of {text_input}",
            f"--text_input {trained}",
        )
    if outputs is not None:
        if text_input in outputs:
            message = f"--text_input {text_input}: {text_input} is an output to decode, too"
            raise UserError(message, "leave it out of --outputs")
        return list(outputs)
    others = [name for name in config["outputs"] if name != text_input]
    if not others:
        raise UserError(
            f"{model_dir}: its only output is {text_input}, which is the input",
            "use a system with another output, such as meaning",
        )
    return others


class TextSetDecoder(SetDecoder):
    """Maps the transcripts of a set to those of other outputs, for a model that reads units.

    Args:
        recogniser: the recogniser, which reads text too.
        texts: utterance id → transcript. An empty one has empty results.
        finished: results of an interrupted decoding, and where new ones are kept.
        conditions: condition that the model reads → utterance id → label.
    """

    def __init__(
        self,
        recogniser: DualSpeech2Text,
        texts: Mapping[str, str],
        finished: FinishedResults,
        conditions: Mapping[str, Mapping[str, str]],
    ):
        super().__init__(recogniser, dict.fromkeys(texts, ""), 0.0, finished, conditions, {})
        self.texts = texts

    def counts(self) -> dict[str, Any]:
        """Return counts and seconds; there is no real-time factor without audio."""
        return {**super().counts(), "rtf": None}

    def _lengths(self) -> dict[str, float]:
        return {utt_id: float(len(text)) for utt_id, text in self.texts.items()}

    def _read(self, utt_ids: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the texts that are not decoded yet, and the digests of all, by utterance."""
        texts = {utt_id: self.texts[utt_id] for utt_id in utt_ids}
        digests = {
            utt_id: self._digest(utt_id, hashlib.sha256(text.encode()).hexdigest())
            for utt_id, text in texts.items()
        }
        return {
            u: text for u, text in texts.items() if not self._is_finished(u, digests[u])
        }, digests

    def _decode(self, inputs: Mapping[str, Any]) -> list[Result]:
        return self.recogniser.texts(list(inputs.values()), self._labels_of(inputs))
