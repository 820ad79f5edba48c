"""What a guidance run came to: its numbers by reward and scale, and the result in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from theodolite.estimates.quantity import Quantity
from theodolite.experiments.guide.experiment import done_rewards
from theodolite.report.page import number_cell

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["QUANTITIES", "REWARDS", "Guidance", "Number", "readings", "signed"]

REWARDS = {
    "scaling": "local scaling",
    "brightness": "brightness",
    "contrast": "contrast",
    "detail": "detail",
    "random": "a random direction",
}
"""What samples are guided by."""

_OF_SAMPLES = (
    Quantity(
        "local_scaling_change",
        "change of psi",
        "nats",
        meaning="mean change of true local scaling from the unguided samples of the same noise",
    ),
    Quantity(
        "local_scaling_step",
        "step",
        "nats",
        meaning="mean change from the scale before; all above zero: psi rises with rho",
    ),
    Quantity(
        "local_scaling_lead",
        "behind",
        "nats",
        meaning="how far the samples guided by local scaling are ahead of these, with the same noise and rho",
    ),
    Quantity(
        "diversity", "diversity", meaning="mean distance of two samples of the same condition, in the space of features"
    ),
    Quantity(
        "frechet_distance",
        "Fréchet distance",
        meaning="from the features of data that no model was trained on; smaller is nearer to data",
    ),
    Quantity("confidence", "confidence", meaning="probability that the classifier gives to what was asked for"),
    Quantity(
        "accuracy",
        "accuracy",
        meaning="share of samples whose digit and colour the classifier sees as asked for",
    ),
)
_OTHERS = (
    Quantity(
        "local_scaling",
        "psi",
        "nats",
        "Σ log σᵢ",
        "Humayun et al. 2025 (arXiv 2408.08307)",
        "local scaling: more means that the map spreads the neighbourhood of a sample further; mean over samples",
    ),
    Quantity(
        "held_out_correlation",
        "Spearman, held out",
        meaning="rank correlation of the reward at a noisy point with the truth at its clean one, on unseen samples",
    ),
)
QUANTITIES = {quantity.name: quantity for quantity in (*_OTHERS, *_OF_SAMPLES)}
_CHANGE, _STEP, _LEAD = (f"local_scaling_{word}" for word in ("change", "step", "lead"))

_MOST = 0.5
"""Of what guidance by local scaling does: a control that does as much leaves it less than half for itself."""

Number = Mapping[str, Any]
"""A row of the run's table."""


@dataclass(frozen=True)
class Guidance:
    """What a run came to, reward by reward and scale by scale."""

    run: Run

    @cached_property
    def rewards(self) -> list[str]:
        """Those done at every scale, that of local scaling first."""
        return done_rewards(self.run)

    @cached_property
    def rhos(self) -> list[float]:
        """Scales, rising, with zero."""
        return sorted({0.0, *self.run.settings["rho"]})

    @cached_property
    def _numbers(self) -> dict[tuple[str | None, float, str], Number]:
        return {(row["reward"], row["rho"], row["quantity"]): row for row in self.run.table.to_pylist()}

    def at(self, reward: str, rho: float, quantity: str) -> Number | None:
        """A number of a reward at a scale; what was measured without guidance belongs to every reward."""
        own = self._numbers.get((reward, rho, quantity))
        return own if own is not None or rho else self._numbers.get((None, rho, quantity))

    def has(self, quantity: str) -> bool:
        """Whether it was measured at all."""
        return any(name == quantity for _, _, name in self._numbers)

    def rises(self, reward: str) -> bool:
        """Whether true local scaling rises at every step, each with a 95 % interval above zero."""
        from theodolite.runs.run import estimate_of
        from theodolite.steering.sweep import rises_at_every_step

        steps = [self._numbers[reward, rho, _STEP] for rho in self.rhos[1:]]
        return rises_at_every_step([estimate_of([step]) for step in steps])

    @property
    def ends(self) -> list[float]:
        """The outer scales that are not zero."""
        return [rho for rho in (self.rhos[0], self.rhos[-1]) if rho]

    @property
    def levels(self) -> list[float]:
        """The smallest and the largest noise level that are guided; empty where the reward came without a record."""
        return list(self.run.about("reward-scaling").get("levels") or ())

    def held_out(self) -> dict[str, list[Number]]:
        """Rank correlations of every reward that came with a record of its training, by noise level."""
        there = self.run.rows("held_out_correlation") if self.has("held_out_correlation") else []
        return {
            name: [row for row in there if row["reward"] == name] for name in dict.fromkeys(r["reward"] for r in there)
        }


