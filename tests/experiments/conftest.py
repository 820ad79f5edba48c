"""The harness that kills runs, and the cases of golden runs, importable by the tests of experiments."""

import pathlib
import sys

TESTS = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "golden")]
