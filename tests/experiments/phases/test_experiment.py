"""Phase maps of tiny families: against exact metrics, round trips, resuming, and what is refused."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from theodolite.data.plane_family import PlaneFamily
from theodolite.errors import InputError
from theodolite.experiments.phases.level import Level
from theodolite.families import ParameterGrid, PhaseMap, map_family, spread_parameters
from theodolite.maps import Autoencoder
from theodolite.maps.adapters import subject_of
from theodolite.runs import read_run
from theodolite.runs.functions import function_of
from theodolite.zoo.phase_families import IsingFamily, MixtureFamily

D = torch.float64
TINY = {"side": 3, "grid": 8, "samples": 60, "bundle": 6}
phases = function_of("phases")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("phases") / "run"
    return phases("zoo:ising", out=out, zoom=2.0, between=[(0.1, -0.3, 0.5, 0.3)], **TINY)


def levels(run):
    return [Level(run.piece(unit)) for unit in run.units]


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
    again = read_run(run.path)
    assert (again.status, again.units) == ("complete", ["level-0", "level-1"])
    family = IsingFamily(3)
    grid = ParameterGrid(*family.box, (8, 8))
    it = map_family(family, grid, samples=60, bundle=6, seed=0, tell=lambda what: None)
    level = levels(again)[0]
    assert level.grid == grid
    assert torch.equal(level.piece.arrays["metric"], it.metric.matrices)
    assert torch.equal(level.piece.arrays["metric_stderr"], it.metric.stderr)
    for name in ("regions", "boundary", "ridges"):
        assert torch.equal(level.marks(name), getattr(it.phases, name))
    assert torch.equal(level.piece.arrays["height"], it.phases.height)
    assert {(a, b): height for a, b, height in level.piece.about["saddles"]} == it.phases.saddles
    assert {name: row["value"] for name, row in level.numbers.items()} == {
        name: float(estimate.value) for name, estimate in it.numbers.items()
    }
    for name, estimate in (("potential", it.surface), ("log_determinant", it.metric.log_determinant)):
        field = level.field(name)
        assert torch.equal(field.value, estimate.value)
        assert torch.equal(field.stderr, estimate.stderr)
        assert (field.statuses, field.n) == (estimate.statuses, estimate.n)


def test_every_cell_is_a_row_of_the_table_of_cells(run):
    cells = run.parquet("cells")
    assert len(cells) == 2 * 64
    level = levels(run)[1]
    row = cells[64 + 13]
    assert (row["level"], row["first"], row["second"]) == (1, *level.grid.points[13].tolist())
    assert row["region"] == int(level.marks("regions")[13])
    estimate = level.field("largest_eigenvalue")
    assert row["largest_eigenvalue"] == float(estimate.value[13])
    assert row["largest_eigenvalue_stderr"] == float(estimate.stderr[13])
    assert row["largest_eigenvalue_status"] == estimate.statuses[13]


def test_samples_of_regions_and_along_every_curve_are_stored(run):
    for unit, level in zip(run.units, levels(run)):
        assert level.curves
        for place in range(len(level.curves)):
            with Image.open(run.picture(unit, f"curve-{place}")) as strip:
                assert strip.width > 7 * strip.height
        for region, cells in enumerate(level.piece.about["pictured"]):
            assert all(run.picture(unit, f"region-{region}-{n}") for n in range(len(cells)))


def test_pictured_cells_climb_from_the_floor_of_a_region_to_its_steepest_cell():
    grid = ParameterGrid((0.0, 0.0), (1.0, 1.0), (3, 3))
    height = torch.tensor([5.0, 1.0, 4.0, 2.0, 9.0, 3.0, 0.0, 8.0, 7.0], dtype=D)
    regions = torch.tensor([0, 0, 0, 0, 1, 0, 1, 1, 1])
    marks = torch.zeros(9, dtype=torch.bool)
    phase_map = PhaseMap(grid, height, regions, marks, marks, {})
    assert phase_map.climb(0, 3).tolist() == [1, 5, 0]
    assert phase_map.climb(1, 4).tolist() == [6, 8, 7, 4]


def test_zoom_is_a_smaller_box_inside_around_the_steepest_cell(run):
    first, second = levels(run)
    assert first.grid.inside(second.grid.points).all()
    torch.testing.assert_close(second.grid.spacing, first.grid.spacing / 2)
    steepest = first.grid.points[int(first.piece.arrays["height"].argmax())]
    assert bool(second.grid.inside(steepest))


def test_numbers_and_geodesics_carry_errors(run):
    level = levels(run)[0]
    assert level.numbers["error_median"]["value"] < 0.2
    (requested,) = [curve for curve in level.curves if curve.kind == "requested"]
    torch.testing.assert_close(requested.points[0], torch.tensor([0.1, -0.3], dtype=D))
    gap, length, straight = (requested.numbers[name] for name in ("gap", "length", "straight_length"))
    assert length["stderr"] > 0
    assert abs(gap["value"] - (1 - length["value"] / straight["value"])) < 1e-12
    assert float(level.field("potential").value.mean()) == pytest.approx(0, abs=1e-9)


def test_a_run_again_is_the_same(run, tmp_path):
    again = phases("zoo:ising", out=tmp_path / "run", **TINY)
    torch.testing.assert_close(levels(again)[0].piece.arrays["metric"], levels(run)[0].piece.arrays["metric"])


@pytest.mark.slow
def test_phases_of_the_mixture_diffusion_are_its_basins(tmp_path):
    (level,) = levels(phases("zoo:mixture-diffusion", out=tmp_path / "run", grid=20, samples=4000))
    family = MixtureFamily()
    basins, regions = family.model.basins(family.sampler(level.grid.points)), level.marks("regions")
    assert int(regions.max()) + 1 == 3
    table = torch.zeros(3, 3, dtype=D)
    table.index_put_((regions, basins), torch.ones(len(basins), dtype=D), accumulate=True)
    pairs, rows, columns = ((n * (n - 1) / 2).sum() for n in (table, table.sum(1), table.sum(0)))
    chance = rows * columns / (len(basins) * (len(basins) - 1) / 2)
    assert float((pairs - chance) / ((rows + columns) / 2 - chance)) >= 0.95


def test_a_plane_of_a_linear_decoder_has_its_constant_metric(anchors, tmp_path):
    files = anchors([0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [0.5, 2.0, 0.0])
    family = PlaneFamily(subject_of(identity()), files, "pixels", None, 0.0)
    sides = torch.tensor([[1.0, 0.0, 0.5], [0.5, 2.0, 0.0]], dtype=D)
    exact = sides @ sides.mT / 3
    torch.testing.assert_close(family.fisher(torch.tensor([[0.3, 0.4]], dtype=D))[0], exact)
    settings = {"anchor": files, "embedding": "pixels", "noise": 0.0}
    run = phases(identity(), out=tmp_path / "run", grid=12, samples=1500, **settings)
    (level,) = levels(run)
    inner = level.piece.arrays["metric"].reshape(12, 12, 2, 2)[3:-3, 3:-3]
    error = torch.linalg.matrix_norm(inner - exact) / torch.linalg.matrix_norm(exact)
    assert float(error.median()) < 0.1
    assert level.numbers["regions"]["value"] == 1
    assert run.info["model"]["name"] == "identity"
    assert [end["name"] for end in run.info["family"]["anchors"]] == ["0", "1", "2"]


@pytest.fixture(scope="module")
def step(tmp_path_factory):
    """A plane across which one pixel goes from -1 to 1 in a fortieth of its side."""
    folder, files = tmp_path_factory.mktemp("step"), []
    for place, latent in enumerate(([-0.5, 0.0], [0.5, 0.0], [-0.5, 1.0])):
        files.append(str(folder / f"{place}.safetensors"))
        save_file({"latent": torch.tensor(latent)}, files[-1])

    def decode(z):
        return torch.stack([torch.tanh(40 * (z[:, 0] - 0.013)), z[:, 1], 0 * z[:, 0]], 1)[:, None, None]

    model = Autoencoder(lambda x: x.flatten(1)[:, :2], decode, name="step", latent_shape=(2,), image_channels=1)
    settings = {"anchor": files, "embedding": "pixels", "noise": 0.0, "grid": 12, "samples": 600, "bundle": 20}
    return phases(model, out=folder / "run", **settings)


def test_a_boundary_is_followed_to_its_lipschitz_constant(step):
    (constant,), (exponent,) = (step.rows(name, boundary=0) for name in ("boundary_constant", "boundary_exponent"))
    assert constant["low"] <= 40 / 3**0.5 <= constant["high"]
    assert constant["value"] == pytest.approx(40 / 3**0.5, rel=1e-3)
    assert exponent["value"] == pytest.approx(0, abs=1e-3)
    assert constant["kind"] == "0 | 1"
    scales = [row["scale"] for row in step.rows("boundary_slope", boundary=0)]
    assert scales == sorted(scales, reverse=True)
    assert 1e-8 <= scales[-1] < 2e-7


def test_the_boundary_of_a_plane_has_a_dimension_and_stands_on_the_page(step):
    (dimension,) = step.rows("boundary_dimension")
    assert dimension["low"] < 1 < dimension["high"]
    assert dimension["high"] - dimension["low"] < 1
    tables = {table.name: table for table in step.experiment.page(step).tables}
    assert [str(row.cells[0]) for row in tables["boundaries"].body] == ["0 | 1"]
    assert "dimension" in tables


def test_none_are_followed_where_none_are_wanted_or_samples_scatter(step, run):
    assert "boundary_constant" not in run.quantities
    assert not [table for table in run.experiment.page(run).tables if table.name == "boundaries"]


def test_noise_on_the_way_is_held_fixed_and_refused_where_there_is_none():
    diffusers = pytest.importorskip("diffusers")
    from theodolite import Denoiser

    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    model = Denoiser(lambda y, index: 0.1 * y, "eps", "index", scheduler, shape=(1, 2, 2), name="linear")
    plain, still, noisy, other = (
        subject_of(model, "sampler", steps=4, eta=eta, draws=draws)
        for eta, draws in ((None, None), (0.0, 7), (1.0, 7), (1.0, 8))
    )
    z = torch.ones(2, 1, 2, 2, dtype=D)
    torch.testing.assert_close(still.outputs(z), plain.outputs(z))
    outputs = noisy.outputs(z)
    assert torch.equal(outputs[0], outputs[1])  # of one noise, which all samples share
    assert float((outputs - plain.outputs(z)).abs().max()) > 0.1
    assert not torch.equal(outputs, other.outputs(z))
    with pytest.raises(InputError, match="--eta belongs to a sampler"):
        subject_of(identity(), eta=1.0)


def test_an_embedding_ships_and_keeps_the_precision_of_images():
    from theodolite.data.plane_family import embedding_of
    from theodolite.zoo import coloured_digits

    embed = embedding_of("theodolite.zoo:digit_features")
    images, labels = coloured_digits([(0, "green"), (1, "red")] * 8, held_out=True, generator=0)
    features = embed(images.double())
    assert (features.shape, features.dtype) == ((16, 48), D)
    apart = torch.cdist(features, features)
    same = labels[:, None, 0] == labels[None, :, 0]
    assert float(apart[same].mean()) < 0.7 * float(apart[~same].mean())


def test_parameters_are_spread_evenly_and_by_their_seed():
    grid = ParameterGrid((0.0, -1.0), (1.0, 1.0), (4, 4))
    theta = spread_parameters(grid, 64, 3)
    assert grid.inside(theta).all()
    counts = torch.histogramdd(theta, bins=[4, 4], range=[0.0, 1.0, -1.0, 1.0]).hist
    assert torch.equal(counts, torch.full((4, 4), 4.0, dtype=D))
    assert torch.equal(theta, spread_parameters(grid, 64, 3))
    assert not torch.equal(theta, spread_parameters(grid, 64, 4))


def stopped_at(word):
    def stop(done, total, what):
        if word in what:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("word", ["level-0: metric", "level-1: geodesics", "level-1: pictures"])
def test_a_killed_run_goes_on_to_equal_tables(run, tmp_path, word):
    settings = {"zoom": 2.0, "between": [(0.1, -0.3, 0.5, 0.3)], **TINY}
    with pytest.raises(KeyboardInterrupt):
        phases("zoo:ising", out=tmp_path / "run", progress=stopped_at(word), **settings)
    half = read_run(tmp_path / "run")
    assert (half.status, half.units) == ("interrupted", ["level-0"] if "level-1" in word else [])
    again = phases("zoo:ising", out=tmp_path / "run", **settings)
    assert again.status == "complete"
    assert again.table.equals(run.table)
    assert again.parquet("cells") == run.parquet("cells")
    for unit in run.units:
        arrays = run.arrays(unit)
        assert arrays.keys() == again.arrays(unit).keys()
        assert all(torch.equal(array, again.arrays(unit)[name]) for name, array in arrays.items())


def test_a_map_can_be_zoomed_later_and_by_another_factor(run, tmp_path):
    out = tmp_path / "run"
    settings = {"between": [(0.1, -0.3, 0.5, 0.3)], **TINY}
    phases("zoo:ising", out=out, **settings)
    measured = []
    again = phases("zoo:ising", out=out, zoom=2.0, progress=lambda done, total, what: measured.append(what), **settings)
    assert not any(what.startswith("level-0:") for what in measured)
    assert again.table.equals(run.table)
    other = phases("zoo:ising", out=out, zoom=4.0, **settings)
    torch.testing.assert_close(levels(other)[1].grid.spacing, levels(other)[0].grid.spacing / 4)
    assert other.rows("regions", level=0) == run.rows("regions", level=0)


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
        ("zoo:digits", {"anchor": ["seed:1", "seed:2"]}, "three anchors"),
        ("zoo:digits", {"anchor": ["seed:1", "seed:2", "seed:1"]}, "are the same"),
        ("zoo:digits", {"anchor": ["seed:1", "seed:2", "seed:3"], "embedding": "clip"}, "pixels, patches"),
        ("zoo:digits", {"anchor": ["seed:1", "seed:2", "seed:3"], "embedding": "no.where:f"}, "could not be made"),
        ("zoo:digits", {"anchor": ["seed:1", "seed:2", "seed:3"], "noise": 1.0}, r"noise in \[0, 1\)"),
        ("zoo:digits", {"anchor": ["seed:1", "seed:2", "nowhere.png"]}, "no regular file"),
        ("zoo:ising", {"zoom": float("inf")}, "zoom"),
        ("zoo:ising", {"between": [(0.1, 0.1, 0.1, 0.1)]}, "two ends"),
        ("zoo:ising", {"device": "nonsense"}, "device"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(source, settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        phases(source, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_setting_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(TypeError, match="colour"):
        phases("zoo:ising", out=tmp_path / "run", colour=1)


def test_anchors_on_a_line_and_empty_cells_are_refused(anchors, tmp_path):
    files = anchors([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    with pytest.raises(InputError, match="on one line"):
        phases(identity(), out=tmp_path / "run", anchor=files)
    files = anchors([0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [0.5, 2.0, 0.0])
    with pytest.raises(InputError, match="leaves cells empty"):
        phases(identity(), out=tmp_path / "run", anchor=files, grid=8, samples=20)
    assert not (tmp_path / "run").exists()


def test_samples_that_are_no_numbers_fail_by_name(anchors, tmp_path):
    files = anchors([0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [0.5, 2.0, 0.0])
    broken = Autoencoder(lambda x: x, lambda z: z[:, None, None] / 0, name="broken", latent_shape=(3,))
    with pytest.raises(RuntimeError, match="finite features"):
        phases(broken, out=tmp_path / "run", anchor=files, grid=8, embedding="pixels")
    run = read_run(tmp_path / "run")
    assert (run.status, run.units) == ("interrupted", [])
    assert "finite features" in run.info["failed"][0]["reason"]


def test_another_kind_of_run_is_not_overwritten(run):
    with pytest.raises(InputError, match="theodolite phases"):
        function_of("path")(identity(), "seed:1", "seed:2", out=run.path)


def test_another_configuration_leaves_the_run_that_is_there(run):
    before = (run.path / "run.json").read_bytes()
    settings = {"zoom": 2.0, "between": [(0.1, -0.3, 0.5, 0.3)], **TINY}
    with pytest.raises(InputError, match="bundle 6 there, 3000 here"):
        phases("zoo:ising", out=run.path, **{**settings, "bundle": 3000})
    with pytest.raises(InputError, match="another family"):
        phases("zoo:tasep", out=run.path, grid=8, samples=60, bundle=6, between=[(0.1, 0.3, 0.5, 0.3)])
    assert phases("zoo:ising", out=run.path, **settings).status == "complete"
    assert (run.path / "run.json").read_bytes() == before


def test_a_family_of_ones_own_can_be_mapped(tmp_path):
    family = IsingFamily(3)
    family.name = "of my own"
    run = phases(family, out=tmp_path / "run", grid=8, samples=60, bundle=6)
    assert run.info["family"]["name"] == "of my own"
    assert run.info["arguments"] == {"source": "of my own"}
