"""Train from shards (`data.shards`), which are read in sequence.

Each process reads shards of its own, and forms batches within a shard, so the number of batches
per epoch is the same in every epoch and for all processes. An epoch reads the shards in a random
order. The batches of `shard_buffer` shards are shuffled together, while the next shards are read.
Shards, order and batches follow from lengths, seed and epoch: a training that is continued inside
an epoch only needs the number of batches that are done.
"""

import argparse
import dataclasses
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_ext.data.shards import (
    MANIFEST,
    REMEDY,
    Manifest,
    ShardUtterance,
    check_tables,
    read_manifest,
    read_shard,
)
from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.training.batching import BUCKETS, BucketOptions, padding_shares
from espnet_ext.training.partition import Limits, partition
from espnet_ext.training.read_ahead import one_ahead
from espnet_ext.training.seeding import SeededItems

_NEEDED: Mapping[str, Any] = {
    "batching": BUCKETS,
    "iterator_type": "sequence",
    "repeat_power": 0.0,
    "text_ratio": None,
    "balance": {},
    "encoder_cache": None,
    "multiple_iterator": False,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of the training command."""
    group = parser.add_argument_group("Shards")
    group.add_argument(
        "--train_shards",
        type=espnet.load("str_or_none"),
        default=None,
        metavar="FOLDER",
        help="read audio and transcripts of the training set from the shards that stage 4 wrote "
        "with --shards; needs batching: buckets",
    )
    group.add_argument(
        "--shard_buffer",
        type=positive,
        default=2,
        help="number of shards whose batches are shuffled together; a process keeps twice as many "
        "in memory",
    )


def positive(text: str) -> int:
    """Parse the value of `--shard_buffer`: an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1: write a number of shards")
    return value


def check(args: argparse.Namespace, source: str) -> None:
    """Raise `UserError` for options that do not work with shards, and shards of other data.

    Args:
        args: training arguments.
        source: name of the configuration in messages.
    """
    if args.train_shards is None:
        return
    for key, value in _NEEDED.items():
        if getattr(args, key) != value:
            remedy = f"write {key}: {'null' if value is None else value}, or remove train_shards"
            message = f"{source}: train_shards does not work with {key}: {getattr(args, key)}"
            raise UserError(message, remedy)
    tables = _tables(args)
    if tables["speech"] != "wav.scp":
        message = f"{source}: train_shards: the input is {tables['speech']}, not audio"
        raise UserError(message, "remove train_shards: it is for systems that read audio")
    names = [name for key, name in tables.items() if key != "speech"]
    folder = Path(args.train_data_path_and_name_and_type[0][0]).parent
    check_tables(read_manifest(args.train_shards), folder, names)


def _tables(args: argparse.Namespace) -> dict[str, str]:
    """Return part of a batch → file name of its table: `text_meaning` → `text.meaning`."""
    return {name: Path(path).name for path, name, _ in args.train_data_path_and_name_and_type}


class ShardPlan:
    """Which batches each process makes of which shard.

    Args:
        args: training arguments.
        processes: number of processes that train together. A batch of each has at most
            `batch_bins` samples divided by this number.
        rank: rank of this process.

    Raises:
        UserError: if the shards are damaged or of other data, or cannot be divided.
    """

    def __init__(self, args: argparse.Namespace, rank: int = 0, processes: int = 1):
        self.manifest = read_manifest(args.train_shards)
        count = len(self.manifest.shards)
        if count % processes:
            raise UserError(
                f"{self.manifest.folder / MANIFEST}: {count} shards cannot be divided evenly over "
                f"{processes} processes",
                f"write a multiple of {processes} shards (stage 4), or train with fewer processes",
            )
        self.lengths = _read_lengths(args.train_shape_file, self.manifest)
        self._seed, self._buffer = args.seed, args.shard_buffer
        options = BucketOptions.parse(args.batching_conf)
        bins = args.batch_bins // processes
        most = options.max_utterances and max(1, options.max_utterances // processes)
        limits = Limits(bins, options.quadratic_bins, most)
        # Shard → its batches, each as positions in the shard; for the shards of this process.
        self.batches: dict[int, list[np.ndarray]] = {}
        counts = [0] * processes
        for number in range(count):
            batches = _batches_of(self.lengths[number::count], limits)
            counts[number % processes] += len(batches)
            if number % processes == rank:
                self.batches[number] = batches
        self.batches_per_pass = min(counts)  # of a process, over all its shards
        self.left_out = 1 - self.batches_per_pass * processes / sum(counts)
        self.batches_per_epoch = args.num_iters_per_epoch or self.batches_per_pass

    def rows(self) -> Iterator[np.ndarray]:
        """Yield the batches of this process that an epoch can contain, as rows of `lengths`."""
        count = len(self.manifest.shards)
        for number, batches in self.batches.items():
            yield from (number + count * row for row in batches)

    def describe(self) -> str:
        """Return a line with the number of batches and their padding, for the log."""
        count = len(self.manifest.shards)
        rows = list(self.rows())
        ends = np.cumsum([len(row) for row in rows])
        shares = padding_shares(self.lengths[np.concatenate(rows)], list(ends))
        listed = ", ".join(f"{100 * share:.1f} %" for share in shares)
        line = (
            f"{self.manifest.folder}: {self.manifest.utterances} utterances in {count} shards, "
            f"{self.batches_per_epoch} batches per epoch, padding of speech and texts: {listed}"
        )
        if self.left_out:
            line += f"; an epoch leaves out {100 * self.left_out:.1f} % of the batches"
        return line

    def groups(
        self, first: int, count: int, *, shuffle: bool
    ) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        """Yield groups of shards, and the (shard, number of a batch in it) to make of each group.

        Args:
            first: number of batches, over all epochs, that come before.
            count: number of batches of all groups together.
        """
        while count:
            number, position = divmod(first, self.batches_per_pass)
            part = min(count, self.batches_per_pass - position)
            yield from self._groups_of_pass(number, position, position + part, shuffle)
            first, count = first + part, count - part

    def _groups_of_pass(
        self, number: int, start: int, end: int, shuffle: bool
    ) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        """Yield what `groups` does for batches `start` to `end` of one pass over the shards."""
        shards = list(self.batches)
        if shuffle:
            np.random.RandomState([self._seed, number]).shuffle(shards)
        begin = 0  # of the batches of a group, in the pass
        for i in range(0, len(shards), self._buffer):
            group = shards[i : i + self._buffer]
            batches = [(shard, j) for shard in group for j in range(len(self.batches[shard]))]
            if shuffle:
                np.random.RandomState([self._seed, number, i + 1]).shuffle(batches)
            chosen = batches[max(start - begin, 0) : max(end - begin, 0)]
            begin += len(batches)
            if chosen:
                yield group, [(int(shard), int(j)) for shard, j in chosen]


def _batches_of(lengths: np.ndarray, limits: Limits) -> list[np.ndarray]:
    """Return the batches of utterances with lengths (N, S) as `bucket_batches` does, by row."""
    order = np.argsort(lengths[:, 0], kind="stable")
    return [order[batch] for batch in partition(lengths[order], limits)]


def _read_lengths(shape_files: Sequence[str], manifest: Manifest) -> np.ndarray:
    """Return the lengths (N, S) in shape files, in order of ids."""
    columns = []
    for path in shape_files:
        ids = hashlib.sha256()
        column = np.empty(manifest.utterances, dtype=np.int32)
        number = 0
        with open(path, encoding="utf-8") as handle:
            for number, line in enumerate(handle, 1):
                utt_id, _, shape = line.partition(" ")
                ids.update(f"{utt_id}\n".encode())
                if number <= len(column):
                    column[number - 1] = int(shape.partition(",")[0])
        if ids.hexdigest() != manifest.ids:
            raise UserError(
                f"{path}: its {number} utterances are not the {manifest.utterances} of "
                f"{manifest.folder}",
                "run stages 4 and 10 again",
            )
        columns.append(column)
    return np.stack(columns, axis=1)


class ShardBatches:
    """The batches of an epoch for a DataLoader, as tuples of `ShardUtterance`.

    Shards are read by a thread, while batches are made of those before.

    Args:
        first: number of batches of all epochs before.
        decode: also decode the audio in a thread, one batch ahead.
    """

    def __init__(
        self, plan: ShardPlan, first: int, count: int, *, shuffle: bool = True, decode: bool = True
    ):
        self._plan, self._first, self._count = plan, first, count
        self._shuffle, self._decode = shuffle, decode

    def __len__(self) -> int:
        return self._count

    def skip(self, count: int) -> None:
        """Leave out the first batches; only the shards of the others are read."""
        count = min(count, self._count)
        self._first, self._count = self._first + count, self._count - count

    @property
    def digest(self) -> str:
        """A digest of the utterances of all batches, in order."""
        digest = hashlib.sha256(self._plan.manifest.ids.encode())
        for _, batches in self._plan.groups(self._first, self._count, shuffle=self._shuffle):
            for shard, number in batches:
                rows = self._plan.batches[shard][number]
                digest.update(f"{shard} {rows.tolist()}\n".encode())
        return digest.hexdigest()

    def __iter__(self) -> Iterator[tuple["ShardUtterance | Decoded", ...]]:
        batches = self._batches()
        if not self._decode:
            return batches
        return one_ahead(tuple(map(Decoded.of, batch)) for batch in batches)

    def _batches(self) -> Iterator[tuple[ShardUtterance, ...]]:
        for batches, utterances in one_ahead(self._read_groups()):
            for shard, number in batches:
                rows = self._plan.batches[shard][number]
                yield tuple(utterances[shard][row] for row in rows)
            del utterances  # before the next group is taken

    def _read_groups(self) -> Iterator[Any]:
        shards = self._plan.manifest.shards
        for group, batches in self._plan.groups(self._first, self._count, shuffle=self._shuffle):
            yield batches, {number: list(read_shard(shards[number])) for number in group}


@dataclasses.dataclass(frozen=True, repr=False)
class Decoded:
    """An utterance of a shard with its samples."""

    utterance: ShardUtterance
    speech: np.ndarray  # (S,) float32

    @classmethod
    def of(cls, utterance: ShardUtterance) -> "Decoded":
        """Decode an utterance; `UserError` if its sound file is damaged."""
        import soundfile

        try:
            speech, _ = soundfile.read(io.BytesIO(utterance.content), dtype="float32")
        except soundfile.LibsndfileError as error:
            message = f"{utterance.shard}: {utterance.utt_id}: cannot decode the audio: {error}"
            raise UserError(message, f"restore the shard, or {REMEDY}") from None
        if len(speech) != utterance.samples:
            message = f"{utterance.shard}: {utterance.utt_id}: has {len(speech)} samples"
            message += f", but its record says {utterance.samples}"
            raise UserError(message, f"restore the shard, or {REMEDY}")
        return cls(utterance, speech)

    def __repr__(self) -> str:
        return repr(self.utterance)


class ShardDataset:
    """Makes the arrays of utterances of shards, as ESPnet's data set makes those of tables.

    Args:
        tables: part of a batch → file name of its table.
        preprocess: encodes transcripts and augments audio.
    """

    def __init__(self, tables: Mapping[str, str], preprocess: Any):
        self._tables, self._preprocess = dict(tables), preprocess
        self.__getitems__ = SeededItems(self)

    def __getitem__(self, item: ShardUtterance | Decoded) -> tuple[str, dict[str, np.ndarray]]:
        decoded = item if isinstance(item, Decoded) else Decoded.of(item)
        utterance = decoded.utterance
        data: dict[str, Any] = {}
        for name, table in self._tables.items():
            if name == "speech":
                data[name] = decoded.speech
            elif table in utterance.tables:
                data[name] = utterance.tables[table]
            else:
                message = f"{utterance.shard}: {utterance.utt_id}: has no row of {table}"
                raise UserError(message, f"complete {table}, and {REMEDY}")
        arrays = self._preprocess(utterance.utt_id, data)
        kinds = {"f": np.float32, "i": np.int64}
        return utterance.utt_id, {k: v.astype(kinds[v.dtype.kind]) for k, v in arrays.items()}


AbsIterFactory: Any = espnet.load("AbsIterFactory")


class ShardIterFactory(AbsIterFactory):
    """Builds the DataLoader of an epoch. Arguments are those of ESPnet's SequenceIterFactory."""

    def __init__(
        self, plan: ShardPlan, dataset: ShardDataset, args: argparse.Namespace, collate_fn
    ):
        self.plan, self._dataset, self._args, self._collate = plan, dataset, args, collate_fn

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> torch.utils.data.DataLoader:
        per_epoch = self.plan.batches_per_epoch
        batches: Any = ShardBatches(
            self.plan,
            (epoch - 1) * per_epoch,
            per_epoch,
            shuffle=shuffle is not False,
            decode=not self._args.num_workers,
        )
        seed = epoch + self._args.seed
        return torch.utils.data.DataLoader(
            self._dataset,  # type: ignore[arg-type]
            batch_sampler=batches,
            num_workers=self._args.num_workers,
            pin_memory=self._args.ngpu > 0,
            worker_init_fn=partial(espnet.load("worker_init_fn"), base_seed=seed),
            collate_fn=self._collate,
        )


def iter_factory(args: argparse.Namespace, options: Any, rank: int, processes: int) -> Any:
    """Return the factory of the training batches.

    Args:
        options: ESPnet's options of the training iterator.
    """
    dataset = ShardDataset(_tables(args), options.preprocess_fn)
    plan = ShardPlan(args, rank, processes)
    return ShardIterFactory(plan, dataset, args, options.collate_fn)
