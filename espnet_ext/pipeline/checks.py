"""Checks of `run.sh` that need the environment, before any work: configurations, GPUs, models.

Prints an assignment for bash: the variants of decoding, as "SYSTEM:VARIANT …".
"""

import argparse
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from os.path import exists
from pathlib import Path
from typing import Any

from espnet_ext import __version__
from espnet_ext.errors import UserError, did_you_mean
from espnet_ext.files import read_json, read_yaml, sha256_of, write_json
from espnet_ext.pipeline import hub
from espnet_ext.pipeline.settings import assignments
from espnet_ext.pipeline.usage import UsageError
from espnet_ext.pipeline.variants import COUPLED, variants_of

SYSTEM_CHECK = "espnet_ext.training.system_check"  # runs in a process that can import ESPnet
DECODING_CHECK = "espnet_ext.bin.decode"  # likewise
CHECKED = "checked_systems.json"  # in the folder of the logs: configurations without mistakes
DEFAULT_RATE = 16000  # Hz, of ESPnet's frontend


def check_sample_rate(fs: str, path: str, config: dict[str, Any]) -> None:
    """Check that features are computed for the sample rate of the audio.

    Windows are given in samples: with another rate training would work, and be wrong.
    """
    frontend = config.get("frontend_conf") or {}
    rate = str(frontend.get("fs", DEFAULT_RATE)).strip()
    if rate.endswith("k"):
        rate = rate[:-1] + "000"
    if fs != rate:
        raise UsageError(
            f"--fs {fs}, but {path} is for audio of {rate} Hz (frontend_conf.fs)",
            f"copy it to conf/ of the recipe with fs, win_length and hop_length for {fs} Hz and "
            "name that: --asr_config NAME",
        )


def check_input(kmeans_feature: str, path: str, config: Mapping[str, Any]) -> None:
    """Check that a configuration reads units if --kmeans_feature is given, and audio otherwise."""
    reads_units = config.get("frontend") == "units"
    if kmeans_feature and not reads_units:
        raise UsageError(
            f"--kmeans_feature {kmeans_feature}, but {path} reads audio (frontend: "
            f"{config.get('frontend')})",
            "name a configuration with frontend: units, for example --asr_config "
            "train_units_small.yaml, or leave out --kmeans_feature",
        )
    if reads_units and not kmeans_feature:
        raise UsageError(
            f"{path} reads discrete units (frontend: units), but --kmeans_feature is not given",
            "choose the features of k-means, for example --kmeans_feature log_mel",
        )


def check_is_in_stock(path: str, config: Mapping[str, Any]) -> None:
    """Check that stock ESPnet has the parts of a configuration (`--train_baseline`)."""
    for part in ("frontend", "encoder", "decoder"):
        if config.get(part) in ("pretrained", "wav2vec2"):
            raise UsageError(
                f"--train_baseline true, but {path} has {part}: {config[part]}, which stock ESPnet "
                "lacks",
                "give a model that ESPnet trained to --baselines, or choose another --asr_config",
            )


def check_batches_of_baseline(name: str, system: Mapping[str, Any]) -> None:
    """Check that a stock model can be trained like a single-output system (`--train_baseline`)."""
    outputs = system.get("outputs")
    is_single = isinstance(outputs, Mapping) and len(outputs) == 1
    if is_single and system.get("batch_bins") == "auto":
        raise UsageError(
            f"--train_baseline true, but system {name} has batch_bins: auto, which stock ESPnet "
            "lacks",
            "write a number, e.g. that of config.yaml of a trained system, or leave out "
            "--train_baseline",
        )


def check_outputs(
    system: str,
    outputs: Mapping[str, Any],
    token_types: Mapping[str, Mapping[str, str]],
) -> None:
    """Check that every output of a system has one token type in every language.

    Args:
        outputs: `outputs` of the system's configuration.
        token_types: language → output → token type.
    """
    for lang, types in token_types.items():
        option = " ".join(f"{name}={kind}" for name, kind in types.items())
        for name, entry in outputs.items():
            if name not in types:
                similar = did_you_mean(str(name), [one for one in types if one not in outputs])
                remedy = f"{similar} Otherwise " if similar else ""
                remedy += f'add it, for example --token_types "{option} {name}=char", or choose '
                raise UsageError(
                    f"system {system} has the output {name}, which has no token type "
                    f'(--token_types "{option}", language {lang})',
                    f"{remedy}systems without it: --systems NAME",
                )
            kind = entry.get("token_type") if isinstance(entry, Mapping) else None
            if kind and kind != types[name]:
                raise UsageError(
                    f"system {system}: output {name} has the token type {kind}, but "
                    f'--token_types "{option}" (language {lang}) says {types[name]}',
                    "remove token_type from the system's configuration: token types are an option",
                )


