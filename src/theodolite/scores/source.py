"""Where a score comes from: one interface for exact densities, empirical mixtures and networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.derivatives import JacobianOperator, jacobian
from theodolite.errors import InputError
from theodolite.maps import denoising
from theodolite.maps.latent_map import LatentMap

__all__ = ["FunctionScore", "Products", "ScoreSource", "noised", "same_shape"]


@dataclass(frozen=True)
class Products:
    """What a score source gives at one noise level for `n` queries, with `H` the Jacobian of the score.

    Attributes:
        score: `s(x_t)`, `(n, D)`.
        push: `H v`, `(n, D)`.
        pull: `Hᵀ v`, `(n, D)`; the same tensor as `push` where `H` is symmetric.
        support: effective number of samples behind the score, `(n,)`; None where it does not come from samples.
    """

    score: Tensor
    push: Tensor
    pull: Tensor
    support: Tensor | None = None


class ScoreSource(ABC):
    """A score `s(x, t) = grad_x log p_t(x)` of the noised variable `x_t = x_0 + sqrt(t) eps`, with its Jacobian.

    The variance `t = sigma²` is a number above zero; points are flat, `(n, D)`. Subclasses define `score`; the products
    with its Jacobian `H = ds/dx` come from automatic differentiation unless they know better.

    Attributes:
        dimension: `D`, entries of one point.
        symmetric: the score is a gradient, so that `H = Hᵀ` exactly.
        exact: declared to be the score of the very law that the latents are drawn from, up to the errors of a finite
            `count`. Where it is not, `information` gives bounds.
        count: number of samples that the score is made of; infinite where it is not made of samples.
        together: queries that are better asked at once, since they share a pass over samples; 0 where they share none.
        name: what messages call it.
        differentiable: `score` can be differentiated by the operations it is made of, beside its own `jvp`.
    """

    dimension: int
    differentiable: bool = True
    exact: bool = False
    symmetric: bool = True
    count: float = float("inf")
    together: int = 0
    name: str = "score"

    @property
    def low(self) -> float:
        """The smallest variance that it may be asked at."""
        return 0.0

    @property
    def high(self) -> float:
        """The largest."""
        return float("inf")

    @abstractmethod
    def score(self, x: Tensor, t: float) -> Tensor:
        """The score at `x: (n, D)`: `(n, D)`, in units of one over those of `x`."""

    def jvp(self, x: Tensor, t: float, v: Tensor) -> Tensor:
        """`H v` at each of `x: (n, D)` for `v: (n, D)`; one model pass a point."""
        return self._operator(x, t).matvec(v[None])[0]

    def vjp(self, x: Tensor, t: float, u: Tensor) -> Tensor:
        """`Hᵀ u` at each of `x: (n, D)` for `u: (n, D)`; one model pass a point."""
        return self.jvp(x, t, u) if self.symmetric else self._operator(x, t).rmatvec(u[None])[0]

    def denoise(self, x: Tensor, t: float) -> Tensor:
        """The denoised point `E[x_0 | x_t = x] = x + t s(x, t)` (Tweedie), `(n, D)`."""
        return x + t * self.score(x, t)

    def denoise_jvp(self, x: Tensor, t: float, v: Tensor) -> Tensor:
        """`(1 + t H) v`, the product with the denoiser's Jacobian `Cov(x_0 | x_t) / t`, `(n, D)`."""
        return v + t * self.jvp(x, t, v)

    def hessian(self, x: Tensor, t: float) -> Tensor:
        """The whole `H` at each of `x: (n, D)`: `(n, D, D)`; `D` products a point, for small `D`."""
        n, D = x.shape
        basis = torch.eye(D, dtype=x.dtype, device=x.device).repeat(n, 1)
        return self.jvp(x.repeat_interleave(D, 0), t, basis).reshape(n, D, D).mT

    def products(self, x: Tensor, t: float, v: Tensor) -> Products:
        """Score and both products at one noise level; cheaper than one by one where work is shared."""
        push = self.jvp(x, t, v)
        return Products(self.score(x, t), push, push if self.symmetric else self.vjp(x, t, v))

    def at_levels(self, clean: Tensor, noise: Tensor, probes: Tensor, t: Tensor) -> Iterator[Products]:
        """The products at `clean + sqrt(t) noise` for each variance of `t: (T,)`, with the same noise at all levels."""
        for level in t.tolist():
            yield self.products(noised(clean, noise, level), level, probes)

    def refusal(self, support: float, quantity: str) -> str:
        """Why `quantity` (``fi`` or ``fir``) must not be read at this median `support`; empty when it may be."""
        return ""

    def _operator(self, x: Tensor, t: float) -> JacobianOperator:
        return jacobian(LatentMap(lambda point: self.score(point, t), (self.dimension,), name=self.name), x)


