"""From what a user gives as `log` to a logger."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from theodolite.errors import InputError, in_one_line
from theodolite.estimates.shown import needed
from theodolite.loggers.loggers import FunctionLogger, Logger, MediaLogger, TensorBoardLogger

__all__ = ["KINDS", "check_log", "lasting", "logger_of", "opened_logger"]

KINDS = ("tensorboard", "wandb", "trackio")
"""Loggers that are opened by name."""

_INSTALL = {"tensorboard": '"theodolite[training]"', "wandb": "wandb", "trackio": "trackio"}


def check_log(log: Any) -> None:
    """Refuse what `logger_of` cannot use, before long work and without opening anything.

    Args:
        log: None, ``tensorboard:FOLDER``, ``wandb:PROJECT``, ``trackio:PROJECT``, a `SummaryWriter` or anything with
            `add_scalar`, a run of W&B or trackio or one of these modules, anything with `log(dict)`, or a function of a
            dict.

    Raises:
        InputError: it is none of these, or its package is not installed.
    """
    if isinstance(log, str):
        kind, _, target = log.partition(":")
        if kind not in KINDS or not target:
            forms = ", ".join(f"{known}:{'FOLDER' if known == 'tensorboard' else 'PROJECT'}" for known in KINDS)
            raise InputError(f"`log` expected as {forms}, or an object of yours in Python, got {log!r}")
        if find_spec(kind) is None:
            needed(kind, f"`log` {log!r}", _INSTALL[kind])
    elif log is not None and not hasattr(log, "add_scalar") and not callable(getattr(log, "log", log)):
        raise InputError(
            f"`log` expected to have `add_scalar` or `log`, or to be a function of a dict, got {type(log).__name__}"
        )


def logger_of(log: Any) -> Logger:
    """The logger for what a user gave, see `check_log`; it must be closed.

    One that is opened by name is closed with its run: W&B and trackio runs end, TensorBoard files are written out.

    Raises:
        InputError: as `check_log`.
    """
    check_log(log)
    if isinstance(log, Logger):
        return log
    if isinstance(log, str):
        return _by_name(*log.split(":", 1))
    if hasattr(log, "add_scalar"):
        return TensorBoardLogger(log)
    package = _package_of(log)
    if package is not None:
        return MediaLogger(package, log.log)
    return FunctionLogger(getattr(log, "log", log))


_LASTING: dict[str, Logger] = {}
"""Loggers that were opened by name for a whole training, closed when the process ends."""


def lasting(log: Any) -> Logger | None:
    """A logger that calls of one training share: opened by name it stays open until the process ends.

    Every call would otherwise begin a run of its own.

    Args:
        log: as `check_log`; None gives None.

    Raises:
        InputError: as `check_log`.
    """
    if not isinstance(log, str):
        return None if log is None else logger_of(log)
    if log not in _LASTING:
        _LASTING[log] = logger_of(log)
        atexit.register(_LASTING[log].close)
    return _LASTING[log]


@contextmanager
def opened_logger(log: Any) -> Iterator[Logger]:
    """A logger for the time of a block, see `logger_of`."""
    logger = logger_of(log)
    try:
        yield logger
    finally:
        logger.close()


def _by_name(kind: str, target: str) -> Logger:
    if kind == "tensorboard":
        writers = needed("torch.utils.tensorboard", "`log` tensorboard:FOLDER", _INSTALL[kind])
        return TensorBoardLogger(writers.SummaryWriter(target), owned=True)
    package = needed(kind, f"`log` {kind}:PROJECT", _INSTALL[kind])
    try:
        run = package.init(project=target)
    except Exception as error:  # whatever their service or settings raise; their message says what to do
        raise InputError(f"{kind} could not open the project {target!r}: {in_one_line(error)}") from error
    return MediaLogger(package, run.log, package.finish)


def _package_of(log: Any) -> Any:
    """The module of W&B or trackio that an object is, or belongs to."""
    import sys

    name = getattr(log, "__name__", None) or type(log).__module__
    root = str(name).partition(".")[0]
    return sys.modules.get(root) if root in ("wandb", "trackio") else None
