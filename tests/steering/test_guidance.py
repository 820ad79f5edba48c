"""Guidance by a reward: closed forms of Gaussian data, identities, controls, and the same inside diffusers' loops."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from theodolite import InputError, denoiser_map, jacobian, sampler_map
from theodolite.maps.channels import channel_of
from theodolite.maps.samplers import karras_levels
from theodolite.maps.schedules import schedule_levels
from theodolite.steering import guidance_callback, guide, random_direction
from theodolite.steering.guidance import Push

W = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def standard(x, sigma):
    """The denoiser of standard normal data."""
    return x / (1 + sigma**2)


def linear(x, sigma):
    """`E[<w, x_0> | x]` for such data, which tilts them to mean `rho w`."""
    return x @ W.to(x) / (1 + sigma**2)


def bent(x, sigma):
    """A reward with a Hessian."""
    return (1 + (x - 0.3) ** 2).sqrt().sum(-1) / (1 + sigma)


def points(n=4, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("rho", [-1.5, 0.7])
def test_a_linear_reward_shifts_the_mean_by_rho_times_its_slope(rho):
    noise = points(200)
    levels = karras_levels(60, 0.002, 200.0)
    plain = sampler_map(standard, levels, "heun", shape=(3,))(noise)
    tilted = sampler_map(guide(standard, linear, rho, norm="raw", shape=(3,)), levels, "heun")(noise)
    assert torch.allclose(tilted - plain, (rho * W).expand(200, 3), rtol=0.01)
    assert torch.allclose(plain, noise, atol=0.02)


def test_the_predicted_noise_moves_by_minus_rho_sigma_gradient():
    x, sigma, rho = points(), 0.8, 1.3
    plain = denoiser_map(standard, sigma, "eps", shape=(3,))(x)
    guided = denoiser_map(guide(standard, linear, rho, norm="raw", shape=(3,)), sigma, "eps")(x)
    assert torch.allclose(guided, plain - rho * sigma * W / (1 + sigma**2), atol=1e-12)


def test_zero_is_the_model_itself_bit_for_bit():
    def never(x, sigma):
        raise AssertionError("the reward is not asked")

    x = points()
    torch.testing.assert_close(guide(standard, never, 0.0, shape=(3,))(x, 0.5), standard(x, 0.5))


@pytest.mark.parametrize("sigma", [0.05, 1.0, 30.0])
def test_unit_gradients_have_root_mean_square_one(sigma):
    shift = Push(bent, -0.4, "unit", None)(points(), sigma)
    size = shift.square().mean(1).sqrt()
    assert torch.allclose(size, torch.full_like(size, 0.4 * sigma / math.hypot(sigma, 1)), atol=1e-12)
    assert torch.allclose(shift, Push(lambda x, s: 100 * bent(x, s), -0.4, "unit", None)(points(), sigma), atol=1e-12)


def test_no_gradient_is_no_push():
    flat = Push(lambda x, sigma: 0 * x.sum(-1), 1.0, "unit", None)
    assert torch.equal(flat(points(), 1.0), torch.zeros(4, 3, dtype=torch.float64))


@pytest.mark.parametrize("norm", ["unit", "raw"])
def test_each_sample_is_pushed_on_its_own(norm):
    guided, x = guide(standard, bent, 0.5, norm=norm, shape=(3,)), points()
    one_by_one = torch.cat([guided(row[None], 0.7) for row in x])
    assert torch.allclose(guided(x, 0.7), one_by_one, atol=1e-12)


@pytest.mark.parametrize("norm", ["unit", "raw"])
def test_derivatives_hold_the_hessian_of_the_reward(norm):
    map = denoiser_map(guide(standard, bent, 0.3, norm=norm, shape=(3,)), 0.7)
    x, h = points(2), 1e-6
    found = jacobian(map, x).dense()
    steps = torch.eye(3, dtype=torch.float64) * h
    wanted = torch.stack([(map(x + step) - map(x - step)) / (2 * h) for step in steps], -1)
    assert torch.allclose(found, wanted, atol=1e-7)


def test_levels_outside_are_left_alone():
    guided = guide(standard, linear, 1.0, levels=(0.1, 1.0), shape=(3,))
    x = points()
    torch.testing.assert_close(guided(x, 2.0), standard(x, 2.0))
    assert not torch.equal(guided(x, 0.5), standard(x, 0.5))


def test_it_comes_after_classifier_free_guidance():
    def conditional(x, sigma, condition=None):
        return standard(x, sigma) + (0.0 if condition is None else condition)

    guided = guide(conditional, linear, 1.0, norm="raw", condition=2.0, guidance=3.0, shape=(3,))
    x = points()
    assert torch.allclose(guided(x, 1.0), standard(x, 1.0) + 6.0 + W / 2, atol=1e-12)


def test_a_random_direction_pushes_as_hard_and_is_its_own_for_each_sample():
    reward = random_direction(4, (3,), generator=1)
    shift = Push(reward, 0.2, "unit", None)(points(), 1.0)
    assert torch.allclose(shift.square().mean(1).sqrt(), torch.full((4,), 0.2 / 2**0.5, dtype=torch.float64))
    assert torch.linalg.matrix_rank(shift) == 3
    torch.testing.assert_close(
        shift, Push(random_direction(4, (3,), generator=1), 0.2, "unit", None)(points(seed=5), 1.0)
    )
    with pytest.raises(InputError, match="batch"):
        reward(points(2), 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rho": float("nan")}, "finite number"),
        ({"norm": "l2"}, "unit or raw"),
        ({"levels": (2.0, 1.0)}, "smallest, largest"),
        ({"reward": 3.0}, "callable"),
    ],
)
def test_bad_input_is_one_clear_error(change, words):
    given = {"reward": linear, "rho": 1.0, **change}
    with pytest.raises(InputError, match=words):
        guide(standard, **given, shape=(3,))


def test_a_reward_of_another_shape_is_refused():
    guided = guide(standard, lambda x, sigma: x, 1.0, shape=(3,))
    with pytest.raises(InputError, match="one number a point"):
        guided(points(), 1.0)


def _looped(scheduler, steps, noise, callback):
    """What a diffusers pipeline does, with the exact denoiser of standard normal data."""
    scheduler.set_timesteps(steps)
    pipeline = SimpleNamespace(scheduler=scheduler)
    latents = noise * scheduler.init_noise_sigma if hasattr(scheduler, "init_noise_sigma") else noise
    for place, time in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(latents, time) if hasattr(scheduler, "scale_model_input") else None
        latents = scheduler.step(_predicted(scheduler, latents, place, time), time, latents).prev_sample
        latents = callback(pipeline, place, time, {"latents": latents})["latents"]
    return latents


def _predicted(scheduler, latents, place, time):
    if type(scheduler).__name__.startswith("FlowMatch"):
        tau = float(scheduler.sigmas[place])
        return latents * (tau - (1 - tau)) / ((1 - tau) ** 2 + tau**2)
    if scheduler.init_noise_sigma > 1:
        return latents * float(scheduler.sigmas[place]) / (1 + float(scheduler.sigmas[place]) ** 2)
    return latents * (1 - scheduler.alphas_cumprod[time].double()).sqrt()


def _first_step(scheduler, noise, here, there):
    """`x` at the second level, unguided, from a pipeline's noise."""
    if math.isinf(here):
        return there * noise  # the denoised point of nothing but noise is the mean, zero
    start = float(scheduler.init_noise_sigma)
    x = start * noise if start > 1 else (1 + here**2) ** 0.5 * noise
    return x + (there - here) * here / (1 + here**2) * x


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"])
@pytest.mark.parametrize("norm", ["unit", "raw"])
def test_as_a_callback_it_is_guidance_of_all_levels_but_the_first(name, norm):
    diffusers = pytest.importorskip("diffusers")
    options = {} if name.startswith("Flow") else {"prediction_type": "epsilon"}
    if name == "DDIMScheduler":
        options |= {"clip_sample": False, "set_alpha_to_one": True}
    scheduler = getattr(diffusers, name)(**options)
    noise, steps, rho = points(), 8, 0.4
    found = _looped(scheduler, steps, noise, guidance_callback(bent, rho, norm=norm))
    levels = schedule_levels(scheduler, channel_of(scheduler, None, "step"))
    guided = guide(standard, bent, rho, norm=norm, shape=(3,))
    wanted = sampler_map(guided, levels[1:])(_first_step(scheduler, noise, *levels[:2]) / levels[1])
    plain = _looped(scheduler, steps, noise, lambda pipeline, step, time, kwargs: kwargs)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert (found - plain).abs().max() > 1e-2


def test_a_callback_starts_anew_with_every_run():
    diffusers = pytest.importorskip("diffusers")
    scheduler, callback = diffusers.DDIMScheduler(clip_sample=False), guidance_callback(linear, 0.3)
    first = _looped(scheduler, 5, points(), callback)
    torch.testing.assert_close(first, _looped(scheduler, 5, points(), callback))
