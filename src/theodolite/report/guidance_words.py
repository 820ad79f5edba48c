"""A guidance run in words: what its numbers are called, and what they say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from theodolite.report.rounding import Shown, shown

if TYPE_CHECKING:
    from theodolite.estimates import Estimate
    from theodolite.surveys.guided_store import Guided

__all__ = ["QUANTITIES", "REWARDS", "guidance_reading", "shown_estimate"]


class Word(NamedTuple):
    """What a number is called, its unit and what it says."""

    label: str
    unit: str
    meaning: str


def shown_estimate(found: Estimate) -> Shown:
    """A number to the digits its error supports."""
    return shown(float(found.value), float(found.stderr), found.status)


REWARDS = {
    "scaling": "local scaling",
    "brightness": "brightness",
    "contrast": "contrast",
    "detail": "detail",
    "random": "a random direction",
}
"""What samples are guided by."""

QUANTITIES = {
    "local_scaling_change": Word(
        "change of psi", "nats", "mean change of true local scaling from the unguided samples of the same noise"
    ),
    "local_scaling_step": Word("step", "nats", "mean change from the scale before; all above zero: psi rises with rho"),
    "local_scaling_lead": Word(
        "behind", "nats", "how far the samples guided by local scaling are ahead of these, with the same noise and rho"
    ),
    "diversity": Word("diversity", "", "mean distance of two samples of the same condition, in the space of features"),
    "frechet_distance": Word(
        "Fréchet distance", "", "from the features of data that no model was trained on; smaller is nearer to data"
    ),
    "confidence": Word("confidence", "", "probability that the classifier gives to what was asked for"),
    "accuracy": Word("accuracy", "", "share of samples whose digit and colour the classifier sees as asked for"),
}
"""Quantities of a guidance run, in the order of the table."""

_CHANGE, _LEAD = "local_scaling_change", "local_scaling_lead"
_JUDGED = ("diversity", "frechet_distance", "confidence")
_MOST = 0.5


def guidance_reading(found: Guided) -> list[str]:
    """The result in sentences, and no more than it says."""
    return [_verdict(found), *_controls(found), *_quality(found)]


def _verdict(found: Guided) -> str:
    rises = "rises at every step" if found.info["rises"]["scaling"] else "does not surely rise at every step"
    ends = [rho for rho in (found.rhos[0], found.rhos[-1]) if rho]
    changes = [f"{_at(found, 'scaling', rho, _CHANGE)} nats at rho {_signed(rho)}" for rho in ends]
    n = found.estimates["scaling", ends[0], _CHANGE].n
    return f"Guided by its reward, true local scaling {rises} of rho: {' and '.join(changes)}, over {n} samples."


def _controls(found: Guided) -> list[str]:
    controls = [name for name in found.rewards if name != "scaling"]
    if not controls:
        return ["Nothing was guided by anything else, so that it cannot be told what is particular to local scaling."]
    shares = {name: _share(found, name) for name in controls}
    said = ", ".join(f"{REWARDS[name]} {_percent(share)}" for name, share in shares.items())
    sentences = [f"Of that, the same push gives: {said}. {_lead(found, max(shares, key=shares.__getitem__))}"]
    plain = [name for name in controls if name != "random"]
    if any(shares[name] >= _MOST for name in plain):
        sentences.append("A plain property of images does most of what guidance by local scaling does here.")
    return sentences


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-", "−") if math.isfinite(share) else "–"


def _share(found: Guided, name: str) -> float:
    """How far a control moves local scaling between the outer scales, as a part of what its own reward does."""
    own, other = (_span(found, one) for one in ("scaling", name))
    return other / own if own else float("nan")


def _span(found: Guided, name: str) -> float:
    first, last = (float(found.estimates[name, rho, _CHANGE].value) for rho in (found.rhos[0], found.rhos[-1]))
    return last - first


def _lead(found: Guided, rival: str) -> str:
    """Whether local scaling goes further than the control that goes furthest, by more than chance."""
    parts = []
    for rho in (found.rhos[0], found.rhos[-1]):
        lead = found.estimates.get((rival, rho, _LEAD))
        if lead is None or not rho:
            continue
        further = float(lead.value) * (1 if rho > 0 else -1) > 1.96 * float(lead.stderr)
        word = "more than chance" if further else "no more than chance"
        parts.append(f"{shown_estimate(lead)} nats at rho {_signed(rho)}, {word}")
    return f"Local scaling less {REWARDS[rival]}, paired: {'; '.join(parts)}." if parts else ""


def _quality(found: Guided) -> list[str]:
    said = [_moved(found, name) for name in _JUDGED if ("scaling", 0.0, name) in found.estimates]
    if not said:
        return []
    n = found.estimates["scaling", 0.0, "diversity"].n
    return [f"Over {n} samples a scale, with errors taken as unpaired: {'; '.join(said)}."]


def _moved(found: Guided, name: str) -> str:
    base = found.estimates["scaling", 0.0, name]
    ends = {rho: found.estimates["scaling", rho, name] for rho in (found.rhos[0], found.rhos[-1]) if rho}
    told = [rho for rho, one in ends.items() if _apart(one, base)]
    label = QUANTITIES[name].label
    if not told:
        return f"{label} does not move by anything these could show"
    values = " and ".join(f"{shown_estimate(ends[rho])} at rho {_signed(rho)}" for rho in told)
    return f"{label} goes from {shown_estimate(base)} to {values}"


def _apart(one: Estimate, other: Estimate) -> bool:
    error = (float(one.stderr) ** 2 + float(other.stderr) ** 2) ** 0.5
    return abs(float(one.value) - float(other.value)) > 1.96 * error


def _at(found: Guided, reward: str, rho: float, quantity: str) -> str:
    return str(shown_estimate(found.estimates[reward, rho, quantity]))


def _signed(rho: float) -> str:
    return f"{rho:+g}".replace("-", "−")
