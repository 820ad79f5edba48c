"""The precision that a map is evaluated in: float32 means float32, whatever the hardware would rather do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from theodolite.derivatives.repairs import repaired
from theodolite.errors import InputError

__all__ = ["HalfWatch", "full_precision", "plain_attention", "plain_evaluation"]


class _Shared:
    """A change of settings of the whole process, made by the first thread that enters and undone by the last to leave.

    Saved and restored by each thread alone, the settings of one are taken by another for those of the caller.
    """

    def __init__(self, change: Callable[[], Callable[[], object]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._inside = 0
        self._undo: Callable[[], object] = lambda: None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._undo = self._change()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._undo()


@contextmanager
def plain_evaluation() -> Iterator[None]:
    """Evaluate maps for their values and products: full precision, operations repaired, no graph, normal tensors.

    Inference mode is left, because its tensors cannot be differentiated by reverse mode.
    """
    with torch.inference_mode(False), full_precision(), repaired(), torch.no_grad():
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """Run matrix products and convolutions without TF32 or bfloat16 inside, whatever the caller's settings.

    TF32 keeps ten bits of the mantissa and is on by default for convolutions on CUDA: singular values below a
    thousandth of the largest, and with them the log-volume, would be rounding. Attention is computed by its formula,
    which can be differentiated in forward mode. All settings are those of the process: they are restored when the last
    thread inside leaves.
    """
    with _without_shortcuts(), plain_attention():
        yield


class HalfWatch(TorchDispatchMode):
    """Watches one evaluation for tensors in half precision that depend on the latents.

    Args:
        latents: what the map is called with.
    """

    def __init__(self, latents: Tensor) -> None:
        super().__init__()
        self._dependent: Any = WeakIdKeyDictionary()
        self._dependent[latents] = True
        self._seen = ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) and leaf in self._dependent for leaf in tree_leaves((args, kwargs))):
            for part in tree_leaves(out):
                self._see(func, part)
        return out

    def refuse(self, name: str | None) -> None:
        """Raise `InputError` where the map `name` computed in half precision."""
        if self._seen:
            raise InputError(
                f"{name} expected to compute in float32 or float64 throughout, got {self._seen}: rounding decides "
                "these numbers in half precision; leave out the conversion inside it, or load the weights in float32"
            )

    def _see(self, func: Any, part: Any) -> None:
        if not isinstance(part, Tensor):
            return
        self._dependent[part] = True
        if part.is_floating_point() and part.element_size() < 4 and not self._seen:
            self._seen = f"{str(part.dtype).removeprefix('torch.')} inside ({func})"


def _switch_off() -> Callable[[], object]:
    """Turn the shortcuts of float32 off; returns what turns them on again."""
    cudnn, by_operator, switches = torch.backends.cudnn, _by_operator(), _switches()

    def restore() -> None:
        if switches:
            matmul, cudnn.allow_tf32 = switches
            torch.set_float32_matmul_precision(matmul)
        for operator, precision in by_operator.items():
            operator.fp32_precision = precision

    try:
        if switches:
            torch.set_float32_matmul_precision("highest")
            cudnn.allow_tf32 = False
        for operator in by_operator:
            operator.fp32_precision = "ieee"
    except BaseException:
        restore()
        raise
    return restore


def _take_plain_attention() -> Callable[[], object]:
    stack = ExitStack()
    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    return stack.close


_without_shortcuts = _Shared(_switch_off)
plain_attention = _Shared(_take_plain_attention)
"""Attention by its formula, which has a forward mode; a setting of the process, shared by threads."""


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
