"""Detail energy: its range, outputs of one and three spatial axes, and the scale it must not see."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import theodolite
from theodolite import LatentMap
from theodolite.descriptors import Chart
from theodolite.descriptors.detail import laplacian

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def one_direction(picture: Tensor) -> LatentMap:
    """A map whose leading output direction is `picture`."""
    return LatentMap(lambda z: z.reshape(-1, *(1,) * picture.ndim) * picture, (1,))


def q_of(picture: Tensor) -> float:
    return theodolite.detail_energy(one_direction(picture), torch.ones(1, 1, dtype=F64))["detail_q"].value.item()


@pytest.mark.parametrize(("axes", "convolve"), [(1, F.conv1d), (2, F.conv2d), (3, F.conv3d)])
def test_laplacian_is_a_convolution_with_zero_padding(axes, convolve):
    kernel = torch.zeros(*(3,) * axes, dtype=F64)
    centre = (1,) * axes
    kernel[centre] = -2 * axes
    for axis in range(axes):
        for step in (0, 2):
            kernel[tuple(step if a == axis else 1 for a in range(axes))] = 1
    x = draw(2, 1, *(5, 6, 7)[:axes])
    before = x.clone()
    torch.testing.assert_close(laplacian(x, axes), convolve(x, kernel[None, None], padding=1))
    assert torch.equal(x, before)


def test_a_constant_has_detail_at_the_zero_padded_border_only():
    flat = laplacian(torch.ones(1, 1, 6, 6, dtype=F64), 2)[0, 0]
    assert flat[1:-1, 1:-1].abs().max() == 0
    assert flat[0, 1:-1].eq(-1).all()
    assert q_of(torch.ones(1, 64, 64, dtype=F64)) < 0.1


@pytest.mark.parametrize(("shape", "expected"), [((1, 4000), 6), ((3, 96, 96), 20), ((1, 24, 24, 24), 42)])
def test_white_noise_has_the_sum_of_squares_of_the_stencil(shape, expected):
    assert q_of(draw(*shape)) == pytest.approx(expected, rel=0.06)


def test_the_finest_pattern_reaches_the_upper_end():
    i = torch.arange(64)
    checkers = (1 - 2 * ((i[:, None] + i) % 2)).to(F64)[None]
    assert 60 < q_of(checkers) <= 64


def test_energy_scales_with_the_square_and_the_share_not_at_all():
    picture, z = draw(3, 12, 12), torch.ones(1, 1, dtype=F64)
    plain, scaled = (theodolite.detail_energy(one_direction(c * picture), z) for c in (1.0, 3.0))
    torch.testing.assert_close(scaled.value, 9 * plain.value)
    torch.testing.assert_close(scaled["detail_q"].value, plain["detail_q"].value)
    rough = F.conv2d(
        picture[:, None], torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=F64)[None, None], padding=1
    )
    torch.testing.assert_close(plain.value[0], rough.var())


def test_a_tied_direction_is_undetermined():
    pictures = torch.linalg.qr(draw(64, 2)).Q.T.reshape(2, 1, 8, 8)
    found = theodolite.detail_energy(
        LatentMap(lambda z: torch.einsum("nk,kchw->nchw", z, pictures), (2,)), torch.ones(1, 2, dtype=F64)
    )
    assert found.status == "undetermined"
    assert found["detail_q"].status == "undetermined"


def test_stochastic_and_dense_agree_within_the_bound():
    A = draw(1 * 10 * 10, 30)
    map = LatentMap(lambda z: (z @ A.T).sin().reshape(-1, 1, 10, 10), (30,))
    z = draw(2, 30, seed=1)
    exact, found = (theodolite.detail_energy(map, z, dense=dense) for dense in (True, False))
    for name in ("detail_energy", "detail_q"):
        a, b = exact.named("detail_energy")[name], found.named("detail_energy")[name]
        assert ((a.value - b.value).abs() <= 1.96 * b.stderr + 1e-9 * a.value).all()


def test_the_bound_holds_what_a_turned_direction_changes():
    """Turned from checkers plus a constant towards their difference, `q` changes by 0.7 of the largest change.

    With `u = (c + s) / sqrt2`, `d = (c - s) / sqrt2` and `L c = -8 c`, `L s = 0` away from the border, `q(u)` is 32 and
    moves by `2 <L u, L d> = 64` an angle of one, where the bound says `2 sqrt(32) * 8 = 90.5`.
    """
    i, angle = torch.arange(64), 1e-3
    checkers, flat = (1.0 - 2.0 * ((i[:, None] + i) % 2)).to(F64), torch.ones(64, 64, dtype=F64)
    u, d = (((checkers + sign * flat) / (2**0.5 * 64)).reshape(-1) for sign in (1, -1))
    map = LatentMap(lambda z: (z[:, :1] * u + 0.5 * z[:, 1:] * d).reshape(-1, 1, 64, 64), (2,))
    exact, turned = (Chart(map, torch.ones(1, 2, dtype=F64), dense=True) for _ in range(2))
    sigma, second = exact.leading.sigma, exact.leading.second
    left = exact.leading.left[0] @ u * (u + angle * d)[None]
    turned.leading = replace(exact.leading, left=left, residual=angle * (sigma - second))
    here, there = (theodolite.detail_energy(map, chart.latents, chart=chart) for chart in (exact, turned))
    assert here["detail_q"].item() == pytest.approx(32, rel=0.05)
    for name in ("detail_energy", "detail_q"):
        a, b = here.named("detail_energy")[name], there.named("detail_energy")[name]
        assert 0.6 < float((a.value - b.value).abs() / (1.96 * b.stderr)) < 1
