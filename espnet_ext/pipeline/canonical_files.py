"""Check that the data has the files that `--canonical_prior` needs, before stage 12 needs them.

    python -m espnet_ext.pipeline.canonical_files FILE.json --variants "SYSTEM:VARIANT …"

`run.sh` runs it as soon as the data is there: after stage 1, or at once if stage 1 is skipped.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.pipeline.variants import CANONICAL, PROMPT

NAMED = 5  # files that the message lists


def check_files(variables: Mapping[str, Any], variants: str) -> None:
    """Check the files of the error model and of the prompts.

    A set that is missing is not checked: the stages that read it report it.

    Args:
        variables: those of `run.sh`.
        variants: variants of decoding, "SYSTEM:VARIANT …".

    Raises:
        UserError: a test set has no canonical forms, or the training set lacks canonical forms or
            surface transcripts.
    """
    used = [name for name in CANONICAL if f":{name} " in f"{variants} "]
    if not used:
        return
    stages = set(map(int, variables["selected_stages"]))
    folder, training = f"{variables['dumpdir']}/raw", [variables["train_set"]]
    if stages & {1, 2, 3}:  # these make the other sets from the prepared ones
        folder, training = variables["datadir"], variables["train_sets"].split()
    elif 4 in stages:
        folder += "/org"
    lacking: list[str] = []
    for lang in variables["langs"].split():
        lacking += _lacking_training_files([Path(folder, lang, name) for name in training])
        if PROMPT in used:
            tests = [Path(folder, lang, name) for name in variables["test_sets"].split()]
            lacking += [file for test in tests for file in _lacking(test, "text.canonical")]
    if lacking:
        more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
        raise UserError(
            f"--canonical_prior {' '.join(used)}: no such file, or no transcript in it: "
            f"{', '.join(lacking[:NAMED])}{more}",
            "write canonical forms, for example by 'espnet-ext g2p --lang en --kaldi "
            "DIR/text.meaning DIR/text.canonical', or leave out --canonical_prior. The training "
            "set needs text.canonical and text.surface"
            + (", every test set text.canonical" if PROMPT in used else ""),
        )


def _lacking_training_files(folders: Sequence[Path]) -> Iterator[str]:
    """Yield the files that all of the training sets lack: one set is enough for the error model."""
    present = [folder for folder in folders if (folder / "wav.scp").exists()]
    by_set = [list(_lacking(folder, "text.canonical", "text.surface")) for folder in present]
    if by_set and all(by_set):
        yield from by_set[0]


def _lacking(folder: Path, *names: str) -> Iterator[str]:
    """Yield the paths of files of a data directory that are missing or have no transcript."""
    for name in names if (folder / "wav.scp").exists() else ():
        path = folder / name
        if not path.is_file() or not _has_transcript(path):
            yield str(path)


def _has_transcript(path: Path) -> bool:
    with path.open("rb") as lines:
        return any(len(line.split(maxsplit=1)) == 2 for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("variables", type=Path, help="JSON file with the variables of run.sh")
    parser.add_argument("--variants", default="", help="variants of decoding, SYSTEM:VARIANT …")
    args = parser.parse_args(argv)
    try:
        check_files(json.loads(args.variables.read_text(encoding="utf-8")), args.variants)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
