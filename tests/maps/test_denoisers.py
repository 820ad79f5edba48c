"""Denoiser maps: the four outputs of one denoiser, exact where the answer is known, from every kind of model."""

from __future__ import annotations

import pytest
import torch

import theodolite
from theodolite import Denoiser, InputError, denoiser_map, jacobian
from theodolite.maps.denoisers import as_denoiser, jacobians_of
from theodolite.maps.denoising import BaseDenoiser
from theodolite.scores import GaussianMixtureScore, GaussianScore, MixtureScore
from theodolite.zoo import MixtureDiffusion

D = torch.float64
OUTPUTS = ("x0", "eps", "v", "score")
COV = torch.tensor([[2.0, 0.6, 0.0], [0.6, 1.0, -0.2], [0.0, -0.2, 0.3]], dtype=D)


def points(n=4, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=D)


def closed(output, sigma):
    """The matrix of each output for centred Gaussian data: `D x = C (C + sigma²)^-1 x`."""
    eye, t = torch.eye(3, dtype=D), sigma**2
    A = COV @ torch.linalg.inv(COV + t * eye)
    v = ((eye - A) / sigma - sigma * A) / (1 + t) ** 0.5
    return {"x0": A, "eps": (eye - A) / sigma, "v": v, "score": (A - eye) / t}[output]


@pytest.mark.parametrize("sigma", [0.05, 0.7, 6.0])
@pytest.mark.parametrize("output", OUTPUTS)
def test_outputs_and_jacobians_of_gaussian_data_are_exact(output, sigma):
    map = denoiser_map(GaussianScore(torch.zeros(3, dtype=D), COV), sigma, output)
    x, A = points(), closed(output, sigma)
    torch.testing.assert_close(map(x), x @ A.mT)
    torch.testing.assert_close(jacobian(map, x).dense(), A.expand(4, 3, 3))


def test_jacobians_follow_from_that_of_the_score():
    """dD/dx = I + t H, and the other three."""
    mixture = GaussianMixtureScore(torch.ones(5), points(5, 1), 0.2 * torch.ones(5, 3, dtype=D))
    x, sigma = points(), 0.6
    J = {name: jacobian(denoiser_map(mixture, sigma, name), x).dense() for name in OUTPUTS}
    H, eye, t = mixture.hessian(x, sigma**2), torch.eye(3, dtype=D), sigma**2
    torch.testing.assert_close(J["score"], H)
    torch.testing.assert_close(J["x0"], eye + t * H)
    torch.testing.assert_close(J["eps"], -sigma * H)
    torch.testing.assert_close(J["v"], -(sigma * eye + sigma * (1 + t) * H) / (1 + t) ** 0.5)
    assert (torch.linalg.eigvalsh(J["x0"]) > 0).all()  # a covariance


@pytest.mark.parametrize("output", OUTPUTS)
def test_jacobians_follow_from_that_of_the_denoised_point(output):
    torch.testing.assert_close(jacobians_of(output, closed("x0", 0.7), 0.7), closed(output, 0.7))
    with pytest.raises(InputError, match="one of x0"):
        jacobians_of("x1", closed("x0", 0.7), 0.7)


@pytest.mark.parametrize(
    "source",
    [
        GaussianMixtureScore(torch.ones(2), points(2, 3), torch.ones(2, 3, dtype=D)),
        MixtureDiffusion(points(3, 4), 0.4),
    ],
    ids=["gaussian-mixture", "zoo"],
)
def test_what_has_a_score_is_a_denoiser(source):
    x, sigma = points(), 0.9
    torch.testing.assert_close(denoiser_map(source, sigma)(x), x + sigma**2 * source.score(x, sigma**2))
    V, map = points(4, 5)[None], denoiser_map(source, sigma)
    J, h = jacobian(map, x), 1e-5
    slope = (map(x + h * V[0]) - map(x - h * V[0])) / (2 * h)
    torch.testing.assert_close(J.matvec(V)[0], slope, rtol=1e-6, atol=1e-8)