def check_systems(
    python: str,
    config: str,
    systems: Sequence[str],
    log_dir: str | Path | None,
    *,
    pretrained: str = "",
    options: Sequence[str] = (),
) -> None:
    """Check keys and values of systems as training does, so that a typo stops before stage 1.

    It imports ESPnet, which takes seconds. What was checked is recorded in the folder of the logs,
    and is checked again only if a configuration or the code changed.

    Args:
        systems: paths of their configurations.
        log_dir: folder of the logs; None: nothing is recorded.
        pretrained: pre-trained model, if one is named.
        options: further options of the trainings (`--asr_args`).

    Raises:
        UserError: with the first unknown option, and the first unknown key or value of each system.
    """
    path = Path(log_dir) / CHECKED if log_dir else None
    files = dict.fromkeys([config, *systems])
    digests: dict[str, Any] = {
        "espnet_ext": __version__,
        **{file: sha256_of(file) for file in files},
    }
    modules = [path.stat() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    digests["code"] = hash(tuple((module.st_size, module.st_mtime_ns) for module in modules))
    further = [*(["--pretrained", pretrained] if pretrained else []), *(["--"] * bool(options))]
    further += options
    digests["options"] = further
    if path and path.is_file() and read_json(path) == digests:
        return
    statement = f"from {SYSTEM_CHECK} import main; main()"
    command = [python, "-c", statement, *files, *further]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"systems cannot be trained:\n{done.stderr.strip()[-5000:]}",
            "correct the configurations and options; no stage was run",
        )
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, digests)


def check_decoding(
    python: str, config: str, outputs: Collection[str], options: Sequence[str]
) -> None:
    """Check the decoding configuration and further options, which stage 12 would refuse.

    Args:
        outputs: outputs of all systems.
        options: further options of the decoding (`--inference_args`).
    """
    statement = f"from {DECODING_CHECK} import check_options; check_options()"
    command = [python, "-c", statement, config, " ".join(outputs), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"the systems cannot be decoded:\n{done.stderr.strip()[-5000:]}",
            "correct the configuration and options; no stage was run",
        )


def needed_gpus(stages: Collection[int], options: argparse.Namespace) -> dict[str, int]:
    """Return the GPUs that the stages need on this machine, by the option that asks for them."""
    with_stress = options.stress.strip() != "" and 17 in stages
    trains = 11 in stages or with_stress or (options.use_lm == "true" and 7 in stages)
    makes_units = 5 in stages and options.kmeans_feature != ""
    decodes = 12 in stages or with_stress
    needed = {}
    if trains and options.ngpu:
        needed[f"--ngpu {options.ngpu}"] = options.ngpu
    if (decodes or makes_units) and options.gpu_inference == "true":
        needed["--gpu_inference true"] = 1
    return needed


