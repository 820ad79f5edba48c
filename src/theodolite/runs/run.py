"""`Run`: what any experiment came to, read from its folder whether it has ended or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from theodolite.errors import InputError
from theodolite.estimates.quantity import described
from theodolite.estimates.shown import Shown
from theodolite.runs.folder import picture_path
from theodolite.runs.lock import is_held
from theodolite.runs.piece import Derived, Piece, Row
from theodolite.runs.record import timing
from theodolite.runs.settings import closest
from theodolite.runs.tables import NUMBER, Notes, read_rows, read_table, regular

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.estimates import Estimate
    from theodolite.estimates.quantity import Quantity
    from theodolite.report.page import Page

__all__ = ["Kind", "Run", "schema_of"]

_TYPES = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
_LARGEST_PICTURE = 32 * 2**20
_LARGEST_SIDE = 8192
"""A picture of a run folder beyond this is not opened: a stranger's file could fill the memory."""


class Kind(Protocol):
    """What a run knows of its experiment: `theodolite.runs.experiment.Experiment` has more."""

    coordinates: Mapping[str, type]

    def derive(self, run: Run) -> Derived:
        """What follows from the finished units."""

    def page(self, run: Run) -> Page:
        """How the run is shown."""

    def quantities(self) -> Mapping[str, Quantity]:
        """The words of its quantities, by name."""

    def picture_maps(self) -> Sequence[Quantity]:
        """The words of arrays that are maps over the pictures of units."""


def schema_of(experiment: Kind) -> pa.Schema:
    """The columns of the table of an experiment: `unit`, its coordinates, and those of a number."""
    coordinates = [(name, _TYPES[kind]) for name, kind in experiment.coordinates.items()]
    return pa.schema([("unit", pa.string()), *coordinates, *NUMBER])


