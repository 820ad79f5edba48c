"""`detect` in Python: what is compared with what, which images are taken, and what an interruption leaves."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from theodolite.surveys.detected import read_detection

from theodolite.data.images import ImageFile
from theodolite.data.sources import spread
from theodolite.errors import InputError
from theodolite.surveys import detect, read_run

sys.path.insert(0, str(Path(__file__).parent))
import tiny

OPTIONS = {"size": 16, "scores": ["local_scaling", "nearest_neighbour", "pixel_energy"]}


@pytest.fixture
def folders(tmp_path):
    """Two crops of each of three photographs in both folders, all different pictures."""
    for place, path in enumerate(sorted(tiny.write_images(tmp_path / "all", count=12).iterdir())):
        folder = tmp_path / ("reference" if place < 6 else "test")
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder / f"photo{place % 6 // 2}_0_{place % 2}.png")
    return tmp_path / "reference", tmp_path / "test"


def test_a_reference_image_is_compared_with_other_photographs_only(folders, tmp_path):
    found = detect(tiny.make(), *folders, tmp_path / "run", **OPTIONS)
    latents = torch.stack([found.run.arrays(image.sample)["latent"].flatten() for image in found.images]).double()
    distances = torch.cdist(latents, latents[:6])
    own = torch.block_diag(*[torch.ones(2, 2)] * 3).bool()
    distances[:6] = distances[:6].masked_fill(own, torch.inf)
    torch.testing.assert_close(found.scores["nearest_neighbour"].value, distances.amin(-1), rtol=1e-4, atol=1e-5)
    assert found.table.independent == (3, 3)
    limit = found.thresholds["pixel_energy"]
    assert limit.value in found.scores["pixel_energy"].value[:6].tolist()


def test_a_given_group_is_shared_by_both_folders(folders, tmp_path):
    apart = detect(tiny.make(), *folders, tmp_path / "run", **OPTIONS)
    together = detect(tiny.make(), *folders, tmp_path / "run", group="^photo.", **OPTIONS)
    assert len({image.source for image in apart.images}) == 6
    assert {image.source for image in together.images} == {"photo0", "photo1", "photo2"}
    one, other = (found.scores["nearest_neighbour"].value[6:] for found in (apart, together))
    assert (other >= one).all()


def test_an_interrupted_run_is_read_as_far_as_it_came_and_goes_on(folders, tmp_path):
    calls = []

    def stop(done, total, sample):
        calls.append(done)
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detect(tiny.make(), *folders, tmp_path / "run", progress=stop, **OPTIONS)
    early = read_detection(tmp_path / "run")
    assert (len(early.images), early.run.status) == (8, "interrupted")
    measured = []
    whole = detect(tiny.make(), *folders, tmp_path / "run", progress=lambda *call: measured.append(call), **OPTIONS)
    assert measured[0] == (8, 12, "")
    assert len(whole.images) == 12
    fresh = detect(tiny.make(), *folders, tmp_path / "fresh", **OPTIONS)
    for name, score in fresh.scores.items():
        torch.testing.assert_close(score.value, whole.scores[name].value)


def test_too_few_finished_images_are_told(folders, tmp_path):
    def stop(done, total, sample):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detect(tiny.make(), *folders, tmp_path / "run", progress=stop, **OPTIONS)
    with pytest.raises(InputError, match="too few finished images yet"):
        read_detection(tmp_path / "run")
    assert len(read_run(tmp_path / "run").samples) == 1


def test_a_score_that_is_often_no_number_is_left_out(folders, tmp_path):
    found = detect(tiny.make(), *folders, tmp_path / "run", size=16, scores="local_scaling,local_complexity")
    assert set(found.scores) == {"departure", "local_scaling"}
    assert "100 %" in found.left_out["local_complexity"]
    assert found.headline == "departure"


def test_limits_take_from_every_source_in_turn():
    files = [ImageFile(name, name, Path(name), "", (1, 1)) for name in ("a0", "a1", "a2", "b0", "c0", "c1")]
    keys = [file.file[0] for file in files]
    assert [file.file for file in spread(files, keys, 4)] == ["a0", "a1", "b0", "c0"]
    assert spread(files, keys, None) == files
    assert len(spread(files, keys, 99)) == 6


@pytest.mark.parametrize(
    "option",
    [{"level": "high"}, {"level": True}, {"score": 3}, {"limit": 0}, {"limit": 1}, {"labels": ""}],
)
def test_mistakes(folders, tmp_path, option):
    with pytest.raises(InputError):
        detect(tiny.make(), *folders, tmp_path / "run", **{**OPTIONS, **option})
    assert not (tmp_path / "run").exists()


def test_a_survey_is_no_detection(folders, tmp_path):
    from theodolite.surveys import survey

    survey(tiny.make(), folders[0], tmp_path / "run", size=16, limit=1, descriptors="local_rank")
    with pytest.raises(InputError, match="got that of a survey"):
        read_detection(tmp_path / "run")
