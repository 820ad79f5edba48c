"""Gradients and Hessians of scalar functions against closed forms."""

from __future__ import annotations

import torch

from theodolite.derivatives.scalars import gradients, hessians

D = torch.float64


def potential(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0].exp() * x[:, 1].square() + x[:, 2]


def test_closed_forms_row_by_row():
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=D)
    a, b = x[:, 0].exp(), x[:, 1]
    zero = torch.zeros_like(a)
    torch.testing.assert_close(gradients(potential, x), torch.stack([a * b**2, 2 * a * b, zero + 1], -1))
    rows = [[a * b**2, 2 * a * b, zero], [2 * a * b, 2 * a, zero], [zero, zero, zero]]
    exact = torch.stack([torch.stack(row, -1) for row in rows], -2)
    torch.testing.assert_close(hessians(potential, x), exact)


def test_points_and_switches_are_left_alone():
    x = torch.ones(2, 3, dtype=D)
    with torch.no_grad():
        assert not hessians(potential, x).requires_grad
        assert not torch.is_grad_enabled()
    assert not x.requires_grad
    assert x.grad is None
