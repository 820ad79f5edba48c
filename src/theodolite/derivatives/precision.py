"""Float32 means float32: the shortcuts that hardware takes with it are off while a map is differentiated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["full_precision"]


@contextmanager
def full_precision() -> Iterator[None]:
    """Matrix products and convolutions without TF32 or bfloat16 inside, whatever the caller's settings; restored after.

    TF32 keeps ten bits of the mantissa and is on by default for convolutions on CUDA: singular values below a
    thousandth of the largest, and with them the log-volume, would be rounding.
    """
    cudnn, by_operator, switches = torch.backends.cudnn, _by_operator(), _switches()
    try:
        if switches:
            torch.set_float32_matmul_precision("highest")
            cudnn.allow_tf32 = False
        for operator in by_operator:
            operator.fp32_precision = "ieee"
        yield
    finally:
        if switches:
            matmul, cudnn.allow_tf32 = switches
            torch.set_float32_matmul_precision(matmul)
        for operator, precision in by_operator.items():
            operator.fp32_precision = precision


def _switches() -> tuple[str, bool] | None:
    """The settings of older torch; None where the caller left them at odds with the newer ones, which torch refuses."""
    try:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


def _by_operator() -> dict[Any, str]:
    """The settings of torch 2.9 and later, one a backend and kind of operation."""
    backends: Any = torch.backends
    operators = [
        getattr(backend, kind)
        for backend, kinds in ((backends.cuda, ("matmul",)), (backends.cudnn, ("conv", "rnn")))
        for kind in kinds
        if hasattr(backend, kind)
    ]
    operators += [
        getattr(backends.mkldnn, kind) for kind in ("matmul", "conv", "rnn") if hasattr(backends.mkldnn, kind)
    ]
    return {operator: operator.fp32_precision for operator in operators if hasattr(operator, "fp32_precision")}
