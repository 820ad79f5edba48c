"""Coloured digits: the data, the combinations held out, the models as they ship, and their training script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import theodolite
from theodolite import InputError, denoiser_map, jacobian, sampler_map
from theodolite.descriptors import REGISTRY
from theodolite.zoo import (
    DIFFUSIONS,
    ConditionalDiffusion,
    coloured_digits,
    conditional_diffusion,
    digit_classifier,
    memorised_set,
    pixel_diffusion,
)
from theodolite.zoo.coloured import COLOURS, CONDITIONS, CONFOUNDED, HELD_OUT, labels_of
from theodolite.zoo.coloured.models import WEIGHTS, build

ROOT = Path(__file__).parents[2]
FACTS = json.loads((WEIGHTS / "training.json").read_text())


@pytest.fixture(scope="module")
def models():
    return {name: theodolite.load(f"zoo:{name}") for name in DIFFUSIONS}


def noise(model, n, seed=0):
    return torch.randn(n, *model.shape, generator=torch.Generator().manual_seed(seed))


def test_every_combination_is_seen_or_held_out():
    pairs = {(digit, colour) for digit in range(10) for colour in COLOURS}
    assert set(CONDITIONS) | set(HELD_OUT) == pairs
    assert not set(CONDITIONS) & set(HELD_OUT)
    assert (len(CONDITIONS), len(HELD_OUT)) == (32, 8)
    for digit in range(10):
        assert sum(pair[0] == digit for pair in CONDITIONS) >= 3
    for colour in COLOURS:
        assert sum(pair[1] == colour for pair in CONDITIONS) == 8


def test_the_confounded_model_saw_each_digit_in_one_or_two_colours():
    assert set(CONFOUNDED) < set(CONDITIONS)
    counts = [sum(pair[0] == digit for pair in CONFOUNDED) for digit in range(10)]
    assert counts == [1, 2] * 5


def test_models_name_what_they_never_saw(models):
    assert models["coloured-latent"].held_out == HELD_OUT
    confounded = models["coloured-confounded"].to(dtype=torch.float64)
    assert confounded.conditions == CONFOUNDED
    assert len(confounded.held_out) == 25
    assert not set(confounded.held_out) & set(CONFOUNDED)


def test_the_confounded_model_fails_where_the_other_composes(models):
    right = {}
    for name in ("coloured-latent", "coloured-confounded"):
        model = models[name]
        asked = models["coloured-confounded"].held_out[::2]
        seen = [model.recognised(model.sampler(one, 2.0, 6)(noise(model, 8, i)), one) for i, one in enumerate(asked)]
        right[name] = float(torch.cat(seen).double().mean())
    assert right["coloured-latent"] > 0.9
    assert 0.2 < right["coloured-confounded"] < 0.8


def test_a_mix_has_the_mean_of_the_embeddings(models):
    model = models["coloured-pixels"].to(dtype=torch.float64)
    x, pair = noise(model, 3).double(), ((3, "red"), (8, "red"))
    network = model.denoiser
    told = [network._condition(one, 3) for one in (*pair, pair)]
    torch.testing.assert_close(told[2], (told[0] + told[1]) / 2)
    torch.testing.assert_close(network(x, 0.5, (pair[0], pair[0])), network(x, 0.5, pair[0]))
    images = coloured_digits((8, "red"), 3, side=16, generator=0)[0].double()
    assert model.recognised(images, pair).all()
    assert not model.recognised(images, pair[0]).any()


def test_images_are_what_their_labels_say():
    labels = labels_of([*CONDITIONS, *HELD_OUT] * 5)
    for side, held_out in ((32, True), (16, False)):
        images, same = coloured_digits(labels, side=side, held_out=held_out, generator=1)
        assert torch.equal(labels, same)
        assert images.shape == (200, 3, side, side)
        assert -1 <= images.min() < images.max() <= 1.001
        digit, colour = digit_classifier()(images)
        assert (digit.argmax(1) == labels[:, 0]).float().mean() > 0.95
        assert (colour.argmax(1) == labels[:, 1]).float().mean() > 0.99
    assert torch.equal(images, coloured_digits(labels, side=16, generator=1)[0])
    assert not torch.equal(images, coloured_digits(labels, side=16, generator=2)[0])


def test_the_weights_fit_and_are_documented():
    files = {file.stem: file.stat().st_size for file in WEIGHTS.glob("*.safetensors")}
    assert sum(files.values()) < 4 * 2**20
    assert sorted(files) == sorted([*FACTS, "handwriting"])
    for name, facts in FACTS.items():
        assert facts["steps"] > 500
        assert facts["parameters"] == sum(weight.numel() for weight in build(name).parameters())
        assert all(value.dtype is torch.float16 for value in load_file(WEIGHTS / f"{name}.safetensors").values())


def test_models_load_by_name_and_convert(models):
    for name, model in models.items():
        assert isinstance(model, ConditionalDiffusion)
        assert model.name == f"zoo:{name}"
        twin = theodolite.load(f"zoo:{name}", dtype="float64")
        z = noise(model, 2)
        assert twin.decode(twin.sampler((3, "red"), steps=model.sampler_steps or 2)(z.double())).dtype is torch.float64
        assert (
            model.sampler((3, "red")).fingerprint() == theodolite.load(f"zoo:{name}").sampler((3, "red")).fingerprint()
        )
        assert model.sampler((3, "red")).fingerprint() != model.sampler((3, "blue")).fingerprint()
    assert conditional_diffusion().shape == (4, 8, 8)
    assert pixel_diffusion().shape == (3, 16, 16)
    with pytest.raises(InputError, match="zoo:coloured-latent"):
        theodolite.zoo.load_diffusion("cats")


def test_denoisers_denoise_held_out_handwriting(models):
    """The error at a tenth to twice the deviation of the data is far below that of the best affine estimate."""
    for model in models.values():
        if model.sampler_steps:  # a student answers with where its step shall end
            continue
        images, labels = coloured_digits(
            list(model.conditions) * 4, side=32 if model.autoencoder else 16, held_out=True, generator=3
        )
        x = model.autoencoder.encode(images) if model.autoencoder else images
        variance = x.var(0).mean()
        for ratio in (0.3, 1.0):
            sigma = ratio * float(variance) ** 0.5
            noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
            error = (model.denoiser(noisy, sigma, labels) - x).square().mean()
            affine = variance * sigma**2 / (variance + sigma**2)
            assert error < 0.6 * affine, (model.name, ratio)


def test_samples_are_the_digits_that_were_asked_for(models):
    for model in models.values():
        asked = list(model.conditions)[::3]
        images = torch.cat(
            [
                model.decode(
                    model.sampler(one, 1.0 if model.sampler_steps else 2.0, model.sampler_steps or 20)(
                        noise(model, 6, i)
                    )
                )
                for i, one in enumerate(asked)
            ]
        )
        labels = labels_of(asked).repeat_interleave(6, 0)
        digit, colour = model.classifier(images)
        assert (digit.argmax(1) == labels[:, 0]).float().mean() > 0.8, model.name
        assert (colour.argmax(1) == labels[:, 1]).float().mean() > 0.9, model.name


def test_the_student_makes_its_teachers_samples_in_four_steps_without_guidance(models):
    """Nearer than the teacher's own four guided steps, which cost twice as much; one sample of others is at 1."""
    teacher, student = models["coloured-latent"], models["coloured-distilled"]
    z, labels = noise(teacher, 16, 3), teacher.labels(32)[::2]
    with torch.no_grad():
        theirs = sampler_map(teacher, 12, "heun", condition=labels, guidance=2.0)(z)
        coarse = sampler_map(teacher, 4, "ddim", condition=labels, guidance=2.0)(z)
        own = sampler_map(student, 4, "ddim", condition=labels)(z)
    apart = {name: float((x - theirs).norm() / (theirs - theirs.roll(1, 0)).norm()) for name, x in
             (("own", own), ("coarse", coarse))}  # fmt: skip
    assert apart["own"] < 0.15 < apart["coarse"], apart
    assert float(student.recognised(own[:1], student.conditions[0]).double().mean()) == 1.0


