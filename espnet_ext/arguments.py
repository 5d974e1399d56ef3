"""Check further options of a command, as `run.sh` passes them on, without running the command."""

import argparse
import contextlib
import io
import shlex
from collections.abc import Callable, Sequence

from espnet_ext.errors import UserError, did_you_mean


def check_arguments(
    option: str,
    words: Sequence[str],
    parse: Callable[[Sequence[str]], object],
    parser: argparse.ArgumentParser,
) -> None:
    """Raise a `UserError` if a command refuses its options, which would print its whole usage.

    Args:
        option: option of run.sh that has the words: "--asr_args".
        words: the options.
        parse: parses them, and exits with 2 if they are wrong.
        parser: has the names of the known options.

    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--max_epoch", type=int)
    >>> check_arguments("--asr_args", ["--max_epochs", "3"], parser.parse_args, parser)
    Traceback (most recent call last):
    espnet_ext.errors.UserError: --asr_args "--max_epochs 3": unknown option --max_epochs
      remedy: did you mean '--max_epoch'?
    """
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages), contextlib.redirect_stdout(io.StringIO()):
            parse(words)
        return
    except SystemExit as stop:
        if not stop.code:
            return  # --help
    known = list(parser._option_string_actions)
    message = messages.getvalue().strip().rpartition("error: ")[2]
    remedy = "correct it; no stage was run"
    if message.startswith("unrecognized arguments: "):
        unknown = message.split()[2]
        is_option = unknown.startswith("--")
        name = unknown.partition("=")[0]
        message = f"unknown option {name}" if is_option else f"'{unknown}' belongs to no option"
        remedy = did_you_mean(name, known) or "see the documentation of its options"
    raise UserError(f'{option} "{shlex.join(words)}": {message}', remedy)
