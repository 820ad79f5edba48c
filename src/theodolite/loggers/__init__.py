"""Where numbers, tables, pictures and figures of a training or a run go: TensorBoard, W&B, trackio, a function."""

from __future__ import annotations

from theodolite.loggers.loggers import FunctionLogger, Logger, MediaLogger, TensorBoardLogger
from theodolite.loggers.opening import KINDS, check_log, lasting, logger_of, opened_logger

__all__ = [
    "KINDS",
    "FunctionLogger",
    "Logger",
    "MediaLogger",
    "TensorBoardLogger",
    "check_log",
    "lasting",
    "logger_of",
    "opened_logger",
]
