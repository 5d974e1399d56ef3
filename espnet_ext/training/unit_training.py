"""Train on discrete units (`frontend: units`): the configuration, and the ratio of modalities."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.model.pretrained.text_encoder import VOCABULARY, TextEncoder
from espnet_ext.model.unit_frontend import (
    FILES,
    InputLayout,
    UnitEmbedding,
    input_guide,
    reads_units,
)
from espnet_ext.training.balance import balanced_sampler
from espnet_ext.training.config import merge
from espnet_ext.training.repeat import RepeatFactorSampler, batches_of_group, repeating_sampler
from espnet_ext.units.files import read_model
from espnet_ext.units.input_set import MANIFEST, MODALITY, TEXT, read_input_manifest
from espnet_ext.units.vocabulary import JointVocabulary, UnitSource

EMBEDDINGS = "embed"  # the part of a file of `unit_embeddings`


def add_unit_layout(
    config: Mapping[str, Any],
    sets: Collection[Path],
    joint_tokens: Path | None,
    units: Path | None,
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the configuration with the layout of the joint vocabulary.

    Args:
        config: merged configuration.
        sets: folders of training and validation set, the training set first.
        joint_tokens: folder of the joint vocabulary.
        units: folder of the k-means.
    Returns:
        The configuration, and file name → path of the files to copy to the folder of the model.

    Raises:
        UserError: if sets, vocabulary and k-means do not belong together.
    """
    if not reads_units(config):
        if joint_tokens is not None or units is not None:
            raise UserError(
                "--joint_token_dir and --units are for systems that read discrete units",
                "choose a configuration with frontend: units, such as train_units_small.yaml",
            )
        return dict(config), {}
    if joint_tokens is None or units is None:
        raise UserError(
            "frontend: units needs a joint vocabulary and a k-means",
            "give --joint_token_dir and --units",
        )
    for part in ("normalize", "specaug"):
        if config.get(part) is not None:
            raise UserError(
                f"{part}: {config[part]} changes features, but the input is ids of units",
                f"write {part}: null; unit_augment_conf masks ids",
            )
    vocabulary = JointVocabulary.read(joint_tokens)
    model = read_model(units)
    source = UnitSource(model.digest, model.sizes, vocabulary.source.repeats)
    vocabulary.require_units(source, str(units))
    factors = []
    text_input, text_output = None, ""
    for folder in sets:
        manifest = read_input_manifest(folder)
        if manifest["vocabulary_sha256"] != vocabulary.digest:
            raise UserError(
                f"{Path(folder) / MANIFEST}: its input ids are of another vocabulary than "
                f"{joint_tokens}",
                f"write the set again: espnet-ext unit_inputs --joint_token_dir {joint_tokens}",
            )
        factors.append((folder, manifest["upsample"]))
        if len(factors) == 1:  # the training set
            text_input = manifest["upsample"] is not None and manifest["text"]["utterances"] > 0
            text_output = manifest["text_output"] if text_input else ""
    upsampling = {factor for _, factor in factors if factor is not None}
    if len(upsampling) > 1:
        listed = ", ".join(f"{folder}: {factor}" for folder, factor in factors)
        message = f"the sets repeat tokens of text a different number of times: {listed}"
        raise UserError(message, "write both with the same espnet-ext unit_inputs --upsample")
    layout = InputLayout(
        len(vocabulary),
        vocabulary.mask_id,
        (vocabulary.unit_range.start, vocabulary.unit_range.stop),
        (vocabulary.text_range.start, vocabulary.text_range.stop),
        upsampling.pop() if upsampling else 1,
        vocabulary.digest,
        _guides(config, vocabulary),
        text_input,
        text_output,
    )
    files = {
        name: folder / name
        for name in FILES
        for folder in (joint_tokens, units)
        if (folder / name).is_file()
    }
    return merge(config, {"frontend_conf": {"layout": layout.as_config()}}), files


def _guides(config: Mapping[str, Any], vocabulary: JointVocabulary) -> dict[str, int]:
    """Return output → id of its guiding token in the input; empty without `input_tokens`."""
    if config.get("conditioning") != "input_tokens":
        return {}
    outputs = config.get("outputs") or {}
    return {name: vocabulary.symbol_id(input_guide(name)) for name in outputs}


