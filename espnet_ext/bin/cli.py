"""What all commands share: option types that behave as in ESPnet's scripts, and exit codes."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

from espnet_ext.errors import Interrupted, UserError, is_out_of_memory
from espnet_ext.progress import guarded_streams, say

if sys.version_info < (3, 12):  # noqa: UP036  (PYTHONPATH may lead any interpreter here)
    sys.exit(
        "error: Python {}.{} runs this command, but the package needs 3.12 or later\n"
        "  remedy: activate its environment (created by local/setup_env.sh), or run "
        "./run.sh".format(*sys.version_info)
    )


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return an argument parser without abbreviations, which could hide a mistyped option.

    A boolean option is true without a value: `--times` is `--times true`.
    """
    return Parser(
        description=description,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )


class Parser(argparse.ArgumentParser):
    """An argument parser whose boolean options need no value.

    In a command with positional arguments, a word after a boolean option is its value only if it is
    `true` or `false`: in `--strict data/train`, the folder is an argument.
    """

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        if options.get("type") is boolean and "nargs" not in options:
            options |= {"nargs": "?", "const": True}
        return super().add_argument(*names, **options)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]
        words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._with_values(words), namespace)

    def _with_values(self, words: list[str]) -> list[str]:
        """Return words in which a boolean option before a positional argument has a value."""
        if all(action.option_strings for action in self._actions):
            return words  # without positional arguments, the next word can only be a wrong value
        result: list[str] = []
        for i, word in enumerate(words):
            if word == "--":
                return result + words[i:]
            action = self._option_string_actions.get(word)
            is_flag = action is not None and action.type is boolean and action.nargs == "?"
            following = words[i + 1] if i + 1 < len(words) else "--"
            has_value = following.startswith("-") or following.lower() in (*_TRUE, *_FALSE)
            result.append(f"{word}=true" if is_flag and not has_value else word)
        return result


class HelpFormatter(argparse.HelpFormatter):
    """Adds the default to the help of an option that has one, written as on the command line."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        is_empty = default is None or default in ("", [], (), argparse.SUPPRESS)
        if is_empty or action.required or not action.option_strings or action.nargs == 0:
            return text
        if "default: " in text:
            return text
        if isinstance(default, bool):
            default = str(default).lower()
        elif isinstance(default, list | tuple):
            default = f'"{" ".join(map(str, default))}"'
        return f"{text} (default: {str(default).replace('%', '%%')})"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        is_boolean = action.type is boolean
        return "BOOL" if is_boolean else super()._get_default_metavar_for_optional(action)


_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


def boolean(value: str) -> bool:
    """Parse `true` or `false`, as in ESPnet's scripts (also 1/0 and yes/no)."""
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"'{value}' is neither true nor false")


def words(value: str) -> list[str]:
    """Parse a list that is given as one argument: `--langs "ko en"`."""
    return value.split()


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add `--overwrite`: let a command replace files that it did not write (see `outputs`)."""
    parser.add_argument(
        "--overwrite",
        type=boolean,
        default=False,
        help="replace files in the output that this command did not write, or that have changed",
    )


def require_pairs(parser: argparse.ArgumentParser, option: str, values: Sequence[str]) -> None:
    """Exit with a usage error unless each value of an option is NAME=NAME."""
    for value in values:
        if value.count("=") != 1:
            parser.error(f"{option}: '{value}' is not NAME=NAME")


def named_folders(
    parser: argparse.ArgumentParser,
    option: str,
    words: Sequence[str],
    known: Collection[str] | None = None,
) -> dict[str, str]:
    """Return folders by name; wrong usage unless each word is NAME=DIR with a new, known name.

    Both `--models a=x b=y` and `--models "a=x b=y"` are understood.
    """
    folders: dict[str, str] = {}
    for item in " ".join(words).split():
        name, _, folder = item.partition("=")
        if not (name and folder):
            parser.error(f"{option}: '{item}' is not NAME=DIR")
        if name in folders:
            parser.error(f"{option}: '{name}' is given twice")
        if known is not None and name not in known:
            parser.error(f"{option}: '{name}' is not among the systems")
        folders[name] = folder
    return folders


def run(
    main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None
) -> int:
    """Run a command and return its exit code.

    0 is success and 1 bad input, whose `UserError` is printed without a traceback. argparse exits
    with 2 for wrong usage. 75 means that a signal ended the command after it saved its state. A
    command continues if the reader of its output ends (`| head`).
    """
    if argv is None:
        _require_utf8()
    _set_output_encoding()
    with guarded_streams():
        return _run(main, argv)


def _run(
    main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None
) -> int:
    try:
        return main(argv) or 0
    except UserError as error:
        say(f"error: {error}")
        return 1
    except Interrupted as error:
        say(f"note: {error}")
        return error.EXIT_CODE
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except (MemoryError, RuntimeError, OSError, ImportError) as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        remedy = "end other programs, or allow this one more memory (ulimit -v, the job's memory)"
        say(f"error: out of memory: {reason}\n  remedy: {remedy}")
        return 1


def _require_utf8() -> None:
    """Start this program again in Python's UTF-8 mode if the locale has another encoding.

    Tables are UTF-8, and so are the paths in them. In a locale such as ko_KR.EUC-KR, Python would
    encode paths and messages as EUC-KR. The mode is inherited by child processes.
    """
    if sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    os.environ["PYTHONUTF8"] = "1"
    try:
        with open("/proc/self/cmdline", "rb") as handle:  # unlike sys.argv, it was not decoded
            arguments = handle.read().split(b"\0")[1:-1]
    except OSError:
        arguments = [os.fsencode(argument) for argument in sys.orig_argv[1:]]
    os.execv(sys.executable, [os.fsencode(sys.executable), b"-X", b"utf8", *arguments])


def _set_output_encoding() -> None:
    """Print UTF-8, and names of files that are not UTF-8 as the bytes that they have."""
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
