"""Name the utterance and the file if ESPnet's data set cannot read an utterance."""

from collections.abc import Iterator, Mapping
from typing import Any

from espnet_ext.errors import UserError


def report_unreadable(dataset: Any) -> None:
    """Make an ESPnetDataset raise `UserError` for an utterance that it cannot read."""
    for name, loader in getattr(dataset, "loader_dict", {}).items():
        dataset.loader_dict[name] = _Loader(loader, dataset.debug_info[name][0])


class _Loader(Mapping):
    """A loader of ESPnet: utterance id → audio or text.

    Args:
        loader: the loader of one table.
        table: path of the table, such as wav.scp.
    """

    def __init__(self, loader: Any, table: str):
        self._loader = loader
        self._table = table

    def __getitem__(self, utterance: str) -> Any:
        try:
            return self._loader[utterance]
        except Exception as error:  # the libraries of each format raise their own types
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(
                f"{self._table}: {utterance}: cannot read: {reason}",
                "restore the file, or run stages 3 and 4 again; then training continues from its "
                "last checkpoint",
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._loader)

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # also while an object is unpickled
            raise AttributeError(name)
        return getattr(self._loader, name)
