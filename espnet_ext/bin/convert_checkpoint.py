"""Convert a pre-trained checkpoint with pickled weights to safetensors.

    espnet-ext convert_checkpoint --model microsoft/wavlm-base-plus --output wavlm-base-plus

Training reads safetensors only, because loading pickled weights can run code. This command accepts
tensors and refuses everything else in a file.
"""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__.partition("\n")[0])
    parser.add_argument(
        "--model", required=True, help="folder, or name of a model on the Hugging Face hub"
    )
    parser.add_argument("--revision", default=None, help="branch, tag or commit on the hub")
    parser.add_argument("--output", required=True, help="folder to write")
    cli.add_overwrite(parser)
    options = parser.parse_args(argv)

    from espnet_ext.model.pretrained.convert import convert

    count = convert(options.model, options.output, options.revision, overwrite=options.overwrite)
    print(f"wrote {count:,} weights to {options.output}/model.safetensors")
    print(f"  give --pretrained {options.output}")
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
