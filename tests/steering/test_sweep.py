"""Sweeps over scales on Gaussian data: what is known, what is paired, and what is refused."""

from __future__ import annotations

import pytest
import torch

from theodolite import InputError, LatentMap
from theodolite.maps.samplers import karras_levels
from theodolite.steering import Judge, random_direction, sweep
from theodolite.steering.properties import PROPERTIES

LEVELS = karras_levels(40, 0.002, 200.0)
STRETCH = LatentMap(lambda z: torch.stack([z[:, 0].exp(), z[:, 1]], 1), (2,))
"""Its local scaling is the first entry."""


def standard(x, sigma):
    return x / (1 + sigma**2)


def uphill(x, sigma):
    """`E[x_1 | x]`, whose guidance without normalising moves the first entry by `rho`."""
    return x[:, 0] / (1 + sigma**2)


@pytest.fixture(scope="module")
def found():
    noise = torch.randn(24, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    judge = Judge(lambda x: x, torch.cat([noise, -noise]), {"first": lambda x: x[:, 0]}, torch.arange(24) % 2)
    rewards = {"scaling": uphill, "random": random_direction(24, (2,), generator=1)}
    options = {"steps": LEVELS, "method": "heun", "norm": "raw", "shape": (2,)}
    return sweep(standard, STRETCH, rewards, [1.0, -0.5], noise, judge, measured=20, **options)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 1.0])
def test_local_scaling_moves_by_what_the_reward_moves(found, rho):
    change = found.estimates["scaling", rho, "local_scaling_change"]
    assert float(change.value) == pytest.approx(rho, rel=0.02, abs=1e-12)
    assert float(change.stderr) < 0.02  # of the same noise: what samples differ in does not count
    assert change.n == 20


def test_scales_are_in_order_and_zero_is_among_them(found):
    assert found.rhos == (-0.5, 0.0, 1.0)
    assert float(found.estimates["scaling", 0.0, "local_scaling_step"].value) == pytest.approx(0.5, rel=0.02)
    assert ("scaling", -0.5, "local_scaling_step") not in found.estimates
    torch.testing.assert_close(found.samples["random", 0.0], found.samples["scaling", 0.0])


def test_what_rises_and_what_does_not(found):
    assert found.rises("scaling")
    assert not found.rises("random")


def test_how_far_the_first_reward_is_ahead_is_paired(found):
    lead = found.estimates["random", 1.0, "local_scaling_lead"]
    psi = found.scaling["scaling", 1.0] - found.scaling["random", 1.0]
    assert float(lead.value) == pytest.approx(float(psi.mean()))
    assert ("scaling", 1.0, "local_scaling_lead") not in found.estimates


def test_means_carry_the_worst_status_of_their_samples(found):
    flat = LatentMap(lambda z: torch.stack([z[:, 0].exp(), z[:, 1] * (z[:, 0] > 0.5)], 1), (2,))
    noise = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    options = {"steps": LEVELS, "norm": "raw", "shape": (2,)}
    half = sweep(standard, flat, {"scaling": uphill}, [0.1], noise, Judge(lambda x: x), **options)
    assert half.estimates["scaling", 0.1, "local_scaling_change"].status == "rank-deficient"
    ends = {row["status"] for row in half.rows() if row["quantity"] == "local_scaling"}
    assert ends == {"rank-deficient"}
    assert {row["status"] for row in found.rows() if row["reward"] == "scaling"} == {"ok"}


def test_what_has_no_number_is_said_so_and_does_not_rise():
    broken = LatentMap(lambda z: z * (z[:, :1] < 0.5), (2,))
    noise = torch.tensor([[-1.0, 0.0], [0.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    options = {"steps": LEVELS, "norm": "raw", "shape": (2,)}
    judge = Judge(lambda x: x, scores={"first": lambda x: x[:, 0] / 0})
    found = sweep(standard, broken, {"scaling": uphill}, [1.0], noise, judge, **options)
    status = {name: one.status for (_, rho, name), one in found.estimates.items() if rho}
    assert status["local_scaling_step"] == status["first"] == "undefined"
    assert not found.rises("scaling")


def test_finished_rewards_are_told_one_by_one():
    noise, told = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), []
    rewards = {"scaling": uphill, "random": random_direction(4, (2,), generator=1)}
    options = {"steps": [1.0, 0.5, 0.0], "shape": (2,), "finished": told.append}
    whole = sweep(standard, STRETCH, rewards, [1.0], noise, Judge(lambda x: x), **options)
    assert [one.rewards for one in told] == [("scaling",), ("scaling", "random")]
    assert told[1].rows() == whole.rows()
    assert told[0].rows() == whole.rows()[: len(told[0].rows())]


def test_the_judge_sees_all_samples(found):
    first = found.estimates["scaling", 1.0, "first"]
    assert first.n == 24
    assert float(first.value) == pytest.approx(float(found.samples["scaling", 1.0][:, 0].mean()))
    assert {row["quantity"] for row in found.rows()} >= {"diversity", "frechet_distance", "first", "local_scaling"}


@pytest.mark.parametrize(("rhos", "n"), [([0.0], 12), ([1.0], 2)])
def test_bad_input_is_one_clear_error(rhos, n):
    judge = Judge(lambda x: x)
    with pytest.raises(InputError, match="a scale besides zero"):
        sweep(standard, STRETCH, {"scaling": uphill}, rhos, torch.zeros(n, 2), judge, steps=LEVELS, shape=(2,))


def test_properties_of_images():
    images = torch.zeros(1, 3, 4, 4)
    images[..., ::2] = 1.0
    assert float(PROPERTIES["brightness"](images)) == 0.5
    assert float(PROPERTIES["contrast"](images)) == pytest.approx((48 * 0.25 / 47) ** 0.5)
    assert float(PROPERTIES["detail"](images)) == 1.0
    assert float(PROPERTIES["detail"](torch.ones(1, 3, 4, 4))) == 0.0
