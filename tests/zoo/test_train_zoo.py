"""The training script on a few steps, into a folder of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from theodolite.zoo.autoencoders import AUTOENCODERS, WEIGHTS

ROOT = Path(__file__).parents[2]


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("skimage", reason="scikit-image is in the `zoo` extra")
    pytest.importorskip("sklearn", reason="scikit-learn is in the `zoo` extra")
    command = [sys.executable, ROOT / "scripts" / "train_zoo.py", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_smoke_run_writes_every_model_as_it_ships(tmp_path: Path):
    assert run("--smoke", "--out", tmp_path).returncode == 0
    facts = json.loads((tmp_path / "training.json").read_text())
    assert list(facts) == list(AUTOENCODERS)
    for name in AUTOENCODERS:
        made, shipped = load_file(tmp_path / f"{name}.safetensors"), load_file(WEIGHTS / f"{name}.safetensors")
        assert {key: (value.shape, value.dtype) for key, value in made.items()} == {
            key: (value.shape, value.dtype) for key, value in shipped.items()
        }
        assert facts[name]["steps"] < 10
        assert min(facts[name]["validation_psnr_db"].values()) > 0


@pytest.mark.slow
def test_one_model_by_name_leaves_the_others_alone(tmp_path: Path):
    (tmp_path / "training.json").write_text('{"patches-kl": {"seed": 7}}')
    assert run("digits", "--smoke", "--out", tmp_path).returncode == 0
    facts = json.loads((tmp_path / "training.json").read_text())
    assert facts["patches-kl"] == {"seed": 7}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["digits.safetensors", "training.json"]
    assert facts["digits"]["training_images"] == 1437


def test_unknown_name_is_refused(tmp_path: Path):
    result = run("cats", "--smoke", "--out", tmp_path)
    assert result.returncode == 2
    assert "cats" in result.stderr
