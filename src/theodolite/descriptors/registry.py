"""Every descriptor: one line here puts it into the survey, the store, the report and the command line."""

from __future__ import annotations

from importlib import import_module

from theodolite.descriptors.descriptor import Descriptor

__all__ = ["REGISTRY"]

_FILES = (
    "scaling",
    "rank",
    "leading",
    "curvature",
    "rotation",
    "detail",
    "complexity",
)
"""The files of this folder that hold a `DESCRIPTOR`, in the order of tables and reports."""


def _read(file: str) -> Descriptor:
    descriptor = import_module(f"theodolite.descriptors.{file}").DESCRIPTOR
    assert isinstance(descriptor, Descriptor)
    return descriptor


REGISTRY: dict[str, Descriptor] = {descriptor.name: descriptor for descriptor in map(_read, _FILES)}
