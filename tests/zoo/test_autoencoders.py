"""The trained models that ship: they load, they reconstruct, and their regularisation shows."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from theodolite.errors import InputError
from theodolite.maps.autoencoders import Autoencoder
from theodolite.zoo import AUTOENCODERS, bundled_images, load_autoencoder
from theodolite.zoo.autoencoders import WEIGHTS

FLOORS = {"patches-plain": 24.0, "patches-kl": 23.5, "patches-smooth": 23.0}  # PSNR in dB
PATCHES = tuple(FLOORS)
FACTS = json.loads((WEIGHTS / "training.json").read_text())
SLACK = 0.05  # dB, for another version of torch


@pytest.fixture(scope="module")
def models() -> dict[str, Autoencoder]:
    return {name: load_autoencoder(name) for name in AUTOENCODERS}


def read(kind: str) -> Tensor:
    pixels = [np.array(Image.open(file)) for file in sorted(bundled_images(kind).glob("*.png"))]
    images = torch.from_numpy(np.stack(pixels)).float() / 127.5 - 1
    return images.permute(0, 3, 1, 2) if images.ndim == 4 else images[:, None]


def psnr(model: Autoencoder, images: Tensor) -> float:
    with torch.no_grad():
        error = (model.decode(model.encode(images)) - images).square().mean()
    return float(10 * torch.log10(4 / error))


def test_weights_of_the_whole_zoo_stay_under_two_megabytes():
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 2e6
    assert {file.suffix for file in WEIGHTS.iterdir()} == {".safetensors", ".json"}


def test_every_name_has_weights_a_training_record_and_a_line_about_it():
    assert sorted(AUTOENCODERS) == sorted(file.stem for file in WEIGHTS.glob("*.safetensors")) == sorted(FACTS)
    assert all(line and "\n" not in line for line in AUTOENCODERS.values())


def test_models_load_in_float32_and_eval_mode(models: dict[str, Autoencoder]):
    for name, model in models.items():
        assert model.name == f"zoo:{name}"
        assert model.dtype == torch.float32
        assert not any(module.training for module in model.decoder.modules)
        assert model.describe()["parameters"] == FACTS[name]["parameters"]


def test_fingerprints_differ_between_models_and_agree_between_loads(models: dict[str, Autoencoder]):
    assert len({model.fingerprint() for model in models.values()}) == len(models)
    assert load_autoencoder("zoo:patches-kl").fingerprint() == models["patches-kl"].fingerprint()


def test_patch_models_share_their_latent_shape(models: dict[str, Autoencoder]):
    images = torch.zeros(2, 3, 32, 64)
    for name in PATCHES:
        assert models[name].latent_shape == (4, None, None)
        assert models[name].encode(images).shape == (2, 4, 8, 16)


@pytest.mark.parametrize("name", PATCHES)
def test_patch_models_reconstruct_the_bundled_photographs_as_recorded(name: str, models: dict[str, Autoencoder]):
    recorded = FACTS[name]["validation_psnr_db"]
    whole = read("photos")
    quarters = whole.unfold(2, 32, 32).unfold(3, 32, 32).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32)
    assert psnr(models[name], whole) == pytest.approx(recorded["64x64"], abs=SLACK)
    assert psnr(models[name], quarters) == pytest.approx(recorded["32x32"], abs=SLACK)
    assert min(recorded.values()) > FLOORS[name]


def test_digits_model_reconstructs_the_bundled_digits(models: dict[str, Autoencoder]):
    recorded = FACTS["digits"]["validation_psnr_db"]["8x8"]
    assert recorded > 19
    assert psnr(models["digits"], read("digits")) > recorded - 1  # 40 of the 360 held-out digits


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_normalised_latents_have_about_unit_scale(name: str, models: dict[str, Autoencoder]):
    latents = models[name].encode(read("digits" if name == "digits" else "photos"))
    channels = latents.transpose(0, 1).flatten(1)
    assert latents.square().mean().sqrt().item() == pytest.approx(1, abs=0.3)
    assert (channels.std(1) > 0.5).all()
    assert (channels.mean(1).abs() < 0.6).all()


def test_only_the_variational_model_has_a_posterior(models: dict[str, Autoencoder]):
    images = read("photos")[:4]
    drawn = models["patches-kl"].encode(images, sample=True, generator=torch.Generator().manual_seed(0))
    assert (drawn - models["patches-kl"].encode(images)).std() > 0.05
    for name in ("patches-plain", "patches-smooth"):
        with pytest.raises(InputError):
            models[name].encode(images, sample=True)


@torch.no_grad()
def bend(model: Autoencoder, size: float = 0.2) -> float:
    """Mean square of the second difference over that of the first, for steps of `size` standard deviations."""
    latents = model.encode(read("photos"))
    step = size * torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    forth, here, back = (model.decode(latents + sign * step) for sign in (1, 0, -1))
    return float((forth - 2 * here + back).square().mean() / ((forth - back) / 2).square().mean())


def test_regularisation_shows_in_the_decoder(models: dict[str, Autoencoder]):
    assert bend(models["patches-smooth"]) < 0.7 * bend(models["patches-plain"])


@pytest.mark.parametrize("name", ["digits", "zoo:digits"])
def test_digits_model_takes_one_size(name: str):
    model = load_autoencoder(name)
    assert model.encode(torch.zeros(1, 1, 8, 8)).shape == (1, 8)
    with pytest.raises(InputError, match="8x8"):
        model.encode(torch.zeros(1, 1, 16, 16))


def test_unknown_model_is_refused_with_every_name():
    with pytest.raises(InputError, match=r"zoo:digits.*zoo:patches-plain.*'cats'"):
        load_autoencoder("cats")


def test_decoders_run_in_double_precision(models: dict[str, Autoencoder]):
    decoder = models["patches-plain"].decoder.to(dtype=torch.float64)
    assert decoder(torch.zeros(1, 4, 4, 4, dtype=torch.float64)).dtype == torch.float64


def test_importing_the_zoo_and_listing_its_names_needs_no_torch():
    code = (
        "import sys; from theodolite.zoo import AUTOENCODERS, bundled_images; bundled_images(); "
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_git_does_not_ignore_what_ships_so_that_the_wheel_has_it():
    shipped = [*WEIGHTS.iterdir(), *bundled_images("photos").iterdir(), *bundled_images("digits").iterdir()]
    try:
        found = subprocess.run(["git", "-C", WEIGHTS, "check-ignore", *shipped], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if found.returncode == 128:
        pytest.skip("this is not a git checkout")
    assert found.stdout == b""
