"""Plain properties of images, rewards of which are controls of local scaling."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

__all__ = ["PROPERTIES"]


def brightness(images: Tensor) -> Tensor:
    """The mean over pixels and channels, `(n,)`."""
    return images.flatten(1).mean(1)


def contrast(images: Tensor) -> Tensor:
    """The standard deviation over pixels and channels, `(n,)`."""
    return images.flatten(1).std(1)


def detail(images: Tensor) -> Tensor:
    """The mean squared difference of neighbouring pixels, `(n,)`: high frequencies count by their square."""
    across, down = images.diff(dim=-1), images.diff(dim=-2)
    return across.square().mean((1, 2, 3)) + down.square().mean((1, 2, 3))


PROPERTIES: dict[str, Callable[[Tensor], Tensor]] = {"brightness": brightness, "contrast": contrast, "detail": detail}
"""Of images `(n, channels, height, width)`; a reward fitted to one of these is a control of local scaling."""