class Conditional(torch.nn.Module):
    """The exact denoiser of unit Gaussians around a condition; None is the one around the origin."""

    shape = (3,)

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(3, dtype=D))

    def forward(self, x, sigma, condition):
        mean = 0 if condition is None else condition
        return mean + (x - mean) @ self.weight / (1 + sigma**2)


@pytest.mark.parametrize("output", OUTPUTS)
def test_guidance_is_the_same_for_every_output(output):
    model, c, u, x, g = Conditional(), points(1, 6), points(1, 7), points(), 3.5
    conditioned, other = (denoiser_map(model, 0.8, output, condition=one)(x) for one in (c, u))
    guided = denoiser_map(model, 0.8, output, condition=c, guidance=g, unconditional=u)
    torch.testing.assert_close(guided(x), other + g * (conditioned - other))
    null = denoiser_map(model, 0.8, output)(x)
    torch.testing.assert_close(
        denoiser_map(model, 0.8, output, condition=c, guidance=g)(x), null + g * (conditioned - null)
    )


def test_a_map_knows_its_weights_and_moves_with_them():
    model = Conditional()
    map = denoiser_map(model, 0.8, condition=points(1), guidance=2.0)
    assert map.dtype is D
    assert map.to(dtype=torch.float32).dtype is torch.float32
    assert model.weight.dtype is D
    same, other = (denoiser_map(model, 0.8, condition=points(1, seed), guidance=2.0) for seed in (0, 1))
    assert map.fingerprint() == same.fingerprint() != other.fingerprint()
    assert map.fingerprint() != denoiser_map(model, 0.9, condition=points(1), guidance=2.0).fingerprint()
    assert theodolite.derivatives.self_check(map, points(1)).passed


def test_the_callers_model_is_left_in_its_mode():
    model = Conditional().train()
    denoiser_map(model, 0.8)
    assert model.training


def test_bad_input_is_one_clear_error():
    model, source = Conditional(), GaussianScore(torch.zeros(3, dtype=D), COV)
    for message, call in {
        "`output` expected to be one of x0, eps, v, score": lambda: denoiser_map(model, 1.0, "noise"),
        "above zero and finite": lambda: denoiser_map(model, 0.0),
        "a denoiser expected, got int": lambda: denoiser_map(3, 1.0),
        "the shape of one point expected": lambda: denoiser_map(torch.sin, 1.0),
        "takes no condition": lambda: denoiser_map(source, 1.0, condition=points(1)),
        "takes no third argument": lambda: denoiser_map(lambda x, s: x, 1.0, condition=1, shape=(3,)),
        "a condition expected with guidance": lambda: denoiser_map(model, 1.0, guidance=2.0),
        "MixtureScore keeps no gradients": lambda: denoiser_map(MixtureScore(points(9)), 1.0),
        "`guidance` expected to be a number": lambda: denoiser_map(model, 1.0, guidance="high"),
        "a denoised point has the shape of its point": lambda: denoiser_map(lambda x, s: x[:, :1], 1.0, shape=(3,))(
            points()
        ),
    }.items():
        with pytest.raises(InputError, match=message):
            call()


def test_a_denoiser_that_holds_another_is_taken_as_it_is():
    class Halved(BaseDenoiser):
        def __init__(self, denoiser: BaseDenoiser) -> None:
            super().__init__()
            self.denoiser, self.shape = denoiser, denoiser.shape

        def forward(self, x, sigma):
            return self.denoiser(x, sigma) / 2

    whole = Denoiser(lambda x, sigma: x / (1 + sigma**2), shape=(2,))
    x = torch.ones(1, 2, dtype=torch.float64)
    assert torch.equal(denoiser_map(Halved(whole), 1.0)(x), denoiser_map(whole, 1.0)(x) / 2)


def test_guidance_of_nothing_is_the_unconditional_network_alone():
    asked = []

    def model(x, sigma, condition=None):
        asked.append(condition)
        return x * (1.0 if condition is None else condition) / (1 + sigma**2)

    x = points()
    denoised = as_denoiser(model, condition=3.0, guidance=0.0, shape=(3,))(x, 0.5)
    assert asked == [None]
    torch.testing.assert_close(denoised, x / 1.25)
