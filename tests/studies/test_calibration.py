"""The calibration of forecasts: the file that ships is what the outcomes give, and the fit finds what it should."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from studies.prediction.calibrate import Material, _coverage, _formula, as_text, calibrate, freedom_of  # noqa: E402
from studies.prediction.calibration_docs import DOCS, with_part, written_part  # noqa: E402
from studies.prediction.designs import SHAPES, TREATMENTS  # noqa: E402
from studies.prediction.store import OUTCOMES, Store  # noqa: E402

from theodolite.diffusability.forecast import FORMULAS, PRIMARY  # noqa: E402
from theodolite.diffusability.forecast.calibration import FILE, calibration_of  # noqa: E402


def test_the_file_that_ships_is_what_the_outcomes_give():
    content = calibrate(Store())
    assert FILE.read_text(encoding="utf-8") == as_text(content)
    docs = DOCS.read_text(encoding="utf-8")
    assert docs == with_part(docs, content)
    assert written_part(content) in docs


def test_its_text_is_its_content():
    content = {"a": [[1.0, 2.5], [3, 4]], "b": {"c": [], "d": ["x", "y"]}}
    assert json.loads(as_text(content)) == content
    assert "[1.0, 2.5]" in as_text(content)


def material(noise, seed=0, shape_noise=0.0):
    """Designs whose truth is the formula with known coefficients, and errors of a known size."""
    g = torch.Generator().manual_seed(seed)
    shapes = [f"{c}x{s}x{s}" for c, s in SHAPES for _ in TREATMENTS]
    draw = lambda low, high: low + (high - low) * torch.rand(len(shapes), generator=g, dtype=torch.float64)  # noqa: E731
    numbers = [
        {"nu": nu, "lds": lds, "log_m": math.log(256), "local_predictability": r}
        for nu, lds, r in zip(draw(30, 400).tolist(), draw(0, 0.5).tolist(), draw(0.2, 1).tolist())
    ]
    thrown = draw(0.001, 0.01)
    features = torch.stack([FORMULAS[PRIMARY].features(own) for own in numbers])
    truth = torch.tensor([[-5.7, 0.7, -0.2], [-5.9, 0.6, -0.5]], dtype=torch.float64)
    log_share = (thrown[:, None] + (features @ truth.T).exp()).log()
    of_shape = shape_noise * torch.randn(len(SHAPES), 1, generator=g, dtype=torch.float64)
    errors = noise * torch.randn(log_share.shape, generator=g, dtype=torch.float64)
    errors = errors + of_shape.repeat_interleave(len(TREATMENTS), 0)
    return Material(shapes, log_share + errors, thrown, numbers, (500, 1000), 300.0), truth


def test_without_noise_the_coefficients_come_back():
    own, truth = material(0.0)
    fit = _formula(own, FORMULAS[PRIMARY])
    assert torch.tensor(fit["coefficients"]).flatten().tolist() == pytest.approx(truth.flatten().tolist(), abs=1e-4)
    assert torch.tensor(fit["residual"]).abs().max() < 1e-6
    assert fit["checks"]["spearman"][0][0] == 1.0


def test_errors_of_shapes_are_between_shapes_and_not_within():
    own, _ = material(0.02, shape_noise=0.2)
    fit = _formula(own, FORMULAS[PRIMARY])
    # coefficients that the errors of shapes have moved add to those of single designs
    assert 0.7 * 0.02**2 < fit["within"][0][0] < fit["between"][0][0] / 5


def test_intervals_hold_the_truth_as_often_as_they_say():
    shares = [float(_coverage(material(0.1, seed)[0], FORMULAS[PRIMARY]).mean()) for seed in range(12)]
    assert sum(shares) / len(shares) > 0.93


def test_degrees_of_freedom_lie_between_those_of_shapes_and_of_designs():
    shapes = [f"{c}x{s}x{s}" for c, s in SHAPES for _ in TREATMENTS]
    g = torch.Generator().manual_seed(0)
    alone = torch.randn(len(shapes), 1, generator=g, dtype=torch.float64)
    shared = torch.randn(len(SHAPES), 1, generator=g, dtype=torch.float64).repeat_interleave(len(TREATMENTS), 0)
    assert float(freedom_of(shared, shapes)) == pytest.approx(len(SHAPES))
    assert len(SHAPES) < float(freedom_of(alone + shared, shapes)) < float(freedom_of(alone, shapes)) <= len(shapes)


def test_a_file_can_be_read_for_every_network_and_formula():
    content = json.loads(FILE.read_text(encoding="utf-8"))
    for network, own in content["networks"].items():
        for formula in own["formulas"]:
            fit = calibration_of(content, network, formula)
            assert fit.without.shape == (len(fit.shapes), *fit.coefficients.shape)


def test_without_truth_nothing_is_calibrated(tmp_path):
    store = Store(tmp_path, tmp_path / "outcomes")
    with pytest.raises(SystemExit, match="library's predictors expected"):
        calibrate(store)
    for name in ("fashion-mnist.4x8x8.plain.ae0", "fashion-mnist.8x4x4.kl1e-1.ae0"):
        store.write("library", name, json.loads((OUTCOMES / "library" / f"{name}.json").read_text(encoding="utf-8")))
    with pytest.raises(SystemExit, match="crossed designs expected"):
        calibrate(store)
