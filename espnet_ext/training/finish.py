"""The end of a training: whether it is done, the link model.pth, and train.json."""

import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.files import read_json, read_yaml, write_json, write_link
from espnet_ext.model import checksums
from espnet_ext.progress import say
from espnet_ext.training import checkpoints
from espnet_ext.training.trained_with import has_weights

FILE = "train.json"
STARTS = "starts.json"  # the provenance of every start of a training


def record_start(exp_dir: Path, provenance: Mapping[str, Any], is_continued: bool) -> None:
    """Add a start of the training to starts.json. An earlier training's starts are removed."""
    path = exp_dir / STARTS
    earlier: list[Any] = []
    if is_continued:
        earlier = read_json(path) if path.exists() else [{}]
    write_json(path, [*earlier, dict(provenance)])


def finish(exp_dir: Path, config: Mapping[str, Any], command: Sequence[str]) -> None:
    """Link model.pth to the averaged weights, and describe the training in train.json.

    Of several processes, only the first may call this.

    Raises:
        UserError: if there are no weights, or they are damaged or not finite.
    """
    from espnet_ext.model.load import load_model

    criterion = (config.get("best_model_criterion") or [["valid", "acc", "max"]])[0]
    chosen = final_weights(exp_dir, f"{criterion[0]}.{criterion[1]}")
    model, _ = load_model(exp_dir, chosen.name)
    facts = {
        "outputs": list(config["outputs"]),
        "branches": {name: o.get("branch") for name, o in config["outputs"].items()},
    }
    line = f"python -m espnet_ext.training {shlex.join(command)}"
    record_end(exp_dir, chosen, model, config, line, facts)


def final_weights(exp_dir: Path, stem: str) -> Path:
    """Return the averaged weights of a criterion, such as valid.acc.

    Raises:
        UserError: if there are none.
    """
    candidates = [*exp_dir.glob(f"{stem}.ave*.pth"), *exp_dir.glob(f"{stem}.best.pth")]
    candidates = [path for path in candidates if path.exists()]  # links can lead nowhere
    if not candidates:
        raise UserError(
            f"{exp_dir}: training wrote no {stem} weights",
            "look in the log for the reason: no epoch may have finished",
        )
    # `<stem>.ave.pth` links to the average of the most models: prefer it over `.ave_1best`.
    return next((p for p in candidates if p.name == f"{stem}.ave.pth"), candidates[0])


def record_end(
    exp_dir: Path,
    chosen: Path,
    model: Any,
    config: Mapping[str, Any],
    command: str,
    facts: Mapping[str, Any],
) -> None:
    """Link model.pth to the chosen weights, and write train.json.

    Args:
        chosen: file of the weights in `exp_dir`.
        model: the model with these weights.
        config: configuration of the training.
        command: command of the training.
        facts: further entries of train.json, which come first.

    Raises:
        UserError: if a weight is not finite.
    """
    import torch

    from espnet_ext.training.health import check_weights

    check_weights(model, str(chosen))
    write_link(exp_dir / "model.pth", chosen.name)
    epochs, seconds = epochs_and_seconds(exp_dir / "checkpoint.pth")
    starts = read_json(exp_dir / STARTS) if (exp_dir / STARTS).exists() else [{}]
    write_json(
        exp_dir / FILE,
        {
            **facts,
            "parameters": sum(p.numel() for p in model.parameters()),
            "epochs": epochs,
            "max_epoch": config["max_epoch"],
            "patience": config.get("patience"),
            "seconds": round(seconds, 1),
            "weights": chosen.name,
            "command": command,
            "torch_threads": torch.get_num_threads(),
            "provenance": starts[0],
            "restarts": starts[1:],
        },
    )
    print(f"{exp_dir}/model.pth -> {chosen.name}: {epochs} epochs, {seconds:.0f} s")


def epochs_and_seconds(checkpoint: Path) -> tuple[int, float]:
    """Return the number of epochs, and their seconds of training and validation in total.

    Epochs before a resume are included.
    """
    import torch

    saved = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    stats = saved["reporter"]["stats"]
    times = [part["time"] for epoch in stats.values() for part in epoch.values()]
    # ESPnet writes a duration as {"__timedelta_seconds__": seconds}.
    return len(stats), sum(sum(time.values()) for time in times)


def finished_epochs(exp_dir: Path) -> int | None:
    """Return the epochs of a finished training; None if there is none in the folder."""
    if not ((exp_dir / FILE).is_file() and (exp_dir / "model.pth").exists()):
        return None
    return int(read_json(exp_dir / FILE)["epochs"])


def is_complete(exp_dir: Path, args: Namespace) -> bool:
    """Return whether a folder has the finished training that is asked for, or a longer one.

    Raises:
        UserError: if its weights are damaged, or if it cannot be continued.
    """
    has_checkpoint = checkpoints.exists(exp_dir)
    epochs = finished_epochs(exp_dir)
    if epochs is None:
        if has_weights(exp_dir) and not has_checkpoint:
            raise UserError(
                f"{exp_dir}: contains weights but no checkpoint.pth, so training would start again "
                "and overwrite them",
                "restore checkpoint.pth, or train in another folder",
            )
        return False
    if epochs < args.max_epoch and _stopped_early(exp_dir, args):
        say(
            f"note: {exp_dir}: patience {args.patience} ended it after {epochs} epochs; a larger "
            "patience continues it"
        )
    elif epochs < args.max_epoch:
        if not has_checkpoint:
            raise UserError(
                f"{exp_dir}: a training of {epochs} epochs without checkpoint.pth, so it cannot be "
                f"continued to max_epoch {args.max_epoch}",
                "restore checkpoint.pth, or train in another folder",
            )
        say(f"note: {exp_dir}: {epochs} of {args.max_epoch} epochs are trained; training continues")
        return False
    if has_checkpoint and _selects_otherwise(exp_dir, args):
        return False
    checksums.check(exp_dir / "model.pth", "restore the file, or train again in another folder")
    if args.diagnose_every and not (exp_dir / "diagnostics.jsonl").exists():
        say(
            f"warning: {exp_dir}: diagnose_every has no effect, because this training is finished; "
            "to measure a new one, train in another folder, or rename this one (run.sh: --force "
            "true)"
        )
    say(f"note: {exp_dir}: kept: it was trained for {epochs} epochs (max_epoch {args.max_epoch})")
    return True


def _stopped_early(exp_dir: Path, args: Namespace) -> bool:
    """Return whether the same `patience` ended the training before its `max_epoch`."""
    record = read_json(exp_dir / FILE)
    is_same = record.get("patience") is not None and record["patience"] == args.patience
    return is_same and record["epochs"] < record["max_epoch"]


def _selects_otherwise(exp_dir: Path, args: Namespace) -> bool:
    """Return whether the final weights would be made of other epochs than those in the folder."""
    if not (exp_dir / "config.yaml").is_file():
        return True
    config = read_yaml(exp_dir / "config.yaml", exponents=False)
    for key in ("best_model_criterion", "keep_nbest_models"):
        if _as_lists(config.get(key)) != _as_lists(getattr(args, key)):
            return True
    return False


def _as_lists(value: Any) -> Any:
    return [_as_lists(item) for item in value] if isinstance(value, list | tuple) else value
