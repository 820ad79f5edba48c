"""Make `cases` and `capture` importable by the tests beside them, as they are for the script."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
