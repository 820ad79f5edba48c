"""The examples run, and what they promise is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, "--smoke", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_vae_is_trained_and_its_curves_drawn(tmp_path):
    told = run("train_vae.py", "--out", tmp_path)
    assert told.count("epoch") == 3
    with Image.open(tmp_path / "curves.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**24)}
        assert picture.width == 1380
    assert {(15, 105, 150), (194, 87, 26), (43, 138, 87)} <= colours  # a curve a noise level


@pytest.mark.parametrize(("regulariser", "weight"), [("tangential", 1), ("curvature", 1)])
@pytest.mark.slow
def test_a_penalty_is_lowered(regulariser, weight):
    told = run("penalised_vae.py", regulariser, "--weight", weight)
    rows = {line.split("|")[1].strip(): line.split("|")[2:4] for line in told.splitlines() if line.startswith("| p")}
    plain, penalised = (float(rows[name][1].split("±")[0]) for name in ("plain", "penalised"))
    assert penalised < plain


def test_fashion_mnist_is_read(shared):
    sys.path.insert(0, str(EXAMPLES))
    try:
        import vae
    finally:
        sys.path.remove(str(EXAMPLES))
    images, held_out = vae.load(shared / "data" / "fashion-mnist", smoke=True)
    assert images.shape == (512, 1, 28, 28)
    assert held_out.shape == (600, 1, 28, 28)
    assert images.min() == -1
    assert 0.9 < images.max() <= 1


@pytest.mark.slow
def test_guidance_is_swept_and_drawn(tmp_path):
    told = run("guidance.py", "--picture", tmp_path / "guidance.png")
    assert all(f"**{name}**" in told for name in ("scaling", "brightness", "contrast", "detail", "random"))
    with Image.open(tmp_path / "guidance.png") as picture:
        assert picture.width == 1380
