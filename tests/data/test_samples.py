"""Samples of conditional models: those that know what nothing in particular is, and those that do not."""

from __future__ import annotations

import pytest
import torch

from theodolite.data.latents import find_latents
from theodolite.data.samples import Draws
from theodolite.errors import InputError
from theodolite.maps import Denoiser

diffusers = pytest.importorskip("diffusers")

GIVEN = {"model": None, "map": None, "steps": 1, "size": None, "seed": 0}


@pytest.fixture(scope="module")
def model():
    """A UNet of three classes, the last of none, as people train them for guidance."""
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}
    network = diffusers.UNet2DModel(4, 3, 3, layers_per_block=1, norm_num_groups=4, num_class_embeds=3, **blocks)
    return Denoiser(network.eval().requires_grad_(False), schedule=diffusers.DDIMScheduler(), name="classes")


def draws(model, condition, guidance=None, unconditional=None):
    given = {**GIVEN, "model": model, "condition": condition, "guidance": guidance, "unconditional": unconditional}
    return Draws(given, find_latents("seed:0..3"), {})


def test_a_model_that_knows_no_null_condition_is_sampled_under_those_that_are_given(model):
    drawn = draws(model, ["0", "1"])
    assert drawn.without is None
    assert {drawn.draw(f"seed-{seed}").condition for seed in range(4)} == {"0", "1"}
    assert drawn.draw("seed-0").image.shape == (1, 3, 4, 4)


def test_what_guidance_starts_from_is_what_the_model_makes_without_a_condition(model):
    drawn = draws(model, ["0"], guidance=2.0, unconditional="2")
    z = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    alone = draws(model, ["2"])
    torch.testing.assert_close(drawn.without.map(z), alone.under("2").map(z))
    assert float((drawn.under("0").map(z) - draws(model, ["0"]).under("0").map(z)).abs().max()) > 0


def test_what_a_model_does_not_take_is_told_before_anything_is_drawn(model):
    with pytest.raises(InputError, match="a class from 0 to 2 expected by UNet2DModel, got 7"):
        draws(model, ["0", "7"])
    with pytest.raises(InputError, match="`unconditional` expected, which guidance 2 starts from"):
        draws(model, ["0"], guidance=2.0)
    with pytest.raises(InputError, match="needs a condition: give --condition"):
        draws(model, None)
