"""Two autoencoders on the same images: reconstructions, the geometry of both decoders, both spaces under noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from theodolite.experiments.compare.maps import SIDES, Design, geometry
from theodolite.runs.experiment import Piece, Row, Sitting, number, numbers

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.maps import Autoencoder

__all__ = ["spaces_of", "through_both"]

_BUDGET = "quick"
"""Of the denoisers, whatever the decoders' budget: networks that differ by their training would blur what differs."""


def spaces_of(
    models: Sequence[Autoencoder], images: Tensor, sources: Sequence[str], seed: int, sitting: Sitting
) -> Piece:
    """How both spaces give way to noise, beside the images."""
    from theodolite.diffusability.models import contrast_models
    from theodolite.runs.pairs import PARTS

    first, second = models
    options: dict[str, Any] = {"budget": _BUDGET, "seed": seed, "tell": sitting.tell}
    tau, contrasts = contrast_models(first, second, images, sources, **options)
    rows: list[Row] = []
    for quantity, estimates in contrasts.items():
        levels = tau.tolist() if quantity == "resolved" else [None]
        for part, estimate in zip(PARTS, estimates):
            coordinates = {"part": part, "map": "encoder"}
            rows += [number(quantity, estimate, n, tau=level, **coordinates) for n, level in enumerate(levels)]
    message = contrasts["gap"][0].message
    return Piece(rows, messages={"gap": message} if message else {})


def through_both(models: Sequence[Autoencoder], unit: str, image: Tensor, design: Design, *, crossed: bool) -> Piece:
    """One image through both models: latents, reconstructions, and the geometry of both decoders.

    Args:
        models: the first and the second.
        unit: the sample.
        image: as both take it.
        design: what is measured of the decoders, and how.
        crossed: whether each decoder also gets the other's latents.
    """
    import torch

    from theodolite.data.pixels import picture
    from theodolite.diffusability.quality import reconstruction_error
    from theodolite.estimates import Estimate

    with torch.no_grad():
        latents = dict(zip(SIDES, [model.encode(image) for model in models]))
    rows: list[Row] = []
    arrays = {f"latent/{side}": z[0] for side, z in latents.items()}
    pictures, backs = {"": picture(image[0])}, []
    failed: list[dict[str, str]] = []
    messages: dict[str, str] = {}
    for side, model in zip(SIDES, models):
        for of, z in latents.items() if crossed else [(side, latents[side])]:
            with torch.no_grad():
                back = model.decode(z).float().cpu()
            own = "own" if of == side else "other"
            errors = reconstruction_error(image, back)
            rows += numbers(errors, side=side, sample=unit, map="autoencoder", latents=own)
            backs += [back[0]] if of == side else []
        pictures[side] = picture(backs[-1], model.output_range)
        design.sitting.tell(f"{side} decoder")
        measured = geometry(model.decoder, latents[side], side, design, arrays)
        rows += numbers(measured.estimates, side=side, sample=unit, map="decoder")
        failed += [{**entry, "what": f"{side} decoder, {entry['what']}"} for entry in measured.failed]
        messages |= measured.messages
    change = backs[1] - backs[0]
    pictures["difference"] = picture(change, (-0.5, 0.5))
    moved = Estimate.of(float(change.double().square().mean().sqrt()))
    rows.append(number("moved", moved, sample=unit, map="autoencoder"))
    return Piece(rows, arrays, pictures, {}, failed, messages)
