"""The guard of every estimate: maps that jump, draw noise or have no transpose are told from those that look so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import theodolite
from theodolite import LatentMap, jacobian, sampler_map
from theodolite.derivatives import trust

ONES = torch.ones(4, 3)


def draws(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def straight_through(dim, codes, skip, seed):
    """`z + (q - z).detach()` with the nearest of a codebook, then a smooth layer, with a way around it or without."""
    book, W = draws(codes, dim, seed=seed), draws(dim, 8, seed=seed + 1000)

    def decode(z):
        nearest = book.to(z)[torch.cdist(z, book.to(z)).argmin(-1)]
        x = torch.tanh((z + (nearest - z).detach()) @ W.to(z))
        return x + 0.3 * (z @ W.to(z)) if skip else x

    return LatentMap(decode, (dim,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 4, 16])
@pytest.mark.parametrize("codes", [8, 64, 512])
def test_a_straight_through_quantiser_has_no_derivative(dim, codes, skip, dtype):
    for seed in range(3):
        z = draws(2, dim, seed=seed + 50).to(dtype)
        J = jacobian(straight_through(dim, codes, skip, seed), z)
        J.matvec(z[None])
        assert J.status in ("undefined", "undetermined")
        assert J.status == "undetermined" or "without the quantiser" in J.message


STEPPED = {
    "rounding": lambda z: (4 * z).round() / 4 @ ONES.to(z),
    "eight bits": lambda z: (127.5 * torch.tanh(z @ draws(4, 60).to(z))).round() / 127.5,
    "argmax": lambda z: nn.functional.one_hot(z.argmax(-1), 4).to(z),
    "sign": lambda z: z.sign() @ ONES.to(z),
    "outside torch": lambda z: torch.from_numpy(z.detach().numpy().round()),
}
INNOCENT = {
    "constant": lambda z: 0 * z + 1,
    "dead units": lambda z: torch.relu(z - 50),
    "a gate without gradient": lambda z: z * torch.sigmoid(z).detach(),
    "kinks": lambda z: torch.relu(z @ draws(4, 64).to(z)) @ draws(64, 9, seed=1).to(z),
    "a large constant": lambda z: 1e4 + z,
    "a kink at zero": lambda z: z.abs(),
    "strong bending": lambda z: (20 * z).sin(),
    "outside torch": lambda z: torch.from_numpy(z.detach().numpy() ** 2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", STEPPED)
def test_whatever_rounds_is_found_out(name, dtype):
    for seed in range(4):
        z = draws(2, 4, seed=seed).to(dtype)
        J = jacobian(LatentMap(STEPPED[name], (4,)), z)
        J.matvec(z[None])
        assert J.status == "undefined"
        assert "without the quantiser" in J.message


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", INNOCENT)
def test_maps_without_jumps_are_not_suspected(name, dtype):
    for z in (*(draws(2, 4, seed=seed).to(dtype) for seed in range(4)), torch.zeros(1, 4, dtype=dtype)):
        J = jacobian(LatentMap(INNOCENT[name], (4,)), z)
        J.matvec(z[None])
        assert J.status == ("approximate" if name == "outside torch" else "ok")


def test_noise_in_a_map_is_no_slope():
    torch.manual_seed(0)
    J = jacobian(LatentMap(lambda z: z + 3 * torch.randn_like(z), (4,)), draws(2, 4))
    J.matvec(draws(1, 2, 4))
    assert J.status == "undetermined"
    assert "deterministic" in J.message


class Lopsided(torch.autograd.Function):
    """A custom operation whose formulas do not belong together; no recorder sees inside."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        with torch.utils._python_dispatch._disable_current_modes():
            return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0].cos() * g

    @staticmethod
    def jvp(ctx, v):
        return ctx.saved_tensors[0].cos() * v


def test_products_that_are_not_adjoint_are_no_numbers():
    J = jacobian(LatentMap(lambda z: z + Lopsided.apply(z), (4,)), draws(2, 4))
    J.matvec(draws(1, 2, 4))
    assert J.status == "undetermined"
    assert "adjoint" in J.message


def test_the_guard_is_made_once_a_map_for_a_few_passes():
    net, rows = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)), []

    def counted(z):
        rows.append(len(z))
        return net(z)

    map = LatentMap(counted, (4,))
    J = jacobian(map, draws(1, 4))
    J.matvec(draws(1, 1, 4))
    before = sum(rows)
    assert J.status == "ok"
    assert 3 < sum(rows) - before <= 8
    before = sum(rows)
    assert J.status == jacobian(map, draws(3, 4)).status == "ok"
    assert sum(rows) - before == 3
    assert J.passes == 2


def test_steps_of_a_sampler_are_checked_on_one_of_them():
    runs = []

    class Network(nn.Module):
        shape = (4,)

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x, sigma):
            runs.append(len(x))
            return x / (1 + sigma) + 0.1 * torch.tanh(self.layer(x))

    torch.manual_seed(0)
    map = sampler_map(theodolite.Denoiser(Network().eval(), predicts="x0", shape=(4,)), [8.0, 4.0, 2.0, 1.0, 0.5, 0.2])
    z, counts = torch.randn(1, 4), []
    for point in (z, z + 1):
        runs.clear()
        operator = jacobian(map, point)
        operator.matvec(torch.randn(3, 1, 4))
        assert operator.status == "ok"
        counts.append(sum(runs))
    assert counts[1] <= 2 * 5 + 1  # the value and the recording of every step
    assert counts[0] <= counts[1] + 45  # and the check of one, not of five


def test_nothing_is_judged_before_a_derivative_is_taken(monkeypatch):
    monkeypatch.setattr(trust, "_judged", None)
    J = jacobian(LatentMap(torch.sin, (4,)), draws(1, 4))
    J.at_offsets(draws(1, 1, 4))
    assert J.status == "ok"


def test_a_sampler_that_ends_in_a_quantiser_is_found_out():
    decode = straight_through(4, 64, False, 0)
    map = sampler_map(lambda x, sigma: x / (1 + sigma**2), [10.0, 1.0, 0.0], decode=decode, shape=(4,))
    J = jacobian(map, draws(2, 4))
    J.matvec(draws(1, 2, 4))
    assert J.status == "undefined"
    assert "without the quantiser" in J.message


@pytest.mark.parametrize(
    "name", ["curvature", "axis_rotation", "local_scaling", "local_rank", "leading_singular_value"]
)
def test_descriptors_of_a_quantised_decoder_are_undefined(name):
    estimate = getattr(theodolite, name)(straight_through(4, 64, False, 3), draws(2, 4))
    for part in (estimate, *estimate.parts.values()):
        assert set(part.statuses) <= {"undefined", "undetermined"}
        assert part.value.isnan().all()
    assert "without the quantiser" in estimate.message
