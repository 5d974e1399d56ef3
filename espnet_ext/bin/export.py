"""Write a data directory as another toolkit's manifests: lhotse's recordings, supervisions, cuts.

    espnet-ext export --to lhotse data/en/train --output manifests/train

Surface, meaning and canonical are custom fields of the supervisions; `text` is the meaning. What is
written can be imported again: espnet-ext import --from lhotse.
"""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int | None:
    options = cli.parser(__doc__.partition("\n")[0])
    options.add_argument("source", metavar="DIR", help="data directory to read")
    options.add_argument("--to", choices=("lhotse",), required=True, help="what to make of it")
    options.add_argument("--output", required=True, help="folder to write")
    options.add_argument("--nj", type=audio_options.count, default=1, help="processes")
    chosen = options.parse_args(argv)

    from espnet_ext.corpora.interchange import to_lhotse

    print(to_lhotse.write(chosen.source, chosen.output, nj=chosen.nj))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
