"""Convert a pre-trained checkpoint with pickled weights to safetensors.

    espnet-ext convert_checkpoint --model microsoft/wavlm-base-plus --output wavlm-base-plus

Training reads safetensors only, because loading pickled weights can run code. This command accepts
tensors and refuses everything else in a file.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ext.bin import cli
from espnet_ext.errors import UserError
from espnet_ext.overwriting import require_no_input


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__.partition("\n")[0])
    parser.add_argument(
        "--model", required=True, help="folder, or name of a model on the Hugging Face hub"
    )
    parser.add_argument("--revision", default=None, help="branch, tag or commit on the hub")
    parser.add_argument("--output", required=True, help="folder to write")
    cli.add_overwrite(parser)
    options = parser.parse_args(argv)

    require_no_input(options.output, [options.model])
    if Path(options.model).is_dir() and not (Path(options.model) / "config.json").is_file():
        raise UserError(
            f"{options.model}/config.json: no such file",
            "name a folder with a checkpoint of the transformers library",
        )

    from espnet_ext.model.pretrained.convert import convert

    count = convert(options.model, options.output, options.revision, overwrite=options.overwrite)
    print(f"wrote {count:,} weights to {options.output}/model.safetensors")
    print(f"  give --pretrained {options.output}")
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
