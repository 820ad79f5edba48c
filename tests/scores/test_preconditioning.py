"""Preconditioning: exact for a Gaussian with these axes, unit variances for everything else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from theodolite.scores import GaussianScore
from theodolite.scores.preconditioning import Preconditioning, orthonormal_cosines

D = torch.float64


class Zero(nn.Module):
    def forward(self, x, u):
        return 0 * x


class Keep(nn.Module):
    """Remembers its input."""

    def forward(self, x, u):
        self.input, self.level = x, u
        return 0 * x


def cloud(n=2000, seed=0):
    g = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, 4, generator=g, dtype=D) @ torch.randn(4, 4, generator=g, dtype=D) + 5


def images(n=500, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.avg_pool2d(torch.randn(n, 2, 7, 9, generator=g, dtype=D), 3, 1) + 1


def test_a_network_of_zeros_is_the_gaussian_score():
    z = cloud()
    scales = Preconditioning.fitted(z, 0.01, 100.0)
    x = z[:7] + 1
    for t in (0.02, 1.0, 50.0):
        want = GaussianScore.fitted(z).score(x, t)
        torch.testing.assert_close(scales.score(Zero(), x, t), want, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("make", [cloud, images])
def test_the_cosines_and_principal_axes_are_orthonormal(make):
    z = make()
    scales = Preconditioning.fitted(z, 0.01, 100.0)
    y = scales.turned(z)
    torch.testing.assert_close(y.square().sum(), (z - z.mean(0)).square().sum() / scales.scale**2)
    torch.testing.assert_close(scales.variances.mean(), torch.tensor(1.0, dtype=D))
    torch.testing.assert_close(y.square().mean(0), scales.variances, rtol=0.01, atol=1e-5)
    C = orthonormal_cosines(9)
    torch.testing.assert_close(C.mT @ C, torch.eye(9, dtype=D))


@pytest.mark.parametrize("make", [cloud, images])
def test_input_and_target_have_unit_variance_at_every_level(make):
    z, keep = make(), Keep()
    scales = Preconditioning.fitted(z, 0.01, 100.0)
    y, g = scales.turned(z), torch.Generator().manual_seed(1)
    for place in (-1.0, 0.0, 1.0):
        u = torch.full((len(z),), place, dtype=D)
        t = scales.levels(u)
        x = y + t.sqrt() * torch.randn(y.shape, generator=g, dtype=D)
        scales.residual(keep, x, t, u)
        given, asked = scales.turned(scales.mean + scales.scale * keep.input), scales.target(x, y, t)
        for values in (given, asked):
            assert ((values.square().mean(0) - 1).abs() < 6 * (2 / len(z)) ** 0.5 + 0.02).all()


def test_levels_are_logarithmic_and_in_units_of_the_latents():
    scales = Preconditioning.fitted(cloud(), 0.04, 400.0)
    assert (scales.position(0.04), scales.position(4.0), scales.position(400.0)) == pytest.approx((-1, 0, 1))
    t = scales.levels(torch.tensor([-1.0, 0.0, 1.0], dtype=D)).flatten() * scales.scale**2
    torch.testing.assert_close(t, torch.tensor([0.04, 4.0, 400.0], dtype=D))


def test_the_score_and_the_target_agree():
    """A network that says the target makes the denoiser that returns the clean latents."""
    z, t = images(6), 0.3
    scales = Preconditioning.fitted(images(), 0.01, 100.0)
    x = z + t**0.5 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=D)
    level = scales.levels(torch.tensor([scales.position(t)], dtype=D))
    turned = scales.target(scales.turned(x), scales.turned(z), level)

    class Told(nn.Module):
        def forward(self, x, u):
            output = turned
            for place, axis in enumerate(scales.axes, start=1):
                output = (output.transpose(place, -1) @ axis.mT).transpose(place, -1)
            return output

    torch.testing.assert_close(x + t * scales.score(Told(), x, t), z)


def test_fewer_samples_than_dimensions_leave_no_direction_empty():
    z = torch.randn(10, 40, generator=torch.Generator().manual_seed(0), dtype=D)
    variances = Preconditioning.fitted(z, 0.01, 100.0).variances
    assert float(variances.min()) > 0.01
    assert float(variances.median()) > 0.4
    thin = z * torch.linspace(0, 1, 40, dtype=D).gt(0.5)
    assert int((Preconditioning.fitted(thin, 0.01, 100.0).variances < 1e-6).sum()) == 20
