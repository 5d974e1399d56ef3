"""Stage 12: decode a data directory.

Every utterance of wav.scp gets a row in every text.<output>, whether or not it can be decoded.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.data.conditions import read_condition
from espnet_ext.data.directory import read_sources
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.canonical_command import (
    CanonicalOptions,
    count_derived,
    read_pairs,
    use_canonical,
)
from espnet_ext.decoding.canonical_forms import CanonicalText
from espnet_ext.decoding.coupling import DEFAULT_WEIGHT
from espnet_ext.decoding.finished import FinishedResults, decoding_key
from espnet_ext.decoding.result_files import remove_old_files, write_output, write_segments
from espnet_ext.decoding.segmentation import check_seconds
from espnet_ext.decoding.set_decoder import SetDecoder
from espnet_ext.decoding.text_set import TextSetDecoder, outputs_of_text, read_texts
from espnet_ext.errors import UserError
from espnet_ext.files import write_json, write_text
from espnet_ext.model import stock
from espnet_ext.model.archive import find_model_dir
from espnet_ext.model.load import load_config
from espnet_ext.model.unit_frontend import unit_files
from espnet_ext.overwriting import OutputFolder
from espnet_ext.progress import say

MAX_NAMED_FAILURES = 3  # failures that the error message lists; the file lists all of them
FAILED = "failed"
COUPLED_OUTPUTS = ("surface", "meaning")  # what is coupled in a system with more than two outputs


def decode_directory(
    model_dir: str,
    weights: str,
    data: str,
    output_dir: str,
    options: Mapping[str, Any],
    lms: Mapping[str, str],
    device: str,
    precision: str = "float32",
    coupling: str | None = None,
    coupling_weight: float | None = None,
    canonical: CanonicalOptions | None = None,
    ngrams: Mapping[str, str] | None = None,
    segment_seconds: float = 0.0,
    outputs: Sequence[str] | None = None,
    active: str = "auto",
    espnet_defaults: bool = True,
    unit_encoder: str | None = None,
    text_input: str | None = None,
    channel: int | str | None = None,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write text.<output>, token.<output>, score.<output> and decode.json.

    With several hypotheses, nbest.<output>.json is written too, with times ctm.<output>, and with
    long audio `segments`. Utterances that cannot be decoded have empty transcripts, and are listed
    in `failed` with the reason. If the decoding is interrupted, the next one continues it (see
    `decoding.finished`).

    Args:
        model_dir: directory of a trained system, or a packed one (see `model.archive`).
        weights: name of the weights file in it.
        data: data directory to decode.
        output_dir: where the files are written.
        options: search options.
        lms: folders of language models, by output.
        device: "cpu" or "cuda".
        precision: see `DualSpeech2Text`.
        coupling: data directory whose transcripts the learner-error model is estimated from, for
            coupled re-ranking; None: no re-ranking.
        coupling_weight: weight of the consistency; None: the default.
        canonical: canonical forms that the surface is decoded with; None: without.
        ngrams: ARPA files, by output.
        segment_seconds: cut longer audio at silences into segments of at most this; 0: never.
        outputs: outputs to decode, and inline tags to expect in them; None: all.
        active: tasks that are active in the encoder, see `DualSpeech2Text`.
        espnet_defaults: whether models that ESPnet trained have its search defaults.
        unit_encoder: see `DualSpeech2Text.from_pretrained`.
        text_input: output whose transcripts, text.<output> of `data`, are decoded instead of audio
            (a model that reads units maps them to its other outputs); None: audio.
        channel: which of several channels to take: a number from 0, or "mix" for their mean.
        overwrite: replace files in `output_dir` that no earlier decoding wrote.
        provenance: command, commit and machine, for decode.json.

    Returns:
        The contents of decode.json: counts, seconds of audio and of decoding, real-time factor
        (`rtf`) and settings. `coupling`, `coupling_weight` and `canonical` are None without.

    Raises:
        UserError: if `output_dir` cannot be written, or contains other files, such as the
            transcripts of a data directory; if all audio with a canonical form would be cut; or,
            after everything is written, if utterances could not be decoded.
    """
    if segment_seconds:
        check_seconds(segment_seconds, "--segment_seconds")
    sources = read_sources(data) if text_input is None else read_texts(data, text_input)
    if not sources:
        raise UserError(f"{data}/wav.scp: no utterances", "give a dumped set")
    output_folder = _output_folder(output_dir, inputs=[data, model_dir], overwrite=overwrite)
    with output_folder as folder:  # before the model is loaded: an unwritable folder is an error
        model_dir = str(find_model_dir(model_dir))
        lms = _without_other_outputs(lms, model_dir, data)
        ngrams = _without_other_outputs(ngrams or {}, model_dir, data)
        if text_input is not None:
            outputs = outputs_of_text(load_config(model_dir), model_dir, text_input, outputs)
        recogniser = DualSpeech2Text.from_pretrained(
            model_dir,
            weights,
            device,
            lms=lms,
            ngrams=ngrams,
            precision=precision,
            only=outputs,
            active=active,
            espnet_defaults=espnet_defaults,
            unit_encoder=unit_encoder,
            channel=channel,
            **dict(options),
        )
        for name, search in recogniser.describe_search().items():
            say(f"search: {name}: {search}")
        conditions = {
            name: read_condition(data, name, values)
            for name, values in recogniser.model.condition_values.items()
        }
        _check_active(recogniser, active)
        _check_fusion(recogniser)
        if coupling is not None and len(recogniser.outputs) == 1:
            say(f"{Path(model_dir).name} only has the output {recogniser.outputs[0]}: no coupling")
            coupling = None
        if coupling is not None:
            weight = DEFAULT_WEIGHT if coupling_weight is None else coupling_weight
            names = [name for name in recogniser.outputs if name in COUPLED_OUTPUTS]
            names = names if len(recogniser.outputs) > 2 else recogniser.outputs
            texts = read_pairs(coupling, names)
            recogniser.couple(dict(zip(names, texts, strict=True)), weight)
        forms: dict[str, CanonicalText] = {}
        canonical_settings = None
        if canonical is not None:
            forms, canonical_settings = use_canonical(
                recogniser, canonical, list(sources), Path(model_dir)
            )
        settings = {
            "weights": weights,
            "outputs": recogniser.outputs,
            "active": {name: list(tasks) for name, tasks in recogniser.active.items() if tasks},
            "options": {name: vars(values) for name, values in recogniser.options.items()},
            "device": device,
            "lms": lms,
            "ngrams": ngrams,
            "precision": precision,
            "segment_seconds": segment_seconds,
            "coupling": coupling,
            "coupling_weight": recogniser.coupling.weight if recogniser.coupling else None,
            "canonical": canonical_settings,
        }
        if text_input is not None:
            settings["text_input"] = text_input
        if channel is not None:
            settings["channel"] = channel
        key = _key(recogniser, model_dir, weights, {**settings, "conditions": conditions})
        finished = FinishedResults(folder, key)
        if text_input is None:
            decoder = SetDecoder(recogniser, sources, segment_seconds, finished, conditions, forms)
        else:
            decoder = TextSetDecoder(recogniser, sources, finished, conditions)
        decoder.run(f"decoding {Path(data).name}", f"{model_dir}/{weights}")
        types = {n: recogniser.model.heads[n].options.token_type for n in recogniser.outputs}
        facts = {
            "model": Path(model_dir).name,
            **settings,
            "token_types": types,
            **decoder.counts(),
        }
        if canonical_settings is not None:
            source = recogniser.canonical.source if recogniser.canonical else None
            count = count_derived(decoder.results, source) if source else len(decoder.forms)
            facts["canonical"] = {**canonical_settings, "utterances": count}
        facts["provenance"] = dict(provenance or {})
        _write_results(folder, recogniser, decoder, facts)
        finished.remove()
        _report_failures(folder / FAILED, decoder.failures, len(sources))
    return facts


