"""`Run`: a survey's results, read from its run folder whether it has ended or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from theodolite.errors import InputError, path_of
from theodolite.estimates import NOT_NUMBERS
from theodolite.surveys.plan import closest
from theodolite.surveys.store import is_held, read_record, read_rows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Run", "read_run"]


@dataclass(frozen=True)
class Run:
    """The results of a survey.

    Attributes:
        path: the run folder.
        info: the content of `run.json`; its status stays ``running`` where the survey was killed, see `status`.
        table: `quantities.parquet`, one row a sample and quantity, with the columns `model, sample, map, sigma,
            quantity, value, stderr, passes, n, status`; of a run that was killed, the rows of its finished samples.
    """

    path: Path
    info: dict[str, Any]
    table: pa.Table

    @property
    def status(self) -> str:
        """``complete``, ``interrupted`` or ``running``: what `run.json` says, unless its survey was killed."""
        status = str(self.info["status"])
        return "interrupted" if status == "running" and not is_held(self.path) else status

    @property
    def samples(self) -> list[str]:
        """Ids of the finished samples, in the order of their files."""
        there = set(self.table["sample"].unique().to_pylist())
        return [entry["sample"] for entry in self.info["data"]["files"] if entry["sample"] in there]

    @property
    def quantities(self) -> list[str]:
        """Names of the measured quantities, in the order of the registry."""
        there = self.table["quantity"].unique().to_pylist()
        known = [name for name in self.info["quantities"] if name in there]
        return known + [name for name in there if name not in known]

    @property
    def sigmas(self) -> list[float]:
        """Noise levels at which maps were measured, rising; none for a decoder."""
        return sorted(level for level in self.table["sigma"].unique().to_pylist() if level is not None)

    def column(self, quantity: str, sigma: float | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """One quantity of every sample: arrays `sample`, `value`, `stderr` and `status` of equal length.

        Args:
            quantity: its name.
            sigma: the noise level it was measured at, where the run has several.

        Raises:
            InputError: the quantity was not measured.
        """
        if quantity not in self.quantities:
            measured = ", ".join(self.quantities)
            raise InputError(
                f"quantity {quantity!r} was not measured in {self.path}{closest(quantity, self.quantities)}; "
                f"measured are {measured or 'none'}"
            )
        rows = self.table.filter(pc.equal(self.table["quantity"], quantity))
        if sigma is not None:
            rows = rows.filter(pc.equal(rows["sigma"], sigma))
        return {name: rows[name].to_numpy() for name in ("sample", "value", "stderr", "status")}

    def arrays(self, sample: str) -> dict[str, Tensor]:
        """Arrays of one sample: `latent`, `spectrum/nodes` (singular values) and `spectrum/weights` (they sum to one).

        Raises:
            InputError: the sample was not finished in this run.
        """
        from safetensors import safe_open

        prefix = f"{sample}/"
        for file in self._array_files(sample):
            with safe_open(file, framework="pt") as opened:
                names = [name for name in opened.keys() if name.startswith(prefix)]  # noqa: SIM118 (not a mapping)
                if names:
                    return {name.removeprefix(prefix): opened.get_tensor(name) for name in names}
        raise InputError(f"sample {sample!r} is not in {self.path}{closest(sample, self.samples)}")

    def _array_files(self, sample: str) -> Iterator[Path]:
        for file in (self.path / "shards" / f"{sample}.safetensors", self.path / "arrays.safetensors"):
            if file.exists():
                yield file

    def thumbnail(self, sample: str) -> Path:
        """The picture of the image as the model saw it."""
        return self.path / "thumbnails" / f"{sample}.png"

    def reconstruction(self, sample: str) -> Path:
        """The picture of what the decoder gave back; it is not there when the outputs are no images."""
        return self.path / "thumbnails" / f"{sample}.reconstruction.png"

    def summary(self) -> list[dict[str, Any]]:
        """One entry a quantity: `quantity, label, unit, median, low, high, median_stderr, count, flagged`.

        `low` and `high` are the quartiles over samples and `median_stderr` is the median of the samples' standard
        errors. Values of status ``undetermined`` or ``undefined`` are no numbers to rank by and stay out of these;
        `count` is how many went in, `flagged` how many samples have another status than ``ok``. Nothing to summarise
        gives NaN.
        """
        return [self._summarised(quantity) for quantity in self.quantities]

    def _summarised(self, quantity: str) -> dict[str, Any]:
        column = self.column(quantity)
        usable = np.isfinite(column["value"]) & ~np.isin(column["status"], NOT_NUMBERS)
        values, errors = column["value"][usable], column["stderr"][usable]
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)) if len(values) else (np.nan,) * 3
        described = self.info["quantities"].get(quantity, {})
        return {
            "quantity": quantity,
            "label": described.get("label", quantity),
            "unit": described.get("unit", ""),
            "median": float(median),
            "low": float(low),
            "high": float(high),
            "median_stderr": float(np.median(errors)) if len(errors) else float("nan"),
            "count": int(usable.sum()),
            "flagged": int((column["status"] != "ok").sum()),
        }

    def __repr__(self) -> str:
        wanted = len(self.info["data"]["files"])
        return f"Run({str(self.path)!r}, {self.status}, {len(self.samples)} of {wanted} samples)"


def read_run(path: str | Path) -> Run:
    """Open a run folder: complete, interrupted, killed, or still being written.

    Args:
        path: the folder that `survey` wrote.

    Raises:
        InputError: the folder is missing, holds no run, or a broken one.
    """
    folder = path_of(path, "the run folder")
    info = read_record(folder)
    table, _ = read_rows(folder)
    return Run(folder, info, table)
