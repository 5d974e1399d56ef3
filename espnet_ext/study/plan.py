"""Which cells of a study are done, the hours of the others, and the calls of run.sh for them."""

import itertools
import os
import shlex
from collections.abc import Iterator, Sequence

from espnet_ext.study.design import Cell, Study, folder_of, percent


def is_done(root: str | os.PathLike, cell: Cell, dset: str) -> bool:
    """Return whether a cell has scores of a set. Whether they are current, run.sh decides."""
    return (folder_of(root, cell) / "decode" / dset / "score.json").is_file()


def hours(study: Study, cells: Sequence[Cell], sets: int = 1) -> float:
    """Return the estimated hours of training and decoding cells, several in parallel."""
    minutes = sum(
        study.minutes.get(cell.language, 0.0) + sets * study.decode_minutes for cell in cells
    )
    return minutes / 60 / study.parallel


def calls(
    study: Study,
    root: str | os.PathLike,
    cells: Sequence[Cell],
    dset: str,
    *,
    per_call: int = 1,
    verify: bool = False,
) -> Iterator[str]:
    """Yield one line per call of run.sh, in the order of running.

    A line has the fields condition, language, share in percent, seed, batches per epoch, estimated
    seconds and systems, separated by tabs.

    Args:
        dset: set whose scores make a cell done.
        per_call: number of systems per call, which are trained in parallel.
        verify: also yield calls for cells that are done, so that run.sh checks them.
    """
    remaining = [cell for cell in cells if verify or not is_done(root, cell, dset)]
    for key, group in itertools.groupby(
        remaining, key=lambda cell: (cell.condition, cell.language, cell.share, cell.seed)
    ):
        for chunk in itertools.batched(group, per_call):
            condition, language, share, seed = key
            seconds = 3600 * hours(study, chunk) * study.parallel / len(chunk)
            systems = " ".join(cell.system for cell in chunk)
            yield "\t".join(
                map(
                    str,
                    (
                        *(condition, language, percent(share), seed),
                        *(study.batches_per_epoch[language], round(seconds), systems),
                    ),
                )
            )


def overview(study: Study, root: str | os.PathLike, cells: Sequence[Cell]) -> list[str]:
    """Return the plan as lines for a terminal: per setting and seed, what is done and the hours."""
    lines = [f"{'condition':<12}{'lang':<6}{'share':<7}{'seed':<6}{'done':<9}{'hours':<7}systems"]
    total = 0.0
    for key, group in itertools.groupby(
        cells, key=lambda cell: (cell.condition, cell.language, cell.share, cell.seed)
    ):
        members = list(group)
        condition, language, share, seed = key
        remaining = [cell for cell in members if not is_done(root, cell, study.valid_set)]
        needed = hours(study, remaining)
        total += needed
        names = " ".join(cell.system + "✓" * (cell not in remaining) for cell in members)
        done = f"{len(members) - len(remaining)}/{len(members)}"
        lines.append(
            f"{condition:<12}{language:<6}{percent(share) + ' %':<7}{seed:<6}{done:<9}"
            f"{needed:<7.2f}{names}"
        )
    finished = sum(is_done(root, cell, study.valid_set) for cell in cells)
    tested = sum(is_done(root, cell, study.test_set) for cell in cells)
    lines.append(
        f"{finished} of {len(cells)} cells are trained and scored on {study.valid_set}, {tested} "
        f"on {study.test_set}; about {total:.1f} hours remain with {study.parallel} trainings in "
        "parallel"
    )
    return lines


def shell_settings(study: Study) -> Iterator[str]:
    """Yield assignments of bash for local/study.sh; values are quoted."""
    values = {
        "recipe": study.recipe,
        "run_options": study.run_options,
        "train_options": study.train_options,
        "diagnose_every": study.diagnose_every,
        "drop_output": study.drop["output"],
        "drop_seed": study.drop["seed"],
        "valid_set": study.valid_set,
        "test_set": study.test_set,
        "similarity": " ".join(study.similarity),
        "analyses": " ".join(study.analyses),
    }
    for name, value in values.items():
        yield f"{name}={shlex.quote(str(value))}"
    for condition, options in study.conditions.items():
        yield f"condition_options[{shlex.quote(condition)}]={shlex.quote(options)}"