class FunctionScore(ScoreSource):
    """The score that a callable gives, e.g. a trained network: `function(x, t) -> s`, each row on its own.

    Its Jacobian comes from automatic differentiation and is not taken to be symmetric.

    Args:
        function: takes points `(n, *shape)` and the variance `t` (a number) and returns scores `(n, *shape)`.
        shape: shape of one point.
        symmetric: the function is known to be a gradient; saves one of three model passes.
        exact: declare that it is the score of the law that the latents are drawn from; a trained one is not.
        name: what messages call it.

    Raises:
        InputError: an output of another shape than the input when called, or not finite when differentiated.

    Example:
        >>> standard = FunctionScore(lambda x, t: -x / (1 + t), (2,))
        >>> standard.jvp(torch.zeros(1, 2), 1.0, torch.ones(1, 2))
        tensor([[-0.5000, -0.5000]])
    """

    def __init__(
        self,
        function: Callable[[Tensor, float], Tensor],
        shape: tuple[int, ...],
        *,
        symmetric: bool = False,
        exact: bool = False,
        name: str | None = None,
    ) -> None:
        if not callable(function):
            raise InputError(f"FunctionScore `function` expected to be callable, got {type(function).__name__}")
        self.function = function
        self.shape = tuple(shape)
        self.dimension = int(torch.Size(self.shape).numel())
        self.symmetric, self.exact = symmetric, exact
        self.name = name or str(getattr(function, "__name__", type(function).__name__))

    @classmethod
    def from_denoiser(cls, denoiser: Callable[[Tensor, float], Tensor], shape: tuple[int, ...]) -> FunctionScore:
        """The score `(D(x, t) - x) / t` of a denoiser `D(x_t, t) ~ E[x_0 | x_t]`."""
        return cls(lambda x, t: (same_shape(denoiser(x, t), x, "denoiser") - x) / t, shape, name="denoiser")

    @classmethod
    def from_noise(cls, predictor: Callable[[Tensor, float], Tensor], shape: tuple[int, ...]) -> FunctionScore:
        """The score `-eps(x, t) / sqrt(t)` of a noise predictor `eps(x_t, t) ~ E[(x_t - x_0) / sqrt(t) | x_t]`."""
        return cls(lambda x, t: -same_shape(predictor(x, t), x, "noise predictor") / t**0.5, shape, name="noise")

    def score(self, x: Tensor, t: float) -> Tensor:
        """The function's value at `x: (n, D)`; one model pass a point."""
        shaped = x.reshape(-1, *self.shape)
        return same_shape(self.function(shaped, t), shaped, self.name).reshape(x.shape)

    def products(self, x: Tensor, t: float, v: Tensor) -> Products:
        """Score and both products: three model passes a point, two where symmetric."""
        H = self._operator(x, t)
        push = H.matvec(v[None])[0]
        return Products(H.outputs, push, push if self.symmetric else H.rmatvec(v[None])[0])


def noised(clean: Tensor, noise: Tensor, t: float) -> Tensor:
    """`x_t = x_0 + sqrt(t) eps`."""
    return clean + t**0.5 * noise


def same_shape(output: Tensor, x: Tensor, name: str) -> Tensor:
    """`output` when it has the shape of `x`, or an `InputError`."""
    return denoising.same_shape(output, x, name, "a score")
