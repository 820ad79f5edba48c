"""`jacobian`: the operator of a map; of a chain of maps, stage by stage in the memory of one stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce

from torch import Tensor

from theodolite.derivatives.memory import Footprint
from theodolite.derivatives.operator import JacobianOperator
from theodolite.errors import InputError
from theodolite.estimates import worse
from theodolite.maps.chain import Chain
from theodolite.maps.latent_map import LatentMap

__all__ = ["ChainOperator", "jacobian"]

_KEPT = 2**28
"""Bytes that the recordings of all stages together may take to be kept between products; else one stage's at a time."""


def jacobian(map: LatentMap, latents: Tensor) -> JacobianOperator:
    """The Jacobian of `map` at each of `latents`, as an operator.

    Args:
        map: the map to differentiate; any callable on tensors can become one (`LatentMap`). A chain of maps, such as a
            sampler, is differentiated stage by stage (`ChainOperator`).
        latents: `(n, *latent)`, float32 or float64.

    Returns:
        A `JacobianOperator`; one forward pass is made at once.

    Raises:
        InputError: latents of the wrong shape or type, half precision, or outputs that are not finite or not of the
            latents' type.

    Example:
        >>> import torch
        >>> J = jacobian(LatentMap(lambda z: z**2, (2,)), torch.tensor([[1.0, 3.0]]))
        >>> J.dense()
        tensor([[[2., 0.],
                 [0., 6.]]])
    """
    if isinstance(map, LatentMap) and isinstance(map.function, Chain):
        return ChainOperator(map, latents)
    return JacobianOperator(map, latents)


class ChainOperator(JacobianOperator):
    """Products with `J = J_N ... J_1` of a chain of `N` maps, a stage at a time.

    All vectors go through a stage together, which is recorded for them and then forgotten, so that memory is that of
    one stage beside the vectors and the states between stages. Recordings that are small together (256 MiB) are kept
    from one product to the next. A forward evaluation, a JVP and a VJP of the whole chain count one pass each.

    Attributes:
        parts: the operators of the stages, first to last.
        keeps: whether the recordings of all stages are kept between products.
    """

    parts: list[JacobianOperator]
    keeps: bool
    _doubt: tuple[str, str]

    def _evaluate(self) -> tuple[Tensor, Footprint]:
        self.parts = list(_through(self.map, self.latents))
        function = self.map.function
        assert isinstance(function, Chain)
        self._doubt = function.doubt(self.latents, [part.outputs for part in self.parts])
        prints = [part.footprint for part in self.parts]
        self.keeps = 2 * self.n * sum(each.total for each in prints) <= _KEPT
        footprint = Footprint(max(each.largest for each in prints), max(each.total for each in prints))
        return self.parts[-1].outputs, footprint

    @property
    def status(self) -> str:
        """The worst of the stages', and what the chain says of its outputs."""
        return reduce(worse, (part.status for part in self.parts), self._doubt[0])

    @property
    def message(self) -> str:
        """What to know of the first stage with the worst status, or else of the first that has something to say."""
        if self._doubt[1] and self.status == self._doubt[0]:
            return self._doubt[1]
        ordered = sorted(self.parts, key=lambda part: part.status != self.status)
        return next((part.message for part in ordered if part.message), "")

    @property
    def has_reverse_mode(self) -> bool:
        """Of all stages."""
        return all(part.has_reverse_mode for part in self.parts)

    def matvec(self, V: Tensor) -> Tensor:
        """`J v`: `(k, n, *latent) -> (k, n, *output)`; `k` model passes a latent."""
        self._check(V, self.latents, "matvec")
        with self._counted():
            for part in self.parts:
                V = self._once(part, part.matvec, V)
        return V

    def rmatvec(self, U: Tensor) -> Tensor:
        """`Jᵀ u`: `(k, n, *output) -> (k, n, *latent)`; `k` model passes a latent."""
        self._check(U, self.outputs, "rmatvec")
        with self._counted():
            for part in reversed(self.parts):
                U = self._once(part, part.rmatvec, U)
        return U

    def second(self, V: Tensor) -> Tensor:
        """Second derivatives `D²x(z)[v, v]`: `(k, n, *latent) -> (k, n, *output)`; about 4k model passes a latent.

        Through a stage `f` with tangents `v` and second-order tangents `w`: `w -> J w + D²f[v, v]`, `v -> J v`.

        Raises:
            RuntimeError: an operation of the map has no second derivative in forward mode.
        """
        self._check(V, self.latents, "second")
        W: Tensor | None = None
        with self._counted():
            for part in self.parts:
                bent = self._once(part, part.second, V)
                W = bent if W is None else bent + part.matvec(W)
                V = self._once(part, part.matvec, V)
        assert W is not None
        return W

    def forget(self) -> None:
        """Drop recordings and reverse graphs of all stages; the next product makes them anew."""
        super().forget()
        for part in self.parts:
            part.forget()

    def _once(self, part: JacobianOperator, product: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
        result = product(vectors)
        if not self.keeps:
            part.forget()
        return result

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Passes of the whole chain: those of the stage that took most."""
        before = [part.passes for part in self.parts]
        yield
        self.passes += max(part.passes - count for part, count in zip(self.parts, before))
        self.way = ", ".join(dict.fromkeys(part.way for part in self.parts if part.way))


def _through(map: LatentMap, z: Tensor) -> Iterator[JacobianOperator]:
    """The operators of the stages, each at what the one before returns."""
    chain = map.function
    assert isinstance(chain, Chain)
    if not chain.stages:
        raise InputError(f"{map.name} expected to have at least one stage, got none")
    for stage in chain.stages:
        operator = JacobianOperator(stage, z)
        z = operator.outputs
        yield operator
