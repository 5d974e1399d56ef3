"""What all commands share: values of boolean options, and references to other commands."""

import re
from pathlib import Path

import pytest

from espnet_ext.bin import cli
from espnet_ext.bin.main import verbs


def parser(*positional):
    result = cli.parser("An example.")
    result.add_argument("--strict", type=cli.boolean, default=False)
    result.add_argument("--nj", type=int, default=1)
    for name in positional:
        result.add_argument(name, nargs="+")
    return result


@pytest.mark.parametrize(
    ("words", "strict", "folders"),
    [
        (["--strict", "data"], True, ["data"]),
        (["--strict", "data", "dump"], True, ["data", "dump"]),
        (["--strict", "false", "data"], False, ["data"]),
        (["--strict", "0", "data"], False, ["data"]),
        (["--strict", "--nj", "2", "data"], True, ["data"]),
        (["data", "--strict"], True, ["data"]),
        (["--", "--strict", "data"], False, ["--strict", "data"]),
    ],
)
def test_boolean_option_does_not_swallow_an_argument(words, strict, folders):
    options = parser("folders").parse_args(words)
    assert (options.strict, options.folders) == (strict, folders)


def test_boolean_option_of_a_sub_command():
    main = cli.parser("An example.")
    commands = main.add_subparsers(dest="command")
    sub = commands.add_parser("show")
    sub.add_argument("--strict", type=cli.boolean, default=False)
    sub.add_argument("folder")
    options = main.parse_args(["show", "--strict", "data"])
    assert options.strict is True and options.folder == "data"


def test_wrong_value_is_named_where_nothing_else_can_follow(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--strict", "ture"])
    assert "'ture' is neither true nor false" in capsys.readouterr().err


def test_messages_and_help_name_commands_that_exist():
    folder = Path(cli.__file__).parents[1]
    known = {verb.replace("_", "-") for verb in verbs()}
    named = re.compile(r"[`']espnet-ext ([a-z][a-z0-9_-]*)|`([a-z_-]+(?: [a-z_-]+)*) --help`")
    mentioned = set()
    for path in folder.rglob("*.py"):
        for names in named.findall(path.read_text(encoding="utf-8")):
            verb = "".join(names)  # of one of the two forms
            mentioned.add(verb)
            assert verb.replace("_", "-") in known, f"{path}: {verb}"
    assert "mdd" in mentioned
