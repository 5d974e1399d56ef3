"""`--help` of every command: a default is shown where there is one, as a user would type it."""

import argparse
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import public_surface  # noqa: E402

from espnet_ext.bin import cli  # noqa: E402
from espnet_ext.bin.main import module_of, verbs  # noqa: E402


def help_texts(parser):
    """Return the help of a parser and of its sub-commands."""
    texts = [parser.format_help()]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts += [text for sub in action.choices.values() for text in help_texts(sub)]
    return texts


@pytest.mark.parametrize("verb", verbs())
def test_no_option_has_an_empty_default(verb):
    for text in help_texts(public_surface.parser_of(module_of(verb).main)):
        text = " ".join(text.split())
        assert not re.search(r"\(default: (None|\[\]|\(\)|True|False)?\)", text), text
        assert not re.search(r"\(default: [^()]*\) \(default:", text), text


def test_defaults_are_written_as_on_the_command_line():
    parser = cli.parser("An example.")
    parser.add_argument("--nj", type=int, default=0, help="jobs")
    parser.add_argument("--sets", type=cli.words, default=["train", "test"], help="sets")
    parser.add_argument("--share", default="5%", help="share")
    parser.add_argument("--quick", type=cli.boolean, default=False, help="less")
    parser.add_argument("--needed", required=True, default="x", help="no default")
    parser.add_argument("--name", default="", help="name (default: that of the folder)")
    lines = [" ".join(line.split()) for line in parser.format_help().splitlines()]
    for line in (
        "--nj NJ jobs (default: 0)",
        '--sets SETS sets (default: "train test")',
        "--share SHARE share (default: 5%)",
        "--quick [BOOL] less (default: false)",
        "--needed NEEDED no default",
        "--name NAME name (default: that of the folder)",
    ):
        assert line in lines
