"""Load a trained model directory: config.yaml and weights, strictly."""

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError, is_out_of_memory
from espnet_ext.files import read_yaml
from espnet_ext.model import checksums, espnet, safe_weights, stock
from espnet_ext.model.build import build_model
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.pretrained import adapters, base_weights
from espnet_ext.model.uninitialised import Uninitialised
from espnet_ext.progress import say
from espnet_ext.text.tokenizers import Tokenizer, build_tokenizer

MAX_MAGNITUDE = 1e15  # of parameters; sums of squares of larger ones overflow in float32


def load_config(model_dir: str | Path) -> dict[str, Any]:
    """Return the configuration in a model directory; of stock ESPnet's, in our terms."""
    path = Path(model_dir) / "config.yaml"
    # ESPnet wrote the file, without quotes around a token such as 1e3.
    config = read_yaml(path, missing="give a directory that stage 11 has trained", exponents=False)
    if stock.is_stock(config):
        return stock.adopt_config(config, Path(model_dir)) | {"stock": True}
    if "outputs" not in config:
        message = f"{path}: the key 'outputs' is missing"
        raise UserError(message, "give a directory that stage 11 has trained")
    return config


def load_model(
    model_dir: str | Path, weights: str = "model.pth", device: str = "cpu"
) -> tuple[DualOutputModel, dict[str, Any]]:
    """Build the model of a directory and load its weights strictly.

    Args:
        model_dir: written by this project or by ESPnet's ASR task.
        weights: file name of the weights inside it, e.g. "valid.acc.best.pth".
        device: "cpu", "cuda" or "mps", see `place`.
    Returns:
        The model in evaluation mode, and its configuration. Adapters are merged into the weights,
        and the configuration has none.
    """
    check_device(device)
    config = load_config(model_dir)
    weights = safe_weights.choose(Path(model_dir), weights)
    # All weights come from the file, so no initialisation (which may read other files) is needed.
    # SpecAugment is for training only, and importing it takes more than 1 s.
    unused: dict[str, Any] = {
        "init": None,
        "cpu_autocast": None,
        "specaug": None,
        "specaug_conf": {},
    }
    config_of_model = {**config, **unused}
    if adapters.options_of(config) is not None:
        model = _load_adapted(config_of_model, Path(model_dir), weights)
        return place(model, device).eval(), adapters.without_adapter(config)
    with Uninitialised():  # the weights are loaded strictly
        model = build_model(config_of_model, model_dir)
    rename = None
    if config.get("stock"):
        weights = stock.find_weights(Path(model_dir), weights)
        options = model.heads[stock.OUTPUT].options
        rename = functools.partial(stock.adopt_state, options=options)
    load_weights(model, Path(model_dir) / weights, rename)
    return place(model, device).eval(), config


def build_tokenizers(model: DualOutputModel, folder: str | Path) -> dict[str, Tokenizer]:
    """Return output → its tokenizer.

    Args:
        folder: that paths of SentencePiece models are relative to.
    """
    tokenizers = {}
    for name, head in model.heads.items():
        options = head.options
        bpemodel = Path(folder) / options.bpemodel if options.bpemodel else None
        tokenizers[name] = build_tokenizer(options.token_type, bpemodel, options.token_list or ())
    return tokenizers


def place(model: DualOutputModel, device: str) -> DualOutputModel:
    """Move a model to a device; to "mps" without its heads, which stay on the CPU.

    The searches compute in 64-bit floating point, which Apple's GPUs do not have.
    """
    if torch.device(device).type != "mps":
        return model.to(device)
    parts = (model.frontend, model.normalize, model.preencoder, model.encoder, model.postencoder)
    for part in (*parts, model.conditioning):
        if isinstance(part, torch.nn.Module):
            part.to(device)
    return model


def search_device(device: str | torch.device) -> torch.device:
    """Return where the heads of a model are that `place` moved to a device."""
    return torch.device("cpu") if torch.device(device).type == "mps" else torch.device(device)


def gpu() -> str:
    """Return the kind of GPU that PyTorch can use here: "mps" on a Mac with one, else "cuda"."""
    has_mps = torch.backends.mps.is_available() and not torch.cuda.is_available()
    return "mps" if has_mps else "cuda"


def _load_adapted(config: dict[str, Any], model_dir: Path, weights: str) -> DualOutputModel:
    """Return the model with its adapters merged into its weights."""
    path = model_dir / weights
    state = read_state(path)
    if base_weights.is_without_base(state):
        try:
            model = build_with_base(config, model_dir)
        except UserError as error:
            raise UserError(
                f"{path}: contains only trained weights, and the base of its adapter is not "
                f"readable: {error.message}",
                f"{error.remedy}; an archive of espnet-ext pack needs no base",
            ) from error
        state = base_weights.with_base_weights(model, state, str(path))
    else:
        model = build_model(config, model_dir)
    load_state(model, state, path)
    adapters.merge_adapters(model)
    return model


