"""Numbers of samples in closed form: stripes, a denoiser that shrinks, and a condition that stretches."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite import LatentMap
from theodolite.descriptors import Effort
from theodolite.detection.sample_baselines import condition_shifts, denoising_loss, plain_numbers

D = torch.float64


def test_plain_numbers_of_stripes():
    stripes = torch.tensor([-1.0, 1.0]).repeat(2).expand(1, 1, 4, 4)  # changes along rows, never along columns
    numbers = {name: estimate.item() for name, estimate in plain_numbers(stripes).items()}
    assert numbers == pytest.approx({"brightness": 0.0, "contrast": 16 / 15, "total_variation": 1.0})


def test_a_denoiser_that_shrinks_loses_what_it_takes_and_what_it_leaves():
    x, sigma, keeps = torch.full((1, 400), 2.0, dtype=D), 0.5, 0.75
    loss = denoising_loss(lambda y: keeps * y, x, sigma, 3)
    e = torch.randn(4, 400, generator=torch.Generator().manual_seed(3), dtype=D)
    assert loss.item() == pytest.approx(float(((1 - keeps) * x - keeps * sigma * e).square().mean()))
    assert denoising_loss(lambda y: y, x, sigma, 3).item() == pytest.approx(float((sigma * e).square().mean()))
    assert denoising_loss(lambda y: x.expand_as(y), x, sigma, 3).item() == 0.0


def test_a_condition_that_stretches_changes_sample_and_volume_by_its_factor():
    under, bare = (LatentMap(lambda z, f=f: f * z, (3,)) for f in (3.0, 1.0))
    z = torch.tensor([[1.0, -2.0, 2.0]], dtype=D)
    names = ("condition_shift", "condition_volume")
    shifts = condition_shifts(under, bare, z, names, effort=Effort(), seed=0)
    assert shifts["condition_shift"].item() == pytest.approx(2 * math.sqrt(3))
    assert shifts["condition_volume"].item() == pytest.approx(3 * math.log(3))
    assert condition_shifts(under, bare, z, names[:1], effort=Effort(), seed=0).keys() == {"condition_shift"}
