"""Files of latents that are not what they should be: told with the file, before a unit fails by it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from theodolite.data.latents import find_latents, read_ends
from theodolite.errors import InputError
from theodolite.maps.adapters import subject_of
from theodolite.maps.latent_map import LatentMap

SUBJECT = subject_of(LatentMap(lambda z: z.flatten(1), (2, None), name="flat"))


def stored(path, *shape):
    save_file({"latents": torch.randn(shape, generator=torch.Generator().manual_seed(0))}, path)
    return str(path)


def test_latents_of_a_file_are_taken_in_their_order(tmp_path):
    latents = find_latents(stored(tmp_path / "z.safetensors", 3, 2, 5), limit=2)
    assert latents.samples == ("z-0", "z-1")
    assert latents.latent("z-1", SUBJECT).shape == (1, 2, 5)


def test_a_file_of_other_points_is_named_with_the_shape_that_it_should_have(tmp_path):
    path = stored(tmp_path / "z.safetensors", 4, 3, 5)
    message = r"latents \(n, 2, any\) expected in .*z\.safetensors, the points of flat, got \(4, 3, 5\)"
    with pytest.raises(InputError, match=message):
        find_latents(path).latent("z-0", SUBJECT)
    with pytest.raises(InputError, match=r"latents \(2, any\) expected in .*z\.safetensors.* got \(4, 3, 5\)"):
        read_ends([path, "seed:1"], SUBJECT)


def test_values_that_are_not_finite_are_the_files_and_no_encoders(tmp_path):
    values = torch.ones(4, 2, 5)
    values[2, 0, 0] = torch.nan
    save_file({"latents": values}, tmp_path / "z.safetensors")
    with pytest.raises(InputError, match=r"finite latents expected in .*, got NaN or infinity in 1 of 4"):
        find_latents(str(tmp_path / "z.safetensors"))