@dataclass(frozen=True, eq=False)
class Run(Shown):
    """The results of an experiment.

    Attributes:
        path: the run folder.
        info: the content of `run.json`; its status stays ``running`` where the process was killed, see `status`.
        experiment: the kind, which knows how the run is shown.
    """

    path: Path
    info: dict[str, Any]
    experiment: Kind

    @property
    def kind(self) -> str:
        """The verb that made it."""
        return str(self.info["kind"])

    @cached_property
    def status(self) -> str:
        """``complete``, ``interrupted`` or ``running``: what `run.json` says, unless its process was killed."""
        status = str(self.info["status"])
        return "interrupted" if status == "running" and not is_held(self.path) else status

    @property
    def settings(self) -> dict[str, Any]:
        """What it was told."""
        return dict(self.info["settings"])

    @property
    def arguments(self) -> dict[str, Any]:
        """What it is about, in words."""
        return dict(self.info.get("arguments") or {})

    @property
    def seconds(self) -> float:
        """How long all sittings took."""
        return timing(self.info["sittings"])

    @cached_property
    def _rows(self) -> tuple[pa.Table, Notes]:
        table, notes = read_rows(self.path, schema_of(self.experiment))
        self._check_words(table)
        keep = pc.or_(pc.is_null(table["unit"]), pc.is_in(table["unit"], pa.array(self.info["units"], pa.string())))
        return table.filter(keep), notes

    def _check_words(self, table: pa.Table) -> None:
        from theodolite.estimates import STATUSES

        names, statuses = (table[name].unique().to_pylist() for name in ("quantity", "status"))
        if None in names or not set(statuses) <= set(STATUSES):
            raise InputError(
                f"broken {self.path}: its table holds numbers without a quantity or of an unknown status; delete "
                "quantities.parquet and run the same command again to measure its units once more"
            )

    @property
    def table(self) -> pa.Table:
        """`quantities.parquet`: one row a number; of an unfinished run those of its finished units.

        Columns: `unit` (null for what follows from several), the coordinates of the experiment, then `quantity, value,
        stderr, low, high, n, passes, status`.
        """
        return self._rows[0]

    def to_arrow(self) -> pa.Table:
        """`table`."""
        return self.table

    def number_rows(self) -> list[Row]:
        """The rows of `table`."""
        return self.rows()

    def without_derived(self) -> Run:
        """The run with the numbers of its units alone: what `Experiment.derive` starts from, also a second time."""
        run = Run(self.path, self.info, self.experiment)
        table, notes = self._rows
        run.__dict__["_rows"] = table.filter(pc.is_valid(table["unit"])), notes  # in place of reading it once more
        return run

    @cached_property
    def units(self) -> list[str]:
        """Ids of the finished units, in order."""
        return [unit for unit in self.info["units"] if unit in self._rows[1]]

    @property
    def is_whole(self) -> bool:
        """Whether every unit is finished."""
        return len(self.units) == len(self.info["units"])

    @cached_property
    def quantities(self) -> list[str]:
        """Names of the measured quantities: the described ones first, in their order."""
        stored = self.table["quantity"].unique().to_pylist()
        ordered = [name for name in self.info["quantities"] if name in stored]
        return ordered + [name for name in stored if name not in ordered]

    def words(self, quantity: str) -> Quantity:
        """What people are told of a quantity."""
        entry = self.info["quantities"].get(quantity) or {}
        known = {key: str(entry[key]) for key in ("label", "unit", "formula", "source", "meaning") if key in entry}
        return replace(described({}, [quantity])[quantity], **known)

    def too_few(self, what: str, count: int) -> InputError:
        """The refusal to derive anything from the units that are finished so far."""
        command = self.info["command"]
        return InputError(f"{self.path} holds too few finished {what} yet ({count}); run its command again: {command}")

    def about(self, unit: str) -> dict[str, Any]:
        """What is remembered of a unit beside its numbers."""
        return dict(self._noted(unit)["about"])

    def stamp(self, unit: str) -> str:
        """What decided the numbers of a finished unit, as `theodolite.runs.conduct.stamp_of` has it."""
        return str(self._noted(unit).get("stamp"))

    def _noted(self, unit: str) -> dict[str, Any]:
        notes = self._rows[1].get(unit)
        if notes is None:
            raise InputError(f"{unit!r} is not finished in {self.path}{closest(unit, self.units)}")
        return {"about": {}, "failed": [], "seconds": 0.0, **notes}

    def rows(self, quantity: str | None = None, **where: Any) -> list[Row]:
        """Rows of the table in which these columns have these values; None stands for no value.

        Example: ``run.rows("local_scaling", sample="cat", sigma=None)``.
        """
        return list(self._at(quantity, where).to_pylist())

    @cached_property
    def derived_rows(self) -> list[Row]:
        """Rows that follow from several units; where a killed process did not come to them, they are worked out here.

        Raises:
            InputError: too few units are finished.
        """
        stored = [] if self.info["status"] == "running" else self.rows(unit=None)
        empty = dict.fromkeys(["unit", *self.experiment.coordinates])
        return stored or [{**empty, **row} for row in self.experiment.derive(self).rows]

    def values(self, units: Sequence[str], by: str) -> dict[Any, dict[str, np.ndarray[Any, Any]]]:
        """Every quantity at some units, `(n,)`, by a coordinate and by name; NaN where it is no number to rank by."""
        from theodolite.estimates import NOT_NUMBERS

        row_of = {unit: row for row, unit in enumerate(units)}
        values: dict[Any, dict[str, np.ndarray[Any, Any]]] = {}
        for row in self.table.select(["unit", by, "quantity", "value", "status"]).to_pylist():
            if row["unit"] in row_of:
                column = values.setdefault(row[by], {}).setdefault(row["quantity"], np.full(len(row_of), np.nan))
                if row["status"] not in NOT_NUMBERS:
                    column[row_of[row["unit"]]] = row["value"]
        return values

    def _at(self, quantity: str | None, where: Mapping[str, Any]) -> pa.Table:
        """The part of the table of a quantity, or all of it, in which these columns have these values."""
        table = self.table if quantity is None else self._of(quantity)
        for name, value in where.items():
            table = table.filter(pc.is_null(table[name]) if value is None else pc.equal(table[name], value))
        return table

    def _of(self, quantity: str) -> pa.Table:
        if quantity not in self._by_quantity:
            measured = ", ".join(self.quantities)
            raise InputError(
                f"quantity {quantity!r} was not measured in {self.path}{closest(quantity, self.quantities)}; "
                f"measured are {measured or 'none'}"
            )
        return self.table.take(self._by_quantity[quantity])

    @cached_property
    def _by_quantity(self) -> dict[str, np.ndarray[Any, Any]]:
        names = self.table["quantity"].to_numpy(zero_copy_only=False)
        unique, inverse = np.unique(names.astype(str), return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        ends = np.cumsum(np.bincount(inverse, minlength=len(unique)))
        return {str(name): part for name, part in zip(unique, np.split(order, ends[:-1]))} if len(unique) else {}

    def column(self, quantity: str, **where: Any) -> dict[str, np.ndarray[Any, Any]]:
        """One quantity as arrays of equal length: `unit`, the coordinates, and the columns of a number.

        Args:
            quantity: its name.
            where: coordinates that rows must have, e.g. `sigma=0.4`.

        Raises:
            InputError: the quantity was not measured.
        """
        table = self._at(quantity, where)
        return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}

    def estimate(self, quantity: str, **where: Any) -> Estimate:
        """The numbers of a quantity as one `Estimate`, in the order of the table.

        Raises:
            InputError: the quantity was not measured there.
        """
        rows = self.rows(quantity, **where)
        if not rows:
            raise InputError(f"quantity {quantity!r} was not measured at {where} in {self.path}")
        return estimate_of(rows)

    def estimate_of(self, quantity: str, units: Sequence[str], **where: Any) -> Estimate | None:
        """A quantity at some units, in their order: ``undefined`` where it is missing; None where it is nowhere."""
        rows = {row["unit"]: row for row in self.rows(quantity, **where)}
        if not rows:
            return None
        empty = {**next(iter(rows.values())), "value": float("nan"), "stderr": float("nan"), "status": "undefined"}
        return estimate_of([rows.get(unit, empty) for unit in units])

    def piece(self, unit: str) -> Piece:
        """A finished unit as it was measured, without its pictures."""
        notes = self._noted(unit)
        return Piece(self.rows(unit=unit), self.arrays(unit), {}, notes["about"], notes["failed"])

    def arrays(self, unit: str) -> dict[str, Tensor]:
        """Arrays of one unit by name.

        Raises:
            InputError: the unit is not finished, or its file is damaged.
        """
        return self._stored(unit, "pt")

    def numpy_arrays(self, unit: str) -> dict[str, np.ndarray[Any, Any]]:
        """The same without an import of torch, for pages.

        Raises:
            InputError: as `arrays`.
        """
        return self._stored(unit, "np")

    def _stored(self, unit: str, framework: str) -> dict[str, Any]:
        from safetensors import SafetensorError

        self._noted(unit)
        file = self._shard_of(unit, framework) or self.path / "arrays.safetensors"
        if not regular(file):
            raise InputError(f"{file} is missing; run its command again to make it: {self.info['command']}")
        try:
            opened, names = self._opened(file, framework)
            return {name.removeprefix(f"{unit}/"): opened.get_tensor(name) for name in names.get(unit, [])}
        except (SafetensorError, OSError, ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"broken {file} ({reason}); delete it and run the same command again") from error

    def _shard_of(self, unit: str, framework: str) -> Path | None:
        """The file with the arrays of a unit that is not merged yet: its own, or that of its batch."""
        shards = self.path / "shards"
        if regular(own := shards / f"{unit}.safetensors"):
            return own
        others = (file for file in sorted(shards.glob("*.safetensors")) if regular(file))
        return next((file for file in others if unit in self._opened(file, framework)[1]), None)

    def _opened(self, file: Path, framework: str) -> tuple[Any, dict[str, list[str]]]:
        """An arrays' file, and the names in it by unit; the merged one is opened once, however many units it holds."""
        from safetensors import safe_open

        files: dict[str, tuple[Any, Any, dict[str, list[str]]]] = self.__dict__.setdefault("_files", {})
        state = file.stat()
        version = (state.st_ino, state.st_mtime_ns)  # another one where it was merged again meanwhile
        if file.name == "arrays.safetensors" and framework in files and files[framework][0] == version:
            return files[framework][1:]
        opened = safe_open(file, framework=framework)
        by_unit: dict[str, list[str]] = {}
        for name in opened.keys():  # noqa: SIM118 (not a mapping)
            by_unit.setdefault(name.split("/", 1)[0], []).append(name)
        if file.name == "arrays.safetensors":
            files[framework] = version, opened, by_unit
        return opened, by_unit

    def picture(self, unit: str, name: str = "") -> Path | None:
        """A picture of a unit; None where there is none that can be shown safely: no link, no device, of usual size."""
        path = picture_path(self.path, unit, name)
        stem = f"{unit}.{name}" if name else unit
        if path.parent.is_symlink() or path.name != f"{stem}.png" or "/" in stem or not regular(path):
            return None
        return path if path.stat().st_size <= _LARGEST_PICTURE and 0 < max(_size(path)) <= _LARGEST_SIDE else None

    def parquet(self, name: str) -> list[Row]:
        """Rows of a further table that the run holds, e.g. ``cells``.

        Raises:
            InputError: it is missing or damaged.
        """
        return list(read_table(self.path / f"{name}.parquet").to_pylist())

    def summary(self) -> list[dict[str, Any]]:
        """One entry a quantity: `quantity, label, unit, median, low, high, median_stderr, count, flagged`.

        `low` and `high` are the quartiles over units and `median_stderr` is the median of their standard errors.
        Values that a status declares not to be numbers stay out of these; `count` is how many went in, `flagged` how
        many have another status than ``ok``. Nothing to summarise gives NaN.
        """
        from theodolite.estimates import NOT_NUMBERS

        entries = []
        for quantity in self.quantities:
            column = self.column(quantity)
            measured = np.array([unit is not None for unit in column["unit"]], dtype=bool)
            usable = measured & np.isfinite(column["value"]) & ~np.isin(column["status"].astype(str), NOT_NUMBERS)
            if not measured.any():
                continue
            values, errors = column["value"][usable], column["stderr"][usable]
            low, median, high = np.quantile(values, (0.25, 0.5, 0.75)) if len(values) else (np.nan,) * 3
            described = self.words(quantity)
            entries.append(
                {
                    "quantity": quantity,
                    "label": described.label,
                    "unit": described.unit,
                    "median": float(median),
                    "low": float(low),
                    "high": float(high),
                    "median_stderr": float(np.median(errors)) if len(errors) else float("nan"),
                    "count": int(usable.sum()),
                    "flagged": int((column["status"][measured] != "ok").sum()),
                }
            )
        return entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.units)

    def __repr__(self) -> str:
        done, expected = len(self.units), len(self.info["units"])
        return f"Run({str(self.path)!r}, {self.kind}, {self.status}, {done} of {expected} units)"


def estimate_of(rows: Sequence[Mapping[str, Any]]) -> Estimate:
    """The numbers of rows as one estimate."""
    import torch

    from theodolite.estimates import Estimate

    value, stderr = (torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in ("value", "stderr"))
    statuses = tuple(str(row["status"]) for row in rows)
    return Estimate(value, stderr, max(row["passes"] or 0 for row in rows), min(row["n"] for row in rows), statuses)


def _size(path: Path) -> tuple[int, int]:
    """Width and height from the head of a picture; nothing where it is none, or one that Pillow calls a bomb."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:  # reads the head alone
                return image.size
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return (0, 0)
