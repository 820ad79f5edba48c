"""Phase maps of tiny families: against exact metrics, round trips, interruption, and what is refused."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from theodolite.errors import InputError
from theodolite.families import ParameterGrid
from theodolite.maps import Autoencoder
from theodolite.surveys import map_phases
from theodolite.surveys.families import spread_parameters
from theodolite.surveys.phase_maps import DEFAULTS, open_family
from theodolite.surveys.phase_store import read_phases, strip_path
from theodolite.surveys.store import read_parquet

D = torch.float64
TINY = {"side": 3, "grid": 8, "samples": 60, "bundle": 6}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("phases") / "run"
    levels, info = map_phases("zoo:ising", out=out, zoom=2.0, between=[(0.1, -0.3, 0.5, 0.3)], **TINY)
    return out, levels, info


def identity():
    return Autoencoder(
        lambda x: x.flatten(1), lambda z: z[:, None, None], name="identity", latent_shape=(3,), image_channels=1
    )


@pytest.fixture
def anchors(tmp_path):
    def save(*latents):
        files = []
        for place, latent in enumerate(latents):
            files.append(str(tmp_path / f"{place}.safetensors"))
            save_file({"latent": torch.tensor(latent, dtype=D)}, files[-1])
        return files

    return save


def test_the_folder_gives_back_what_was_measured(run):
    out, levels, info = run
    again, there = read_phases(out)
    assert there["status"] == info["status"] == "complete"
    assert len(again) == len(levels) == 2
    for one, other in zip(levels, again):
        assert one.grid == other.grid
        for name in ("matrices", "stderr"):
            torch.testing.assert_close(getattr(one.metric, name), getattr(other.metric, name))
        for name in ("regions", "boundary", "ridges", "height"):
            assert torch.equal(getattr(one.phases, name), getattr(other.phases, name))
        assert one.phases.saddles == other.phases.saddles
        assert [curve.kind for curve in one.curves] == [curve.kind for curve in other.curves]
        assert {k: float(v.value) for k, v in one.numbers.items()} == {
            k: float(v.value) for k, v in other.numbers.items()
        }
        assert torch.equal(one.places, other.places)
    assert len(read_parquet(out / "cells.parquet")) == 2 * 64


def test_samples_along_every_curve_are_stored(run):
    out, levels, _ = run
    for n, level in enumerate(levels):
        files = [strip_path(out, n, place) for place in range(len(level.curves))]
        assert files
        assert len(level.strips) == len(files)
        for file, strip in zip(files, level.strips):
            with Image.open(file) as stored:
                assert stored.size == strip.size
                assert stored.width > 7 * stored.height


def test_zoom_is_a_smaller_box_inside(run):
    _, (first, second), _ = run
    assert first.grid.inside(second.grid.points).all()
    torch.testing.assert_close(second.grid.spacing, first.grid.spacing / 2)


def test_numbers_and_geodesics_carry_errors(run):
    _, (level, _), _ = run
    assert float(level.numbers["error_median"].value) < 0.2
    (asked,) = [curve for curve in level.curves if curve.kind == "asked"]
    torch.testing.assert_close(asked.points[0], torch.tensor([0.1, -0.3], dtype=D))
    gap, length, straight = (asked.numbers[name] for name in ("gap", "length", "straight_length"))
    assert float(length.stderr) > 0
    assert abs(float(gap.value) - (1 - float(length.value / straight.value))) < 1e-12
    assert float(level.potential.value.mean()) == pytest.approx(0, abs=1e-9)


def test_a_run_again_is_the_same(run, tmp_path):
    _, (level, _), _ = run
    (again,), _ = map_phases("zoo:ising", out=tmp_path / "run", **TINY)
    torch.testing.assert_close(again.metric.matrices, level.metric.matrices)


def test_phases_of_the_mixture_diffusion_are_its_basins(tmp_path):
    (level,), _ = map_phases("zoo:mixture-diffusion", out=tmp_path / "run", grid=20, samples=4000)
    family = open_family("zoo:mixture-diffusion", DEFAULTS)
    basins = family.model.basins(family.sampler(level.grid.points))
    assert level.phases.count == 3
    table = torch.zeros(3, 3, dtype=D)
    table.index_put_((level.phases.regions, basins), torch.ones(len(basins), dtype=D), accumulate=True)
    pairs, rows, columns = ((n * (n - 1) / 2).sum() for n in (table, table.sum(1), table.sum(0)))
    chance = rows * columns / (len(basins) * (len(basins) - 1) / 2)
    assert float((pairs - chance) / ((rows + columns) / 2 - chance)) >= 0.95


def test_a_plane_of_a_linear_decoder_has_its_constant_metric(anchors, tmp_path):
    files = anchors([0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [0.5, 2.0, 0.0])
    settings = {"anchor": files, "embedding": "pixels", "noise": 0.0}
    family = open_family(identity(), {**DEFAULTS, **settings})
    sides = torch.tensor([[1.0, 0.0, 0.5], [0.5, 2.0, 0.0]], dtype=D)
    exact = sides @ sides.mT / 3
    found = family.fisher(torch.tensor([[0.3, 0.4]], dtype=D))[0]
    torch.testing.assert_close(found, exact)
    (level,), _ = map_phases(identity(), out=tmp_path / "run", grid=12, samples=1500, **settings)
    inner = level.metric.matrices.reshape(12, 12, 2, 2)[3:-3, 3:-3]
    error = torch.linalg.matrix_norm(inner - exact) / torch.linalg.matrix_norm(exact)
    assert float(error.median()) < 0.1
    assert level.phases.count == 1


def test_parameters_are_spread_evenly_and_by_their_seed():
    grid = ParameterGrid((0.0, -1.0), (1.0, 1.0), (4, 4))
    theta = spread_parameters(grid, 64, 3)
    assert grid.inside(theta).all()
    counts = torch.histogramdd(theta, bins=[4, 4], range=[0.0, 1.0, -1.0, 1.0]).hist
    assert torch.equal(counts, torch.full((4, 4), 4.0, dtype=D))
    assert torch.equal(theta, spread_parameters(grid, 64, 3))
    assert not torch.equal(theta, spread_parameters(grid, 64, 4))


def test_an_interrupt_keeps_the_map(tmp_path):
    def stop(done, total, what):
        if what == "geodesics":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_phases("zoo:ising", out=tmp_path / "run", progress=stop, **TINY)
    (level,), info = read_phases(tmp_path / "run")
    assert info["status"] == "interrupted"
    assert level.curves == ()
    assert level.metric.matrices.shape == (64, 2, 2)


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("zoo:ising", {"box": (-0.1, 0.5, -0.4, 0.4)}, "K >= 0"),
        ("zoo:tasep", {"box": (0.0, 0.5, 0.1, 0.4)}, "both positive"),
        ("zoo:tasep", {"box": (0.5, 0.1, 0.1, 0.4)}, "low < high"),
        ("zoo:ising", {"between": [(0.1, 0.0, 0.9, 0.0)]}, "in the box"),
        ("zoo:ising", {"sites": 4}, "does not belong"),
        ("zoo:tasep", {"anchor": ["seed:1"]}, "does not belong"),
        ("zoo:ising", {"grid": 3}, "at least 7 cells"),
        ("zoo:ising", {"zoom": 0.5}, "above 1"),
        ("zoo:ising", {"colour": 1}, "got colour"),
        ("zoo:digits", {"anchor": ["seed:1", "seed:2"]}, "three anchors"),
        ("zoo:digits", {"anchor": ["seed:1", "seed:2", "seed:1"]}, "are the same"),
        ("zoo:digits", {"anchor": ["seed:1", "seed:2", "seed:3"], "embedding": "clip"}, "pixels, patches"),
        ("zoo:digits", {"anchor": ["seed:1", "seed:2", "seed:3"], "embedding": "no.where:f"}, "could not be made"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(source, settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        map_phases(source, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_anchors_on_a_line_empty_cells_and_samples_that_are_no_numbers(anchors, tmp_path):
    files = anchors([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    with pytest.raises(InputError, match="on one line"):
        map_phases(identity(), out=tmp_path / "run", anchor=files)
    files = anchors([0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [0.5, 2.0, 0.0])
    with pytest.raises(InputError, match="leaves cells empty"):
        map_phases(identity(), out=tmp_path / "run", anchor=files, grid=8, samples=20)
    broken = Autoencoder(lambda x: x, lambda z: z[:, None, None] / 0, name="broken", latent_shape=(3,))
    with pytest.raises(InputError, match="finite features"):
        map_phases(broken, out=tmp_path / "other", anchor=files, grid=8, embedding="pixels")


def test_another_kind_of_run_is_not_overwritten(run):
    from theodolite.surveys import interpolate

    out, _, _ = run
    with pytest.raises(InputError, match="theodolite phases"):
        interpolate(identity(), "seed:1", "seed:2", out=out)


def test_a_run_that_cannot_be_made_leaves_the_one_before(tmp_path):
    out = tmp_path / "run"
    map_phases("zoo:ising", out=out, **TINY)
    before = (out / "run.json").read_bytes()
    with pytest.raises(InputError, match="cells"):
        map_phases("zoo:ising", out=out, **{**TINY, "bundle": 3000})
    assert (out / "run.json").read_bytes() == before
    assert len(read_phases(out)[0]) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zoom": float("inf")}, "zoom"),
        ({"between": [(0.1, 0.1, 0.1, 0.1)]}, "two ends"),
        ({"device": "nonsense"}, "device"),
    ],
)
def test_what_would_fail_late_is_refused_early(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        map_phases("zoo:ising", out=tmp_path / "run", **TINY, **settings)
    assert not (tmp_path / "run").exists()
