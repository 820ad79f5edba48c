"""Arc over chord of interpolations."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite import InputError
from theodolite.descriptors.paths import slerp, tortuosity, tortuosity_by_twos
from theodolite.maps import LatentMap

PLANE = (torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.tensor([[0.0, 2.0]], dtype=torch.float64))


def test_a_quarter_circle_has_the_tortuosity_of_an_arc() -> None:
    found = tortuosity(LatentMap(lambda z: z, (2,)), *PLANE, segments=400)
    assert math.isclose(float(found.value), (math.pi / 2) / math.sqrt(2), rel_tol=1e-5)
    assert math.isclose(float(found["jump"].value), 1.0, rel_tol=1e-9)
    assert found.passes == 401


def test_a_straight_image_has_one_and_a_jump_shows() -> None:
    angle = LatentMap(lambda z: torch.atan2(z[:, 1:], z[:, :1]), (2,))
    assert math.isclose(float(tortuosity(angle, *PLANE).value), 1.0, rel_tol=1e-9)
    step = LatentMap(lambda z: torch.atan2(z[:, 1:], z[:, :1]) + (z[:, :1] < z[:, 1:]), (2,))
    assert float(tortuosity(step, *PLANE, segments=15)["jump"].value) > 5


def test_no_chord_is_undefined() -> None:
    found = tortuosity(LatentMap(lambda z: z[:, :1] * z[:, 1:], (2,)), *PLANE)
    assert found.status == "undefined"
    assert torch.isnan(found.value).all()


def test_norms_go_along_and_parallel_ends_are_joined_straight() -> None:
    path = slerp(PLANE[0], 2 * PLANE[1], 4)
    torch.testing.assert_close(path.norm(dim=-1)[:, 0], torch.linspace(2, 4, 5, dtype=torch.float64))
    torch.testing.assert_close(slerp(PLANE[0], 2 * PLANE[0], 2)[1], 1.5 * PLANE[0])
    with pytest.raises(InputError, match="segments"):
        slerp(*PLANE, 0)


def test_every_two_latents_are_the_ends_of_one_path() -> None:
    square = LatentMap(lambda z: z.square(), (2,))
    latents = torch.cat([*PLANE, 2 * PLANE[0], PLANE[1], PLANE[0]])
    by_twos = tortuosity_by_twos(square, latents)
    for place in (0, 2):
        alone = tortuosity(square, latents[place : place + 1], latents[place + 1 : place + 2])
        assert by_twos["tortuosity"].value[place] == alone.value
        assert by_twos["jump"].value[place] == alone["jump"].value
    assert by_twos["tortuosity"].statuses == ("ok", "undefined", "ok", "undefined", "undefined")


def test_rounding_of_images_far_from_the_origin_is_in_the_errors() -> None:
    ends = torch.randn(2, 40, 2, generator=torch.Generator().manual_seed(0))
    far = LatentMap(lambda z: z.square() + 1e4, (2,))
    single, double = (tortuosity(far, *ends.to(dtype)) for dtype in (torch.float32, torch.float64))
    for name, estimate in single.named("tortuosity").items():
        change = (estimate.value - double.named("tortuosity")[name].value).abs()
        assert change.max() > 1e-4
        assert (change <= 1.96 * estimate.stderr).all()
