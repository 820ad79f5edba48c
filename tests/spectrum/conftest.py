"""Matrices with a prescribed spectrum, and the spectra that an estimator must be honest on."""

from __future__ import annotations

import pytest
import torch

D = torch.float64


def _matrices(s, rows=None, n=1, seed=0, columns=None):
    """`(n, rows, columns)` with singular values `s` and random singular vectors; wide where `columns` says so."""
    d = len(s)
    g = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(n, rows or d + 7, d, generator=g, dtype=D)).Q
    right = torch.linalg.qr(torch.randn(n, columns or d, d, generator=g, dtype=D)).Q
    return left @ torch.diag(s.to(D)) @ right.mT


def _spectra(d):
    g = torch.Generator().manual_seed(d)
    t = torch.linspace(0, 1, d, dtype=D)
    linear, logarithmic = 0.05 + 0.95 * t.flip(0), 10 ** (-2 * t)
    dead, dead_logarithmic = linear.clone(), logarithmic.clone()
    dead[-(d // 3) :] = 0
    dead_logarithmic[-(d // 3) :] = 0
    return {
        "flat": torch.ones(d, dtype=D),
        "linear": linear,
        "log-uniform": logarithmic,
        "log-normal": torch.exp(0.9 * torch.randn(d, generator=g, dtype=D)),
        "Marchenko-Pastur": torch.linalg.svdvals(torch.randn(2 * d, d, generator=g, dtype=D)),
        "a third null": dead,
        "log-uniform, a third null": dead_logarithmic,
        "repeated leading": torch.cat([torch.full((2,), 1.5, dtype=D), linear[2:]]),
        "broad": 10 ** (-4 * t),
    }


@pytest.fixture(scope="session")
def matrices():
    """The function that makes matrices of a spectrum."""
    return _matrices


@pytest.fixture(scope="session")
def spectra():
    """The function that gives named spectra of a dimension."""
    return _spectra
