"""Speed of systems with a pre-trained Whisper: `python benchmarks/pretrained.py COMMAND --help`.

- `train`: an epoch of fine-tuning, compared with the bare forward and backward pass of the same
  encoder in transformers.
- `espnet`: the same, compared with stock ESPnet and its own Whisper encoder.
- `decode`: all outputs of a system, compared with transformers' `generate` and faster-whisper,
  which read 30 s per utterance and return one transcript.
- `equality`: token ids of an unchanged Whisper in our search, compared with `generate`.

Everything runs on one thread. Seconds are CPU seconds of a process and its children, because other
programs may use the machine. The alternatives take turns after each batch, so that a change of the
machine's load affects all of them.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.pretrained_whisper.decoding import measure_decoding  # noqa: E402
from benchmarks.pretrained_whisper.equality import measure_equality  # noqa: E402
from benchmarks.pretrained_whisper.espnet import measure_espnet  # noqa: E402
from benchmarks.pretrained_whisper.training import measure_training  # noqa: E402


def machine() -> dict:
    """Return facts about this machine and the versions of the software."""
    model = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "cpu": model[0].partition(":")[2].strip() if model else platform.processor(),
        "cpus": os.cpu_count(),
        **{name: metadata.version(name) for name in ("torch", "transformers")},
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="an epoch of fine-tuning")
    train.set_defaults(measure=measure_training)
    train.add_argument("--valid_limit", type=int, default=10, help="utterances of the validation")
    train.add_argument("--epochs", type=int, default=4)
    espnet = commands.add_parser("espnet", help="fine-tuning by stock ESPnet and by ours")
    espnet.set_defaults(measure=measure_espnet)
    espnet.add_argument("--stats_dir", type=Path, required=True, help="result of stage 10")
    espnet.add_argument(
        "--openai_whisper", type=Path, help="folder in which openai-whisper is installed"
    )
    espnet.add_argument("--rounds", type=int, default=3, help="epochs of each variant")
    espnet.add_argument(
        "--variant",
        nargs=2,
        action="append",
        metavar=("NAME", "WORDS"),
        help="a variant: stock or ours; utterance or 30s, the length of the input; and further "
        "training options and variables, as for train.py; the others are compared with the first; "
        "default: stock and ours, utterance",
    )
    espnet.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    espnet.add_argument("--worker", help=argparse.SUPPRESS)
    for command in (train, espnet):
        command.add_argument("--pretrained", type=Path, required=True, help="folder of a Whisper")
        command.add_argument(
            "--data_dir",
            type=Path,
            required=True,
            help="dumped sets train and valid of one language",
        )
        command.add_argument(
            "--token_dir", type=Path, required=True, help="folder with <output>_<type>/tokens.txt"
        )
        command.add_argument("--config", type=Path, default=ROOT / "conf/train_whisper_base.yaml")
        command.add_argument("--output", default="surface")
        command.add_argument("--token_type", default="phone")
        command.add_argument("--limit", type=int, default=80, help="number of utterances")
    decode = commands.add_parser("decode", help="decoding of all outputs")
    decode.set_defaults(measure=measure_decoding)
    decode.add_argument("--model_dir", type=Path, required=True, help="a fine-tuned system")
    decode.add_argument("--weights", default="model.pth", help="weights file in --model_dir")
    decode.add_argument("--ctranslate2", type=Path, help="Whisper in the format of CTranslate2")
    decode.add_argument(
        "--faster_whisper", type=Path, help="folder in which faster-whisper is installed"
    )
    decode.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    decode.add_argument(
        "--text_output", default="meaning", help="output that Whisper's text is compared with"
    )
    decode.add_argument("--only", help=argparse.SUPPRESS)  # for the processes of the decoders
    equality = commands.add_parser("equality", help="token ids of an unchanged Whisper")
    equality.set_defaults(measure=measure_equality)
    equality.add_argument("--max_tokens", type=int, default=60)
    for command in (decode, equality):
        command.add_argument(
            "--pretrained", type=Path, required=True, help="folder of the unchanged Whisper"
        )
        command.add_argument("--data", type=Path, required=True, help="a dumped set")
        command.add_argument("--limit", type=int, default=48, help="number of utterances")
        command.add_argument("--batch_size", type=int, default=16)
        command.add_argument("--beam_size", type=int, default=5)
        command.add_argument("--language", default="en")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    measure: Callable[[argparse.Namespace], dict] = options.measure
    report = measure(options)
    report |= {"machine": machine(), "options": vars(options)}
    print(report["machine"])
    if options.json:
        text = json.dumps(report, indent=1, default=str)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
