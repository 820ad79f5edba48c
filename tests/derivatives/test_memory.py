"""What a pass needs in memory, and how many products that allows at once."""

from __future__ import annotations

import pytest
import torch

from theodolite.derivatives import memory
from theodolite.derivatives.memory import Footprint, available_bytes, is_out_of_memory, measure_footprint

CPU = torch.device("cpu")


def test_the_footprint_counts_what_one_latent_makes():
    outputs, footprint = measure_footprint(lambda z: (z[:, :, None] * torch.ones(100)).sum(-1), torch.ones(4, 10))
    assert outputs.shape == (4, 10)
    assert footprint.largest == 10 * 100 * 4
    assert footprint.total >= footprint.largest


def test_a_map_that_makes_nothing_still_has_a_footprint():
    _, footprint = measure_footprint(lambda z: z, torch.ones(2, 3))
    assert footprint.largest >= 1
    assert footprint.tangents(CPU) >= 1


def test_less_memory_means_fewer_products(monkeypatch):
    footprint = Footprint(largest=2**20, total=2**24)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**30)
    many = footprint.tangents(CPU), footprint.graphs(CPU)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**26)
    few = footprint.tangents(CPU), footprint.graphs(CPU)
    assert few[0] < many[0]
    assert few[1] < many[1]
    monkeypatch.setattr(memory, "available_bytes", lambda device: 0)
    assert (footprint.tangents(CPU), footprint.graphs(CPU)) == (1, 1)


def test_some_memory_is_available():
    assert available_bytes(CPU) > 2**20


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
