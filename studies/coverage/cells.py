"""What one cell of the coverage study is, and how its draws are recorded."""

from __future__ import annotations

import importlib
import pkgutil
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theodolite.estimates import Estimate

SEEDS = 200
"""Draws of a cell: the binomial standard error of a coverage of .95 is then .015, so that .88 is seen to be too low."""

EXACT = {torch.float64: 1e-10, torch.float32: 1e-4}
"""What rounding may do to a value without an error, relative to its scale: a thousand units of the last digit and more,
for sums of hundreds of terms that a QR or an eigenvalue routine made."""


@dataclass(frozen=True)
class Answer:
    """An estimate beside the truth.

    Attributes:
        estimate: what the library says.
        truth: in its shape, or one number for all entries.
        scale: of what the rounding of a value without error is a share, where that is not the truth itself: of a sum
            whose terms cancel, the size of the terms.
        conservative: as that of a cell, of this quantity alone.
    """

    estimate: Estimate
    truth: Tensor | float
    scale: float = 0.0
    conservative: str = ""


Answers = Mapping[str, Answer]
"""What one draw came to, by the name of the quantity."""


@dataclass(frozen=True)
class Cell:
    """A situation in which the errors of some quantities are put to the test.

    Attributes:
        room: the room of `src/theodolite` that the quantities come from.
        regime: what kind of case is drawn, in a few words.
        n: its size: dimensions of a spectrum, points of a cloud, samples, labels.
        setting: budget, tolerance or method.
        draw: from a seed, the estimates of a case drawn by it beside the truth. Everything random follows the seed.
        conservative: why intervals may hold the truth more than 97 times in 100: what part of the error is a bound
            instead of a draw. Empty where the error is sampling error alone.
        seeds: how many draws.
    """

    room: str
    regime: str
    n: int
    setting: str
    draw: Callable[[int], Answers]
    conservative: str = ""
    seeds: int = SEEDS

    @property
    def name(self) -> str:
        """What tells the cell from all others."""
        return " | ".join((self.room, self.regime, f"n={self.n}", self.setting))


def all_cells() -> list[Cell]:
    """The cells of every module of `cases`, in the order of the modules' names.

    Raises:
        ValueError: two cells of one name.
    """
    package = importlib.import_module(f"{__package__}.cases")
    modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    cells = [cell for name in modules for cell in importlib.import_module(f"{package.__name__}.{name}").cells()]
    twice = sorted(name for name, count in Counter(cell.name for cell in cells).items() if count > 1)
    if twice:
        raise ValueError(f"cells expected to have names of their own, got two of {twice}")
    return cells


def rows_of(cell: Cell, seed: int) -> Iterator[dict[str, Any]]:
    """What one draw came to, a row a quantity.

    Of an estimate with many entries one is kept, drawn by the seed: the entries of one draw err together, and only
    draws that do not depend on each other make coverage binomial.
    """
    start = time.process_time()
    answers = cell.draw(seed)
    seconds = time.process_time() - start
    for quantity, answer in answers.items():
        about = {"quantity": quantity, "seed": seed, "seconds": seconds}
        why = {"conservative": answer.conservative or cell.conservative}
        yield {**_head(cell), **why, **about, **_entry(answer, seed)}


def _head(cell: Cell) -> dict[str, Any]:
    fields = ("name", "room", "regime", "n", "setting")
    return {("cell" if field == "name" else field): getattr(cell, field) for field in fields}


def _entry(answer: Answer, seed: int) -> dict[str, Any]:
    estimate = answer.estimate
    truths = torch.as_tensor(answer.truth, dtype=torch.float64).expand(estimate.shape).flatten()
    stream = torch.Generator().manual_seed(zlib.crc32(f"entry {seed}".encode()))
    place = int(torch.randint(truths.numel(), (), generator=stream))
    numbers = (estimate.value, estimate.stderr, *estimate.interval())
    value, stderr, low, high = (float(each.flatten()[place]) for each in numbers)
    truth = truths[place].item()
    rounding = EXACT[estimate.value.dtype] * max(abs(truth), answer.scale)
    return {
        "value": value,
        "stderr": stderr,
        "low": low,
        "high": high,
        "truth": truth,
        "status": estimate.statuses[place],
        "draws": estimate.n,
        "passes": estimate.passes,
        "is_inside": low - rounding <= truth <= high + rounding,
    }
