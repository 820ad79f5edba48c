"""`map_phases`: a family of samples over a box of two parameters, from draws to a phase map with geodesics."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import theodolite
from theodolite.errors import InputError, path_of
from theodolite.estimates import Estimate
from theodolite.families import (
    ConvexNetwork,
    DirectMetric,
    MetricMap,
    ParameterGrid,
    PhaseMap,
    Posterior,
    Potential,
    codazzi_residual,
    direct_metric,
    fit_potential,
    metric_map,
    phase_map,
    zoom,
)
from theodolite.maps import Autoencoder
from theodolite.surveys.families import Family, IsingFamily, MixtureFamily, TasepFamily
from theodolite.surveys.phase_curves import phase_curves, single
from theodolite.surveys.phase_pictures import with_pictures
from theodolite.surveys.phase_store import Level, write_phases
from theodolite.surveys.plan import verb_command
from theodolite.surveys.planes import PlaneFamily
from theodolite.surveys.progress import Progress, silent
from theodolite.surveys.record import machine, now, versions
from theodolite.surveys.store import FORMAT, RunFolder, refuse_another_kind

__all__ = ["DEFAULTS", "map_phases", "open_family"]

DEFAULTS: Mapping[str, Any] = {
    "anchor": (),
    "embedding": "patches",
    "size": None,
    "noise": 0.05,
    "side": None,
    "sites": None,
    "box": None,
    "grid": None,
    "samples": None,
    "bundle": None,
    "zoom": None,
    "between": (),
    "seed": 0,
    "device": None,
}
"""Settings of a phase map."""

_BUNDLES = 300
"""Bundles that the potential is fitted to where it is not the metric in use."""

_INTERVALS = 16
"""Of its splines there, at most."""

_FLOOR = 0.01
"""Of the median norm of the exact metric: what its norm counts as at least, where errors are relative to it."""


def map_phases(
    source: str | os.PathLike[str] | Autoencoder | Family,
    *,
    out: str | os.PathLike[str],
    progress: Progress | None = None,
    **settings: Any,
) -> tuple[list[Level], dict[str, Any]]:
    """Draw samples over a box of two parameters, fit their Fisher metric, and map its phases into a run folder.

    Samples are drawn at parameters spread evenly over the box; their posteriors over a grid of cells are exact for the
    families of the zoo with a likelihood, and from features elsewhere. The metric in use is the Hessian of the fitted
    potential for an exponential family in natural parameters (Ising), otherwise the direct one. The potential is fitted
    in any case, and the Codazzi residual says whether it means anything.

    Args:
        source: ``zoo:ising``, ``zoo:tasep``, ``zoo:mixture-diffusion``, what `theodolite.load` opens, or a `Family`.
        out: the run folder; a phase map in it is replaced.
        progress: called with (steps done, steps in all, what is under way).
        settings: `anchor` (three latents of a generator, see `theodolite.data.latents`), `embedding` (``pixels``,
            ``patches`` or a factory), `size` (of images), `noise` (of latents, as a part of their size), `side` (of
            the Ising torus), `sites` (of TASEP), `box` (low and high of the first parameter, then of the second),
            `grid` (cells along a side), `samples` (draws of the parameters), `bundle` (samples in each, or the
            sharpness of feature posteriors), `zoom` (map again in a box so many times smaller around the steepest
            cell), `between` (more geodesics, each four numbers: from, to), `seed`, `device`.

    Returns:
        The levels (two with `zoom`) and the content of `run.json`.

    Raises:
        InputError: before long work: an unknown source, settings of another one, other than three anchors, some that
            are equal or on one line, a box the family does not know, ends of geodesics outside it, too few samples for
            the cells; samples that are not finite, at the first of them. A map that was in `out` stays until the first
            level of the new one is finished.
        KeyboardInterrupt: on Ctrl-C; finished levels are kept.
    """
    unknown = set(settings) - set(DEFAULTS)
    if unknown:
        raise InputError(f"settings {', '.join(DEFAULTS)} expected, got {', '.join(sorted(unknown))}")
    asked = {**DEFAULTS, **settings}
    folder = RunFolder(path_of(out, "the run folder"))
    if folder.check():
        refuse_another_kind(folder.path, "phases")
    family = open_family(source, asked)
    grid = _grid(family, asked)
    ends = _ends(asked["between"], grid)
    samples = asked["samples"] or family.samples
    info = _record(source, family, grid, {**asked, "samples": samples}, asked, folder.path)
    steps = _Steps(progress or silent, 6 * (1 + (asked["zoom"] is not None)))
    folder.make()
    with folder.locked():
        folder.tidy()
        levels: list[Level] = []
        try:
            while True:
                level, direct, potential = _mapped(family, grid, samples, asked, steps)
                levels.append(level)
                write_phases(folder, info, levels, "running")
                steps.begin("geodesics")
                level = replace(level, curves=phase_curves(direct, potential, level, ends if len(levels) == 1 else []))
                levels[-1] = level
                write_phases(folder, info, levels, "running")
                steps.begin("pictures")
                levels[-1] = with_pictures(family, level, asked["seed"])
                if asked["zoom"] is None or len(levels) == 2:
                    break
                grid = zoom(grid, level.phases.steepest(), asked["zoom"])
        except (KeyboardInterrupt, InputError):
            if levels:  # otherwise what was there before stays
                write_phases(folder, info, levels, "interrupted")
            raise
        steps.end()
        return levels, write_phases(folder, info, levels, "complete")


def open_family(source: Any, settings: Mapping[str, Any]) -> Family:
    """The family that a source names.

    Raises:
        InputError: no such source, or settings that belong to another.
    """
    if not isinstance(source, str | os.PathLike | Autoencoder):
        return source  # type: ignore[no-any-return]
    name = source if isinstance(source, Autoencoder) else os.fspath(source)
    own = {"zoo:ising": ("side",), "zoo:tasep": ("sites",), "zoo:mixture-diffusion": ()}
    known = own.get(name) if isinstance(name, str) else None
    theirs = ("side", "sites") if known is None else ("anchor", "embedding", "size", "noise", "side", "sites", "device")
    for setting in theirs:
        if setting not in (known or ()) and settings[setting] not in (DEFAULTS[setting], []):
            raise InputError(f"--{setting} does not belong to {source}, which takes {_taken(known)}; leave it out")
    if name == "zoo:ising":
        return IsingFamily(settings["side"] or 6)
    if name == "zoo:tasep":
        return TasepFamily(settings["sites"] or 24)
    if name == "zoo:mixture-diffusion":
        return MixtureFamily()
    if len(settings["anchor"]) != 3:
        raise InputError(
            f"three anchors expected with a generator, got {len(settings['anchor'])}; give --anchor three times, or "
            f"one of {', '.join(own)} as the source"
        )
    from theodolite.maps.loading import load_autoencoder

    autoencoder = name if isinstance(name, Autoencoder) else load_autoencoder(name, device=settings["device"])
    return PlaneFamily(autoencoder, *(settings[key] for key in ("anchor", "embedding", "size", "noise")))


def _taken(known: Sequence[str] | None) -> str:
    own = ("anchor", "embedding", "size", "noise") if known is None else known
    return ", ".join(f"--{name}" for name in own) or "no settings of its own"


def _mapped(
    family: Family, grid: ParameterGrid, samples: int, asked: Mapping[str, Any], steps: _Steps
) -> tuple[Level, DirectMetric, Potential | None]:
    """A level without its geodesics and pictures, the direct metric, and the potential where that must agree."""
    steps.begin("drawing samples")
    posterior = family.posterior(grid, samples, asked["bundle"], asked["seed"], steps.tell)
    steps.begin("metric")
    direct = direct_metric(posterior, generator=asked["seed"])
    steps.begin("potential")
    potential = _potential(family, posterior, asked["seed"])
    metric: Potential | DirectMetric = potential if family.exponential else direct
    steps.begin("phases")
    found, phases = metric_map(metric), phase_map(metric)
    exact = family.fisher(grid.points)
    numbers = _numbers(posterior, potential, direct, phases)
    if exact is not None:
        numbers.update(_scores(found, exact))
    return Level(grid, _surface(potential), found, phases, numbers), direct, potential if family.exponential else None


def _potential(family: Family, posterior: Posterior, seed: int) -> Potential:
    """As near as it gets where it is the metric in use; elsewhere a surface to look at, sooner."""
    if family.exponential:
        return fit_potential(posterior, network=ConvexNetwork(), generator=seed)
    known = None if posterior.parameters is None else posterior.parameters[:_BUNDLES]
    members = None if posterior.members is None else posterior.members[:, :_BUNDLES]
    logs = posterior.log_probability[:_BUNDLES]
    some = replace(posterior, log_probability=logs, parameters=known, members=members)
    first, second = (min(_INTERVALS, size - 4) for size in posterior.grid.shape)
    return fit_potential(some, intervals=(first, second), generator=seed)


def _surface(potential: Potential) -> Estimate:
    """The log-partition function in every cell less its best affine function, which posteriors do not tell."""
    points = potential.grid.points.to(potential.duals)
    basis = torch.cat([torch.ones_like(points[:, :1]), points], 1)

    def bent(values: Tensor) -> Tensor:
        return values - (basis @ torch.linalg.lstsq(basis, values.mT).solution).mT

    value = bent(potential.surface.value(points)[None])[0]
    each = bent(potential.replicates.value(points))
    return Estimate(value.detach(), each.std(0).detach(), 0, len(each), method="bootstrap")


def _numbers(posterior: Posterior, potential: Potential, direct: DirectMetric, phases: PhaseMap) -> dict[str, Estimate]:
    widths = posterior.resolution()
    return {
        "regions": single(float(phases.count)),
        "codazzi_residual": _residual(direct),
        "misfit": single(potential.misfit),
        "potential_converged": single(float(potential.converged)),
        "posterior_width": single(float(widths.median())),
        "edge_mass": single(float(posterior.edge_mass().mean())),
        "bundle": single(float(posterior.samples)),
    }


def _residual(direct: DirectMetric) -> Estimate:
    """Its error is rounding where the metric has no sampling error, and then none."""
    found = codazzi_residual(direct)
    return found if float(found.stderr) > 1e-12 else single(float(found.value))


def _scores(found: MetricMap, exact: Tensor) -> dict[str, Estimate]:
    """How far the fitted metric is from the exact one.

    Relative to the Frobenius norm of the exact one, taken as no less than a hundredth of its median.
    """
    sizes = torch.linalg.matrix_norm(exact)
    relative = torch.linalg.matrix_norm(found.matrices - exact) / sizes.clamp_min(_FLOOR * float(sizes.median()))
    errors = (found.matrices - exact).abs()[:, (0, 0, 1), (0, 1, 1)]
    covered = errors <= 1.96 * found.stderr[:, (0, 0, 1), (0, 1, 1)]
    return {
        "error_median": single(float(relative.median())),
        "error_p95": single(float(relative.quantile(0.95))),
        "coverage": single(float(covered.double().mean())),
    }


def _grid(family: Family, asked: Mapping[str, Any]) -> ParameterGrid:
    (low, high), box = family.box, asked["box"]
    if box is not None:
        if len(box) != 4:
            raise InputError(f"box expected as four numbers, low and high of each parameter, got {len(box)}")
        low, high = (box[0], box[2]), (box[1], box[3])
    cells = asked["grid"] or family.cells
    if cells < 7:
        raise InputError(f"at least 7 cells along a side expected, got {cells}; give a larger --grid")
    if asked["zoom"] is not None and not 1 < asked["zoom"] < math.inf:
        raise InputError(f"a zoom above 1 expected, got {asked['zoom']}")
    grid = ParameterGrid(low, high, (cells, cells))
    check = getattr(family, "check", None)
    if check is not None:
        check(grid)
    return grid


def _ends(between: Sequence[Sequence[float]], grid: ParameterGrid) -> list[tuple[str, Tensor]]:
    pairs = [torch.tensor(list(four), dtype=torch.float64) for four in between]
    for pair in pairs:
        if pair.shape != (4,) or not bool(grid.inside(pair.unflatten(0, (2, 2))).all()):
            raise InputError(
                f"ends of a geodesic in the box {grid.low} to {grid.high} expected as four numbers, got "
                f"{tuple(pair.tolist())}"
            )
        if torch.equal(*pair.unflatten(0, (2, 2))):
            raise InputError(f"two ends of a geodesic expected, got {tuple(pair[:2].tolist())} twice")
    return [("asked", pair.unflatten(0, (2, 2))) for pair in pairs]


def _record(
    source: Any,
    family: Family,
    grid: ParameterGrid,
    settings: Mapping[str, Any],
    asked: Mapping[str, Any],
    out: Path,
) -> dict[str, Any]:
    given = os.fspath(source) if isinstance(source, str | os.PathLike) else family.name
    words = {**asked, **{name: _joined(asked[name]) for name in ("box", "between")}}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    return {
        "format": FORMAT,
        "kind": "phases",
        "theodolite": theodolite.__version__,
        "command": verb_command("phases", [given], out, words, DEFAULTS),
        "created": now(),
        "settings": plain,
        "family": {
            "name": family.name,
            "parameters": list(family.parameters),
            "exponential": family.exponential,
            **family.describe(),
        },
        "metric": "Hessian of the potential" if family.exponential else "direct",
        "versions": versions(),
        "machine": machine(None),
    }


def _joined(value: Any) -> Any:
    """Numbers as the command line takes them: `0,1,0,1`, or several of those."""
    if not value:
        return value
    if isinstance(value[0], list | tuple):
        return [",".join(f"{x:g}" for x in four) for four in value]
    return ",".join(f"{x:g}" for x in value)


class _Steps:
    """Progress over the stages of all levels."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0
        progress(0, total, "")

    def begin(self, what: str) -> None:
        """A stage begins."""
        self.done = min(self.done + 1, self.total)
        self.progress(self.done, self.total, what)

    def tell(self, what: str) -> None:
        """Something inside the stage."""
        self.progress(self.done, self.total, what)

    def end(self) -> None:
        """All is done."""
        self.progress(self.total, self.total, "done")
