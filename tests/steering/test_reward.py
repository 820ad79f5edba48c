"""Rewards: the conditional expectation of a Gaussian, what is held out, the file, and what is refused."""

from __future__ import annotations

import pytest
import torch

from theodolite import InputError, LatentMap, local_scaling, sampler_map
from theodolite.maps.samplers import karras_levels
from theodolite.steering import LearnedReward, fit_reward, guide


def cloud(n=1500, seed=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def reward():
    """Of the first entry of standard normal points: `E[x_1 | x] = x_1 / (1 + sigma²)`."""
    z = cloud()
    return fit_reward(z, z[:, 0], sigmas=(0.05, 20.0), steps=400, width=64, depth=2, generator=0)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
def test_it_is_the_expectation_of_the_clean_points_score(reward, sigma):
    clean = cloud(400, seed=1)
    x = clean + sigma * cloud(400, seed=2)
    exact = (x[:, 0] / (1 + sigma**2) - reward.centre) / reward.spread
    error = (reward(x, sigma) - exact).square().mean().sqrt()
    assert error < 0.15


def test_its_held_out_correlation_falls_as_it_must(reward):
    """Of a Gaussian pair with correlation `r`, Spearman's is `6 / pi asin(r / 2)`, and `r = (1 + sigma²)^-½`."""
    sigmas, found = torch.tensor(reward.record.sigmas).double(), reward.record.correlation
    exact = 6 / torch.pi * ((1 + sigmas**2).rsqrt() / 2).asin()
    assert ((found.value - exact).abs() < 4 * found.stderr + 0.02).all()
    assert reward.record.held_out == 300
    assert reward.record.samples == 1200


def test_it_says_where_it_knows_something(reward):
    low, high = reward.levels
    assert low == reward.record.sigmas[0]
    assert 1.0 < high <= 20.0


def test_a_sampler_guided_by_it_moves_what_it_rewards(reward):
    noise = cloud(200, seed=3)

    def standard(x, sigma):
        return x / (1 + sigma**2)

    levels = karras_levels(20, 0.05, 10.0)
    means = [
        sampler_map(guide(standard, reward, rho, shape=(2,)), levels)(noise)[:, 0].mean() for rho in (-0.5, 0.0, 0.5)
    ]
    assert means[0] < means[1] - 0.2 < means[2] - 0.4


def test_local_scaling_of_a_map_is_the_target():
    z = cloud(200)
    map = LatentMap(lambda z: torch.stack([z[:, 0].exp(), z[:, 1]], 1), (2,))  # log sigma_1 is the first entry
    by_map = fit_reward(z, map, steps=3, generator=0)
    by_number = fit_reward(z, local_scaling(map, z).value, steps=3, generator=0)
    torch.testing.assert_close(by_map(z, 1.0), by_number(z, 1.0))
    assert by_map.centre == pytest.approx(float(z[:, 0].mean()), abs=0.1)
    assert by_map.spread == pytest.approx(float(z[:, 0].std()), abs=0.1)


@pytest.mark.parametrize("shape", [(5,), (4, 8, 8)])
def test_what_is_saved_is_what_is_read(tmp_path, shape):
    z = torch.randn(40, *shape, generator=torch.Generator().manual_seed(0))
    before = fit_reward(z, z.flatten(1).mean(1), steps=2, width=16, depth=2, batch=8, generator=0)
    before.save(tmp_path / "reward.safetensors")
    after = LearnedReward.load(tmp_path / "reward.safetensors")
    torch.testing.assert_close(before(z, 0.5), after(z, 0.5))
    assert after.record == before.record
    assert (after.data, after.low, after.high, after.centre) == (before.data, before.low, before.high, before.centre)
    assert after.fingerprint() == before.fingerprint()
    after.mean.add_(0.1)
    assert after.fingerprint() != before.fingerprint()


def test_the_same_seed_gives_the_same_reward():
    z = cloud(100)
    first, second = (fit_reward(z, z[:, 0], steps=3, generator=5) for _ in range(2))
    torch.testing.assert_close(first(z, 1.0), second(z, 1.0))
    assert not torch.equal(first(z, 1.0), fit_reward(z, z[:, 0], steps=3, generator=6)(z, 1.0))


def test_a_reward_of_noise_knows_nothing_and_says_so():
    numbers = torch.randn(200, generator=torch.Generator().manual_seed(9))
    blind = fit_reward(cloud(200), numbers, steps=5, generator=0)
    with pytest.raises(InputError, match="tells clean points apart"):
        guide(lambda x, sigma: x, blind, 1.0, shape=(2,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latents": cloud(10)}, "one number a point"),
        ({"target": torch.zeros(100)}, "not all the same"),
        ({"target": torch.full((100,), float("nan"))}, "finite numbers"),
        ({"sigmas": (2.0, 1.0)}, "smallest, largest"),
        ({"steps": 0}, "`steps`"),
        ({"held_out": 0.9}, "held_out"),
    ],
)
def test_bad_input_is_one_clear_error(change, words):
    given = {"latents": cloud(100), "target": cloud(100)[:, 0], "steps": 2, **change}
    with pytest.raises(InputError, match=words):
        fit_reward(given.pop("latents"), given.pop("target"), **given)


def test_a_level_it_was_not_trained_at_is_refused(reward):
    with pytest.raises(InputError, match="where the reward was trained"):
        reward(cloud(4), 50.0)
