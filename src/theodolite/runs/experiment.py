"""What an experiment declares; `conduct` does the rest, for all of them in the same way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.runs.piece import Derived, Piece, Row, number, numbers, numbers_each, open_ended
from theodolite.runs.settings import LOADING, Argument, Setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap
    from theodolite.report.page import Page
    from theodolite.runs.run import Run

__all__ = ["Derived", "Experiment", "Piece", "Row", "Sitting", "number", "numbers", "numbers_each", "open_ended"]


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
        variants: where another question is asked by the same verb: by a setting of this experiment the module whose
            ``EXPERIMENT`` is conducted once that setting is given. It has the same kind, arguments, settings and
            columns; see `variant`.
        judging: keys of its record that, like settings which judge, decide only what follows from the measured numbers.
        requires: keys that its record must have, with their types; a dot leads inside.
        given: its arguments and settings, checked.
        units: what is measured and stored as one, in order; known once it is opened.
        together: how many successive units are measured at once, where there is gain; see `measure_together`. Known
            once it is opened, and the same on every machine with a device of this type, whatever memory is free.
        uses_cache: whether a self-check that passed before may be taken.
        redraw: None in a run; a number while a run is verified, when estimators take other draws, see `probe_seed`.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    family: ClassVar[str] = ""
    arguments: ClassVar[tuple[Argument, ...]]
    settings: ClassVar[Sequence[Setting]]
    coordinates: ClassVar[Mapping[str, type]] = {}
    without_derivatives: ClassVar[frozenset[str]] = frozenset()
    variants: ClassVar[Mapping[str, str]] = {}
    judging: ClassVar[Sequence[str]] = ()
    requires: ClassVar[Mapping[str, type]] = {}
    device: torch.device | None = None
    uses_cache: bool = True
    redraw: int | None = None
    together: int = 1
    units: Sequence[str]

    def __init__(self, given: Mapping[str, Any]) -> None:
        """Check what can be checked without the model: files that must be there, settings that belong together."""
        self.given = dict(given)

    @classmethod
    def variant(cls, settings: Mapping[str, Any]) -> type[Experiment]:
        """The experiment that settings choose: of the first of `variants` that is given, otherwise this one."""
        module = next((module for name, module in cls.variants.items() if settings.get(name) is not None), None)
        return cls if module is None else import_module(module).EXPERIMENT  # type: ignore[no-any-return]

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

    def needs(self, unit: str) -> Sequence[str]:
        """Units that must be stored before this one is measured; see `Sitting.piece`."""
        return ()

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

    def inventory(self) -> Any:
        """What was found of the data and a worker need not find again, with the types of JSON; see `trusting`."""
        return None

    @classmethod
    def trusting(cls, inventory: Any) -> AbstractContextManager[None]:
        """While a worker makes the experiment: it takes what `inventory` gave in the process that conducts the run."""
        return nullcontext()

    def checked_map(self) -> tuple[LatentMap, Tensor, str] | None:
        """A map, a few points `(k, *latent)` and the model's name, for the self-check of derivatives; None for none."""
        return None

    @abstractmethod
    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Measure one unit."""

    def measure_together(self, units: Sequence[str], sitting: Sitting) -> Mapping[str, Piece]:
        """Measure several units at once, each as `measure` would but for the last digits of its numbers.

        Returns:
            Those that could be measured so; the others are measured alone, and so are all where this raises anything.
        """
        return {unit: self.measure(unit, sitting) for unit in units}

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

    @classmethod
    def picture_maps(cls) -> Sequence[Quantity]:
        """Arrays of units that hold a number of every place of the unit's picture, to be laid over it.

        The name is the array's, or what it begins with up to a slash (``where`` is the map ``where/0.4``). Only arrays
        `(rows, columns)` count, so that a map on a line or in space is no overlay.
        """
        return ()
