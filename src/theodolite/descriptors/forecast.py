"""What descriptors will cost, told before they are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theodolite.derivatives import JacobianOperator
    from theodolite.descriptors.effort import Effort
    from theodolite.descriptors.plan import Plan
    from theodolite.maps import LatentMap

__all__ = ["Forecast", "forecast_of"]

_VECTORS = 4
"""Products timed at once: about as many as the probes of a survey."""


@dataclass(frozen=True)
class Forecast:
    """The cost of a survey that has not been made.

    Attributes:
        samples: images to measure.
        latent_dim: entries of one latent.
        output_dim: entries of one output.
        dense: the Jacobian of each sample will be built whole.
        plan: why, in words.
        passes: model passes of one sample: of the shared ``spectrum`` and of each descriptor beside it.
        seconds_a_pass: measured now, at the latent of the first image.
        left_out: descriptors that this model cannot have, and why.
    """

    samples: int
    latent_dim: int
    output_dim: int
    dense: bool
    plan: str
    passes: Mapping[str, int]
    seconds_a_pass: float
    left_out: list[dict[str, str]]

    @property
    def passes_a_sample(self) -> int:
        """Model passes of one sample; directions that are slow to converge may take a few more."""
        return sum(self.passes.values())

    @property
    def seconds(self) -> float:
        """Of the whole survey, from the passes alone."""
        return self.samples * self.passes_a_sample * self.seconds_a_pass

    def as_dict(self) -> dict[str, Any]:
        """The fields and both sums, with JSON's types."""
        return {**asdict(self), "passes_a_sample": self.passes_a_sample, "seconds": round(self.seconds, 3)}


def forecast_of(descriptors: Sequence[str], effort: Effort, map: LatentMap, latents: Tensor, samples: int) -> Forecast:
    """The cost of descriptors at `samples` latents like this one; some fifteen passes.

    What a requested error takes is decided by the spectrum itself: it is measured once, at this latent.

    Args:
        descriptors: names from the registry.
        effort: what may be spent.
        map: the map.
        latents: `(1, *latent)`, at which a pass is timed.
        samples: how many latents there are.

    Raises:
        InputError: the map cannot be differentiated there.
    """
    from theodolite.derivatives import jacobian
    from theodolite.descriptors.plan import plan_of
    from theodolite.descriptors.together import applicable

    operator = jacobian(map, latents)
    chosen, left_out = applicable(descriptors, operator.outputs.shape[1:])
    plan = plan_of(chosen, effort, operator.latents.shape[1:], operator.outputs.shape[1:])
    passes = {**plan.passes, **_within(plan, effort, operator)}
    V = latents.expand(_VECTORS, *latents.shape)
    work: tuple[Callable[[], object], ...] = (
        lambda: operator.matvec(V),
        lambda: operator.rmatvec(operator.outputs.expand(_VECTORS, *operator.outputs.shape)),
        lambda: operator.at_offsets(V),
    )
    seconds = sum(_seconds(product, latents.device) for product in work) / (len(work) * _VECTORS)
    sizes = operator.latent_dim, operator.output_dim
    return Forecast(samples, *sizes, plan.dense, plan.reason, passes, seconds, left_out)


def _within(plan: Plan, effort: Effort, operator: JacobianOperator) -> dict[str, int]:
    """Passes of what stops at a requested error, counted at one latent."""
    from theodolite.descriptors.preconditioning import log_volume_of
    from theodolite.estimates import Seeds
    from theodolite.spectrum import bidiagonalise_within

    if effort.rtol is None or plan.dense or "spectrum" not in plan.passes:
        return {}
    seeds = Seeds(0, 1)
    if plan.volume == "preconditioned":
        return {"volume": log_volume_of(operator, effort.rtol, seeds, fallback=False).passes}
    return {"spectrum": bidiagonalise_within(operator.flat, effort.rtol, seeds)[1].passes}


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one run, once it is warm."""
    import torch

    def run() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    run()
    return run()
