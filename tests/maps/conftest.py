"""What tests of maps share: `exact_networks`."""

import pathlib
import sys

sys.path[:0] = [
    str(pathlib.Path(__file__).parent),
    str(pathlib.Path(__file__).resolve().parents[2]),
]  # helpers, studies
