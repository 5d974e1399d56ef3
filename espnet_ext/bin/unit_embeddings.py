"""Write first embeddings of a joint vocabulary, made from those of a pre-trained text model."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Write first embeddings of a joint vocabulary, made from those of a pre-trained text "
        "sequence-to-sequence model (mBART, BART, T5, mT5, ByT5): each token of text gets the mean "
        "of its pieces, units are drawn at random. A training reads the file."
    )
    parser.add_argument(
        "--joint_token_dir", required=True, metavar="DIR", help="folder that unit_tokens wrote"
    )
    parser.add_argument(
        "--model", required=True, help="checkpoint: a folder or a name on the Hugging Face hub"
    )
    parser.add_argument("--revision", default=None, help="commit on the hub")
    parser.add_argument("--seed", type=int, default=0, help="of the embeddings of units")
    parser.add_argument("--output", required=True, metavar="FILE", help="file to write, .pth")
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    import torch

    from espnet_ext.files import atomic_write
    from espnet_ext.model.pretrained.checkpoint import Source
    from espnet_ext.model.pretrained.text_encoder import NETWORKS, VOCABULARY, remap_embeddings
    from espnet_ext.overwriting import require_new_file
    from espnet_ext.units.vocabulary import JointVocabulary

    require_new_file(args.output, overwrite=args.overwrite)
    vocabulary = JointVocabulary.read(args.joint_token_dir)
    source = Source.read(args.model, None, args.revision, tuple(NETWORKS), "--model")
    embeddings, unknown = remap_embeddings(
        source, vocabulary.tokens, vocabulary.text_range, vocabulary.unit_range, args.seed
    )
    with atomic_write(args.output, "wb") as handle:
        torch.save({"embed.weight": embeddings, VOCABULARY: vocabulary.digest}, handle)
    size = embeddings.size(1)
    print(
        f"{args.output}: {len(embeddings)} embeddings of size {size}; {unknown} of "
        f"{len(vocabulary.text_range)} tokens of text have no piece in {args.model}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
