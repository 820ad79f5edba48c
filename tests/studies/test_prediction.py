"""The prediction study: it runs from images to page on toys, and its statistics are what they say."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from studies.prediction import analysis, autoencoders, data, further, latent_spaces, measuring, page, truth  # noqa: E402
from studies.prediction.designs import BLOCKS, CLOTHES, SCRAMBLES, Design, in_random_order  # noqa: E402
from studies.prediction.forecasts import PRIMARY, SIGNS, SUMS  # noqa: E402
from studies.prediction.numbers import interval_text  # noqa: E402
from studies.prediction.statistics import Designs, familywise, interval, regret  # noqa: E402
from studies.prediction.store import Store  # noqa: E402

STEPS = (500, 1000, 2000)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A folder of pictures in place of Fashion-MNIST: 600 to train on, bars of a width and a place."""
    folder = tmp_path_factory.mktemp("shared")
    images = folder / "data" / "fashion-mnist"
    images.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for part, count in (("train", 10_600), ("test", 400)):
        labels = draws.integers(0, 4, count).astype(np.uint8)
        pixels = draws.integers(0, 40, (count, 28, 28), dtype=np.uint8)
        for label in range(4):
            pixels[labels == label, 6 * label : 6 * label + 5] += 200
        np.savez(images / f"fashion_mnist_{part}.npz", images=pixels, labels=labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THEODOLITE_SHARED", str(folder))
        data.images_of.cache_clear()
        yield Store(folder / "parts", folder / "outcomes")
    data.images_of.cache_clear()


TRAINING = autoencoders.Training(steps=6, batch=8, classifier_steps=4)


def trained(design, store):
    autoencoders.train_classifier(design.data, store, TRAINING)
    autoencoders.train_autoencoder(design, store, TRAINING)
    return latent_spaces.open_space(design, store)


def test_a_design_goes_from_images_to_truth_and_predictors_and_is_not_made_twice(toy):
    design = Design(CLOTHES, 4, 4, "tangential1e-2")
    trained(design, toy)
    budget, said = truth.Budget(samples=80, train=200), []

    def run(*checkpoints):
        return truth.measure_truth(design, toy, "convolutional", 0, checkpoints, budget, said.append)

    first = run(2)
    both = run(2, 4)
    assert both["checkpoints"]["2"] == first["checkpoints"]["2"]
    assert len(said) == 2
    assert run(4) == both
    assert len(said) == 2
    sizes = measuring.Sizes(images=300, train=200, samples=80, gap=40)
    numbers = measuring.measure(design, toy, sizes)["numbers"]
    assert set(SIGNS) == set(numbers)
    assert all(math.isfinite(value) for value in numbers.values())
    (judged,) = analysis.gathered(toy, "convolutional")
    assert judged.log_gfd[4] == both["checkpoints"]["4"]["log_gfd"]


@pytest.mark.parametrize("treatment", ["kl1e-2", "noisy", "equivariant"])
def test_every_treatment_trains(toy, treatment):
    assert trained(Design(CLOTHES, 2, 8, treatment), toy).dimension == 128


@pytest.mark.parametrize("scramble", SCRAMBLES)
def test_scrambles_lose_nothing(toy, scramble):
    plain = trained(Design(CLOTHES, 4, 4, "plain"), toy)
    other = trained(Design(CLOTHES, 4, 4, "plain", scramble=scramble), toy)
    x = data.images_of(CLOTHES).judge[0][:6]
    z = other.encode(x)
    assert z.shape == (6, *other.shape)
    assert torch.allclose(other.decode(z), plain.decode(plain.encode(x)), atol=1e-4)
    if scramble != "noise-channels":
        assert not torch.allclose(z, plain.encode(x), atol=0.1)


def test_the_blocks_are_what_the_protocol_says():
    assert [len(designs) for designs in BLOCKS.values()] == [48, 16, 8, 12]
    names = [design.name for designs in BLOCKS.values() for design in designs]
    assert len(set(names)) == len(names)
    order = in_random_order(BLOCKS["crossed"])
    assert order == in_random_order(order[::-1])
    assert {design.shape for design in order[:12]} == {design.shape for design in order}


def outcomes(store, designs, law):
    """Outcomes whose log gFD is `law(numbers, steps)`."""
    draws = np.random.default_rng(1)
    for design in designs:
        numbers = {name: float(draws.uniform(0.5, 1.5)) for name in SIGNS}
        numbers |= {"nu": float(draws.uniform(20, 200)), "lds": float(draws.uniform(-0.5, 1))}
        store.write("predictors", design.name, {"numbers": numbers})
        checkpoints = {str(s): {"log_gfd": law(numbers, s), "stderr": 0.02} for s in STEPS}
        run = {"log_rfd": {"value": math.log(numbers["rfd"])}, "checkpoints": checkpoints}
        store.write("truth", truth.run_name(design, "convolutional", 0), run)


def test_a_law_that_the_pilot_forecasts_is_found_and_another_is_not(tmp_path):
    store = Store(tmp_path, tmp_path)
    outcomes(store, BLOCKS["crossed"], lambda numbers, steps: SUMS[PRIMARY].at(steps)(numbers))
    judged = analysis.gathered(store, "convolutional")
    text, figure = page.text_of(judged, "convolutional", store)
    assert "**The primary hypothesis holds**" in text
    assert figure.count("<circle") == 48 + 6
    (name, rho, lost), *_ = analysis.fitted(judged, 2000)
    assert (name, lost) == (PRIMARY, 0)
    assert rho.value == pytest.approx(1)  # the law's own coefficients come out of five shapes
    outcomes(store, BLOCKS["crossed"], lambda numbers, steps: numbers["kurtosis"])
    judged = analysis.gathered(store, "convolutional")
    best, *_ = sorted(analysis.rows(judged, 2000, STEPS, ()), key=lambda row: row.p)
    assert best.name in ("kurtosis", analysis.EARLY)
    assert "**The primary hypothesis fails**" in page.text_of(judged, "convolutional", store)[0]


def test_further_autoencoders_are_averaged_into_their_design(tmp_path):
    store = Store(tmp_path, tmp_path)
    outcomes(store, [*BLOCKS["crossed"], *BLOCKS["seeds"]], lambda numbers, steps: numbers["rfd"])
    judged = {each.design.name: each for each in analysis.gathered(store, "convolutional")}
    assert len(judged) == 48
    design = BLOCKS["seeds"][0]
    own = [Design(design.data, design.channels, design.side, design.treatment, seed).name for seed in (0, 1, 2)]
    mean = sum(store.read("predictors", name)["numbers"]["rfd"] for name in own) / 3
    assert judged[own[0]].log_gfd[500] == pytest.approx(mean)


def test_other_networks_images_and_seeds_have_tables_of_their_own(tmp_path):
    store = Store(tmp_path, tmp_path)
    outcomes(store, BLOCKS["crossed"], lambda numbers, steps: numbers["rfd"])
    judged = analysis.gathered(store, "convolutional")
    few = dict(further.sections(store, "convolutional", judged))
    assert "0 designs were run: too few for a table." in [*few["Another network: tokens"]]
    assert "0 of 12 designs were run: too few for a table." in [*few["Other images: patches of photographs"]]
    outcomes(store, BLOCKS["photographs"], lambda numbers, steps: SUMS[PRIMARY].at(steps)(numbers))
    for design in BLOCKS["crossed"][:10]:
        first = store.read("truth", truth.run_name(design, "convolutional", 0))
        store.write("truth", truth.run_name(design, "tokens", 0), first)
        for entry in first["checkpoints"].values():
            entry["log_gfd"] += 0.2
        store.write("truth", truth.run_name(design, "convolutional", 1), first)
    text = {title: "\n".join(lines) for title, lines in further.sections(store, "convolutional", judged)}
    assert "agrees with Spearman +1.00 [+1.00, +1.00]" in text["Another network: tokens"]
    assert f"| {PRIMARY} | +1.00 [+1.00, +1.00] |" in text["Other images: patches of photographs"]
    spread = f"{0.2 / 2**0.5:.3f}"
    (row,) = (line for line in text["Seeds"].splitlines() if line.startswith("| the flow model | clothes | 10 | 2.0 |"))
    assert row.count(f"{spread} of ") == 3
    assert "| the flow model | photographs | 0 | - |" in text["Seeds"]


def test_treatments_are_compared_with_the_plain_one_of_their_shape(tmp_path):
    store = Store(tmp_path, tmp_path)
    outcomes(store, BLOCKS["crossed"], lambda numbers, steps: 0.0)
    for design in BLOCKS["crossed"]:
        name = truth.run_name(design, "convolutional", 0)
        run = store.read("truth", name)
        run["checkpoints"]["2000"]["log_gfd"] = design.channels + (0.5 if design.treatment == "noisy" else 0)
        store.write("truth", name, run)
    effects = {each.treatment: each for each in analysis.effects(analysis.gathered(store, "convolutional"), 2000)}
    assert effects["noisy"].gfd.low == effects["noisy"].gfd.high == 0.5
    assert effects["kl1e-1"].gfd.value == 0


def test_correlations_are_those_of_plain_definitions():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 24, generator=g)
    shapes = ["a", "b", "c"] * 8
    designs = Designs(shapes, count=50)
    pairs = [(i, j) for i in range(24) for j in range(i)]
    signs = [float((x[i] - x[j]) * (y[i] - y[j])) for i, j in pairs]
    assert float(designs.kendall(x, y)[0]) == pytest.approx(np.sign(signs).mean())
    inside = [sign for sign, (i, j) in zip(signs, pairs) if shapes[i] == shapes[j]]
    assert float(designs.kendall(x, y, within=True)[0]) == pytest.approx(np.sign(inside).mean())
    shift = torch.tensor([10.0 * "abc".index(shape) for shape in shapes])
    assert float(designs.kendall(x + shift, y, within=True)[0]) == pytest.approx(np.sign(inside).mean())
    link = interval(designs.spearman(x, y))
    assert link.low < link.value < link.high


