"""The papers' recipes against the same recipes written out, and the words that choose them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import theodolite
from theodolite import InputError, LatentMap
from theodolite.descriptors.modes import flagged
from theodolite.estimates import Estimate, Seeds

F64 = torch.float64
STEP = 0.02


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def net(latent: int, output: int) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(latent, 150), nn.SiLU(), nn.Linear(150, output)).double().eval()


@pytest.fixture(scope="module")
def images() -> LatentMap:
    """From 100 latents, more than the subspace has, to pictures."""
    module = nn.Sequential(net(100, 3 * 6 * 7), nn.Unflatten(1, (3, 6, 7)))
    return LatentMap(module.eval(), (100,))


def differences(map: LatentMap, z: Tensor, frame: Tensor) -> Tensor:
    """`J W` by forward differences, `(outputs, k)`; `frame` is `(k, latent)`."""
    with torch.no_grad():
        return ((map(z + STEP * frame) - map(z)) / STEP).flatten(1).T


def test_the_subspace_recipe_is_forward_differences_along_one_frame(images):
    z = draw(1, 100)
    W = Seeds(7, 1).frame("subspace", 64, 100)[:, 0]
    _, s, Vh = torch.linalg.svd(differences(images, z, W), full_matrices=False)

    found = theodolite.leading_singular_value(images, z, mode="paper", generator=7)
    torch.testing.assert_close(found.value[0], s[0])
    torch.testing.assert_close(found["spectral_gap"].value[0], 1 - s[1] / s[0])
    torch.testing.assert_close(found["log_spectrum"].value[0], s.log().sum(), rtol=1e-5, atol=1e-5)
    assert found.passes == 65
    assert found.value < theodolite.leading_singular_value(images, z).value

    inside = Seeds(7, 1).unit("axis_rotation_paper", 1, 64)[0, 0]
    near = torch.linalg.svd(differences(images, z + STEP * inside @ W, W), full_matrices=False).Vh[0]
    turn = min((near - Vh[0]).norm(), (near + Vh[0]).norm())
    rotation = theodolite.axis_rotation(images, z, mode="paper", generator=7)
    torch.testing.assert_close(rotation.value[0], turn / STEP, rtol=1e-6, atol=0)
    assert rotation.passes == 130

    axis = Vh[0] @ W
    pushed = differences(images, z, axis[None])[:, 0].reshape(1, 3, 6, 7)
    stencil = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=F64).expand(3, 1, 3, 3)
    rough = torch.nn.functional.conv2d(pushed, stencil, padding=1, groups=3)
    detail = theodolite.detail_energy(images, z, mode="paper", generator=7)
    torch.testing.assert_close(detail.value[0], rough.var(), rtol=1e-6, atol=0)
    torch.testing.assert_close(detail["detail_q"].value[0], rough.square().sum() / pushed.square().sum())
    assert detail.passes == 66


def test_a_linear_map_gives_the_subspace_its_exact_jacobian():
    A, z = draw(90, 80), draw(1, 80, seed=1)
    found = theodolite.leading_singular_value(LatentMap(lambda z: z @ A.T, (80,)), z, mode="paper", generator=3)
    W = Seeds(3, 1).frame("subspace", 64, 80)[:, 0]
    torch.testing.assert_close(found.value[0], torch.linalg.svdvals(A @ W.T)[0])


def test_the_recipe_works_with_fewer_latents_than_its_subspace():
    map, z = LatentMap(net(5, 30), (5,)), draw(2, 5)
    assert theodolite.leading_singular_value(map, z, mode="paper").passes == 6
    rotation = theodolite.axis_rotation(map, z, mode="paper").value
    assert (rotation <= math.sqrt(2) / STEP).all()
    single = LatentMap(net(1, 30), (1,))
    assert theodolite.leading_singular_value(single, draw(1, 1), mode="paper")["spectral_gap"].value == 1


def test_the_rotation_of_the_recipe_is_bounded_where_no_direction_leads():
    found = theodolite.axis_rotation(LatentMap(lambda z: z + 1e-9 * z.sin(), (70,)), draw(4, 70), mode="paper")
    assert (found.value <= math.sqrt(2) / STEP).all()
    assert set(found.statuses) == {"undetermined"}
    assert "tied" in found.message


def test_the_projection_shifts_the_value_by_what_the_rows_leave_out():
    map, z = LatentMap(net(20, 400), (20,)), draw(6, 20)
    exact, found = (theodolite.local_scaling(map, z, mode=mode) for mode in ("exact", "paper"))
    assert found.passes == 128
    assert (found.value - exact.value).mean().item() == pytest.approx(10 * math.log(128 / 400), rel=0.2)
    draws = torch.randn(400, 128, generator=torch.Generator().manual_seed(0), dtype=F64)
    W = torch.linalg.qr(draws).Q.T
    J = theodolite.jacobian(map, z).dense()
    torch.testing.assert_close(found.value, torch.linalg.svdvals(W @ J).log().sum(-1))
    rank = theodolite.local_rank(map, z, mode="paper")
    share = torch.linalg.svdvals(W @ J)
    share = share / share.sum(-1, keepdim=True)
    torch.testing.assert_close(rank.value, torch.special.entr(share).sum(-1).exp())


@pytest.mark.parametrize("mode", ["Paper", "", "subspace"])
@pytest.mark.parametrize(
    "name",
    ["local_scaling", "local_rank", "leading_singular_value", "axis_rotation", "detail_energy", "local_complexity"],
)
def test_only_two_words_are_known(images, name, mode):
    with pytest.raises(InputError, match="'exact' or 'paper'"):
        getattr(theodolite, name)(images, draw(1, 100), mode=mode)


def test_curvature_has_no_recipe():
    with pytest.raises(InputError, match="no published recipe"):
        theodolite.curvature(LatentMap(net(3, 9), (3,)), draw(1, 3), mode="paper")


def test_a_flag_makes_no_status_better():
    """The worse of two statuses stands, and only where the mask is."""
    value = torch.ones(3, dtype=F64)
    estimate = Estimate(value, 0.1 * value, 1, 1, ("ok", "undetermined", "ok"), "before")
    flags = flagged(estimate, torch.tensor([True, True, False]), "truncated", "after")
    assert flags.statuses == ("truncated", "undetermined", "ok")
    assert flags.message == "before"
