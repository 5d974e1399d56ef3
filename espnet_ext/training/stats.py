"""Write shape files (stage 10): the lengths of speech and text that batch samplers need.

All systems of a language use the same shape files. Lengths are read from audio headers and token
counts. The numbers are those of ESPnet's `--collect_stats` (a test compares them), but no audio is
decoded. Mean and variance of features need the audio: ESPnet computes them, see `run.py`.
"""

from collections.abc import Mapping
from pathlib import Path

from espnet_ext.data.audio import audio_info
from espnet_ext.data.table import read_table, write_table
from espnet_ext.errors import UserError
from espnet_ext.model.config import TEXT_PREFIX, OutputConfig
from espnet_ext.progress import track
from espnet_ext.training.preprocessor import OutputsPreprocessor
from espnet_ext.units.input_set import INPUTS, parse_ids


def write_shapes(
    dump: Path,
    outputs: Mapping[str, OutputConfig],
    stats: Path,
    vocabulary_size: int | None = None,
) -> int:
    """Write `speech_shape` and `text_<output>_shape` of a dumped set.

    Args:
        vocabulary_size: number of input ids, if the input is discrete units; None: it is audio.
    Returns:
        The number of utterances.
    """
    preprocess = OutputsPreprocessor(outputs, train=False, speech={})
    table = dump / ("wav.scp" if vocabulary_size is None else INPUTS)
    speech = read_table(table, empty_ok=True)
    if not speech:
        raise UserError(
            f"{table}: no utterances",
            f"see {dump / 'removed.tsv'} for the utterances that stage 4 removed",
        )

    def length(utt_id: str, source: str) -> int:
        if vocabulary_size is None:
            return audio_info(source).frames
        return len(parse_ids(source, vocabulary_size, f"{table}: {utt_id}"))

    lengths = {
        utt_id: str(length(utt_id, source))
        for utt_id, source in track(speech.items(), f"lengths of {dump.name}")
    }
    write_table(stats / "speech_shape", lengths)
    for name in outputs:
        texts = read_table(dump / f"text.{name}")
        different = set(texts) ^ set(speech)
        if different:
            raise UserError(
                f"{dump}: {table.name} and text.{name} differ, first in {min(different)}",
                "run stage 4 again: it writes a row per utterance into every text file"
                if vocabulary_size is None
                else "write the set again: espnet-ext unit_inputs",
            )
        shapes = {
            utt_id: f"{len(preprocess.encode(name, text))},{len(preprocess.ids[name])}"
            for utt_id, text in texts.items()
        }  # tokens,vocabulary size: as in ESPnet's recipes; ESPnet's samplers multiply the two
        write_table(stats / f"{TEXT_PREFIX}{name}_shape", shapes)
    return len(speech)