def _key(recogniser: DualSpeech2Text, model_dir: str, weights: str, settings: Any) -> str:
    """Return a digest of what the results depend on besides the audio."""
    folder, config = Path(model_dir), load_config(model_dir)
    name = stock.find_weights(folder, weights) if config.get("stock") else weights
    files = [folder / name, folder / "config.yaml"]
    files += [
        folder / head.options.bpemodel
        for head in recogniser.model.heads.values()
        if head.options.bpemodel
    ]
    stats_file = (config.get("normalize_conf") or {}).get("stats_file")
    files += [folder / stats_file] if stats_file else []
    files += [folder / name for name in unit_files(config, folder)]
    for lm in settings["lms"].values():
        files += [path for path in sorted(Path(lm).iterdir()) if path.suffix in (".pth", ".yaml")]
    files += map(Path, settings["ngrams"].values())
    lexicon = (settings["canonical"] or {}).get("lexicon")
    files += [Path(lexicon)] if lexicon else []
    tables = [recogniser.coupling.errors.table] if recogniser.coupling else []
    tables += [recogniser.canonical.errors.table()] if recogniser.canonical else []
    digests = [hashlib.sha256(table.numpy().tobytes()).hexdigest() for table in tables]
    return decoding_key(files, [settings, digests])


def _write_results(
    folder: Path, recogniser: DualSpeech2Text, decoder: "SetDecoder", facts: dict[str, Any]
) -> None:
    """Write the files of all outputs, in place of those of an earlier decoding."""
    remove_old_files(folder)
    for name in recogniser.outputs:
        has_ctc = recogniser.model.heads[name].ctc is not None
        with_times = recogniser.options[name].times and has_ctc
        if recogniser.options[name].times and not with_times:
            say(f"{name} has no CTC, which token times need: no ctm.{name}")
        write_output(folder, name, decoder.results, with_times)
    write_segments(folder / "segments", decoder.results)
    write_json(folder / "decode.json", facts)


