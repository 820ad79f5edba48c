"""A run's long table as a wide one: a row a sample (or a place), a column a quantity, for tables and scatter plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from theodolite.data.sources import sources_of
from theodolite.errors import InputError
from theodolite.estimates import STATUS_TABLE, STATUSES

if TYPE_CHECKING:
    from theodolite.estimates.quantity import Quantity
    from theodolite.runs.run import Run

__all__ = ["Frame", "FrameColumn", "frame_of", "parquet_of"]

_SAMPLE = "sample"
_MOST_COLUMNS = 400
"""Columns of a table that people can still choose from; where a run has more, its places become rows instead."""

_Z = 1.96
_RANKED = [code for code, status in enumerate(STATUS_TABLE) if status.is_number]


@dataclass(frozen=True)
class FrameColumn:
    """One quantity, at one value of the coordinates that do not tell rows apart.

    Attributes:
        quantity: its name.
        at: these coordinates by name, e.g. ``{"sigma": 0.4}``.
        description: label, unit, formula, source and meaning.
        value: `(rows,)`, NaN where there is none.
        stderr: the same.
        low: lower end of the interval.
        high: upper end.
        status: place in the list of statuses, -1 where the quantity was not measured.
    """

    quantity: str
    at: Mapping[str, Any]
    description: Quantity
    value: NDArray[np.float64]
    stderr: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    status: NDArray[np.int8]

    @property
    def name(self) -> str:
        """The quantity with its coordinates, unique in a frame."""
        where = ", ".join(f"{key}={_text(value)}" for key, value in self.at.items())
        return f"{self.quantity} [{where}]" if where else self.quantity

    @property
    def label(self) -> str:
        """The same for people."""
        where = ", ".join(
            _text(value) if isinstance(value, str) else f"{k} {_text(value)}" for k, value in self.at.items()
        )
        return f"{self.description.label}, {where}" if where else self.description.label

    @cached_property
    def is_plain(self) -> bool:
        """Whether every interval is `value ± 1.96 stderr`, so that its ends need not be sent."""
        reach = _Z * np.nan_to_num(self.stderr)
        close = [
            np.isclose(end, self.value + side * reach, rtol=1e-4, atol=0) | ~np.isfinite(end)
            for end, side in ((self.low, -1), (self.high, 1))
        ]
        return bool(np.all(close[0] & close[1]))

    @property
    def varies(self) -> bool:
        """Whether it is a number at two rows or more, and not the same one: whether a scatter plot shows anything."""
        numbers = self.value[np.isfinite(self.value) & np.isin(self.status, _RANKED)]
        return len(numbers) > 1 and bool(numbers.min() < numbers.max())


@dataclass(frozen=True)
class Frame:
    """A run as a wide table.

    Attributes:
        keys: what tells rows apart, and what is known of them beside numbers: lists by name; `unit` comes first where
            rows are samples.
        columns: the quantities.
        of_samples: whether every row is a sample of the run.
    """

    keys: Mapping[str, Sequence[Any]]
    columns: Sequence[FrameColumn]
    of_samples: bool
    rows: int = field(default=0)

    def described(self) -> dict[str, Any]:
        """What the page knows of keys and columns, ready for JSON."""
        keys = [
            {"name": name, "numeric": all(isinstance(v, int | float) or v is None for v in values)}
            for name, values in self.keys.items()
        ]
        columns = [
            {
                "name": column.name,
                "quantity": column.quantity,
                "label": column.label,
                "at": dict(column.at),
                "interval": not column.is_plain,
                "varies": column.varies,
                **{key: getattr(column.description, key) for key in ("unit", "formula", "source", "meaning")},
            }
            for column in self.columns
        ]
        return {"rows": self.rows, "keys": keys, "columns": columns, "ofSamples": self.of_samples}

    def parquet(self) -> bytes:
        """The file that the browser reads column by column: `k0` is a key, `v0, e0, s0` (and `l0, h0`) a quantity."""
        table = {f"k{n}": pa.array([*values]) for n, values in enumerate(self.keys.values())}
        for n, column in enumerate(self.columns):
            table |= {f"v{n}": column.value, f"e{n}": column.stderr.astype(np.float32), f"s{n}": column.status}
            if not column.is_plain:
                table |= {f"l{n}": column.low, f"h{n}": column.high}
        return parquet_of(pa.table(table))


def parquet_of(table: pa.Table) -> bytes:
    """The bytes of a Parquet file that `hyparquet` reads without further decoders."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(), sink, compression="snappy")
    return bytes(sink.getvalue())


def frame_of(run: Run) -> Frame:
    """The wide table of a run.

    Rows are the samples of a run that has some, in the order of its units; the coordinates that vary beside the sample
    become part of the columns. Of any other run, rows are the places that its coordinates tell apart.
    """
    coordinates = list(run.experiment.coordinates)
    codes = {name: _coded(run.table[name]) for name in ("unit", "quantity", *coordinates)}
    varying = [name for name in coordinates if len(codes[name][1]) + bool((codes[name][0] < 0).any()) > 1]
    if _SAMPLE in coordinates:
        is_sample = codes[_SAMPLE][0] >= 0
        frame = _of_samples(run, codes, [name for name in varying if name != _SAMPLE], is_sample)
        if frame is not None:
            return frame
    return _of_places(run, codes, varying)


