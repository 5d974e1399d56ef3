"""Balanced sampling: draw groups of utterances in proportion to a power of their sizes.

A group of n utterances is drawn in proportion to n ** (1 / T), where T is the temperature, as
multilingual models sample their languages (Arivazhagan et al., arXiv 1907.05019, section 4.2).
Every utterance is drawn at least once per epoch; those of small groups are repeated.
"""

import argparse
import collections
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.model.config import TEXT_PREFIX, check_keys, suggest
from espnet_ext.progress import say
from espnet_ext.training.repeat import RepeatFactorSampler, sampler_of_factors

LABELS = "labels"  # the outputs that an utterance has a transcript for
_ALIASES = {"language": "lang", "first_language": "l1"}
_WITHOUT = "none"  # the label of utterances without one
_LEAST_STEP = 1.05  # ratio of two repeat factors; closer ones become equal
_SHOWN = 12  # groups in the log
_MANY_DRAWS = 10  # per epoch, of an utterance; more are reported


@dataclass(frozen=True)
class BalanceOptions:
    """Options of `balance`."""

    by: tuple[str, ...]  # `labels`, or names of tables utt2<name>
    temperature: float = 2.0  # 1: as in the data; infinity: all groups equally often

    @classmethod
    def parse(cls, conf: Mapping[str, Any], source: str = "") -> "BalanceOptions":
        """Return the options of `balance`; `UserError` for unknown keys and values.

        >>> BalanceOptions.parse({"by": ["language", "labels"], "temperature": 5})
        BalanceOptions(by=('lang', 'labels'), temperature=5.0)
        """
        where = f"{source}: balance" if source else "balance"
        check_keys(conf, list(cls.__dataclass_fields__), where)
        by = conf.get("by")
        names = [by] if isinstance(by, str) else by
        if not isinstance(names, list | tuple) or not names or not all(map(_is_name, names)):
            raise UserError(
                f"{where}.by: {by!r} is not a list of names",
                "write, e.g., by: [corpus, language, labels]",
            )
        names = [_ALIASES.get(name, name) for name in names]
        if len(set(names)) < len(names):
            raise UserError(f"{where}.by: {by!r} has a name twice", "write each name once")
        value = conf.get("temperature", cls.temperature)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not value > 0:
            raise UserError(
                f"{where}.temperature: {value!r} is not a number above 0",
                "write 1 (as in the data), a larger number, or .inf (all groups equally often)",
            )
        return cls(tuple(names), float(value))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier()


class BalancedSampler(RepeatFactorSampler):
    """Samples every utterance once per epoch, and those of small groups again.

    `groups` is set by `balanced_sampler`: utterance id → name of its group.
    """

    groups: Mapping[str, str]

    def __repr__(self) -> str:
        before = collections.Counter(self.groups.values())
        after = dict.fromkeys(before, 0.0)
        for utt_id, draws in self.draws().items():
            after[self.groups[utt_id]] += draws
        total, drawn = sum(before.values()), sum(after.values())
        shares = [
            f"{name} {100 * count / total:.1f} → {100 * after[name] / drawn:.1f} % "
            f"(× {after[name] / count:.2f})"
            for name, count in before.most_common(_SHOWN)
        ]
        if len(before) > _SHOWN:
            shares.append(f"and {len(before) - _SHOWN} smaller groups")
        return (
            f"{type(self).__name__}(N-batch={len(self)}, {drawn:.0f} draws of {total} utterances, "
            f"shares: {'; '.join(shares)})"
        )


def balanced_sampler(
    args: argparse.Namespace, rank: int = 0, processes: int = 1
) -> BalancedSampler:
    """Return the sampler of a training set with `balance`.

    Args:
        args: ESPnet's training arguments, and `balance`.
        rank: rank of this process.
        processes: number of processes that train together.

    Raises:
        UserError: if a label does not exist, or there are fewer than two groups.
    """
    options = BalanceOptions.parse(args.balance)
    groups = groups_of(args, options)
    factors = balance_factors(groups, options.temperature)
    if rank == 0:
        for line in _warnings(groups, factors):
            say(line)
    sampler = sampler_of_factors(
        args,
        factors,
        f"balance: {dict(args.balance)}",
        rank,
        processes,
        least_step=_LEAST_STEP,
        kind=BalancedSampler,
    )
    sampler.groups = groups
    return sampler


