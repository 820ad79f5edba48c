"""What a guidance run came to: its numbers by reward and scale, and the result in sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from theodolite.experiments.guide.experiment import done_rewards
from theodolite.report import palette
from theodolite.report.page import number_cell
from theodolite.report.rounding import typeset
from theodolite.report.series import Series
from theodolite.steering.sweep import QUANTITIES

if TYPE_CHECKING:
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["REWARDS", "Guidance", "readings", "signed"]

REWARDS = {
    "scaling": Series("local scaling", "scaling", palette.MODELS[0]),
    "brightness": Series("brightness", "brightness", palette.MODELS[5]),
    "contrast": Series("contrast", "contrast", palette.MODELS[1]),
    "detail": Series("detail", "detail", palette.MODELS[3]),
    "random": Series("a random direction", "random", palette.FAINT),
}
"""What samples are guided by, each in the same colour in every figure."""

_MOST = 0.5
"""Of what guidance by local scaling does: a control that does as much leaves it less than half for itself."""


@dataclass(frozen=True)
class Guidance:
    """What a run came to, reward by reward and scale by scale."""

    run: Run

    @cached_property
    def rewards(self) -> list[str]:
        """Those done at every scale, that of local scaling first."""
        return done_rewards(self.run)

    @property
    def series(self) -> list[Series]:
        """The same, as they are drawn."""
        return [REWARDS[name] for name in self.rewards]

    @cached_property
    def rhos(self) -> list[float]:
        """Scales, rising, with zero."""
        return sorted({0.0, *self.run.settings["rho"]})

    @property
    def ends(self) -> list[float]:
        """The outer scales that are not zero."""
        return [rho for rho in (self.rhos[0], self.rhos[-1]) if rho]

    @cached_property
    def _numbers(self) -> dict[tuple[str | None, float, str], Row]:
        return {(row["reward"], row["rho"], row["quantity"]): row for row in self.run.table.to_pylist()}

    def at(self, reward: str, rho: float, quantity: str) -> Row | None:
        """A number of a reward at a scale; what was measured without guidance belongs to every reward."""
        own = self._numbers.get((reward, rho, quantity))
        return own if own is not None or rho else self._numbers.get((None, rho, quantity))

    def along(self, reward: str, quantity: str) -> list[Row]:
        """The numbers of a reward over the scales."""
        return [row for rho in self.rhos if (row := self.at(reward, rho, quantity)) is not None]

    def change(self, reward: str, rho: float) -> Row:
        """How far local scaling is from that of the unguided samples."""
        return self._numbers[reward, rho, "local_scaling_change"]

    def has(self, quantity: str) -> bool:
        """Whether it was measured at all."""
        return quantity in self.run.quantities

    def rises(self, reward: str) -> bool:
        """Whether true local scaling rises at every step, each with a 95 % interval above zero."""
        from theodolite.runs.run import estimate_of
        from theodolite.steering.sweep import rises_at_every_step

        return rises_at_every_step([estimate_of([step]) for step in self.along(reward, "local_scaling_step")])

    def held_out(self) -> dict[str, list[Row]]:
        """Rank correlations of every reward that came with a record of its training, by noise level."""
        rows = self.run.rows("held_out_correlation") if self.has("held_out_correlation") else []
        names = dict.fromkeys(row["reward"] for row in rows)
        return {name: [row for row in rows if row["reward"] == name] for name in names}


def readings(it: Guidance) -> list[str]:
    """The result in sentences, and no more than it says."""
    return [_verdict(it), *_controls(it), *_moves(it)]


def _verdict(it: Guidance) -> str:
    rises = "rises at every step" if it.rises("scaling") else "does not surely rise at every step"
    changes = " and ".join(f"{number_cell(it.change('scaling', rho))} nats at rho {signed(rho)}" for rho in it.ends)
    n = it.change("scaling", it.ends[0])["n"]
    return f"Guided by its reward, true local scaling {rises} of rho: {changes}, over {n} samples."


def _controls(it: Guidance) -> list[str]:
    controls = [name for name in it.rewards if name != "scaling"]
    if not controls:
        return ["Nothing was guided by anything else, so that it cannot be told what is particular to local scaling."]
    shares = {name: _share(it, name) for name in controls}
    parts = [f"{100 * share:.0f} %" if math.isfinite(share) else "–" for share in shares.values()]
    list_of = ", ".join(f"{REWARDS[name].label} {typeset(part)}" for name, part in zip(shares, parts))
    sentences = [f"Of that, the same push gives: {list_of}. {_lead(it, max(shares, key=shares.__getitem__))}"]
    if any(share >= _MOST for name, share in shares.items() if name != "random"):
        sentences.append("A plain property of images does most of what guidance by local scaling does here.")
    return sentences


def _share(it: Guidance, name: str) -> float:
    """How far a control moves local scaling between the outer scales, as a part of what its own reward does."""
    first, last = it.rhos[0], it.rhos[-1]
    own, other = (it.change(reward, last)["value"] - it.change(reward, first)["value"] for reward in ("scaling", name))
    return float(other / own) if own else math.nan


def _lead(it: Guidance, rival: str) -> str:
    """Whether local scaling goes further than the control that goes furthest, by more than chance."""
    leads = {rho: lead for rho in it.ends if (lead := it.at(rival, rho, "local_scaling_lead")) is not None}
    parts = []
    for rho, lead in leads.items():
        further = lead["value"] * math.copysign(1, rho) > 1.96 * lead["stderr"]
        word = "more than chance" if further and lead["status"] == "ok" else "no more than chance"
        parts.append(f"{number_cell(lead)} nats at rho {signed(rho)}, {word}")
    return f"Local scaling less {REWARDS[rival].label}, paired: {'; '.join(parts)}." if parts else ""


def _moves(it: Guidance) -> list[str]:
    parts = [_moved(it, name) for name in ("diversity", "frechet_distance", "confidence") if it.has(name)]
    n = it.along("scaling", "diversity")[0]["n"]
    return [f"Over {n} samples a scale, with errors taken as unpaired: {'; '.join(parts)}."] if parts else []


def _moved(it: Guidance, name: str) -> str:
    rows, label = {row["rho"]: row for row in it.along("scaling", name)}, QUANTITIES[name].label

    def is_apart(rho: float) -> bool:
        row, base = rows[rho], rows[0.0]
        return bool(abs(row["value"] - base["value"]) > 1.96 * math.hypot(row["stderr"], base["stderr"]))

    moved = [f"{number_cell(rows[rho])} at rho {signed(rho)}" for rho in it.ends if is_apart(rho)]
    if not moved:
        return f"{label} does not move by anything these could show"
    return f"{label} goes from {number_cell(rows[0.0])} to {' and '.join(moved)}"


def signed(rho: float) -> str:
    """A scale as text, with its sign."""
    return typeset(f"{rho:+g}") if rho else "0"
