"""Judges that users bring: what they say of images, as a score and a class of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.errors import InputError, in_one_line

__all__ = ["Judge", "Verdict", "judge_of"]


@dataclass(frozen=True)
class Verdict:
    """What a judge says of some images.

    Attributes:
        score: of each image, `(n,)` float64; higher is better.
        classes: the word for the class of each image; None of a judge that knows none.
    """

    score: Tensor
    classes: tuple[str, ...] | None


@dataclass(frozen=True)
class Judge:
    """A classifier, or any score of images.

    The function takes images `(n, channels, height, width)` in [-1, 1] and returns one of

    | returns | score | class |
    |---|---|---|
    | logits `(n, K)`, `K >= 2` | probability of the class that was asked for, otherwise of the likeliest | likeliest |
    | several logits, one an attribute | the product of these | that of the first attribute |
    | numbers `(n,)` or `(n, 1)` | these | none |

    It may have `classes`, the words of its classes, and `classes_of(condition)`, the class of each attribute that a
    condition of the generator stands for (None for no class). Without, a condition that is a whole number is a class.

    Attributes:
        function: on images.
        name: what reports call it.
    """

    function: Callable[[Tensor], Any]
    name: str

    def verdict(self, images: Tensor, condition: Any = None) -> Verdict:
        """What it says of images that were drawn under a condition; None for real ones.

        Raises:
            InputError: it fails, or returns something else than the table says.
        """
        try:
            with torch.no_grad():
                answer = self.function(_placed(images, self.function))
        except Exception as error:  # whatever the user's function raises
            raise InputError(f"judge {self.name} failed on {tuple(images.shape)}: {in_one_line(error)}") from error
        parts = [*answer] if isinstance(answer, tuple | list) else [answer]
        for part in parts:
            self._check(part, len(images), alone=len(parts) == 1)
        if parts[0].ndim == 1 or parts[0].shape[1] == 1:
            return Verdict(parts[0].reshape(-1).double().cpu(), None)
        logits = [part.double().cpu() for part in parts]
        target = self._wanted(condition, logits)
        chosen = [
            part.log_softmax(-1)[:, own] if own is not None else part.log_softmax(-1).amax(-1)
            for part, own in zip(logits, target)
        ]
        names = self.words(logits[0].shape[1])
        return Verdict(sum(chosen).exp(), tuple(names[place] for place in logits[0].argmax(-1).tolist()))  # type: ignore[union-attr]

    def words(self, count: int) -> Sequence[str]:
        """The words of its classes, by default their numbers."""
        own = getattr(self.function, "classes", None)
        return [str(word) for word in own] if own is not None and len(own) == count else [*map(str, range(count))]

    def _wanted(self, condition: Any, logits: Sequence[Tensor]) -> list[int | None]:
        """The class of each attribute that a condition stands for; None where it stands for none."""
        hook = getattr(self.function, "classes_of", None)
        named = hook(condition) if callable(hook) else [condition]
        named = [*(named or ()), *([None] * len(logits))][: len(logits)]
        fits = [isinstance(own, int) and 0 <= own < part.shape[1] for own, part in zip(named, logits)]
        return [own if fit else None for own, fit in zip(named, fits)]

    def _check(self, part: Any, n: int, *, alone: bool) -> None:
        ok = isinstance(part, Tensor) and part.ndim in (1, 2) and len(part) == n
        if not ok or not bool(part.isfinite().all()) or (not alone and (part.ndim == 1 or part.shape[1] < 2)):
            got = f"shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            got = "NaN or infinity" if ok and not bool(part.isfinite().all()) else got
            raise InputError(
                f"judge {self.name} expected to return logits ({n}, classes), several of these, or scores ({n},), "
                f"got {got}"
            )


def judge_of(judge: Any) -> Judge:
    """A judge that is named, ``package.module:factory``, or a callable itself.

    Raises:
        InputError: it cannot be made, or is no callable.
    """
    from theodolite.maps.factories import call_factory

    name = judge if isinstance(judge, str) else getattr(judge, "__name__", type(judge).__name__)
    if isinstance(judge, str):
        module, _, factory = judge.partition(":")
        if not module or not factory:
            raise InputError(
                f"a judge package.module:factory expected, got {judge!r}; e.g. my_package.models:classifier"
            )
        judge = call_factory(module, factory)
    if not callable(judge):
        raise InputError(f"a judge that is a callable on images expected from {name}, got {type(judge).__name__}")
    if isinstance(judge, nn.Module) and judge.training:
        raise InputError(f"judge {name} expected in eval mode, got training mode; call `eval()` in its factory")
    return Judge(judge, name)


def _placed(images: Tensor, function: Any) -> Tensor:
    """Images where the judge's weights are, in their dtype."""
    weight = next(function.parameters(), None) if isinstance(function, nn.Module) else None
    return images.float().cpu() if weight is None else images.to(weight)
