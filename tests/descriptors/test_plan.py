"""Plans: the way to every number for the fewest passes, and passes that come out as they were foretold."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import theodolite
from theodolite import LatentMap
from theodolite.descriptors import Chart
from theodolite.descriptors.effort import EFFORTS, Effort
from theodolite.descriptors.plan import plan_of
from theodolite.descriptors.together import measured_at

ALL = ["local_scaling", "local_rank", "leading_singular_value", "curvature", "axis_rotation", "local_complexity"]
SPECTRAL = ALL[:3]


def mlp(entries, outputs):
    torch.manual_seed(0)
    return LatentMap(nn.Sequential(nn.Linear(entries, 64), nn.SiLU(), nn.Linear(64, outputs)).double(), (entries,))


def wide(entries, outputs):
    """A map of full rank: something of every entry passes by."""
    torch.manual_seed(0)
    inner = nn.Linear(entries, outputs).double()
    return LatentMap(lambda z: inner(z) + 0.1 * nn.functional.pad(z, (0, outputs - entries)).sin(), (entries,))


def decoder(channels=4):
    torch.manual_seed(0)
    layers = (nn.Conv2d(channels, 12, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2))
    net = nn.Sequential(*layers, nn.Conv2d(12, 3, 3, padding=1)).double()
    return LatentMap(lambda z: net(z) + nn.functional.interpolate(z[:, :3], scale_factor=2.0), (channels, None, None))


def planned_and_taken(map, shape, names, effort):
    latents = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plan = plan_of(names, effort, shape, map(latents).shape[1:])
    own = plan.volume == "preconditioned"
    chart = Chart(map, latents, effort=effort, generator=0, dense=plan.dense, own_volume=own)
    measured = measured_at(chart, names, 0)
    assert not measured.failed, measured.failed
    return plan, chart.operator.passes, measured


CONFIGURATIONS = {
    "few entries": (mlp(16, 80), (16,), ALL, EFFORTS["quick"], True),
    "few entries, standard": (mlp(16, 80), (16,), ALL, EFFORTS["standard"], True),
    "256 entries, all, quick": (wide(256, 300), (256,), ALL, EFFORTS["quick"], True),
    "256 entries, spectral, quick": (wide(256, 300), (256,), SPECTRAL, EFFORTS["quick"], False),
    "600 entries, all, quick": (wide(600, 640), (600,), ALL, EFFORTS["quick"], False),
    "400 entries, all, standard": (wide(400, 420), (400,), ALL, EFFORTS["standard"], True),
    "800 entries, spectral, standard": (wide(800, 820), (800,), SPECTRAL, EFFORTS["standard"], False),
    "complexity alone": (mlp(300, 80), (300,), ["local_complexity"], EFFORTS["standard"], False),
    "curvature alone": (wide(500, 520), (500,), ["curvature"], EFFORTS["quick"], False),
    "a decoder within an error": (decoder(), (4, 16, 16), ["local_scaling"], Effort(2, 24, rtol=0.02), False),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_passes_are_those_that_were_foretold_within_a_quarter(name):
    *configuration, dense = CONFIGURATIONS[name]
    plan, taken, _ = planned_and_taken(*configuration)
    assert plan.dense is dense, plan
    assert plan.passes_a_sample <= taken * 1.25
    assert taken <= 1.25 * plan.passes_a_sample


def test_whole_jacobians_are_taken_where_they_are_nearly_as_cheap():
    quick = EFFORTS["quick"]
    assert not quick.is_dense(256)  # by the spectrum alone
    plan = plan_of(ALL, quick, (256,), (784,))
    assert plan.dense
    assert plan.instead < plan.passes_a_sample <= 1.25 * plan.instead
    assert str(plan.instead) in plan.reason
    assert not plan_of(ALL, quick, (1000,), (2000,)).dense
    assert not plan_of(ALL, quick, (256,), (10**6,)).dense  # two gigabytes a latent


def test_a_plan_depends_on_shapes_and_settings_alone(monkeypatch):
    before = plan_of(ALL, EFFORTS["quick"], (256,), (784,))
    monkeypatch.setattr("theodolite.derivatives.memory.available_bytes", lambda device: 1)
    assert plan_of(ALL, EFFORTS["quick"], (256,), (784,)) == before


def test_a_requested_error_is_met_in_a_survey_as_in_python_and_never_costs_more_than_dense():
    rtol, map, shape = 0.02, decoder(), (4, 16, 16)
    plan, taken, measured = planned_and_taken(map, shape, ["local_scaling"], Effort(2, 24, rtol=rtol))
    assert (plan.dense, plan.volume) == (False, "preconditioned")
    assert taken < 1024
    total = measured.estimates["local_scaling"]
    assert total.stderr.item() <= rtol * 1024
    latents = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = theodolite.jacobian(map, latents).dense()[0]
    exact = torch.linalg.svdvals(truth).log().sum()
    assert abs(total.value.item() - exact.item()) < 4 * total.stderr.item()
    assert math.isclose(measured.estimates["local_scaling_per_dimension"].value.item() * 1024, total.value.item())


def test_without_locations_a_requested_error_takes_whole_jacobians_where_probes_would_come_near_them():
    plan = plan_of(["local_scaling"], Effort(rtol=0.01), (1024,), (3000,))
    assert plan.dense
    assert plan.passes["spectrum"] == 1024


def test_a_request_that_probes_do_not_meet_ends_at_the_cost_of_whole_jacobians():
    map = wide(300, 320)
    latents = torch.randn(1, 300, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    effort = Effort(2, 24, rtol=1e-6)
    chart = Chart(map, latents, effort=effort, generator=0, dense=False)
    measured_at(chart, ["local_rank"], 0)
    assert chart.operator.passes <= 300 + 10
