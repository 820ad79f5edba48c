"""Samples of models whose volume, gain, judge and conditions are known in closed form; their folder and refusals."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image
from torch import nn

import theodolite
from theodolite import Autoencoder, Denoiser, InputError, LatentMap, sample

SIZES = torch.tensor([0.05, 0.1, 0.2, 0.4])
"""Singular values of the linear generator."""
LIGHT = {"descriptors": "local_scaling,local_rank", "limit": 0}


def linear(z):
    """Four numbers to an image of 2x2 pixels."""
    return (z * SIZES.to(z)).reshape(-1, 1, 2, 2)


def levelled(images):
    """A judge of two classes: the first pixel's sign, the surer the further from zero."""
    return torch.stack([-10 * images[:, 0, 0, 0], 10 * images[:, 0, 0, 0]], 1)


class Constant(nn.Module):
    """A denoiser that knows one image a class: all of one grey level, and black without a class."""

    shape = (1, 2, 2)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.training = False

    def levels(self, steps):
        return [float(level) for level in torch.linspace(2, 0, steps + 1)]

    def forward(self, x, sigma, condition):
        return torch.full_like(x, -1.0 if condition is None else condition / 10) + self.weight * x


@pytest.fixture
def generator():
    return LatentMap(linear, (4,), name="linear", output_range=(-1, 1))


@pytest.fixture
def real(tmp_path):
    """Twelve grey images of 2x2 pixels in two folders."""
    for place, level in enumerate(range(60, 180, 10)):
        folder = tmp_path / "real" / ("low" if level < 120 else "high")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = torch.full((2, 2), level, dtype=torch.uint8)
        pixels[0, 0] = 40 + 15 * place
        Image.fromarray(pixels.numpy()).save(folder / f"l{level}.png")
    return tmp_path / "real"


def values(run, quantity, **where):
    return {row["sample"]: row["value"] for row in run.rows(quantity, side="drawn", **where)}


