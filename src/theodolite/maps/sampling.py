"""`Sampling`: what samplers have in common, a chain of steps that ends in a decoder, and a look at the data's range."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from theodolite.maps.autoencoders import as_module
from theodolite.maps.chain import Chain
from theodolite.maps.denoising import BaseDenoiser
from theodolite.maps.latent_map import LatentMap

__all__ = ["Sampling"]

_MARGIN = 0.05
"""Share of the width of the data's range by which an entry may leave it: good networks overshoot at saturated pixels by
some of 255 grey levels, of which this is thirteen."""

_SHARE = 0.01
"""Share of entries beyond that margin from which a sample is no longer one of the data."""


class Sampling(Chain):
    """A sampler as a chain: one map a step, and the decoder's.

    Attributes:
        denoiser: makes the passes.
        method: how a step is made.
        levels: noise levels in order, the last one of the result.
    """

    def __init__(
        self,
        denoiser: BaseDenoiser,
        method: str,
        levels: Sequence[float],
        decode: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.denoiser, self.method, self.levels = denoiser, method, tuple(levels)
        end = decode.function if isinstance(decode, LatentMap) else decode
        self.decode = None if end is None else as_module(end)
        self.training = False

    @property
    def steps(self) -> int:
        """How many steps it takes."""
        return len(self.levels) - 1

    @abstractmethod
    def make_steps(self) -> Iterator[LatentMap]:
        """One map a step; the function of each has `denoised(state)`."""

    def make_stages(self) -> tuple[LatentMap, ...]:
        """One map a step, and the decoder's."""
        end = () if self.decode is None else (LatentMap(self.decode, self.denoiser.shape, name="decoder"),)
        return (*self.make_steps(), *end)

    def doubt(self, z: Tensor, states: Sequence[Tensor]) -> tuple[str, str]:
        """``outside-data`` where samples leave the range of the data, with the share and the level where it starts.

        The level is the first from which on denoised points are outside as well; one more run of the sampler, made only
        where samples are outside.
        """
        bounds, sample = self.denoiser.data_range, states[-1 if self.decode is None else -2]
        if bounds is None or (share := _outside(sample, bounds)) <= _SHARE:
            return "ok", ""
        reach = f"{float(sample.min()):.3g} to {float(sample.max()):.3g}"
        steps = self.stages[: len(self.stages) - (self.decode is not None)]
        shares = [_outside(step.function.denoised(state), bounds) for step, state in zip(steps, [z, *states])]  # type: ignore[attr-defined]
        first = next(index for index in range(len(shares) + 1) if min(shares[index:], default=1.0) > _SHARE)
        starts = f"from sigma {self.levels[first]:.4g} on" if first < len(shares) else "at the last step"
        return "outside-data", (
            f"{share:.1%} of a sample's entries lie outside the data's range [{bounds[0]:g}, {bounds[1]:g}], {reach}, "
            f"{starts}: it is no sample of the data; clip denoised points, or take more steps"
        )


def _outside(points: Tensor, bounds: tuple[float, float]) -> float:
    """The share of entries beyond the range and its margin."""
    margin = _MARGIN * (bounds[1] - bounds[0])
    beyond = (points < bounds[0] - margin) | (points > bounds[1] + margin)
    return float(beyond.double().mean())
