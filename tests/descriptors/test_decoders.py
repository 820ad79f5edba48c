"""Error bars of every stochastic quantity over 200 seeds on a trained decoder of the zoo, dense path forbidden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import theodolite
from theodolite.descriptors import Chart, Effort
from theodolite.zoo import load_autoencoder

SEEDS = 200
EFFORT = Effort(depth=24, radii=(0.02,))
MANY = replace(EFFORT, neighbours=200, directions=500, frames=150)
STOCHASTIC = (
    *("local_scaling", "local_scaling_per_dimension", "local_rank", "local_rank_p2", "axis_rotation", "axis_cosine"),
    *("curvature", "curvature_infinitesimal", "local_complexity", "local_complexity_fraction"),
)
BOUNDED = ("leading_singular_value", "spectral_gap", "detail_energy", "detail_q", "curvature_leading", "axis_gap")
DESCRIPTORS = ("local_scaling", "local_rank", "leading_singular_value", "curvature", "axis_rotation", "detail_energy")


def measured(map, z, chart):
    found = {}
    for name in (*DESCRIPTORS, "local_complexity"):
        found |= getattr(theodolite, name)(map, z, chart=chart).named(name)
    return found


@pytest.fixture(scope="module")
def both():
    """The truth, and 200 estimates of it from different seeds, at one latent of 64 dimensions."""
    map = load_autoencoder("patches-plain").decoder
    z = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    truth = measured(map, z, Chart(map, z, effort=MANY, dense=True, generator=10**6))
    copies = z.expand(SEEDS, -1, -1, -1)
    chart = Chart(map, copies, effort=EFFORT, dense=False, generator=range(SEEDS))
    return truth, measured(map, copies, chart)


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.slow
def test_standard_errors_are_honest(both, name):
    truth, found = (side[name] for side in both)
    ok = torch.tensor([status == "ok" for status in found.statuses])
    z = ((found.value - truth.value) / found.stderr)[ok]
    assert ok.double().mean() > 0.9
    assert abs(z.mean()) < 0.25
    assert 0.7 < z.std() < 1.3


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_hold(both, name):
    truth, found = (side[name] for side in both)
    error = (found.value - truth.value).abs()
    assert (error <= 1.96 * found.stderr + 2e-6 * truth.value.abs()).double().mean() > 0.95


def test_the_leading_value_is_never_above_the_truth(both):
    truth, found = (side["leading_singular_value"] for side in both)
    assert (found.value <= truth.value * (1 + 1e-6)).all()
