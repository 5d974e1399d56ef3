"""Run ESPnet's training command for a recipe: merge the configuration, check it, train.

`<exp_dir>/train.yaml` and the logged command contain all of ESPnet's options, so a training can be
repeated by hand.
"""

import argparse
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_ext.errors import UserError
from espnet_ext.files import atomic_path, read_yaml, write_text
from espnet_ext.model.conditions import condition_file
from espnet_ext.model.config import TEXT_PREFIX, suggest
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.model.unit_frontend import reads_units
from espnet_ext.progress import say
from espnet_ext.text.tokenizers import TOKENIZER_FILES, read_token_list
from espnet_ext.training import (
    auto_batch_bins,
    compiled_layers,
    failures,
    processes,
    sharding,
    shards,
    signals,
    speed,
    trained_with,
)
from espnet_ext.training.activation import (
    add_conditions,
    add_label_sets,
    check_training_labels,
    count_label_sets,
    partly_tagged,
    tags_of,
)
from espnet_ext.training.balance import BalanceOptions
from espnet_ext.training.checks import (
    check_best_model_criterion,
    check_config,
    check_optimization,
    check_repeat_options,
    check_validation_labels,
)
from espnet_ext.training.config import (
    check_known,
    merge,
    merge_overlay,
    use_checkpoint,
    with_decoder_language,
)
from espnet_ext.training.finish import finish as _finish
from espnet_ext.training.finish import is_complete, record_start
from espnet_ext.training.lock import FolderLock
from espnet_ext.training.schedule import matching_batches, process_count, total_steps
from espnet_ext.training.unit_training import add_unit_layout
from espnet_ext.units.input_set import INPUTS


@dataclass(frozen=True)
class Data:
    """Folders and names of the dumped sets, token lists and statistics of one language."""

    dump: Path  # contains the sets
    train_set: str
    valid_set: str
    token_dir: Path  # contains <output>_<type>/tokens.txt
    token_types: Mapping[str, str]  # output → token type
    stats: Path  # contains the shape files in train/ and valid/
    joint_tokens: Path | None = None  # joint vocabulary of a system that reads discrete units
    units: Path | None = None  # its k-means

    @property
    def sets(self) -> tuple[Path, Path]:
        """The folders of the training and the validation set."""
        return self.dump / self.train_set, self.dump / self.valid_set


def parse_token_types(words: Sequence[str]) -> dict[str, str]:
    """Parse words of the form `OUTPUT=TYPE` into a mapping output → token type.

    >>> parse_token_types(["surface=phone"])
    {'surface': 'phone'}
    """
    for word in words:
        if word.count("=") != 1:
            raise UserError(f"'{word}' is not OUTPUT=TYPE", 'write, e.g., "surface=phone"')
    return dict(word.split("=") for word in words)


def merged_config(config: Path, overlays: Sequence[Path]) -> dict[str, Any]:
    """Read the base configuration, and merge the overlays into it in order."""
    merged = read_yaml(config)
    for overlay in overlays:
        merged = merge_overlay(merged, read_yaml(overlay))
    return merged


