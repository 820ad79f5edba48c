"""`detect` in Python: what is compared with what, which images are taken, and what an interruption leaves."""

from __future__ import annotations

import shutil

import pytest
import torch

from theodolite import detect, read_run, survey
from theodolite.errors import InputError
from theodolite.experiments.detect.judgement import judgement_of

OPTIONS = {"size": 16, "scores": ["local_scaling", "nearest_neighbour", "pixel_energy"]}


@pytest.fixture
def folders(tiny, tmp_path):
    """Two crops of each of three photographs in both folders, all different pictures."""
    for place, path in enumerate(sorted(tiny.write_images(tmp_path / "all", count=12).iterdir())):
        folder = tmp_path / ("reference" if place < 6 else "test")
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder / f"photo{place % 6 // 2}_0_{place % 2}.png")
    return tmp_path / "reference", tmp_path / "test"


def stop_after(count):
    def progress(done, total, what):
        if done == count:
            raise KeyboardInterrupt

    return progress


def test_a_reference_image_is_compared_with_other_photographs_only(tiny, folders, tmp_path):
    run = detect(tiny.make(), *folders, tmp_path / "run", **OPTIONS)
    judgement = judgement_of(run)
    latents = torch.stack([run.arrays(image.sample)["latent"].flatten() for image in judgement.images]).double()
    distances = torch.cdist(latents, latents[:6])
    own = torch.block_diag(*[torch.ones(2, 2)] * 3).bool()
    distances[:6] = distances[:6].masked_fill(own, torch.inf)
    torch.testing.assert_close(
        judgement.novelty.scores["nearest_neighbour"].value, distances.amin(-1), rtol=1e-4, atol=1e-5
    )
    assert judgement.novelty.table.independent == (3, 3)
    limit = judgement.novelty.thresholds["pixel_energy"]
    assert limit.item() in judgement.novelty.scores["pixel_energy"].value[:6].tolist()
    assert run.rows("threshold", score="pixel_energy")[0]["value"] == limit.item()


def test_a_given_group_is_shared_by_both_folders_and_measures_nothing_again(tiny, folders, tmp_path):
    measured = []
    apart = judgement_of(detect(tiny.make(), *folders, tmp_path / "run", **OPTIONS))
    change = {"group": "^photo.", "progress": lambda *call: measured.append(call)}
    together = judgement_of(detect(tiny.make(), *folders, tmp_path / "run", **change, **OPTIONS))
    assert {call[2] for call in measured} <= {""}
    assert len(set(apart.novelty.groups)) == 6
    assert set(together.novelty.groups) == {"photo0", "photo1", "photo2"}
    one, other = (judgement.novelty.scores["nearest_neighbour"].value[6:] for judgement in (apart, together))
    assert (other >= one).all()


def test_an_interrupted_run_is_read_as_far_as_it_came_and_goes_on_to_equal_tables(tiny, folders, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        detect(tiny.make(), *folders, tmp_path / "run", progress=stop_after(8), **OPTIONS)
    early = read_run(tmp_path / "run")
    assert (len(judgement_of(early).images), early.status) == (8, "interrupted")
    measured = []
    whole = detect(tiny.make(), *folders, tmp_path / "run", progress=lambda *call: measured.append(call), **OPTIONS)
    assert measured[0] == (8, 12, "")
    assert len(judgement_of(whole).images) == 12
    fresh = detect(tiny.make(), *folders, tmp_path / "fresh", **OPTIONS)
    assert repr(whole.table.to_pylist()) == repr(fresh.table.to_pylist())


def test_too_few_finished_images_are_told(tiny, folders, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        detect(tiny.make(), *folders, tmp_path / "run", progress=stop_after(1), **OPTIONS)
    with pytest.raises(InputError, match="too few finished images yet"):
        judgement_of(read_run(tmp_path / "run"))
    assert len(read_run(tmp_path / "run").units) == 1


def test_a_score_that_is_often_no_number_is_left_out(tiny, folders, tmp_path):
    run = detect(tiny.make(), *folders, tmp_path / "run", size=16, scores="local_scaling,local_complexity")
    judgement = judgement_of(run)
    assert set(judgement.novelty.scores) == {"departure", "local_scaling"}
    assert "100 %" in judgement.novelty.left_out["local_complexity"]
    assert [entry["what"] for entry in read_run(run.path).info["left_out"]] == ["local_complexity"]


def test_an_image_that_changed_is_that_images_failure(tiny, folders, tmp_path):
    def replace(done, total, what):
        if done == 1 and what == "reference-photo0_0_0":
            shutil.copy(folders[1] / "photo2_0_1.png", folders[1] / "photo2_0_0.png")

    run = detect(tiny.make(), *folders, tmp_path / "run", progress=replace, **OPTIONS)
    assert [entry["unit"] for entry in run.info["failed"]] == ["test-photo2_0_0"]
    assert "another image than when this run began" in run.info["failed"][0]["reason"]
    assert len(run.units) == 11


@pytest.mark.parametrize(
    "option",
    [{"level": "high"}, {"level": True}, {"level": 0}, {"score": 3}, {"limit": -1}, {"limit": 1}, {"labels": ""}],
)
def test_mistakes(tiny, folders, tmp_path, option):
    with pytest.raises(InputError):
        detect(tiny.make(), *folders, tmp_path / "run", **{**OPTIONS, **option})
    assert not (tmp_path / "run").exists()


def test_a_survey_is_no_detection(tiny, folders, tmp_path):
    survey(tiny.make(), folders[0], tmp_path / "run", size=16, limit=1, descriptors="local_rank")
    with pytest.raises(InputError, match="holds a run of `theodolite survey`"):
        detect(tiny.make(), *folders, tmp_path / "run", **OPTIONS)
