"""Geodesics of decoders against closed forms, without a Jacobian."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.geodesics import decoded_length, decoder_geodesic, geodesic
from theodolite.geodesics.curves import denser
from theodolite.maps import LatentMap
from theodolite.zoo import MixtureDiffusion, linear, sphere, swiss_roll

D = torch.float64


def at(*values: float) -> Tensor:
    return torch.tensor(values, dtype=D)


def test_great_circles_on_a_sphere():
    start, end = at(0.5, 0.0), at(0.6, 2.5)
    found = decoder_geodesic(sphere(2.0), start, end, segments=32)
    exact = 2 * math.acos(math.cos(0.5) * math.cos(0.6) + math.sin(0.5) * math.sin(0.6) * math.cos(2.5))
    assert abs(found.length.value.item() - exact) < 2e-3
    assert found.length.status == "lower-bound"
    assert abs(found.length.value.item() + found.length.stderr.item() - exact) < 2e-4
    assert found.speed_variation.item() < 0.01
    assert found.status == "ok"
    assert found.gap.item() > 0.05


def test_a_rolled_sheet_unrolls():
    """Length along the roll is that of a spiral; a developable surface has straight geodesics when flattened."""
    start, end = at(1.0, 0.0), at(5.0, 3.0)

    def arc(t: float) -> float:
        return (t * math.sqrt(1 + t * t) + math.asinh(t)) / 2

    found = decoder_geodesic(swiss_roll(), start, end, segments=48)
    assert abs(found.length.value.item() - math.hypot(arc(5) - arc(1), 3)) < 5e-3
    middle = found.points[0, 24]
    assert abs(middle[1] - 1.5) < 0.01
    assert abs(arc(middle[0].item()) - (arc(5) + arc(1)) / 2) < 0.02


def test_linear_maps_have_straight_geodesics():
    A = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=D)
    start, end = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1), dtype=D)
    found = decoder_geodesic(linear(A), start, end, segments=8)
    torch.testing.assert_close(found.length.value, ((end - start) @ A.mT).norm(dim=-1))
    assert found.gap.abs().max() < 1e-9


def bump(z: Tensor) -> Tensor:
    """A hill between the ends, over a plane."""
    return torch.cat([z, 1.5 * torch.exp(-4 * z.square().sum(-1, keepdim=True))], -1)


def pullback(z: Tensor) -> Tensor:
    J = torch.func.vmap(torch.func.jacrev(lambda one: bump(one[None])[0]))(z)
    return J.mT @ J


def test_it_is_the_geodesic_of_the_pullback_metric():
    start, end = at(-1.0, 0.1), at(1.0, 0.1)
    chords = decoder_geodesic(LatentMap(bump, (2,)), start, end, segments=64, steps=300)
    field = geodesic(pullback, start, end)
    assert abs(chords.length.value - field.length.value).item() < 2e-3
    torch.testing.assert_close(chords.points, field.points, atol=0.02, rtol=0)
    assert chords.gap.item() > 0.1


def test_chunks_and_company_change_nothing():
    z = torch.stack([at(0.5, 0.0), at(1.0, 0.3)]), torch.stack([at(0.6, 2.5), at(1.4, 1.0)])
    together = decoder_geodesic(sphere(), *z, segments=12)
    alone = decoder_geodesic(sphere(), z[0][1], z[1][1], segments=12, chunk=3)
    torch.testing.assert_close(together.length.value[1:], alone.length.value, atol=1e-5, rtol=0)
    assert together.points.shape == (2, 13, 2)


def test_latents_keep_their_shape_and_dtype():
    weight = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0))

    def decode(z: Tensor) -> Tensor:
        return torch.tanh(torch.nn.functional.conv2d(z, weight, padding=1))

    start, end = torch.randn(2, 1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    found = decoder_geodesic(decode, start, end, segments=8)
    assert found.points.shape == (1, 9, 2, 4, 4)
    assert found.points.dtype == torch.float32
    torch.testing.assert_close(found.points[:, 0], start)
    torch.testing.assert_close(found.points[:, -1], end)
    assert found.length.value < found.straight_length
    other = decoded_length(lambda z: decode(z)[:, :1], found.points)
    assert other.value < found.length.value


def test_within_a_phase_of_a_diffusion_model_it_bends_less_than_across():
    sampler = MixtureDiffusion.three_phases(0.35).sampler(15)
    within = decoder_geodesic(sampler, at(0.9, -1.1), at(1.6, -0.6), segments=12)
    across = decoder_geodesic(sampler, at(-1.5, -0.9), at(0.4, 1.5), segments=12)
    assert across.gap.item() > 3 * within.gap.item()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: decoder_geodesic(sphere(), at(1, 1), at(1, 1, 1)), "one shape"),
        (lambda: decoder_geodesic(sphere(), at(1, math.nan), at(1, 1)), "finite start"),
        (lambda: decoder_geodesic(sphere(), at(1, 1), at(1, 2), segments=1), "segments"),
        (lambda: decoder_geodesic(lambda z: z.log(), at(-1, 1)[None], at(1, 2)[None]), "finite outputs"),
        (lambda: decoder_geodesic(lambda z: z, at(1, 1), at(2, 1)), r"\(m, \*latent\)"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message: str):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("dtype", [torch.float32, D])
@pytest.mark.parametrize("decode", [lambda z: z.clamp(-1, 1), lambda z: 0 * z])
def test_curves_without_a_length_are_numbers(decode, dtype: torch.dtype):
    """A saturated and a constant decoder; the other pair is not disturbed."""
    start, end = (
        torch.tensor([[2.0, 2.0], [0.0, 0.0]], dtype=dtype),
        torch.tensor([[3.0, 5.0], [0.5, 0.5]], dtype=dtype),
    )
    found = decoder_geodesic(decode, start, end, segments=8)
    assert torch.isfinite(found.points).all()
    assert torch.isfinite(found.gap).all()
    assert found.gap[0] == 0
    assert float(found.length.value[0]) == 0


def convolutional(dtype: torch.dtype) -> torch.nn.Module:
    layers = (torch.nn.ConvTranspose2d(4, 8, 4, 2, 1), torch.nn.Tanh(), torch.nn.ConvTranspose2d(8, 3, 4, 2, 1))
    model = torch.nn.Sequential(*layers).requires_grad_(False)
    draws = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.copy_(torch.randn(weight.shape, generator=draws) / 4)
    return model.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, D])
@pytest.mark.parametrize("decode", [sphere(2.0), convolutional])
def test_equal_ends_have_the_length_zero(decode, dtype: torch.dtype):
    if decode is convolutional:
        decode, z = convolutional(dtype), torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    else:
        z = torch.tensor([[0.5, 1.0]], dtype=dtype)
    found = decoder_geodesic(decode, z, z)
    assert float(found.length.value) == float(found.length.stderr) == 0
    assert found.status == found.length.status == "ok"
    assert bool((found.points == z[:, None]).all())
    beside = decoder_geodesic(decode, torch.cat([z, z]), torch.cat([z, z + 0.3]))
    assert beside.statuses == ("ok", "ok")
    assert float(beside.length.value[0]) == 0 < float(beside.length.value[1])


@pytest.mark.parametrize("size", [1e-7, 1e-6, 1e-5, 1e-4, 1e-2])
def test_ends_that_rounding_hardly_tells_apart_are_bounded(size: float):
    z, d = torch.randn(2, 1, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    model = convolutional(torch.float32)
    found = decoder_geodesic(model, z, z + size * d)
    ends = z.double(), (z + size * d).double()
    exact = decoder_geodesic(convolutional(D), *ends).length.value
    assert found.status == "ok"
    assert found.length.value <= exact <= found.length.value + found.length.stderr


@pytest.mark.parametrize(("weights", "ends"), [(torch.float32, D), (D, torch.float32)])
def test_ends_of_another_dtype_than_the_decoder(weights: torch.dtype, ends: torch.dtype):
    model = convolutional(weights)
    z, d = torch.randn(2, 1, 4, 5, 5, generator=torch.Generator().manual_seed(1)).to(ends)
    same = decoder_geodesic(convolutional(ends), z, z + d, segments=8)
    for decode in (model, LatentMap(model, (4, 5, 5))):
        found = decoder_geodesic(decode, z, z + d, segments=8)
        assert found.points.dtype == ends
        torch.testing.assert_close(found.length.value, same.length.value, rtol=1e-4, atol=0)
        assert decoded_length(decode, found.points).value > 0
    with pytest.raises(InputError, match="convert the latents"):
        decoder_geodesic(lambda z: model(z), z, z + d)
    with pytest.raises(InputError, match="convert the latents"):
        decoded_length(lambda z: model(z), found.points)


@pytest.mark.parametrize("segments", [8, 16])
@pytest.mark.parametrize("activation", [torch.tanh, torch.relu, torch.sin, torch.nn.functional.silu])
def test_the_width_of_a_path_length_holds_the_truth(activation, segments: int):
    """Random networks, smooth and with kinks; the truth from points 64 times denser."""
    inside, total = 0, 0
    for seed in range(8):
        draws = torch.Generator().manual_seed(seed)
        A, B, C = (torch.randn(*size, generator=draws, dtype=D) for size in ((4, 48), (48, 48), (48, 60)))

        def decode(z: Tensor, layers: tuple[Tensor, ...] = (A, B / 4, C / 7)) -> Tensor:
            return activation(activation(z @ layers[0]) @ layers[1]) @ layers[2]

        start, end, bend = torch.randn(3, 10, 1, 4, generator=draws, dtype=D)
        s = torch.linspace(0, 1, segments + 1, dtype=D)[:, None]
        curves = start + s * (end - start) + 0.3 * torch.sin(math.pi * s) * bend
        dense = curves
        for _ in range(6):
            dense = denser(dense)
        exact = decode(dense).diff(dim=1).norm(dim=-1).sum(1)
        found = decoded_length(decode, curves)
        assert (found.value <= exact).all()
        inside += int((exact <= found.value + found.stderr).sum())
        total += len(exact)
    assert inside >= 0.93 * total
