"""Where the tests of the server find the application and the modules of other tests."""

import sys
from pathlib import Path

sys.path[:0] = [
    str(Path(__file__).parent),
    *(str(Path(__file__).parents[1] / name) for name in ("feedback", "report")),
]
