"""Let tests of studies import the made-up grids beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
