"""The shared chart, groups of latents, seeds and efforts: the same numbers whoever computes them, and only once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import theodolite
from theodolite import InputError, LatentMap
from theodolite.descriptors import REGISTRY, Chart, Effort, groups

F64 = torch.float64
EFFORT = Effort(probes=2, depth=6, neighbours=2, axis_depth=4, directions=2, tangent_depth=3, frames=2, axes=3)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def pictures() -> LatentMap:
    torch.manual_seed(3)
    layers = (nn.Conv2d(2, 6, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv2d(6, 3, 3, padding=1))
    return LatentMap(nn.Sequential(*layers).double().eval(), (2, None, None))


@pytest.mark.parametrize("dense", [True, False])
def test_every_descriptor_gives_on_a_shared_chart_what_it_gives_alone(dense):
    map, z = pictures(), draw(2, 2, 4, 4)
    shared = Chart(map, z, generator=5, effort=EFFORT, dense=dense)
    for name, descriptor in REGISTRY.items():
        together = descriptor.function(map, z, chart=shared).named(name)
        alone = descriptor.function(map, z, generator=5, effort=EFFORT, dense=dense).named(name)
        assert together.keys() == alone.keys()
        for part, estimate in together.items():
            torch.testing.assert_close(estimate.value, alone[part].value, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(estimate.stderr, alone[part].stderr, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("name", REGISTRY)
def test_a_latent_gives_the_same_in_any_batch(name):
    map, z = pictures(), draw(4, 2, 4, 4)
    function = REGISTRY[name].function
    whole = function(map, z, generator=[3, 1, 4, 1], effort=EFFORT, dense=False).named(name)
    part = function(map, z[2:], generator=[4, 1], effort=EFFORT, dense=False).named(name)
    for key, estimate in whole.items():
        torch.testing.assert_close(estimate.value[2:], part[key].value, rtol=1e-5, atol=1e-9)
        assert estimate.statuses[2:] == part[key].statuses


@pytest.mark.parametrize("name", REGISTRY)
def test_a_seed_decides_everything(name):
    map, z = pictures(), draw(1, 2, 4, 4)
    function = REGISTRY[name].function
    seeds = (torch.Generator().manual_seed(8), torch.Generator().manual_seed(8), torch.Generator().manual_seed(9))
    first, again, other = (function(map, z, generator=seed, effort=EFFORT, dense=False) for seed in seeds)
    assert torch.equal(first.value, again.value)
    if name in ("local_scaling", "local_rank", "curvature", "axis_rotation"):
        assert not torch.equal(first.value, other.value)


def test_one_seed_for_each_latent_or_one_for_all():
    with pytest.raises(InputError, match="one seed a latent expected"):
        theodolite.local_scaling(pictures(), draw(3, 2, 4, 4), generator=[1, 2])


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", ["local_scaling", "axis_rotation"])
def test_groups_do_not_show(monkeypatch, name, size):
    map, z = pictures(), draw(3, 2, 4, 4)
    options = {"generator": 2, "effort": EFFORT, "dense": False}
    whole = REGISTRY[name].function(map, z, **options)
    monkeypatch.setattr(groups, "group_size", lambda *_: size)
    pieces = REGISTRY[name].function(map, z, **options)
    torch.testing.assert_close(pieces.value, whole.value, rtol=1e-6, atol=0)
    assert len(pieces.statuses) == 3


def test_groups_shrink_with_the_memory_that_is_left(monkeypatch):
    map, z = pictures(), draw(2, 2, 8, 8)
    sizes = []
    for free in (2**34, 2**26, 2**10):
        monkeypatch.setattr(groups, "available_bytes", lambda _, free=free: free)
        sizes.append(groups.group_size(map, z, Effort(), None))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    monkeypatch.setattr(groups, "available_bytes", lambda _: 2**26)
    thin = Effort(probes=1, depth=4)
    assert groups.group_size(map, z, thin, True) < groups.group_size(map, z, thin, False)


def test_batches_of_units_do_not_depend_on_the_memory_that_is_free(monkeypatch):
    torch.manual_seed(0)
    map = LatentMap(nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, 3072)), (16,))
    sizes = set()
    for free in (2**26, 2**30, 2**34):
        monkeypatch.setattr("theodolite.derivatives.memory.available_bytes", lambda _, free=free: free)
        monkeypatch.setattr(groups, "available_bytes", lambda _, free=free: free)
        z = torch.randn(2, 16)
        sizes.add((groups.batch_size(map, z, Effort(), True), groups.batch_by_work(map, z, 8)))
    ((dense, work),) = sizes
    assert dense > 1
    assert work > 1


def test_wrong_latents_are_refused_with_a_line_in_every_batch_size():
    map = pictures()
    for count in (1, 3):
        with pytest.raises(InputError, match="float64"):
            theodolite.local_scaling(map, torch.randn(count, 2, 4, 4))
        with pytest.raises(InputError, match="expected by"):
            theodolite.local_scaling(map, draw(count, 3, 4, 4))


def test_dense_is_taken_where_it_costs_no_more():
    map, z = pictures(), draw(1, 2, 4, 4)
    assert Chart(map, z, effort=Effort(probes=2, depth=8)).is_dense
    assert not Chart(map, z, effort=Effort(probes=2, depth=7)).is_dense
    assert Chart(map, z, effort=Effort(probes=2, depth=7), dense=True).is_dense
    assert theodolite.local_scaling(map, z, dense=False).method == "golub-kahan"
    assert theodolite.local_scaling(map, z).method == "dense"


def test_the_unit_of_finite_steps_is_the_root_mean_square():
    chart = Chart(LatentMap(lambda z: z * 2, (4,)), torch.tensor([[3.0, 3, 3, 3], [0, 0, 0, 0]]))
    torch.testing.assert_close(chart.rms, torch.tensor([3.0, 1.0], dtype=F64))


def test_outputs_of_any_shape():
    A = draw(2 * 3 * 4 * 5 * 2, 6)
    volume = LatentMap(lambda z: torch.tanh(z @ A.T).reshape(-1, 2, 3, 4, 5, 2), (6,))
    single = LatentMap(lambda z: torch.tanh(z @ A.T).sum(1), (6,))
    for name, descriptor in REGISTRY.items():
        found = descriptor.function(volume, draw(2, 6))
        assert torch.isfinite(found.value).all() != (name == "local_complexity" and found.status == "undefined")
        if not descriptor.spatial:
            assert descriptor.function(single, draw(2, 6)).named(name)


def test_a_constant_map_has_no_silent_numbers():
    constant = LatentMap(lambda z: 0 * z[:, :1, None, None] + torch.ones(1, 3, 5, 5, dtype=z.dtype), (4,))
    for dense in (True, False):
        chart = Chart(constant, draw(1, 4), dense=dense)
        for name, descriptor in REGISTRY.items():
            for part, estimate in descriptor.function(constant, draw(1, 4), chart=chart).named(name).items():
                assert estimate.status != "ok" or torch.isfinite(estimate.value).all(), part
        assert theodolite.local_scaling(constant, draw(1, 4), chart=chart).status == "undefined"
        assert theodolite.axis_rotation(constant, draw(1, 4), chart=chart).status == "undetermined"


def test_maps_in_single_precision_come_close_to_double():
    map, z = pictures(), draw(1, 2, 4, 4)
    single = map.to(dtype=torch.float32)
    for name, tolerance in {
        "local_scaling": 1e-4,
        "local_rank": 1e-5,
        "curvature": 5e-3,
        "detail_energy": 1e-4,
    }.items():
        exact, found = (REGISTRY[name].function(m, z.to(m.dtype), generator=1).value for m in (map, single))
        torch.testing.assert_close(found, exact, rtol=tolerance, atol=0)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"frames": 1}, "frames"),
        ({"directions": 1}, "directions"),
        ({"scales": ()}, "scales"),
        ({"radii": (-1.0,)}, "radii"),
    ],
)
def test_an_effort_that_cannot_give_an_error_bar_is_refused(wrong, word):
    with pytest.raises(InputError, match=word):
        Effort(**wrong)


def test_a_requested_error_decides_between_probes_and_the_dense_jacobian():
    def chart(decades: float) -> Chart:
        stretch = torch.logspace(0, -decades, 600, dtype=F64)
        return Chart(LatentMap(lambda z: z * stretch, (600,)), draw(1, 600), effort=Effort(rtol=0.03))

    narrow, broad = chart(1), chart(4)
    found = theodolite.local_scaling(narrow.map, narrow.latents, chart=narrow)
    assert not narrow.is_dense
    assert 0 < found.stderr.item() <= 0.03 * 600
    assert broad.is_dense
    assert theodolite.local_scaling(broad.map, broad.latents, chart=broad).stderr.item() == 0
    assert Chart(broad.map, broad.latents, effort=broad.effort, dense=False).is_dense is False