def test_volume_gain_and_baselines_are_those_of_the_map_and_of_the_image(generator, real, tmp_path):
    run = sample(generator, real, tmp_path / "run", judge=levelled, latents="seed:0..11", **LIGHT)
    assert run.units == ["real", *(f"seed-{n}" for n in range(12))]
    z = torch.randn(4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    image = linear(z[None]).clamp(-1, 1)
    where = {"sample": "seed-7"}
    (psi,), (gain,) = (run.rows(name, **where) for name in ("local_scaling_floored", "gain"))
    assert psi["value"] == pytest.approx(float(SIZES.double().log().sum()), abs=1e-5)
    assert gain["value"] == pytest.approx(float(SIZES.norm()), rel=1e-5)
    assert values(run, "noise_norm")["seed-7"] == pytest.approx(float(z.norm()), rel=1e-6)
    assert values(run, "contrast")["seed-7"] == pytest.approx(float(image.var()), rel=1e-5)
    (judged,) = run.rows("judged", **where)
    assert judged["value"] == pytest.approx(float(levelled(image).softmax(-1).max()), rel=1e-5)
    assert judged["mode"] == str(int(levelled(image).argmax()))
    assert run.info["conditions"] == []
    assert "condition_shift" not in run.quantities


def test_bad_is_the_worst_share_or_what_lies_below(generator, real, tmp_path):
    given = {"judge": levelled, "latents": "seed:0..19", **LIGHT}
    run = sample(generator, real, tmp_path / "run", worst=0.25, **given)
    judged = sorted(values(run, "judged").values())
    (limit,) = run.rows("limit")
    assert limit["value"] == judged[4]
    again = sample(generator, real, tmp_path / "run", below=judged[2], **given)
    assert again.units == run.units
    (limit,) = again.rows("limit")
    assert judged[1] < limit["value"] < judged[2]


def test_what_follows_agrees_with_the_functions_it_comes_from(generator, real, tmp_path):
    from theodolite.detection import evaluate

    run = sample(generator, real, tmp_path / "run", judge=levelled, latents="seed:0..39", **LIGHT)
    judged, norms = values(run, "judged"), values(run, "noise_norm")
    (limit,) = run.rows("limit")
    table = evaluate({"n": [*norms.values()]}, [value <= limit["value"] for value in judged.values()])
    (auroc,) = run.rows("auroc", score="noise_norm")
    assert (auroc["value"], auroc["low"]) == pytest.approx((table["n"]["auroc"], table["n"]["auroc_low"]))
    # the map is the same everywhere: what it says of samples is a tie
    for name in ("local_scaling_floored", "gain"):
        assert run.rows("auroc", score=name)[0]["value"] == pytest.approx(0.5, abs=0.15)
        assert run.rows("p_value", score=name)[0]["value"] == 1
    shares = {(row["side"], row["mode"]): row["value"] for row in run.rows("share")}
    seen = [row["mode"] for row in run.rows("judged", side="drawn")]
    assert shares["drawn", "1"] == pytest.approx(seen.count("1") / 40)
    assert sum(value for (side, _), value in shares.items() if side == "real") == pytest.approx(1)


def test_drift_is_the_difference_of_means_in_standard_deviations(generator, real, tmp_path):
    run = sample(generator, real, tmp_path / "run", latents="seed:0..5", **LIGHT)
    levels = torch.tensor([row["value"] for row in run.rows("brightness", side="real")])
    drawn = torch.tensor([*values(run, "brightness").values()])
    (drift,) = run.rows("drift", score="brightness")
    assert drift["value"] == pytest.approx(float((drawn.mean() - levels.mean()) / levels.std(correction=0)), rel=1e-6)
    assert drift["low"] < drift["value"] < drift["high"]


def test_without_a_judge_it_is_the_nearest_real_image_that_judges(generator, real, tmp_path):
    run = sample(generator, real, tmp_path / "run", latents="seed:0..9", embedding="pixels", worst=0.3, **LIGHT)
    assert run.info["judge"]["distance"]
    judged, near = values(run, "judged"), values(run, "nearest_features")
    assert judged == {name: -distance for name, distance in near.items()}
    assert not run.rows("auroc", score="nearest_features")  # the judge is no baseline of itself
    assert {row["mode"] for row in run.rows("judged")} <= {"low", "high"}
    picture = Image.open(run.picture("seed-0", "nearest-pixels"))
    file = {row["sample"]: row["file"] for row in run.info["data"]["files"]}[run.about("seed-0")["nearest"]["pixels"]]
    assert picture.tobytes() == Image.open(real / file).tobytes()


class TestConditions:
    @pytest.fixture
    def model(self):
        return Denoiser(Constant(), data_range=(-1, 1), name="constant")

    def test_a_condition_moves_a_sample_by_what_it_says(self, model, real, tmp_path):
        given = {"latents": "seed:0..3", "steps": 2, "condition": ["3"], "descriptors": "condition_shift"}
        run = sample(model, real, tmp_path / "run", judge=levelled, **given)
        # of class 3 all pixels come to 0.3, without a class to -1
        assert [*values(run, "condition_shift").values()] == pytest.approx([1.3] * 4, rel=1e-5)
        assert [*values(run, "brightness").values()] == pytest.approx([0.3] * 4, rel=1e-5)
        assert [*values(run, "denoising_error").values()] == pytest.approx([0.0] * 4, abs=1e-9)

    def test_every_sample_draws_one_and_a_class_that_is_asked_for_judges(self, model, real, tmp_path):
        given = {"latents": "seed:0..11", "steps": 1, "condition": "0,1", "descriptors": "condition_shift"}
        run = sample(model, real, tmp_path / "run", judge=lambda images: torch.zeros(len(images), 2), **given)
        rows = run.rows("judged", side="drawn")
        assert {row["condition"] for row in rows} == {"0", "1"}
        assert {row["value"] for row in rows} == {0.5}
        longer = sample(model, real, tmp_path / "longer", judge=levelled, **{**given, "latents": "seed:0..15"})
        first = {row["sample"]: row["condition"] for row in rows}
        assert first.items() <= {row["sample"]: row["condition"] for row in longer.rows("judged", side="drawn")}.items()

    def test_guidance_goes_beyond_what_the_condition_asks_for(self, model, real, tmp_path):
        given = {"latents": "seed:0..1", "steps": 1, "condition": "0", "guidance": 0.5}
        run = sample(model, real, tmp_path / "run", descriptors="condition_shift", **given)
        # halfway between -1, of no class, and 0, of class 0
        assert [*values(run, "brightness").values()] == pytest.approx([-0.5] * 2, rel=1e-5)

    def test_a_volume_that_no_condition_changes_has_no_shift(self, model, real, tmp_path):
        model.net.weight.data.fill_(0.5)
        given = {"latents": "seed:0..1", "steps": 1, "condition": "3", "descriptors": "condition_volume"}
        run = sample(model, real, tmp_path / "run", **given)
        assert [*values(run, "condition_volume").values()] == pytest.approx([0.0] * 2, abs=1e-6)


def test_samples_in_unit_range_are_read_so_and_said(real, tmp_path):
    unit = LatentMap(lambda z: torch.sigmoid(linear(z)), (4,), name="unit")
    run = sample(unit, real, tmp_path / "run", latents="seed:0..3", **LIGHT)
    assert any("[0, 1]" in note for note in run.info["data"]["notes"])
    z = torch.randn(4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = float((2 * torch.sigmoid(linear(z[None])) - 1).mean())
    assert values(run, "brightness")["seed-2"] == pytest.approx(expected, rel=1e-5)


def test_a_run_may_grow_and_what_is_there_stays(generator, real, tmp_path):
    given = {"judge": levelled, **LIGHT}
    short = sample(generator, real, tmp_path / "run", latents="seed:0..5", **given)
    before = values(short, "local_rank")
    long = sample(generator, real, tmp_path / "run", latents="seed:0..9", **given)
    assert values(long, "local_rank").items() >= before.items()
    assert len(long.info["sittings"]) == 2
    assert long.info["sittings"][1]["units"] == 4


def test_it_holds_when_it_is_measured_again(generator, real, tmp_path):
    run = sample(generator, real, tmp_path / "run", latents="seed:0..5", **LIGHT)
    assert theodolite.verify(run, at={"model": generator}).holds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latents": "seed:0"}, "two samples or more expected"),
        ({"judge": "nothing"}, "a judge package.module:factory expected"),
        ({"judge": lambda images: "good"}, "expected to return logits"),
        ({"worst": 1.0}, "`worst` expected between 0 and 1"),
        ({"condition": "3"}, "--condition belongs to a diffusion model"),
        ({"guidance": 2.0}, "--guidance"),
        ({"map": "sampler"}, "linear has no sampler"),
        ({"descriptors": "condition_shift"}, "no descriptor left: condition_shift"),
        ({"embedding": "none"}, "embedding pixels, patches or package.module:factory expected"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(generator, real, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        sample(generator, real, tmp_path / "run", **{"latents": "seed:0..3", **options})
    assert not (tmp_path / "run").exists()


def test_what_draws_no_images_is_refused(real, tmp_path):
    vectors = LatentMap(lambda z: z, (4,), name="vectors")
    with pytest.raises(InputError, match=r"draws images .* vectors draws \(4,\)"):
        sample(vectors, real, tmp_path / "run")


def test_the_decoder_of_an_autoencoder_draws_from_its_prior(real, tmp_path):
    model = Autoencoder(lambda x: x.flatten(1), linear, name="vae", latent_shape=(4,), image_channels=1)
    run = sample(model, real, tmp_path / "run", latents="seed:0..3", **LIGHT)
    assert run.info["map"] == "decoder"
    assert math.isfinite(values(run, "nearest_pixels")["seed-3"])
