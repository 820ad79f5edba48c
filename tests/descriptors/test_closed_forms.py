"""Descriptors on maps whose geometry is known in closed form, and their laws of scale and rotation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import theodolite
from theodolite import InputError, LatentMap
from theodolite.descriptors.detail import laplacian
from theodolite.zoo import toys

F64 = torch.float64
torch.manual_seed(0)
MATRIX = torch.randn(9, 4, dtype=F64)
NET = nn.Sequential(nn.Linear(6, 24), nn.SiLU(), nn.Linear(24, 15)).double().eval()
Z = torch.randn(2, 6, dtype=F64)


def test_linear():
    map, z = toys.linear(MATRIX), torch.randn(3, 4, dtype=F64)
    s = torch.linalg.svdvals(MATRIX)
    alpha = s / s.sum()
    assert abs(theodolite.local_scaling(map, z).value - s.log().sum()).max() < 1e-6
    assert abs(theodolite.local_rank(map, z).value - torch.exp(-(alpha * alpha.log()).sum())).max() < 1e-6
    assert abs(theodolite.leading_singular_value(map, z).value - s[0]).max() < 1e-6
    assert theodolite.curvature(map, z).value.max() < 1e-6
    assert theodolite.axis_rotation(map, z).value.max() < 1e-6


def test_sphere():
    theta, radius = 1.1, 2.5
    map, z = toys.sphere(radius), torch.tensor([[theta, 0.4]], dtype=F64)
    psi = 2 * math.log(radius) + math.log(math.sin(theta))
    assert abs(theodolite.local_scaling(map, z).value.item() - psi) < 1e-6
    assert abs(theodolite.leading_singular_value(map, z).value.item() - radius) < 1e-6
    found = theodolite.curvature(map, z, scale=1e-3)
    assert abs(found["curvature_infinitesimal"].value.item() - 1 / radius) < 1e-6
    assert abs(found.value.item() - 1 / radius) < 1e-4


def test_parabola():
    a, point = 0.7, torch.tensor([[0.3]], dtype=F64)
    map = toys.parabola(a)
    stretch = 1 + (a * 0.3) ** 2
    assert abs(theodolite.local_scaling(map, point).value.item() - 0.5 * math.log(stretch)) < 1e-6
    bend = theodolite.curvature(map, point)["curvature_infinitesimal"].value.item()
    assert abs(bend - a / stretch**1.5) < 1e-6


def test_scale_laws():
    plain, scaled = LatentMap(NET, (6,)), LatentMap(lambda z: 3 * NET(z), (6,))
    both = [theodolite.local_scaling(map, Z).value for map in (plain, scaled)]
    torch.testing.assert_close(both[1] - both[0], torch.full((2,), 6 * math.log(3), dtype=F64))
    torch.testing.assert_close(*(theodolite.local_rank(map, Z).value for map in (plain, scaled)))
    bends = [theodolite.curvature(map, Z).value for map in (plain, scaled)]
    torch.testing.assert_close(bends[0] / 3, bends[1])
    torch.testing.assert_close(
        *(theodolite.axis_rotation(map, Z).value for map in (plain, scaled)), rtol=1e-6, atol=1e-8
    )


def test_rotating_the_output_changes_nothing():
    Q = torch.linalg.qr(torch.randn(15, 15, dtype=F64)).Q
    maps = LatentMap(NET, (6,)), LatentMap(lambda z: NET(z) @ Q.T, (6,))
    for descriptor in (theodolite.local_scaling, theodolite.local_rank, theodolite.curvature):
        torch.testing.assert_close(*(descriptor(map, Z, generator=1).value for map in maps))


def test_a_relu_network_bends_only_over_a_finite_step():
    net = nn.Sequential(nn.Linear(8, 200), nn.ReLU(), nn.Linear(200, 40)).double().eval()
    found = theodolite.curvature(LatentMap(net, (8,)), torch.randn(1, 8, dtype=F64), scale=0.5)
    assert found["curvature_infinitesimal"].value.item() < 1e-9
    assert found.value.item() > 1e-3


def test_the_finite_scale_tends_to_the_limit_on_a_smooth_network():
    found = theodolite.curvature(LatentMap(NET, (6,)), Z, scale=1e-3)
    torch.testing.assert_close(found.value, found["curvature_infinitesimal"].value, rtol=1e-4, atol=0)


def test_the_axis_of_a_quadratic_map_turns_as_its_matrix_does():
    B = 0.3 * torch.randn(9, 4, 4, dtype=F64)
    B = B + B.mT
    map = LatentMap(lambda z: z @ MATRIX.T + 0.5 * torch.einsum("ni,mij,nj->nm", z, B, z), (4,))
    z = torch.randn(1, 4, dtype=F64)

    def axis(point):
        return torch.linalg.svd(MATRIX + torch.einsum("mij,j->mi", B, point)).Vh[0]

    found = theodolite.axis_rotation(map, z, generator=4)
    near = theodolite.estimates.Seeds(4, 1).unit("axis_rotation", 8, 4)[:, 0]
    step = 1e-3 * z.norm()
    v = axis(z[0])
    turns = [min((axis(z[0] + step * n) - v).norm(), (axis(z[0] + step * n) + v).norm()) / step for n in near]
    mean, _ = theodolite.estimates.student_mean(torch.stack(turns)[:, None], skewed=True)
    torch.testing.assert_close(found.value, mean, rtol=1e-5, atol=0)


def test_the_identity_has_no_leading_axis():
    assert theodolite.axis_rotation(LatentMap(lambda z: z * 1, (5,)), torch.ones(1, 5)).status == "undetermined"


def test_laplacian_is_the_five_point_stencil():
    x = torch.randn(2, 3, 7, 8, dtype=F64)
    kernel = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=F64).expand(3, 1, 3, 3)
    torch.testing.assert_close(laplacian(x, 2), torch.nn.functional.conv2d(x, kernel, padding=1, groups=3))


def test_detail_of_a_known_direction():
    image = torch.randn(1, 3, 64, 64, dtype=F64)
    map = LatentMap(lambda z: z[:, :1, None, None] * image + 0.1 * z[:, 1:, None, None], (2,))
    found = theodolite.detail_energy(map, torch.ones(1, 2, dtype=F64))
    assert 17 < found["detail_q"].value.item() < 21
    with pytest.raises(InputError, match="channels"):
        theodolite.detail_energy(LatentMap(NET, (6,)), Z)


def test_complexity_of_one_layer_counts_the_cuts():
    net = nn.Sequential(nn.Linear(6, 300), nn.ReLU(inplace=True), nn.Linear(300, 4)).double().eval()
    effort = theodolite.descriptors.Effort(frames=2, axes=6, radii=(0.1,))
    found = theodolite.local_complexity(LatentMap(net, (6,)), Z[:1], effort=effort, generator=2)
    seeds, counts = theodolite.estimates.Seeds(2, 1), []
    for index in range(2):
        frame = seeds.frame(f"complexity{index}", 6, 6)[:, 0]
        reach = 0.1 * Z[0].norm() * (net[0].weight @ frame.T).abs().amax(1)
        counts.append(((net[0](Z[0])).abs() < reach).sum().item())
    assert found.value.item() == pytest.approx(sum(counts) / 2)
    assert found["local_complexity_units"].value.item() == 300
    assert theodolite.local_complexity(toys.linear(MATRIX), torch.ones(1, 4, dtype=F64)).status == "undefined"


def test_a_null_space_is_reported():
    map = LatentMap(lambda z: z[:, :3] @ MATRIX[:, :3].T, (5,))
    found = theodolite.local_scaling(map, torch.randn(1, 5, dtype=F64))
    assert found.status == "rank-deficient"
    assert found["null_dimension"].value.item() == 2
    assert abs(found.value.item() - torch.linalg.svdvals(MATRIX[:, :3]).log().sum().item()) < 1e-9


def test_wide_maps():
    map = LatentMap(lambda z: z @ MATRIX, (9,))
    found = theodolite.local_scaling(
        map, torch.randn(1, 9, dtype=F64), dense=False, effort=theodolite.descriptors.Effort(probes=4)
    )
    assert abs(found.value.item() - torch.linalg.svdvals(MATRIX).log().sum().item()) < 1e-6


@pytest.mark.parametrize("descriptor", ["local_scaling", "curvature"])
def test_unknown_modes_are_refused(descriptor):
    with pytest.raises(InputError, match="mode"):
        getattr(theodolite, descriptor)(LatentMap(NET, (6,)), Z, mode="fast")
    with pytest.raises(InputError):
        theodolite.curvature(LatentMap(NET, (6,)), Z, mode="paper")


def test_paper_modes_follow_the_recipes():
    map = LatentMap(NET, (6,))
    found = theodolite.leading_singular_value(map, Z, mode="paper")
    W = theodolite.estimates.Seeds(None, 2).frame("subspace", 6, 6)
    J = torch.stack([(NET(Z + 0.02 * w) - NET(Z)) / 0.02 for w in W], -1)
    torch.testing.assert_close(found.value, torch.linalg.svdvals(J)[:, 0].detach())
    assert theodolite.axis_rotation(map, Z, mode="paper").value.max() <= math.sqrt(2) / 0.02
    # A projection on as many rows as the map has is a rotation: it changes nothing.
    torch.testing.assert_close(
        theodolite.local_scaling(map, Z, mode="paper").value, theodolite.local_scaling(map, Z).value
    )
