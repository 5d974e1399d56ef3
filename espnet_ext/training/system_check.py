"""Check systems before anything is trained: unknown keys and values, as far as no data is needed.

    python -c "from espnet_ext.training.system_check import main; main()" CONFIG SYSTEM… \\
        [--pretrained MODEL] [-- OPTION…]

CONFIG is the training configuration, SYSTEM an overlay, OPTION… are further options of trainings
(`--asr_args`). It prints the first mistake of the options and of each system, and exits with 1 if
there is one. `run.sh` calls it before its first stage.
"""

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from espnet_ext.arguments import check_arguments
from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.conditioning.base import ConditionerContext
from espnet_ext.model.conditioning.registry import conditioner_class
from espnet_ext.model.config import check_conf, check_mapping, suggest
from espnet_ext.model.heads.shared_decoder import SHARED
from espnet_ext.model.heads.side_input_options import ATTENTION
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.objectives.registry import build_objective
from espnet_ext.training.balance import BalanceOptions
from espnet_ext.training.batching import BucketOptions
from espnet_ext.training.checks import check_config
from espnet_ext.training.config import naming_the_file, use_checkpoint
from espnet_ext.training.finetune import FineTuning
from espnet_ext.training.run import merged_config

# Part → the arguments of its constructor that a configuration must not set
_PARTS: dict[str, Sequence[str]] = {
    "frontend": (),
    "specaug": (),
    "preencoder": (),
    "encoder": ("input_size",),
    "postencoder": ("input_size",),
}
_OF_DECODERS = ("vocab_size", "encoder_output_size")


def check_system(config: Path, overlay: Path, pretrained: str = "") -> None:
    """Raise `UserError` for a key or value that training would refuse.

    What depends on the data (labels, token lists, statistics), on the built model (numbers of
    layers, pre-trained weights) or on options of the command is checked by the training.

    Args:
        config: base configuration (YAML).
        overlay: overlay file of the system (YAML).
        pretrained: pre-trained model, if one is named.
    """
    from espnet_ext.training.task import DualOutputTask

    parser = DualOutputTask.get_parser()
    with naming_the_file(config, [overlay]):
        merged = merged_config(config, [overlay])
        check_config(merged, parser, str(config))
        defaults = {action.dest: action.default for action in parser._actions}
        values = {**defaults, **merged}
        outputs = parse_outputs(values)
        if values["balance"]:
            BalanceOptions.parse(values["balance"], str(config))
        BucketOptions.parse(values["batching_conf"] or {})
        FineTuning.parse(values["finetune_conf"] or {})
        build_objective(values)
        for part, reserved in _PARTS.items():
            if values[part] is not None:
                _check_part(part, values[part], values[f"{part}_conf"], f"{part}_conf", reserved)
        for name, options in outputs.items():
            if options.branch in ATTENTION:
                _check_decoder(values, options, f"outputs.{name}")
        _check_conditioning(values)
        if pretrained:
            use_checkpoint(merged, pretrained)


def _check_part(
    kind: str, name: object, conf: Mapping[str, Any] | None, where: str, reserved: Sequence[str]
) -> None:
    choices = espnet.CHOICES[kind]
    if not isinstance(name, str) or name not in choices:
        raise UserError(f"{kind}: unknown '{name}'", suggest(str(name), list(choices)))
    with contextlib.suppress(ImportError):  # of an optional package; training names it
        check_conf(conf or {}, espnet.resolve(kind, name), where, reserved)


def _check_decoder(values: Mapping[str, Any], options: Any, where: str) -> None:
    """Check the decoder of an output: its own or the configuration's class, and its options."""
    kind = values["decoder"] if options.decoder in (None, SHARED) else options.decoder
    _check_part("decoder", kind, values["decoder_conf"], "decoder_conf", _OF_DECODERS)
    _check_part("decoder", kind, options.decoder_conf, f"{where}.decoder_conf", _OF_DECODERS)


def _check_conditioning(values: Mapping[str, Any]) -> None:
    name, conf = values["conditioning"], values["conditioning_conf"] or {}
    if name is None:
        return
    build = conditioner_class(name).build
    check_mapping(conf, "conditioning_conf")
    # `build` checks the options first. Without a model it then fails in some other way.
    with contextlib.suppress(AttributeError, TypeError):
        build(conf, cast("ConditionerContext", None))


def _check_options(options: Sequence[str]) -> None:
    """Raise `UserError` for an option that training would refuse."""
    from espnet_ext.training.task import DualOutputTask

    parser = DualOutputTask.get_parser()
    check_arguments("--asr_args", options, parser.parse_args, parser)


def main(argv: Sequence[str] | None = None) -> None:
    """Check the options and each system of the command line; exit with 1 if there is a mistake."""
    words = list(sys.argv[1:] if argv is None else argv)
    split = words.index("--") if "--" in words else len(words)
    command = argparse.ArgumentParser(allow_abbrev=False)
    command.add_argument("config", type=Path)
    command.add_argument("overlays", type=Path, nargs="*")
    command.add_argument("--pretrained", default="")
    args = command.parse_args(words[:split])
    is_wrong = False
    try:
        _check_options(words[split + 1 :])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        is_wrong = True
    for overlay in args.overlays:
        try:
            check_system(args.config, overlay, args.pretrained)
        except UserError as error:
            names = (str(args.config), str(overlay), "--pretrained")
            is_named = any(name in error.message for name in names)
            message = error.message if is_named else f"{overlay}: {error.message}"
            print(f"error: {UserError(message, error.remedy)}", file=sys.stderr)
            is_wrong = True
    sys.exit(int(is_wrong))
