"""Opening a model takes at most three passes' memory at its own size, weights beside, counted in bytes of tensors."""

from __future__ import annotations

import pytest
import torch
from kinds import saved_flux
from live_bytes import LiveBytes
from torch import nn

from theodolite.data.models import opened_denoiser
from theodolite.maps import denoiser_map
from theodolite.maps.diffusers import from_diffusers
from theodolite.maps.generators import plain_generator_map
from theodolite.maps.loading import _from_factory
from theodolite.maps.outputs import mean_of, read_images

CPU = torch.device("cpu")


def peak(call):
    with LiveBytes() as meter, torch.no_grad():
        call()
    return meter.peak


def of_a_pass(model, channels, side):
    """Bytes of one pass through both parts, and of the weights."""
    made = peak(lambda: read_images(model.decode(mean_of(model.encode(torch.rand(1, channels, side, side))))))
    return made + bytes_of(model)


def bytes_of(model):
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def models(situations):
    class AtLeast28(situations.Attending):
        """Takes one size only, and fails below it, so that sizes above are tried."""

        def encode(self, images):
            if images.shape[-1] < 28:
                raise ValueError("too small")
            return super().encode(images)

    class AtLeast32(situations.Autoencoding):
        """Takes any size from 32 pixels on."""

        def encode(self, images):
            if images.shape[-1] < 32:
                raise ValueError("too small")
            return super().encode(images)

    return {
        "attention": (situations.attending_28, 1, 28),
        "attention, half fails": (lambda: AtLeast28(28), 1, 28),
        "attention, large": (lambda: situations.Attending(64), 1, 64),
        "convolutions": (situations.plain, 3, 64),
        "convolutions, half fails": (AtLeast32, 3, 32),
        "tokens": (situations.tokens, 3, 32),
    }


@pytest.mark.parametrize(
    "name",
    ["attention", "attention, half fails", "attention, large", "convolutions", "convolutions, half fails", "tokens"],
)
def test_an_autoencoder(situations, name):
    make, channels, side = models(situations)[name]
    model = make().eval()
    opened = peak(lambda: _from_factory(model, name, CPU, None, (side, side)))
    assert opened <= 3 * of_a_pass(model, channels, side)


def test_an_autoencoder_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    model = diffusers.AutoencoderKL(block_out_channels=(8, 16), norm_num_groups=4, **blocks).eval()
    assert peak(lambda: from_diffusers(model, size=(32, 32))) <= 3 * of_a_pass(model, 3, 32)


def test_a_network_of_tokens_beside_its_autoencoder(tmp_path):
    """Opened from a folder as Flux saves it; its weights and those of the autoencoder are there beside a pass."""
    pytest.importorskip("diffusers")
    folder, opened = saved_flux(tmp_path / "flux"), []
    most = peak(lambda: opened.append(opened_denoiser(str(folder / "transformer"), "sample", device="cpu")))
    (model,) = opened
    text = {"encoder_hidden_states": torch.zeros(1, 3, 6), "pooled_projections": torch.zeros(1, 5)}
    tokens = torch.zeros(1, 64, 4)
    a_pass = peak(lambda: denoiser_map(model, 1.0, condition=text)(tokens))
    assert most <= 3 * (a_pass + bytes_of(model.net))


def test_a_generator():
    model = nn.Sequential(nn.Linear(4, 512), nn.Tanh(), nn.Linear(512, 8)).eval()
    assert peak(lambda: plain_generator_map(model, "net")) <= 3 * peak(lambda: model(torch.zeros(1, 4)))


def test_bytes_are_counted_while_they_live():
    with LiveBytes() as meter:
        kept = torch.zeros(100)
        view = kept.view(10, 10)
        (kept + 1).sum()
        del kept, view
        torch.zeros(150)
    assert 800 <= meter.peak < 900
