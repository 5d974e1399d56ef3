"""Convert a checkpoint with pickled weights to safetensors, without running code of its publisher.

PyTorch's restricted unpickler (`weights_only`) reads tensors and refuses everything else.
"""

import shutil
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError, is_out_of_memory
from espnet_ext.model.pretrained.checkpoint import Source, check_weights, import_transformers
from espnet_ext.overwriting import OutputFolder

WHERE = "--model"
_FILES = r".*\.json|.*\.safetensors|.*\.txt|.*\.jinja"  # what transformers writes
_TOKENIZER = "tokenizer.json"


def convert(
    model: str,
    output_dir: str | Path,
    revision: str | None = None,
    *,
    overwrite: bool = False,
) -> int:
    """Write a checkpoint with safetensors; return the number of its weights.

    Args:
        model: folder or name on the Hugging Face hub, of a family that `pretrained` can read.
        output_dir: gets config.json, preprocessor_config.json, model.safetensors and, if the
            checkpoint has one, tokenizer.json.
        revision: branch, tag or commit on the hub.
        overwrite: replace files in `output_dir` that no earlier conversion wrote.

    Raises:
        UserError: there is no such checkpoint, its family is unknown, a weight is missing, or its
            file contains more than tensors.
    """
    from espnet_ext.model.pretrained.registry import FAMILIES

    Source.read(model, None, revision, tuple(FAMILIES), WHERE, allow_pickled=True)
    transformers = import_transformers(WHERE)
    target = OutputFolder(
        output_dir, "convert_checkpoint", _FILES, inputs=[model], overwrite=overwrite
    )
    with target as folder:
        network = _read(transformers, model, revision)
        network.save_pretrained(folder, safe_serialization=True)
        extractor = transformers.AutoFeatureExtractor.from_pretrained(model, revision=revision)
        extractor.save_pretrained(folder)
        tokenizer = transformers.utils.cached_file(
            model, _TOKENIZER, revision=revision, _raise_exceptions_for_missing_entries=False
        )
        if tokenizer is not None:
            shutil.copyfile(tokenizer, folder / _TOKENIZER)
    return sum(parameter.numel() for parameter in network.parameters())


def _read(transformers: Any, model: str, revision: str | None) -> Any:
    """Return the network with the weights of a checkpoint, which must be complete."""
    try:
        network, report = transformers.AutoModel.from_pretrained(
            model,
            revision=revision,
            weights_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `check_weights` names them
            dtype=torch.float32,
        )
    except Exception as error:  # torch and transformers raise errors of many types
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{model}: its weights are not readable without running code: {reason}",
            "use a checkpoint with safetensors, or one whose file contains tensors only",
        ) from None
    check_weights(report, model)
    return network
