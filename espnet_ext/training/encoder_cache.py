"""Cache of a frozen encoder's output on disk: encode once, then train heads only.

With `encoder_cache: FOLDER`, training encodes every utterance once, and then reads encoder output
instead of audio. Losses are those of a training without the cache whose encoder is in evaluation
mode. A cache belongs to one encoder and one set of recordings: its name is a digest of both, so
that several systems with the same encoder share it, and a changed encoder or recording gets a new
one.

Symbols: B utterances, S samples, T encoder frames, D encoder size.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from espnet_ext.data.arks import read_arrays, write_arrays
from espnet_ext.data.audio import audio_info, source_file
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.files import read_json, sha256_of, write_json
from espnet_ext.model.checksums import sha256_of_tensors
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.progress import say, track
from espnet_ext.training.reading import report_unreadable

BATCH_SAMPLES = 480000  # of a batch while the cache is written, with padding
# Parts of a model up to the encoder output.
PARTS = ("frontend", "normalize", "preencoder", "encoder", "postencoder")
_AUGMENTATIONS = ("rir_scp", "noise_scp", "speech_volume_normalize", "narrowband_prob")
_REMOVE = "or remove encoder_cache"


def settings_of(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the encoder output depends on, besides weights and audio."""
    settings: dict[str, Any] = {"input_size": configuration.get("input_size")}
    for part in PARTS:
        conf = configuration.get(f"{part}_conf") or {}
        # The weights that `model` names are in the digest of the model's weights.
        plain = {key: value for key, value in conf.items() if key not in ("model", "revision")}
        settings[part] = [configuration.get(part), plain]
    return settings


def use_cache(
    folder: str | Path,
    model: DualOutputModel,
    factories: Sequence[Any],
    settings: Mapping[str, Any],
) -> None:
    """Make data sets return encoder output instead of audio, and the model read it.

    Encoder output that is not in the cache is written first.

    Args:
        folder: folder of the cache.
        model: model with its initial weights.
        factories: ESPnet's iterator factories of the training and the validation set.
        settings: `settings_of` the training's configuration.

    Raises:
        UserError: if training would change the encoder or its input.
    """
    _check(model, factories)
    settings = {**settings, "precision": precision_of(model)}
    text = json.dumps(settings, sort_keys=True, default=str)
    digest = hashlib.sha256(f"{text} {encoder_digest(model)}".encode()).hexdigest()
    for factory in factories:
        dataset = factory.dataset
        scp = _write(dataset, Path(folder).resolve() / digest[:16], model)
        if dataset.cache is not None:
            dataset.cache.clear()  # of audio
        dataset.loader_dict["speech"] = read_arrays(scp)
        dataset.debug_info["speech"] = (str(scp), "kaldi_ark")
        report_unreadable(dataset)
    model.reads_encoder_output = True


def precision_of(model: DualOutputModel) -> str:
    """Return the device and the number format in which the encoder output is computed.

    `cpu_autocast` acts on the CPU only. The encoder output is computed without automatic mixed
    precision (`use_amp`).
    """
    device = next(model.parameters()).device.type
    if device == "cpu":
        return f"cpu {model.autocast_dtype or torch.float32}"
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return f"{device} {torch.float32}, TF32 in products and convolutions: {tf32}"


