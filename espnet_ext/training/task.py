"""ESPnet's Task for models with several outputs: options, data names, model."""

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from espnet_ext.data.narrowband import NARROW_RATE
from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.build import build_model
from espnet_ext.model.config import sample_rate_of
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.objectives.registry import build_objective
from espnet_ext.training import auto_batch_bins, shards, signals, speed
from espnet_ext.training.adaptation import (
    check_adapter_options,
    check_adapters,
    check_adapters_are_trained,
)
from espnet_ext.training.audio_cache import cache_audio
from espnet_ext.training.checks import (
    check_experts_are_trained,
    check_freeze_param,
    check_init_param,
    warn_unalignable,
)
from espnet_ext.training.collate import collate
from espnet_ext.training.config import merge
from espnet_ext.training.exponents import read_exponents
from espnet_ext.training.finetune import FineTuning, build_optimizer
from espnet_ext.training.lengths import check_lengths
from espnet_ext.training.preprocessor import OutputsPreprocessor
from espnet_ext.training.read_ahead import read_ahead
from espnet_ext.training.reading import report_unreadable
from espnet_ext.training.seeding import seed_each_batch, seed_repeated_batches
from espnet_ext.training.trainer import DualOutputTrainer
from espnet_ext.training.unit_rows import unit_rows
from espnet_ext.training.unit_training import check_embeddings, configured_sampler

# Options that select the parts of a system → defaults. Each has an option `<option>_conf` too.
PARTS = {
    "frontend": "default",
    "specaug": None,
    "normalize": "utterance_mvn",
    "preencoder": None,
    "encoder": "conformer",
    "postencoder": None,
    "decoder": "transformer",
    "conditioning": None,
    "objective": "weighted_sum",
}
# Options of ESPnet's speech augmentation, with the values that disable them.
AUGMENTATION: dict[str, Any] = {
    "rir_scp": None,
    "rir_apply_prob": 1.0,
    "noise_scp": None,
    "noise_apply_prob": 1.0,
    "noise_db_range": "13_15",
    "short_noise_thres": 0.5,
    "speech_volume_normalize": None,
}


AbsTask: Any = espnet.load("AbsTask")


