"""Interpolations against closed forms; their run folder, interruption, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file
from theodolite.surveys.paths import slerp
from theodolite.surveys.paths_store import read_paths

from theodolite.errors import InputError
from theodolite.maps import Autoencoder
from theodolite.surveys import interpolate
from theodolite.surveys.store import read_parquet

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
    return interpolate(model, *ends, out=tmp_path / "run", steps=16)


def test_arcs_and_chords_have_their_lengths(found):
    routes = {route.name: route for route in found.routes}
    arc, chord = 2 * math.pi / 3 / 2**0.5, math.sqrt(3) / 2**0.5  # root mean square over two pixels
    line = routes["linear"].numbers
    value, width = float(line["length"].value), float(line["length"].stderr)
    assert value < arc < value + width
    assert abs(value + width / 4.5 - arc) < 1e-5  # what is left of a smooth map, a third of a difference of chords
    assert line["length"].status == "lower-bound"
    assert abs(float(line["chord"].value) - chord) < 1e-6
    assert float(line["gap"].value) == 0
    assert float(line["jump_variation"].value) < 1e-5
    shortest = routes["geodesic"]
    assert shortest.status == "ok"
    assert abs(float(shortest.numbers["length"].value) / chord - 1) < 1e-3
    gap = shortest.numbers["gap"]
    assert abs(float(gap.value) - (1 - chord / arc)) < 2 * float(gap.stderr) + 1e-3
    assert abs(float(shortest.numbers["tortuosity"].value) - 1) < 1e-3


def test_routes_begin_and_end_where_they_should(found):
    for route in found.routes:
        torch.testing.assert_close(route.latents[[0, -1]].double(), found.routes[0].latents[[0, -1]].double())
        assert route.images.shape == (17, 1, 1, 2)
        assert route.jumps.shape == (16,)


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
    again = read_paths(tmp_path / "run")
    assert again.info["status"] == "complete"
    assert [route.name for route in again.routes] == ["linear", "slerp", "geodesic"]
    for one, other in zip(found.routes, again.routes):
        torch.testing.assert_close(one.images, other.images)
        for name, number in one.numbers.items():
            assert float(number.value) == float(other.numbers[name].value)
            assert number.status == other.numbers[name].status
        assert (tmp_path / "run" / "strips" / f"{one.name}.png").stat().st_size > 50
    steps = read_parquet(tmp_path / "run" / "steps.parquet").to_pylist()
    assert len(steps) == 3 * 16


def test_an_interrupt_keeps_finished_routes(model, ends, tmp_path):
    def stop(done, total, what):
        if what.startswith("geodesic"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interpolate(model, *ends, out=tmp_path / "cut", progress=stop)
    kept = read_paths(tmp_path / "cut")
    assert kept.info["status"] == "interrupted"
    assert [route.name for route in kept.routes] == ["linear", "slerp"]


def test_seeds_are_latents_and_the_same_each_time(model, tmp_path):
    runs = [interpolate(model, "seed:1", "seed:2", out=tmp_path / str(i), via="linear") for i in range(2)]
    torch.testing.assert_close(runs[0].routes[0].images, runs[1].routes[0].images)
    assert runs[0].info["ends"][0] == {"name": "seed:1", "seed": 1}


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (("seed:1", "seed:1"), {}, "two different latents"),
        (("seed:1", "seed:x"), {}, "seed:3"),
        (("seed:1", "seed:²"), {}, "seed:3"),
        (("seed:1", "nowhere.png"), {}, "no file"),
        (("seed:1", "seed:2"), {"via": "sideways"}, "linear, slerp, geodesic"),
        (("seed:1", "seed:2"), {"steps": 3}, "at least 4"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(model, tmp_path, words, settings, message):
    with pytest.raises(InputError, match=message):
        interpolate(model, *words, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_broken_latents_and_outputs_are_refused(model, ends, tmp_path):
    bad = {"nan": torch.tensor([math.nan, 0.0]), "long": torch.zeros(3)}
    for name, latent in bad.items():
        save_file({"latent": latent}, tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match="finite latents"):
        interpolate(model, ends[0], str(tmp_path / "nan.safetensors"), out=tmp_path / "run")
    with pytest.raises(InputError, match="one shape"):
        interpolate(model, ends[0], str(tmp_path / "long.safetensors"), out=tmp_path / "run")
    holes = Autoencoder(
        lambda x: x, lambda z: polar(z) / (z[:, 1] - z[:, 1])[:, None, None, None], name="holes", latent_shape=(2,)
    )
    with pytest.raises(InputError, match="finite outputs"):
        interpolate(holes, *ends, out=tmp_path / "run", via="linear")
