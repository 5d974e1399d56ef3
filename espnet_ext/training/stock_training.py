"""Train the stock ESPnet ASR model of the size of a single-output system: a baseline.

ESPnet's own command `asr_train` (task, model and trainer) runs on the dumped data, the token list
and the training options of the system. What only this package has is left out, and named:
`scale_embeddings`, `cpu_autocast` and the like.
"""

import json
import subprocess
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table, write_table
from espnet_ext.errors import UserError
from espnet_ext.files import write_json, write_text
from espnet_ext.model import espnet, stock
from espnet_ext.model.config import TEXT_PREFIX
from espnet_ext.model.export import stock_config
from espnet_ext.model.load import load_model
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.progress import say
from espnet_ext.training import run
from espnet_ext.training.finish import epochs_and_seconds
from espnet_ext.training.health import check_weights
from espnet_ext.training.schedule import total_steps

DATA = "stock_data"  # folder of the transcripts and lengths, in the experiment folder
# Options of ESPnet's trainer whose values are this package's own, or that are set here
_SET_HERE = ("config", "output_dir", "resume", "use_preprocessor", "version", "print_config")


def train_stock(
    config: Path,
    overlays: Sequence[Path],
    data: run.Data,
    exp_dir: Path,
    options: Sequence[str],
    feats_normalize: str = "",
    *,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Train a stock model in `exp_dir`; an interrupted training is continued.

    Args:
        config: base configuration (YAML).
        overlays: configurations (YAML) of the single-output system, merged into the base.
        data: dumped data, token lists and lengths (stage 10).
        options: further options of ESPnet's training command, as for `run.train`. Those that stock
            ESPnet lacks are left out.
        feats_normalize: replaces `normalize` of the configuration.
        provenance: command, commit and machine, for train.json.

    Raises:
        UserError: the system has several outputs, or a part that stock ESPnet lacks; or the
            training fails.
    """
    merged = run.with_normalization(run.merged_config(config, overlays), feats_normalize)
    merged, files = run.add_token_lists(merged, data)
    if len(merged["outputs"]) != 1:
        raise UserError(
            f"a stock model has one output, and the system has {', '.join(merged['outputs'])}",
            "choose a single-output system, such as conf/systems/so_meaning.yaml",
        )
    ((name, output),) = parse_outputs(merged).items()
    model = stock_config(merged, name, output)
    if output.bpemodel:
        model["bpemodel"] = str(files[output.bpemodel].resolve())
    if merged.get("normalize") == "global_mvn":
        stats_file = data.stats / "train" / "feats_stats.npz"
        model["normalize_conf"] = {**model["normalize_conf"], "stats_file": str(stats_file)}
    exp_dir.mkdir(parents=True, exist_ok=True)
    is_jamo = output.token_type == "jamo"
    further = _write_data(data, name, exp_dir / DATA, is_jamo)
    known = {action.dest for action in espnet.load("ASRTask").get_parser()._actions}
    settings, dropped = _trainer_settings(merged, [*further, *options], exp_dir, known)
    dropped += [key for key in merged.get("model_conf") or {} if key not in model["model_conf"]]
    if dropped:
        say(f"note: stock ESPnet has no {', '.join(sorted(dropped))}: left out")
    ngpu = settings.pop("ngpu", 0)
    path = exp_dir / "train.yaml"
    values = {**settings, **{key: value for key, value in model.items() if key in known}}
    write_text(path, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))
    command = [sys.executable, "-m", "espnet2.bin.asr_train", "--config", str(path)]
    command += ["--output_dir", str(exp_dir), "--resume", "true", "--use_preprocessor", "true"]
    command += ["--ngpu", str(ngpu), *further]
    if subprocess.run(command, check=False).returncode:
        raise UserError(
            f"{exp_dir}: ESPnet's asr_train failed, see its message above",
            "correct that and run again: the training continues",
        )
    weights = stock.find_weights(exp_dir, "model.pth")
    epochs, seconds = epochs_and_seconds(exp_dir / "checkpoint.pth")
    trained, _ = load_model(exp_dir, weights)
    check_weights(trained, str(exp_dir / weights))
    write_json(
        exp_dir / "train.json",
        {
            "outputs": [name],
            "parameters": sum(parameter.numel() for parameter in trained.parameters()),
            "epochs": epochs,
            "seconds": round(seconds, 1),
            "weights": weights,
            "command": " ".join(["python", *command[1:]]),
            "provenance": dict(provenance or {}),
        },
    )
    print(f"{exp_dir}: stock ESPnet model of {name}: {epochs} epochs, {seconds:.0f} s")


def _write_data(data: run.Data, output: str, folder: Path, is_jamo: bool) -> list[str]:
    """Write transcripts and lengths of the labelled utterances; return ESPnet's options for them.

    Args:
        is_jamo: write decomposed Hangul, whose characters are jamo.
    """
    options = []
    for kind, name in (("train", data.train_set), ("valid", data.valid_set)):
        source, target = data.dump / name, folder / kind
        texts = {
            utt_id: unicodedata.normalize("NFD", text) if is_jamo else text
            for utt_id, text in read_table(source / f"text.{output}").items()
            if text != NA
        }
        if not texts:
            raise UserError(
                f"{source}/text.{output}: no utterance is labelled", "choose another output"
            )
        write_text(target / "text", "".join(f"{i} {text}\n" for i, text in sorted(texts.items())))
        options += [
            f"--{kind}_data_path_and_name_and_type",
            f"{source / 'wav.scp'},speech,sound",
            f"--{kind}_data_path_and_name_and_type",
            f"{target / 'text'},text,text",
        ]
        for shape, new in (("speech", "speech_shape"), (f"{TEXT_PREFIX}{output}", "text_shape")):
            path = data.stats / kind / f"{shape}_shape"
            if not path.is_file():
                raise UserError(f"{path}: no such file", "run stage 10")
            rows = read_table(path)
            write_table(target / new, {utt_id: rows[utt_id] for utt_id in texts})
            options += [f"--{kind}_shape_file", str(target / new)]
    return options


def _trainer_settings(
    merged: Mapping[str, Any], options: Sequence[str], exp_dir: Path, known: set[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the options of ESPnet's trainer, and the names of those that stock ESPnet lacks.

    Args:
        merged: the configuration of the system.
        options: further options, with those of the data.
        known: names of the options of stock ESPnet's ASR task.
    """
    system = exp_dir / "system.yaml"
    write_text(system, yaml.safe_dump(dict(merged), allow_unicode=True, sort_keys=False))
    from espnet_ext.training.task import DualOutputTask

    words = ["--output_dir", str(exp_dir)]
    args = DualOutputTask.get_parser().parse_args(["--config", str(system), *words, *options])
    defaults = vars(DualOutputTask.get_parser().parse_args(words))
    changed = [key for key, value in vars(args).items() if value != defaults.get(key)]
    dropped = [key for key in changed if key not in known and key not in ("outputs", "config")]
    args.repeat_power = 0.0  # no oversampling in stock ESPnet
    steps = total_steps(args)
    values = json.loads(json.dumps(vars(args), default=str))  # lists instead of tuples
    settings = {
        key: value
        for key, value in values.items()
        if key in known
        and value is not None
        and key not in _SET_HERE
        and not key.endswith(("_data_path_and_name_and_type", "_shape_file"))
    }
    if steps:
        settings["scheduler_conf"] = {**args.scheduler_conf, "total_steps": steps}
    return settings, dropped
