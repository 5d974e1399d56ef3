"""What the measurements of a pre-trained Whisper share: times, audio, transformers' network."""

import argparse
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS, TRANSFORMERS, FASTER_WHISPER = "ours", "transformers", "faster-whisper"
PROMPT = ("<|startoftranscript|>", "<|{}|>", "<|transcribe|>", "<|notimestamps|>")
SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Seconds:
    """Time of this process and of its finished children."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> "Seconds":
        usages = [
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        return cls(cpu, time.perf_counter())

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.cpu + other.cpu, self.wall + other.wall)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.cpu - other.cpu, self.wall - other.wall)


def load_transformers(checkpoint: Path) -> tuple[Any, Any]:
    """Return Whisper's network and feature extractor."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    network = transformers.WhisperForConditionalGeneration.from_pretrained(checkpoint)
    return network.eval(), transformers.WhisperFeatureExtractor.from_pretrained(checkpoint)


def prompt_ids(tokenizer: Any, language: str) -> list[int]:
    """Return the token ids that Whisper's decoder starts with."""
    return [tokenizer.token_to_id(token.format(language)) for token in PROMPT]


def read_utterances(options: argparse.Namespace) -> tuple[list, dict[str, list[str]]]:
    """Return samples (S,) of the first utterances of a set, longest first, and their references."""
    from espnet_ext.data.audio import load_audio
    from espnet_ext.data.table import read_table

    sources = read_table(options.data / "wav.scp")
    loaded = {
        utt: load_audio(sources[utt], SAMPLE_RATE)[0] for utt in sorted(sources)[: options.limit]
    }
    ids = sorted(loaded, key=lambda utt: -len(loaded[utt]))
    references = {
        path.suffix[1:]: [table[utt] for utt in ids]
        for path in options.data.glob("text.*")
        if (table := read_table(path))
    }
    return [loaded[utt].astype("float32") for utt in ids], references
