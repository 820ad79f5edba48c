"""`Engine`: who measures the units of a run: this process, several of this machine, or the nodes of a Ray cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from theodolite.errors import DiskError, InputError
from theodolite.runs.experiment import Experiment, Sitting
from theodolite.runs.folder import RunFolder
from theodolite.runs.measuring import reason_of, store_unit
from theodolite.runs.piece import Piece

__all__ = ["Answer", "Backlog", "Engine", "Hear", "Job", "ThisProcess", "check_workers"]


@dataclass(frozen=True)
class Answer:
    """What came of a unit.

    Attributes:
        unit: its id.
        what: what is under way in it; None where it is done.
        reason: why it failed; None where it is stored.
        is_input: whether the failure is an `InputError`.
        error: the failure itself, where it was raised in this process.
    """

    unit: str
    what: str | None = None
    reason: str | None = None
    is_input: bool = False
    error: BaseException | None = field(default=None, compare=False)


Hear = Callable[[Answer], None]
"""Called in the conducting thread as units begin parts, are stored or fail, in no order."""


@dataclass(frozen=True)
class Job:
    """What is to be measured, in a folder that the conducting process holds.

    Attributes:
        work: the experiment, opened in this process.
        folder: where units are stored.
        units: those that are missing, in order.
        piece: a stored unit, see `Sitting.piece`.
        task: how another process opens the experiment, with the types of JSON: `kind`, `arguments`, `settings`,
            `configuration`, the `inventory` of the data, `versions` of what must be the same everywhere, what the
            self-check of derivatives came to as `check`, and `threads`.
        workers: how many processes; None for what the engine takes by itself.
        sitting: the entry of `run.json` for this start, to which an engine may add who measured.
    """

    work: Experiment
    folder: RunFolder
    units: Sequence[str]
    piece: Callable[[str], Piece]
    task: Mapping[str, Any]
    workers: int | None
    sitting: dict[str, Any]


class Engine(Protocol):
    """Who measures; the numbers do not depend on it."""

    elsewhere: bool
    """Whether other processes open the model, which must then be named."""

    def ready(self, work: Experiment, workers: int | None) -> AbstractContextManager[Any]:
        """What must hold while units are measured; entered before the model is opened.

        Raises:
            InputError: the engine cannot be used here, or not with these settings.
        """

    def measure(self, job: Job, hear: Hear) -> None:
        """Have every unit measured and stored; an interrupt ends whatever was started.

        Raises:
            DiskError: the disk is full or refuses.
            InputError: the experiment cannot be opened where it is measured.
        """


class ThisProcess:
    """Units one after another, in this process and with its threads."""

    elsewhere = False

    def ready(self, work: Experiment, workers: int | None) -> AbstractContextManager[Any]:
        """Nothing is needed."""
        return nullcontext()

    def measure(self, job: Job, hear: Hear) -> None:
        """See `Engine.measure`."""
        for unit in job.units:
            hear(self._measured(job, unit, hear))

    def _measured(self, job: Job, unit: str, hear: Hear) -> Answer:
        sitting = Sitting(lambda what: hear(Answer(unit, what=what)), job.piece, job.task["check"])
        try:
            store_unit(job.work, job.folder, unit, job.task["configuration"], sitting)
        except DiskError:
            raise
        except (Exception, SystemExit) as error:  # the failure of one unit must not cost the others their run
            return Answer(unit, reason=reason_of(error), is_input=isinstance(error, InputError), error=error)
        return Answer(unit)


class Backlog:
    """Units that are to be handed out: those that others build on are stored before these are measured.

    Args:
        units: in their order.
        needs: units that must be stored before one.
        tries: how often a unit may be lost with the process that measures it.
    """

    def __init__(self, units: Sequence[str], needs: Callable[[str], Sequence[str]], tries: int) -> None:
        self.waiting, self.unsettled = deque(units), set(units)
        self._needs, self._most = needs, tries
        self._tries: dict[str, int] = {}

    def take(self) -> str | None:
        """The first unit that needs none which is not stored yet; None where there is none for now."""
        ready = next((unit for unit in self.waiting if self.unsettled.isdisjoint(self._needs(unit))), None)
        if ready is not None:
            self.waiting.remove(ready)  # the first of all, unless units before it wait for others
        return ready

    def give_back(self, unit: str) -> None:
        """Hand out next what was handed out and not begun."""
        self.waiting.appendleft(unit)

    def lost(self, unit: str) -> bool:
        """Whether a unit, whose process ended, is tried once more."""
        self._tries[unit] = self._tries.get(unit, 0) + 1
        again = self._tries[unit] < self._most
        if again:
            self.give_back(unit)
        else:
            self.settle(unit)
        return again

    def settle(self, unit: str) -> None:
        """A unit is stored or has failed: it waits no more, and others need not wait for it."""
        self.unsettled.discard(unit)


def check_workers(count: Any) -> int:
    """How many processes.

    Raises:
        InputError: no whole number from 1 on.
    """
    try:
        number = int(str(count))
    except ValueError:
        number = 0
    if number < 1:
        raise InputError(f"--workers expected a whole number, 1 or more, got {count!r}; e.g. 2")
    return number
