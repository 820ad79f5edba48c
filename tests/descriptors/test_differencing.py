"""Forward differences are exact on a linear map at every step, and their error grows with the step on a curved one."""

from __future__ import annotations

import pytest
import torch

from theodolite import LatentMap
from theodolite.descriptors.differencing import STEPS, precision_of_differences

D = torch.float64


def ratios(function):
    weights = torch.randn(12, 12, dtype=D, generator=torch.Generator().manual_seed(0))
    field = LatentMap(lambda z: function(z.flatten(1) @ weights).reshape(-1, 3, 2, 2), (3, 2, 2))
    z = torch.randn(1, 3, 2, 2, dtype=D, generator=torch.Generator().manual_seed(1))
    by_step = precision_of_differences(field, z, dimension=3, generator=0)
    assert tuple(by_step) == STEPS
    return [by_step[step]["ls_max_over_exact"].item() for step in STEPS]


def test_a_linear_map_has_ratios_of_one():
    assert ratios(lambda y: y) == pytest.approx([1.0] * 3, abs=1e-9)


def test_the_error_on_a_curved_map_is_first_order_in_the_step():
    small, released, large = (abs(ratio - 1) for ratio in ratios(lambda y: y + y.square()))
    assert 0 < small < released < large
    assert large / small == pytest.approx(4, rel=0.2)