def add_token_lists(
    config: Mapping[str, Any], data: Data
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the configuration with the token type, tokens and SentencePiece model of each output.

    Returns:
        The configuration, and file name → path of the SentencePiece models and tokenizers to
        copy to the folder of the model.
    """
    filled, models = {}, {}
    for name, output in parse_outputs(config).items():
        entry = dict(config["outputs"][name])
        if name not in data.token_types:
            raise UserError(
                f"the system has an output '{name}', but no token type is given for it "
                f"(token types are given for: {', '.join(data.token_types)})",
                suggest(name, list(data.token_types)),
            )
        kind = data.token_types[name]
        if entry.get("token_type", kind) != kind:
            raise UserError(
                f"output '{name}' has token_type {entry['token_type']} in the system but {kind} in "
                "the recipe",
                "remove token_type from the system: token types are options of the recipe",
            )
        token_folder = data.token_dir / f"{name}_{kind}"
        entry["token_type"] = kind
        entry["token_list"] = read_token_list(output.token_list or token_folder / "tokens.txt")
        if kind in TOKENIZER_FILES:
            entry["bpemodel"] = f"{name}_{TOKENIZER_FILES[kind]}"
            models[entry["bpemodel"]] = Path(
                output.bpemodel or token_folder / TOKENIZER_FILES[kind]
            )
        filled[name] = entry
    return {**config, "outputs": filled}, models


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    """Copy files (name in the folder → path) to a folder."""
    for name, source in files.items():
        if not source.is_file():
            raise UserError(f"{source}: no such file", "run stages 5 and 10")
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(source, temporary)


def train(
    config: Path,
    overlays: Sequence[Path],
    data: Data,
    exp_dir: Path,
    options: Sequence[str],
    match_updates: Path | None = None,
    feats_normalize: str = "",
    pretrained: str = "",
    *,
    resume_changed: bool = False,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Train a system in `exp_dir`. A training that was interrupted or is shorter is continued.

    Args:
        config: base configuration (YAML).
        overlays: configurations (YAML) that are merged into the base configuration, in order.
        options: further options of ESPnet's training command, e.g. ["--max_epoch", "5"].
        match_updates: folder with the statistics of another training set, whose number of batches
            per epoch is used.
        feats_normalize: replaces `normalize` of the configuration (`with_normalization`).
        pretrained: checkpoint for the parts that are `pretrained` (`use_checkpoint`).
        resume_changed: continue a training that began with another configuration or other data.
        overwrite: rename the folder of such a training, and train from scratch.
        provenance: command, commit and machine, for train.json.

    Raises:
        UserError: if the configuration is wrong, the folder has a training that began differently,
            the training diverges, or the machine fails.
    """
    merged = merged_config(config, overlays)
    _check_keys(merged, config)
    merged = with_normalization(merged, feats_normalize)
    if pretrained:
        merged = use_checkpoint(merged, pretrained)
    merged = with_decoder_language(merged, data.dump / data.train_set)
    merged, files = add_token_lists(merged, data)
    merged, unit_files = add_unit_layout(merged, data.sets, data.joint_tokens, data.units)
    files |= unit_files
    sets = _label_sets(data, merged)
    merged = add_label_sets(merged, sets)
    merged = add_conditions(merged, data.sets)
    if merged.get("normalize") == "global_mvn":
        files["feats_stats.npz"] = data.stats / "train" / "feats_stats.npz"
        if not files["feats_stats.npz"].is_file():
            message = f"{files['feats_stats.npz']}: no such statistics"
            raise UserError(message, "run stage 10 with this configuration")
        merged = merge(merged, {"normalize_conf": {"stats_file": "feats_stats.npz"}})
    _check(merged, config)
    names = ["speech", *(TEXT_PREFIX + name for name in merged["outputs"])]
    further = [
        *("--output_dir", str(exp_dir), "--resume", "true"),
        *_data_options(data, names, reads_units=reads_units(merged)),
        *_condition_options(data, merged.get("conditions") or {}),
        *options,
    ]
    with tempfile.TemporaryDirectory() as temporary:
        # Nothing is written to exp_dir until the training may continue there.
        path = Path(temporary) / "train.yaml"
        _write_config(path, merged)
        args = _parse(["--config", str(path), *further])
        check_optimization(vars(args), str(config))  # also what the command line changes
        check_best_model_criterion(vars(args), str(config))
        check_repeat_options(vars(args), str(config))
        if args.balance:
            BalanceOptions.parse(args.balance, str(config))
        speed.check(args, str(config))
        compiled_layers.check(args, str(config))
        sharding.check(args, str(config))
        shards.check(args, str(config))
        auto_batch_bins.check(args, str(config))
        is_auto = args.batch_bins == auto_batch_bins.AUTO
        if is_auto and match_updates is not None:
            message = f"{config}: batch_bins: auto makes as many batches as the memory decides"
            raise UserError(message, "write a number for trainings of equally many updates")
        if match_updates is not None:
            count = matching_batches(args, match_updates / "train")
            further += ["--num_iters_per_epoch", str(count)]
            args = _parse(["--config", str(path), *further])
        steps = None if is_auto else total_steps(args)
        is_first = processes.node_rank(args) == 0
        description = trained_with.describe(args, files)
        with FolderLock(exp_dir, is_first) as lock:
            start = trained_with.continue_or_start(
                exp_dir,
                description,
                elsewhere="--exp_dir; of run.sh: --expdir or --asr_tag",
                resume_changed=resume_changed,
                overwrite=overwrite,
                is_first=is_first,
            )
            if start.is_continued and is_complete(exp_dir, args):
                return
            with start.folder_restored_on_failure():
                if is_first:
                    if not is_auto and (line := speed.describe_batches(args)):
                        say(line)
                    valid = data.dump / data.valid_set
                    labels = count_label_sets(valid, list(merged["outputs"]))
                    check_validation_labels(labels, vars(args), valid)
                    lock.acquire()
                    _copy(files, exp_dir)
                    path = exp_dir / "train.yaml"
                    _write_config(path, merged)
                    trained_with.write(exp_dir, description)
                    record_start(exp_dir, provenance or {}, start.is_continued)
                command = ["--config", str(path), *further]
                if steps is not None:
                    command += ["--scheduler_conf", f"total_steps={steps}"]
                args = _parse(command)
                with failures.as_user_errors(exp_dir, process_count(args)):
                    _run_task(args, command)
                    if is_first:
                        _finish(exp_dir, vars(args), command)
                    processes.wait_for_all()


def _label_sets(data: Data, config: Mapping[str, Any]) -> Mapping[tuple[str, ...], int]:
    """Return label set → number of training utterances.

    Raises:
        UserError: if an output has no label at all.
    """
    outputs, tags = list(config["outputs"]), tags_of(config["outputs"])
    folder = data.dump / data.train_set
    for name in outputs:
        if not (folder / f"text.{name}").is_file():
            raise UserError(f"{folder / f'text.{name}'}: no such file", "run stages 1 to 4")
    sets = count_label_sets(folder, outputs, tags)
    check_training_labels(sets, folder, outputs)
    if len(sets) > 1:
        counts = ", ".join(
            f"{count} {'+'.join(labels) or 'none'}" for labels, count in sorted(sets.items())
        )
        print(f"{folder}: utterances per label set: {counts}")
    if config.get("conditioning") is None:
        for tag, tagged, untagged in partly_tagged(sets, tags):
            name, _, kind = tag.partition(".")
            say(
                f"warning: {folder / f'text.{name}'}: {tagged} transcripts have a tag '{kind}' and "
                f"{untagged} have none, so the system will learn to omit the tag. Set "
                "conditioning: vectors to request the tag explicitly."
            )
    return sets


def with_normalization(config: Mapping[str, Any], feats_normalize: str) -> dict[str, Any]:
    """Return the configuration with another normalisation of features.

    Args:
        feats_normalize: `global_mvn`, `utterance_mvn` or `none`; "" keeps the configuration's.
    """
    if not feats_normalize:
        return dict(config)
    kind = None if feats_normalize == "none" else feats_normalize
    if config.get("normalize") == kind:
        return dict(config)
    return {**config, "normalize": kind, "normalize_conf": {}}


def collect_stats(
    config: Path,
    data: Data,
    options: Sequence[str],
    feats_normalize: str = "",
    pretrained: str = "",
) -> None:
    """Write the shape files (stage 10), and the feature statistics that `global_mvn` needs.

    Args:
        feats_normalize, pretrained: as for `train`.
    """
    outputs = {
        name: {"branch": "ctc", "ctc_weight": 1.0} for name in data.token_types
    }  # the lengths do not depend on the branches, so use any
    merged = with_normalization({**read_yaml(config), "outputs": outputs}, feats_normalize)
    if pretrained:
        merged = use_checkpoint(merged, pretrained)
    merged, files = add_token_lists(merged, data)
    merged, unit_files = add_unit_layout(merged, data.sets, data.joint_tokens, data.units)
    vocabulary_size = merged["frontend_conf"]["layout"]["tokens"] if unit_files else None
    _copy(files, data.stats)
    if merged.get("normalize") == "global_mvn":
        merged = {**merged, "normalize": None, "normalize_conf": {}}
        merged = add_conditions(merged, data.sets)
        _check(merged, config)
        _write_config(data.stats / "stats.yaml", merged)
        names = ["speech", *(TEXT_PREFIX + name for name in outputs)]
        command = [
            "--collect_stats",
            "true",
            "--config",
            str(data.stats / "stats.yaml"),
            "--output_dir",
            str(data.stats),
            *_data_options(data, names, shapes=False),
            *options,
        ]
        with failures.as_user_errors(data.stats):
            _run_task(_parse(command), command)
    from espnet_ext.training.stats import write_shapes

    typed = parse_outputs(_absolute_bpe(merged, data.stats))
    for kind, name in (("train", data.train_set), ("valid", data.valid_set)):
        count = write_shapes(data.dump / name, typed, data.stats / kind, vocabulary_size)
        print(f"{data.stats / kind}: lengths of {count} utterances")


def _absolute_bpe(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    outputs = {
        name: {**e, "bpemodel": str(folder / e["bpemodel"])} if e.get("bpemodel") else e
        for name, e in config["outputs"].items()
    }
    return {**config, "outputs": outputs}


def _check_keys(config: Mapping[str, Any], source: Path) -> None:
    """Raise `UserError` for unknown top-level keys."""
    from espnet_ext.training.task import DualOutputTask

    actions = DualOutputTask.get_parser()._actions
    check_known(config, sorted({action.dest for action in actions} - {"help"}), str(source))


def _check(config: Mapping[str, Any], source: Path) -> None:
    """Raise `UserError` for wrong top-level keys and values.

    The `*_conf` of a part is checked when the part is built.
    """
    from espnet_ext.training.task import DualOutputTask

    check_config(config, DualOutputTask.get_parser(), str(source))


def _parse(command: list[str]) -> argparse.Namespace:
    from espnet_ext.training.task import DualOutputTask

    return DualOutputTask.get_parser().parse_args(command)


def _run_task(args: argparse.Namespace, command: list[str]) -> None:
    from espnet_ext.training.task import DualOutputTask

    say(f"python -m espnet_ext.training {shlex.join(command)}")
    with signals.interruption_of_subprocesses(args.multiprocessing_distributed and args.ngpu > 1):
        DualOutputTask.main(args=args)


def _write_config(path: Path, config: Mapping[str, Any]) -> None:
    write_text(path, yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False))


def _data_options(
    data: Data, names: Sequence[str], shapes: bool = True, reads_units: bool = False
) -> list[str]:
    options = []
    speech, kind_of_speech = (INPUTS, "text_int") if reads_units else ("wav.scp", "sound")
    for kind, folder in (("train", data.train_set), ("valid", data.valid_set)):
        for name in names:
            is_speech = name == "speech"
            file = speech if is_speech else f"text.{name.removeprefix(TEXT_PREFIX)}"
            path = data.dump / folder / file
            if not path.is_file():
                remedy = (
                    "write the set: espnet-ext unit_inputs" if reads_units else "run stages 1 to 4"
                )
                raise UserError(f"{path}: no such file", remedy)
            options += [
                f"--{kind}_data_path_and_name_and_type",
                f"{path},{name},{kind_of_speech if is_speech else 'text'}",
            ]
            if shapes:
                shape = data.stats / kind / f"{name}_shape"
                if not shape.is_file():
                    raise UserError(f"{shape}: no such file", "run stage 10")
                options += [f"--{kind}_shape_file", str(shape)]
    return options


def _condition_options(data: Data, names: Iterable[str]) -> list[str]:
    """Return the options with which ESPnet reads the conditions of a batch."""
    return [
        word
        for kind, folder in (("train", data.train_set), ("valid", data.valid_set))
        for name in names
        for word in (
            f"--{kind}_data_path_and_name_and_type",
            f"{data.dump / folder / condition_file(name)},{name},text",
        )
    ]
