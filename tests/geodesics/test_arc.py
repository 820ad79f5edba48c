"""Arcs between latents: on the circle, their ends, norms that go from one to the other, and what has no arc."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.errors import InputError
from theodolite.geodesics.arc import slerp

D = torch.float64


def test_a_right_angle_is_cut_in_equal_parts_and_norms_grow_along_it():
    """From (1, 0) to (0, 3): after a share `s` the angle is `s` right angles and the norm `1 + 2 s`."""
    s = torch.tensor([0.0, 1 / 3, 0.75, 1.0], dtype=D)
    arc = slerp(torch.tensor([1.0, 0.0], dtype=D), torch.tensor([0.0, 3.0], dtype=D), s)
    torch.testing.assert_close(torch.atan2(arc[:, 1], arc[:, 0]), s * math.pi / 2)
    torch.testing.assert_close(arc.norm(dim=1), 1 + 2 * s)


def test_latents_of_one_direction_are_joined_by_their_chord_and_keep_their_shape_and_dtype():
    first = torch.ones(2, 3, 4)
    arc = slerp(first, 3 * first, torch.tensor([0.0, 0.5, 1.0]))
    assert arc.dtype == torch.float32
    torch.testing.assert_close(arc, torch.stack([first, 2 * first, 3 * first]))


@pytest.mark.parametrize(("second", "message"), [([0.0, 0.0], "zero"), ([-2.0, 0.0], "opposite")])
def test_no_arc_is_refused(second, message):
    with pytest.raises(InputError, match=message):
        slerp(torch.tensor([1.0, 0.0]), torch.tensor(second), torch.tensor([0.5]))
