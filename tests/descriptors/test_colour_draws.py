"""Gain, scaling and rank of small matrices against their definitions, and their slopes against differences."""

from __future__ import annotations

import torch

from theodolite.descriptors.colour_draws import Draw, along, floored, measured, slopes_of, standard_errors
from theodolite.estimates import student_quantile

COLUMNS = torch.randn(6, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
BLOCKS = COLUMNS.mT @ COLUMNS


def test_values_follow_from_singular_values():
    s = torch.linalg.svdvals(COLUMNS)
    found = measured(BLOCKS)
    torch.testing.assert_close(found["gain"], s.square().sum(-1))
    torch.testing.assert_close(found["scaling"], s.log().sum(-1))
    torch.testing.assert_close(found["rank"], torch.special.entr(s / s.sum(-1, keepdim=True)).sum(-1).exp())


def test_slopes_are_derivatives():
    change = torch.randn(6, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    change, step = change + change.mT, 1e-5
    ahead, behind = measured(BLOCKS + step * change), measured(BLOCKS - step * change)
    for name, slope in along(slopes_of(BLOCKS), change).items():
        torch.testing.assert_close(slope, (ahead[name] - behind[name]) / (2 * step), rtol=1e-6, atol=1e-6)


def test_only_directions_at_rounding_level_are_raised():
    flat = BLOCKS.clone()
    flat[0, :, 0] = flat[0, 0, :] = 0
    mended, low = floored(flat, 1e-8)
    assert low.tolist() == [True] + [False] * 5
    assert torch.equal(mended[1:], BLOCKS[1:])
    values = torch.linalg.eigvalsh(mended[0])
    torch.testing.assert_close(values[0] / values[-1], torch.tensor(1e-8, dtype=torch.float64), rtol=1e-4, atol=0)


def test_the_noise_of_a_draw_is_half_the_square_of_the_difference_of_two():
    """Four locations alike, whose draws differ by 0.2: an error of `0.2 / sqrt2`, Student's with four of them."""
    blocks, checked = torch.full((2, 2, 1, 1), 2.0, dtype=torch.float64), torch.ones(2, 2, dtype=torch.bool)
    pair = tuple(Draw(value * blocks, 0 * blocks, value * blocks) for value in (1.0, 1.1))
    errors, biases = standard_errors(blocks, 0 * blocks, pair, checked, 1e-6)
    expected = torch.full((2, 2), 0.2 / 2**0.5 * student_quantile(4) / 1.96, dtype=torch.float64)
    torch.testing.assert_close(errors["gain"], expected)
    assert not biases["gain"].any()