def _warnings(groups: Mapping[str, str], factors: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for utterances without a label, and one for groups that are drawn very often."""
    unlabelled = [utt_id for utt_id, name in groups.items() if _WITHOUT in name.split("/")]
    if unlabelled:
        yield (
            f"warning: balance: {len(unlabelled)} utterances lack a label and form groups "
            f"named {_WITHOUT}, the first is {unlabelled[0]}: complete the tables if they have one"
        )
    often = {groups[utt_id]: n for utt_id, n in factors.items() if n > _MANY_DRAWS}
    if often:
        named = ", ".join(f"{name} × {factor:.0f}" for name, factor in list(often.items())[:_SHOWN])
        yield (
            f"warning: balance: utterances of small groups are drawn more than {_MANY_DRAWS} times "
            f"per epoch: {named}: check their labels, or lower the temperature"
        )


def balance_factors(groups: Mapping[str, str], temperature: float) -> dict[str, float]:
    """Return utterance id → how often it is to be drawn per epoch; at least 1.

    Args:
        groups: utterance id → group.

    >>> balance_factors({"a": "x", "b": "y", "c": "y", "d": "y", "e": "y"}, 2.0)
    {'a': 2.0, 'b': 1.0, 'c': 1.0, 'd': 1.0, 'e': 1.0}
    """
    sizes = collections.Counter(groups.values())
    rates = {name: size ** (1 / temperature - 1) for name, size in sizes.items()}
    least = min(rates.values())
    return {utt_id: rates[name] / least for utt_id, name in groups.items()}


def groups_of(args: argparse.Namespace, options: BalanceOptions) -> dict[str, str]:
    """Return utterance id → the name of its group, for every utterance of the first shape file.

    Args:
        args: ESPnet's training arguments; the tables are in the folder of the training set.

    Raises:
        UserError: if there is no such label, or there is only one group.
    """
    utterances = list(read_table(args.train_shape_file[0]))
    folder = _training_folder(args)
    columns = []
    for name in options.by:
        labels = _label_sets(args) if name == LABELS else _read_labels(folder, name)
        column = [labels.get(utt_id) or _WITHOUT for utt_id in utterances]
        if all(label == _WITHOUT for label in column):
            what = "a transcript" if name == LABELS else f"a label in {folder / f'utt2{name}'}"
            raise UserError(
                f"balance.by: {name}: no utterance of the training set has {what}",
                "remove the name, or correct the file",
            )
        columns.append(column)
    names = ["/".join(row) for row in zip(*columns, strict=True)]
    if len(set(names)) < 2:
        raise UserError(
            f"balance.by: {', '.join(options.by)}: all {len(names)} utterances of the training set "
            f"are in one group, {names[0]}",
            "remove balance, or add a label that differs",
        )
    return dict(zip(utterances, names, strict=True))


def _label_sets(args: argparse.Namespace) -> dict[str, str]:
    """Return utterance id → the outputs that it has a transcript for, joined by `+`."""
    outputs: dict[str, list[str]] = {}
    for path, name, _ in args.train_data_path_and_name_and_type:
        if name.startswith(TEXT_PREFIX):
            for utt_id, text in read_table(path).items():
                if text not in ("", NA):
                    outputs.setdefault(utt_id, []).append(name.removeprefix(TEXT_PREFIX))
    return {utt_id: "+".join(names) for utt_id, names in outputs.items()}


def _read_labels(folder: Path, name: str) -> dict[str, str]:
    path = folder / f"utt2{name}"
    if not path.is_file():
        known = [LABELS, *sorted(file.name.removeprefix("utt2") for file in folder.glob("utt2*"))]
        raise UserError(
            f"{path}: no such file, but balance.by names {name}",
            f"{suggest(name, known)}; or write the file, one line per utterance: ID LABEL",
        )
    return read_table(path)


def _training_folder(args: argparse.Namespace) -> Path:
    tables = args.train_data_path_and_name_and_type
    return next((Path(path).parent for path, name, _ in tables if name == "speech"), Path("."))
