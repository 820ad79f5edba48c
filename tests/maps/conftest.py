"""What tests of maps share: `exact_networks`, and `live_bytes` of the stand-ins."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "stand_ins"), str(HERE.parents[1])]  # helpers, stand-ins, studies
