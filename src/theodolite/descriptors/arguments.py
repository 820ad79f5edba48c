"""The arguments that every descriptor takes, documented once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["with_shared_arguments"]

_Function = TypeVar("_Function", bound=Callable[..., object])

_MARK = "        {shared}\n"

_SHARED = """\
        latents: `(n, *latent)`.
        generator: a `torch.Generator`, a seed, or one seed a latent.
        effort: what may be spent; `Effort` says of each of its settings which descriptor it concerns.
        dense: force (True) or forbid (False) the dense Jacobian; by default it is taken where it costs no more.
        chart: shared work of several descriptors at these latents (`Chart`).
"""


def with_shared_arguments(function: _Function) -> _Function:
    """Write the shared arguments into a descriptor's docstring, in the place of the line `{shared}` of its `Args`.

    Raises:
        ValueError: a docstring without that line.
    """
    if function.__doc__ is not None:  # `python -OO` drops docstrings
        if _MARK not in function.__doc__:
            raise ValueError(f"the docstring of {function.__name__} expected the line '{{shared}}' among its arguments")
        function.__doc__ = function.__doc__.replace(_MARK, _SHARED)
    return function
