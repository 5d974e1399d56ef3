"""Copy `run.sh`, its configurations and the recipes into a folder of the user.

A clone has these files in its root. A wheel has them in the package, in `recipe_files/`, where
`setup.py` puts them.
"""

import filecmp
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from espnet_ext import __version__, files
from espnet_ext.errors import UserError, did_you_mean

PACKAGE = Path(__file__).parents[1]
TEMPLATE = "TEMPLATE"
VERSION_FILE = "local/espnet_ext_version.txt"  # read by `pipeline.settings`
COMMON = ("run.sh", "local/*", "conf/*.yaml", "conf/systems/*.yaml")
RECIPE = ("run.sh", "README.md", "local/*.sh", "local/*.py", "conf/*", "conf/systems/*")
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)([^)#\s]+)[^)]*\)")


def source_folder() -> Path:
    """Return the folder with `run.sh`, `local`, `conf` and `egs2`: of the package, or the clone.

    Raises:
        UserError: The package was installed without these files.
    """
    for folder in (PACKAGE / "recipe_files", PACKAGE.parent):
        if (folder / "egs2" / TEMPLATE / "dual1/run.sh").is_file():
            return folder
    message = f"{PACKAGE}: was installed without run.sh and the recipes"
    raise UserError(message, "install a wheel of espnet-ext, or work in a clone of the repository")


def corpora(source: Path) -> list[str]:
    """Return the names of all corpora with a recipe, the folders of `egs2`."""
    return sorted({path.parents[1].name for path in source.glob("egs2/*/*/run.sh")})


def copy_recipes(folder: str | os.PathLike, names: Sequence[str] = ()) -> tuple[int, int]:
    """Write the pipeline and the recipes of some corpora into a folder; overwrite nothing.

    Args:
        folder: is created if it does not exist.
        names: Corpora; none: all of them. The template is always written.
    Returns:
        The number of files written, and of those that were there already with the same content.
    Raises:
        UserError: There is no such corpus, or a file would be overwritten. Nothing is written.
    """
    source, target = source_folder(), Path(folder).absolute()
    known = corpora(source)
    for name in names:
        if name not in known:
            question = did_you_mean(name, known, form="{}")
            remedy = f"{question} choose from: {' '.join(known)}".lstrip()
            raise UserError(f"there is no recipe of a corpus '{name}'", remedy)
    paths = _paths(source, {*(names or known), TEMPLATE})
    contents = {path: _text(source, path, paths) for path in paths}
    contents[VERSION_FILE] = f"{__version__}\n"
    new = [name for name in contents if not (target / name).exists()]
    differing = [
        name for name in contents if name not in new and not _is_same(target / name, contents[name])
    ]
    if differing:
        others = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        raise UserError(
            f"{target / differing[0]}{others}: exists with other content, and is not overwritten",
            "give a new folder",
        )
    try:
        for name in new:
            _write(target / name, contents[name])
    except OSError as error:
        reason = f"cannot write: {error.strerror or error}"
        remedy = "check the folder's permissions and the disk's space"
        raise UserError(f"{error.filename or target}: {reason}", remedy) from None
    return len(new), len(contents) - len(new)


def _paths(source: Path, names: Iterable[str]) -> list[str]:
    """Return the files to copy, relative to the source."""
    patterns = [*COMMON, *(f"egs2/{name}/*/{file}" for name in sorted(names) for file in RECIPE)]
    matches = [path for pattern in patterns for path in sorted(source.glob(pattern))]
    return [str(path.relative_to(source)) for path in matches if path.is_file()]


def _text(source: Path, name: str, copied: Sequence[str]) -> Path | str:
    """Return a file to copy, or for a page its text without links to what is not copied."""
    path = source / name
    if path.suffix != ".md":
        return path

    def link(match: re.Match) -> str:
        goal = os.path.normpath(Path(name).parent / match[2])
        return (
            match[0]
            if goal in copied or any(p.startswith(f"{goal}/") for p in copied)
            else match[1]
        )

    return _LINK.sub(link, path.read_text(encoding="utf-8"))


def _is_same(path: Path, content: Path | str) -> bool:
    if not path.is_file():
        return False
    if isinstance(content, str):
        return path.read_bytes() == content.encode()
    return filecmp.cmp(path, content, shallow=False)


def _write(path: Path, content: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        files.write_text(path, content)
    else:
        shutil.copyfile(content, path)
        executable = 0o755 if path.name == "run.sh" else 0o644
        path.chmod(executable)