def build_with_base(config: Mapping[str, Any], folder: str | Path) -> DualOutputModel:
    """Build a model with the weights that training starts from: pre-trained, and `init_param`."""
    config = base_weights.initial_config(config, Path(folder))
    model = build_model(config, folder)
    for specification in config["init_param"]:
        mismatch = bool(config.get("ignore_init_mismatch"))
        espnet.load("load_pretrained_model")(specification, model, mismatch)
    return model


def _is_zip(path: Path) -> bool:
    """Return whether a checkpoint can be mapped into memory (the format since PyTorch 1.6)."""
    import zipfile

    return zipfile.is_zipfile(path)


def check_device(device: str) -> None:
    """Raise `UserError` for a device that PyTorch cannot use here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        message = f"device {device!r}: {str(error).partition(chr(10))[0]}"
        if str(device).startswith("cuda") and not torch.cuda.is_available():
            message = "no GPU is visible to PyTorch"
        raise UserError(
            message,
            'run on the CPU (--ngpu 0, device="cpu"), or check that nvidia-smi lists a GPU and '
            'that torch was installed with CUDA (device="cuda")',
        ) from None


def check_finite(state: dict[str, Any], path: Path) -> None:
    """Raise `UserError` if a parameter has a value that is not finite, or overflows if squared."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
            highest = float(value.detach().abs().amax())  # NaN if a value is
            if not highest <= MAX_MAGNITUDE:
                kind = f"values up to {highest:.0e}"
                if not value.isfinite().all():
                    kind = "NaN or infinite values"
                raise UserError(
                    f"{path}: parameter {name} has {kind}: the training diverged, or the file is "
                    "damaged",
                    "use the weights of an earlier epoch, or train again with a lower learning "
                    "rate",
                )


def load_weights(
    model: torch.nn.Module, path: Path, rename: Callable[[dict], dict] | None = None
) -> None:
    """Load the state dictionary in a file strictly (`read_state`).

    Args:
        rename: maps the state dictionary to the names in `model`.
    Raises:
        UserError: if the file is not readable or damaged (see `checksums`), its parameters differ
            from the model's, or some of them are not finite.
    """
    state = read_state(path)
    load_state(model, rename(state) if rename is not None else state, path)


def read_state(path: Path) -> dict[str, Any]:
    """Return the state dictionary in a file. A note is printed if the file cannot be verified.

    Raises:
        UserError: if the file is not readable or damaged, or has values that are not finite.
    """
    remedy = "restore the file, name other weights, or train again"
    if path.suffix == safe_weights.SUFFIX:
        state = safe_weights.read(path, remedy)
        check_finite(state, path)
        if note := checksums.check(path, remedy):
            say(note)
        return state
    try:
        # mapped into memory, the file is not held beside the model
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "run stage 11, or name other weights") from None
    except Exception as error:  # torch raises many types for a file that is not a checkpoint
        if is_out_of_memory(error):
            raise
        checksums.check(path, remedy)
        message = f"{path}: not a readable checkpoint: {_reason(error, path)}"
        raise UserError(message, remedy) from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: a {type(state).__name__}, not parameters by name", remedy)
    check_finite(state, path)
    if note := checksums.check(path, remedy):
        say(note)
    return state


def _reason(error: Exception, path: Path) -> str:
    """Return why `torch.load` failed, without its advice to run the code in the file."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if match := re.search(r"Unsupported (?:global|class): (?:GLOBAL )?(\S+)", str(error)):
        return f"it contains more than tensors ({match[1]}), and could run code"
    return f"{path.stat().st_size} bytes, not in PyTorch's format, or cut off"


def load_state(model: torch.nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load the state dictionary of a file strictly.

    Raises:
        UserError: if its parameters differ from the model's.
    """
    # An objective may have parameters (learned weights); only training needs them.
    state = {key: value for key, value in state.items() if not key.startswith("objective.")}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # sizes differ: torch lists one per line
        sizes = str(error).splitlines()[1:4]
        raise UserError(
            f"{path}: parameters do not fit the configuration ({' '.join(map(str.strip, sizes))})",
            "use the config.yaml that the weights were trained with",
        ) from None
    if missing or unexpected:
        kinds = (("missing", missing), ("unexpected", unexpected))
        parts = [
            f"{kind}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
            for kind, names in kinds
            if names
        ]
        raise UserError(
            f"{path}: parameters do not fit the configuration ({'; '.join(parts)})",
            "use the config.yaml that the weights were trained with",
        )
