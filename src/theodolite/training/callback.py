"""The probe as a Lightning callback, without Lightning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.scores.clouds import checked_levels
from theodolite.training.probing import LEVELS, check_images, probe

__all__ = ["TheodoliteCallback"]

_LIGHTNINGS = ("lightning.pytorch", "pytorch_lightning")


class TheodoliteCallback:
    """`probe` at the end of an epoch: after validation where there is one, else after training.

    It only reads `trainer.current_epoch`, `global_step`, `sanity_checking`, `is_global_zero` and `loggers` (each with
    `log_metrics(dict, step=)`), so any loop that calls the two hooks can use it. Lightning is not imported; where the
    user has imported it, new callbacks are instances of its `Callback` too. Only the first process measures. What the
    probe refuses is told as a warning, and the training goes on.

    Args:
        images: `(n, channels, height, width)` in [-1, 1], always the same.
        model: takes the Lightning module and returns what `probe` takes; by default the module itself, which then has
            `encode` and `decode`.
        every: epochs from one probe to the next.
        settings: of `probe`: `t`, `score`, `bent`, `prefix`, `seed`.

    Attributes:
        history: what was found, with the epoch, in the order of epochs.

    Raises:
        InputError: no batch of images, `every` below one, levels that are not positive, or settings that `probe` does
            not have.

    Example:
        >>> import torch
        >>> callback = TheodoliteCallback(torch.zeros(100, 3, 32, 32), every=2, t=3.0)
        >>> callback.history
        []
    """

    history: list[tuple[int, dict[str, Estimate]]]

    def __new__(cls, *_: Any, **__: Any) -> TheodoliteCallback:
        """An instance that is a `Callback` of every Lightning in this process."""
        callbacks = (getattr(sys.modules.get(name), "Callback", None) for name in _LIGHTNINGS)
        bases = tuple(dict.fromkeys(base for base in callbacks if base is not None and not issubclass(cls, base)))
        return object.__new__(type(cls.__name__, (cls, *bases), {}) if bases else cls)

    def __init__(
        self, images: Tensor, *, model: Callable[[Any], Any] | None = None, every: int = 1, **settings: Any
    ) -> None:
        unknown = set(settings) - {"t", "score", "bent", "prefix", "seed"}
        if unknown:
            raise InputError(f"settings of `probe` expected, got {', '.join(sorted(unknown))}")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InputError(f"`every` expected a whole number of epochs, at least one, got {every!r}")
        check_images(images)
        checked_levels(settings.get("t", LEVELS))
        self.images, self.model, self.every, self.settings = images, model, every, settings
        self.history = []
        self._measured: int | None = None

    def __reduce__(self) -> Any:
        """Pickled by way of this class: the one with Lightning's base has no name of its own."""
        return TheodoliteCallback.__new__, (TheodoliteCallback,), self.__dict__

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Forget which epoch was measured: a new fit counts epochs anew."""
        self._measured = None

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure, unless this is Lightning's check before training."""
        self._measure(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure, unless validation did."""
        self._measure(trainer, pl_module)

    def _measure(self, trainer: Any, pl_module: Any) -> None:
        epoch = trainer.current_epoch
        if trainer.sanity_checking or not trainer.is_global_zero or self._measured == epoch or epoch % self.every:
            return
        self._measured = epoch

        def log(row: dict[str, float]) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(row, step=trainer.global_step)

        model = self.model(pl_module) if self.model else pl_module
        try:
            self.history.append((epoch, probe(model, self.images, epoch, log=log, **self.settings)))
        except InputError as error:
            warnings.warn(f"no probe at epoch {epoch}: {error}", stacklevel=2)
