"""Overlays: marked cells are where they should be, in their colours, and nothing else is tinted."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from theodolite.data.overlays import HOT, WASTED, overlay


def rgb(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def test_cells_are_marked_where_they_are() -> None:
    mask, wasted = torch.zeros(2, 4, 8, dtype=torch.bool)
    mask[1, 2] = mask[3, 7] = wasted[3, 7] = True
    drawn = np.asarray(overlay(Image.new("L", (16, 8), 128), mask, wasted, side=80))
    assert drawn.shape == (40, 80, 3)
    cells = drawn.reshape(4, 10, 8, 10, 3)
    assert cells[1, 0, 2, 0].tolist() == rgb(HOT)
    assert cells[3, 9, 7, 9].tolist() == rgb(WASTED)
    assert (cells[0] == 128).all()
    assert (cells[1, :, 3] == 128).all()
    assert (cells[1, 5, 2, 5] != 128).any()


def test_cells_of_single_pixels_are_tinted_only() -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[10, 20] = True
    drawn = np.asarray(overlay(Image.new("RGB", (64, 64), "black"), mask, mask & False, side=64))
    assert drawn[10, 20].tolist() == [round(channel / 2) for channel in rgb(HOT)]
    assert drawn.sum() == drawn[10, 20].sum()
