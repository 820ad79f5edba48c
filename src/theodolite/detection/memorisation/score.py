"""What is known of a score of memorisation: a function of probed images, and the words for its number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from theodolite.detection.memorisation.probe import Probe
from theodolite.estimates import Estimate, student_mean
from theodolite.estimates.quantity import Quantity

__all__ = ["Kind", "MemorisationScore", "mean_over_draws", "score"]

Kind = Literal["geometry", "baseline"]


@dataclass(frozen=True)
class MemorisationScore:
    """A number of an image beside a denoiser; higher is taken to mean that the model knows the image by heart.

    Attributes:
        function: `(probe) -> Estimate` of `(n,)`, one entry an image of the `Probe`.
        quantity: what it is called and what it says.
        kind: ``geometry`` where it rests on derivatives of the denoiser, ``baseline`` where it does not.
        has_level: whether it depends on the noise level.
        conditional: whether it compares the model under the class with the model under none.
        needs_known: whether it needs the other training images.
        is_dear: whether it costs a whole spectrum, and is not measured unless it is asked for.
    """

    function: Callable[[Probe], Estimate]
    quantity: Quantity
    kind: Kind
    has_level: bool = True
    conditional: bool = False
    needs_known: bool = False
    is_dear: bool = False

    @property
    def name(self) -> str:
        """Of its quantity."""
        return self.quantity.name


def score(
    function: Callable[[Probe], Estimate],
    kind: Kind,
    *,
    has_level: bool = True,
    conditional: bool = False,
    needs_known: bool = False,
    **words: str,
) -> MemorisationScore:
    """A score from a function of a probe; `words` are those of its `Quantity`, named as the function is."""
    words = {"name": function.__name__, **words}
    return MemorisationScore(function, Quantity(**words), kind, has_level, conditional, needs_known)


def mean_over_draws(draws: Tensor, passes: int) -> Estimate:
    """The mean of independent draws `(draws, n)` with Student's standard error; infinite from a single draw.

    Args:
        draws: one number a draw and image; each is unbiased.
        passes: spent on one image in all draws.
    """
    draws = draws.double().cpu()
    if len(draws) < 2:
        return Estimate(draws[0], torch.full_like(draws[0], torch.inf), passes, 1)
    mean, stderr = student_mean(draws)
    return Estimate(mean, stderr, passes, len(draws))
