"""Mistakes that a user can correct (`UserError`), similar names, and errors that mean no memory."""

import re
from collections.abc import Iterable

# What PyTorch, its allocators, oneDNN, C++ and the system print if memory cannot be allocated.
_OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|not enough memory"
    r"|bad_alloc|bad allocation|could not (create|execute) a (primitive|memory)"
    r"|could not (create|execute) (a )?primitive|CUBLAS_STATUS_ALLOC_FAILED"
    r"|failed to map segment",  # of a library that is loaded
    re.IGNORECASE,
)


class UserError(Exception):
    """A mistake in input or configuration.

    Commands print the message and the remedy without a traceback and exit with 1.

    Args:
        message: `<file>: <utterance>: what is wrong`.
        remedy: what to do.

    >>> str(UserError("wav.scp:3: no such file: a.wav", "correct the path or remove the line"))
    'wav.scp:3: no such file: a.wav\\n  remedy: correct the path or remove the line'
    """

    def __init__(self, message: str, remedy: str = ""):
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


class Interrupted(BaseException):
    """A command ended because of a signal. It saved its state, if any; run again, it continues.

    Commands print the message and exit with `EXIT_CODE`. Like `KeyboardInterrupt`, it can be raised
    at any point of a program, so it must not be taken for an error in what runs there.
    """

    EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: run again


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "", form: str = "'{}'") -> str:
    """Return a question for the known word that is most similar to a mistyped one.

    The shortest known word that begins with the mistyped one counts as the most similar.

    Args:
        otherwise: returned if no known word is similar.
        form: how the known word is written.

    >>> did_you_mean("stop_stag", ["stage", "stop_stage"], form="--{}")
    'did you mean --stop_stage?'
    >>> did_you_mean("output", ["output_dir", "outputs"])
    "did you mean 'outputs'?"
    >>> did_you_mean("xyz", ["stage"], "see --help")
    'see --help'
    """
    import difflib

    known = list(known)
    longer = sorted((one for one in known if len(word) > 2 and one.startswith(word)), key=len)
    similar = longer or difflib.get_close_matches(word, known, n=1)
    return f"did you mean {form.format(similar[0])}?" if similar else otherwise


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception of Python, PyTorch or oneDNN means that memory is exhausted.

    So does an exception that was raised while such an exception was handled.

    >>> is_out_of_memory(RuntimeError("could not create a primitive"))
    True
    """
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and is_out_of_memory(cause)
