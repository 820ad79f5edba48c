"""What every test shares: one torch thread a worker, and the folder of real models beside the checkout."""

from __future__ import annotations

import pathlib

import pytest
import torch

torch.set_num_threads(1)
SHARED = pathlib.Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture
def unrecorded(monkeypatch):
    """Without recordings of maps, so that the other ways of differentiation are tried."""
    from theodolite.derivatives import operator, products

    monkeypatch.setattr(operator, "PUSHES", products.PUSHES[1:])
    monkeypatch.setattr(operator, "PULLS", products.PULLS[1:])


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of real models, photographs and data, next to the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder `shared` with real models and images is not next to this checkout")
    return SHARED