def test_a_student_knows_the_steps_that_it_was_distilled_for_alone(models):
    student = models["coloured-distilled"]
    with pytest.raises(InputError, match="4 steps expected, the number that this student was distilled for, got 6"):
        student.sampler((3, "red"), steps=6)
    with pytest.raises(InputError, match=r"between 0\.7 and 20"):
        denoiser_map(student, 0.1)
    assert (WEIGHTS / "distilled.safetensors").stat().st_size < 1e6


def test_the_memorised_set_repeats_eight_images():
    images, labels, copies = memorised_set()
    assert images.shape == (2000, 3, 16, 16)
    assert (copies > 1).nonzero()[:, 0].tolist() == FACTS["memorised"]["duplicated"]
    assert copies.sum() == 1992 + 8 * 100
    assert not {(int(d), [*COLOURS][int(c)]) for d, c in labels} & set(HELD_OUT)


def test_the_memorising_model_knows_its_duplicates(models):
    """At moderate noise its error on them is below that on images it saw once; the other model has no such gap."""
    images, labels, copies = memorised_set()
    once = (copies == 1).nonzero()[:200, 0]
    sigma, errors = 1.0, {}
    for name in ("coloured-memorised", "coloured-pixels"):
        for kind, rows in (("many", (copies > 1).nonzero()[:, 0].repeat(25)), ("once", once)):
            x = images[rows]
            noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
            errors[name, kind] = float((models[name].denoiser(noisy, sigma, labels[rows]) - x).square().mean())
    gap = {name: errors[name, "many"] / errors[name, "once"] for name in ("coloured-memorised", "coloured-pixels")}
    assert gap["coloured-memorised"] < 0.75 * gap["coloured-pixels"], errors


