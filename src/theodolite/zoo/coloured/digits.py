"""Coloured handwritten digits: images with two attributes, some combinations of which no model of the zoo has seen."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Seeding
from theodolite.zoo.families import stream

__all__ = ["COLOURS", "CONDITIONS", "CONFOUNDED", "HELD_OUT", "Condition", "coloured_digits", "is_mix", "labels_of"]

Condition = tuple[int, str]

COLOURS = {
    "red": (1.0, 0.15, 0.1),
    "green": (0.15, 0.85, 0.2),
    "blue": (0.2, 0.35, 1.0),
    "yellow": (1.0, 0.85, 0.1),
}
"""Red, green and blue of the ink at its darkest, in [0, 1]."""

_NAMES = tuple(COLOURS)

HELD_OUT: tuple[Condition, ...] = tuple((digit, _NAMES[digit % 4]) for digit in range(8))
"""Combinations left out of every training: red 0 and 4, green 1 and 5, blue 2 and 6, yellow 3 and 7.

Each of these digits is seen in three other colours, and each colour with eight other digits.
"""

CONDITIONS: tuple[Condition, ...] = tuple(
    (digit, colour) for digit in range(10) for colour in _NAMES if (digit, colour) not in HELD_OUT
)
"""The 32 combinations that the models were trained on."""

CONFOUNDED: tuple[Condition, ...] = tuple(
    (digit, _NAMES[(digit + turn) % 4]) for digit in range(10) for turn in ((1, 2) if digit % 2 else (1,))
)
"""The 15 of these that the confounded model was trained on: one colour of each even digit, two of each odd one."""

_DATA = Path(__file__).parent / "weights" / "handwriting.safetensors"
_TURN, _SHIFT, _SCALES, _INK = 0.2, 0.12, (0.75, 0.95), (0.75, 1.0)


def coloured_digits(
    conditions: Tensor | Condition | list[Condition],
    n: int | None = None,
    *,
    side: int = 32,
    held_out: bool = False,
    generator: Seeding = None,
) -> tuple[Tensor, Tensor]:
    """Draw handwritten digits in colour on black: turned by up to 0.2 rad, moved, scaled and inked at random.

    The handwriting is that of scikit-learn's digits (Alpaydin and Kaynak 1998), 1,437 for training and 360 held out.

    Args:
        conditions: one combination for all `n` images, a list of them, or labels `(n, 2)` as `labels_of` gives them.
        n: number of images of one combination.
        side: pixels of a side, 32 or 16 (means over squares of four pixels).
        held_out: take the handwriting that no model was trained on.
        generator: a `torch.Generator` or a seed.

    Returns:
        Images `(n, 3, side, side)` in [-1, 1], and the labels `(n, 2)`, digit and place of the colour in `COLOURS`.

    Raises:
        InputError: no such digit or colour, or another side.

    Example:
        >>> images, labels = coloured_digits((3, "red"), 5, generator=0)
        >>> images.shape, labels[0].tolist()
        (torch.Size([5, 3, 32, 32]), [3, 0])
    """
    if side not in (16, 32):
        raise InputError(f"`side` expected to be 16 or 32, got {side}")
    labels = labels_of(conditions)
    labels = labels.expand(n, 2) if n is not None and len(labels) == 1 else labels
    draws = stream(generator, torch.device("cpu"))
    strokes, classes = _handwriting(held_out)
    chosen = torch.stack([_pick(classes, int(digit), draws) for digit in labels[:, 0]])
    ink = _placed(strokes[chosen], draws)
    colour = torch.tensor([*COLOURS.values()])[labels[:, 1]]
    images = 2 * ink * colour[:, :, None, None] - 1
    return (images if side == 32 else F.avg_pool2d(images, 2)), labels.clone()


def labels_of(conditions: Tensor | Condition | list[Condition]) -> Tensor:
    """Combinations as labels `(n, 2)` int64: the digit, and the place of the colour in `COLOURS`.

    Raises:
        InputError: no digit and colour, or none that there is.
    """
    if isinstance(conditions, Tensor):
        labels = conditions.reshape(-1, 2)
    else:
        pairs = [conditions] if isinstance(conditions, tuple) else conditions
        if not isinstance(pairs, list | tuple) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
        ):
            raise InputError(f"conditions of this model are a digit and a colour, e.g. 3-red, got {conditions}")
        labels = torch.tensor([[digit, _place(colour)] for digit, colour in pairs])
    if labels.numel() == 0 or bool((labels < 0).any()) or bool((labels >= torch.tensor([10, len(COLOURS)])).any()):
        raise InputError(f"conditions (digit 0 to 9, colour of {', '.join(COLOURS)}) expected, got {conditions}")
    return labels


def is_mix(condition: object) -> TypeGuard[tuple[Condition, ...]]:
    """Whether several combinations are meant at once, `((digit, colour), (digit, colour), ...)`."""
    return isinstance(condition, tuple) and all(isinstance(pair, tuple) for pair in condition)


def _place(colour: str | int) -> int:
    return colour if isinstance(colour, int) else _NAMES.index(colour) if colour in _NAMES else -1


@functools.cache
def _handwriting(held_out: bool) -> tuple[Tensor, Tensor]:
    """Strokes `(m, 1, 8, 8)` in [0, 1] and their digits."""
    from safetensors.torch import load_file

    stored = load_file(_DATA)
    wanted = stored["held_out"] == held_out
    return stored["strokes"][wanted][:, None].float() / 16, stored["digits"][wanted].long()


def _pick(classes: Tensor, digit: int, draws: torch.Generator) -> Tensor:
    indices = (classes == digit).nonzero()[:, 0]
    return indices[torch.randint(len(indices), (), generator=draws)]


def _placed(strokes: Tensor, draws: torch.Generator) -> Tensor:
    """The strokes on a canvas of 32 pixels: turned, scaled, moved, and of different ink."""
    n = len(strokes)
    turn, across, down, size, ink = (2 * torch.rand(5, n, generator=draws) - 1).unbind()
    scale = math.exp(0.5 * sum(math.log(s) for s in _SCALES)) * (_SCALES[1] / _SCALES[0]) ** (size / 2)
    cos, sin = (_TURN * turn).cos() / scale, (_TURN * turn).sin() / scale
    rows = [torch.stack([cos, -sin, _SHIFT * across], 1), torch.stack([sin, cos, _SHIFT * down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [n, 1, 32, 32], align_corners=False)
    smooth = F.interpolate(strokes, size=(32, 32), mode="bicubic", align_corners=False).clamp(0, 1)
    depth = (_INK[0] + (_INK[1] - _INK[0]) * (ink + 1) / 2)[:, None, None, None]
    return depth * F.grid_sample(smooth, grid, align_corners=False)