def test_what_shape_and_reconstruction_explain_is_taken_off():
    g = torch.Generator().manual_seed(0)
    given, noise = torch.randn(2, 60, generator=g)
    shapes = ["a", "b", "c"] * 20
    shift = torch.tensor([float("abc".index(shape)) for shape in shapes])
    designs = Designs(shapes, count=10)
    x, y = given + shift + 0.3 * noise, given + shift + 0.3 * torch.randn(60, generator=g)
    assert float(designs.spearman(x, y)[0]) > 0.8
    assert abs(float(designs.partial(x, y, given)[0])) < 0.35
    assert float(designs.partial(x, y + noise, given)[0]) > 0.4
    assert math.isnan(designs.partial(shift, y, given)[0])  # nothing is left of what is one number a shape
    assert interval_text(interval(designs.partial(shift, y, given))) == ""


def test_a_lucky_predictor_among_many_pays_for_their_number():
    g = torch.Generator().manual_seed(1)
    y, many = torch.randn(20, generator=g), torch.randn(60, 20, generator=g)
    alone = familywise(many, y, permutations=400).min()
    assert float(alone) > 0.05
    sound = torch.cat([many, y[None]])
    assert float(familywise(sound, y, permutations=400)[-1]) < 0.01


def test_regret_is_a_share_of_the_best():
    gfd = torch.tensor([10.0, 12.0, 20.0]).log()
    assert regret(torch.tensor([2.0, 1.0, 3.0]), gfd) == pytest.approx(0.2)


def test_the_frozen_coefficients_are_those_of_the_pilot(shared):
    folder = shared / "design" / "prediction_pilot" / "outcomes"
    if not folder.is_dir():
        pytest.skip("the outcomes of the pilot are not there")
    published, white = (json.loads((folder / f"{name}.json").read_text()) for name in ("published", "whitened"))
    for name, total in SUMS.items():
        for budget, frozen in total.pilot.items():
            steps = {500: "300"}.get(budget, str(budget))
            X, y = [], []
            for design, numbers in published.items():
                own = json.loads((folder / f"pred_{design}.json").read_text())
                runs = [json.loads(f.read_text()) for f in sorted(folder.glob(f"diff_{design}_s*.json"))]
                gfd = np.mean([run[steps]["gfd"] for run in runs if steps in run])
                X.append(total.features({**own, **numbers, **white[design]}))
                y.append(math.log(max(gfd - runs[0]["rec_fd2000"], 0.1)))
            fitted = np.linalg.lstsq(np.array(X), np.array(y), rcond=None)[0]
            assert fitted == pytest.approx(frozen, abs=6e-5), (name, budget)
