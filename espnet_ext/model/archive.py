"""Find the model that a user names: a directory, a packed model, or a repository on the hub.

Archives are not trusted: only plain files below the archive's folder are unpacked, and not more
than the archive promises.
"""

import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml, sha256_of

CONFIG = "config.yaml"
META = "meta.yaml"  # in packs of ESPnet (espnet2.bin.pack): names the files of the model
MAX_BYTES = 50 * 2**30  # unpacked
_MAX_DEPTH = 3  # folders below the given one in which a model is searched
# What zipfile raises for a damaged, truncated, encrypted or unknown archive
_BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError)
_REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<folder>[\w./-]+))?")


def find_model_dir(model: str | os.PathLike) -> Path:
    """Return the model directory of what a user names. Archives are unpacked into a cache.

    Args:
        model: a model directory; a folder that contains one, or one archive, somewhere below; an
            archive that `pack`, or ESPnet's `pack asr`, has written; or, if no such path exists, a
            repository on the Hugging Face hub that `upload` or ESPnet has filled: `user/name`, or
            `user/name/folder` for one of several models.

    Raises:
        UserError: if there is no model, or more than one, or the archive is not a packed model.
    """
    path = Path(model)
    if path.is_file():
        return _unpack(path)
    if path.is_dir():
        return _find_below(path)
    name = str(model)
    match = _REPOSITORY.fullmatch(name)
    if match is None or Path(name.partition("/")[0]).exists():
        raise UserError(
            f"{name}: no such model directory or archive",
            "give a directory that stage 11 has trained, the .zip of stage 14, or user/name of a "
            "repository on the Hugging Face hub",
        )
    snapshot = _download(match["repo"], match["folder"])
    folder = snapshot / (match["folder"] or "")
    if not folder.exists():
        raise UserError(
            f"{name}: no such folder in the repository", _choices(_candidates(snapshot), snapshot)
        )
    return _unpack(folder) if folder.is_file() else _find_below(folder)


def _find_below(folder: Path) -> Path:
    """Return the one model directory in a folder; the folder itself if it is not clear."""
    if (folder / CONFIG).is_file():
        return folder
    if (folder / META).is_file():
        return _in_espnet_pack(folder)
    candidates = _candidates(folder)
    if len(candidates) > 1:
        raise UserError(
            f"{folder}: contains {len(candidates)} models", _choices(candidates, folder)
        )
    if not candidates:
        return folder  # reading its configuration reports what is missing
    (model,) = candidates
    return _unpack(model) if model.is_file() else model


def _in_espnet_pack(root: Path) -> Path:
    """Return the folder of the ASR model in an unpacked archive of ESPnet.

    Raises:
        UserError: there is no ASR model in it, or not in a file `config.yaml`.
    """
    meta = read_yaml(root / META)
    configs = meta.get("yaml_files")
    name = configs.get("asr_train_config") if isinstance(configs, Mapping) else None
    if not isinstance(name, str):
        raise UserError(
            f"{root / META}: names no asr_train_config", "give a pack of ESPnet's ASR task"
        )
    config = root / name
    if ".." in PurePosixPath(name).parts or not config.is_relative_to(root):
        raise UserError(f"{root / META}: {name}: not in the pack", "pack the model again")
    if config.name != CONFIG or not config.is_file():
        raise UserError(f"{root / META}: {name}: no such {CONFIG}", "pack the model again")
    return config.parent


def _candidates(folder: Path) -> list[Path]:
    """Return archives and model directories below a folder, to a limited depth."""
    paths: list[Path] = []
    for depth in range(1, _MAX_DEPTH + 1):
        pattern = "/".join(["*"] * depth)
        paths += [path for path in folder.glob(f"{pattern}.zip") if path.is_file()]
        paths += [path.parent for path in folder.glob(f"{pattern}/{CONFIG}")]
    return sorted(paths)


def _choices(candidates: Sequence[Path], folder: Path) -> str:
    names = [path.relative_to(folder).as_posix() for path in candidates]
    return f"name one of: {', '.join(names[:10])}" if names else "the repository has no model"


def _download(repo: str, folder: str | None) -> Path:
    """Return the snapshot of a repository, or of one folder in it, from the hub or its cache."""
    from huggingface_hub import snapshot_download

    patterns = None if folder is None else [folder, f"{folder}/*"]
    try:
        return Path(snapshot_download(repo, allow_patterns=patterns))
    except Exception as error:  # the client raises errors of several libraries
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{repo}: no such folder here, and the Hugging Face hub gave no such repository: "
            f"{reason}",
            "correct the path or the name; for a private repository log in with 'hf auth login'",
        ) from None


def _unpack(archive: Path) -> Path:
    """Return the folder of a packed model, unpacked into the cache unless it is there already."""
    try:
        with zipfile.ZipFile(archive) as packed:
            top = _check(archive, packed)
            root = _cache() / sha256_of(archive)
            if not (root / top / (CONFIG if top else META)).is_file():
                _extract(archive, packed, root)
    except _BAD_ARCHIVE as error:
        raise UserError(
            f"{archive}: not a readable zip archive: {error}",
            "give a model directory, or an archive that `espnet-ext pack` has written",
        ) from None
    return root / top if top else _in_espnet_pack(root)


def _check(archive: Path, packed: zipfile.ZipFile) -> str:
    """Return the name of the archive's one folder; "" for a pack of ESPnet, which has several.

    Raises:
        UserError: for anything unexpected.
    """
    remedy = "give an archive that `espnet-ext pack` has written"
    names = [member.filename for member in packed.infolist()]
    tops = {PurePosixPath(name).parts[:1] for name in names}
    for member in packed.infolist():
        path = PurePosixPath(member.filename)
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or is_link:
            raise UserError(f"{archive}: unsafe name in it: {member.filename!r}", remedy)
    configs = [name for name in names if PurePosixPath(name).parts[1:] == (CONFIG,)]
    if META not in names and (len(tops) != 1 or len(configs) != 1):
        raise UserError(f"{archive}: not one folder with a {CONFIG} in it", remedy)
    if sum(member.file_size for member in packed.infolist()) > MAX_BYTES:
        raise UserError(f"{archive}: larger than {MAX_BYTES >> 30} GiB when unpacked", remedy)
    return "" if META in names else PurePosixPath(configs[0]).parts[0]


def _extract(archive: Path, packed: zipfile.ZipFile, target: Path) -> None:
    """Unpack into a temporary folder that is renamed to `target` when it is complete."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tmp-") as root:
            temporary = Path(root) / "model"
            for member in packed.infolist():
                if member.is_dir():
                    continue
                path = temporary / member.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, open(path, "wb") as copy:
                    shutil.copyfileobj(source, copy)  # zipfile stops at the promised size
            if target.exists():  # incomplete, or another process was faster
                shutil.rmtree(target)
            temporary.replace(target)
    except OSError as error:
        raise UserError(
            f"{archive}: cannot unpack it into {target}: {error.strerror or error}",
            "free space there, or choose another folder with the variable XDG_CACHE_HOME",
        ) from None


def _cache() -> Path:
    """Return the folder for unpacked models, below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "espnet-ext" / "models"
