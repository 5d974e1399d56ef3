"""Find out, before any work, whether the Hugging Face hub has the models that options name."""

import re
import sys

from espnet_ext.pipeline.usage import UsageError

TIMEOUT = 10.0  # seconds to wait for the hub
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")  # "./whisper" and "/models/whisper" are paths


def check_model(option: str, name: str, *, with_safetensors: bool = False) -> None:
    """Raise a UsageError if neither the hub nor its cache here has a model.

    A note is printed if the hub does not answer.

    Args:
        option: that names the model, with its dashes.
        name: `user/name`, or `user/name/folder` for a folder in the repository; no file or folder
            here has this name.
        with_safetensors: whether pickled weights are not enough. They are not read.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    remedy = "correct the path, or the name on the Hugging Face hub"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{option} {name}: no such file or folder", remedy)
    repo = "/".join(name.split("/")[:2])
    try:
        snapshot_download(repo, local_files_only=True)
        return
    except Exception:  # not downloaded yet; the client raises errors of several libraries
        pass
    try:
        info = HfApi().model_info(repo, timeout=TIMEOUT)
    except (RepositoryNotFoundError, HFValidationError):
        raise UsageError(
            f"{option} {name}: no such file or folder, and the Hugging Face hub has no repository "
            f"{repo}",
            f"{remedy}; for a private repository log in with 'hf auth login'",
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        print(
            f"note: {option} {name}: no such file or folder here, and the Hugging Face hub does "
            f"not answer: {reason}",
            file=sys.stderr,
        )
        return
    files = [file.rfilename for file in info.siblings or ()]
    has_pickled = any(file.endswith((".bin", ".bin.index.json")) for file in files)
    if with_safetensors and has_pickled and not any(f.endswith(".safetensors") for f in files):
        folder = f"{repo.rpartition('/')[2]}-safetensors"
        raise UsageError(
            f"{option} {name}: the repository has pickled weights only",
            "they can run code and are not read; convert them once, and name the new folder: "
            f"espnet-ext convert_checkpoint --model {repo} --output {folder}",
        )
