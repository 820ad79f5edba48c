"""The study of detection on real decoders: its images, its comparison, and its page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from theodolite.detection.scores import SCORES
from theodolite.estimates import Estimate

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from studies.detection import outcomes, page  # noqa: E402
from studies.detection.kinds import CROPS, KINDS, write_images  # noqa: E402
from studies.prediction.data import shared  # noqa: E402

STORED = json.loads(outcomes.FILE.read_text())


def test_the_page_is_made_from_the_outcomes():
    assert page.PAGE.read_text() == page.text_of(STORED)
    assert {(row["model"], row["kind"]) for row in STORED["kinds"]} == {
        (model, kind) for model in outcomes.MODELS for kind in (*KINDS, CROPS)
    }


def test_no_image_is_in_two_kinds(tmp_path):
    if not (shared() / "data" / "fashion-mnist").exists():
        pytest.skip("the images of Fashion-MNIST are not here")
    reference, test = write_images(tmp_path, reference=5, each=3)
    pixels = {file: np.asarray(Image.open(file)) for file in [*reference.glob("*.png"), *test.rglob("*.png")]}
    assert len(pixels) == 5 + 3 * (len(KINDS) + 1)
    assert {image.shape for image in pixels.values()} == {(32, 32, 3)}
    assert len({image.tobytes() for image in pixels.values()}) == len(pixels)


def told(geometry, baseline, n=40):
    """Outcomes of scores that are so much higher for the kind than for the reference."""
    draws = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 2 * n, generator=draws, dtype=torch.float64)
    is_bad = torch.arange(2 * n) >= n
    scores = {"local_scaling": noise[0] + geometry * is_bad, "reconstruction_error": noise[1] + baseline * is_bad}
    assert [SCORES[name].kind for name in scores] == ["descriptor", "baseline"]
    kinds = ["blurred" if bad else "reference" for bad in is_bad.tolist()]
    files = [f"{kind}-{index}.png" for index, kind in enumerate(kinds)]
    exact = {name: Estimate.exact(values) for name, values in scores.items()}
    return {"kind": "blurred", "model": "m", **outcomes.compared(exact, kinds, files, "blurred")}


@pytest.mark.parametrize(
    ("geometry", "baseline", "sentence"),
    [
        (4.0, 0.0, "beats every baseline"),
        (0.0, 4.0, "the baseline wins"),
        (0.0, 0.0, "neither tells it"),
        (1.5, 1.5, "does as well as any score"),
    ],
)
def test_the_sentence_says_who_wins(geometry, baseline, sentence):
    row = told(geometry, baseline)
    assert sentence in page._sentence(row)
    assert (row["p"] < 0.05) == (sentence == "beats every baseline")


def test_crops_of_one_photograph_count_for_one():
    scores = {name: Estimate.exact(torch.arange(9.0)) for name in ("local_scaling", "reconstruction_error")}
    kinds = ["reference"] * 4 + [CROPS] * 5
    files = [
        *(f"r-{n}.png" for n in range(4)),
        "a_0000_0000.png",
        "a_0000_0128.png",
        "b_0000_0000.png",
        "b_0128_0000.png",
        "c_0000_0000.png",
    ]
    assert outcomes.compared(scores, kinds, files, CROPS)["n"] == 3
