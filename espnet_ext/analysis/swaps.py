"""Encoder swaps: every decoder on every encoder, directly and through a fitted linear map."""

from collections.abc import Mapping
from typing import Any

from espnet_ext.analysis import definition
from espnet_ext.analysis.definition import Analysis, Output, Result
from espnet_ext.document import (
    Column,
    Section,
    interval,
    number,
    signed_with_interval,
    speaker_caveats,
)

ERRORS = Output(
    "Decoders on other systems' encoders",
    "Error rate of a decoder that reads the encoder of another system. “Direct”: the hidden states "
    "as they are; “stitched”: through a linear map fitted to training data. R² is the share of the "
    "variance of the decoder's own encoder states that the map predicts. “Minus unswapped”: the "
    "difference to the decoder on its own encoder in percentage points, paired by speaker.",
)


def run(
    models: Mapping[str, str],
    data: str,
    train: str,
    *,
    config: str | None,
    nlsyms_txt: str | None = None,
    **options: Any,
) -> Result:
    """Decode with every pair of encoder and decoder (`computation.encoder_swaps`)."""
    from espnet_ext.analysis.computation.encoder_swaps import swap
    from espnet_ext.decoding.options import read_options
    from espnet_ext.text.tokenizers import read_symbols

    search = read_options(config) if config else {}
    symbols = read_symbols(nlsyms_txt) if nlsyms_txt else ()
    return swap(models, data, train, search, symbols=symbols, **options)


def section(result: Mapping[str, Any]) -> Section:
    """Return the error rates and what each swap shows."""
    columns: dict[str, Column] = {
        "output": "output",
        "decoder of": "decoder",
        "encoder of": encoder_name,
        "connection": "connection",
        "error %": lambda row: number(row["rate"]),
        "95 %": lambda row: interval(row["interval"]),
        "minus unswapped": _minus_unswapped,
        "R²": lambda row: number(row["r2"]),
    }
    rows = sorted(result["rows"], key=lambda row: (row["output"], row["decoder"]))
    sizes = (
        f"{result['utterances']} utterances; maps fitted to {result['train_utterances']} training "
        "utterances"
    )
    caveats = [sizes, *speaker_caveats(result.get("speakers"))]
    table = ERRORS.table(columns, rows, text_columns=4, caveats=caveats, details=True)
    return Section("Encoder swaps", _findings(result), [table], topic="models")


def encoder_name(row: Mapping) -> str:
    """Return the system whose encoder is read, with the output if it serves only this one."""
    return " ".join(filter(None, [row["encoder"], row.get("encoder_output")]))


def _findings(result: Mapping) -> list[str]:
    """Say for each stitched pair what its error rates show."""
    by_key = {
        (r["output"], r["decoder"], encoder_name(r), r["connection"]): r for r in result["rows"]
    }
    unswapped_rows = {
        (r["output"], r["decoder"]): r for r in result["rows"] if r["connection"] == "unswapped"
    }
    findings = []
    for (output, decoder, encoder, connection), row in by_key.items():
        unswapped = unswapped_rows.get((output, decoder))
        if (
            connection != "stitched"
            or unswapped is None
            or row["rate"] is None
            or unswapped["rate"] is None
        ):
            continue
        direct = by_key.get((output, decoder, encoder, "direct"))
        text = f"The {output} decoder of {decoder} on the encoder of {encoder}: error "
        if direct is not None and direct["rate"] is not None:
            text += f"{number(direct['rate'])} % directly, "
        text += f"{number(row['rate'])} % through a linear map, "
        text += f"{number(unswapped['rate'])} % on its own encoder"
        gap, gain = row.get("minus_unswapped"), row.get("minus_direct")
        if gap is not None and gap["interval"][0] > 0:
            text += "; a gap remains, so some information may not be linearly available."
        elif gain is not None and gain["interval"][1] < 0:
            text += "; the information is available in other coordinates."
        elif gap is not None:
            text += "; the interval of the difference includes zero."
        else:
            text += "; the difference has no interval."
        findings.append(text)
    return findings


def _minus_unswapped(row: Mapping) -> str:
    difference = row.get("minus_unswapped")
    if difference is None:
        return "–"
    return signed_with_interval(difference["difference"], difference["interval"])


ANALYSIS = Analysis(
    name="swaps",
    description="every decoder on every encoder, directly and through a linear map",
    inputs=[
        definition.MODELS,
        definition.DATA,
        definition.TRAINING_DATA,
        definition.DECODING_CONFIG,
        definition.SYMBOLS,
    ],
    options=[definition.max_utterances(100), definition.max_train(500)],
    outputs=[ERRORS],
    run=run,
    section=section,
    result_files=["analysis/swaps.json"],
    min_systems=2,
    requested_by="swaps",
    uses_device=True,
    plain_heads=True,
)
