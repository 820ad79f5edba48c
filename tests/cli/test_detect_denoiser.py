"""`theodolite detect` with a denoiser: a pipeline's folder, its report, and mistakes in one line."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def folders(tiny, tmp_path):
    images = sorted(tiny.write_images(tmp_path / "all", count=8, side=8).iterdir())
    for place, path in enumerate(images):
        folder = tmp_path / ("reference" if place < 4 else "test")
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    return "--reference", tmp_path / "reference", "--test", tmp_path / "test", "--out", tmp_path / "run"


@pytest.fixture
def pipeline(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    network = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "pixels")
    return tmp_path / "pixels"


def test_a_pixel_pipeline_is_measured_at_every_level(invoke, folders, pipeline, tmp_path):
    pytest.importorskip("plotly")
    words = ("--sigma", 0.4, 1.6, "--scores", "local_scaling,score_norm,pixel_energy")
    result = invoke("detect", pipeline, *folders, *words, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {row["score"] for row in found["results"]} == {
        "departure",
        "local_scaling@0.4",
        "local_scaling@1.6",
        "score_norm@0.4",
        "score_norm@1.6",
        "pixel_energy",
    }
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "--sigma 0.4 --sigma 1.6" in info["command"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "eps-map at σ = 0.4, 1.6" in page
    assert '"levels"' in page
    assert "test images by local_scaling@0.4" in invoke("show", tmp_path / "run", "--sort", "local_scaling@0.4").stdout


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("tiny:make", ("--sigma", 0.1, "--sigma", 0.4), "--sigma belongs to a denoiser"),
        ("zoo:coloured-pixels", ("--sigma", 0.1), "two or more different noise levels"),
        ("zoo:coloured-pixels", ("--sigma", 0.1, "--sigma", 0), "above zero and finite"),
        ("zoo:coloured-pixels", ("--sigma", 0.1, 1e9), "between 0.01 and 10"),
        ("zoo:coloured-pixels", ("--size", 32), "images of 16x16 pixels expected"),
        ("zoo:coloured-pixels", ("--condition", "red"), "a class, e.g. 207"),
    ],
)
def test_mistakes_are_one_line(invoke, folders, tmp_path, name, words, message):
    result = invoke("detect", name, *folders, *words)
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("theodolite: error: ")
    assert message in line
    assert not (tmp_path / "run").exists()
