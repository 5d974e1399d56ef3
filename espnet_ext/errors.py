"""`UserError`, the exception for mistakes that a user can correct."""


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