def readings(it: Guidance) -> list[str]:
    """The result in sentences, and no more than it says."""
    return [_verdict(it), *_controls(it), *_moves(it)]


def _verdict(it: Guidance) -> str:
    rises = "rises at every step" if it.rises("scaling") else "does not surely rise at every step"
    changes = [f"{number_cell(it.at('scaling', rho, _CHANGE))} nats at rho {signed(rho)}" for rho in it.ends]
    n = it.at("scaling", it.ends[0], _CHANGE)["n"]  # type: ignore[index]
    return f"Guided by its reward, true local scaling {rises} of rho: {' and '.join(changes)}, over {n} samples."


def _controls(it: Guidance) -> list[str]:
    controls = [name for name in it.rewards if name != "scaling"]
    if not controls:
        return ["Nothing was guided by anything else, so that it cannot be told what is particular to local scaling."]
    shares = {name: _share(it, name) for name in controls}
    list_of = ", ".join(f"{REWARDS[name]} {_percent(share)}" for name, share in shares.items())
    sentences = [f"Of that, the same push gives: {list_of}. {_lead(it, max(shares, key=shares.__getitem__))}"]
    if any(share >= _MOST for name, share in shares.items() if name != "random"):
        sentences.append("A plain property of images does most of what guidance by local scaling does here.")
    return sentences


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-", "−") if math.isfinite(share) else "–"


def _share(it: Guidance, name: str) -> float:
    """How far a control moves local scaling between the outer scales, as a part of what its own reward does."""
    own, other = (_span(it, reward) for reward in ("scaling", name))
    return other / own if own else float("nan")


def _span(it: Guidance, name: str) -> float:
    first, last = (it.at(name, rho, _CHANGE)["value"] for rho in (it.rhos[0], it.rhos[-1]))  # type: ignore[index]
    return float(last - first)


def _lead(it: Guidance, rival: str) -> str:
    """Whether local scaling goes further than the control that goes furthest, by more than chance."""
    parts = []
    for rho in it.ends:
        lead = it.at(rival, rho, _LEAD)
        if lead is None:
            continue
        further = lead["value"] * math.copysign(1, rho) > 1.96 * lead["stderr"]
        word = "more than chance" if further and lead["status"] == "ok" else "no more than chance"
        parts.append(f"{number_cell(lead)} nats at rho {signed(rho)}, {word}")
    return f"Local scaling less {REWARDS[rival]}, paired: {'; '.join(parts)}." if parts else ""


def _moves(it: Guidance) -> list[str]:
    parts = [_moved(it, name) for name in ("diversity", "frechet_distance", "confidence") if it.has(name)]
    if not parts:
        return []
    n = it.at("scaling", 0.0, "diversity")["n"]  # type: ignore[index]
    return [f"Over {n} samples a scale, with errors taken as unpaired: {'; '.join(parts)}."]


def _moved(it: Guidance, name: str) -> str:
    base, label = it.at("scaling", 0.0, name), QUANTITIES[name].label
    moved = {rho: row for rho in it.ends if (row := it.at("scaling", rho, name)) and base and _apart(row, base)}
    if not moved:
        return f"{label} does not move by anything these could show"
    values = " and ".join(f"{number_cell(row)} at rho {signed(rho)}" for rho, row in moved.items())
    return f"{label} goes from {number_cell(base)} to {values}"


def _apart(row: Number, base: Number) -> bool:
    return bool(abs(row["value"] - base["value"]) > 1.96 * math.hypot(row["stderr"], base["stderr"]))


def signed(rho: float) -> str:
    """A scale as text, with its sign."""
    return f"{rho:+g}".replace("-", "−") if rho else "0"
