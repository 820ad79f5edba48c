"""What pages of images that were judged by others have in common: their numbers by score and image, and how p reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from theodolite.experiments.images import RunImage, run_images
from theodolite.report import page as kit

if TYPE_CHECKING:
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["PLAIN", "JudgedRun", "p_cell"]

PLAIN = "#c9d0d9"
"""Of cards of images that are not flagged."""


class JudgedRun:
    """The finished images of a run, and what follows of each score and image.

    Attributes:
        run: the run, whose derived rows have the columns `score` and `sample`.
        images: in the order of their units.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.images = run, run_images(run)
        self._by = {(row["quantity"], row["score"], row["sample"]): row for row in run.derived_rows}

    def of_role(self, role: str) -> list[RunImage]:
        """The images of a role."""
        return [image for image in self.images if image.role == role]

    def row(self, quantity: str, score: str | None, image: RunImage | None = None) -> Row | None:
        """A number of a score, of an image, or of an image in that score."""
        return self._by.get((quantity, score, image and image.sample))

    def p(self, score: str, image: RunImage) -> float:
        """The p-value of an image in a score; NaN where there is none."""
        row = self.row("p_value", score, image)
        return math.nan if row is None else float(row["value"])

    def scores_with(self, quantity: str) -> list[str]:
        """The scores that have a number of this quantity, in their order."""
        return list(dict.fromkeys(score for name, score, _ in self._by if name == quantity))

    def repeated(self, role: str, known: str) -> list[str]:
        """Files of a role whose bytes are those of an image of another role."""
        hashes = self.run.info["content"]["images"]
        present = {hashes[image.sample] for image in self.of_role(known)}
        return [image.file for image in self.of_role(role) if hashes[image.sample] in present]


def p_cell(value: float) -> kit.Cell:
    """The cell of a conformal p-value, which is exact: a count over a count."""
    return kit.cell(None) if math.isnan(value) else kit.Cell(f"{value:.3f}", value)