class DualOutputTask(AbsTask):
    """Speech recognition with one or more named outputs, see `model.outputs`."""

    num_optimizers = 1
    class_choices_list: list[Any] = []  # classes are imported on use, see model.espnet
    trainer = DualOutputTrainer

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        """Return ESPnet's parser with the options of this task; `--optim_conf lr=1e-3` works."""
        return read_exponents(super().get_parser())

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.set_defaults(allow_variable_data_keys=True)
        nested, text = espnet.load("NestedDictAction"), espnet.load("str_or_none")
        group = parser.add_argument_group("Task related")
        group.add_argument("--outputs", action=nested, default={}, help="options per output")
        group.add_argument(
            "--conditions",
            action=nested,
            default={},
            help="values of the labels that conditioning or encoder read; default: those in "
            "utt2<name> of the training set",
        )
        group.add_argument(
            "--input_size", type=int, default=None, help="feature size, if there is no frontend"
        )
        group.add_argument(
            "--init", type=text, default=None, help="parameter initialization of ESPnet"
        )
        group.add_argument(
            "--cpu_autocast",
            type=text,
            default=None,
            choices=["auto", "bfloat16", None],
            help="run encoder and decoders in bfloat16 on CPU; auto: if the CPU supports bfloat16 "
            "and trains faster with it, which is measured at the start",
        )
        for part, default in PARTS.items():
            group.add_argument(f"--{part}", type=text, default=default, help=f"class of the {part}")
            group.add_argument(
                f"--{part}_conf", action=nested, default={}, help=f"options of the {part}"
            )
        group.add_argument(
            "--ctc_conf", action=nested, default={}, help="options of all CTC layers"
        )
        group.add_argument(
            "--model_conf",
            action=nested,
            default={},
            help="model options: lsm_weight and length_normalized_loss (defaults for all outputs), "
            "divide_by (utterances or labelled), scale_embeddings",
        )
        group.add_argument(
            "--finetune_conf",
            action=nested,
            default={},
            help="fine-tuning of a pre-trained encoder: encoder_lr (relative learning rate), "
            "decoder_lr (a number, or one per output), layer_decay, freeze_epochs, "
            "unfreeze_layers_per_epoch, adapter (LoRA or DoRA: type, rank, alpha, dropout, "
            "target_modules, parts, modules_to_save, save)",
        )
        group.add_argument(
            "--encoder_cache",
            type=text,
            default=None,
            metavar="FOLDER",
            help="write the output of a frozen encoder to this folder once, and read it in every "
            "epoch instead of the audio",
        )
        group.add_argument(
            "--diagnose_every",
            type=parse_step_interval,
            default=0,
            help="measure the cosine of the outputs' gradients and CKA per layer every this many "
            "steps, and write them to diagnostics.jsonl and TensorBoard (0: never)",
        )
        group.add_argument(
            "--max_invalid_steps",
            type=parse_step_limit,
            default=50,
            help="end the training with an error after this many steps in a row whose gradients "
            "are not finite; such steps do not update the model",
        )
        add_saving_arguments(group)
        group.add_argument(
            "--repeat_power",
            type=parse_repeat_power,
            default=0.0,
            help="exponent p of oversampling, 0 (off) to 1: an utterance with a label for output o "
            "is drawn (max n / n_o) ** p times per epoch, n_o = utterances labelled for o",
        )
        group.add_argument(
            "--balance",
            action=nested,
            default={},
            help="draw groups of utterances in proportion to their size to the power of "
            "1/temperature: by (list of corpus, language, labels or other tables utt2<name>), "
            "temperature (default: 2; 1: as in the data); small groups are repeated",
        )
        group.add_argument(
            "--text_ratio",
            type=parse_text_ratio,
            default=None,
            help="for frontend: units: utterances of text per utterance of speech in an epoch, 0 "
            "for none; default: all utterances once",
        )
        speed.add_arguments(parser)
        shards.add_arguments(parser)
        auto_batch_bins.add_arguments(parser)
        group = parser.add_argument_group("Preprocess related")
        group.add_argument(
            "--unit_augment_conf",
            action=nested,
            default={},
            help="for frontend: units: noise of the input ids in training: mask (share of ids that "
            "are masked), mask_span (length of a span), replace and drop (shares)",
        )
        group.add_argument(
            "--narrowband_prob",
            type=float,
            default=0.0,
            help="probability that training makes an utterance sound like telephone speech: 300 to "
            "3400 Hz, 8 kHz, 8-bit μ-law; its band becomes narrow",
        )
        for option, default in AUGMENTATION.items():
            kind = float if isinstance(default, float) else text
            kind = float if option == "speech_volume_normalize" else kind
            about = f"augmentation in ESPnet's preprocessor (default: {default})"
            group.add_argument(f"--{option}", type=kind, default=default, help=about)

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        with signals.exit_code_of_subprocess(), signals.interruptible():
            super().main_worker(args)

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool):
        return collate

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool):
        augmentation = {key: getattr(args, key) for key in AUGMENTATION}
        switches = ("rir_scp", "noise_scp", "speech_volume_normalize")
        active = any(augmentation[key] is not None for key in switches)
        folder = Path(args.output_dir or ".")
        outputs = {
            name: dataclasses.replace(
                output, bpemodel=str(folder / output.bpemodel) if output.bpemodel else None
            )
            for name, output in parse_outputs(vars(args)).items()
        }
        rate = sample_rate_of(vars(args))
        if args.narrowband_prob and (args.input_size is not None or rate < NARROW_RATE):
            raise UserError(
                "narrowband_prob: the input is features, or audio below 8 kHz",
                "set narrowband_prob: 0",
            )
        rows = unit_rows(vars(args), train)
        if rows is not None and (active or args.narrowband_prob or args.encoder_cache):
            raise UserError(
                "augmentation of audio, or encoder_cache, but the model reads discrete units",
                f"remove {', '.join(switches)}, narrowband_prob and encoder_cache; "
                "unit_augment_conf adds noise to units",
            )
        return OutputsPreprocessor(
            outputs,
            train,
            augmentation if active else {},
            vars(args).get("conditions"),
            args.narrowband_prob,
            rate,
            rows,
        )

    @classmethod
    def build_dataset(cls, args: argparse.Namespace, iter_options, keys_to_load=None):
        dataset = super().build_dataset(args, iter_options, keys_to_load)
        report_unreadable(dataset, iter_options.shape_files)
        seed_each_batch(dataset)
        cache_audio(dataset, 0.0 if args.num_workers else args.audio_cache_mb)
        read_ahead(dataset)
        return dataset

    @classmethod
    def build_sequence_iter_factory(cls, args: argparse.Namespace, iter_options, mode: str):
        distributed = iter_options.distributed
        rank, processes = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
        if mode == "train" and args.train_shards is not None:
            return shards.iter_factory(args, iter_options, rank, processes)
        sampler = configured_sampler(args, rank, processes) if mode == "train" else None
        if sampler is None:
            return seed_repeated_batches(
                super().build_sequence_iter_factory(args, iter_options, mode)
            )
        logging.info("[%s] Batch sampler: %s", mode, sampler)
        factory = espnet.load("SequenceIterFactory")(
            dataset=cls.build_dataset(args, iter_options, sampler.utterances()),
            batches=sampler,
            seed=args.seed,
            shuffle=True,
            num_iters_per_epoch=iter_options.num_iters_per_epoch,
            shuffle_within_batch=args.shuffle_within_batch,
            num_workers=args.num_workers,
            collate_fn=iter_options.collate_fn,
            pin_memory=args.ngpu > 0,
        )
        return seed_repeated_batches(factory)

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ("speech",)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ()  # text_<output> and conditions too, see allow_variable_data_keys

    @classmethod
    def build_model(cls, args: argparse.Namespace):
        if args.collect_stats:
            args.finetune_conf = {}  # features depend on no adapter
        else:
            speed.prepare(args)
        check_adapter_options(args)
        objective = build_objective(vars(args))
        model = build_model(vars(args), args.output_dir or ".", objective)
        check_adapters(model, args)
        for part in ("frontend", "encoder"):
            # Write the architecture of a pre-trained network to config.yaml, so that loading the
            # trained model does not need the pre-trained files.
            architecture = getattr(getattr(model, part), "architecture", None)
            if architecture is not None:
                conf = {**getattr(args, f"{part}_conf"), "architecture": architecture}
                setattr(args, f"{part}_conf", conf)
        for name, head in model.heads.items():
            architecture = getattr(head.decoder, "architecture", None)
            if architecture is not None:
                change = {name: {"decoder_conf": {"architecture": architecture}}}
                args.outputs = merge(args.outputs, change)
        check_freeze_param(args.freeze_param, model)
        check_init_param(args.init_param, model, args.ignore_init_mismatch)
        if not args.collect_stats:
            check_embeddings(model, args.init_param)
        if not args.collect_stats:
            sets = [
                (args.train_shape_file, args.train_data_path_and_name_and_type),
                (args.valid_shape_file, args.valid_data_path_and_name_and_type),
            ]
            check_lengths(model, sets)
        if not args.collect_stats and not getattr(args, "dist_rank", None):
            warn_unalignable(model, args.train_shape_file)
        if not args.collect_stats:
            speed.speed_up(model, args)
            auto_batch_bins.resolve(model, args)
        return model

    @classmethod
    def build_optimizers(cls, args: argparse.Namespace, model) -> list[torch.optim.Optimizer]:
        check_adapters_are_trained(model, args.freeze_param)
        check_experts_are_trained(model, args)
        options = FineTuning.parse(args.finetune_conf)
        if not options.has_learning_rates():
            return super().build_optimizers(args, model)
        build = espnet.load("optim_classes")[args.optim]
        return [build_optimizer(build, model, options, args)]


