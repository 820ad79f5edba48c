"""Score sources against automatic differentiation of a log-density, and against one another."""

from __future__ import annotations

import pytest
import torch

from theodolite.errors import InputError
from theodolite.information import information
from theodolite.scores import FunctionScore, GaussianMixtureScore, GaussianScore, ScoreSource

D = torch.float64


def points(n, dimension, seed=0):
    return torch.randn(n, dimension, generator=torch.Generator().manual_seed(seed), dtype=D)


def by_autograd(source, x, t):
    x = x.clone().requires_grad_()
    score = torch.autograd.grad(source.log_density(x, t).sum(), x, create_graph=True)[0]
    rows = [torch.autograd.grad(score[:, i].sum(), x, retain_graph=True)[0] for i in range(x.shape[1])]
    return score.detach(), torch.stack(rows, 1)


@pytest.fixture(params=["full", "diagonal", "mixture", "points"])
def source(request):
    A = points(3, 3, seed=5)
    if request.param == "full":
        return GaussianScore(A[0], A @ A.T)
    if request.param == "diagonal":
        return GaussianScore(A[0], A[1].square())
    if request.param == "points":
        return GaussianMixtureScore(torch.ones(3), A, torch.zeros(3, 3))
    return GaussianMixtureScore(torch.tensor([1.0, 2, 3]), A, torch.stack([A @ A.T, A.T @ A, torch.eye(3, dtype=D)]))


@pytest.mark.parametrize("t", [0.1, 2.0])
def test_scores_are_gradients_of_the_log_density(source, t):
    x, v = points(9, 3), points(9, 3, seed=1)
    score, H = by_autograd(source, x, t)
    torch.testing.assert_close(source.score(x, t), score)
    torch.testing.assert_close(source.hessian(x, t), H)
    torch.testing.assert_close(source.jvp(x, t, v), (H @ v[..., None])[..., 0])
    torch.testing.assert_close(source.vjp(x, t, v), (H.mT @ v[..., None])[..., 0])
    products = source.products(x, t, v)
    torch.testing.assert_close(products.score, score)
    torch.testing.assert_close(products.push, source.jvp(x, t, v))


def test_the_derivative_that_a_source_inherits_is_the_one_it_knows(source):
    x, v = points(5, 3), points(5, 3, seed=1)
    torch.testing.assert_close(ScoreSource.jvp(source, x, 0.5, v), source.jvp(x, 0.5, v))
    torch.testing.assert_close(ScoreSource.hessian(source, x, 0.5), source.hessian(x, 0.5))


def test_the_log_density_is_normalised(two):
    x = torch.linspace(-12, 12, 4001, dtype=D)[:, None]
    assert abs(torch.trapezoid(two.log_density(x, 0.3).exp(), x[:, 0]).item() - 1) < 1e-10
    one = GaussianScore(torch.zeros(1), torch.ones(1))
    assert abs(torch.trapezoid(one.log_density(x, 0.3).exp(), x[:, 0]).item() - 1) < 1e-10


def test_denoising_is_the_posterior_mean_and_its_derivative_the_covariance(two):
    x, t = torch.linspace(-2, 2, 11, dtype=D)[:, None], 0.4
    torch.testing.assert_close(two.denoise(x, t), (x / t).tanh())
    torch.testing.assert_close(two.denoise_jvp(x, t, torch.ones_like(x)), (1 - (x / t).tanh().square()) / t)


def test_samples_have_the_moments_of_the_density(three, source):
    for density in (three, source):
        x = density.sample(20_000, torch.Generator().manual_seed(0))
        truth = density.covariance() if isinstance(density, GaussianMixtureScore) else density.hessian(x[:1], 1e-9)[0]
        want = truth if isinstance(density, GaussianMixtureScore) else -truth.inverse()
        scale = want.diagonal().sqrt()
        assert ((x.T.cov() - want).abs() < 0.05 * scale[:, None] * scale + 1e-6).all()


