"""The page of a survey: quantities, distributions, spectra, stretch and rank, the most and the least brittle."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from theodolite.experiments.survey.reading import brittle_definition, reading
from theodolite.report import figures, palette
from theodolite.report import page as kit
from theodolite.report.samples import Listing, Quantities, Sample, listing_of

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["BRITTLE_BY", "ON_CARD", "colour_legend", "distributions", "page", "survey_listing"]

BRITTLE_BY = ("curvature", "leading_singular_value")
"""Quantities that define brittleness, the first that was measured counts."""

ON_CARD = ("local_scaling_per_dimension", "local_rank", "leading_singular_value")

_SHARES = ("axis_cosine", "axis_gap", "spectral_gap", "local_complexity_fraction")
_IN_THE_STRIP = 14


def survey_listing(run: Run) -> Listing:
    """The samples of a run that measured descriptors, from the least to the most brittle."""
    return listing_of(run, BRITTLE_BY, _SHARES, ("local_scaling_per_dimension",))


def page(run: Run) -> kit.Page:
    """The report of a survey; its tables are the terminal's too."""
    listing = survey_listing(run)
    info = run.info
    shape = " × ".join(map(str, info.get("latent_shape") or []))
    output = " × ".join(map(str, info.get("output_shape") or []))
    measured = f"{info.get('map', 'decoder')}, {shape} → {output}"
    sections = [
        _quantities(listing),
        _distributions(listing),
        _spectrum(listing),
        _scatter(listing),
        _brittle(listing),
        _samples(listing),
    ]
    return kit.Page(
        str(info["model"].get("name") or "model"),
        {
            "Samples": len(run.units),
            "Map": measured,
            "Budget": run.settings.get("budget"),
        },
        reading(listing),
        [section for section in sections if section.blocks],
        [kit.Facts("Derivatives in this run", _derivatives(run))],
        listing.glossary(),
        _lead(listing),
        cite=True,
    )


def _derivatives(run: Run) -> dict[str, Any]:
    abouts = [run.about(unit) for unit in run.units]
    return {
        "way": ", ".join(sorted({str(about.get("way")) for about in abouts if about.get("way")})),
        "passes": sum(int(about.get("passes") or 0) for about in abouts),
        "normalisation": "Images lie in [−1, 1] and latents are normalised once; scaling depends on both.",
    }


def on_card(listing: Listing) -> list[Quantities]:
    """Brittleness first, then the usual three, as far as they were measured."""
    first = [listing.order.quantity] if listing.order else []
    rest = [listing.quantity(name) for name in ON_CARD]
    chosen = first + [item for item in rest if item is not None and item not in first]
    return chosen or [item for item in listing.quantities if not item.is_variant][:4]


def colour_legend(listing: Listing) -> list[kit.Block]:
    """What the colours of samples stand for."""
    order = listing.order
    if order is None or len(order.places) < 2:
        return []
    note = " ".join(part for part in (order.quantity.unit, "logarithmic" if order.logarithmic else "") if part)
    ends = (str(order.ends[0]), str(order.ends[1]))
    return [kit.Legend(scale=palette.SCALE, title=f"Colour: {order.quantity.label}", ends=ends, note=note)]


def _lead(listing: Listing) -> list[kit.Block]:
    legend = colour_legend(listing)
    if not legend:
        return []
    text = kit.Text([f"{brittle_definition(listing)} A sample keeps its colour throughout this report."])
    strip = [(s.image, s.file, s.colour, s.index) for s in _strip(listing)]
    return [*([kit.Strip(strip)] if strip else []), *legend, text]


def _strip(listing: Listing) -> list[Sample]:
    """A few samples evenly spaced from least to most brittle, in that order; none without pictures."""
    indices = listing.order.places if listing.order else ()
    if len(indices) < 2 or not listing.has_pictures:
        return []
    count = min(_IN_THE_STRIP, len(indices))
    return [listing.samples[indices[round(k * (len(indices) - 1) / (count - 1))]] for k in range(count)]


def _quantities(listing: Listing) -> kit.Section:
    run = listing.run
    title = f"{run.info['model'].get('name')}, {listing.count} samples, budget {run.settings.get('budget')}"
    caption = (
        "Median and quartiles over samples; error: the median of the samples' standard errors; flagged: samples whose "
        "status is not ok."
    )
    blocks: list[kit.Block] = [listing.summary_table(title, caption)] if listing.quantities else []
    if listing.flagged:
        from theodolite.estimates import STATUSES

        meanings = {f"{status} ({count})": STATUSES[status] for status, count in listing.flagged.items()}
        note = "In the figures hollow markers show them, while undetermined and undefined ones are not drawn."
        blocks.append(kit.Facts("Statuses other than ok", meanings, note))
        spoken = {q.label: q.message for q in listing.quantities if q.message}
        blocks += [kit.Details("What the estimators say", [kit.Facts("", spoken)])] if spoken else []
    return kit.Section("quantities", "Quantities", ["Select a name to see its meaning and formula."], blocks)


