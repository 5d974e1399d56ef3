"""Stages 15 and 16: write the model card of an archive, and upload both to the Hugging Face hub."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli

MAX_CARD = 1_000_000  # bytes of a card in an archive


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser("Write the model card of an archive; with --send true, upload both.")
    parser.add_argument("--archive", required=True, help="packed model (stage 14)")
    parser.add_argument("--repo", required=True, help="repository on the hub: user/name")
    parser.add_argument("--folder", default="", help="folder in the repository; default: its root")
    parser.add_argument("--language", default="", help="language code, for the card")
    parser.add_argument("--license", default="", help="licence of the weights, for the card")
    parser.add_argument(
        "--send", type=cli.boolean, default=False, help="also upload the archive and its card"
    )
    parser.add_argument(
        "--private", type=cli.boolean, default=True, help="create the repository as private"
    )
    args = parser.parse_args(argv)

    from pathlib import Path

    from espnet_ext.errors import UserError
    from espnet_ext.files import sha256_of, write_text

    archive = Path(args.archive)
    card = archive.with_suffix(".README.md")
    if not archive.is_file():
        raise UserError(f"{archive}: no such archive", "run stage 14 (--skip_packing false)")
    if args.repo.count("/") != 1:
        raise UserError(f"--repo {args.repo}: not user/name", "name a repository of your account")
    if not card.exists():  # keep a card that the user has edited
        write_text(card, model_card(args, archive, sha256_of(archive)))
        print(f"{card}: written; read it before uploading")
    if args.send:
        print(send(args, archive, card))
    else:
        megabytes = archive.stat().st_size / 1e6
        print(
            f"nothing was sent; --send true creates {args.repo} "
            f"({'private' if args.private else 'public'}) and uploads {archive.name} "
            f"({megabytes:.1f} MB) and the card"
        )
    return 0


def packed_sections(archive) -> list[str]:
    """Return the sections of the card in an archive, from its first table on; [] without a card.

    They have the outputs, scores, data, calibration and licence.
    """
    import zipfile

    if not zipfile.is_zipfile(archive):
        return []
    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if name.count("/") == 1]
        card = next((name for name in names if name.endswith("/README.md")), None)
        if card is None or packed.getinfo(card).file_size > MAX_CARD:
            return []
        lines = packed.read(card).decode("utf-8", "replace").splitlines()
    chosen: list[str] = []
    is_kept = True
    for line in lines[1:]:  # without the title
        if line.startswith("## "):
            is_kept = line != "## Use"  # the card of the hub has its own
        if is_kept:
            chosen.append(line)
    return chosen


def model_card(args, archive, digest: str) -> str:
    """Return the card as Markdown with the hub's header. Unknown fields are left out.

    The sections of the card in the archive follow: scores, data, calibration, licence.
    """
    place = "/".join(filter(None, (args.repo, args.folder)))
    header = ["library_name: espnet", "pipeline_tag: automatic-speech-recognition"]
    if args.language:
        header.append(f"language: {args.language}")
    if args.license:
        header.append(f"license: {args.license}")
    return "\n".join(
        [
            "---",
            *header,
            "tags: [espnet, second-language, dual-output]",
            "---",
            "",
            f"# {args.folder or args.repo}",
            "",
            "A speech recogniser for second-language learners, trained with espnet-ext.",
            "It produces one transcript per output: `surface` is what was pronounced, `meaning`"
            " what was intended.",
            "",
            f"`{archive.name}` contains the weights, the configuration and the token lists"
            f" (SHA-256 `{digest}`).",
            "",
            "```python",
            "from espnet_ext.decoding.api import DualSpeech2Text",
            "",
            f'recognise = DualSpeech2Text.from_pretrained("{place}")',
            'for output, hypothesis in recognise("utterance.wav").best.items():',
            "    print(output, hypothesis.text)",
            "```",
            *packed_sections(archive),
            "",
        ]
    )


def send(args, archive, card) -> str:
    """Upload archive and card; raise `UserError` if the hub refuses them."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    from espnet_ext.errors import UserError

    prefix = f"{args.folder}/" if args.folder else ""
    api = HfApi()
    try:
        api.create_repo(args.repo, exist_ok=True, private=args.private)
        for path, name in ((archive, archive.name), (card, "README.md")):
            api.upload_file(
                path_or_fileobj=str(path), path_in_repo=prefix + name, repo_id=args.repo
            )
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        raise UserError(
            f"{args.repo}: the hub refused: {error}",
            "log in with 'hf auth login', check that you may write there and that you are online",
        ) from error
    return f"{args.repo}: sent {prefix}{archive.name} and {prefix}README.md"


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
