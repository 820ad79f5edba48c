"""Things by name that other packages may add to, by registering or by entry points."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from theodolite.errors import InputError

__all__ = ["GROUPS", "Registry", "package_of"]

GROUPS = {
    "descriptor": "theodolite.descriptors",
    "predictor": "theodolite.predictors",
    "experiment": "theodolite.experiments",
    "model": "theodolite.models",
}
"""Entry points by which a package brings things along: installed, they are there."""

_Thing = TypeVar("_Thing")


class Registry(Mapping[str, _Thing], Generic[_Thing]):
    """Things by name: those of this package first, then those that were registered, then those of entry points.

    Nothing is imported before the first look. An entry point that fails to import is left out with a warning that names
    its package: one broken package must not cost the others.

    Args:
        group: of entry points.
        kind: the class that every thing must be an instance of.
        built_in: gives the things of this package.
    """

    def __init__(self, group: str, kind: type[Any], built_in: Callable[[], Mapping[str, _Thing]]) -> None:
        self.group, self.kind, self._built_in = group, kind, built_in
        self._added: dict[str, _Thing] = {}
        self._known: dict[str, _Thing] | None = None

    def add(self, name: str, thing: _Thing) -> None:
        """Make a thing known by a name.

        Raises:
            InputError: it is of another kind, or this package has one of that name.
        """
        if not isinstance(thing, self.kind):
            raise InputError(f"a {self.kind.__name__} expected for {self.group}, got {type(thing).__name__}")
        if name in self._built_in():
            raise InputError(f"another name than {name!r} expected: theodolite has a {self.kind.__name__} of that name")
        self._added[name], self._known = thing, None

    def added(self) -> dict[str, _Thing]:
        """Those that are not of this package."""
        own = self._built_in()
        return {name: thing for name, thing in self._all().items() if name not in own}

    def _all(self) -> dict[str, _Thing]:
        if self._known is None:
            own = self._built_in()
            others = {**self._from_points(), **self._added}
            self._known = {**own, **{name: thing for name, thing in others.items() if name not in own}}
        return self._known

    def _from_points(self) -> dict[str, _Thing]:
        things: dict[str, _Thing] = {}
        for point in entry_points(group=self.group):
            try:
                thing = point.load()
            except Exception as error:  # whatever a package raises at import
                warnings.warn(f"{package_of(point)} is left out, {point.value} failed: {error}", stacklevel=2)
                continue
            if isinstance(thing, self.kind):
                things[point.name] = thing
            else:
                warnings.warn(
                    f"{package_of(point)} is left out, {point.value} is no {self.kind.__name__}", stacklevel=2
                )
        return things

    def __getitem__(self, name: str) -> _Thing:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def package_of(point: EntryPoint) -> str:
    """The package that brings an entry point, in words."""
    return f"package {point.dist.name}" if point.dist is not None else f"entry point {point.name}"