def test_maps_of_the_models_are_differentiated_exactly():
    model = theodolite.load("zoo:coloured-latent", dtype="float64")
    z, h = noise(model, 1).double(), 1e-5
    for map in (
        model.sampler((3, "red"), 2.0, 2, "heun", decode=True),
        denoiser_map(model, 0.5, "eps", condition=(4, "red")),
        sampler_map(model, [2.0, 0.5], condition=(4, "red")),
    ):
        J, V = jacobian(map, z), noise(model, 2, 1)[:, None].double()
        slope = (J.at_offsets(h * V) - J.at_offsets(-h * V)) / (2 * h)
        assert float((J.matvec(V) - slope).norm() / slope.norm()) < 1e-6


def test_every_descriptor_works(models):
    model = models["coloured-latent"]
    map, z = model.sampler((3, "red"), steps=2), noise(model, 1)
    chart = theodolite.descriptors.Chart(map, z, generator=0)
    for name, descriptor in REGISTRY.items():
        assert torch.isfinite(descriptor.function(map, z, generator=0, chart=chart).value).all(), name


def test_bad_conditions_are_one_clear_error(models):
    for condition in ((3, "pink"), (11, "red"), (-1, 0)):
        with pytest.raises(InputError, match="digit 0 to 9"):
            models["coloured-pixels"].sampler(condition)(noise(models["coloured-pixels"], 1))
    for condition in (1, "red", [(3, "red", 2)]):
        with pytest.raises(InputError, match=r"e\.g\. 3-red"):
            labels_of(condition)
    with pytest.raises(InputError, match=r"^conditions of this model are a digit and a colour, e\.g\. 3-red, got 1$"):
        sampler_map(models["coloured-pixels"], 2, condition=1)(noise(models["coloured-pixels"], 1))
    with pytest.raises(InputError, match="16 or 32"):
        coloured_digits((1, "red"), 3, side=28)


@pytest.mark.slow
def test_the_training_script_writes_every_model_as_it_ships(tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is in the `zoo` extra")
    pytest.importorskip("skimage", reason="scikit-image is in the `zoo` extra")
    command = [sys.executable, ROOT / "scripts" / "train_coloured.py", "--smoke", "--out", tmp_path]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    facts = json.loads((tmp_path / "training.json").read_text())
    assert sorted(facts) == sorted(FACTS)
    assert facts["memorised"]["duplicated"] == FACTS["memorised"]["duplicated"]
    for file in WEIGHTS.glob("*.safetensors"):
        made, shipped = load_file(tmp_path / file.name), load_file(file)
        assert {key: (value.shape, value.dtype) for key, value in made.items()} == {
            key: (value.shape, value.dtype) for key, value in shipped.items()
        }
    handwriting = WEIGHTS / "handwriting.safetensors"
    assert (tmp_path / handwriting.name).read_bytes() == handwriting.read_bytes()