def _of_samples(run: Run, codes: _Codes, folded: Sequence[str], is_sample: NDArray[np.bool_]) -> Frame | None:
    """A row a sample; None where the run has none, or too many columns."""
    names = codes[_SAMPLE][1]
    measured = {str(names[code]) for code in np.unique(codes[_SAMPLE][0][is_sample])}
    shown = [unit for unit in run.units if unit in measured]
    if not shown:
        return None
    row_of = {unit: row for row, unit in enumerate(shown)}
    rows = np.array([*(row_of.get(str(name), -1) for name in names), -1])[
        codes[_SAMPLE][0]
    ]  # a null has the last place
    folded = [name for name in folded if len(np.unique(codes[name][0][rows >= 0])) > 1]
    columns = _columns(run, codes, folded, rows, len(shown))
    if len(columns) > _MOST_COLUMNS:
        return None
    return Frame({"unit": shown, **_about(run, shown)}, columns, True, len(shown))


def _of_places(run: Run, codes: _Codes, varying: Sequence[str]) -> Frame:
    """A row a place: every combination of coordinates that occurs."""
    identity = [*varying] or ["unit"]
    mixed = _mixed([codes[name] for name in identity], run.table.num_rows)
    _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first, kind="stable"), kind="stable")  # rows in the order in which they first occur
    rows, first = order[inverse], np.sort(first)
    keys = {name: [_at(codes[name], row) for row in first] for name in identity}
    return Frame(keys, _columns(run, codes, (), rows, len(first)), False, len(first))


_Codes = Mapping[str, tuple[NDArray[np.int64], list[Any]]]


def _columns(run: Run, codes: _Codes, folded: Sequence[str], rows: NDArray[np.int64], count: int) -> list[FrameColumn]:
    chosen = np.flatnonzero(rows >= 0)
    mixed = _mixed([codes[name] for name in ("quantity", *folded)], len(rows))[chosen]
    kinds, inverse = np.unique(mixed, return_inverse=True)
    numbers = {
        name: run.table[name].to_numpy(zero_copy_only=False)[chosen] for name in ("value", "stderr", "low", "high")
    }
    status = _statuses(run.table["status"])[chosen]
    order = {name: rank for rank, name in enumerate(run.quantities)}
    telling = _telling(codes, folded, chosen)
    made = []
    for kind in range(len(kinds)):
        mine = inverse == kind
        at, here = rows[chosen[mine]], chosen[mine][0]
        quantity = str(_at(codes["quantity"], here))
        where = {name: value for name in telling[quantity] if (value := _at(codes[name], here)) is not None}
        parts = {name: np.full(count, np.nan) for name in numbers}
        for name, values in numbers.items():
            parts[name][at] = values[mine]
        states = np.full(count, -1, dtype=np.int8)
        states[at] = status[mine]
        made.append(FrameColumn(quantity, where, run.words(quantity), status=states, **parts))
    return sorted(made, key=lambda column: order.get(column.quantity, len(order)))


def _telling(codes: _Codes, folded: Sequence[str], chosen: NDArray[np.int64]) -> dict[str, list[str]]:
    """Of every quantity the coordinates that tell its columns apart: those that vary among its own numbers."""
    quantity, names = codes["quantity"]
    own = {str(name): chosen[quantity[chosen] == code] for code, name in enumerate(names)}
    return {name: [axis for axis in folded if len(np.unique(codes[axis][0][rows])) > 1] for name, rows in own.items()}


def _about(run: Run, units: Sequence[str]) -> dict[str, list[Any]]:
    """File, source and role of every sample, as far as the run says them."""
    entries = {str(file.get("sample")): file for file in (run.info.get("data") or {}).get("files") or []}
    files = [str(entries.get(unit, {}).get("file") or unit) for unit in units]
    about = {"file": files, "source": _sources(run, files)}
    roles = [str(entries.get(unit, {}).get("role") or "") for unit in units]
    return {**about, "role": roles} if any(roles) else about


def _sources(run: Run, files: list[str]) -> list[str]:
    """The photograph that each file was cut from; a latent is its own."""
    if (run.info.get("data") or {}).get("latents"):
        return files
    group = run.settings.get("group")
    try:
        return sources_of(files, group if isinstance(group, str) else None)
    except InputError:  # a pattern that no longer matches leaves every file for itself
        return files


def _coded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[Any]]:
    """The place of every value among the distinct ones, -1 where there is none, and these values."""
    encoded = column.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.to_pylist()


def _mixed(coded: Sequence[tuple[NDArray[np.int64], list[Any]]], rows: int) -> NDArray[np.int64]:
    """One whole number for every combination of codes, made small again after each so that none can overflow."""
    mixed = np.zeros(rows, dtype=np.int64)
    for codes, values in coded:
        mixed = np.unique(mixed * (len(values) + 1) + codes + 1, return_inverse=True)[1].astype(np.int64)
    return mixed


def _at(coded: tuple[NDArray[np.int64], list[Any]], row: int) -> Any:
    code = coded[0][row]
    return coded[1][code] if code >= 0 else None


def _statuses(column: pa.ChunkedArray) -> NDArray[np.int8]:
    codes, names = _coded(column)
    code = {name: number for number, name in enumerate(STATUSES)}
    return np.array([*(code[name] for name in names), -1], dtype=np.int8)[codes]


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
