"""Export a data directory as manifests of another toolkit: lhotse's recordings, supervisions, cuts.

    espnet-ext export --to lhotse data/en/train --output manifests/train

Surface, meaning and canonical are custom fields of the supervisions; `text` is the meaning. To
import the manifests: espnet-ext import --from lhotse.
"""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int | None:
    parser = cli.parser(__doc__.partition("\n")[0])
    parser.add_argument("source", metavar="DIR", help="data directory to read")
    parser.add_argument("--to", choices=("lhotse",), required=True, help="target format")
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument("--nj", type=audio_options.count, default=1, help="number of processes")
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    from espnet_ext.corpora.interchange import to_lhotse

    print(to_lhotse.write(args.source, args.output, nj=args.nj, overwrite=args.overwrite))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
