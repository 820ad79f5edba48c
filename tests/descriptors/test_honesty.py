"""Error bars of descriptors over 200 seeds, batches and groups, and what every registered descriptor must give."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import theodolite
from theodolite import InputError, LatentMap, location_map
from theodolite.descriptors import EFFORTS, REGISTRY, Chart, Effort, groups
from theodolite.descriptors.decoupling import decoupling
from theodolite.descriptors.paths import tortuosity

SEEDS = 200
torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(64, 96), nn.SiLU(), nn.Linear(96, 120)).double().eval()
MAP, Z = LatentMap(NET, (64,)), torch.randn(1, 64, dtype=torch.float64)
SPATIAL = nn.Sequential(
    nn.Conv2d(2, 8, 3, padding=1), nn.GELU(), nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 3, padding=1)
)


def scores(estimate, truth):
    return (estimate.value - truth) / estimate.stderr


def over_seeds(descriptor, **options):
    return descriptor(MAP, Z.expand(SEEDS, -1), generator=range(SEEDS), **options)


def check(z):
    assert abs(z.mean()) < 0.25
    assert 0.7 < z.std() < 1.3


@pytest.mark.parametrize("name", ["local_scaling", "local_rank"])
def test_stochastic_spectra_are_honest(name):
    descriptor = getattr(theodolite, name)
    exact, drawn = descriptor(MAP, Z, dense=True), over_seeds(descriptor, dense=False)
    check(scores(drawn, exact.value))
    for part in ("local_rank_p2", "local_scaling_per_dimension"):
        if part in exact.parts:
            check(scores(drawn[part], exact[part].value))


def test_the_leading_value_is_bounded():
    exact = theodolite.leading_singular_value(MAP, Z, dense=True).value
    drawn = over_seeds(theodolite.leading_singular_value, dense=False, effort=Effort(probes=1, depth=8))
    assert (drawn.value <= exact + 1e-9).all()
    assert (exact <= drawn.value + 3 * drawn.stderr + 1e-9).double().mean() > 0.95


def test_curvature_is_honest():
    truth = theodolite.curvature(MAP, Z, dense=True, generator=1, effort=Effort(directions=4000)).value
    check(scores(over_seeds(theodolite.curvature, dense=True), truth))


def test_axis_rotation_is_honest():
    truth = theodolite.axis_rotation(MAP, Z, generator=1, effort=Effort(neighbours=20_000)).value
    z = scores(over_seeds(theodolite.axis_rotation), truth)
    # Turns have a long tail, here with a kurtosis of 5.1: neighbours that all turn little state too small an error.
    assert abs(z.mean()) < 0.25
    assert (z.abs() <= 1.96).double().mean() >= 0.88


def test_complexity_is_honest():
    truth = theodolite.local_complexity(MAP, Z, generator=1, effort=Effort(frames=2000, radii=(0.1,))).value
    drawn = over_seeds(theodolite.local_complexity, effort=Effort(radii=(0.1,)))
    usable = drawn.stderr > 0
    assert usable.double().mean() > 0.9
    check(scores(drawn, truth)[usable])


def test_batches_and_groups_change_nothing(monkeypatch):
    z = torch.randn(5, 64, dtype=torch.float64)
    whole = theodolite.local_scaling(MAP, z, generator=range(5), dense=False)
    part = theodolite.local_scaling(MAP, z[2:4], generator=[2, 3], dense=False)
    torch.testing.assert_close(whole.value[2:4], part.value)
    monkeypatch.setattr(groups, "group_size", lambda *_: 2)
    torch.testing.assert_close(theodolite.local_scaling(MAP, z, generator=range(5), dense=False).value, whole.value)


def test_a_generator_makes_results_repeatable():
    first, again = (
        theodolite.local_scaling(MAP, Z, generator=torch.Generator().manual_seed(3), dense=False) for _ in range(2)
    )
    assert torch.equal(first.value, again.value)


def test_a_chart_shares_its_work():
    chart = Chart(MAP, Z, generator=0)
    theodolite.local_scaling(MAP, Z, chart=chart)
    before = chart.operator.passes
    theodolite.local_rank(MAP, Z, chart=chart)
    theodolite.leading_singular_value(MAP, Z, chart=chart)
    assert chart.operator.passes == before


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("budget", EFFORTS)
def test_every_descriptor_gives_its_quantities(name, budget):
    descriptor = REGISTRY[name]
    map, z = LatentMap(SPATIAL.eval(), (2, 4, 4)), torch.randn(2, 2, 4, 4)
    estimates = descriptor.function(map, z, generator=0, effort=EFFORTS[budget]).named(name)
    for quantity in descriptor.quantities:
        estimate = estimates[quantity.name]
        assert torch.isfinite(estimate.value).all()
        assert (estimate.stderr >= 0).all()
        assert all((quantity.label, quantity.formula, quantity.source, quantity.meaning))


def test_only_finite_differences_are_marked(unrecorded):
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            raise RuntimeError("no derivative")

    found = theodolite.leading_singular_value(LatentMap(Opaque.apply, (3,)), torch.zeros(1, 3, dtype=torch.float64))
    assert found.status == "approximate"
    assert abs(found.value.item() - 1) < 1e-6


def quantities(map, z):
    """Every quantity of every descriptor beside the spectrum, by name; what is refused in words is left out."""
    makers = {
        **{f.__name__: lambda f=f: f(map, z) for f in GEOMETRY},
        **{f"{f.__name__} sampled": lambda f=f: f(map, z, dense=False) for f in GEOMETRY},
        **{f"{f.__name__} paper": lambda f=f: f(map, z, mode="paper") for f in GEOMETRY[1:]},
        "decoupling": lambda: decoupling(map, z).quantities,
        "decoupling paper": lambda: decoupling(map, z, mode="paper").quantities,
        "hotspots": lambda: theodolite.hotspot_maps(map, z, subspaces=2).quantities,
        "locations": lambda: {name: location_map(map, z).estimate(name) for name in ("gain", "scaling", "rank")},
        "tortuosity": lambda: tortuosity(map, z, z.flip(0)),
    }
    for name, make in makers.items():
        try:
            made = make()
        except InputError:
            continue
        for part, estimate in (made if isinstance(made, dict) else made.named(name)).items():
            yield f"{name}/{part}", estimate


GEOMETRY = (theodolite.curvature, theodolite.axis_rotation, theodolite.detail_energy, theodolite.local_complexity)
OUTPUTS = dict(zip(("tiny", "small", "large", "huge"), (1e-30, 1e-12, 1e12, 1e30)))
BROKEN = {
    **{name: lambda z, factor=factor: factor * SPATIAL(z) for name, factor in OUTPUTS.items()},
    "overflowing inside": lambda z: (30 * SPATIAL(z)).exp(),
    "constant": lambda z: 0 * SPATIAL(z) + 1,
    "one output still": lambda z: torch.cat([SPATIAL(z)[:, :2], 0 * SPATIAL(z)[:, 2:]], 1),
    "rounded": lambda z: (8 * SPATIAL(z)).round() / 8,
    "kinked": lambda z: SPATIAL(z).abs().sqrt(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_finite_is_never_ok(name):
    torch.manual_seed(1)
    z = torch.randn(2, 2, 4, 4)
    seen = dict(quantities(LatentMap(BROKEN[name], (2, 4, 4)), z))
    assert seen
    for part, estimate in seen.items():
        for value, stderr, status in zip(estimate.value.tolist(), estimate.stderr.tolist(), estimate.statuses):
            is_number = math.isfinite(value) and math.isfinite(stderr)
            assert is_number or status in ("undetermined", "undefined"), (part, value, stderr, status)


@pytest.mark.parametrize("factor", [1e-30, 1e-18, 1e-12, 1e12, 1e18, 1e30])
def test_what_is_ok_follows_the_law_of_scale(factor):
    """Whole powers of the factor, within errors: an absolute floor or an underflow breaks them without a NaN."""
    torch.manual_seed(1)
    z = torch.randn(2, 2, 4, 4)
    plain = dict(quantities(LatentMap(SPATIAL, (2, 4, 4)), z))
    for part, estimate in quantities(LatentMap(lambda z: factor * SPATIAL(z), (2, 4, 4)), z):
        if estimate.status != "ok" or plain[part].status != "ok" or "log" in part or "scaling" in part:
            continue
        laws = [plain[part].value * factor**power for power in (-1, 0, 1, 2)]
        error = 3 * estimate.stderr + 0.02 * estimate.value.abs()
        assert any(((estimate.value - law).abs() <= error).all() for law in laws), (part, estimate, plain[part])
