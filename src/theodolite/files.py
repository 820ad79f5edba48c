"""Files that are there whole or not at all, and tensors with a configuration in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, path_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["read_tensors", "replacing", "write_tensors"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden path beside `path` to write to: it takes the place of `path` at the end, and is gone after an error."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # a link or a fifo that waits there would lead a writer elsewhere
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_tensors(path: str | Path, kind: str, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write a file that `read_tensors` reads, whole or not at all; one of that name is replaced.

    Raises:
        InputError: it cannot be written.
    """
    from safetensors.torch import save_file

    target = path_of(path, f"the file of a {kind}")
    try:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with replacing(target) as part:
            save_file(plain, part, {"kind": kind, "config": json.dumps(config)})
    except Exception as error:  # the system's, or the format's own error type
        raise InputError(
            f"{kind} could not be written to {target}: {error}; give a file in a folder that is there"
        ) from (error)


def read_tensors(path: str | Path, kind: str, device: str | torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the configuration of a file.

    Raises:
        InputError: no such file, or one that `write_tensors` did not write for this `kind`.
    """
    from safetensors import safe_open

    source = path_of(path, f"the file of a {kind}")
    if not source.is_file():
        raise InputError(f"the file of a {kind} expected, {source} is not there")
    try:
        with safe_open(source, framework="pt", device=str(device)) as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except Exception as error:  # the format's own error type
        raise InputError(f"a safetensors file expected in {source}, got: {error}; save the {kind} again") from error
    if about.get("kind") != kind:
        raise InputError(f"the file of a {kind} expected, {source} holds something else")
    return tensors, json.loads(about["config"])
