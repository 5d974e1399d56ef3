"""Name the utterances that a pre-trained network cannot read, before the first epoch.

Whisper has positions for 30 s of speech and for 448 tokens, mBART for 1024 input ids. Without this
check, training would end in the middle of an epoch (espnet/espnet issue 5491).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.input_tokens import InputTokens
from espnet_ext.model.config import TEXT_PREFIX
from espnet_ext.model.dual import DualOutputModel

SHOWN = 20  # utterances that the error names per table


@dataclass(frozen=True)
class _Limit:
    """The longest input that a part of a model can read.

    Attributes:
        data_name: "speech" or "text_<output>".
        length: length in samples or tokens.
        per_unit: samples or tokens per unit.
        unit: what the message counts.
        remedy: what to do with longer inputs.
    """

    data_name: str
    length: int
    per_unit: int
    unit: str
    remedy: str


def check_lengths(
    model: DualOutputModel, sets: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]]
) -> None:
    """Raise `UserError` if utterances are longer than frontend, encoder or a decoder can read.

    A frontend declares its limit as `max_samples`, an encoder of text as `max_length`, a decoder as
    `max_tokens`.

    Args:
        sets: per set, the shape files, and ESPnet's (path, name, type) of every table.
    """
    problems, remedies = [], []
    for shape_files, tables in sets:
        shapes = {Path(path).name: path for path in shape_files}
        paths = {name: path for path, name, *_ in tables}
        for limit in _limits(model):
            shape_file = shapes.get(f"{limit.data_name}_shape")
            if shape_file is None:
                continue
            lengths = {
                utt_id: int(shape.split(",")[0]) for utt_id, shape in read_table(shape_file).items()
            }
            too_long = {i: length for i, length in lengths.items() if length > limit.length}
            if too_long:
                problems.append(_message(paths.get(limit.data_name, shape_file), too_long, limit))
                remedies.append(limit.remedy)
    if problems:
        raise UserError("; ".join(problems), "; ".join(dict.fromkeys(remedies)))


def _limits(model: DualOutputModel) -> Iterator[_Limit]:
    samples = getattr(model.frontend, "max_samples", None)
    if model.frontend is not None and samples is not None:
        rate = model.frontend.rate
        remedy = f"remove them in stage 4 (run.sh --max_wav_duration {samples / rate:g})"
        yield _Limit("speech", samples, rate, "s", remedy)
    ids = getattr(model.encoder, "max_length", None)
    if ids is not None:
        ids -= isinstance(model.conditioning, InputTokens)  # it adds a guiding token
        remedy = f"write the sets again: espnet-ext unit_inputs --max_length {ids}"
        yield _Limit("speech", ids, 1, "input ids", remedy)
    for name, head in model.heads.items():
        tokens = getattr(head.decoder, "max_tokens", None)
        if tokens is not None:
            remedy = f"remove the utterances, or write {NA} as their transcripts of {name}"
            yield _Limit(TEXT_PREFIX + name, tokens, 1, "tokens", remedy)


def _message(path: str, lengths: dict[str, int], limit: _Limit) -> str:
    """Return a sentence that names the utterances of a table that are too long."""
    longest_first = sorted(lengths, key=lambda utt_id: (-lengths[utt_id], utt_id))
    listed = ", ".join(
        f"{utt_id} ({lengths[utt_id] / limit.per_unit:.7g} {limit.unit})"
        for utt_id in longest_first[:SHOWN]
    )
    more = f", and {len(lengths) - SHOWN} more" if len(lengths) > SHOWN else ""
    what = "utterance is" if len(lengths) == 1 else "utterances are"
    longest = f"{limit.length / limit.per_unit:g} {limit.unit}"
    return (
        f"{path}: {len(lengths)} {what} longer than the {longest} that the pre-trained model "
        f"reads: {listed}{more}"
    )