def add_saving_arguments(group: Any) -> None:
    """Add the options of `DualOutputTrainer` for checkpoints inside epochs."""
    group.add_argument(
        "--save_interval_minutes",
        type=parse_minutes,
        default=15.0,
        help="write a checkpoint inside an epoch after this many minutes, or later if checkpoints "
        "would take more than a two-hundredth of the time; 0: at the end of each epoch only",
    )
    group.add_argument(
        "--save_interval_steps",
        type=parse_step_interval,
        default=0,
        help="write a checkpoint inside an epoch every this many updates (0: never)",
    )


def parse_repeat_power(text: str) -> float:
    """Parse the value of `--repeat_power`: a number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(
            f"{value} is not between 0 and 1: write 0 (off) or, e.g., 0.5"
        )
    return value


def parse_text_ratio(text: str) -> float | None:
    """Parse the value of `--text_ratio`: a number from 0, or `none`."""
    if text.lower() in ("none", "null"):
        return None
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is below 0: write 0 (no text) or, e.g., 0.5")
    return value


def parse_minutes(text: str) -> float:
    """Parse the value of `--save_interval_minutes`: a number of at least 0."""
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not a number of minutes: write, e.g., 15")
    return value


def parse_step_limit(text: str) -> int:
    """Parse the value of `--max_invalid_steps`: an integer of at least 1."""
    value = _whole_number(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1: write a number of steps")
    return value


def parse_step_interval(text: str) -> int:
    """Parse the value of an interval in steps: an integer of at least 0."""
    value = _whole_number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(
            f"{value} is below 0: write a number of steps, or 0 (never)"
        )
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None