def _output_folder(output_dir: str, inputs: Sequence[str], overwrite: bool) -> OutputFolder:
    """Return the folder to write; a data directory contains references and is protected."""
    is_data = any((Path(output_dir) / name).exists() for name in ("wav.scp", "utt2spk"))
    return OutputFolder(
        output_dir,
        "decode",
        r"(?:text|token|score|nbest|ctm)\.(?!json$).+|segments|decode\.json|failed|wav\.scp|utt2spk",
        inputs=inputs,
        overwrite=overwrite,
        evidence=() if is_data else ("decode.json",),
    )


def _without_other_outputs(models: Mapping[str, str], model_dir: str, data: str) -> dict[str, str]:
    """Remove language models of outputs that the data has and the system lacks.

    run.sh gives every system the language models of all outputs.
    """
    outputs = load_config(model_dir)["outputs"]
    unused = [
        name for name in models if name not in outputs and (Path(data) / f"text.{name}").is_file()
    ]
    for name in unused:
        say(f"{Path(model_dir).name} has no output {name}: its language model is not used")
    return {name: path for name, path in models.items() if name not in unused}


def _check_active(recogniser: DualSpeech2Text, active: str) -> None:
    """Warn about active tasks that never occurred together in training, or that do nothing."""
    conditioner = recogniser.model.conditioning
    if conditioner is None or not conditioner.uses_active:
        if active != "auto":
            say(f"--active {active} has no effect, because the model has no task vectors")
        return
    for tasks in dict.fromkeys(recogniser.active.values()):
        try:
            warning = conditioner.check_active(tasks)
        except UserError as error:
            raise UserError(f"--active {active}: {error.message}", error.remedy) from None
        if warning:
            say(f"warning: --active {active}: {warning}")


def _check_fusion(recogniser: DualSpeech2Text) -> None:
    """Raise a `UserError` for a language model that would have no effect."""
    for kind, models in (("lm", recogniser.lms), ("ngram", recogniser.ngrams)):
        for name in models:
            options = recogniser.options[name]
            if options.greedy:
                raise UserError(
                    f"--{kind} for {name}: greedy decoding does not use it",
                    f"leave out --{kind}, or --greedy",
                )
            if not getattr(options, f"{kind}_weight"):
                raise UserError(
                    f"--{kind} for {name}, but its {kind}_weight is 0",
                    f"give --config conf/decode_lm.yaml, or --{kind}_weight 0.3",
                )


def _report_failures(path: Path, failures: Mapping[str, str], total: int) -> None:
    """Write the list of failures, and raise a `UserError` if there are any."""
    path.unlink(missing_ok=True)  # of an earlier run
    if not failures:
        return
    lines = [f"{utt_id} {' '.join(why.split())}\n" for utt_id, why in sorted(failures.items())]
    write_text(path, "".join(lines))
    first = "".join(f"\n  {line.rstrip()}" for line in lines[:MAX_NAMED_FAILURES])
    more = f"\n  … all of them in {path}" if len(lines) > MAX_NAMED_FAILURES else ""
    raise UserError(
        f"{path}: {len(lines)} of {total} utterances could not be decoded, their transcripts are "
        f"empty:{first}{more}",
        "repair their audio, or remove them from wav.scp, and decode again",
    )