def check_embeddings(model: Any, init_param: Sequence[str]) -> None:
    """Check the first embeddings of a system that reads units; other systems have none.

    Args:
        init_param: values of `--init_param`, `FILE[:SOURCE[:TARGET[:EXCLUDED]]]`.

    Raises:
        UserError: if they are of another joint vocabulary, or a pre-trained text encoder would read
            random ones.
    """
    if not isinstance(model.frontend, UnitEmbedding):
        return
    parts = [(value.split(":") + ["", ""])[:3] for value in init_param]
    files = [
        (path, source)
        for path, source, target in parts
        if "frontend.embed.".startswith(target and f"{target}.")
    ]
    for path, source in files:
        _check_vocabulary(path, source, model.frontend.layout.vocabulary_sha256)
    encoder = model.encoder
    is_pretrained = isinstance(encoder, TextEncoder) and encoder.has_pretrained_weights
    if is_pretrained and not files:
        raise UserError(
            "the encoder is a pre-trained text model, but the embeddings that it reads are random",
            "train with --init_param FILE:embed:frontend.embed; espnet-ext unit_embeddings writes "
            "FILE",
        )


def _check_vocabulary(path: str, source: str, digest: str) -> None:
    """Raise `UserError` if a file of `unit_embeddings` is of another vocabulary.

    Files of trained models, which have no part EMBEDDINGS, are not such files.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    recorded = state.get(VOCABULARY)
    if recorded != digest and (recorded is not None or source == EMBEDDINGS):
        problem = "is of another joint vocabulary than that of the training set"
        if recorded is None:
            problem = "does not record the joint vocabulary that its embeddings are of"
        raise UserError(
            f"--init_param {path}: {problem}",
            "make it again: espnet-ext unit_embeddings --joint_token_dir",
        )


def configured_sampler(
    args: argparse.Namespace, rank: int = 0, processes: int = 1
) -> RepeatFactorSampler | None:
    """Return the sampler that the options of a training ask for; None: ESPnet's.

    Args:
        args: ESPnet's training arguments, `balance`, `repeat_power` and `text_ratio`.
        rank: rank of this process.
        processes: number of processes that train together.
    """
    if args.text_ratio is not None and (args.text_ratio or _has_input_ids(args)):
        return text_ratio_sampler(args, rank, processes)
    if getattr(args, "balance", None):
        return balanced_sampler(args, rank, processes)
    if args.repeat_power or getattr(args, "batching", None):
        return repeating_sampler(args, rank, processes)
    return None


class ModalitySampler(RepeatFactorSampler):
    """Samples all utterances of speech once per epoch, and the next utterances of text.

    A batch contains one modality.
    """

    def __repr__(self) -> str:
        speech = sum(map(len, self.once))
        text = [f"{count} of {len(batches)} batches of text" for batches, count in self.again]
        return f"{type(self).__name__}(N-batch={len(self)}, {speech} utterances of speech, {text})"


def text_ratio_sampler(
    args: argparse.Namespace, rank: int = 0, processes: int = 1
) -> ModalitySampler:
    """Return a sampler with `args.text_ratio` utterances of text per utterance of speech.

    An epoch draws every utterance of speech once. Utterances of text are drawn in a random order,
    all of them before one is drawn again, over the end of an epoch too. With ratio 0, none is
    drawn.
    """
    folder = _input_folder(args)
    table = read_table(folder / MODALITY)
    shapes = {path: read_table(path) for path in args.train_shape_file}
    utterances = next(iter(shapes.values()))
    text = {utt_id for utt_id in utterances if table.get(utt_id) == TEXT}
    speech = set(utterances) - text
    if not speech or (args.text_ratio and not text):
        raise UserError(
            f"{folder / MODALITY}: text_ratio {args.text_ratio}, but the training set has "
            f"{len(speech)} utterances of speech and {len(text)} of text",
            "write the set with espnet-ext unit_inputs --text_input, or remove text_ratio",
        )
    if min(len(text) if args.text_ratio else processes, len(speech)) < processes:
        counts = f"{len(speech)} utterances of speech and {len(text)} of text"
        message = f"text_ratio: {processes} processes cannot share {counts}"
        raise UserError(message, "use fewer processes")
    once = batches_of_group(args, shapes, speech, processes)
    if not args.text_ratio:
        return ModalitySampler(once, [], rank, processes)
    batches = batches_of_group(args, shapes, text, processes)
    draws = args.text_ratio * len(speech) / len(text)  # per utterance of text and epoch
    return ModalitySampler(once, [(batches, draws)], rank, processes)


def _has_input_ids(args: argparse.Namespace) -> bool:
    """Return whether the training set has input ids instead of audio."""
    return any(form == "text_int" for _, _, form in args.train_data_path_and_name_and_type)


def _input_folder(args: argparse.Namespace) -> Path:
    """Return the folder of the training set."""
    for path, name, form in args.train_data_path_and_name_and_type:
        if name == "speech" and form == "text_int":
            return Path(path).parent
    raise UserError(
        f"text_ratio {args.text_ratio}: the training set has no input ids",
        "remove text_ratio; it is for systems with frontend: units",
    )
