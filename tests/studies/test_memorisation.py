"""The memorisation study: its page is what its outcomes say, and its judge is honest about who wins."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from theodolite.detection import evaluate
from theodolite.detection.memorisation import memorisation_scores
from theodolite.zoo.fashion import fashion_images, stamped

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from studies.memorisation import outcomes, page  # noqa: E402
from studies.memorisation.measuring import LEVELS, MODELS, _points, units  # noqa: E402

STORED = json.loads(outcomes.FILE.read_text())


def test_the_page_is_made_from_the_outcomes():
    assert page.PAGE.read_text() == page.text_of(STORED)


def test_every_model_score_level_and_count_is_there():
    wanted = {
        (model, name, level if score.has_level else None, compared)
        for model in MODELS
        for name, score in memorisation_scores().items()
        for level in LEVELS
        for compared in outcomes.COMPARED
    }
    rows = STORED["scores"]
    assert {(row["model"], row["score"], row["level"], row["compared"]) for row in rows} == wanted
    assert len(units()) == len(set(units())) == len(MODELS) * len(LEVELS) + 4


def test_a_model_is_judged_on_images_as_it_saw_them():
    images = fashion_images()
    plain, pasted, latent = (_points(f"fashion-{name}", images) for name in ("plain", "pasted", "latent"))
    assert torch.equal(plain, images.images)
    assert torch.equal(pasted, stamped(images.images, images.labels)[0])
    assert not torch.equal(pasted, plain)
    assert latent.shape == (850, 16, 1, 1)


def test_the_models_memorised_what_the_outcomes_are_about():
    for model in outcomes.MEMORISED:
        facts = STORED["training"][model.removeprefix("fashion-")]["memorised"]
        assert facts["100"]["images_drawn"] == facts["100"]["images"]
        assert facts["1"]["images_drawn"] == 0


def table(first, second):
    labels = [0] * 40 + [1] * 20
    return evaluate({"flipd@0.1": first, "denoising_loss@0.1": second}, labels, resamples=200)


def test_the_winner_is_named_with_a_paired_difference():
    draw = torch.Generator().manual_seed(0)
    signal = torch.cat([torch.zeros(40), 2 * torch.ones(20)])
    good, bad = signal + torch.randn(60, generator=draw), torch.randn(60, generator=draw)
    spent = {"flipd@0.1": 25, "denoising_loss@0.1": 4}
    won = outcomes._winner("5", table(good, bad), spent)
    assert won["low"] > 0
    assert "geometry wins" in page._sentence(won)
    lost = outcomes._winner("5", table(bad, good), spent)
    assert "the baseline wins" in page._sentence(lost)
    assert lost["difference"] == pytest.approx(-won["difference"])
    perfect = outcomes._winner("5", table(signal, signal), spent)
    assert "both tell all images apart" in page._sentence(perfect)
