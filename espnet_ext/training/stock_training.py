"""Train the stock ESPnet ASR model of the size of a single-output system: a baseline.

ESPnet's own command `asr_train` (task, model and trainer) runs on the dumped data, the token list
and the training options of the system. What only this package has is left out, and named:
`scale_embeddings`, `cpu_autocast` and the like.
"""

import json
import shlex
import subprocess
import sys
import tempfile
import unicodedata
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table, write_table
from espnet_ext.errors import UserError
from espnet_ext.files import write_text
from espnet_ext.model import checksums, espnet
from espnet_ext.model.config import TEXT_PREFIX, OutputConfig
from espnet_ext.model.export import stock_config
from espnet_ext.model.load import load_model
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.progress import say
from espnet_ext.training import finish, run, trained_with
from espnet_ext.training.auto_batch_bins import AUTO
from espnet_ext.training.checks import check_best_model_criterion
from espnet_ext.training.lock import FolderLock
from espnet_ext.training.schedule import total_steps

DATA = "stock_data"  # folder of the transcripts and lengths, in the experiment folder
# Options of ESPnet's trainer whose values are this package's own, or that are set here
_SET_HERE = ("config", "output_dir", "resume", "use_preprocessor", "version", "print_config")
_SAME_IN_STOCK = ("outputs", "config")  # options that stock ESPnet has under other names


