"""`Probe`: a denoiser at noised images, and the work that scores of memorisation share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from theodolite.derivatives import JacobianOperator, jacobian
from theodolite.descriptors.colouring import colouring
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.maps.denoisers import denoiser_map
from theodolite.maps.latent_map import LatentMap

__all__ = ["Known", "Probe"]

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Known:
    """The training images beside which images are judged.

    Attributes:
        points: `(m, *shape)`, in the units of the images.
        own: for each image that is judged the row of `points` that it is itself; -1 where it is none.
        features: a function of points `(k, *shape)` to `(k, f)`; None for none.
    """

    points: Tensor
    own: Tensor
    features: Callable[[Tensor], Tensor] | None = None


class Probe:
    """`n` images of one class, noised at one level, with the denoiser's answers and Jacobians there.

    Everything is computed once, on first use; scores that share it are cheap together. Passes are counted as if each
    score were measured alone.

    Args:
        model: what `theodolite.denoiser_map` takes.
        images: `(n, *shape)`, without noise, in the units of the denoiser (of a latent model its latents).
        sigma: the noise level.
        condition: of all images, as the model takes it; None for a model without.
        unconditional: what stands for no condition, of text models the embeddings of the empty prompt; by default what
            the model knows as nothing in particular.
        seeds: a seed an image: its noises and probes do not depend on the other images.
        draws: independent noises an image, over which scores are means; at least two give an error.
        colours: groups of cells that share one tangent of the Jacobian's diagonal; all cells by themselves where there
            are no more (`descriptors.colouring`).
        known: the training images, for scores that need them.
        steps: of the sampler that paths are followed by.

    Raises:
        InputError: no images, no draws, a level or a condition that the model does not know.
    """

    def __init__(
        self,
        model: Any,
        images: Tensor,
        sigma: float,
        condition: Any = None,
        *,
        unconditional: Any = None,
        seeds: Seeds | int = 0,
        draws: int = 4,
        colours: int = 7,
        known: Known | None = None,
        steps: int = 8,
    ) -> None:
        if not len(images) or draws < 1 or colours < 1 or steps < 2:
            raise InputError(
                "one or more images, draws and colours and two or more steps expected, got "
                f"{len(images)} images, {draws} draws, {colours} colours, {steps} steps"
            )
        self.model, self.images, self.sigma = model, images, float(sigma)
        self.condition, self.unconditional = condition, unconditional
        self.seeds = Seeds(seeds, len(images)) if isinstance(seeds, int) else seeds
        self.draws, self.known, self.steps, self._colours = draws, known, steps, colours
        self._made: dict[Callable[[Probe], Any], Any] = {}
        self.conditional = self.map_at(self.sigma)
        if images.shape[1:] != self.conditional.latent_shape:
            raise InputError(
                f"images of shape {self.conditional.latent_shape} expected, which the model denoises, got "
                f"{tuple(images.shape[1:])}"
            )

    def map_at(self, sigma: float, bare: bool = False) -> LatentMap:
        """The denoised point at a level as a map of the noisy one, under the condition or, `bare`, under none."""
        if not bare or self.condition is None:
            return denoiser_map(self.model, sigma, condition=self.condition)
        start = {"guidance": 0.0, "unconditional": self.unconditional}
        return denoiser_map(self.model, sigma, condition=self.condition, **start)

    def once(self, make: Callable[[Probe], _Made]) -> _Made:
        """What `make` gives of this probe, made on the first call: work that scores of one file share."""
        if make not in self._made:
            self._made[make] = make(self)
        made: _Made = self._made[make]
        return made

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def dimension(self) -> int:
        """Entries of one image."""
        return self.images[0].numel()

    @cached_property
    def noise(self) -> Tensor:
        """Standard normal draws, `(draws, n, *shape)`."""
        return self.seeds.normal("noise", self.draws, *self.images.shape[1:]).transpose(0, 1).to(self.images)

    @cached_property
    def noisy(self) -> Tensor:
        """`x = x_0 + sigma e`, `(draws, n, *shape)`."""
        return self.images + self.sigma * self.noise

    @cached_property
    def under(self) -> JacobianOperator:
        """The denoiser under the condition at all noisy points, `draws * n` of them."""
        return jacobian(self.conditional, self.noisy.flatten(0, 1))

    @cached_property
    def bare(self) -> JacobianOperator:
        """The denoiser under no condition at the same points."""
        return jacobian(self.map_at(self.sigma, bare=True), self.noisy.flatten(0, 1))

    @cached_property
    def denoised(self) -> Tensor:
        """`D(x, c)`, `(draws, n, *shape)`; one pass a draw."""
        return self.under.outputs.unflatten(0, (self.draws, self.n))

    @cached_property
    def denoised_bare(self) -> Tensor:
        """`D(x)` under no condition; one pass a draw."""
        return self.bare.outputs.unflatten(0, (self.draws, self.n))

    @cached_property
    def diagonal(self) -> Tensor:
        """Unbiased estimates of `dD_p / dx_p` under the condition, `(draws, n, *shape)`; `colours` passes a draw."""
        return self._diagonal(self.under, self.draws)

    @cached_property
    def diagonal_bare(self) -> Tensor:
        """The same under no condition, with the same signs: their difference has less noise than either."""
        return self._diagonal(self.bare, self.draws)

    @cached_property
    def clean(self) -> JacobianOperator:
        """The denoiser under the condition at the images without noise, told the level all the same."""
        return jacobian(self.conditional, self.images)

    @cached_property
    def diagonal_clean(self) -> Tensor:
        """As `diagonal` at the images themselves, with other signs in every draw; one for all where it is exact."""
        parts = [self._diagonal(self.clean, 1, draw) for draw in range(self.rounds_clean)]
        return torch.cat(parts).expand(self.draws, *self.images.shape)

    @property
    def rounds_clean(self) -> int:
        """Diagonals at the images themselves: with a tangent an entry each is exact, and one is enough."""
        return 1 if self.colours == self.dimension else self.draws

    @cached_property
    def masks(self) -> Tensor:
        """Which entries share a tangent, `(colours, *shape)` of zeros and ones; each entry is in one of them.

        Every channel of a spatial point has tangents of its own, on the lattices of `descriptors.colouring`; the
        entries of a vector are dealt out in turn.
        """
        shape = self.images.shape[1:]
        if len(shape) == 3:
            lattice = colouring(shape[1], shape[2], max(1, self._colours // shape[0]))
            plane = torch.nn.functional.one_hot(lattice.colours, lattice.count).permute(2, 0, 1)
            each = torch.eye(shape[0])[:, None, :, None, None] * plane[None, :, None]
            return each.flatten(0, 1).to(self.images)
        labels = torch.arange(self.dimension) % min(self._colours, self.dimension)
        return torch.nn.functional.one_hot(labels).T.reshape(-1, *shape).to(self.images)

    @property
    def colours(self) -> int:
        """Tangents of one diagonal."""
        return len(self.masks)

    def _diagonal(self, operator: JacobianOperator, rounds: int, draw: int = 0) -> Tensor:
        """`sum_colours s * m * J (s * m)` with random signs `s`: exact in expectation, as `E s_p s_q = 0` for `p != q`.

        Its variance is `sum` of the squared entries between cells of one colour, which lie far apart.
        """
        signs = self.seeds.normal(f"signs {draw}", rounds, *self.images.shape[1:]).sign().transpose(0, 1)
        signs = signs.flatten(0, 1).to(self.images)
        tangents = self.masks[:, None] * signs
        products = operator.matvec(tangents)
        return (tangents * products).sum(0).unflatten(0, (rounds, self.n))
