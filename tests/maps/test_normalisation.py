"""Normalisation: each convention against the formula of the diffusers pipelines that use it, and back."""

from __future__ import annotations

import json

import pytest
import torch

from theodolite.errors import InputError
from theodolite.maps import Normalisation

RAW = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MEAN, STD = (0.5, -1.0, 0.25, 2.0), (1.5, 0.5, 2.0, 3.0)
mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 4, 1, 1) for values in (MEAN, STD))


def patchified(latents):
    """`Flux2Pipeline._patchify_latents`."""
    n, channels, height, width = latents.shape
    folded = latents.view(n, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return folded.reshape(n, channels * 4, height // 2, width // 2)


CONVENTIONS = {
    # pipelines/stable_diffusion: latents = vae.config.scaling_factor * latents
    "scaling_factor": (Normalisation(scaling_factor=0.18215), 0.18215 * RAW),
    # pipelines/stable_diffusion_3, flux: (latents - shift_factor) * scaling_factor
    "shift_factor + scaling_factor": (
        Normalisation(scaling_factor=1.5305, shift_factor=0.0609),
        (RAW - 0.0609) * 1.5305,
    ),
    # pipelines/stable_diffusion_xl (img2img), ltx, mochi: (latents - mean) * scaling_factor / std
    "latents_mean + latents_std + scaling_factor": (
        Normalisation(scaling_factor=0.5, latents_mean=MEAN, latents_std=STD),
        (RAW - mean) * 0.5 / std,
    ),
    # pipelines/wan, qwenimage: latents_std = 1 / std; (latents - mean) * latents_std
    "latents_mean + latents_std": (Normalisation(latents_mean=MEAN, latents_std=STD), (RAW - mean) * (1.0 / std)),
    # pipelines/flux2: (patchify(latents) - bn_mean) / bn_std
    "latents_mean + latents_std + 2x2 patches": (
        Normalisation(latents_mean=MEAN * 4, latents_std=STD * 4, patch=2),
        (patchified(RAW) - mean.repeat(1, 4, 1, 1)) / std.repeat(1, 4, 1, 1),
    ),
    "none": (Normalisation(), RAW),
}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_applies_the_formula_of_the_pipelines(convention):
    normalisation, expected = CONVENTIONS[convention]
    torch.testing.assert_close(normalisation.apply(RAW), expected, rtol=1e-14, atol=1e-14)
    assert normalisation.convention == convention


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_invert_undoes_apply(convention):
    normalisation, _ = CONVENTIONS[convention]
    torch.testing.assert_close(normalisation.invert(normalisation.apply(RAW)), RAW, rtol=1e-13, atol=1e-13)


def test_patches_follow_the_order_of_flux_2():
    assert torch.equal(Normalisation(patch=2).apply(RAW), patchified(RAW))


@pytest.mark.parametrize(
    ("normalisation", "formula"),
    [
        (Normalisation(), "z = raw"),
        (Normalisation(scaling_factor=2.0), "z = raw * scale"),
        (Normalisation(scaling_factor=2.0, shift_factor=1.0), "z = (raw - shift) * scale"),
        (Normalisation(latents_mean=MEAN, latents_std=STD), "z = (raw - mean) / std"),
        (
            Normalisation(latents_mean=MEAN * 4, latents_std=STD * 4, patch=2),
            "z = (pixel_unshuffle(raw, 2) - mean) / std",
        ),
    ],
)
def test_reports_the_formula_without_idle_terms(normalisation, formula):
    described = normalisation.describe()
    assert described["formula"] == formula
    assert json.loads(json.dumps(described)) == described


def test_takes_statistics_as_tensors_of_any_shape_and_vector_latents():
    from_tensors = Normalisation(latents_mean=mean, latents_std=std)
    assert from_tensors == Normalisation(latents_mean=MEAN, latents_std=STD)
    assert torch.allclose(from_tensors.apply(RAW[:, :, 0, 0]), from_tensors.apply(RAW)[:, :, 0, 0])


def test_takes_one_scale_and_one_shift_a_channel():
    scale, shift = [1.0, 2.0, 4.0, 0.5][: RAW.shape[1]], [0.0, 1.0, -1.0, 0.5][: RAW.shape[1]]
    column = [torch.tensor(values, dtype=RAW.dtype).view(1, -1, 1, 1) for values in (scale, shift)]
    by_channel = Normalisation(scaling_factor=scale, shift_factor=torch.tensor(shift))
    torch.testing.assert_close(by_channel.apply(RAW), (RAW - column[1]) * column[0], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(by_channel.invert(by_channel.apply(RAW)), RAW, rtol=1e-13, atol=1e-13)
    assert by_channel.describe()["scaling_factor"] == scale
    assert Normalisation(scaling_factor=[0.2] * 4) == Normalisation(scaling_factor=0.2)
    with pytest.raises(InputError, match=rf"each of {RAW.shape[1]} channels, got {RAW.shape[1] + 1}"):
        Normalisation(scaling_factor=[*range(1, RAW.shape[1] + 2)]).apply(RAW)


def test_follows_the_dtype_of_the_latents():
    assert Normalisation(latents_mean=MEAN, latents_std=STD).apply(RAW.float()).dtype == torch.float32


@pytest.mark.parametrize(
    "terms",
    [
        {"scaling_factor": 0.0},
        {"scaling_factor": float("nan")},
        {"shift_factor": float("inf")},
        {"scaling_factor": (1.0, 0.0)},
        {"scaling_factor": []},
        {"scaling_factor": "much"},
        {"scaling_factor": {"a": 1}},
        {"scaling_factor": (1.0, 2.0), "latents_mean": (0.0, 1.0, 2.0)},
        {"latents_std": (1.0, 0.0)},
        {"latents_std": (1.0, -1.0)},
        {"latents_mean": (float("nan"),)},
        {"latents_mean": (0.0, 1.0), "latents_std": (1.0,)},
    ],
)
def test_refuses_statistics_that_cannot_be_inverted(terms):
    with pytest.raises(InputError, match="expected"):
        Normalisation(**terms)