def train_stock(
    config: Path,
    overlays: Sequence[Path],
    data: run.Data,
    exp_dir: Path,
    options: Sequence[str],
    feats_normalize: str = "",
    *,
    resume_changed: bool = False,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Train a stock model in `exp_dir`. A training that was interrupted or is shorter is continued.

    Args:
        config: base configuration (YAML).
        overlays: configurations (YAML) of the single-output system, merged into the base.
        data: dumped data, token lists and lengths (stage 10).
        options: further options of ESPnet's training command, as for `run.train`. Those that stock
            ESPnet lacks are left out.
        feats_normalize: replaces `normalize` of the configuration.
        resume_changed: continue a training that began with another configuration or other data.
        overwrite: rename the folder of such a training, and train from scratch.
        provenance: command, commit and machine, for train.json.

    Raises:
        UserError: the system has several outputs, or a part that stock ESPnet lacks; the folder has
            a training that began differently; or the training fails.
    """
    merged = run.with_normalization(run.merged_config(config, overlays), feats_normalize)
    merged, files = run.add_token_lists(merged, data)
    if len(merged["outputs"]) != 1:
        raise UserError(
            f"a stock model has one output, and the system has {', '.join(merged['outputs'])}",
            "choose a single-output system, such as conf/systems/so_meaning.yaml",
        )
    if merged.get("batch_bins") == AUTO:
        message = f"{config}: stock ESPnet has no batch_bins: auto"
        raise UserError(message, "write a number, e.g. that of config.yaml of a trained system")
    ((name, output),) = parse_outputs(merged).items()
    model = stock_config(merged, name, output)
    if output.bpemodel:
        model["bpemodel"] = str(files[output.bpemodel].resolve())
    if merged.get("normalize") == "global_mvn":
        stats_file = (data.stats / "train" / "feats_stats.npz").resolve()
        if not stats_file.is_file():
            raise UserError(f"{stats_file}: no such statistics", "run stage 10")
        model["normalize_conf"] = {**model["normalize_conf"], "stats_file": str(stats_file)}
        files["feats_stats.npz"] = stats_file
    with tempfile.TemporaryDirectory() as temporary:
        # Nothing is written to exp_dir until the training may continue there.
        scratch = Path(temporary)
        system = scratch / "system.yaml"
        write_text(system, yaml.safe_dump(merged, allow_unicode=True, sort_keys=False))
        data_options = _write_data(data, name, output, scratch / DATA)
        args = _parse(system, exp_dir, [*data_options, *options])
        args.repeat_power, args.text_ratio = 0.0, None  # no oversampling in stock ESPnet
        args.balance = {}
        args.batching = None  # nor batches by the lengths of transcripts
        args.train_shards = None  # nor shards
        check_best_model_criterion(vars(args), str(config))
        args.best_model_criterion = _stock_criteria(args.best_model_criterion, name)
        description = trained_with.describe(args, files)
        settings, dropped = _trainer_settings(args, _parse(system, exp_dir, [], is_default=True))
    with FolderLock(exp_dir) as lock:
        start = trained_with.continue_or_start(
            exp_dir,
            description,
            elsewhere="--exp_dir; of run.sh: --expdir or --asr_tag",
            resume_changed=resume_changed,
            overwrite=overwrite,
        )
        further = (merged.get("model_conf") or {}).items()
        dropped += [key for key, value in further if value and key not in model["model_conf"]]
        if dropped:
            say(f"note: stock ESPnet has no {', '.join(sorted(dropped))}: left out")
        if start.is_continued and finish.is_complete(exp_dir, args):
            return
        with start.folder_restored_on_failure():
            lock.acquire()
            trained_with.write(exp_dir, description)
            finish.record_start(exp_dir, provenance or {}, start.is_continued)
            data_options = _write_data(data, name, output, exp_dir / DATA)
            path = exp_dir / "train.yaml"
            values = {**settings, **{key: model[key] for key in model if key in _stock_options()}}
            write_text(path, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))
            command = ["-m", "espnet2.bin.asr_train", "--config", str(path)]
            command += [
                "--output_dir",
                str(exp_dir),
                "--resume",
                "true",
                "--use_preprocessor",
                "true",
            ]
            command += ["--ngpu", str(args.ngpu), *data_options]
            line = f"python {shlex.join(command)}"
            say(line)
            if subprocess.run([sys.executable, *command], check=False).returncode:
                raise UserError(
                    f"{exp_dir}: ESPnet's asr_train failed, see its message above",
                    "correct that and run again: the training continues",
                )
            criterion = args.best_model_criterion[0]
            weights = finish.final_weights(exp_dir, f"{criterion[0]}.{criterion[1]}")
            checksums.record(weights.resolve(), weights)
            trained, _ = load_model(exp_dir, weights.name)
            finish.record_end(exp_dir, weights, trained, vars(args), line, {"outputs": [name]})


def _write_data(data: run.Data, name: str, output: OutputConfig, folder: Path) -> list[str]:
    """Write transcripts and lengths of the labelled utterances; return ESPnet's options for them.

    Units of type jamo are written as decomposed Hangul, whose characters are jamo.

    Args:
        name, output: the output, and its options.
        folder: where the files are written.
    """
    is_jamo = output.token_type == "jamo"
    options = []
    for kind, dataset in (("train", data.train_set), ("valid", data.valid_set)):
        source, target = data.dump / dataset, folder / kind
        texts = {
            utt_id: unicodedata.normalize("NFD", text) if is_jamo else text
            for utt_id, text in read_table(source / f"text.{name}").items()
            if text != NA
        }
        if not texts:
            raise UserError(
                f"{source}/text.{name}: no utterance is labelled", "choose another output"
            )
        write_text(target / "text", "".join(f"{i} {text}\n" for i, text in sorted(texts.items())))
        options += [
            f"--{kind}_data_path_and_name_and_type",
            f"{source / 'wav.scp'},speech,sound",
            f"--{kind}_data_path_and_name_and_type",
            f"{target / 'text'},text,text",
        ]
        for shape, new in (("speech", "speech_shape"), (f"{TEXT_PREFIX}{name}", "text_shape")):
            path = data.stats / kind / f"{shape}_shape"
            if not path.is_file():
                raise UserError(f"{path}: no such file", "run stage 10")
            rows = read_table(path)
            if lost := next((utt_id for utt_id in texts if utt_id not in rows), None):
                raise UserError(f"{path}: {lost}: no length", "run stage 10 again")
            write_table(target / new, {utt_id: rows[utt_id] for utt_id in texts})
            options += [f"--{kind}_shape_file", str(target / new)]
    return options


def _parse(
    system: Path, exp_dir: Path, options: Sequence[str], *, is_default: bool = False
) -> Namespace:
    """Return the training arguments of the system; with `is_default`, the defaults of ESPnet."""
    from espnet_ext.training.task import DualOutputTask

    words = [] if is_default else ["--config", str(system)]
    return DualOutputTask.get_parser().parse_args([*words, "--output_dir", str(exp_dir), *options])


def _stock_options() -> set[str]:
    """Return the names of the options of stock ESPnet's ASR task."""
    return {action.dest for action in espnet.load("ASRTask").get_parser()._actions}


def _stock_criteria(criteria: Sequence[Sequence[str]], output: str) -> list[list[str]]:
    """Return criteria of the best epochs with the names of stock ESPnet's statistics.

    >>> _stock_criteria([["valid", "loss_attention_meaning", "min"]], "meaning")
    [['valid', 'loss_att', 'min']]
    """
    stock = {"loss_attention": "loss_att"}
    criteria = [[part, key.removesuffix(f"_{output}"), mode] for part, key, mode in criteria]
    return [[part, stock.get(key, key), mode] for part, key, mode in criteria]


def _trainer_settings(args: Namespace, default: Namespace) -> tuple[dict[str, Any], list[str]]:
    """Return the options of ESPnet's trainer, and the names of those that stock ESPnet lacks.

    Args:
        args: training arguments of the system.
        default: their defaults.
    """
    known = _stock_options()
    dropped = [
        key
        for key, value in vars(args).items()
        if value != getattr(default, key, None) and key not in (*known, *_SAME_IN_STOCK)
    ]
    values = json.loads(json.dumps(vars(args), default=str))  # lists instead of tuples
    settings = {
        key: value
        for key, value in values.items()
        if key in known
        and value is not None
        and key not in _SET_HERE
        and not key.endswith(("_data_path_and_name_and_type", "_shape_file"))
    }
    settings.pop("ngpu", None)  # an option of the command
    if steps := total_steps(args):
        settings["scheduler_conf"] = {**args.scheduler_conf, "total_steps": steps}
    return settings, dropped