def encoder_parameters(model: DualOutputModel) -> dict[str, torch.nn.Parameter]:
    """Return the parameters up to the encoder output, by name."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.partition(".")[0] in PARTS
    }


def check_frozen(model: DualOutputModel) -> None:
    """Raise `UserError` if a parameter up to the encoder output is trained."""
    trained = [name for name, p in encoder_parameters(model).items() if p.requires_grad]
    if trained:
        more = f" and {len(trained) - 1} more" if len(trained) > 1 else ""
        raise UserError(
            f"encoder_cache: {trained[0]}{more} would be trained, and the cached encoder output "
            "would no longer be that of the encoder",
            "freeze the encoder in all epochs (freeze_param: [encoder], or finetune_conf: "
            f"freeze_epochs of at least max_epoch), {_REMOVE}",
        )


def encoder_digest(model: DualOutputModel) -> str:
    """Return a SHA-256 of the weights and statistics up to the encoder output."""
    state = model.state_dict()
    tensors = {name: state[name] for name in state if name.partition(".")[0] in PARTS}
    return sha256_of_tensors(tensors).hex()


def _check(model: DualOutputModel, factories: Sequence[Any]) -> None:
    """Raise `UserError` if the encoder output of an utterance is not the same in every epoch."""
    objective = model.objective
    reasons = {
        "specaug changes the encoder's input in every epoch": model.specaug is not None,
        f"audio is augmented in every epoch ({', '.join(_AUGMENTATIONS)})": any(
            _augments(getattr(getattr(factory, "dataset", None), "preprocess", None))
            for factory in factories
        ),
        "conditioning changes the encoder's output": model.conditioning is not None,
        "the encoder reads labels, or runs once per output": bool(model.conditions)
        or getattr(model.encoder, "needs_pass_per_output", False),
        "ctc_layer reads an intermediate layer": getattr(model, "reads_layers", False),
        "the objective reads the encoder's layers": objective is not None
        and objective.needs_layers,
        "the encoder masks hidden states in every epoch (mask_time_prob, mask_feature_prob)": (
            getattr(model.encoder, "masks_states", False)
        ),
        "this iterator_type is not supported": not all(
            hasattr(factory, "dataset") for factory in factories
        ),
        "trainings of several processes are not supported": torch.distributed.is_initialized(),
    }
    for reason, is_true in reasons.items():
        if is_true:
            raise UserError(f"encoder_cache: {reason}", f"switch it off, {_REMOVE}")
    rates = [m.p for m in model.encoder.modules() if isinstance(m, torch.nn.Dropout)]
    rates += [getattr(model.encoder, key, 0.0) for key in ("dropout", "layerdrop")]
    if any(isinstance(rate, float) and rate > 0 for rate in rates):
        say("note: encoder_cache: the encoder output is cached without the encoder's dropout")


def _augments(preprocess: Any) -> bool:
    """Return whether a preprocessor changes audio; None changes none."""
    has_narrowband = getattr(preprocess, "narrowband_prob", 0.0) > 0
    return getattr(preprocess, "speech", None) is not None or has_narrowband


def _write(dataset: Any, folder: Path, model: DualOutputModel) -> Path:
    """Write the encoder output of a data set, unless it is there; return the path of its scp."""
    table = dataset.debug_info["speech"][0]
    sources = read_table(table)
    target = folder / _recordings_key(table, sources)
    scp, ark, record = (target.with_suffix(suffix) for suffix in (".scp", ".ark", ".json"))
    about = f"encoder output of {table}, {len(sources)} utterances"
    if scp.is_file() and ark.is_file() and record.is_file():
        if read_json(record)["bytes"] == ark.stat().st_size:
            say(f"{scp}: {about}, is used again")
            return scp
        say(f"note: {ark}: its size is not that of the complete file: it is written again")
    folder.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    write_arrays(target, _encode(dataset, sources, model))
    size = ark.stat().st_size
    write_json(record, {"table": table, "utterances": len(sources), "bytes": size})
    say(f"{scp}: wrote the {about}, {size / 1e6:.1f} MB")
    return scp


def _recordings_key(table: str, sources: Mapping[str, str]) -> str:
    """Return a digest of the ids and the content of recordings."""
    digest = hashlib.sha256()
    contents: dict[str, str] = {}
    for utt_id, source in track(sorted(sources.items()), f"digests of {table}"):
        file = source_file(source)
        if not file:
            raise UserError(
                f"{table}: {utt_id}: encoder_cache cannot read audio of a command",
                "run stage 3, which writes audio files",
            )
        if file not in contents:
            try:
                contents[file] = sha256_of(file)
            except OSError as error:
                raise UserError(
                    f"{table}: {utt_id}: {file}: {error.strerror}", "run stage 3 again"
                ) from None
        digest.update(f"{utt_id} {contents[file]}{source.removeprefix(file)}\n".encode())
    return digest.hexdigest()[:16]


@torch.no_grad()
def _encode(
    dataset: Any, sources: Mapping[str, str], model: DualOutputModel
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the ids and encoder outputs (T, D) of all utterances, the shortest first."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for batch in track(_batches(sources), "encoder output, batches"):
            waves = [torch.from_numpy(dataset[utt_id][1]["speech"]) for utt_id in batch]
            lengths = torch.tensor([len(wave) for wave in waves])
            speech = pad_sequence(waves, batch_first=True)  # (B, S)
            encoded = model.encode(
                speech.to(device), lengths.to(device), EncoderRequest(batch_invariant=True)
            )
            states, frames = encoded.shared()  # (B, T, D), (B,)
            for utt_id, state, count in zip(batch, states, frames.tolist(), strict=True):
                yield utt_id, state[:count].float().cpu().numpy()
    finally:
        model.train(was_training)


def _batches(sources: Mapping[str, str]) -> Sequence[Sequence[str]]:
    """Return the utterances in batches of similar length."""
    lengths = {utt_id: audio_info(source).frames for utt_id, source in sources.items()}
    batches: list[list[str]] = [[]]
    for utt_id in sorted(lengths, key=lambda utt_id: (lengths[utt_id], utt_id)):
        if batches[-1] and (len(batches[-1]) + 1) * lengths[utt_id] > BATCH_SAMPLES:
            batches.append([])
        batches[-1].append(utt_id)
    return batches
