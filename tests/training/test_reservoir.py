"""The sample of latents: even, bounded, the same in any order and on any number of processes."""

from __future__ import annotations

import pytest
import torch

from theodolite.training.reservoir import distinct, keys, sample


def rows(n, seed=0, dtype=torch.float32):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_of_parts_make_the_sample_of_the_whole(dtype):
    cloud = rows(1000, dtype=dtype)
    whole = sample(cloud, 100)
    assert whole.shape == (100, 3)
    parts = [sample(part, 100) for part in cloud.split([10, 600, 390])]
    assert torch.equal(sample(torch.cat(parts), 100), whole)
    assert torch.equal(sample(cloud.flip(0), 100), whole)
    assert not torch.equal(sample(cloud, 100, seed=1), whole)


def test_all_are_kept_while_there_is_room_and_equal_ones_once():
    cloud = rows(50)
    kept = sample(torch.cat([cloud, cloud[:20]]), 60)
    assert len(kept) == 50
    assert torch.equal(kept.sort(0).values, cloud.sort(0).values)
    assert len(sample(cloud[:1].expand(9, 3), 60)) == 1
    assert torch.equal(distinct(torch.cat([cloud, cloud[:20]])), cloud)


def test_every_row_has_the_same_chance():
    drawn = torch.stack([(keys(rows(400), seed).argsort().argsort() < 100).double() for seed in range(400)])
    assert drawn.mean().item() == pytest.approx(0.25)
    chances = drawn.mean(0)  # each of 400 rows over 400 seeds: binomial
    assert chances.std().item() == pytest.approx((0.25 * 0.75 / 400) ** 0.5, rel=0.15)
    neighbours = ((drawn[:, 1:] - 0.25) * (drawn[:, :-1] - 0.25)).mean().item()
    assert abs(neighbours) < 4 * 0.25 * 0.75 / 160_000**0.5


def test_the_sample_does_not_prefer_values():
    z = torch.stack([sample(rows(2000, seed), 200).mean(0) for seed in range(200)]).flatten() * 200**0.5
    assert abs(z.mean().item()) < 0.25
    assert 0.8 < z.std().item() < 1.2


def test_keys_are_even_over_all_bits_also_for_coarse_numbers():
    grid = torch.cartesian_prod(*(torch.arange(16.0),) * 3)
    own = keys(grid)
    assert len(own.unique()) == len(grid)
    bits = torch.stack([(own >> shift) & 1 for shift in range(64)]).double().mean(1)
    assert (bits - 0.5).abs().max().item() < 4.5 * 0.5 / len(grid) ** 0.5
