"""`interpolate`: the ways between two latents of a decoder, as strips of pictures and as numbers."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import theodolite
from theodolite.errors import InputError, path_of
from theodolite.estimates import Estimate
from theodolite.surveys.ends import End, read_ends
from theodolite.surveys.paths_store import Paths, Route, write_paths
from theodolite.surveys.plan import verb_command
from theodolite.surveys.progress import Progress, silent
from theodolite.surveys.record import machine, now, versions
from theodolite.surveys.store import FORMAT, RunFolder, refuse_another_kind

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.maps import Autoencoder

__all__ = ["ROUTES", "interpolate", "slerp"]

ROUTES = ("linear", "slerp", "geodesic")
"""Ways between two latents, in the order they are made."""

_PATIENCE = 40
"""Steps of the minimiser in each of its three rounds."""

_LOOSE = 1e-4
"""Relative decrease of the energy below which a geodesic is done."""


def interpolate(
    model: str | os.PathLike[str] | Autoencoder,
    first: str,
    second: str,
    *,
    out: str | os.PathLike[str],
    via: str = "all",
    steps: int = 12,
    size: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Paths:
    """Go from one latent to another in `steps` steps, and say how far the decoder's images move on the way.

    `linear` is the straight line of latents, `slerp` the arc that keeps angles (Shoemake 1985) with norms between those
    of the ends, `geodesic` the curve of least chord energy of images (`theodolite.geodesics.decoder_geodesic`).
    Distances are root mean squares over pixels, images as the model gives them (mostly in [-1, 1]).

    Args:
        model: what `theodolite.load` takes, or an `Autoencoder`.
        first: an image file, a `.safetensors` file with one latent, or ``seed:3``.
        second: likewise.
        out: the run folder; a `path` run in it is replaced.
        via: ``linear``, ``slerp``, ``geodesic`` or ``all``.
        steps: at least 4, intervals along each route.
        size: centre square of images, resized to so many pixels.
        device: as in torch, for a model that is named.
        progress: called with (routes done, routes in all, what is under way).

    Returns:
        `Paths`. Cost: about `3 steps` decoder passes a route; a geodesic some hundred times that.

    Raises:
        InputError: before long work: ends that are equal or of two shapes, a model or file that cannot be read, outputs
            that are not finite, another run in `out`.
        KeyboardInterrupt: on Ctrl-C; finished routes are kept.
    """
    routes = ROUTES if via == "all" else (via,)
    if via not in (*ROUTES, "all") or isinstance(steps, bool) or steps < 4:
        raise InputError(f"via one of {', '.join(ROUTES)} or all, and at least 4 steps expected, got {via!r}, {steps}")
    folder = RunFolder(path_of(out, "the run folder"))
    if folder.check():
        refuse_another_kind(folder.path, "path")
    autoencoder = _opened(model, device)
    ends = read_ends([first, second], autoencoder, size)
    _check_ends(ends, autoencoder, routes)
    settings = {"via": via, "steps": steps, "size": size, "device": device}
    info = _record(model, autoencoder, ends, settings, folder.path)
    tell = progress or silent
    folder.make()
    with folder.locked():
        folder.tidy()
        made: list[Route] = []
        try:
            for place, name in enumerate(routes):
                tell(place, len(routes), name)
                count = functools.partial(_count, tell, place, routes)
                made.append(_route(name, autoencoder, ends, steps, count))
                write_paths(folder, Paths(info, tuple(made)), "running")
        except (KeyboardInterrupt, InputError):
            if made:  # otherwise what was there before stays
                write_paths(folder, Paths(info, tuple(made)), "interrupted")
            raise
        tell(len(routes), len(routes), "")
        return write_paths(folder, Paths(info, tuple(made)), "complete")


def slerp(first: Tensor, second: Tensor, fractions: Tensor) -> Tensor:
    """`(*latent)` twice and `(n,)` in [0, 1] to `(n, *latent)`: the arc between directions, norms between norms.

    Raises:
        InputError: a zero, or opposite directions, between which there is no one arc.
    """
    a, b = first.flatten().double(), second.flatten().double()
    lengths = a.norm(), b.norm()
    if not float(min(lengths)) > 0:
        raise InputError("latents other than zero expected for slerp, got a zero; go via linear")
    cosine = float((a @ b / (lengths[0] * lengths[1])).clamp(-1, 1))
    if cosine < -1 + 1e-9:
        raise InputError("directions that are not opposite expected for slerp, got opposite ones; go via linear")
    s = fractions.double().to(a.device)[:, None]
    angle = math.acos(cosine)
    if angle < 1e-6:
        return (first + s.to(first).reshape(-1, *[1] * first.ndim) * (second - first)).to(first)
    u, v = a / lengths[0], b / lengths[1]
    turned = (((1 - s) * angle).sin() * u + (s * angle).sin() * v) / math.sin(angle)
    norms = (1 - s) * lengths[0] + s * lengths[1]
    return (norms * turned).unflatten(1, first.shape).to(first)


def _route(name: str, autoencoder: Autoencoder, ends: list[End], steps: int, count: Callable[[int], None]) -> Route:
    """One way, with its images and its numbers."""
    import torch

    from theodolite.geodesics import decoded_length, decoder_geodesic

    calls = [0]

    def decode(latents: Tensor) -> Tensor:
        calls[0] += 1
        count(calls[0])
        outputs = autoencoder.decoder(latents)
        return outputs / outputs[0].numel() ** 0.5

    a, b = (end.latent for end in ends)
    s = torch.arange(steps + 1, dtype=torch.float64, device=a.device) / steps
    line = a + s.to(a).reshape(-1, *[1] * a.ndim) * (b - a)
    status, evaluations = "ok", 0
    if name == "geodesic":
        found = decoder_geodesic(decode, a[None], b[None], segments=steps, steps=_PATIENCE, tolerance=_LOOSE)
        latents, status, evaluations = found.points[0], found.status, found.evaluations
    else:
        latents = slerp(a, b, s) if name == "slerp" else line
    with torch.no_grad():
        images = torch.cat([autoencoder.decoder(part) for part in latents.split(8)])
    if not bool(images.isfinite().all()):
        raise InputError(f"finite outputs expected along the {name} route, got NaN or infinity; check the latents")
    straight = decoded_length(decode, line[None])
    own = straight if name == "linear" else decoded_length(decode, latents[None])
    return Route(name, latents, images, _numbers(images, latents, own, straight), status, evaluations)


def _numbers(images: Tensor, latents: Tensor, length: Estimate, straight: Estimate) -> dict[str, Estimate]:
    """What a route is measured by, one value each."""
    flat = images.flatten(1).double() / images[0].numel() ** 0.5
    jumps = flat.diff(dim=0).norm(dim=1)
    chord = (flat[-1] - flat[0]).norm()
    latent = latents.flatten(1).double().diff(dim=0).norm(dim=1).sum() / latents[0].numel() ** 0.5
    mean = jumps.mean().clamp_min(1e-300)
    relative = float(length.stderr / length.value.clamp_min(1e-300))
    return {
        "length": _estimate(length.value, length.stderr, "lower-bound"),
        "chord": _estimate(chord),
        "tortuosity": _estimate(length.value / chord.clamp_min(1e-300), relative * length.value / chord, "lower-bound"),
        "gap": _gap(length, straight),
        "largest_jump": _estimate(jumps.max()),
        "jump_variation": _estimate(jumps.std(correction=0) / mean),
        "latent_length": _estimate(latent),
    }


def _gap(length: Estimate, straight: Estimate) -> Estimate:
    """`1 - length / straight`; both fall short by their width, and the difference of those is the error."""
    ratio = length.value / straight.value.clamp_min(1e-300)
    corrected = (length.value + length.stderr) / (straight.value + straight.stderr).clamp_min(1e-300)
    return _estimate(1 - ratio, (corrected - ratio).abs())


def _estimate(value: Tensor, stderr: Tensor | None = None, status: str = "ok") -> Estimate:
    value = value.detach().double().cpu().reshape(1)
    error = value * 0 if stderr is None else stderr.detach().double().cpu().reshape(1)
    return Estimate(value, error, 0, 1, (status,))


def _check_ends(ends: list[End], autoencoder: Autoencoder, routes: Sequence[str]) -> None:
    """What would fail after long work: ends that are one, that have no arc between them, or decode to nothing."""
    import torch

    a, b = (end.latent for end in ends)
    if bool((a == b).all()):
        raise InputError(f"two different latents expected, got the same from {ends[0].name} and {ends[1].name}")
    if "slerp" in routes:
        slerp(a, b, torch.tensor([0.5], dtype=torch.float64, device=a.device))
    with torch.no_grad():
        decoded = autoencoder.decoder(torch.stack([a, b]))
    if not bool(decoded.isfinite().all()):
        raise InputError(f"finite outputs expected at {ends[0].name} and {ends[1].name}, got NaN or infinity")


def _opened(model: Any, device: str | None) -> Autoencoder:
    from theodolite.maps.loading import load_autoencoder

    return load_autoencoder(model, device=device) if isinstance(model, str | os.PathLike) else model


def _record(
    model: Any, autoencoder: Autoencoder, ends: list[End], settings: Mapping[str, Any], out: Path
) -> dict[str, Any]:
    given = os.fspath(model) if isinstance(model, str | os.PathLike) else autoencoder.name
    words = [str(end.source.get("file", end.name)) for end in ends]
    plain = {"via": "all", "steps": 12, "size": None, "device": None}
    return {
        "format": FORMAT,
        "kind": "path",
        "theodolite": theodolite.__version__,
        "command": verb_command("path", [given, *words], out, settings, plain),
        "created": now(),
        "settings": dict(settings),
        "model": autoencoder.describe(),
        "ends": [{"name": end.name, **end.source} for end in ends],
        "latent_shape": list(ends[0].latent.shape),
        "versions": versions(),
        "machine": machine(autoencoder.device),
    }


def _count(tell: Progress, place: int, routes: tuple[str, ...], passes: int) -> None:
    tell(place, len(routes), f"{routes[place]}, {passes} passes")
