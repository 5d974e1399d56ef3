"""ESPnet's Task for several outputs: options, data names, batches, model."""

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import Any

import torch.distributed as dist

from espnet_ext.model import espnet
from espnet_ext.model.build import build_model
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.objectives.registry import build_objective
from espnet_ext.training.checks import check_frozen, check_initial, warn_too_fast
from espnet_ext.training.collate import collate
from espnet_ext.training.preprocessor import OutputsPreprocessor
from espnet_ext.training.repeat import repeating_sampler
from espnet_ext.training.trainer import DualOutputTrainer

# Parts of a system: option → its default. Each has an option `<part>_conf` too.
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
    """Speech to one or more named transcripts, see `model.outputs`."""

    num_optimizers = 1
    class_choices_list: list[Any] = []  # parts are imported when they are built, see model.espnet
    trainer = DualOutputTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.set_defaults(allow_variable_data_keys=True)
        nested, text = espnet.load("NestedDictAction"), espnet.load("str_or_none")
        group = parser.add_argument_group("Task related")
        group.add_argument(
            "--outputs",
            action=nested,
            default={},
            help="outputs by name, each with the options of its head",
        )
        group.add_argument(
            "--input_size", type=int, default=None, help="feature size, if there is no frontend"
        )
        group.add_argument(
            "--init", type=text, default=None, help="ESPnet's parameter initialisation"
        )
        group.add_argument(
            "--cpu_autocast",
            type=text,
            default=None,
            choices=["auto", "bfloat16", None],
            help="run encoder and decoders in bfloat16 on CPU; auto: if the CPU has native support",
        )
        for part, default in PARTS.items():
            group.add_argument(f"--{part}", type=text, default=default, help=f"kind of {part}")
            group.add_argument(f"--{part}_conf", action=nested, default={}, help="its options")
        group.add_argument(
            "--ctc_conf", action=nested, default={}, help="options of every CTC layer"
        )
        group.add_argument(
            "--model_conf",
            action=nested,
            default={},
            help="lsm_weight, length_normalized_loss (defaults of all outputs), divide_by, "
            "scale_embeddings",
        )
        group.add_argument(
            "--diagnose_every",
            type=steps,
            default=0,
            help="steps between diagnoses (cosine of the outputs' gradients and CKA per layer, "
            "written to diagnostics.jsonl and TensorBoard); 0 for none",
        )
        group.add_argument(
            "--repeat_power",
            type=power,
            default=0.0,
            help="from 0 (off) to 1: an utterance with a label for a rare output is drawn (labels "
            "of the most frequent output / labels of this output) ** repeat_power times per epoch",
        )
        group = parser.add_argument_group("Preprocess related")
        for option, default in AUGMENTATION.items():
            kind = float if isinstance(default, float) else text
            kind = float if option == "speech_volume_normalize" else kind
            group.add_argument(f"--{option}", type=kind, default=default, help="as in ESPnet")

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool):
        return collate

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool):
        augmentation = {key: getattr(args, key) for key in AUGMENTATION}
        enabling = ("rir_scp", "noise_scp", "speech_volume_normalize")
        active = any(augmentation[key] is not None for key in enabling)
        folder = Path(args.output_dir or ".")
        outputs = {
            name: dataclasses.replace(
                output, bpemodel=str(folder / output.bpemodel) if output.bpemodel else None
            )
            for name, output in parse_outputs(vars(args)).items()
        }
        return OutputsPreprocessor(outputs, train, augmentation if active else {})

    @classmethod
    def build_sequence_iter_factory(cls, args: argparse.Namespace, iter_options, mode: str):
        if mode != "train" or not args.repeat_power:
            return super().build_sequence_iter_factory(args, iter_options, mode)
        rank, processes = 0, 1
        if iter_options.distributed:
            rank, processes = dist.get_rank(), dist.get_world_size()
        sampler = repeating_sampler(args, rank, processes)
        logging.info("[%s] Batch sampler: %s", mode, sampler)
        return espnet.load("SequenceIterFactory")(
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

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ("speech",)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ()  # text_<output> too: allow_variable_data_keys is true

    @classmethod
    def build_model(cls, args: argparse.Namespace):
        objective = build_objective(vars(args))
        model = build_model(vars(args), args.output_dir or ".", objective)
        for part in ("frontend", "encoder"):
            # config.yaml keeps the architecture of a pre-trained network, so that loading needs no
            # more than this file.
            architecture = getattr(getattr(model, part), "architecture", None)
            if architecture is not None:
                conf = {**getattr(args, f"{part}_conf"), "architecture": architecture}
                setattr(args, f"{part}_conf", conf)
        check_frozen(args.freeze_param, model)
        check_initial(args.init_param, model)
        if not args.collect_stats and not getattr(args, "dist_rank", None):
            warn_too_fast(model, args.train_shape_file)
        return model


def power(text: str) -> float:
    """Parse the value of `--repeat_power`, a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1: write 0 for off, or 0.5")
    return value


def steps(text: str) -> int:
    """Parse the value of `--diagnose_every`, a whole number, 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(
            f"{value} is negative: write a number of steps, 0 for none"
        )
    return value