def distributions(listing: Listing, quantities: list[Quantities]) -> kit.Figures:
    """Every sample a point with its interval, for each quantity."""
    return kit.Figures([_distribution(listing, quantity) for quantity in quantities], small=True)


def _distribution(listing: Listing, quantity: Quantities) -> kit.Figure:
    text, usable = quantity.summarised(), int(quantity.usable.sum())
    value = f"{text['median']} {text['power']}".strip()
    empty = f"{value} at every sample" if usable > 1 else f"One sample only: {value}"
    return kit.Figure(
        f"distribution-{quantity.name}",
        f"Distribution of {quantity.label}",
        partial(figures.distribution, listing, quantity),
        quantity.label,
        quantity.unit,
        size="small",
        empty=empty if usable else "No sample has a usable value.",
        of=quantity.name,
    )


def _distributions(listing: Listing) -> kit.Section:
    main = [quantity for quantity in listing.quantities if not quantity.is_variant]
    variants = [quantity for quantity in listing.quantities if quantity.is_variant]
    blocks: list[kit.Block] = [distributions(listing, main)] if listing.count > 1 and main else []
    if blocks and variants:
        blocks.append(kit.Details("Variants", [distributions(listing, variants)]))
    text = (
        "Every sample is a point with its 95 % interval; the vertical line is the median, the outline a density. "
        "A triangle at the edge is an interval, or a sample, that lies further out. Hover or tap a point to see its "
        "sample, and to find it in the other figures."
    )
    return kit.Section("distributions", "Distributions", [text], blocks)


def _spectrum(listing: Listing) -> kit.Section:
    density = figures.averaged_spectrum(listing)
    if density is None:
        return kit.Section("spectrum", "Spectrum")
    null = f" {100 * density.null_share:.1f} % of it is null space, which has no place on this axis."
    null = null if density.null_share > 5e-4 else ""  # below, it would print as 0.0 %
    text = (
        "How strongly the map stretches the directions of latent space: a singular value σ is the change of the output "
        "per unit of change of the latent. The dark line is the density of singular values on a logarithmic axis, its "
        "band the 95 % interval of the average over samples; faint lines are single samples in their colour.",
        f"Smoothed with a Gaussian kernel of {density.bandwidth:.2f} decades.{null}",
    )
    draw = partial(figures.spectrum_density, listing, density)
    figure = kit.Figure(
        "spectrum", "Density of singular values of the map at every sample, and their mean", draw, size="tall"
    )
    return kit.Section("spectrum", "Spectrum", text, [figure])


def _scatter(listing: Listing) -> kit.Section:
    across, up = listing.quantity("local_scaling_per_dimension"), listing.quantity("local_rank")
    if across is None or up is None or listing.count < 2:
        return kit.Section("scatter", "Stretch and rank")

    text = (
        "To the right the map stretches more; further up it spreads its stretch over more directions. Bars are 95 % "
        "intervals, absent where a value is exact.",
        "Hollow points carry a status other than ok in one of the two quantities or in the one that gives the colour.",
    )
    figure = kit.Figure(
        "scatter", f"{across.label} against {up.label}", partial(figures.scatter, listing, across, up), size="tall"
    )
    return kit.Section("scatter", "Stretch and rank", text, [figure, *colour_legend(listing)])


def _brittle(listing: Listing) -> kit.Section:
    if listing.order is None:
        return kit.Section("brittle", "Most and least brittle")
    most, least, chosen = listing.end(reverse=True), listing.end(reverse=False), on_card(listing)
    blocks: list[kit.Block] = [
        kit.Cards(listing.cards(most, chosen), "Most brittle"),
        kit.Cards(listing.cards(least, chosen), "Least brittle"),
    ]
    if not most:
        needed = f"At least two samples with a usable value of {listing.order.quantity.label} are needed for an order."
        blocks = [kit.Text([needed])]
    text = (
        f"{brittle_definition(listing)} It is a statement about the map at this latent, not about the image.",
        "Left the image as the model saw it, right its reconstruction. Neighbours may differ by less than an error.",
    )
    return kit.Section("brittle", "Most and least brittle", text, blocks)


def _samples(listing: Listing) -> kit.Section:
    blocks = [listing.sample_table("samples", on_card(listing))] if listing.samples else []
    text = "Every value with its standard error. Select a column heading to sort."
    return kit.Section("samples", "All samples", [text], blocks)
