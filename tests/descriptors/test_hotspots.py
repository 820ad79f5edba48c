"""Maps of gain, curvature and detail: a map that bends in one corner, laws of scale, decoders, denoisers, samplers."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite import InputError, denoiser_map, hotspot_maps, load, load_images, sampler_map
from theodolite.descriptors.decoupling import Decoupling, decoupling
from theodolite.descriptors.hotspots import mass_on_detail, overlap_of_maps
from theodolite.detection import hotspots
from theodolite.estimates import Estimate
from theodolite.maps import LatentMap

BENT, SMOOTH = [(0, 0), (0, 1), (6, 6)], [(0, 0), (0, 1)]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cornered(bend: float = 1.0) -> LatentMap:
    """`z_0 s + z_1 c + z_0² b / 2`: detail `s` in the last corner, bending `b` in `BENT`, `c` apart from both."""
    s, b, c = torch.zeros(3, 8, 8, dtype=torch.float64)
    s[5:, 5:] = torch.tensor([[1.0, -1, 1], [-1, 2, -1], [1, -1, 1]])
    for row, column in BENT:
        b[row, column] = bend
    c[3, 2] = 0.1

    def function(z: torch.Tensor) -> torch.Tensor:
        first, second = z[:, :1, None, None], z[:, 1:, None, None]
        return first * s.to(z) + second * c.to(z) + first.square() / 2 * b.to(z)

    return LatentMap(function, (2,))


def wavy(channels: int = 2) -> LatentMap:
    """A small convolutional decoder of latents (2, 4, 4) to (channels, 8, 8)."""
    first, last = draw(6, 2, 3, 3), draw(channels, 6, 3, 3, seed=1)

    def function(z: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(torch.nn.functional.conv2d(z, first.to(z), padding=1))
        up = torch.nn.functional.interpolate(hidden, scale_factor=2)
        return torch.nn.functional.conv2d(up, last.to(z), padding=1)

    return LatentMap(function, (2, 4, 4))


def test_a_map_that_bends_in_known_cells_has_its_hotspots_there() -> None:
    z = torch.tensor([[0.0, 1.0], [0.0, -2.0]], dtype=torch.float64)
    found = hotspot_maps(cornered(), z, dimension=2, generator=3)
    masks = hotspots(found.curvature, found.detail)
    for mask, cells in ((masks.mask, BENT), (masks.wasted, SMOOTH)):
        wanted = torch.zeros(2, 8, 8, dtype=torch.bool)
        for row, column in cells:
            wanted[:, row, column] = True
        assert torch.equal(mask, wanted)
    assert float(masks.shares["area"].value) == 3 / 64
    assert abs(float(masks.shares["wasted_share"].value) - 2 / 3) < 1e-12
    assert abs(float(masks.shares["wasted_mass"].value) - 2 / 3) < 1e-9
    assert abs(float(masks.shares["mass_on_detail"].value) - 1 / 3) < 1e-9
    gain = found.gain[0]
    torch.testing.assert_close(gain[3, 2], torch.tensor(0.1, dtype=torch.float64))
    torch.testing.assert_close(gain[5, 5], torch.tensor(1.0, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["exact", "paper"])
def test_a_linear_map_bends_nowhere_and_its_hotspots_are_undefined(mode: str, dtype: torch.dtype) -> None:
    M = draw(72, 72).to(dtype)
    map = LatentMap(lambda z: (z.flatten(1) @ M.T).reshape(-1, 2, 6, 6), (2, 6, 6))
    found = hotspot_maps(map, draw(3, 2, 6, 6, seed=1).to(dtype), mode=mode, generator=4)  # type: ignore[arg-type]
    assert float(found.curvature.max()) == 0
    assert float(found.detail.min()) > 0
    none = hotspots(found.curvature, found.detail)
    assert not none.mask.any()
    assert float(none.shares["area"].value) == 0
    for name in ("wasted_share", "wasted_mass", "mass_on_detail"):
        assert none.shares[name].status == "undefined"
        assert "no curvature" in none.shares[name].message


def test_they_are_the_maps_of_the_decoupling_experiment() -> None:
    z = draw(2, 2, 4, 4)
    found, known = hotspot_maps(wavy(), z, generator=1), decoupling(wavy(), z, generator=1).maps
    for name, map in (("gain", "ls_map"), ("curvature", "lc_map"), ("detail", "phfe_map")):
        torch.testing.assert_close(getattr(found, name), known[map])
    one, other = (hotspot_maps(wavy(), z, generator=[seed, seed]) for seed in (7, 7 + 1_000_003))
    both = hotspot_maps(wavy(), z, generator=[7, 7], subspaces=2)
    torch.testing.assert_close(both.curvature, (one.curvature + other.curvature) / 2)


def test_scale_batches_and_a_turned_frame_change_nothing() -> None:
    map, z = wavy(), draw(5, 2, 4, 4, seed=2)
    found = hotspot_maps(map, z, generator=[1, 2, 3, 4, 5])
    larger = hotspot_maps(LatentMap(lambda z: 3 * map(z), (2, 4, 4)), z, generator=[1, 2, 3, 4, 5])
    alone = hotspot_maps(map, z[2:3], generator=[3])
    full = [hotspot_maps(map, z, dimension=32, neighbours=300, generator=seed) for seed in (1, 2)]
    for name in ("gain", "curvature", "detail"):
        torch.testing.assert_close(getattr(larger, name), 3 * getattr(found, name), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(getattr(alone, name)[0], getattr(found, name)[2], rtol=1e-6, atol=1e-9)
        apart = getattr(full[0], name) / getattr(full[1], name) - 1  # the frame of all directions, turned
        assert float(apart.square().mean().sqrt()) < (0.15 if name == "curvature" else 1e-6)
    one, other = (hotspots(each.curvature, each.detail) for each in (found, larger))
    assert torch.equal(one.mask, other.mask)
    assert torch.equal(one.wasted, other.wasted)


def test_the_grid_of_latents_takes_root_mean_squares() -> None:
    z = draw(2, 2, 4, 4)
    fine, coarse = (hotspot_maps(wavy(), z, grid=grid, generator=1) for grid in ("output", "latent"))
    assert fine.gain.shape == (2, 8, 8)
    assert coarse.gain.shape == (2, 4, 4)
    torch.testing.assert_close(coarse.gain[0, 1, 2].square(), fine.gain[0, 2:4, 4:6].square().mean())


def test_denoisers_and_samplers_have_maps_too() -> None:
    model = load("zoo:coloured-latent")
    noise = draw(2, *model.shape).float()
    maps = [
        denoiser_map(model, sigma=1.0, output="x0", condition=(3, "red")),
        sampler_map(model, 2, "ddim", condition=(3, "red"), guidance=2.0),
    ]
    for map in maps:
        found = hotspot_maps(map, noise, dimension=4, neighbours=1, generator=0)
        assert found.curvature.shape == (2, 8, 8)
        assert float(found.curvature.min()) >= 0
        assert math.isfinite(float(found.detail.sum()))


def test_mass_on_detail_is_that_of_the_top_tenth() -> None:
    detail = torch.arange(20.0)[None]
    curvature = torch.ones(1, 20)
    curvature[0, 19] = 11.0
    assert float(mass_on_detail(curvature, detail)) == 12 / 30
    assert mass_on_detail(0 * curvature, detail).isnan().all()


@pytest.mark.parametrize(
    ("map", "z", "options", "message"),
    [
        (LatentMap(lambda z: z, (3,)), torch.zeros(1, 3), {}, "channels"),
        (wavy(), torch.zeros(1, 2, 4, 4), {"grid": "pixels"}, "output, latent"),
        (wavy(), torch.zeros(1, 2, 4, 4), {"subspaces": 0}, "at least one"),
        (wavy(), torch.full((1, 2, 4, 4), math.nan), {}, "finite latents"),
        (LatentMap(lambda z: z / 0, (1, 2, 2)), torch.ones(1, 1, 2, 2), {}, "finite outputs"),
        (cornered(), torch.zeros(1, 2), {"grid": "latent"}, "grid of outputs"),
    ],
)
def test_what_has_no_maps_is_refused(map: LatentMap, z: torch.Tensor, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hotspot_maps(map, z, **options)


@pytest.mark.real
def test_the_decoder_of_stable_diffusion(shared) -> None:
    model = load(shared / "models" / "taesd")
    latents = model.encode(load_images(shared / "images" / "photos", size=64, limit=3))
    found = hotspot_maps(model.decoder, latents, dimension=8, neighbours=2, generator=0)
    assert found.gain.shape == (3, 64, 64)
    masks = hotspots(found.curvature, found.detail)
    assert abs(float(masks.shares["area"].value) - 0.05) < 0.001
    assert float(masks.shares["wasted_mass"]["excess"].value) < 0  # curvature and detail share the leading image


def tall(seed: int, dim: int = 30) -> LatentMap:
    M = draw(48, dim, seed=seed)
    return LatentMap(lambda z: (z @ M.T).reshape(-1, 3, 4, 4), (dim,))


@pytest.mark.parametrize("dimension", [2, 7, 20])
def test_scalars_are_means_over_subspaces_with_their_scatter(dimension: int) -> None:
    """Over 200 seeds of a linear map they cover the mean over all subspaces, and lie below `sigma_1`."""
    map, z = tall(0), draw(1, 30, seed=1)
    many = [decoupling(map, z.expand(1500, -1), dimension=dimension, neighbours=1, generator=range(1500))]
    found = hotspot_maps(
        map, z.expand(200, -1), dimension=dimension, neighbours=1, subspaces=4, generator=range(10_000, 10_200)
    )
    for name in ("ls_max", "ls_log", "effective_rank", "leading_share"):
        estimate, stated = found.quantities[f"subspace_{name}"], many[0].quantities[name].value.mean()
        assert estimate.status == "ok"
        assert estimate.n == 4
        covered = ((estimate.value - stated).abs() <= 1.96 * estimate.stderr).double().mean()
        assert covered >= 0.89
    largest = torch.linalg.matrix_norm(draw(48, 30), 2)
    assert (found.quantities["subspace_ls_max"].value < largest).all()


def test_one_subspace_has_no_error_and_is_no_number() -> None:
    map, z = tall(0), draw(2, 30, seed=1)
    one = hotspot_maps(map, z, dimension=7).quantities
    assert {estimate.status for estimate in one.values()} == {"undetermined"}
    assert "take two or more" in one["subspace_ls_max"].message
    whole = hotspot_maps(map, z, dimension=30).quantities["subspace_ls_max"]
    torch.testing.assert_close(whole.value, torch.linalg.matrix_norm(draw(48, 30), 2).expand(2))
    assert whole.status == "ok"


def test_maps_of_one_order_overlap_wholly_and_a_constant_map_has_no_rank():
    detail = torch.rand(1, 10, 10, generator=torch.Generator().manual_seed(0))
    turning, rough = torch.cat([detail, torch.ones(1, 10, 10)]), detail.square().expand(2, -1, -1)
    lc = Estimate(torch.ones(2), torch.zeros(2), 0, 2)
    overlap = overlap_of_maps(Decoupling({"lc": lc}, {"phfe_map": rough}, rough, turning.expand(2, -1, -1, -1)))
    assert overlap["map_correlation"].value[0] == pytest.approx(1.0)
    assert overlap["map_correlation"].statuses == ("ok", "undefined")
    assert overlap["mass_on_detail"].value[0] > overlap["mass_on_detail"].value[1] == pytest.approx(0.1)


def test_the_overlap_of_few_neighbours_has_no_bias_and_an_error_that_holds():
    W, V = draw(32, 8, seed=1), draw(32, 32, seed=2)
    map, z = LatentMap(lambda z: ((z @ W.T).tanh() @ V.T).reshape(-1, 2, 4, 4), (8,)), draw(1, 8, seed=3)
    options = {"dimension": 8}
    many = overlap_of_maps(decoupling(map, z, neighbours=500, generator=10_000, **options))
    few = overlap_of_maps(decoupling(map, z.expand(60, -1), neighbours=6, generator=range(60), **options))
    for name, estimate in few.items():
        scores = (estimate.value - many[name].value) / estimate.stderr
        assert estimate.status == "ok"
        assert scores.mean().abs() < 0.5, name
        assert 0.4 < scores.square().mean().sqrt() < 1.4, name


def test_the_overlap_of_one_neighbour_is_undetermined():
    map, z = LatentMap(lambda z: z.square().reshape(-1, 2, 2, 2), (8,)), draw(1, 8)
    overlap = overlap_of_maps(decoupling(map, z, neighbours=1, dimension=4))
    assert {estimate.status for estimate in overlap.values()} == {"undetermined"}
