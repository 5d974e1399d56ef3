"""Name the utterance and the file if ESPnet's data set cannot read an utterance."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError

_REMEDY = "then training continues from its last checkpoint"


def report_unreadable(dataset: Any, shape_files: Sequence[str] = ()) -> None:
    """Make an ESPnetDataset raise `UserError` for an utterance that it cannot read.

    Args:
        shape_files: shape files of the set. Audio must be as long as `speech_shape` says: a sound
            file that was cut off is read without an error.
    """
    shapes = {Path(path).name: path for path in shape_files}
    for name, loader in getattr(dataset, "loader_dict", {}).items():
        table, kind = dataset.debug_info[name]
        lengths = None
        if kind == "sound" and f"{name}_shape" in shapes:
            rows = read_table(shapes[f"{name}_shape"])
            lengths = {utterance: int(row.split(",")[0]) for utterance, row in rows.items()}
        dataset.loader_dict[name] = _Loader(loader, table, lengths)


class WrappedLoader(Mapping):
    """A loader of ESPnet: utterance id → audio or text. Subclasses define `__getitem__`."""

    def __init__(self, loader: Any):
        self._loader = loader

    def __iter__(self) -> Iterator[str]:
        return iter(self._loader)

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # also while an object is unpickled
            raise AttributeError(name)
        return getattr(self._loader, name)


class _Loader(WrappedLoader):
    """A loader that names the file and the utterance if it cannot read.

    Args:
        loader: the loader of one table.
        table: path of the table, such as wav.scp.
        lengths: utterance id → expected length; None: any.
    """

    def __init__(self, loader: Any, table: str, lengths: Mapping[str, int] | None = None):
        super().__init__(loader)
        self._table = table
        self._lengths = lengths

    def __getitem__(self, utterance: str) -> Any:
        try:
            value = self._loader[utterance]
        except Exception as error:  # the libraries of each format raise their own types
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(
                f"{self._table}: {utterance}: cannot read: {reason}",
                f"restore the file, or run stages 3 and 4 again; {_REMEDY}",
            ) from error
        expected = len(value) if self._lengths is None else self._lengths.get(utterance, len(value))
        if len(value) != expected:
            raise UserError(
                f"{self._table}: {utterance}: it has {len(value)} samples, but had {expected} when "
                "its length was measured: it was cut off or replaced",
                f"restore the file, or run stages 3, 4 and 10 again; {_REMEDY}",
            )
        return value
