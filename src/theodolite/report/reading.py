"""Two sentences that say what the numbers of a run say, and no more."""

from __future__ import annotations

import math

from theodolite.report.content import Content, Quantity
from theodolite.report.rounding import rounded

__all__ = ["brittle_definition", "reading"]

_SPREAD_OF_NOISE = 1.35
"""Interquartile range of a normal error, in standard errors."""

_DIGITS = 3
"""The most digits a sentence about medians over samples carries."""


def reading(content: Content) -> list[str]:
    """Plain-language reading: how the map stretches around these latents, and whether the samples differ."""
    if content.doubt and content.count:
        return [f"No number of this report can be read as geometry: {content.doubt}."]
    sentences = [_first(content), _second(content)]
    return [sentence for sentence in sentences if sentence]


def brittle_definition(content: Content) -> str:
    """What this report calls brittle, in one place."""
    if content.brittleness is None:
        return ""
    if content.brittleness.quantity.name == "curvature":
        return (
            "Brittle here means high curvature: where a small step in latent space bends the output most, relative to "
            "how far it moves it."
        )
    measured = any(quantity.name == "curvature" for quantity in content.quantities)
    curvature = "has no value that can be ranked here" if measured else "was not measured"
    return (
        "Brittle here means a high leading singular value: where the most sensitive direction of latent space changes "
        f"the output most. Curvature, the better guide, {curvature}."
    )


def _first(content: Content) -> str:
    if not content.count:
        return "No sample has been measured yet."
    parts = [part for part in (_stretch(content), _directions(content)) if part] or [_any_quantity(content)]
    where = "Around the one latent surveyed" if content.count == 1 else f"Around the {content.count} latents surveyed"
    return f"{where}, {' and '.join(part for part in parts if part)}." if any(parts) else ""


def _stretch(content: Content) -> str:
    quantity = content.quantity("local_scaling_per_dimension")
    if quantity is None or not _finite(quantity.summary.get("median")):
        return ""
    summary = quantity.summary
    factors = [math.exp(min(summary[key], 700.0)) for key in ("median", "low", "high")]
    (median, low, high), _, power = rounded(factors, _error(quantity) * factors[0], most=_DIGITS)
    power = f" {power}" if power else ""
    changes = f"the decoder of {content.model_name} changes lengths {median}{power}-fold"
    text = f"{changes} on geometric average over latent directions"
    return text if content.count == 1 else f"{text} (median over samples; quartiles {low} to {high}{power})"


def _directions(content: Content) -> str:
    quantity = content.quantity("local_rank")
    if quantity is None or not _finite(quantity.summary.get("median")):
        return ""
    words = quantity.summarised(_DIGITS)
    size = math.prod(content.latent_shape)
    of = f" of {size} latent dimensions" if content.latent_shape else " latent dimensions"
    return f"spreads that response over about {words['median']}{of} (entropy rank)"


def _any_quantity(content: Content) -> str:
    quantity = next((item for item in content.quantities if item.usable.any()), None)
    if quantity is None:
        return "no quantity came out as a finite number"
    words = quantity.summarised(_DIGITS)
    unit = f" {quantity.unit}" if quantity.unit else ""
    value = " ".join(part for part in (words["median"], words["power"]) if part)
    return f"the median of {_lower(quantity.label)} is {value}{unit}"


def _second(content: Content) -> str:
    brittleness = content.brittleness
    if content.count == 1:
        return "With a single sample nothing can be said about how samples differ."
    if brittleness is None or len(brittleness.order) < 2:
        return ""
    quantity = brittleness.quantity
    unit = f" ({quantity.unit})" if quantity.unit else ""
    least, most = (content.samples[i] for i in (brittleness.order[0], brittleness.order[-1]))
    ends = (
        f"{quantity.label}{unit} runs from {quantity.at(least.index)} ({least.file}) "
        f"to {quantity.at(most.index)} ({most.file})"
    )
    return f"{ends}; {_verdict(quantity)}."


def _verdict(quantity: Quantity) -> str:
    error = _error(quantity)
    low, high = quantity.summary.get("low"), quantity.summary.get("high")
    if not (_finite(low) and _finite(high)):
        return "its quartiles could not be computed"
    if error == 0:
        return "these values are exact up to rounding, so the order of the samples can be read off"
    spread = (float(high) - float(low)) / error  # type: ignore[arg-type]
    if spread < 1.5 * _SPREAD_OF_NOISE:
        return "the samples spread little more than the errors alone would make them, so their order is uncertain"
    if spread >= 3 * _SPREAD_OF_NOISE:
        return (
            f"the middle half of the samples spans about {spread:.0f} typical standard errors, so well-separated "
            "samples differ by more than estimation error"
        )
    return "the errors are not small against the spread between samples, so close samples cannot be put in order"


def _error(quantity: Quantity) -> float:
    error = quantity.summary.get("median_stderr")
    return float(error) if error is not None and math.isfinite(error) else 0.0


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _lower(label: str) -> str:
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]
