"""The conditions of a diffusion model as a setting: text on the command line, text or pairs in Python."""

from __future__ import annotations

from theodolite.runs.settings import AnyObject

__all__ = ["CONDITIONS"]


CONDITIONS = AnyObject(
    name="conditions",
    help="Normal and unusual condition of each pair, e.g. 3-red/3-yellow,4-blue/4-red, 3-red/3-red+8-red (a mean of "
    "two) or 207/360; by default what the zoo's model was trained on and what was held out.",
    metavar="A/B,...",
)
