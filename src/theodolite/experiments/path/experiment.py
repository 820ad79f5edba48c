"""`path`: routes between two latents of a decoder or generator, as strips of pictures and as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.runs.experiment import Experiment, Piece, Row, Sitting, number, numbers
from theodolite.runs.settings import DEVICE, MODEL, OF_SAMPLERS, SIZE, Argument, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.estimates import Estimate
    from theodolite.estimates.quantity import Quantity

__all__ = ["EXPERIMENT", "ROUTES"]

ROUTES = ("linear", "slerp", "geodesic")

_END = "An image file, which is encoded, a .safetensors file with one latent, or seed:NUMBER, a standard normal latent."
_PATIENCE, _LOOSE = 40, 1e-4
"""Steps of the minimiser, and the relative fall of the energy at which it ends: beyond, pictures no longer change."""


class Path(Experiment):
    """Interpolate between two latents of MODEL: a strip of pictures and its length, jumps and straightness, by route.

    `linear` is the straight line of latents, `slerp` the arc that keeps angles (Shoemake 1985) with norms between those
    of the ends, `geodesic` the curve of least chord energy of images. Distances are root mean squares over pixels,
    images as the model gives them (mostly in [-1, 1]); with --embedding lengths between features too.

    Examples:
      theodolite path ./my-vae cat.png dog.png --size 64 --out runs/cat-dog
      theodolite path zoo:digits seed:1 seed:2 --via geodesic --steps 16 --out runs/digits
    """

    kind = "path"
    summary = SUMMARIES["path"]
    arguments = (MODEL, Argument("first", _END), Argument("second", _END))
    settings = (
        Setting(
            name="via",
            default="all",
            choices=(*ROUTES, "all"),
            help="The straight line, the arc, the shortest way of images, or all three.",
            role="places",  # every route is a unit of its own: asking for another one adds it
        ),
        Setting(name="steps", default=12, kind=int, least=4, help="From one end to the other."),
        *OF_SAMPLERS,
        Setting(
            name="embedding",
            help="Also measure lengths between features: pixels, patches or package.module:factory, e.g. "
            "theodolite.zoo:digit_features.",
        ),
        SIZE,
        DEVICE,
    )
    coordinates: ClassVar = {"route": str, "step": int}
    requires: ClassVar = {"model": dict, "ends": list, "latent_shape": list}

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.latents import check_ends
        from theodolite.data.plane_family import embedding_of

        super().__init__(given)
        check_ends([given["first"], given["second"]])
        self.embed = None if given["embedding"] is None else embedding_of(given["embedding"])
        self.units = ROUTES if given["via"] == "all" else (given["via"],)

    def open(self) -> None:
        """Load the model, and read both ends."""
        from theodolite.data.latents import read_ends
        from theodolite.data.models import opened_map

        options = {"device": self.given["device"], "size": self.given["size"]}
        self.model = opened_map(self.given["model"], settings=self.given, **options)
        self.device = self.model.device
        self.ends = read_ends([self.given["first"], self.given["second"]], self.model, self.given["size"])
        self._check()

    def _check(self) -> None:
        """Refuse what would fail after long work: equal ends, ends without an arc, or that decode to nothing."""
        import torch

        from theodolite.geodesics.arc import slerp

        a, b = (end.latent for end in self.ends)
        names = " and ".join(end.name for end in self.ends)
        if bool((a == b).all()):
            raise InputError(f"two different latents expected, got the same from {names}")
        if "slerp" in self.units:
            slerp(a, b, torch.tensor([0.5], dtype=torch.float64, device=a.device))
        decoded = self.model.outputs(torch.stack([a, b]))
        if not bool(decoded.isfinite().all()):
            raise InputError(f"finite outputs expected at {names}, got NaN or infinity")

    def record(self) -> dict[str, Any]:
        """The model, both ends, and the shape of latents."""
        ends = [{"name": end.name, **end.source} for end in self.ends]
        return {"model": self.model.describe(), "ends": ends, "latent_shape": [*self.ends[0].latent.shape]}

    def content(self) -> dict[str, Any]:
        """The model's fingerprint and where the ends are from."""
        return {"model": self.model.fingerprint(), "ends": [end.content for end in self.ends]}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """One route: its latents and images, and its numbers."""
        import torch

        from theodolite.data.pixels import picture, side_by_side
        from theodolite.estimates import Estimate
        from theodolite.geodesics import decoded_length

        decode = _counted(self.model.map, sitting)
        a, b = (end.latent for end in self.ends)
        s = torch.arange(self.given["steps"] + 1, dtype=torch.float64, device=a.device) / self.given["steps"]
        line = a + s.to(a).reshape(-1, *[1] * a.ndim) * (b - a)
        latents, status = self._route(unit, decode, line, s)
        images = torch.cat([self.model.outputs(part) for part in latents.split(8)])
        if not bool(images.isfinite().all()):
            raise InputError(f"finite outputs expected along the {unit} route, got NaN or infinity; check the latents")
        straight = decoded_length(decode, line[None])
        own = straight if unit == "linear" else decoded_length(decode, latents[None])
        flat = images.cpu().flatten(1).double() / images[0].numel() ** 0.5
        jumps, chord = flat.diff(dim=0).norm(dim=1), (flat[-1] - flat[0]).norm()
        rows = numbers(_numbers(jumps, chord, latents, own, straight), route=unit)
        rows += self._embedded(unit, latents)
        rows += [number("jump", Estimate.of(jump), route=unit, step=n) for n, jump in enumerate(jumps, 1)]
        shown, pictures = self.model.images(images), {}
        if shown is not None:
            pictures["strip"] = side_by_side([picture(image, self.model.output_range, 160) for image in shown])
        return Piece(rows, {"latents": latents, "images": images}, pictures, {"curve": status})

    def _embedded(self, unit: str, latents: Tensor) -> list[Row]:
        """Length, chord and tortuosity of a route between features; none without an embedding."""
        import torch

        from theodolite.estimates import Estimate
        from theodolite.geodesics import decoded_length

        if self.embed is None:
            return []
        embed = self.embed

        def features(points: Tensor) -> Tensor:
            embedded = embed(self.model.map(points)).flatten(1)
            return embedded / embedded.shape[1] ** 0.5

        length = decoded_length(features, latents[None])
        with torch.no_grad():
            ends = features(latents[[0, -1]]).double()
        chord = (ends[1] - ends[0]).norm().cpu()
        own, width = length.value[0].double().cpu(), length.stderr[0].double().cpu()
        over = 1 / chord.clamp_min(1e-300)
        bounds = {"embedded_length": (own, width), "embedded_tortuosity": (own * over, width * over)}
        rows = [
            number(name, Estimate.of(value, error, statuses="lower-bound"), route=unit)
            for name, (value, error) in bounds.items()
        ]
        return [*rows, number("embedded_chord", Estimate.of(chord), route=unit)]

    def _route(self, unit: str, decode: Any, line: Tensor, s: Tensor) -> tuple[Tensor, str]:
        from theodolite.geodesics import decoder_geodesic
        from theodolite.geodesics.arc import slerp

        a, b = (end.latent for end in self.ends)
        if unit != "geodesic":
            return (slerp(a, b, s) if unit == "slerp" else line), "ok"
        curve = decoder_geodesic(decode, a[None], b[None], segments=len(s) - 1, steps=_PATIENCE, tolerance=_LOOSE)
        return curve.points[0], curve.status

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """What the numbers of a route are called."""
        from theodolite.experiments.path.page import QUANTITIES

        return QUANTITIES


