"""The regularisers: closed forms, gradients against differences, invariances, layers, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import hessian, jacrev, vmap

import theodolite
from theodolite.errors import InputError
from theodolite.information import gaussian_information, information
from theodolite.scores import GaussianMixtureScore
from theodolite.scores.clouds import normalised
from theodolite.steering import encoder_curvature_loss, fir_loss, tangential_loss, tangents
from theodolite.steering.losses import SplitMixture

D = torch.float64


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=stream(seed), dtype=D)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave, self.norm = nn.Linear(4, 32), nn.Linear(32, 6), nn.GroupNorm(2, 4)

    def forward(self, z):
        h = self.norm(self.enter(z).unflatten(1, (4, 8)))
        return self.leave(nn.functional.scaled_dot_product_attention(h, h, h).flatten(1))


def network(kind):
    torch.manual_seed(0)
    layers = {
        "silu": [nn.Linear(4, 16), nn.SiLU(), nn.LayerNorm(16), nn.Linear(16, 6)],
        "groups": [nn.Linear(4, 16), nn.Unflatten(1, (4, 2, 2)), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten()],
        "convolution": [nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 3, padding=1), nn.Mish(), nn.InstanceNorm2d(4)],
        "batch": [nn.Linear(4, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Linear(16, 6)],
        "attention": [Attention()],
        "heads": [
            nn.Linear(4, 8),
            nn.Unflatten(1, (2, 4)),
            nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True),
            nn.Flatten(),
        ],
    }
    return nn.Sequential(*layers[kind]).to(D)


KINDS = ("silu", "groups", "convolution", "batch", "attention", "heads")


def dense_distortion(function, z):
    J = vmap(jacrev(lambda point: function(point[None])[0].flatten()))(z)
    eigenvalues = torch.linalg.svdvals(J).square()
    return (eigenvalues.var(correction=0) / eigenvalues.mean().square()).item()


def dense_curvature(function, x):
    """`E|Hess(u, u)|² / E|J u|²` for uniform unit `u`, from whole derivatives."""
    one = lambda point: function(point[None])[0].flatten()  # noqa: E731
    B, J, size = vmap(hessian(one))(x), vmap(jacrev(one))(x), x.shape[1]
    trace = torch.einsum("nkii->nk", B).square().sum()
    return ((trace + 2 * B.square().sum()) / (size * (size + 2)) / (J.square().sum() / size)).item()


def slope_error(loss, weight):
    """Relative error of a gradient along a random direction, against a central difference."""
    (gradient,) = torch.autograd.grad(loss(), weight)
    along, step = drawn(*weight.shape, seed=9), 1e-5
    with torch.no_grad():
        ahead = loss_at(loss, weight, step * along)
        behind = loss_at(loss, weight, -step * along)
    slope = (gradient * along).sum()
    return (((ahead - behind) / (2 * step) - slope).abs() / slope.abs()).item()


def loss_at(loss, weight, change):
    weight.add_(change)
    value = loss().detach()
    weight.sub_(change)
    return value


# --- tangential distortion


def test_a_linear_decoders_distortion():
    A = drawn(3, 7, seed=1)
    exact = torch.linalg.svdvals(A).square()
    exact = (exact.var(correction=0) / exact.mean().square()).item()
    values = torch.stack([tangential_loss(lambda z: z @ A, drawn(400, 3), generator=seed) for seed in range(200)])
    assert abs(values.mean().item() - exact) < 4 * values.std().item() / 200**0.5 + 3 / 400
    assert tangential_loss(lambda z: z @ A, drawn(40_000, 3), generator=0).item() == pytest.approx(exact, rel=0.02)


def test_it_is_zero_for_scaled_isometries_only_and_never_below():
    Q = torch.linalg.qr(drawn(9, 4, seed=2)).Q.T
    assert abs(tangential_loss(lambda z: 3 * z @ Q + 1, drawn(5, 4), generator=0).item()) < 1e-12
    near = Q.clone()
    near[0] *= 1.01
    bent = [tangential_loss(lambda z: z @ near, drawn(2, 4), generator=seed).item() for seed in range(50)]
    assert min(bent) >= -1e-12 < 1e-5 < max(bent)
    uneven = tangential_loss(lambda z: z.norm(dim=1, keepdim=True) * Q[0], drawn(1, 1).repeat(2, 1), generator=0)
    assert abs(uneven.item()) < 1e-12


def test_it_equals_the_spread_of_a_networks_singular_values():
    decoder, z = network("silu"), drawn(40, 4)
    stretched = tangential_loss(decoder, z, generator=0, probes=400).item()
    assert stretched == pytest.approx(dense_distortion(decoder, z), rel=0.03)


def test_it_is_free_of_the_scale_of_outputs_and_latents():
    decoder, z = network("silu"), drawn(6, 4)
    first = tangential_loss(decoder, z, generator=3)
    torch.testing.assert_close(tangential_loss(lambda z: 100 * decoder(z), z, generator=3), first)
    torch.testing.assert_close(tangential_loss(lambda z: decoder(z / 7), 7 * z, generator=3), first)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_distortion(kind):
    decoder, z = network(kind), drawn(5, 4)
    assert slope_error(lambda: tangential_loss(decoder, z, generator=1), next(decoder.parameters())) < 1e-5


def test_the_distortion_goes_down_in_training_and_reaches_the_latents_only_when_asked():
    decoder, encoder, g = network("silu"), nn.Linear(3, 4).to(D), stream()
    optimiser = torch.optim.Adam(decoder.parameters(), 1e-2)
    before = dense_distortion(decoder, drawn(50, 4, seed=5))
    for step in range(100):
        optimiser.zero_grad()
        tangential_loss(decoder, drawn(32, 4, seed=step), generator=g).backward()
        optimiser.step()
    assert dense_distortion(decoder, drawn(50, 4, seed=5)) < 0.5 * before
    tangential_loss(decoder, encoder(drawn(5, 3)), generator=g).backward()
    assert encoder.weight.grad.abs().max() > 0


# --- encoder curvature


def quadratic(seed=4):
    A, Q = drawn(2, 3, seed=seed), drawn(2, 3, 3, seed=seed + 1)
    Q = (Q + Q.mT) / 2
    return lambda x: x @ A.T + torch.einsum("nd,kde,ne->nk", x, Q, x) / 2


@pytest.mark.parametrize("step", [None, 0.05, 0.7])
def test_a_quadratic_encoders_curvature_at_any_step(step):
    encoder, x = quadratic(), drawn(6, 3)
    value = encoder_curvature_loss(encoder, x, generator=0, step=step, probes=5000)
    assert value.item() == pytest.approx(dense_curvature(encoder, x), rel=0.03)
    exact = encoder_curvature_loss(encoder, x, generator=0, probes=5000)
    torch.testing.assert_close(value, exact, rtol=1e-8, atol=0)


def test_given_directions():
    x = drawn(5, 2)
    only_second = torch.tensor([[0.0, 2.0]], dtype=D).expand(5, 2)

    def parabola(points):
        return torch.stack([points[:, 0] + 1.5 * points[:, 0].square(), points[:, 1]], 1)

    assert not encoder_curvature_loss(lambda x: parabola(x).sin(), x, generator=0, directions=only_second).isnan()
    found = encoder_curvature_loss(parabola, x, generator=0, directions=only_second.flip(1))
    assert found.item() == pytest.approx((9 / (1 + 3 * x[:, 0]).square().mean()).item())
    with pytest.warns(UserWarning, match="zero everywhere"):
        assert encoder_curvature_loss(parabola, x, generator=0, directions=only_second) == 0


def test_it_is_free_of_the_scale_of_latents_and_knows_that_of_points():
    encoder, x = network("silu"), drawn(5, 4)
    first = encoder_curvature_loss(encoder, x, generator=0)
    torch.testing.assert_close(encoder_curvature_loss(lambda x: 9 * encoder(x), x, generator=0), first)
    torch.testing.assert_close(encoder_curvature_loss(lambda x: encoder(x / 2), 2 * x, generator=0), first / 4)


@pytest.mark.parametrize("step", [None, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_curvature(kind, step):
    encoder, x = network(kind), drawn(5, 4)
    loss = lambda: encoder_curvature_loss(encoder, x, generator=1, step=step)  # noqa: E731
    assert slope_error(loss, next(encoder.parameters())) < 1e-5


@pytest.mark.parametrize("kind", ["silu", "groups", "attention", "heads"])
def test_derivatives_equal_small_differences_through_every_layer(kind):
    encoder, x = network(kind), drawn(5, 4)
    exact, differenced = (encoder_curvature_loss(encoder, x, generator=1, step=step) for step in (None, 1e-3))
    torch.testing.assert_close(differenced, exact, rtol=1e-3, atol=0)


def test_kinks_are_seen_over_steps_only():
    encoder, x = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2)).to(D), drawn(20, 4)
    with pytest.warns(UserWarning, match="piecewise linear layers"):
        assert encoder_curvature_loss(encoder, x, generator=0) == 0
    assert encoder_curvature_loss(encoder, x, generator=0, step=0.3) > 0.01


def test_random_layers_see_the_same_numbers_in_all_passes():
    encoder, x = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5), nn.Linear(64, 2)).to(D), drawn(20, 4)
    assert encoder_curvature_loss(encoder, x, generator=0, step=0.1).item() < 1e-12


def test_batch_statistics_are_left_as_they_are():
    encoder, x = network("batch"), drawn(5, 4)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    for step in (None, 0.1):
        encoder_curvature_loss(encoder, x, generator=0, step=step)
    tangential_loss(encoder, x, generator=0)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_tangents_are_units_along_the_decoder():
    decoder, z = network("silu"), drawn(7, 4)
    u = tangents(decoder, z, generator=0)
    torch.testing.assert_close(u.norm(dim=1), torch.ones(7, dtype=D))
    J = vmap(jacrev(lambda point: decoder(point[None])[0]))(z)
    inside = J @ torch.linalg.lstsq(J, u[:, :, None]).solution
    torch.testing.assert_close(inside[..., 0], u)
    assert not u.requires_grad


# --- Fisher information rate


@pytest.mark.parametrize(("dimension", "n", "t"), [(2, 512, 0.5), (4, 1024, 1.0), (8, 1024, 2.0), (8, 1024, 4.0)])
def test_a_gaussian_clouds_excess_within_the_stated_bias(dimension, n, t):
    spread = torch.linspace(0.4, 1.6, dimension, dtype=D)
    rate = gaussian_information(spread, [t]).fir.value.item()
    exact = (1 + t) ** 2 * rate / dimension - 1
    found = torch.stack(
        [fir_loss(drawn(n, dimension, seed=seed) * spread.sqrt(), t, generator=seed) for seed in range(24)]
    )
    error, sampling = found.mean().item() - exact, found.std().item() / 24**0.5
    assert -0.1 * (1 + exact) - 3 * sampling < error < 3 * sampling + 0.01


def test_halves_have_the_jacobian_of_the_exact_mixture():
    members = drawn(12, 3)
    halves = SplitMixture.drawn(members, 12, 0.8, stream())
    x = stream()
    torch.randperm(12, generator=x)
    noisy = members + 0.8**0.5 * torch.randn(12, 3, generator=x, dtype=D)
    for Y, w in zip(halves.members, halves.weights):
        for i in range(12):
            others = Y[~(members[i] == Y).all(1)]
            exact = GaussianMixtureScore(torch.ones(len(others)), others, torch.zeros(len(others), 3))
            H = exact.hessian(noisy[i : i + 1], 0.8)[0]
            ess = 1 / w[i].square().sum()
            identity = torch.eye(3, dtype=D) / 0.8
            corrected = (H + identity) / (1 - 1 / ess).clamp_min(0.5) - identity
            torch.testing.assert_close(halves._product(Y, w)[i], corrected @ halves.probes[i])


def test_it_agrees_with_the_estimator_on_a_mixture():
    means = torch.tensor([[-2.0, 0.0], [2.0, 0.0]], dtype=D)
    truth = GaussianMixtureScore(torch.ones(2), means, 0.3 * torch.ones(2, 2))
    cloud = normalised(truth.sample(1000, stream()))
    variance = 0.3 * cloud.scale**2 * torch.ones(2, 2)
    scaled = GaussianMixtureScore(torch.ones(2), (means - cloud.mean) * cloud.scale, variance)
    rate = information(cloud.latents, [0.5], scaled, generator=0).fir
    exact, error = 1.5**2 * rate.value.item() / 2 - 1, 1.5**2 * rate.stderr.item() / 2
    found = torch.stack([fir_loss(cloud.latents, 0.5, generator=seed) for seed in range(10)])
    assert exact > 0.5
    assert abs(found.mean().item() - exact) < 3 * error + 0.05 * exact + 3 * found.std().item() / 10**0.5


def test_it_is_free_of_scale_shift_and_shape():
    z = drawn(500, 2)
    first = fir_loss(z, 1.0, generator=0)
    torch.testing.assert_close(fir_loss(50 * z - 3, 1.0, generator=0), first)
    torch.testing.assert_close(fir_loss(z.reshape(500, 1, 2, 1), 1.0, generator=0), first)
    assert fir_loss(z.float(), 1.0, generator=0).dtype == torch.float32


def test_the_gradient_of_the_rate():
    z, bank = drawn(60, 2), drawn(400, 2, seed=3)
    for references in (None, bank):
        weight = (torch.eye(2, dtype=D) + 0.1).requires_grad_()
        loss = lambda: fir_loss(z @ weight, 2.0, generator=1, references=references, support=30)  # noqa: B023, E731
        assert slope_error(loss, weight) < 1e-6


def test_descent_makes_a_cloud_round():
    weight = torch.tensor([[2.0, 0.0], [0.0, 0.4]], dtype=D, requires_grad=True)
    optimiser, g = torch.optim.Adam([weight], 0.05), stream()
    for step in range(60):
        optimiser.zero_grad()
        fir_loss(drawn(512, 2, seed=step) @ weight, 1.0, generator=g).backward()
        optimiser.step()
    values = torch.linalg.svdvals(weight.detach())
    assert values[0] / values[1] < 1.5


def test_references_hold_more_noise_levels():
    batch, bank = drawn(64, 4), drawn(4000, 4, seed=1)
    with pytest.raises(
        InputError, match=r"effective sample size of at least 100 expected at t = 1, got .* larger batch"
    ):
        fir_loss(batch, 1.0, generator=0)
    assert abs(fir_loss(batch, 1.0, generator=0, references=bank).item()) < 0.5


# --- all of them


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_loss_is_a_scalar_with_a_gradient_in_the_dtype_of_its_input(dtype):
    decoder, encoder = network("silu").to(dtype), network("groups").to(dtype)
    x = drawn(300, 4).to(dtype)
    losses = (
        tangential_loss(decoder, x, generator=0),
        encoder_curvature_loss(encoder, x, generator=0),
        encoder_curvature_loss(encoder, x, generator=0, step=0.1),
        fir_loss(encoder(x)[:, :2], 2.0, generator=0),
    )
    for loss in losses:
        assert loss.shape == ()
        assert loss.dtype == dtype
        assert loss.requires_grad
    sum(losses).backward()
    for net in (decoder, encoder):
        gradients = [weight.grad for weight in net.parameters() if weight.grad is not None]  # a last bias has none
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert max(gradient.abs().max() for gradient in gradients) > 0


def test_autoencoders_and_their_outputs_are_taken():
    autoencoder = theodolite.load("zoo:digits")
    images = torch.rand(4, 1, 8, 8, generator=stream()) * 2 - 1
    z = autoencoder.encode(images)
    assert tangential_loss(autoencoder, z, generator=0) > 0
    assert encoder_curvature_loss(autoencoder, images, generator=0) > 0
    assert tangents(autoencoder, z, generator=0).shape == images.shape
    pair = encoder_curvature_loss(lambda x: (x.sin(), x), drawn(4, 2), generator=0)
    torch.testing.assert_close(pair, encoder_curvature_loss(torch.sin, drawn(4, 2), generator=0))


def test_autocast_changes_nothing():
    decoder, x, cloud = network("silu").float(), drawn(5, 4).float(), drawn(300, 2).float()

    def values():
        return torch.stack(
            [
                tangential_loss(decoder, x, generator=0),
                encoder_curvature_loss(decoder, x, generator=0),
                encoder_curvature_loss(decoder, x, generator=0, step=0.1),
                fir_loss(cloud, 2.0, generator=0),
            ]
        )

    plain = values()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(values(), plain)
        with pytest.raises(InputError, match=r"float32 or float64 tensor, got torch\.bfloat16"):
            tangential_loss(decoder, x.bfloat16(), generator=0)


def test_a_generator_goes_on_and_a_seed_repeats():
    decoder, z, g = network("silu"), drawn(3, 4), stream()
    assert tangential_loss(decoder, z, generator=g) != tangential_loss(decoder, z, generator=g)
    assert tangential_loss(decoder, z, generator=7) == tangential_loss(decoder, z, generator=7)
    state = torch.get_rng_state()
    fir_loss(drawn(200, 2), 2.0, generator=g, support=10)
    encoder_curvature_loss(decoder, z, generator=g)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tangential_loss(torch.sin, torch.full((2, 2), torch.nan), generator=0), "finite `latents` expected"),
        (lambda: tangential_loss(torch.sin, torch.ones(2, 2, dtype=torch.long), generator=0), "got torch.int64"),
        (lambda: tangential_loss(torch.sin, torch.ones(3), generator=0), r"expected to be \(n, ...\)"),
        (lambda: tangential_loss(torch.sin, torch.ones(2, 2), generator=0, probes=0), "`probes` expected"),
        (lambda: tangential_loss(torch.sin, torch.ones(2, 2), generator=None), "`generator` expected"),
        (lambda: tangential_loss(torch.zeros_like, torch.ones(2, 2), generator=0), "constant around every latent"),
        (lambda: encoder_curvature_loss(torch.zeros_like, torch.ones(2, 2), generator=0), "constant along every"),
        (
            lambda: encoder_curvature_loss(torch.sin, torch.ones(2, 2), generator=0, step=0.0),
            "`step` expected positive",
        ),
        (
            lambda: encoder_curvature_loss(torch.sin, torch.ones(2, 2), generator=0, directions=torch.ones(2, 3)),
            r"`directions` expected to be \(2, 2\)",
        ),
        (
            lambda: encoder_curvature_loss(torch.sin, torch.ones(2, 2), generator=0, directions=torch.zeros(2, 2)),
            "positive length",
        ),
        (lambda: fir_loss(drawn(100, 2), 0.0, generator=0), "noise variances `t`"),
        (lambda: fir_loss(drawn(100, 2), 1.0, generator=0, support=0), "`support` expected positive"),
        (lambda: fir_loss(torch.ones(100, 2), 1.0, generator=0), "zero variance"),
        (lambda: fir_loss(drawn(1, 2), 1.0, generator=0), "at least two samples"),
        (lambda: fir_loss(drawn(4, 2), 1.0, generator=0), "at least 8 latents"),
        (lambda: fir_loss(drawn(100, 2), 1.0, generator=0, references=drawn(9, 3)), "`references` expected"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_an_operation_without_second_derivatives_asks_for_a_step():
    def sampled(x):
        grid = x.reshape(-1, 1, 1, 2)
        return nn.functional.grid_sample(image.expand(len(x), -1, -1, -1), grid, align_corners=True).flatten(1)

    image, x = drawn(1, 1, 5, 5), 0.3 * drawn(4, 2)
    with pytest.raises(InputError, match="give `step`"):
        encoder_curvature_loss(sampled, x, generator=0)
    assert encoder_curvature_loss(sampled, x, generator=0, step=0.4) > 0
