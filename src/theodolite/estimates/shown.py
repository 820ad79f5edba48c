"""Results in notebooks and as tables of other libraries; `theodolite.report.notebook` makes them when asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from theodolite.errors import InputError

__all__ = ["Shown", "needed"]


def needed(package: str, what: str, install: str) -> Any:
    """A package that only some users have.

    Args:
        package: its name.
        what: what needs it, in words.
        install: what pip installs.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(f"{what} expected {package}, which is not installed: pip install {install}") from error


class Shown:
    """A result with numbers: a table in Jupyter and marimo, a Plotly figure, a pandas or polars frame.

    A class says its numbers in `number_rows`; the rest follows. Nothing is imported before it is asked for.
    """

    def number_rows(self) -> Sequence[Mapping[str, Any]]:
        """Every number as a mapping: what it is of, then `quantity, value, stderr, low, high, n, passes, status`."""
        raise NotImplementedError

    def headline_rows(self) -> Sequence[Mapping[str, Any]]:
        """Those that a notebook shows; all by default."""
        return self.number_rows()

    def _repr_html_(self) -> str:
        # The one arrow that runs up from here, at run time only: what is shown must be rounded in one place.
        return str(import_module("theodolite.report.notebook").html_of(self))

    def plot(self, *args: Any, **options: Any) -> Any:
        """A Plotly figure of the numbers with their 95 % intervals; what has no number is not drawn.

        Args:
            args: of a run, the name of one of its figures.
            options: of the figure's layout, as Plotly has them, e.g. ``height=300``.

        Raises:
            InputError: plotly is not installed, there is no figure of that name, or nothing can be drawn.
        """
        return import_module("theodolite.report.notebook").figure_of(self, *args, **options)

    def to_arrow(self) -> Any:
        """`number_rows` as a `pyarrow.Table`."""
        import pyarrow as pa

        return pa.Table.from_pylist([dict(row) for row in self.number_rows()])

    def to_pandas(self) -> Any:
        """`number_rows` as a pandas `DataFrame`.

        Raises:
            InputError: pandas is not installed.
        """
        needed("pandas", "to_pandas", "pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """`number_rows` as a polars `DataFrame`.

        Raises:
            InputError: polars is not installed.
        """
        return needed("polars", "to_polars", "polars").from_arrow(self.to_arrow())
