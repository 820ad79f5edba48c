"""The penalties by stochastic paths: honest errors, and a known population."""

from __future__ import annotations

import pytest
import torch
from penalised import D, bananas, drawn, graph, images, near, toy

from theodolite.diffusability import penalties
from theodolite.diffusability import second_order as bending_module

BENDING = ("encoder", "data", "pushed", "cross", "injection", "mean_curvature", "data_information")


@pytest.fixture(scope="module")
def population():
    """300 images and the exact contribution of each: the truth for draws with replacement."""
    pair = graph()
    x = pair.decode(pair.encode(images(torch.cat([drawn(300, 12, half_side=0.7), torch.zeros(300, 1, dtype=D)], 1))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bending_module, "_MOST_PAIRS", 78)
        exact = penalties(pair, x)
    assert "volume" in exact.samples  # every pair was taken
    return pair, x, {name: values.mean() for name, values in exact.samples.items()}


def test_the_population_is_known_in_closed_form(population):
    _, x, truth = population
    y = x.flatten(1)[:, :12]
    s = 1 + 0.16 * y.square().sum(1)
    assert abs((0.16 / s * (11 + s**-2)).mean() - truth["data"]) < 1e-10
    assert abs((0.16 / s * (11 + 1 / s) ** 2).mean() - truth["mean_curvature"]) < 1e-10


def read(found):
    d = found.data_curvature
    return {
        "encoder": found.encoder_curvature,
        "data": d,
        "pushed": d["pushed"],
        "cross": found.cross,
        "injection": found.curvature,
        "mean_curvature": d["mean_curvature"],
        "data_information": d["information"],
        "stretch": found.distortion["stretch"],
        "distortion": found.distortion,
        "relative": found.encoder_curvature["relative"],
    }


def expected(truth):
    d = truth["rank"]
    return {
        **{name: truth[name] for name in BENDING},
        "stretch": truth["stretch"] / d,
        "distortion": truth["stretch_square"] * d / truth["stretch"].square() - 1,
        "relative": truth["encoder"] * d / truth["stretch"],
    }


@pytest.mark.parametrize("options", [{}, {"dense": False, "depth": 12}], ids=["frames", "least-squares"])
@pytest.mark.slow
def test_error_bars_are_honest(population, options):
    pair, x, truth = population
    truth, z = expected(truth), {}
    for seed in range(100):
        chosen = torch.randint(len(x), (40,), generator=torch.Generator().manual_seed(seed))
        found = penalties(pair, x[chosen], generator=seed, ascent=0, **options)
        for name, estimate in read(found).items():
            z.setdefault(name, []).append(((estimate.value - truth[name]) / estimate.stderr).item())
    for name, scores in z.items():
        scores = torch.tensor(scores)
        assert abs(scores.mean()) < 0.25, (name, scores.mean())
        assert 0.7 < scores.std() < 1.3, (name, scores.std())


@pytest.mark.parametrize("options", [{}, {"dense": False, "depth": 12}], ids=["frames", "least-squares"])
def test_within_three_standard_errors(population, options):
    pair, x, truth = population
    found = penalties(pair, x, generator=11, ascent=0, probes=8, **options)
    for name, value in expected(truth).items():
        near(read(found)[name], value.item())


@pytest.mark.slow
def test_exact_errors_are_honest_over_images():
    k, z = 0.7, []
    pair = toy(*bananas(k), 2, 2)
    truth = (2 + k**2 / 3) ** -2 * 2 * ((2 + k**2 / 3) ** 2 + k**4 * 4 / 45 - 2) - 1
    for seed in range(100):
        found = penalties(pair, images(drawn(30, 2, seed)))
        z.append(
            [
                ((e.value - v) / e.stderr).item()
                for e, v in (
                    (found.distortion, truth),
                    (found.distortion["stretch"], 1 + k**2 / 6),
                    (found.encoder_curvature["relative"], k**2 / (1 + k**2 / 6)),
                )
            ]
        )
    z = torch.tensor(z)
    assert (z.mean(0).abs() < 0.25).all(), z.mean(0)
    assert ((z.std(0) > 0.7) & (z.std(0) < 1.3)).all(), z.std(0)


def test_too_few_steps_are_confessed():
    steep = torch.logspace(0, 2, 12, dtype=D)
    pair = toy(lambda x: x / steep, lambda z: z * steep, 12, 12)
    found = penalties(pair, images(drawn(40, 12)), dense=False, depth=2)
    assert found.encoder_curvature.status == found.distortion.status == "undetermined"
    assert "more `depth`" in found.encoder_curvature.message
    assert found.compression["coverage"].value < 0.9
