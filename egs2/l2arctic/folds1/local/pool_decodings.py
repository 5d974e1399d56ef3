"""Pool the decodings of several test sets as if one command had decoded them.

usage: pool_decodings.py OUTPUT_DIR DECODE_DIR...

Writes the hypotheses `text.<output>` of all folders, a `decode.json` with the values that are equal
in all of them and the sums of utterances and times, and in the folder of the pooled model a
`training_options.yaml` with the options that all trainings have in common.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from espnet_ext.errors import UserError
from espnet_ext.files import read_json, read_yaml, write_json, write_text

MODEL = Path("../..")  # from <model>/<decoding>/<set>
SUMS = ("utterances", "failed", "reused", "audio_seconds", "seconds")


def common_values(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the items that all mappings have, also of nested mappings.

    >>> common_values([{"a": 1, "b": {"c": 2, "d": 3}}, {"a": 0, "b": {"c": 2}}])
    {'b': {'c': 2}}
    """
    common = {}
    for key, value in records[0].items():
        values = [record.get(key) for record in records]
        if all(isinstance(one, dict) for one in values):
            common[key] = common_values(values)
        elif all(one == value for one in values):
            common[key] = value
    return common


def pool_records(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one `decode.json` for several.

    >>> pool_records([{"device": "cpu", "seconds": 2}, {"device": "cpu", "seconds": 3}])
    {'device': 'cpu', 'seconds': 5}
    """
    pooled = common_values(records)
    first = records[0]
    for key in SUMS:
        if key in first:
            pooled[key] = round(sum(record[key] for record in records), 3)
    if "rtf" in first:
        pooled["rtf"] = round(pooled["seconds"] / pooled["audio_seconds"], 4)
    return pooled


def pool_texts(paths: Sequence[Path]) -> str:
    """Return the rows of several Kaldi tables, in Kaldi's order.

    Raises:
        UserError: if an utterance is in two of them.
    """
    rows: dict[str, str] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            utt_id = line.split(maxsplit=1)[0]
            if utt_id in rows:
                raise UserError(f"{path}: {utt_id}: is in two folds", "decode the folds again")
            rows[utt_id] = line + "\n"
    return "".join(rows[utt_id] for utt_id in sorted(rows, key=str.encode))


def main(output: Path, folders: Sequence[Path]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for text in sorted(folders[0].glob("text.*")):
        paths = [folder / text.name for folder in folders]
        if lacking := [path for path in paths if not path.exists()]:
            raise UserError(f"{lacking[0]}: no such file", "decode this fold (stage 5)")
        write_text(output / text.name, pool_texts(paths))
    records = [folder / "decode.json" for folder in folders]
    if all(path.exists() for path in records):
        write_json(output / "decode.json", pool_records([read_json(path) for path in records]))
    configs = [folder / MODEL / "config.yaml" for folder in folders]
    if all(path.exists() for path in configs):
        options = common_values([read_yaml(path) for path in configs])
        target = output / MODEL / "training_options.yaml"  # no config.yaml: there is no model
        write_text(target, yaml.safe_dump(options, allow_unicode=True))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    try:
        main(Path(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
    except UserError as error:
        print(f"error: {error.message}\n  remedy: {error.remedy}", file=sys.stderr)
        sys.exit(1)
