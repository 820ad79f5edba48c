"""Curvature: closed forms, what it must not depend on, and the least-squares solve of the stochastic path."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor, nn

import theodolite
from theodolite import InputError, LatentMap
from theodolite.descriptors import Chart, Effort
from theodolite.zoo import toys

module = importlib.import_module("theodolite.descriptors.curvature")
F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def smooth(latent: int, output: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(latent, 48), nn.Tanh(), nn.Linear(48, output)).double().eval()


def along(map: LatentMap, z: Tensor, V: Tensor) -> Tensor:
    """Infinitesimal curvature along given directions `(k, *latent)` of one latent."""
    second, _, _ = module._second(Chart(map, z), V[:, None], None)
    chart = Chart(map, z)
    normal, _ = chart.normal_norm(second)
    return normal[:, 0] / chart.flat.matvec(V[:, None].flatten(2)).norm(dim=-1)[:, 0] ** 2


def test_swiss_roll_bends_as_stated_along_every_direction():
    t, V = 2.3, draw(5, 2)
    stretch = V[:, 0] ** 2 * (1 + t * t) + V[:, 1] ** 2
    stated = V[:, 0] ** 2 * (t * t + 2) / ((1 + t * t) ** 0.5 * stretch)
    found = along(toys.swiss_roll(), torch.tensor([[t, 0.7]], dtype=F64), V)
    torch.testing.assert_close(found, stated, rtol=1e-9, atol=1e-12)


def test_quadratic_map_bends_as_its_matrices_say():
    M, B, z, V = draw(9, 4), 0.3 * draw(9, 4, 4, seed=1), draw(1, 4, seed=2), draw(6, 4, seed=3)
    B = B + B.mT
    quadratic = LatentMap(lambda z: z @ M.T + 0.5 * torch.einsum("ni,mij,nj->nm", z, B, z), (4,))
    J = M + torch.einsum("mij,j->mi", B, z[0])
    bend = torch.einsum("mij,ki,kj->km", B, V, V)
    normal = bend - bend @ torch.linalg.pinv(J).T @ J.T
    stated = normal.norm(dim=1) / (V @ J.T).square().sum(1)
    torch.testing.assert_close(along(quadratic, z, V), stated, rtol=1e-9, atol=0)


def test_a_change_of_coordinates_leaves_it_as_it_is_along_the_matching_direction():
    net, A, z, V = smooth(3, 12), draw(3, 3), draw(1, 3, seed=1), draw(4, 3, seed=2)

    def bent(w: Tensor) -> Tensor:
        return w @ A.T + 0.2 * (w**3)

    J = torch.func.jacfwd(bent)(z[0])
    plain = along(LatentMap(net, (3,)), bent(z), V @ J.T)
    torch.testing.assert_close(along(LatentMap(lambda w: net(bent(w)), (3,)), z, V), plain)


def test_unused_latents_do_not_hide_the_tangent_space():
    lifted = LatentMap(lambda z: toys.parabola(1.0)(z[:, 1:]), (3,))
    J = theodolite.jacobian(lifted, draw(1, 3)).dense()
    from theodolite.spectrum import dense_normal_norm

    inside = J[0] @ draw(3)
    assert J[0, :, 0].abs().max() == 0
    assert dense_normal_norm(J, inside[None, None])[0].item() < 1e-12


def test_maps_onto_their_whole_output_space_have_no_normal():
    wide = LatentMap(smooth(12, 5), (12,))
    for dense in (True, False):
        found = theodolite.curvature(wide, draw(2, 12), dense=dense, effort=Effort(tangent_depth=5))
        assert found.value.max() < 1e-6


@pytest.mark.parametrize("effort", [Effort(probes=2, depth=12), Effort(probes=1, depth=16, tangent_depth=4), Effort()])
def test_the_solve_brackets_the_dense_answer(effort):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 90)).double()
    map, z = LatentMap(net, (40,)), draw(40, 40)
    exact, found = (theodolite.curvature(map, z, generator=1, dense=dense, effort=effort) for dense in (True, False))
    for name in ("curvature_leading", "curvature_infinitesimal_leading"):
        low, high = found[name].interval()
        rounding = 1e-9 * exact[name].value
        assert (exact[name].value <= high + rounding).all()
        assert (exact[name].value >= low - rounding).double().mean() > 0.9
    together = (found.stderr.square() + exact.stderr.square()).sqrt()
    assert ((found.value - exact.value).abs() <= 1.96 * together).double().mean() > 0.9


def test_a_solve_cut_short_says_so():
    map, z = LatentMap(smooth(40, 90), (40,)), draw(1, 40)
    found = theodolite.curvature(map, z, dense=False, effort=Effort(probes=1, depth=4, tangent_depth=2))
    assert found["curvature_leading"].status == "truncated"
    assert "tangent_depth" in found["curvature_leading"].message


def test_tangential_bending_extrapolates_to_zero():
    """A linear map after a bent one only re-parametrises: what eight steps leave of it must be inside the error."""
    A = draw(200, 60)
    map = LatentMap(lambda z: (z + 0.3 * torch.sin(2 * z)) @ A.T, (60,))
    found = theodolite.curvature(map, draw(2, 60), dense=False, effort=Effort(probes=1, depth=16))
    flat = found["curvature_infinitesimal"]
    assert (flat.value <= 1.96 * flat.stderr + 1e-9).all()


def test_second_derivatives_by_differences_are_marked():
    class Once(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x.sin()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.x = inputs[0]
            ctx.save_for_forward(inputs[0])

        @staticmethod
        def jvp(ctx, v):
            return v * torch.cos(ctx.x.detach())

    A = draw(7, 3)
    found = theodolite.curvature(LatentMap(lambda z: Once.apply(z @ A.T), (3,)), draw(1, 3, seed=1))
    exact = theodolite.curvature(LatentMap(lambda z: torch.sin(z @ A.T), (3,)), draw(1, 3, seed=1))
    if found["curvature_infinitesimal"].status == "approximate":
        torch.testing.assert_close(found.value, exact.value, rtol=1e-6, atol=0)


def test_further_scales_carry_a_suffix_and_bad_ones_are_refused():
    map, z = LatentMap(smooth(3, 8), (3,)), draw(1, 3)
    found = theodolite.curvature(map, z, effort=Effort(scales=(0.1, 0.01)))
    torch.testing.assert_close(
        found["curvature_h0.01"].value, theodolite.curvature(map, z, scale=0.01).value, rtol=1e-9, atol=0
    )
    with pytest.raises(InputError, match="scale"):
        theodolite.curvature(map, z, scale=0.0)


def test_where_the_map_stands_still_there_is_no_curvature():
    found = theodolite.curvature(LatentMap(lambda z: torch.cat([z, z], -1) ** 2, (3,)), torch.zeros(1, 3, dtype=F64))
    for part in (found, found["curvature_leading"], found["curvature_infinitesimal"]):
        assert part.status == "undefined"
        assert torch.isnan(part.value).all()
    assert "does not move" in found.message


def ellipsoid(z: Tensor) -> Tensor:
    u, v = z.unbind(-1)
    return torch.stack([3 * u.cos() * v.cos(), 2 * u.cos() * v.sin(), u.sin()], -1)


def torus(z: Tensor) -> Tensor:
    u, v = z.unbind(-1)
    return torch.stack([(3 + v.cos()) * u.cos(), (3 + v.cos()) * u.sin(), v.sin()], -1)


def normal_curvature(surface, z: Tensor, angles: Tensor) -> Tensor:
    """By the second fundamental form over the first, both from autograd."""
    J = torch.autograd.functional.jacobian(lambda x: surface(x[None])[0], z)
    H = torch.stack([torch.autograd.functional.hessian(lambda x, i=i: surface(x[None])[0, i], z) for i in range(3)])
    normal = torch.linalg.cross(J[:, 0], J[:, 1])
    form = torch.einsum("i,ijk->jk", normal / normal.norm(), H)
    V = torch.stack([angles.cos(), angles.sin()], -1)
    return torch.einsum("ai,ij,aj->a", V, form, V).abs() / (V @ J.T).square().sum(-1)


@pytest.mark.parametrize("point", [(0.4, 0.9), (1.2, 2.5), (0.1, 3.0)])
@pytest.mark.parametrize("surface", [ellipsoid, torus])
def test_on_surfaces_the_mean_is_known_over_seeds(surface, point):
    z = torch.tensor(point, dtype=F64)
    stated = normal_curvature(surface, z, torch.arange(20_000, dtype=F64) * torch.pi / 20_000).mean()
    found = theodolite.curvature(LatentMap(surface, (2,)), z.expand(200, 2), generator=range(200))
    limit = found["curvature_infinitesimal"]
    assert ((limit.value - stated).abs() <= 1.96 * limit.stderr).double().mean() >= 0.93
    assert (limit.stderr < 0.2 * stated).all()
    assert limit.status == "ok"


@pytest.mark.parametrize("dim", [1, 3, 6, 8])
def test_few_entries_are_honest_over_seeds(dim):
    map, z = LatentMap(smooth(dim, 20, seed=dim), (dim,)), draw(1, dim, seed=dim)
    stated = theodolite.curvature(map, z, generator=1, effort=Effort(directions=800)).value
    found = theodolite.curvature(map, z.expand(200, -1), generator=range(200))
    covered = ((found.value - stated).abs() <= 1.96 * found.stderr + 1e-12).double().mean()
    assert 0.9 <= covered <= 1


@pytest.mark.parametrize("dim", [2, 3, 12])
def test_only_the_mean_over_tangent_directions_is_a_property_of_the_surface(dim):
    net, z = smooth(dim, 30, seed=1), draw(1, dim, seed=3)
    A = torch.linalg.qr(draw(dim, dim, seed=2)).Q @ torch.logspace(0, 1.5, dim, dtype=F64).diag()
    changed = LatentMap(lambda w: net(w @ A.T), (dim,))
    w, effort = z @ torch.linalg.inv(A).T, Effort(directions=16 if dim == 2 else 1500)

    def limit(map: LatentMap, point: Tensor, isotropic: str) -> float:
        found = theodolite.curvature(map, point, isotropic=isotropic, dense=True, effort=effort)
        return float(found["curvature_infinitesimal"].value)

    surface, latent = (
        [limit(LatentMap(net, (dim,)), z, isotropic), limit(changed, w, isotropic)]
        for isotropic in ("tangent", "latent")
    )
    assert surface[0] == pytest.approx(surface[1], rel=1e-6 if dim == 2 else 0.03)
    assert latent[0] != pytest.approx(latent[1], rel=0.05)


def test_tangent_directions_need_whole_jacobians():
    map, z = LatentMap(smooth(12, 30), (12,)), draw(1, 12)
    with pytest.raises(InputError, match="dense=True"):
        theodolite.curvature(map, z, isotropic="tangent", dense=False)
    with pytest.raises(InputError, match="'latent' or 'tangent'"):
        theodolite.curvature(map, z, isotropic="output")


def test_the_mean_over_groups_of_directions_is_centred():
    """Moved up by `m_3 / (k s²)`: groups of 0, 0 and 3, two directions each, have mean 1, `m_3 = 2` and `s² = 3`."""
    mean, _ = module._mean(torch.tensor([0.0, 0, 0, 0, 2, 4], dtype=F64)[:, None], 3)
    assert mean.item() == pytest.approx(1 + 2 / 9)


@pytest.mark.parametrize(("size", "directions", "most"), [(4, 16, 0.06), (13, 8, 0.12)])
def test_directions_of_little_stretch_are_not_left_to_chance(size, directions, most):
    """A flat ellipsoid: 48 draws of isotropic directions alone leave an error of a fifth and more of the mean."""
    axes = torch.logspace(0.5, -1, size, dtype=F64)

    def surface(z: Tensor) -> Tensor:
        square = z.square().sum(-1, keepdim=True)
        return axes * torch.cat([2 * z, square - 1], -1) / (square + 1)

    map, z = LatentMap(surface, (size - 1,)), draw(1, size - 1, seed=5)
    stated = theodolite.curvature(map, z, generator=1, effort=Effort(directions=6000), dense=False)
    effort = Effort(directions=directions)
    found = theodolite.curvature(map, z.expand(200, -1), generator=range(200), effort=effort)
    error = (found.value - stated.value).square().mean().sqrt()
    assert error < most * stated.value
    assert 0.8 < found.stderr.square().mean().sqrt() / error < 1.5


@pytest.mark.parametrize(("spread", "directions", "status"), [(0, 4, "ok"), (2, 4, "few-samples"), (2, 20, "ok")])
def test_few_directions_of_uneven_stretch_say_that_they_are_few(spread, directions, status):
    A, bend = torch.linalg.qr(draw(30, 20)).Q * torch.logspace(0, -spread, 20, dtype=F64), 0.1 * draw(30, 20, seed=1)
    map = LatentMap(lambda z: z @ A.T + z.square() @ bend.T, (20,))
    effort = Effort(directions=directions)
    assert theodolite.curvature(map, 0.1 * draw(1, 20, seed=2), effort=effort, dense=False).status == status
    assert theodolite.curvature(map, 0.1 * draw(1, 20, seed=2), effort=effort, dense=True).status == "ok"


def test_a_network_of_relu_whose_kinks_no_direction_meets_does_not_count_as_straight():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 12)).double()
    found = theodolite.curvature(LatentMap(net, (4,)), draw(1, 4), scale=0.01)
    assert found.value < 1e-9
    assert found.status == "undetermined"
    assert "kinks" in found.message
    assert found["curvature_infinitesimal"].status == found["curvature_leading"].status == "ok"
    straight = theodolite.curvature(toys.linear(draw(12, 4)), draw(1, 4), scale=0.01)
    assert straight.status == "ok"
