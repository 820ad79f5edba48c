"""The quantities of the decoupling paper against closed forms, without a trained model."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite import InputError
from theodolite.derivatives import jacobian
from theodolite.descriptors.decoupling import (
    MEANINGS,
    Decoupling,
    decoupling,
)
from theodolite.descriptors.detail import laplacian
from theodolite.descriptors.subspaces import applied_step, subspace_spectrum
from theodolite.estimates import Seeds, student_mean
from theodolite.maps import LatentMap

SHAPE, D, K = (2, 6, 6), 72, 18


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(M: torch.Tensor) -> LatentMap:
    return LatentMap(lambda z: (z.flatten(1) @ M.T).reshape(-1, *SHAPE), SHAPE)


def quadratic(bend: float = 3.0, seed: int = 1) -> tuple[LatentMap, torch.Tensor, torch.Tensor]:
    """`F(z) = M z + 1/2 e_m zᵀ B_m z`; its Jacobian is `M + B z`."""
    M, B = draw(D, D, seed=seed), bend * draw(D, D, D, seed=seed + 1) / D
    B = (B + B.mT) / 2

    def function(z: torch.Tensor) -> torch.Tensor:
        flat, m, b = z.flatten(1), M.to(z), B.to(z)
        return (flat @ m.T + torch.einsum("mij,ni,nj->nm", b, flat, flat) / 2).reshape(-1, *SHAPE)

    return LatentMap(function, SHAPE), M, B


def value(found: Decoupling, name: str) -> torch.Tensor:
    return found.quantities[name].value


@pytest.mark.parametrize("mode", ["exact", "paper"])
def test_of_a_linear_map_all_is_known(mode: str) -> None:
    M, z = draw(D, D), draw(3, *SHAPE, seed=5)
    found = decoupling(linear(M), z, mode=mode, generator=4)
    W = Seeds(4, 3).frame("subspace", K, D).permute(1, 2, 0)
    U, sigma, _ = torch.linalg.svd(M @ W, full_matrices=False)
    rough = laplacian((U[..., 0] * sigma[:, :1]).reshape(-1, *SHAPE), 2).flatten(1)
    loose = {"rtol": 1e-8, "atol": 1e-8}
    torch.testing.assert_close(value(found, "ls_max"), sigma[:, 0], **loose)
    torch.testing.assert_close(value(found, "ls_log"), sigma.log().sum(-1), **loose)
    torch.testing.assert_close(value(found, "phfe"), rough.var(-1), **loose)
    torch.testing.assert_close(value(found, "q"), rough.square().sum(-1) / sigma[:, 0] ** 2, **loose)
    torch.testing.assert_close(value(found, "leading_share"), sigma[:, 0] ** 2 / sigma.square().sum(-1), **loose)
    assert value(found, "lc").abs().max() < 1e-6
    torch.testing.assert_close(value(found, "axis_cosine"), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(value(found, "minus_ls"), -sigma[:, 0], **loose)
    share = sigma / sigma.sum(-1, keepdim=True)
    torch.testing.assert_close(value(found, "effective_rank"), (-(share * share.log()).sum(-1)).exp(), **loose)
    J = (M @ W).reshape(3, *SHAPE, K)
    torch.testing.assert_close(found.maps["ls_map"], J.square().sum((1, -1)).sqrt(), **loose)
    torch.testing.assert_close(found.maps["phfe_map"], rough.reshape(-1, *SHAPE).norm(dim=1), **loose)
    if mode == "paper":
        torch.testing.assert_close(value(found, "linearity"), torch.ones(3, dtype=torch.float64), **loose)


def test_the_identity_has_no_leading_direction_and_says_so() -> None:
    found = decoupling(linear(torch.eye(D, dtype=torch.float64)), draw(2, *SHAPE))
    torch.testing.assert_close(value(found, "ls_max"), torch.ones(2, dtype=torch.float64))
    assert value(found, "ls_log").abs().max() < 1e-8
    assert value(found, "gap").max() < 1e-6
    assert found.quantities["lc"].statuses == ("undetermined",) * 2
    torch.testing.assert_close(value(found, "leading_share"), torch.full((2,), 1 / K, dtype=torch.float64))


def test_of_a_quadratic_map_lc_is_that_of_the_eigenvectors_at_the_neighbours() -> None:
    map, M, B = quadratic()
    z = draw(4, *SHAPE, seed=9)
    found = decoupling(map, z, neighbours=3, generator=2)
    seeds, distance = Seeds(2, 4), 1e-3 * z.flatten(1).norm(dim=1)
    W, inside = seeds.frame("subspace", K, D), seeds.unit("subspace neighbours", 3, K)

    def leading(at: torch.Tensor) -> torch.Tensor:
        J = (M + torch.einsum("mij,ni->nmj", B, at)) @ W.permute(1, 2, 0)
        return torch.linalg.svd(J, full_matrices=False).Vh[:, 0]

    here, turns = leading(z.flatten(1)), []
    for offset in torch.einsum("cnk,knd->cnd", inside, W):
        there = leading(z.flatten(1) + distance[:, None] * offset)
        turns.append(torch.minimum((there - here).norm(dim=-1), (there + here).norm(dim=-1)))
    wanted = student_mean(torch.stack(turns), skewed=True)[0] / distance
    assert wanted.min() > 0.01
    torch.testing.assert_close(value(found, "lc"), wanted, rtol=1e-4, atol=0.0)


def test_central_differences_of_a_quadratic_map_are_exact_and_forward_ones_are_not() -> None:
    map, M, B = quadratic()
    z = draw(1, *SHAPE, seed=3)
    W = Seeds(0, 1).frame("subspace", K, D)
    exact = (M + torch.einsum("mij,i->mj", B, z.flatten())) @ W[:, 0].T
    central = subspace_spectrum(jacobian(map, z), W, "central", 0.02)
    forward = subspace_spectrum(jacobian(map, z), W, "forward", 0.02)
    torch.testing.assert_close(central.jacobian[0], exact, rtol=1e-9, atol=1e-9)
    assert (forward.jacobian[0] - exact).abs().max() > 1e-6


def test_the_paper_recipe_agrees_with_the_exact_one_up_to_its_step() -> None:
    map, *_ = quadratic()
    z = draw(3, *SHAPE, seed=11)
    exact, paper = (decoupling(map, z, mode=mode, generator=1) for mode in ("exact", "paper"))
    for name in ("ls_max", "ls_log", "phfe", "q", "leading_share"):
        torch.testing.assert_close(value(paper, name), value(exact, name), rtol=1e-3, atol=1e-3)
    assert paper.quantities["lc"].n == 1
    assert (value(paper, "axis_cosine") <= 1).all()


def test_scaling_the_map_scales_what_it_must() -> None:
    map, *_ = quadratic()
    larger = LatentMap(lambda z: 3 * map(z), SHAPE)
    z = draw(2, *SHAPE)
    one, other = (decoupling(each, z, generator=1) for each in (map, larger))
    for name, factor in (("ls_max", 3), ("phfe", 9), ("lc", 1), ("q", 1), ("leading_share", 1), ("effective_rank", 1)):
        torch.testing.assert_close(value(other, name), factor * value(one, name), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(value(other, "ls_log"), value(one, "ls_log") + K * math.log(3))


def test_white_noise_has_a_q_of_about_twenty_and_a_constant_none_inside() -> None:
    noise = draw(64, 4, 32, 32)
    inner = laplacian(noise, 2)[..., 1:-1, 1:-1]
    assert abs(float(inner.var()) - 20) < 0.5
    flat = laplacian(torch.ones(1, 1, 8, 8), 2)
    assert flat[..., 1:-1, 1:-1].abs().max() == 0
    assert flat.abs().max() > 0
    constant = LatentMap(lambda z: z[:, :1, None, None].expand(-1, 1, 8, 8) + 0 * z.sum(), (4,))
    found = decoupling(constant, draw(1, 4), dimension=2)
    assert value(found, "phfe") > 0
    assert value(found, "phfe_reflected") < 1e-12


def test_rotating_the_frame_inside_its_span_changes_nothing() -> None:
    map, *_ = quadratic()
    operator = jacobian(map, draw(1, *SHAPE))
    W = Seeds(0, 1).frame("subspace", K, D)
    R = torch.linalg.qr(draw(K, K, seed=8)).Q
    turned = torch.einsum("jk,knd->jnd", R, W)
    one, other = (subspace_spectrum(operator, frame, "exact", 0.0) for frame in (W, turned))
    torch.testing.assert_close(one.values, other.values)
    V1, V2 = (torch.einsum("knd,nk->nd", frame, each.leading) for frame, each in ((W, one), (turned, other)))
    torch.testing.assert_close((V1 * V2).sum().abs(), torch.tensor(1.0, dtype=torch.float64))


def test_the_error_of_lc_is_honest_over_seeds() -> None:
    map, *_ = quadratic()
    z = draw(1, *SHAPE, seed=6)
    W = 40
    few = decoupling(map, z.expand(W, *SHAPE), neighbours=8, dimension=D, generator=list(range(W)))
    many = decoupling(map, z, neighbours=400, dimension=D, generator=77)
    scores = (value(few, "lc") - value(many, "lc")) / few.quantities["lc"].stderr
    assert abs(float(scores.mean())) < 0.35
    assert 0.5 < float(scores.std()) < 1.3


def test_half_precision_loses_the_step_as_the_note_says() -> None:
    z, w = draw(1, 65536), torch.nn.functional.normalize(draw(1, 65536, seed=1), dim=1)
    found = applied_step(z, w, 0.02, torch.bfloat16)
    assert abs(float(found["changed"]) - 0.018) < 0.004
    assert abs(float(found["cosine"]) - 0.18) < 0.06
    assert float(applied_step(z, w, 5.0, torch.bfloat16)["cosine"]) > 0.99
    assert float(applied_step(z, w, 0.02, torch.float32)["cosine"]) > 0.999


def test_noise_in_the_centre_looks_like_one_dominant_direction() -> None:
    k, n = 64, 4000
    centre, ahead = draw(n, 1), draw(n, k, seed=1)
    values = torch.linalg.eigvalsh((ahead - centre).T @ (ahead - centre))
    assert abs(float(values[-1] / values.sum()) - (k + 1) / (2 * k)) < 0.03


def test_every_quantity_has_a_meaning_and_bad_input_one_error() -> None:
    found = decoupling(linear(draw(D, D)), draw(1, *SHAPE), mode="paper")
    assert set(found.quantities) == set(MEANINGS)
    with pytest.raises(InputError, match="dimension"):
        decoupling(linear(draw(D, D)), draw(1, *SHAPE), dimension=D + 1)
    with pytest.raises(InputError, match="neighbours"):
        decoupling(linear(draw(D, D)), draw(1, *SHAPE), neighbours=0)
    with pytest.raises(InputError, match="channels"):
        decoupling(LatentMap(lambda z: z, (4,)), draw(1, 4))


def waves(frequency: float, seed: int) -> LatentMap:
    """`sin(f M z)`, whose leading axis turns the faster, the shorter the waves."""
    M = draw(D, D, seed=seed)
    return LatentMap(lambda z: (frequency * z.flatten(1) @ M.T).sin().reshape(-1, *SHAPE), SHAPE)


@pytest.mark.parametrize("seed", range(2))
def test_an_axis_that_turns_fast_is_followed_nearer_by(seed: int) -> None:
    """Against eigenvectors of the dense Jacobian at steps 1e5 times smaller."""
    map, z = waves(1000.0, 2 * seed), draw(1, *SHAPE, seed=2 * seed)
    options = {"dimension": D, "generator": 3, "neighbours": 4}
    found = decoupling(map, z, **options).quantities["lc"]
    W = Seeds(3, 1).frame("subspace", D, D)
    inside = Seeds(3, 1).unit("subspace neighbours", 4, D)[:, 0]
    step = 1e-8 * float(z.norm())

    def axis(point: torch.Tensor) -> torch.Tensor:
        columns = jacobian(map, point).dense()[0] @ W[:, 0].T
        return torch.linalg.svd(columns).Vh[0]

    here, rates = axis(z), []
    for direction in inside:
        there = axis(z + step * (direction @ W[:, 0]).reshape(z.shape))
        rates.append((there * torch.sign(there @ here) - here).norm() / step)
    stated, _ = student_mean(torch.stack(rates), skewed=True)
    assert float(stated) * 1e-3 * float(z.norm()) > 0.5
    assert found.status == "ok"
    assert float(found.value) == pytest.approx(float(stated), rel=0.1)


def test_the_paper_keeps_turns_up_to_its_bound() -> None:
    found = []
    for seed in range(8):
        options = {"mode": "paper", "generator": seed, "dimension": 2 + seed}
        for frequency in (20.0, 40.0):
            map, z = waves(frequency, seed), draw(1, *SHAPE, seed=seed)
            found.append(decoupling(map, z, **options).quantities["lc"])
    assert {estimate.status for estimate in found} == {"approximate"}
    assert sum(float(estimate.value) > 25 for estimate in found) == 2
    assert all(float(estimate.value) <= math.sqrt(2) / 0.02 for estimate in found)


def test_one_neighbour_says_nothing_of_the_others() -> None:
    map, *_ = quadratic()
    z = draw(1, *SHAPE)
    alone, two = (decoupling(map, z, neighbours=count).quantities for count in (1, 2))
    for name in ("lc", "axis_cosine"):
        assert alone[name].status == "undetermined"
        assert "neighbour" in alone[name].message
        assert two[name].status == "ok"
    assert alone["ls_max"].status == "ok"


def test_small_singular_values_are_not_lost_in_squares() -> None:
    left, right = (torch.linalg.qr(draw(D, D, seed=seed)).Q for seed in (1, 2))
    sigma = torch.logspace(0, -9, D, dtype=torch.float64)
    found = decoupling(linear(left * sigma @ right.T), draw(1, *SHAPE), dimension=D)
    assert float(value(found, "ls_log")) == pytest.approx(float(sigma.log().sum()), abs=1e-5)
    assert abs(float(value(found, "ls_log") - sigma.log().sum())) <= float(1.96 * found.quantities["ls_log"].stderr)


def test_rounding_of_float32_is_inside_the_errors() -> None:
    map, *_ = quadratic()
    z = draw(20, *SHAPE, seed=3).float()
    single, double = (decoupling(map, each, neighbours=2) for each in (z, z.double()))
    for name in set(MEANINGS) - {"linearity"}:
        error = 1.96 * single.quantities[name].stderr
        assert ((value(single, name) - value(double, name)).abs() <= error).double().mean() >= 0.95, name
