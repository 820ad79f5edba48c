"""Factories: functions of a user's modules that give models, found by name and called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from theodolite.errors import InputError, typed_line

__all__ = ["call_factory", "kind_of"]


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before


def call_factory(module: str, name: str) -> Any:
    """What the factory `name` of `module` returns."""
    with _current_folder_importable():
        try:
            target: Any = importlib.import_module(module)
        except (Exception, SystemExit) as error:  # whatever the user's module raises
            raise InputError(f"module {module!r} could not be imported: {typed_line(error)}") from error
        try:
            for part in name.split("."):
                target = getattr(target, part)
        except AttributeError as error:
            raise InputError(f"module {module!r} has no {name!r}; {_known(target)}") from error
        if not callable(target):
            raise InputError(
                f"a factory, a function without arguments, expected at {module}:{name}, got {kind_of(target)}"
            )
        try:
            return target()
        except (Exception, SystemExit) as error:  # whatever the user's factory raises
            raise InputError(f"factory {module}:{name} failed: {typed_line(error)}") from error


def _known(module: Any) -> str:
    names = sorted(name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
    return f"it has {', '.join(names[:8])}" if names else "it has no functions"


def kind_of(value: object) -> str:
    """What a value is, in a word."""
    return "None" if value is None else type(value).__name__