def _counted(decoder: Any, sitting: Sitting) -> Any:
    """The decoder in root mean squares over pixels, saying how many passes were made."""
    passes = [0]

    def decode(latents: Tensor) -> Tensor:
        passes[0] += 1
        sitting.tell(f"{passes[0]} passes")
        outputs = decoder(latents)
        return outputs / outputs[0].numel() ** 0.5

    return decode


def _numbers(
    jumps: Tensor, chord: Tensor, latents: Tensor, length: Estimate, straight: Estimate
) -> dict[str, Estimate]:
    """What a route is measured by, one value each.

    The gap is `1 - length / straight`. Both fall short by their width, and the difference of those is its error.
    """
    from theodolite.estimates import Estimate

    latent = latents.flatten(1).double().diff(dim=0).norm(dim=1).sum() / latents[0].numel() ** 0.5
    (own, width), (line, error) = ((of.value[0].double().cpu(), of.stderr[0].cpu()) for of in (length, straight))
    ratio, corrected = own / line.clamp_min(1e-300), (own + width) / (line + error).clamp_min(1e-300)
    over_chord = 1 / chord.clamp_min(1e-300)
    return {
        "length": Estimate.of(own, width, statuses="lower-bound"),
        "chord": Estimate.of(chord),
        "tortuosity": Estimate.of(own * over_chord, width * over_chord, statuses="lower-bound"),
        "gap": Estimate.of(1 - ratio, (corrected - ratio).abs()),
        "largest_jump": Estimate.of(jumps.max()),
        "jump_variation": Estimate.of(jumps.std(correction=0) / jumps.mean().clamp_min(1e-300)),
        "latent_length": Estimate.of(latent),
    }


EXPERIMENT = Path
