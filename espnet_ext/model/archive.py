"""Find the model that a user names: a directory, a packed model, or a repository on the hub.

Archives are not trusted: only plain files below the archive's folder are unpacked, and not more
than the archive promises.
"""

import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml, sha256_of
from espnet_ext.model import manifest
from espnet_ext.progress import say

CONFIG = "config.yaml"
META = "meta.yaml"  # in packs of ESPnet (espnet2.bin.pack): names the files of the model
MAX_BYTES = 50 * 2**30  # unpacked
# Names of archives end like this (those that espnet2.bin.pack writes)
TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
ARCHIVE_SUFFIXES = (".zip", *TAR_SUFFIXES)
_MAX_DEPTH = 3  # folders below the given one in which a model is searched
# What zipfile and tarfile raise for a damaged, truncated, encrypted or unknown archive
_BAD_ARCHIVE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    EOFError,
    RuntimeError,
)
_REMEDY = "give an archive that `espnet-ext pack`, or ESPnet's `pack asr`, has written"
_REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<folder>[\w./-]+))?")


def find_model_dir(model: str | os.PathLike) -> Path:
    """Return the model directory of what a user names. Archives are unpacked into a cache.

    Args:
        model: a model directory; a folder that contains one, or one archive, somewhere below; an
            archive that `pack` (.zip), or ESPnet's `pack asr` (.zip, .tgz, …), has written; or, if
            no such path exists, a repository on the Hugging Face hub that `upload` or ESPnet has
            filled: `user/name`, or `user/name/folder` for one of several models.

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
        for suffix in ARCHIVE_SUFFIXES:
            paths += [path for path in folder.glob(pattern + suffix) if path.is_file()]
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


@dataclass(frozen=True)
class _Member:
    """A file, folder or link in an archive; `info` is its record in zipfile or tarfile."""

    name: str
    size: int
    is_folder: bool
    is_special: bool  # a link, or neither a file nor a folder
    info: zipfile.ZipInfo | tarfile.TarInfo


class _Archive:
    """A zip or tar archive, open for reading; its members are listed once."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        """Open it, to be closed by `stack`.

        Raises:
            UserError: its files are larger than MAX_BYTES in total.
        """
        self.path = path
        self.zip: zipfile.ZipFile | None = None
        self.tar: tarfile.TarFile | None = None
        self.members: list[_Member] = []
        if path.name.endswith(TAR_SUFFIXES):
            self.tar = stack.enter_context(tarfile.open(path))  # noqa: SIM115
        else:
            self.zip = stack.enter_context(zipfile.ZipFile(path))
        size = 0
        for info in self.tar if self.tar is not None else self._zip_infos():
            member = _member(info)
            size += member.size
            if size > MAX_BYTES:
                raise UserError(f"{path}: larger than {MAX_BYTES >> 30} GiB when unpacked", _REMEDY)
            self.members.append(member)

    def _zip_infos(self) -> list[zipfile.ZipInfo]:
        assert self.zip is not None
        return self.zip.infolist()

    def open(self, member: _Member) -> IO[bytes]:
        """Return the content of a file, which ends at the promised size."""
        if self.tar is not None:
            assert isinstance(member.info, tarfile.TarInfo)
            content = self.tar.extractfile(member.info)
            assert content is not None  # it is a file
            return content
        assert self.zip is not None and isinstance(member.info, zipfile.ZipInfo)
        return self.zip.open(member.info)


def _member(info: zipfile.ZipInfo | tarfile.TarInfo) -> _Member:
    if isinstance(info, tarfile.TarInfo):
        is_special = not (info.isfile() or info.isdir())
        return _Member(info.name, info.size, info.isdir(), is_special, info)
    is_link = stat.S_ISLNK(info.external_attr >> 16)
    return _Member(info.filename, info.file_size, info.is_dir(), is_link, info)


def _unpack(path: Path) -> Path:
    """Return the folder of a packed model, unpacked into the cache unless it is there already."""
    try:
        with ExitStack() as stack:
            archive = _Archive(path, stack)
            top = _check(archive)
            root = _cache() / sha256_of(path)
            if not (root / top / (CONFIG if top else META)).is_file():
                _extract(archive, root)
    except (*_BAD_ARCHIVE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system, not of gzip or bz2
        kind = "tar" if path.name.endswith(TAR_SUFFIXES) else "zip"
        raise UserError(
            f"{path}: not a readable {kind} archive: {error}",
            "give a model directory, or an archive that `espnet-ext pack`, or ESPnet's `pack asr`, "
            "has written",
        ) from None
    return root / top if top else _in_espnet_pack(root)


def _check(archive: _Archive) -> str:
    """Return the name of the archive's one folder; "" for a pack of ESPnet, which has several.

    Raises:
        UserError: for anything unexpected.
    """
    for member in archive.members:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts or "\\" in member.name:
            raise UserError(f"{archive.path}: unsafe name in it: {member.name!r}", _REMEDY)
        if member.is_special:
            raise UserError(
                f"{archive.path}: {member.name!r} is not a regular file, but a link or the like",
                f"{_REMEDY}, or give the folder of the model",
            )
    names = [PurePosixPath(member.name) for member in archive.members]
    if PurePosixPath(META) in names:
        return ""
    tops = {name.parts[0] for name in names if name.parts}
    configs = [name for name in names if name.parts[1:] == (CONFIG,)]
    if len(tops) != 1 or len(configs) != 1:
        raise UserError(f"{archive.path}: not one folder with a {CONFIG} in it", _REMEDY)
    return configs[0].parts[0]


def _extract(archive: _Archive, target: Path) -> None:
    """Unpack into a temporary folder that is renamed to `target` when it is complete."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tmp-") as root:
            temporary = Path(root) / "model"
            for member in archive.members:
                if member.is_folder:
                    continue
                path = temporary / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(path, "wb") as copy:
                    shutil.copyfileobj(source, copy)
            if note := _verify(temporary, archive.path):
                say(note)
            if target.exists():  # incomplete, or another process was faster
                shutil.rmtree(target)
            temporary.replace(target)
    except OSError as error:
        if error.errno is None:
            raise  # of gzip or bz2: the archive is damaged
        raise UserError(
            f"{archive.path}: cannot unpack it into {target}: {error.strerror or error}",
            "free space there, or choose another folder with the variable XDG_CACHE_HOME",
        ) from None


def _verify(root: Path, source: Path) -> str:
    """Verify an unpacked archive by its manifest; return a note about what cannot be verified.

    Archives of ESPnet have none.
    """
    folders = [root, *(path for path in root.iterdir() if path.is_dir())]
    if (root / META).is_file():
        return ""
    top = next(folder for folder in folders if (folder / CONFIG).is_file())
    return manifest.verify(top, source)


def _cache() -> Path:
    """Return the folder for unpacked models, below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "espnet-ext" / "models"
