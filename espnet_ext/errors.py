"""The one exception for what a user can mend; every room raises it, every command prints it."""


class UserError(Exception):
    """A mistake in input or configuration: names the culprit and the remedy, shown without a trace.

    >>> str(UserError("wav.scp:3: no such file: a.wav", "correct the path or remove the line"))
    'wav.scp:3: no such file: a.wav\\n  remedy: correct the path or remove the line'
    """

    def __init__(self, message: str, remedy: str = ""):
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message
