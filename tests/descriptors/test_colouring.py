"""Colours of locations against brute force."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.descriptors.colouring import colouring


@pytest.mark.parametrize("size", [(16, 16), (5, 9), (1, 12)])
@pytest.mark.parametrize("most", [2, 7, 19, 40])
def test_equal_colours_are_as_far_apart_as_it_says(size, most):
    found = colouring(*size, most)
    assert found.count <= most or found.count == math.prod(size)
    assert sorted(found.colours.unique().tolist()) == list(range(found.count))
    for colour in range(found.count):
        distances = torch.pdist(found.members(colour).double())
        assert len(distances) == 0 or distances.min() >= found.spacing - 1e-9


@pytest.mark.parametrize(("most", "spacing"), [(1, 1), (2, 2**0.5), (4, 2), (5, 5**0.5), (9, 3), (16, 17**0.5)])
def test_the_lattices_are_the_best_there_are(most, spacing):
    """Known: the shortest vector of the best integer lattice of at most this index."""
    assert math.isclose(colouring(40, 40, most).spacing, spacing)


def test_enough_colours_leave_every_location_alone():
    found = colouring(3, 4, 12)
    assert found.count == 12
    assert found.spacing == math.inf


def test_shares_lose_nothing_and_leave_a_location_its_own_cell():
    found = colouring(8, 8, 9)
    for colour in range(found.count):
        shares, members = found.shares(colour), found.members(colour)
        torch.testing.assert_close(shares.sum(0), torch.ones(8, 8, dtype=torch.float64))
        own = shares[torch.arange(len(members)), members[:, 0], members[:, 1]]
        assert (own > 1 - 1e-12).all()
