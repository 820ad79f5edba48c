"""Two sentences that say what the numbers of a run say, and no more."""

from __future__ import annotations

import math

from theodolite.report.rounding import rounded
from theodolite.report.samples import Listing, Quantities

__all__ = ["brittle_definition", "reading"]

_SPREAD_OF_NOISE = 1.35
"""Interquartile range of a normal error, in standard errors."""

_DIGITS = 3
"""The most digits a sentence about medians over samples carries."""


def reading(listing: Listing) -> list[str]:
    """Plain-language reading: how the map stretches around these latents, and whether the samples differ."""
    check = listing.run.info.get("self_check") or {}
    if check.get("first_order_holds") is False and listing.count:
        return [f"No number of this report can be read as geometry: {check.get('message')}."]
    sentences = [_first(listing), _second(listing)]
    return [sentence for sentence in sentences if sentence]


def brittle_definition(listing: Listing) -> str:
    """What this report calls brittle, in one place."""
    if listing.order is None:
        return ""
    if listing.order.quantity.name == "curvature":
        return (
            "Brittle here means high curvature: where a small step in latent space bends the output most, relative to "
            "how far it moves it."
        )
    measured = any(quantity.name == "curvature" for quantity in listing.quantities)
    curvature = "has no value that can be ranked here" if measured else "was not measured"
    return (
        "Brittle here means a high leading singular value: where the most sensitive direction of latent space changes "
        f"the output most. Curvature, the better guide, {curvature}."
    )


_KNOWN = 0.5
"""Standard error of a mean log stretch, in nats, beyond which its factor is not stated: the interval spans a factor of
seven and more."""


def _first(listing: Listing) -> str:
    if not listing.count:
        return "No sample has been measured yet."
    stretch = _stretch(listing)
    parts = [part for part in (stretch, _directions(listing, bool(stretch))) if part] or [_any_quantity(listing)]
    where = "Around the one latent surveyed" if listing.count == 1 else f"Around the {listing.count} latents surveyed"
    return f"{where}, {' and '.join(part for part in parts if part)}." if any(parts) else ""


def _stretch(listing: Listing) -> str:
    quantity = listing.quantity("local_scaling_per_dimension")
    if quantity is None or not math.isfinite(quantity.summary["median"]):
        return ""
    summary = quantity.summary
    if _error(quantity) > _KNOWN:
        who, reach = f"the {listing.run.info.get('map', 'decoder')} of {_name(listing)}", 1.96 * _error(quantity)
        ends = [math.exp(max(min(summary["median"] + end, 700.0), -700.0)) for end in (-reach, reach)]
        return f"{who} changes lengths by a factor that this budget does not tell ({ends[0]:.0e} to {ends[1]:.0e})"
    factors = [math.exp(min(summary[key], 700.0)) for key in ("median", "low", "high")]
    (median, low, high), _, power = rounded(factors, _error(quantity) * factors[0], most=_DIGITS)
    power = f" {power}" if power else ""
    changes = f"the {listing.run.info.get('map', 'decoder')} of {_name(listing)} changes lengths {median}{power}-fold"
    text = f"{changes} on geometric average over latent directions"
    return text if listing.count == 1 else f"{text} (median over samples; quartiles {low} to {high}{power})"


def _directions(listing: Listing, continues: bool) -> str:
    """Over how many directions the map responds; `continues` a sentence that has named it."""
    quantity = listing.quantity("local_rank")
    if quantity is None or not math.isfinite(quantity.summary["median"]):
        return ""
    words = quantity.summarised(_DIGITS)
    shape = listing.run.info.get("latent_shape") or []
    of = f" of {math.prod(shape)} latent dimensions" if shape else " latent dimensions"
    subject = "" if continues else f"the {listing.run.info.get('map', 'decoder')} of {_name(listing)} "
    return f"{subject}spreads {'that' if continues else 'its'} response over about {words['median']}{of} (entropy rank)"


def _any_quantity(listing: Listing) -> str:
    quantity = next((item for item in listing.quantities if item.usable.any()), None)
    if quantity is None:
        return "no quantity came out as a finite number"
    words = quantity.summarised(_DIGITS)
    unit = f" {quantity.unit}" if quantity.unit else ""
    value = " ".join(part for part in (words["median"], words["power"]) if part)
    return f"the median of {_lower(quantity.label)} is {value}{unit}"


def _second(listing: Listing) -> str:
    order = listing.order
    if listing.count == 1:
        return "With a single sample nothing can be said about how samples differ."
    if order is None or len(order.places) < 2:
        return ""
    quantity = order.quantity
    unit = f" ({quantity.unit})" if quantity.unit else ""
    least, most = (listing.samples[i] for i in (order.places[0], order.places[-1]))
    ends = (
        f"{quantity.label}{unit} runs from {quantity.at(least.index)} ({least.file}) "
        f"to {quantity.at(most.index)} ({most.file})"
    )
    return f"{ends}; {_verdict(quantity)}."


def _verdict(quantity: Quantities) -> str:
    error = _error(quantity)
    low, high = quantity.summary["low"], quantity.summary["high"]
    if not (math.isfinite(low) and math.isfinite(high)):
        return "its quartiles could not be computed"
    if error == 0:
        return "these values are exact up to rounding, so the order of the samples can be read off"
    spread = (high - low) / error
    if spread < 1.5 * _SPREAD_OF_NOISE:
        return "the samples spread little more than the errors alone would make them, so their order is uncertain"
    if spread >= 3 * _SPREAD_OF_NOISE:
        return (
            f"the middle half of the samples spans about {spread:.0f} typical standard errors, so well-separated "
            "samples differ by more than estimation error"
        )
    return "the errors are not small against the spread between samples, so close samples cannot be put in order"


def _error(quantity: Quantities) -> float:
    error = float(quantity.summary["median_stderr"])
    return error if math.isfinite(error) else 0.0


def _name(listing: Listing) -> str:
    return str(listing.run.info["model"].get("name") or "the model")


def _lower(label: str) -> str:
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]
