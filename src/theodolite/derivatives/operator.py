"""`JacobianOperator`: the linear action of a map at a batch of latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from theodolite.derivatives.evaluation import check_point, evaluated
from theodolite.derivatives.linear import LinearOperator
from theodolite.derivatives.linearise import Linearisation, linearise
from theodolite.derivatives.memory import Footprint, available_bytes, is_out_of_memory
from theodolite.derivatives.precision import plain_evaluation
from theodolite.derivatives.products import PULLS, PUSHES, RECORDED, Pull, Push, second_jvp, second_jvp_loop, stacked
from theodolite.derivatives.trust import Verdict, check_recording, guard
from theodolite.errors import InputError
from theodolite.estimates import worse
from theodolite.maps.latent_map import LatentMap

__all__ = ["JacobianOperator"]

_Way = TypeVar("_Way", Push, Pull)
_Made = TypeVar("_Made")


class JacobianOperator:
    """Products with `J = dx/dz` at `n` latents, batched over latents and over vectors.

    Attributes:
        latents: `(n, *latent)`, where the map was linearised.
        outputs: `(n, *output)`, the map's value there.
        passes: model passes spent so far on one latent: a forward evaluation, a JVP and a VJP count one each.
        way: how `matvec` is computed (`linearised`, `forward`, `forward-loop`, `double-reverse`, `double-autograd`,
            `central-differences`); empty before the first product.
    """

    def __init__(self, map: LatentMap, latents: Tensor) -> None:
        if not isinstance(map, LatentMap):
            raise InputError(
                f"a LatentMap expected, got {type(map).__name__}; wrap a function as "
                "LatentMap(function, latent_shape), and of an autoencoder take `.decoder`"
            )
        check_point(map, latents)
        self.map = map
        self.passes = 1
        self.way = ""
        self._note = ""
        with plain_evaluation():
            self.latents = latents.detach().clone()
            self.outputs, self.footprint = self._evaluate()
        self._push: Push | None = None
        self._pull: Pull | None = None
        self._failed: set[str] = set()
        self._is_judge = False
        self._recordings: dict[tuple[int, int], Linearisation] = {}
        self._pullbacks: dict[tuple[int, int], Callable[[Tensor], Tensor]] = {}
        self._chunk = self.footprint.tangents(latents.device)

    @property
    def n(self) -> int:
        """Number of latents."""
        return len(self.latents)

    @property
    def latent_dim(self) -> int:
        """Entries of one latent."""
        return self.latents[0].numel()

    @property
    def output_dim(self) -> int:
        """Entries of one output."""
        return self.outputs[0].numel()

    @property
    def status(self) -> str:
        """How far products can be trusted, once there were some.

        ``ok`` for exact derivatives, ``approximate`` when only central differences worked, ``undetermined`` when
        products are no slopes of the map, ``undefined`` when it jumps (`trust.guard`; about ten passes once a map).
        """
        ways: tuple[Push | Pull | None, ...] = (self._push, self._pull)
        return worse(self._verdict.status, "ok" if all(way is None or way.exact for way in ways) else "approximate")

    @property
    def message(self) -> str:
        """Why products cannot be trusted, why a better way was given up, or what to know of the one taken."""
        return self._verdict.message or self._note

    @property
    def has_reverse_mode(self) -> bool:
        """False where a transposed product had to be worked out by differences along every axis."""
        return self._pull is None or self._pull.exact

    @property
    def _verdict(self) -> Verdict:
        if self._is_judge or (self._push is None and self._pull is None):
            return Verdict()
        return guard(self.map, self.latents[:1], _judge)

    def matvec(self, V: Tensor) -> Tensor:
        """`J v`: `(k, n, *latent) -> (k, n, *output)`; `k` model passes a latent."""
        self._check(V, self.latents, "matvec")
        while True:
            way = self._chosen_push(V)
            try:
                products = self._pushed(way, V)
            except Exception as error:  # tried on one latent and one vector only: in use it may fail all the same
                if not self._give_up(way, PUSHES, error):
                    raise
                self._push = None
            else:
                self.passes += len(V) * way.passes
                return products

    def rmatvec(self, U: Tensor) -> Tensor:
        """`Jᵀ u`: `(k, n, *output) -> (k, n, *latent)`; `k` model passes a latent."""
        self._check(U, self.outputs, "rmatvec")
        while True:
            way = self._chosen_pull(U)
            try:
                products = self._in_chunks(U, lambda rows, part: self._pullback(rows)(part), self._graphs)
            except Exception as error:
                if not self._give_up(way, PULLS, error):
                    raise
                self._pull = None
            else:
                self.passes += len(U) * way.passes
                return products

    def second(self, V: Tensor) -> Tensor:
        """Second derivatives `D²x(z)[v, v]`: `(k, n, *latent) -> (k, n, *output)`; about 2k model passes a latent.

        Raises:
            RuntimeError: an operation of the map has no second derivative in forward mode (`second_derivative` then
                takes differences).
        """
        self._check(V, self.latents, "second")
        self.passes += 2 * len(V)
        ways: list[Callable[[slice, Tensor], Tensor]] = [
            lambda rows, part: second_jvp(self.map, self.latents[rows], part),
            lambda rows, part: second_jvp_loop(self.map, self.latents[rows], part),
        ]
        if self._chosen_push(V).name == RECORDED:
            ways.insert(0, lambda rows, part: self._recording(rows).second(part))
        for way in ways[:-1]:
            try:
                return self._in_chunks(V, way, self._graphs)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
        return self._in_chunks(V, ways[-1])

    def _evaluate(self) -> tuple[Tensor, Footprint]:
        """The outputs at all latents, and the memory that one of them takes."""
        return evaluated(self.map, self.latents)

    def forget(self) -> None:
        """Drop recordings and reverse graphs; the next product makes them anew."""
        self._recordings.clear()
        self._pullbacks.clear()

    def at_offsets(self, V: Tensor) -> Tensor:
        """The map at `z + v`: `(k, n, *latent) -> (k, n, *output)`; k model passes a latent."""
        self._check(V, self.latents, "at_offsets")
        self.passes += len(V)
        return self._in_chunks(V, lambda rows, part: stacked(self.map, self.latents[rows] + part))

    def dense(self) -> Tensor:
        """The Jacobians `(n, output_dim, latent_dim)`; `min(latent_dim, output_dim)` model passes a latent.

        Raises:
            InputError: the matrices do not fit in memory.
        """
        size = self.n * self.latent_dim * self.output_dim * self.latents.element_size()
        free = available_bytes(self.latents.device)
        if size > 0.5 * free:
            raise InputError(
                f"dense Jacobians of {size / 2**30:.1f} GiB do not fit in {free / 2**30:.1f} GiB of free memory; "
                "use `matvec` and `rmatvec`, or fewer latents at once"
            )
        return self.flat.dense()

    @property
    def flat(self) -> LinearOperator:
        """The same operator on flat vectors `(k, n, latent_dim)` and `(k, n, output_dim)`."""
        latent, output = self.latents.shape[1:], self.outputs.shape[1:]
        return LinearOperator(
            self.n,
            self.output_dim,
            self.latent_dim,
            lambda V: self.matvec(V.reshape(*V.shape[:2], *latent)).reshape(*V.shape[:2], self.output_dim),
            lambda U: self.rmatvec(U.reshape(*U.shape[:2], *output)).reshape(*U.shape[:2], self.latent_dim),
            self.latents.dtype,
            self.latents.device,
        )

    @property
    def _graphs(self) -> int:
        """Latents whose recording or reverse graph may be kept at once."""
        return self.footprint.graphs(self.latents.device)

    def _chosen_push(self, V: Tensor) -> Push:
        if self._push is None:
            self._push = self._first_that_works(PUSHES, lambda way: self._try_push(way, V[:1, :1]))
            self.way = self._push.name
        return self._push

    def _chosen_pull(self, U: Tensor) -> Pull:
        if self._pull is None:
            self._pull = self._first_that_works(PULLS, lambda way: self._try_pull(way, U[:1, :1]))
        return self._pull

    def _pushed(self, way: Push, V: Tensor) -> Tensor:
        if way.name == RECORDED:
            return self._in_chunks(V, lambda rows, part: self._recording(rows).push(part), self._graphs)
        return self._in_chunks(V, lambda rows, part: way.apply(self.map, self.latents[rows], part))

    def _give_up(self, way: _Way, ways: Sequence[_Way], error: Exception) -> bool:
        """Whether to go on with the next way after one that was chosen failed in use."""
        if isinstance(error, InputError) or is_out_of_memory(error) or way is ways[-1]:
            return False
        self._failed.add(way.name)
        self._note = _failure(way.name, error)
        self.forget()
        return True

    def _try_push(self, way: Push, v: Tensor) -> None:
        if way.name == RECORDED:
            self._note = check_recording(self.map, self.latents[:1])
        else:
            way.apply(self.map, self.latents[:1], v)

    def _try_pull(self, way: Pull, u: Tensor) -> None:
        if way.name == RECORDED:
            self._note = check_recording(self.map, self.latents[:1])
            pulled = self._recording(slice(0, 1)).pull(u)
        else:
            pulled = way.linearise(self.map, self.latents[:1])(u)
        if not torch.isfinite(pulled).all():
            raise FloatingPointError("its products are not finite")

    def _check(self, vectors: Tensor, like: Tensor, name: str) -> None:
        if vectors.ndim != like.ndim + 1 or vectors.shape[1:] != like.shape or len(vectors) == 0:
            raise InputError(
                f"{name} expected vectors of shape (k, {', '.join(map(str, like.shape))}), got {tuple(vectors.shape)}"
            )
        if vectors.dtype != like.dtype:
            raise InputError(f"{name} expected {like.dtype} vectors like the latents, got {vectors.dtype}")

    def _first_that_works(self, ways: Sequence[_Way], attempt: Callable[[_Way], object]) -> _Way:
        for way in ways[:-1]:
            if way.name in self._failed:
                continue
            try:
                with plain_evaluation():
                    attempt(way)
                return way
            except Exception as error:  # the map itself runs, so whatever this raises, another way may not
                if is_out_of_memory(error):
                    return way
                self._note = _failure(way.name, error)
        return ways[-1]

    def _pullback(self, rows: slice) -> Callable[[Tensor], Tensor]:
        """The reverse graph of some latents, kept while the graphs of all of them fit in memory."""
        assert self._pull is not None
        if self._pull.name == RECORDED:
            return self._recording(rows).pull
        return self._kept(self._pullbacks, rows, self._pull.linearise, self._pull.setup(self.latent_dim))

    def _recording(self, rows: slice) -> Linearisation:
        return self._kept(self._recordings, rows, linearise)

    def _kept(
        self,
        store: dict[tuple[int, int], _Made],
        rows: slice,
        make: Callable[[LatentMap, Tensor], _Made],
        passes: int = 0,
    ) -> _Made:
        """What was made for some latents in so many passes, kept while that of all of them fits in memory."""
        key = (rows.start, rows.stop)
        if key in store:
            return store[key]
        made = make(self.map, self.latents[rows])
        self.passes += passes if rows.start == 0 else 0
        if self.n <= self._graphs:
            store[key] = made
        return made

    def _in_chunks(
        self, vectors: Tensor, apply: Callable[[slice, Tensor], Tensor], most_rows: int | None = None
    ) -> Tensor:
        """Apply to blocks of at most `_chunk` (vector, latent) pairs; a block that does not fit is halved."""
        while True:
            try:
                with plain_evaluation():
                    return self._finite(self._blocks(vectors, apply, most_rows or self.n))
            except (RuntimeError, torch.OutOfMemoryError) as error:
                if not is_out_of_memory(error) or self._chunk == 1:
                    raise
                self.forget()
                self._chunk = max(1, self._chunk // 2)

    def _finite(self, products: Tensor) -> Tensor:
        if not torch.isfinite(products).all():
            raise InputError(
                f"{self.map.name} has a value or a derivative that is NaN or infinite at or near these latents; "
                "leave such latents out, smooth the operation that causes it, or divide outputs that are too large "
                "for their precision by a constant"
            )
        return products

    def _blocks(self, vectors: Tensor, apply: Callable[[slice, Tensor], Tensor], most_rows: int) -> Tensor:
        # A tensor made in inference mode cannot enter a graph; a copy made here can.
        vectors = vectors.clone() if vectors.is_inference() else vectors.contiguous()
        width = min(self.n, self._chunk, most_rows)
        height = max(1, self._chunk // width)
        columns = []
        for start in range(0, self.n, width):
            rows = slice(start, min(start + width, self.n))
            columns.append(torch.cat([apply(rows, part) for part in vectors[:, rows].split(height)]))
        return torch.cat(columns, dim=1)


def _judge(map: LatentMap, latents: Tensor) -> JacobianOperator:
    """The operator by which a map is judged, which is not judged itself."""
    operator = JacobianOperator(map, latents)
    operator._is_judge = True
    return operator


def _failure(name: str, error: Exception) -> str:
    return f"{name} mode failed: {(str(error).splitlines() or [type(error).__name__])[0][:200]}"
