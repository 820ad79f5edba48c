"""`plan_of`: the way to every number of a list of descriptors together, chosen before a pass is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from theodolite.descriptors.effort import Effort
from theodolite.descriptors.preconditioning import block_passes
from theodolite.descriptors.registry import REGISTRY
from theodolite.spectrum import forecast

__all__ = ["Plan", "plan_of"]

_EXACT = 0.25
"""How much dearer whole Jacobians may be than probes and still be taken: their numbers are exact, and a quick budget
told the log-volume of 256 dimensions to 13 nats for 12 % less."""

_MOST_BYTES = 2**30
"""Of one latent's Jacobian in float64 with its two work copies, where the budget alone would not take it. A number and
not what is free now: the way must not change when a run goes on, or on another machine."""

_UNAIDED = 38
"""Steps a probe of a log-volume to a requested error without a preconditioner, on a real decoder of 1,024 entries at
0.01; with one it is 12 (`theodolite.spectrum.forecast`)."""


@dataclass(frozen=True)
class Plan:
    """How descriptors will be measured at one latent.

    Attributes:
        dense: whole Jacobians are built.
        volume: how the log-volume is found: of the ``spectrum`` that all share, or ``preconditioned`` by itself.
        passes: model passes of one latent: of what they share (``spectrum``, ``volume``), and of each beside it.
        instead: those of the other way to the spectrum, in all; None where there is none.
        reason: why this way, in words.
    """

    dense: bool
    volume: str
    passes: Mapping[str, int]
    instead: int | None
    reason: str

    @property
    def passes_a_sample(self) -> int:
        """All of them; directions that are slow to converge may take a few more."""
        return sum(self.passes.values())

    def as_dict(self) -> dict[str, Any]:
        """The fields and their sum, with JSON's types."""
        return {**asdict(self), "passes_a_sample": self.passes_a_sample}


def plan_of(descriptors: Sequence[str], effort: Effort, latent: Sequence[int], output: Sequence[int]) -> Plan:
    """The way to these descriptors for the fewest passes, exact where that is nearly as cheap.

    Args:
        descriptors: names from the registry, those that apply.
        effort: what may be spent: a budget, or a standard error of the log-volume for each dimension (`Effort.rtol`).
        latent: shape of one latent.
        output: shape of one output.

    Returns:
        The plan. It depends on shapes and settings alone, so that every process and every continuation makes the same.

    Example:
        >>> plan_of(["local_scaling", "curvature"], Effort(probes=2, depth=24), (256,), (784,)).dense
        True
    """
    rows, columns = prod(output), prod(latent)
    dimension = min(rows, columns)
    if not any(REGISTRY[name].needs_spectrum for name in descriptors):
        passes = {name: REGISTRY[name].passes(effort, False) for name in descriptors}
        return Plan(False, "spectrum", passes, None, "no descriptor needs the spectrum")
    dense = {"spectrum": dimension, **{name: REGISTRY[name].passes(effort, True) for name in descriptors}}
    blocks = block_passes(latent, output) if effort.rtol is not None and "local_scaling" in descriptors else None
    sampled = _sampled(descriptors, effort, dimension, blocks)
    ways = sum(dense.values()), sum(sampled.values())
    fits = 24 * rows * columns <= _MOST_BYTES
    if effort.is_dense(dimension):
        return Plan(True, "spectrum", dense, ways[1], "whole Jacobians cost no more than the probes alone")
    if fits and ways[0] <= (1 + _EXACT) * ways[1]:
        reason = f"whole Jacobians are exact, for {ways[0]} passes in all where probes take {ways[1]}"
        return Plan(True, "spectrum", dense, ways[1], reason)
    reason = f"probes take {ways[1]} passes in all where whole Jacobians take {ways[0]}"
    return Plan(False, "spectrum" if blocks is None else "preconditioned", sampled, ways[0] if fits else None, reason)


def _sampled(descriptors: Sequence[str], effort: Effort, dimension: int, blocks: int | None) -> dict[str, int]:
    """Passes where the spectrum comes from probes.

    Args:
        descriptors: names from the registry.
        effort: what may be spent.
        dimension: of the spectrum.
        blocks: passes of the log-volume's preconditioner; None where it has none.
    """
    own = {name: REGISTRY[name].passes(effort, False) for name in descriptors}
    if effort.rtol is None:
        return {"spectrum": effort.spectrum_passes(dimension), **own}
    if blocks is None:
        return {"spectrum": forecast(dimension, effort.rtol, depth=_UNAIDED).passes, **own}
    probes = 2 * effort.probes * min(effort.depth, dimension)
    return {"spectrum": probes, "volume": forecast(dimension, effort.rtol, setup=blocks).passes, **own}
