"""Interpolations against closed forms; their run folder, interruption, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file

from theodolite import Denoiser, path
from theodolite.errors import InputError
from theodolite.geodesics.arc import slerp
from theodolite.maps import Autoencoder
from theodolite.runs import read_run

D = torch.float64


def polar(latents):
    """Radius and angle to the plane: straight lines of latents at one radius are arcs, the shortest ways chords."""
    r, angle = latents.unbind(-1)
    return torch.stack([r * angle.cos(), r * angle.sin()], -1)[:, None, None]


@pytest.fixture
def model():
    return Autoencoder(lambda x: x.flatten(1), polar, name="polar", latent_shape=(2,), image_channels=1)


@pytest.fixture
def ends(tmp_path):
    """Two latents at radius one, a third of a turn apart."""
    files = []
    for place, angle in enumerate((0.0, 2 * math.pi / 3)):
        files.append(str(tmp_path / f"{place}.safetensors"))
        save_file({"latent": torch.tensor([1.0, angle], dtype=D)}, files[-1])
    return files


@pytest.fixture
def found(model, ends, tmp_path):
    return path(model, *ends, out=tmp_path / "run", steps=16)


def value(run, route, quantity):
    (row,) = run.rows(quantity, route=route)
    return row


def test_arcs_and_chords_have_their_lengths(found):
    arc, chord = 2 * math.pi / 3 / 2**0.5, math.sqrt(3) / 2**0.5  # root mean square over two pixels
    length = value(found, "linear", "length")
    bound, width = length["value"], length["stderr"]
    assert bound < arc < bound + width
    assert abs(bound + width / 4.5 - arc) < 1e-5  # what is left of a smooth map, a third of a difference of chords
    assert (length["low"], length["high"]) == pytest.approx(
        (length["value"], length["value"] + 1.96 * length["stderr"])
    )
    assert length["status"] == "lower-bound"
    assert abs(value(found, "linear", "chord")["value"] - chord) < 1e-6
    assert value(found, "linear", "gap")["value"] == 0
    assert value(found, "linear", "jump_variation")["value"] < 1e-5
    assert found.about("geodesic")["curve"] == "ok"
    assert abs(value(found, "geodesic", "length")["value"] / chord - 1) < 1e-3
    gap = value(found, "geodesic", "gap")
    assert abs(gap["value"] - (1 - chord / arc)) < 2 * gap["stderr"] + 1e-3
    assert abs(value(found, "geodesic", "tortuosity")["value"] - 1) < 1e-3


def test_lengths_in_an_embedding_are_those_of_its_curve(model, ends, tmp_path):
    """Pixels as features give the lengths of images again."""
    run = path(model, *ends, out=tmp_path / "run", steps=16, via="linear", embedding="pixels")
    for embedded, plain in (("embedded_length", "length"), ("embedded_chord", "chord")):
        assert value(run, "linear", embedded)["value"] == pytest.approx(value(run, "linear", plain)["value"], rel=1e-6)
    assert value(run, "linear", "embedded_length")["status"] == "lower-bound"
    page = run.experiment.page(run)
    assert "In the embedding the linear route is the straightest" in page.readings[-1]
    assert any(column.name == "embedded_tortuosity" for column in page.tables[0].heads)
    with pytest.raises(InputError, match="embedding pixels, patches"):
        path(model, *ends, out=tmp_path / "other", embedding="nothing")


def test_routes_begin_and_end_where_they_should(found):
    first = found.arrays("linear")["latents"]
    for route in found.units:
        arrays = found.arrays(route)
        torch.testing.assert_close(arrays["latents"][[0, -1]].double(), first[[0, -1]].double())
        assert arrays["images"].shape == (17, 1, 1, 2)
        assert [row["step"] for row in found.rows("jump", route=route)] == list(range(1, 17))


def test_slerp_keeps_norms_and_turns_evenly():
    a, b = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=D)
    s = torch.linspace(0, 1, 9, dtype=D)
    points = slerp(a, 2 * b / b.norm() * a.norm(), s).flatten(1)
    torch.testing.assert_close(points.norm(dim=1), a.norm() * (1 + s))
    unit = points / points.norm(dim=1, keepdim=True)
    steps = (unit[1:] * unit[:-1]).sum(1).acos()
    torch.testing.assert_close(steps, steps.mean().expand(8))
    torch.testing.assert_close(slerp(a, a * (1 + 1e-9), s)[4], a)
    with pytest.raises(InputError, match="opposite"):
        slerp(a, -a, s)
    with pytest.raises(InputError, match="zero"):
        slerp(a, 0 * a, s)


def test_the_folder_gives_back_what_was_measured(found, tmp_path):
    again = read_run(tmp_path / "run")
    assert again.info["status"] == "complete"
    assert again.units == ["linear", "slerp", "geodesic"]
    assert again.table.equals(found.table)
    for route in again.units:
        assert torch.equal(again.arrays(route)["images"], found.arrays(route)["images"])  # stored, not computed again
        assert again.picture(route, "strip").stat().st_size > 50
    assert len(again.rows("jump")) == 3 * 16


@pytest.mark.parametrize("route", ["linear", "slerp", "geodesic"])
def test_an_interrupt_keeps_finished_routes_and_resumes_to_equal_tables(model, ends, found, tmp_path, route):
    def stop(done, total, what):
        if what.startswith(route):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        path(model, *ends, out=tmp_path / "cut", steps=16, progress=stop)
    kept = read_run(tmp_path / "cut")
    assert kept.info["status"] == "interrupted"
    assert kept.units == found.units[: found.units.index(route)]
    resumed = path(model, *ends, out=tmp_path / "cut", steps=16)
    assert resumed.status == "complete"
    assert resumed.table.drop_columns(["value", "stderr", "low", "high"]).equals(
        found.table.drop_columns(["value", "stderr", "low", "high"])
    )
    for name in ("value", "stderr", "low", "high"):
        torch.testing.assert_close(*(torch.tensor(run.table[name].to_pylist()) for run in (resumed, found)))


def test_another_route_is_added_without_measuring_the_first_again(model, ends, found, tmp_path):
    path(model, *ends, out=tmp_path / "grown", steps=16, via="linear")
    told = []
    grown = path(model, *ends, out=tmp_path / "grown", steps=16, progress=lambda *call: told.append(call[2]))
    assert not any(what.startswith("linear") for what in told)
    assert grown.units == found.units
    with pytest.raises(InputError, match="steps 16 there, 17 here"):
        path(model, *ends, out=tmp_path / "grown", steps=17)


def test_seeds_are_latents_and_the_same_each_time(model, tmp_path):
    runs = [path(model, "seed:1", "seed:2", out=tmp_path / str(i), via="linear") for i in range(2)]
    torch.testing.assert_close(runs[0].arrays("linear")["images"], runs[1].arrays("linear")["images"])
    assert runs[0].info["ends"][0] == {"name": "seed:1", "seed": 1}


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (("seed:1", "seed:1"), {}, "two different latents"),
        (("seed:1", "seed:x"), {}, "seed:3"),
        (("seed:1", "seed:²"), {}, "seed:3"),
        (("seed:1", "nowhere.png"), {}, "no regular file"),
        (("seed:1", "seed:2"), {"via": "sideways"}, "linear, slerp, geodesic"),
        (("seed:1", "seed:2"), {"steps": 3}, "4 or more"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(model, tmp_path, words, settings, message):
    with pytest.raises(InputError, match=message):
        path(model, *words, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_broken_latents_and_outputs_are_refused(model, ends, tmp_path):
    bad = {"nan": torch.tensor([math.nan, 0.0]), "long": torch.zeros(3)}
    for name, latent in bad.items():
        save_file({"latent": latent}, tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match="finite latents"):
        path(model, ends[0], str(tmp_path / "nan.safetensors"), out=tmp_path / "run")
    with pytest.raises(InputError, match="one shape"):
        path(model, ends[0], str(tmp_path / "long.safetensors"), out=tmp_path / "run")
    holes = Autoencoder(
        lambda x: x, lambda z: polar(z) / (z[:, 1] - z[:, 1])[:, None, None, None], name="holes", latent_shape=(2,)
    )
    with pytest.raises(InputError, match="finite outputs"):
        path(holes, *ends, out=tmp_path / "run", via="linear")


def test_noise_on_the_way_is_one_for_the_whole_path(tmp_path):
    """With `eta` 1 all points of a path share their draws: of a linear denoiser it stays a straight line."""
    model = Denoiser(lambda x, sigma: x / (1 + sigma**2), shape=(1, 2, 2), name="linear")
    model.net.levels = lambda steps: [8.0 * 0.5**step for step in range(steps)] + [0.0]
    options = {"via": "linear", "steps": 4, "sampler_steps": 3, "embedding": "pixels"}
    plain, noisy = (path(model, "seed:1", "seed:2", out=tmp_path / f"{eta}", eta=eta, **options) for eta in (0.0, 1.0))
    for run in (plain, noisy):
        for name in ("length", "embedded_length"):
            assert value(run, "linear", name)["value"] > 0
        assert value(run, "linear", "tortuosity")["value"] == pytest.approx(1.0, abs=1e-6)
    assert value(noisy, "linear", "length")["value"] < value(plain, "linear", "length")["value"]
