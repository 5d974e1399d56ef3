"""The files of a k-means model: `kmeans.npz` with the centroids, and `units.json`.

`units.json` is a manifest. It contains the digest of the features (options, and configuration and
weights of the encoder), and that of `kmeans.npz`. The digest of the units covers both: what is made
of units records it, and is refused with other units.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.errors import UserError
from espnet_ext.files import atomic_write, read_json, write_json
from espnet_ext.units.sequences import MAX_UNITS

MANIFEST, CENTROIDS = "units.json", "kmeans.npz"
NAMES = r"units\.json|kmeans\.npz"  # regular expression for the names that `write_model` writes
FORMAT = 1
_LEARN = "learn the units again: espnet-ext learn_kmeans"


@dataclass(frozen=True)
class UnitModel:
    """Codebooks, and the features that they were learned from."""

    codebooks: Sequence[np.ndarray]  # (K, D) each, float32; the second one is of residuals
    features: Mapping[str, Any]  # `FeatureOptions`
    features_sha256: str
    # how it was learned: seed, frames, inertia, …
    training: Mapping[str, Any]

    @property
    def sizes(self) -> list[int]:
        """The number of centroids of each codebook."""
        return [len(codebook) for codebook in self.codebooks]

    @property
    def count(self) -> int:
        """The number of different units."""
        return sum(self.sizes)

    @property
    def digest(self) -> str:
        """A SHA-256 of features and codebooks: equal digests mean equal units."""
        content = hashlib.sha256(self.features_sha256.encode())
        for codebook in self.codebooks:
            content.update(f"{codebook.shape}".encode())
            content.update(np.ascontiguousarray(codebook, dtype="<f4"))
        return content.hexdigest()


def write_model(folder: str | Path, model: UnitModel) -> None:
    """Write the files of a model; the manifest last."""
    check_count_of_units(model.count, str(folder))
    buffer = io.BytesIO()
    arrays = {f"codebook_{i}": codebook for i, codebook in enumerate(model.codebooks)}
    np.savez(buffer, allow_pickle=False, **arrays)
    with atomic_write(Path(folder) / CENTROIDS, "wb") as handle:
        handle.write(buffer.getvalue())
    manifest = {
        "format": FORMAT,
        "features": dict(model.features),
        "features_sha256": model.features_sha256,
        "codebooks": model.sizes,
        "units_sha256": model.digest,
        "training": dict(model.training),
    }
    write_json(Path(folder) / MANIFEST, manifest)


def read_model(folder: str | Path) -> UnitModel:
    """Read the files of a model.

    Raises:
        UserError: if a file is missing, damaged or not one of this format, or if they do not belong
            together.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise UserError(f"{path}: no such file", _LEARN)
    manifest = read_manifest(path, FORMAT, ("features", "features_sha256", "units_sha256"))
    codebooks = _read_codebooks(Path(folder) / CENTROIDS)
    features, training = manifest["features"], manifest.get("training")
    if not isinstance(features, Mapping):
        raise UserError(f"{path}: features: not a mapping", _LEARN)
    training = training if isinstance(training, Mapping) else {}
    model = UnitModel(codebooks, features, str(manifest["features_sha256"]), training)
    if model.digest != manifest["units_sha256"]:
        raise UserError(
            f"{Path(folder) / CENTROIDS}: is not the file that {path} was written with",
            f"restore both files, or {_LEARN}",
        )
    check_count_of_units(model.count, str(path))
    return model


def read_manifest(path: str | Path, version: int, keys: Sequence[str]) -> dict[str, Any]:
    """Return a manifest; `UserError` if it is of another format or lacks one of the keys."""
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != version:
        message = f"{path}: not a manifest of format {version}"
        raise UserError(message, "write it again with this version of espnet-ext")
    for key in keys:
        if key not in manifest:
            raise UserError(f"{path}: the key '{key}' is missing", "write the file again")
    return manifest


def check_count_of_units(count: int, where: str) -> None:
    """Raise `UserError` if there are more units than characters for them."""
    if count > MAX_UNITS:
        raise UserError(
            f"{where}: {count} units, but the text layout of units has {MAX_UNITS} characters",
            "choose fewer clusters",
        )


def _read_codebooks(path: Path) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = sorted(archive.files)
            codebooks = [archive[name] for name in names]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", _LEARN) from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not readable: {error}", f"restore it, or {_LEARN}") from None
    expected = [f"codebook_{i}" for i in range(len(names))]
    is_matrix = all(c.ndim == 2 and c.dtype == np.float32 and c.size for c in codebooks)
    if not names or names != expected or not is_matrix:
        raise UserError(f"{path}: does not contain codebooks", f"restore it, or {_LEARN}")
    if len({codebook.shape[1] for codebook in codebooks}) > 1:
        raise UserError(f"{path}: its codebooks have different feature sizes", _LEARN)
    if not all(np.isfinite(codebook).all() for codebook in codebooks):
        raise UserError(f"{path}: has values that are not finite", _LEARN)
    return codebooks