def check_gpus(needed: Mapping[str, int], python: str) -> None:
    """Raise a UserError unless PyTorch sees as many GPUs as the stages need on this machine."""
    code = "import torch; print(torch.cuda.device_count())"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"{python}: PyTorch does not work: {done.stderr.strip()[-500:]}", "see above"
        )
    visible = int(done.stdout.split()[-1])
    for option, count in needed.items():
        if visible < count:
            gpus = {0: "no GPU", 1: "1 GPU"}.get(visible, f"{visible} GPUs")
            name = option.split()[0]
            on_cpu = f"{name} {'0' if name == '--ngpu' else 'false'}"
            fewer = f"--ngpu {visible}, or " if visible and name == "--ngpu" else ""
            raise UserError(
                f"{option}, but PyTorch ({python}) sees {gpus}",
                f"use {fewer}{on_cpu} to work on the CPU; if there are more GPUs, check "
                "nvidia-smi and CUDA_VISIBLE_DEVICES, and that PyTorch is a build for CUDA",
            )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the commands")
    parser.add_argument("--asr_config", required=True, help="training configuration")
    parser.add_argument("--system_configs", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--stages", nargs="*", type=int, default=[], help="stages that will run")
    parser.add_argument("--log_dir", default=None, help="folder of the logs")
    parser.add_argument("--fs", required=True, help="sample rate in Hz")
    parser.add_argument("--cmd", default="local", help="local or slurm")
    parser.add_argument("--ngpu", type=int, default=0, help="GPUs per training")
    parser.add_argument("--gpu_inference", default="false", help="units and decoding on a GPU")
    parser.add_argument("--coupling", default="false", help="also decode by coupled re-ranking")
    parser.add_argument("--canonical_prior", default="", help="also decode with canonical forms")
    parser.add_argument("--train_baseline", default="false", help="train stock ESPnet models")
    parser.add_argument("--stress", default="", help="shares of labels that stage 17 removes")
    parser.add_argument("--pretrained", default="", help="pre-trained model, if one is named")
    parser.add_argument("--kmeans_feature", default="", help="features of units; none: audio input")
    parser.add_argument(
        "--baselines_on_hub", nargs="*", default=[], help="baselines that are names on the hub"
    )
    parser.add_argument("--options", default="", help="JSON file of all options of run.sh")
    parser.add_argument("--use_lm", default="false", help="language models are trained")
    parser.add_argument(
        "--token_types",
        nargs="*",
        default=[],
        metavar="'LANG OUTPUT=TYPE …'",
        help="outputs and their token types in each language",
    )
    args = parser.parse_args(argv)
    token_types = {
        lang: dict(pair.split("=", 1) for pair in pairs)
        for lang, *pairs in (words.split() for words in args.token_types)
    }
    options = read_json(args.options) if args.options else {}
    trains = {10, 11} & set(args.stages) or (17 in args.stages and args.stress.strip())
    try:
        config = read_yaml(args.asr_config)
        if {5, 10, 11} & set(args.stages):
            check_input(args.kmeans_feature, args.asr_config, config)
        if {3, 10, 11} & set(args.stages):
            check_sample_rate(args.fs, args.asr_config, config)
        if args.pretrained and {5, 10, 11} & set(args.stages) and not exists(args.pretrained):
            hub.check_model("--pretrained", args.pretrained, with_safetensors=True)
        unit_models = options.get("unit_models", {}) if 5 in args.stages else {}
        for option, model in unit_models.items():
            if not exists(model):
                hub.check_model(f"--{option}", model, with_safetensors=True)
        for name in dict.fromkeys(args.baselines_on_hub if 12 in args.stages else ()):
            hub.check_model("--baselines", name)
        if args.train_baseline == "true" and 11 in args.stages:
            check_is_in_stock(args.asr_config, config)
        variants = []
        canonical = args.canonical_prior.split()
        for item in args.system_configs:
            name, _, path = item.partition("=")
            overlay = read_yaml(path)
            outputs = overlay.get("outputs")
            if trains and isinstance(outputs, Mapping):
                check_outputs(name, outputs, token_types)
            system = {**config, **overlay}
            if args.train_baseline == "true" and 11 in args.stages:
                check_batches_of_baseline(name, system)
            of_system = variants_of(system.get("outputs") or {}, args.coupling == "true", canonical)
            variants += [(name, variant) for variant in of_system]
        if trains and min(args.stages) < 10:
            paths = [item.partition("=")[2] for item in args.system_configs]
            check_systems(
                args.python,
                args.asr_config,
                paths,
                args.log_dir,
                pretrained=args.pretrained,
                options=options.get("asr_args", ()),
            )
        if options and 12 in args.stages and min(args.stages) < 12:
            outputs_used = {name for types in token_types.values() for name in types}
            check_decoding(
                args.python,
                options["inference_config"],
                sorted(outputs_used),
                options["inference_args"],
            )
        used = {variant for _, variant in variants}
        if args.coupling == "true" and COUPLED not in used:
            print("note: --coupling: no system has two outputs to couple", file=sys.stderr)
        for variant in canonical:
            if variant not in used:
                print(
                    f"note: --canonical_prior {variant}: no system has the outputs for it",
                    file=sys.stderr,
                )
        if args.cmd == "local" and (needed := needed_gpus(args.stages, args)):
            check_gpus(needed, args.python)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(assignments({"variants": " ".join(map(":".join, variants))}), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
