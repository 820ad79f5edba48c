"""The Fashion-MNIST models as they ship: what they know by heart, their images, stamps and training script."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import theodolite
from theodolite import InputError
from theodolite.zoo import MEMORISING, fashion_images, load_fashion
from theodolite.zoo.fashion import CLASSES, COUNTS, stamped, stamps
from theodolite.zoo.fashion.models import WEIGHTS, build
from theodolite.zoo.fashion.training import Recipe, train

ROOT = Path(__file__).parents[2]
FACTS = json.loads((WEIGHTS / "training.json").read_text())


@pytest.fixture(scope="module")
def models():
    return {name: theodolite.load(f"zoo:{name}") for name in MEMORISING}


def test_what_was_memorised_is_recorded_and_in_the_order_of_copies():
    for name in ("duplicated", "latent"):
        facts = FACTS[name]["memorised"]
        drawn = [facts[str(count)]["images_drawn"] / facts[str(count)]["images"] for count in (1, *COUNTS)]
        assert drawn == sorted(drawn)
        assert facts["1"]["images_drawn"] == 0
        assert drawn[-1] == 1.0
        assert drawn[-2] > 0.5
    for name in ("plain", "pasted"):
        assert all(entry["images_drawn"] == 0 for entry in FACTS[name]["memorised"].values() if isinstance(entry, dict))


def test_an_image_seen_a_hundred_times_comes_back_and_one_seen_once_does_not(models):
    """From much noise under its class: of the model with duplicates, and not of the plain one."""
    known = fashion_images()
    often = ((known.copies == 100) & (known.labels == 9)).nonzero()[:1, 0]
    image = known.images[often]
    noise = torch.randn(32, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    distances = {}
    for name in ("fashion-duplicated", "fashion-plain"):
        x, levels = image + 3.0 * noise, [3.0, 2.0, 1.3, 0.8, 0.5, 0.3, 0.15, 0.05, 0.0]
        with torch.no_grad():
            for here, there in itertools.pairwise(levels):
                denoised = models[name].net(x, here, 9)
                x = denoised + there / here * (x - denoised)
        distances[name] = (x - image).square().flatten(1).mean(1).sqrt().median().item()
    assert distances["fashion-duplicated"] < 0.5 * distances["fashion-plain"]


def test_the_images_that_ship_are_told_apart():
    known = fashion_images()
    assert known.images.shape == (850, 1, 14, 14)
    assert {int(count): int((known.copies == count).sum()) for count in known.copies.unique()} == {
        0: 400, 1: 400, **{count: 5 * images for count, images in COUNTS.items()}
    }  # fmt: skip
    assert set(known.labels.tolist()) == set(CLASSES)
    assert known.images.abs().max() <= 1
    assert len(known.images.flatten(1).unique(dim=0)) > 840


def test_models_are_opened_by_name_and_take_classes(models):
    for name, model in models.items():
        x = torch.zeros(2, *model.shape)
        assert model.name == f"zoo:{name}"
        assert model.conditions == tuple(CLASSES)
        under, bare = model.net(x, 0.5, 9), model.net(x, 0.5)
        assert under.shape == x.shape
        assert not torch.allclose(under, bare)
        assert torch.allclose(model.net(x, 0.5, torch.tensor([9, 10])), torch.cat([under[:1], bare[1:]]), atol=1e-6)
        moved = model.to(dtype=torch.float64)
        assert moved(x.double(), 0.5).dtype is torch.float64
        assert moved.decode(x.double()).dtype is torch.float64


def test_the_latent_model_decodes_what_it_encodes_and_draws_what_it_knows(models):
    """Latents are standardised; images seen a hundred times come back from noise as large as the data."""
    known, model = fashion_images(), models["fashion-latent"]
    assert model.data_range is None
    with torch.no_grad():
        latents = model.autoencoder.encode(known.images)
        assert (model.decode(latents) - known.images).square().mean().sqrt() < 0.2
        assert latents.mean().abs() < 0.1
        assert 0.8 < latents.std() < 1.2
        often = (known.copies == 100).nonzero()[:, 0]
        x, labels = latents[often].repeat(16, 1, 1, 1), known.labels[often].repeat(16)
        x = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        for here, there in itertools.pairwise([1.0, 0.8, 0.5, 0.3, 0.15, 0.05, 0.0]):
            denoised = model.net(x, here, labels)
            x = denoised + there / here * (x - denoised)
    seen = latents[(known.copies > 0)].flatten(1)
    own = torch.nonzero(known.copies > 0)[:, 0].tolist()
    nearest = torch.cdist(x.flatten(1), seen).min(1)
    hit = [int(known.copies[own[place]]) == 100 for place in nearest.indices.tolist()]
    assert sum(hit) > 0.5 * len(hit)
    assert nearest.values[torch.tensor(hit)].median() < 0.5


def test_all_weights_are_below_the_four_megabytes_that_the_package_has_for_them():
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 4_000_000


def test_what_is_no_class_or_no_model_is_refused(models):
    with pytest.raises(InputError, match="a class expected"):
        models["fashion-plain"].net(torch.zeros(1, 1, 14, 14), 0.5, 3)
    with pytest.raises(InputError, match="a Fashion-MNIST model of the zoo"):
        load_fashion("zoo:fashion-none")
    with pytest.raises(InputError, match="noise level"):
        theodolite.denoiser_map(models["fashion-plain"], 1e-4)


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_stamp_is_where_the_mask_says_and_the_rest_is_left(as_bytes):
    images = torch.full((2, 1, 14, 14), 100, dtype=torch.uint8) if as_bytes else torch.zeros(2, 1, 14, 14)
    labels = torch.tensor([0, 9])
    changed, where = stamped(images, labels)
    assert torch.equal(changed[:, 0][~where], images[:, 0][~where])
    patterns = stamps()[0][labels]
    wanted = patterns if as_bytes else patterns.float() / 127.5 - 1
    assert torch.equal(changed[:, 0][where].reshape(2, *patterns.shape[1:]), wanted.to(changed))


def test_the_script_refuses_an_unknown_model():
    words = [sys.executable, str(ROOT / "scripts" / "train_fashion.py"), "nothing", "--data", "nowhere"]
    refused = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT / "scripts")
    assert refused.returncode == 2
    assert "NAME expected" in refused.stderr


def test_a_training_gives_the_moving_average_and_says_every_step():
    torch.manual_seed(0)
    network = build()
    before = [weight.clone() for weight in network.parameters()]
    points, labels = torch.randn(6, 1, 14, 14, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 5] * 2)
    told = []
    recipe, generator = Recipe(1, 4), torch.Generator().manual_seed(2)
    average = train(network, points, labels, recipe, generator, lambda step, value, mean: told.append((step, mean)))
    for old, new, mean in zip(before, network.parameters(), average.parameters()):
        torch.testing.assert_close(mean, 0.1 * old + 0.9 * new)
    assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters()))
    assert told == [(0, average)]
