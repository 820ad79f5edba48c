"""Sampler maps: exact flows, every method's order, the schedulers of diffusers, and derivatives through all steps."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from theodolite import Denoiser, InputError, LatentMap, jacobian, leading_singular_value, sampler_map, zoo
from theodolite.derivatives import ChainOperator, JacobianOperator, self_check
from theodolite.derivatives.linearise import Linearisation
from theodolite.maps import karras_levels
from theodolite.scores import GaussianScore
from theodolite.zoo import MixtureDiffusion

D = torch.float64
SHAPE = (2, 6, 6)


class Net(nn.Module):
    """A small random denoiser with what real ones have: convolutions, normalisation, attention, a condition."""

    shape = SHAPE

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.attend, self.leave = nn.MultiheadAttention(8, 2, batch_first=True), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x, sigma, condition):
        scale = (1 + sigma**2) ** -0.5
        h = nn.functional.silu(self.norm(self.enter(scale * x) + (0 if condition is None else condition)))
        rows = h.flatten(2).mT
        h = h + self.attend(rows, rows, rows, need_weights=False)[0].mT.unflatten(2, h.shape[2:])
        return scale**2 * x + sigma * scale * self.leave(h)


@pytest.fixture(scope="module")
def net():
    return Net().double().eval()


def noise(n=2, seed=1, shape=SHAPE):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def vectors(k, like, seed=2):
    return torch.randn(k, *like.shape, generator=torch.Generator().manual_seed(seed), dtype=D)


CASES = {
    "ddim": {},
    "euler": {"condition": 0.4},
    "heun": {"condition": 0.4, "guidance": 3.0},
}


def sampler(net, method, **options):
    return sampler_map(net, karras_levels(6, 0.02, 20.0), method, **{**CASES[method], **options})


@pytest.mark.parametrize("method", CASES)
def test_jvps_are_central_differences_to_1e_6(net, method):
    map, z = sampler(net, method), noise()
    J, V, h = jacobian(map, z), vectors(4, noise()), 1e-5
    slope = (J.at_offsets(h * V) - J.at_offsets(-h * V)) / (2 * h)
    assert float((J.matvec(V) - slope).norm() / slope.norm()) < 1e-6
    assert J.way == "linearised"
    assert J.status == "ok"


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("method", CASES)
def test_stage_by_stage_is_the_whole(net, method, keeps):
    map, z = sampler(net, method, decode=lambda x: x.flatten(2).cos()), noise()
    chained, whole, V = jacobian(map, z), JacobianOperator(map, z), vectors(3, noise())
    assert isinstance(chained, ChainOperator)
    chained.keeps = keeps
    U = vectors(3, whole.outputs, 3)
    torch.testing.assert_close(chained.outputs, whole.outputs)
    torch.testing.assert_close(chained.matvec(V), whole.matvec(V))
    torch.testing.assert_close(chained.rmatvec(U), whole.rmatvec(U))
    torch.testing.assert_close(chained.second(V), whole.second(V))
    assert (chained.passes, whole.passes) == (1 + 3 + 3 + 4 * 3, 1 + 3 + 3 + 2 * 3)
    assert all(bool(part._recordings) == keeps for part in chained.parts)


@pytest.mark.parametrize("method", CASES)
def test_vjps_are_the_adjoint(net, method):
    J = jacobian(sampler(net, method), noise())
    V, U = vectors(3, J.latents), vectors(3, J.outputs, 3)
    left, right = ((a * b).flatten(2).sum(-1) for a, b in ((U, J.matvec(V)), (J.rmatvec(U), V)))
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)
    dense = J.dense()
    torch.testing.assert_close(torch.einsum("nij,knj->kni", dense, V.flatten(2)), J.matvec(V).flatten(2))


def public(operator):
    return {name for name in dir(operator) if not name.startswith("_")}


def test_a_chain_has_all_that_a_single_map_has(net):
    """Every public name can be read, and every method called, on both."""
    map, z, V = sampler(net, "ddim"), noise(), vectors(2, noise())
    for operator in (jacobian(map, z), JacobianOperator(map, z)):
        assert public(operator) >= {"matvec", "rmatvec", "second", "at_offsets", "dense", "flat", "forget", "status"}
        assert set(vars(JacobianOperator(map, z))) <= set(vars(operator))
        products = operator.matvec(V), operator.rmatvec(V), operator.second(V), operator.at_offsets(V)
        assert all(getattr(operator, name) is not None for name in public(JacobianOperator(map, z)))
        operator.forget()
        again = operator.matvec(V), operator.rmatvec(V), operator.second(V), operator.at_offsets(V)
        for first, second in zip(products, again):
            torch.testing.assert_close(first, second)


def test_a_chain_forgets_all_its_recordings(net):
    J = jacobian(sampler(net, "ddim"), noise())
    J.matvec(vectors(2, noise()))
    assert all(part._recordings for part in J.parts)
    J.forget()
    assert not any(part._recordings for part in J.parts)


PRODUCTS = {"matvec": "push", "rmatvec": "pull", "second": "second", "at_offsets": None}


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("failures", [1, 3])
def test_a_chain_halves_its_blocks_where_memory_runs_out(net, monkeypatch, product, failures):
    V, refused = vectors(8, noise()), []
    expected = getattr(jacobian(sampler(net, "ddim"), noise()), product)(V)
    J = jacobian(sampler(net, "ddim"), noise())

    def greedy(plain):
        def run(*arguments):
            if len(arguments[-1]) > 2 and len(refused) < failures:
                refused.append(len(arguments[-1]))
                raise torch.OutOfMemoryError("simulated")
            return plain(*arguments)

        return run

    if PRODUCTS[product] is None:
        step = J.parts[2].map.function
        step.forward = greedy(step.forward)
    else:
        plain = getattr(Linearisation, PRODUCTS[product])
        monkeypatch.setattr(Linearisation, PRODUCTS[product], greedy(plain))
    for operator in (J, *J.parts):
        operator._chunk = 16
    torch.testing.assert_close(getattr(J, product)(V), expected)
    assert len(refused) == failures


def test_without_recordings_too(net, unrecorded):
    map, z, V = sampler(net, "heun"), noise(), vectors(2, noise())
    torch.testing.assert_close(jacobian(map, z).matvec(V), JacobianOperator(map, z).matvec(V))
    assert jacobian(map, z).rmatvec(V).shape == V.shape


def test_rows_and_chunks_do_not_matter(net):
    map, z, V = sampler(net, "ddim"), noise(3), vectors(5, noise(3))
    J = jacobian(map, z)
    for part in J.parts:
        part._chunk = 2
    alone = torch.cat([jacobian(map, z[i : i + 1]).matvec(V[:, i : i + 1]) for i in range(3)], 1)
    torch.testing.assert_close(J.matvec(V), alone)


def test_the_self_check_passes_and_float32_converts(net):
    check = self_check(sampler(net, "heun").to(dtype=torch.float32), noise().float())
    assert check.passed
    assert check.dtype == "float64"
    assert next(net.parameters()).dtype is D


@pytest.mark.parametrize("method", ["ddim", "heun"])
def test_gaussian_data_are_carried_by_the_exact_affine_flow(method):
    """`x(0) = mu + sqrt(v / (v + sigma²)) (x - mu)`, and the order with which each method reaches it."""
    mean, v, top = torch.tensor([1.0, -2.0], dtype=D), torch.tensor([2.0, 0.1], dtype=D), 10.0
    z, score = noise(5, shape=(2,)), GaussianScore(mean, v)
    exact = mean + (v / (v + top**2)).sqrt() * (top * z - mean)
    errors = [
        float((sampler_map(score, karras_levels(n, 1e-3, top), method)(z) - exact).abs().max()) for n in (100, 200)
    ]
    order = math.log2(errors[0] / errors[1])
    assert errors[1] < (0.02 if method == "ddim" else 5e-4)
    assert abs(order - (1 if method == "ddim" else 2)) < 0.3
    J = jacobian(sampler_map(score, karras_levels(400, 1e-3, top), "heun"), z[:1])
    torch.testing.assert_close(J.dense()[0].diagonal(), top * (v / (v + top**2)).sqrt(), rtol=1e-3, atol=1e-4)


def test_the_zoos_own_flow_is_the_limit():
    model = MixtureDiffusion.three_phases(0.4)
    z, top = noise(20, shape=(2,)), 200.0
    ours = sampler_map(model, karras_levels(400, 1e-3, top), "heun")(z)
    torch.testing.assert_close(ours, model.sampler(400)(z), rtol=0, atol=5e-3)


def test_ddim_and_euler_are_one_formula(net):
    levels = karras_levels(6, 0.02, 20.0)
    first, second = (sampler_map(net, levels, method)(noise()) for method in ("ddim", "euler"))
    assert torch.equal(first, second)


def test_memory_does_not_grow_with_the_steps(net, monkeypatch):
    """What the operator holds after products: the states, and no recording."""
    from theodolite.derivatives import chain

    monkeypatch.setattr(chain, "_KEPT", 0)
    footprints = []
    for steps in (3, 12):
        J = jacobian(sampler_map(net, karras_levels(steps, 0.02, 20.0)), noise())
        J.matvec(vectors(2, J.latents))
        J.rmatvec(vectors(2, J.outputs))
        assert not J.keeps
        assert not any(part._recordings or part._pullbacks for part in J.parts)
        footprints.append(J.footprint.total)
    assert footprints[0] == footprints[1] < JacobianOperator(J.map, J.latents).footprint.total / 10


def test_levels_and_fingerprints(net):
    assert karras_levels(1, 0.1, 3.0) == [3.0, 0.0]
    levels = karras_levels(5, 0.1, 3.0)
    assert levels[0] == 3.0
    assert levels[-2:] == [0.1, 0.0]
    assert levels == sorted(levels, reverse=True)
    map, same = sampler_map(net, levels), sampler_map(net, torch.tensor(levels, dtype=D))
    before = map.fingerprint()
    jacobian(map, noise())
    assert map.fingerprint() == before == same.fingerprint() != sampler_map(net, levels, "heun").fingerprint()


def test_a_decoder_with_its_range(net):
    decoder = LatentMap(lambda x: x.tanh(), SHAPE, output_range=(-1.0, 1.0))
    map = sampler(net, "ddim", decode=decoder)
    assert map.output_range == (-1.0, 1.0)
    torch.testing.assert_close(map(noise()), sampler(net, "ddim")(noise()).tanh())


def test_bad_input_is_one_clear_error(net):
    for message, call in {
        "`method` expected to be one of ddim, euler, heun": lambda: sampler_map(net, [1.0, 0.0], "dpm"),
        "at least two falling": lambda: sampler_map(net, [1.0]),
        r"at least two falling noise levels, the last 0 or more, got \[1.0, 2.0\]": lambda: sampler_map(net, [1, 2]),
        "the last 0 or more": lambda: sampler_map(net, [1.0, -1.0]),
        "finite": lambda: sampler_map(net, [math.inf, 1.0]),
        "without a schedule": lambda: sampler_map(net, 12),
        "at least one step": lambda: sampler_map(net, 0),
        "noise levels or a number of steps": lambda: sampler_map(net, "many"),
        "`decode` expected": lambda: sampler_map(net, [1.0, 0.0], decode=3),
        "0 < low < high": lambda: karras_levels(3, 2.0, 1.0),
    }.items():
        with pytest.raises(InputError, match=message):
            call()


def doubled(x, sigma):
    """The denoiser of N(0, 1) data, twice as large as it should be."""
    return 2 * x / (1 + sigma**2)


def test_a_sample_that_leaves_the_datas_range_says_so_and_where_it_starts(net):
    levels = karras_levels(8, 0.02, 20.0)
    inside = sampler_map(Denoiser(lambda x, s: (x / (1 + s**2)).clamp(-1, 1), shape=(64,), data_range=(-1, 1)), levels)
    left = sampler_map(Denoiser(doubled, shape=(64,), data_range=(-1, 1)), levels)
    z = noise(2, shape=(64,))
    assert jacobian(inside, z).status == "ok"
    J = jacobian(left, z)
    share = float((J.outputs.abs() > 1.1).double().mean())
    assert J.status == "outside-data"
    assert J.message.startswith(f"{share:.1%} of a sample's entries lie outside the data's range [-1, 1]")
    x, first = levels[0] * z, []
    for here, there in itertools.pairwise(levels):
        denoised = doubled(x, here)
        first.append(float((denoised.abs() > 1.1).double().mean()) > 0.01)
        x = denoised + there / here * (x - denoised)
    start = next(place for place in range(len(first)) if all(first[place:]))
    assert f"from sigma {levels[start]:.4g} on" in J.message
    estimate = leading_singular_value(left, z)
    assert set(estimate.statuses) == {"outside-data"}
    assert estimate.message == J.message


def test_without_a_range_or_within_its_margin_nothing_is_said():
    levels, z = karras_levels(8, 0.02, 20.0), noise(2, shape=(64,))
    assert jacobian(sampler_map(Denoiser(doubled, shape=(64,)), levels), z).status == "ok"
    wide = float(sampler_map(Denoiser(doubled, shape=(64,)), levels)(z).abs().max()) * 0.95
    assert jacobian(sampler_map(Denoiser(doubled, shape=(64,), data_range=(-wide, wide)), levels), z).status == "ok"


def test_a_sample_is_looked_at_before_it_is_decoded():
    levels, z = karras_levels(8, 0.02, 20.0), noise(2, shape=(64,))
    denoiser = Denoiser(doubled, shape=(64,), data_range=(-1, 1))
    J = jacobian(sampler_map(denoiser, levels, decode=lambda x: x.tanh()), z)
    assert J.status == "outside-data"


def test_guided_samples_of_the_zoo_are_noticed_where_they_saturate():
    model = zoo.pixel_diffusion()
    z = noise(4, shape=model.shape).float()
    statuses = [jacobian(model.sampler((3, "red"), scale), z).status for scale in (1.0, 2.0, 9.0)]
    assert statuses == ["ok", "ok", "outside-data"]
