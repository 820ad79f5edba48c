"""Flow matching on a Gaussian, where velocities, losses and samples have closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.diffusability.trainer import flow_loss, heun_samples, loss_by_time, time_shift
from theodolite.diffusability.trainer.flow import draw_times, times_of_steps
from theodolite.errors import InputError

VARIANCES = torch.tensor([0.25, 1.0, 4.0], dtype=torch.float64)


def best_velocity(x, t):
    """`E[eps - z | x_t]` of a Gaussian with independent entries of `VARIANCES`."""
    u = t[:, None]
    return (u - (1 - u) * VARIANCES) / ((1 - u) ** 2 * VARIANCES + u**2) * x


def cloud(n, seed=0):
    draws = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draws * VARIANCES.sqrt()


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_the_best_velocity_has_the_loss_of_the_conditional_variance(t):
    z, noise = cloud(40_000), cloud(40_000, seed=1) / VARIANCES.sqrt()
    losses = flow_loss(best_velocity, z, torch.full((len(z),), t, dtype=torch.float64), noise).double()
    truth = float((VARIANCES / ((1 - t) ** 2 * VARIANCES + t**2)).mean())
    error = float(losses.std()) / len(z) ** 0.5
    assert abs(float(losses.mean()) - truth) < 4 * error


def test_no_other_linear_velocity_does_better():
    z, t = cloud(20_000), torch.tensor([0.3])
    own = loss_by_time(best_velocity, z, t, torch.Generator().manual_seed(2))
    for factor in (0.8, 1.2):
        other = loss_by_time(lambda x, u, by=factor: by * best_velocity(x, u), z, t, torch.Generator().manual_seed(2))
        assert float(other) > float(own)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_samples_along_the_best_velocity_have_the_variances_of_the_cloud(shift):
    noise = cloud(4) / VARIANCES.sqrt()
    samples = heun_samples(best_velocity, noise, steps=400, shift=shift)
    assert torch.allclose(samples, noise * VARIANCES.sqrt(), rtol=2e-3)  # the flow of a Gaussian scales each entry


def test_heuns_rule_is_of_second_order():
    noise = torch.ones(1, 3, dtype=torch.float64)

    def error(steps):
        # of a velocity that does not vary near the end, so that the last step, Euler's, adds no error of its own
        samples = heun_samples(lambda x, t: x * t[:, None], noise, steps, 1.0)
        return float((samples - noise * math.exp(-0.5)).abs().max())

    assert error(20) < error(10) / 3


def test_a_shift_multiplies_the_ratio_of_noise_to_signal():
    plain, shifted = times_of_steps(8, 1.0)[1:-1], times_of_steps(8, time_shift(1024))[1:-1]
    assert torch.allclose(shifted / (1 - shifted), 2 * plain / (1 - plain))


def test_times_are_logit_normal():
    t = draw_times(20_000, 2.0, torch.Generator().manual_seed(0)).double()
    logits = (t / (1 - t)).log()
    assert abs(float(logits.mean()) - math.log(2)) < 4 / len(t) ** 0.5
    assert abs(float(logits.var()) - 1) < 4 * (2 / len(t)) ** 0.5


def test_a_sampler_without_steps_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        heun_samples(best_velocity, torch.ones(1, 3), 0, 1.0)
