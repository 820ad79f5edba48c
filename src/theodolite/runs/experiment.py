"""What an experiment declares; `conduct` does the rest, for all of them in the same way."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.runs.settings import LOADING, Argument, Setting

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

    from theodolite.estimates import Estimate
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap
    from theodolite.report.page import Page
    from theodolite.runs.run import Run

__all__ = ["Derived", "Experiment", "Piece", "Row", "Sitting", "number", "numbers"]

Row = dict[str, Any]
"""One number: its coordinates, then `quantity, value, stderr, low, high, n, passes, status`."""


def number(quantity: str, estimate: Estimate, place: int = 0, **coordinates: Any) -> Row:
    """The row of one number of an estimate.

    Args:
        quantity: its name.
        estimate: of one or more latents.
        place: which of them.
        coordinates: where it was measured, e.g. `map="decoder"`; also `low` and `high` of an interval of its own.
    """
    low, high = (float(end.reshape(-1)[place]) for end in estimate.interval())
    entry = {**estimate.entry(place), "passes": estimate.passes}
    return {"quantity": quantity, **entry, "low": low, "high": high, **coordinates}


def numbers(estimates: Mapping[str, Estimate], place: int = 0, **coordinates: Any) -> list[Row]:
    """The rows of several estimates at the same coordinates."""
    return [number(name, estimate, place, **coordinates) for name, estimate in estimates.items()]


@dataclass(frozen=True)
class Piece:
    """What one unit of an experiment came to.

    Attributes:
        rows: its numbers, see `number`.
        arrays: by name.
        pictures: by name; the empty name is the unit's own picture.
        about: what else is to be remembered, JSON-able.
        failed: parts that failed: `what` and `reason`; the others stand.
        messages: what an estimator had to say, by quantity.
    """

    rows: Sequence[Row] = ()
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    pictures: Mapping[str, Image] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    failed: Sequence[Mapping[str, str]] = ()
    messages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Derived:
    """What follows from the finished units of a run.

    Attributes:
        rows: numbers, which join the table of the run without a unit.
        tables: others, by file name; a table of numbers belongs into `rows`.
        pictures: by file name below `pictures/`.
    """

    rows: Sequence[Row] = ()
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    pictures: Mapping[str, Image] = field(default_factory=dict)


@dataclass(frozen=True)
class Sitting:
    """What an experiment may ask for while it measures a unit.

    Attributes:
        tell: says what is under way.
        piece: a finished unit of this run, by its id.
        check: what the self-check of derivatives found, as in `run.json`.
    """

    tell: Callable[[str], None]
    piece: Callable[[str], Piece]
    check: Mapping[str, Any]

    @property
    def first_order_holds(self) -> bool:
        """False where first derivatives were found wrong."""
        return self.check.get("first_order_holds") is not False

    @property
    def second_order_holds(self) -> bool:
        """False where second derivatives were found wrong."""
        return self.check.get("second_order_holds") is not False


class Experiment(ABC):
    """An experiment: made from checked settings, opened while its folder is held, then measured unit by unit.

    Attributes:
        kind: what `run.json` calls it: its verb and its Python function.
        summary: one line for the list of verbs.
        family: kinds of one family measure the same units in the same way, so that each goes on with a folder of the
            other; the kind alone where it is empty.
        arguments: what it is about.
        settings: what it can be told; the required ones come first.
        coordinates: columns of its table beside the unit, with their types: ``str``, ``float`` or ``int``.
        without_derivatives: quantities that do not rest on derivatives; the others are ``undetermined`` where the
            self-check finds these wrong.
        judging: keys of its record that, like settings which judge, decide only what follows from the measured numbers.
        requires: keys that its record must have, with their types; a dot leads inside.
        given: its arguments and settings, checked.
        units: what is measured and stored together, in order; known once it is opened.
        redraw: None in a run; a number while a run is verified, when estimators take other draws, see `probe_seed`.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    family: ClassVar[str] = ""
    arguments: ClassVar[tuple[Argument, ...]]
    settings: ClassVar[Sequence[Setting]]
    coordinates: ClassVar[Mapping[str, type]] = {}
    without_derivatives: ClassVar[frozenset[str]] = frozenset()
    judging: ClassVar[Sequence[str]] = ()
    requires: ClassVar[Mapping[str, type]] = {}
    device: torch.device | None = None
    redraw: int | None = None
    units: Sequence[str]

    def __init__(self, given: Mapping[str, Any]) -> None:
        """Check what can be checked without the model: files that must be there, settings that belong together."""
        self.given = dict(given)

    @abstractmethod
    def open(self) -> None:
        """Load the model, and check what only it can tell; sets `units`. Nothing is written before this returns."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What `run.json` says beside settings and content: models, data, shapes."""

    def loading(self) -> dict[str, Any]:
        """How a model that is named is loaded: options of `theodolite.load`."""
        return {setting.name: self.given[setting.name] for setting in LOADING if setting.name in self.given}

    def identity(self, unit: str) -> Any:
        """What decides the numbers of one unit beside settings and content, JSON-able; a run may grow by others."""
        return None

    def probe_seed(self, unit: str | None = None) -> int:
        """The seed of what estimators draw: probes, directions, noise that is averaged over, weights of networks.

        `theodolite verify` measures again with other ones, so that nothing which *defines* a quantity may be drawn from
        it (the noise at which a denoiser is looked at, the start of a sampler): that comes from the run's own seed.

        Args:
            unit: whose draws; None for those that all units have in common.
        """
        from theodolite.estimates.streams import seed_of

        seed = int(self.given.get("seed") or 0)
        own = seed if unit is None else seed_of(seed, unit)
        return own if self.redraw is None else seed_of(own, f"drawn again {self.redraw}")

    def content(self) -> dict[str, Any]:
        """What a run that is continued must agree in, by content and not by path: fingerprints, hashes.

        Under ``images`` stand hashes by sample; a difference there is told in numbers of images.
        """
        return {}

    def checked_map(self) -> tuple[LatentMap, Tensor, str] | None:
        """A map, a few points `(k, *latent)` and the model's name, for the self-check of derivatives; None for none."""
        return None

    @abstractmethod
    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Measure one unit."""

    def forecast(self) -> Mapping[str, Any] | None:
        """What the run would cost, for `--dry-run`; None where that cannot be told."""
        return None

    @classmethod
    def demonstration(cls) -> Mapping[str, Any]:
        """Arguments and settings by name that need only the package, for `--demo`; empty where there are none."""
        return {}

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """What follows from the finished units.

        Raises:
            InputError: too few are finished.
        """
        return Derived()

    @classmethod
    def page(cls, run: Run) -> Page:
        """How the run is shown; the terminal and `--json` read the page's tables.

        By default this is `page(run)` of the module `page` beside the experiment's own.
        """
        page: Page = import_module(f"{cls.__module__.rpartition('.')[0]}.page").page(run)
        return page

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """The words of its quantities, by name."""
        return {}


def doubted(rows: Iterable[Row], free: frozenset[str]) -> list[Row]:
    """Rows that rest on derivatives which were found wrong: none is better than ``undetermined``."""
    from theodolite.estimates import worse

    return [row if row["quantity"] in free else {**row, "status": worse(row["status"], "undetermined")} for row in rows]


def without_numbers(rows: Iterable[Row]) -> list[Row]:
    """The rows with NaN and infinite values of status ``ok`` as ``undetermined``: such a pair is never stored."""
    return [
        row
        if row["status"] != "ok" or (math.isfinite(row["value"]) and math.isfinite(row["stderr"]))
        else {**row, "status": "undetermined"}
        for row in rows
    ]