def test_the_fitted_gaussian():
    x = points(50, 3) @ points(3, 3, seed=4)
    fitted = GaussianScore.fitted(x)
    torch.testing.assert_close(-fitted.hessian(x[:1], 0.2)[0].inverse(), x.T.cov() + 0.2 * torch.eye(3, dtype=D))
    with pytest.raises(InputError, match=r"GaussianScore\.fitted needs a covariance of full rank"):
        GaussianScore.fitted(points(3, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_follow_the_dtype_of_the_points(source, dtype):
    x = points(4, 3).to(dtype)
    assert source.score(x, 0.5).dtype == source.jvp(x, 0.5, x).dtype == source.hessian(x, 0.5).dtype == dtype
    torch.testing.assert_close(source.score(x, 0.5).double(), source.score(x.double(), 0.5), rtol=1e-4, atol=1e-4)


def test_many_points_are_split_without_a_trace(three, monkeypatch):
    x = points(30, 2)
    whole = three.products(x, 0.3, x)
    monkeypatch.setattr("theodolite.scores.gaussian._ENTRIES", 12)
    parts = three.products(x, 0.3, x)
    torch.testing.assert_close(parts.score, whole.score)
    torch.testing.assert_close(parts.push, whole.push)


def test_a_function_is_a_score(three):
    def shaped(x, t):
        return three.score(x.flatten(1), t).unflatten(1, (1, 2))

    x, v = points(6, 2), points(6, 2, seed=1)
    for function in (
        FunctionScore(shaped, (1, 2)),
        FunctionScore.from_denoiser(lambda x, t: x + t * shaped(x, t), (1, 2)),
        FunctionScore.from_noise(lambda x, t: -(t**0.5) * shaped(x, t), (1, 2)),
    ):
        products = function.products(x, 0.3, v)
        torch.testing.assert_close(function.score(x, 0.3), three.score(x, 0.3))
        torch.testing.assert_close(products.score, three.score(x, 0.3))
        torch.testing.assert_close(products.push, three.jvp(x, 0.3, v))
        torch.testing.assert_close(products.pull, three.jvp(x, 0.3, v))


def test_a_network_need_not_be_a_gradient():
    A = torch.tensor([[-1.0, 2.0], [0.0, -1.0]], dtype=D)
    linear, x = FunctionScore(lambda x, t: x @ A.T, (2,)), points(7, 2)
    torch.testing.assert_close(linear.jvp(x, 1.0, x), x @ A.T)
    torch.testing.assert_close(linear.vjp(x, 1.0, x), x @ A)
    torch.testing.assert_close(linear.hessian(x, 1.0), A.expand(7, 2, 2))


def test_bad_input():
    with pytest.raises(InputError, match="symmetric"):
        GaussianScore(torch.zeros(2), torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    with pytest.raises(InputError, match="positive semi-definite"):
        GaussianScore(torch.zeros(2), torch.tensor([1.0, -1.0]))
    with pytest.raises(InputError, match="of shape"):
        GaussianScore(torch.zeros(2), torch.ones(3))
    with pytest.raises(InputError, match="finite"):
        GaussianScore(torch.zeros(2), torch.tensor([1.0, torch.nan]))
    with pytest.raises(InputError, match=r"weights \(K,\)"):
        GaussianMixtureScore(torch.ones(3), torch.zeros(2, 2), torch.ones(2, 2))
    with pytest.raises(InputError, match="not all zero"):
        GaussianMixtureScore(torch.zeros(2), torch.zeros(2, 2), torch.ones(2, 2))
    with pytest.raises(InputError, match=r"points of shape \(n, 2\) expected"):
        GaussianScore(torch.zeros(2), torch.ones(2)).score(torch.ones(1, 3), 1.0)
    with pytest.raises(InputError, match="callable"):
        FunctionScore(3, (2,))
    for wrong in (lambda x, t: x[:, :1], lambda x, t: x.sum(), lambda x, t: None):
        with pytest.raises(InputError, match="a score has the shape of its point"):
            information(points(5, 2), [1.0], FunctionScore(wrong, (2,), name="wrong"))


def test_a_source_of_ones_own():
    class Standard(ScoreSource):
        dimension = 2

        def __init__(self, cut):
            self.cut = cut

        def score(self, x, t):
            return -x[:, : self.cut] / (1 + t)

    curve = information(points(400, 2), [1.0], Standard(2), generator=0)
    assert curve.fi.value.item() == pytest.approx(1)
    with pytest.raises(InputError, match="a score has the shape of its point"):
        information(points(400, 2), [1.0], Standard(1), generator=0)
