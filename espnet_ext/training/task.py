"""ESPnet's Task for several outputs: options, data names, model."""

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

# What a system is built of: option → its default choice. `<option>_conf` goes with each.
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
# Options of ESPnet's speech augmentation, with the values that switch them off.
AUGMENTATION: dict[str, Any] = {
    "rir_scp": None,
    "rir_apply_prob": 1.0,
    "noise_scp": None,
    "noise_apply_prob": 1.0,
    "noise_db_range": "13_15",
    "short_noise_thres": 0.5,
    "speech_volume_normalize": None,
}


class DualOutputTask(espnet.load("AbsTask")):
    """Speech to one or more named transcripts. `outputs` says which, see model.config."""

    num_optimizers = 1
    class_choices_list = []  # ours are imported lazily, see model.espnet
    trainer = DualOutputTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.set_defaults(allow_variable_data_keys=True)
        nested, text = espnet.load("NestedDictAction"), espnet.load("str_or_none")
        group = parser.add_argument_group("Task related")
        group.add_argument("--outputs", action=nested, default={}, help="outputs by name")
        group.add_argument("--input_size", type=int, default=None, help="feature size, no frontend")
        group.add_argument("--init", type=text, default=None, help="ESPnet's parameter initialiser")
        group.add_argument(
            "--cpu_autocast",
            type=text,
            default=None,
            choices=["auto", "bfloat16", None],
            help="run encoder and decoders in bfloat16 on CPU; auto: where the CPU has it",
        )
        for part, default in PARTS.items():
            group.add_argument(f"--{part}", type=text, default=default, help=f"the {part}")
            group.add_argument(f"--{part}_conf", action=nested, default={}, help="its options")
        group.add_argument("--ctc_conf", action=nested, default={}, help="options of every CTC")
        group.add_argument(
            "--model_conf",
            action=nested,
            default={},
            help="lsm_weight, length_normalized_loss: defaults of all outputs; divide_by",
        )
        group.add_argument(
            "--diagnose_every",
            type=steps,
            default=0,
            help="steps from one diagnosis to the next: cosine of the outputs' gradients and CKA, "
            "per layer, to diagnostics.jsonl and TensorBoard; 0 for none",
        )
        group.add_argument(
            "--repeat_power",
            type=power,
            default=0.0,
            help="a number from 0, for off, to 1: utterances with a label for a rare output are "
            "drawn (most labels of an output / labels of this one) ** repeat_power times an epoch",
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
        wanted = {key: getattr(args, key) for key in AUGMENTATION}
        active = any(wanted[k] is not None for k in ("rir_scp", "noise_scp"))
        active = active or wanted["speech_volume_normalize"] is not None
        folder = Path(args.output_dir or ".")
        outputs = {
            name: dataclasses.replace(
                output, bpemodel=str(folder / output.bpemodel) if output.bpemodel else None
            )
            for name, output in parse_outputs(vars(args)).items()
        }
        return OutputsPreprocessor(outputs, train, wanted if active else {})

    @classmethod
    def build_sequence_iter_factory(cls, args: argparse.Namespace, iter_options, mode: str):
        if mode != "train" or not args.repeat_power:
            return super().build_sequence_iter_factory(args, iter_options, mode)
        shared = (dist.get_rank(), dist.get_world_size()) if iter_options.distributed else (0, 1)
        sampler = repeating_sampler(args, *shared)
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
        return ()  # and any text_<output>: the defaults allow further names

    @classmethod
    def build_model(cls, args: argparse.Namespace):
        objective = build_objective(vars(args))
        model = build_model(vars(args), args.output_dir or ".", objective)
        for part in ("frontend", "encoder"):
            # What a pretrained network is made of goes into config.yaml: loading needs no more.
            made_of = getattr(getattr(model, part), "architecture", None)
            if made_of is not None:
                conf = {**getattr(args, f"{part}_conf"), "architecture": made_of}
                setattr(args, f"{part}_conf", conf)
        check_frozen(args.freeze_param, model)
        check_initial(args.init_param, model)
        if not args.collect_stats and not getattr(args, "dist_rank", None):
            warn_too_fast(model, args.train_shape_file)
        return model


def power(text: str) -> float:
    """An exponent as an option's value: from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not from 0 to 1: write 0 for off, or 0.5")
    return value


def steps(text: str) -> int:
    """A number of steps as an option's value: whole, not negative."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0: write a number of steps, 0 for none")
    return value
