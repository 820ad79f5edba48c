"""Verification of a run: some of its units measured again with other draws, and what that says of its errors."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import theodolite
from theodolite.errors import InputError, in_one_line
from theodolite.runs.comparison import Check, Comparison
from theodolite.runs.experiment import Experiment, Sitting
from theodolite.runs.measuring import Progress, measured, opened, prepared, reason_of, stamp_of, teller
from theodolite.runs.piece import Piece
from theodolite.runs.record import differences, plain
from theodolite.runs.registry import experiment_of, read_run
from theodolite.runs.run import Run
from theodolite.runs.settings import closest

__all__ = ["Verification", "verify"]

_ROUNDING = {"float32": 1e-4, "float64": 1e-8}
"""What rounding may do to a value without error: about a hundred operations in a row, and ten times that to be safe."""


@dataclass(frozen=True)
class Verification:
    """What measuring some units of a run again says of its numbers and errors.

    Attributes:
        run: the run.
        units: those that were measured again.
        precision: of the second measurement.
        seed: of the drawn units and of the other draws.
        level: probability that errors which hold are found not to, of all quantities together.
        checks: one a quantity.
        rows: every pair that was compared: coordinates, both numbers, `z`.
        failed: units that could not be measured again, with the reason.
        notes: what to know besides, in sentences.
        seconds: how long it took.
    """

    run: Run
    units: Sequence[str]
    precision: str
    seed: int
    level: float
    checks: Sequence[Check]
    rows: Sequence[Mapping[str, Any]]
    failed: Sequence[Mapping[str, str]]
    notes: Sequence[str]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether nothing was found that contradicts the run."""
        return not self.failed and all(check.holds for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "run": str(self.run.path),
            "kind": self.run.kind,
            "holds": self.holds,
            "units": [*self.units],
            "of": len(self.run.units),
            "precision": self.precision,
            "seed": self.seed,
            "level": self.level,
            "seconds": self.seconds,
            "failed": [dict(entry) for entry in self.failed],
            "notes": [*self.notes],
            "quantities": [check.as_dict() for check in self.checks],
            "rows": [dict(row) for row in self.rows],
        }

    def __repr__(self) -> str:
        wrong = [check.quantity for check in self.checks if not check.holds]
        verdict = "holds" if self.holds else f"does not hold: {', '.join([*wrong, *(f['unit'] for f in self.failed)])}"
        return f"Verification({str(self.run.path)!r}, {len(self.units)} of {len(self.run.units)} units, {verdict})"


def verify(
    run: Run | str | PathLike[str],
    *,
    at: Mapping[str, Any] | None = None,
    units: int | None = 8,
    seed: int = 0,
    level: float = 0.01,
    float64: bool = True,
    budget: str | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Measure some units of a run again, with other draws, and say whether its stated errors hold.

    The experiment is rebuilt from `run.json`; its content (fingerprints of models, hashes of images) must be that of
    the run. For every row `z = (new - stored) / sqrt(stderr² + stderr'²)`; see `theodolite.estimates.agreement` for the
    tests. Numbers that follow from several units are derived again from the stored ones, and where every unit was
    drawn from the new ones too. Cost: that of so many units of the run. Nothing is written into the run folder.

    Args:
        run: a run, or its folder; unfinished ones are verified as far as they are.
        at: where things are now, by name: arguments (e.g. a model given as an object) and settings that say where
            things are, e.g. ``{"data": "photos"}``.
        units: how many are drawn; None for all.
        seed: of the drawn units, and of the other draws.
        level: probability that a run whose errors hold is said not to.
        float64: measure in float64 where the experiment has a `dtype` and its models are named.
        budget: another one for the second measurement: a larger one shows what the run's own left out.
        progress: called with (units done, units in all, what is under way).

    Returns:
        The verification. What both measurements share cannot be seen: the images, the model, a bias of the same depth.

    Raises:
        InputError: the folder holds no run, nothing is finished, the model or the images are not those of the run, or
            something else cannot be used.
    """
    stored = run if isinstance(run, Run) else read_run(run)
    _check(units, level)
    started = time.monotonic()
    drawn = _drawn(stored, units, seed)
    bench = _Bench(stored, dict(at or {}), seed, drawn, float64=float64, budget=budget)
    pieces, failed = bench.measure(drawn, progress or (lambda done, total, what: None))
    notes = [*bench.notes, *_versions(stored)]
    compared = Comparison(stored, pieces, bench.rounding, same_errors=budget is None)
    return Verification(
        stored,
        drawn,
        bench.precision,
        seed,
        level,
        compared.checks(level),
        compared.rows(),
        failed,
        notes,
        round(time.monotonic() - started, 3),
    )


def _check(units: int | None, level: float) -> None:
    if units is not None and (isinstance(units, bool) or not isinstance(units, int) or units < 1):
        raise InputError(f"`units` expected to be a whole number, 1 or more, got {units!r}; None for all")
    if not 0 < level < 1:
        raise InputError(
            f"`level` expected between 0 and 1, got {level!r}; 0.01 alarms for one honest run in a hundred"
        )


def _drawn(run: Run, count: int | None, seed: int) -> list[str]:
    if not run.units:
        raise InputError(
            f"a run with finished units expected, {run.path} has none; go on with it: {run.info['command']}"
        )
    chosen = set(random.Random(seed).sample(run.units, min(count or len(run.units), len(run.units))))
    return [unit for unit in run.units if unit in chosen]


def _versions(run: Run) -> list[str]:
    made = run.info["theodolite"]
    here = theodolite.__version__
    return [] if made == here else [f"the run was made with theodolite {made}, and measured again with {here}"]


class _Bench:
    """The experiment of a run, set up again."""

    def __init__(
        self, run: Run, at: dict[str, Any], seed: int, drawn: Sequence[str], *, float64: bool, budget: str | None
    ) -> None:
        self.run, self.at, self.seed = run, at, seed
        self.notes: list[str] = []
        self._check_places()
        self.changes = self._changes(budget)
        self.stored_precision = "float64" if run.settings.get("dtype") == "float64" else "float32"
        self.precision = self.stored_precision
        work = self._work({})
        _refuse_another(run, work, drawn)
        self.work = self._work(self.changes) if self.changes else work
        if float64 and self.precision != "float64":
            self._lift()

    @property
    def rounding(self) -> float:
        """What rounding of the run's own numbers may come to, relative."""
        return _ROUNDING[self.stored_precision]

    def measure(self, units: Sequence[str], progress: Progress) -> tuple[dict[str, Piece], list[dict[str, str]]]:
        """Each unit measured again, and those that failed with the reason."""
        pieces, failed = {}, []
        progress(0, len(units), "")
        for done, unit in enumerate(units):
            sitting = Sitting(teller(progress, done, len(units), unit), self.run.piece, self._self_check)
            try:
                pieces[unit] = self._measured(unit, sitting)
            except (Exception, SystemExit) as error:  # whatever a model raises is what is to be told of the run
                failed.append({"unit": unit, "reason": reason_of(error)})
            progress(done + 1, len(units), unit)
        return pieces, failed

    @property
    def _self_check(self) -> Mapping[str, Any]:
        return self.run.info.get("self_check") or {}

    def _measured(self, unit: str, sitting: Sitting) -> Piece:
        try:
            return measured(self.work, unit, sitting)
        except (Exception, SystemExit) as error:
            if self.precision == self.stored_precision:
                raise
            self._settle(error)
            return measured(self.work, unit, sitting)

    def _lift(self) -> None:
        """Measure in float64 from here on, if that is possible."""
        named = all(_is_named(self.work.given[argument.name]) for argument in self.work.arguments)
        if not named or "dtype" not in self.run.settings:
            self.notes.append(f"measured in the run's own precision: {_why_not(self.run, named)}")
            return
        try:
            self.work, self.precision = self._work({**self.changes, "dtype": "float64"}), "float64"
        except InputError as error:
            self.notes.append(f"measured in the run's own precision, since float64 was refused: {error}")

    def _settle(self, error: BaseException) -> None:
        """Go back to the run's own precision."""
        self.notes.append(f"measured in the run's own precision, since float64 failed: {in_one_line(error)}")
        self.work, self.precision = self._work(self.changes), self.stored_precision

    def _work(self, changes: Mapping[str, Any]) -> Experiment:
        kind, info = experiment_of(self.run.kind), self.run.info
        known = [setting.name for setting in kind.settings]
        given = {**{k: v for k, v in info["settings"].items() if k in known}, **self.at, **changes}
        arguments = [given.pop(argument.name, self.run.arguments.get(argument.name)) for argument in kind.arguments]
        try:
            work = prepared(kind, arguments, given)
            work.redraw = self.seed
            return opened(work)
        except InputError as error:
            raise InputError(
                f"{self.run.path} cannot be measured again: {error} (where things are now is said with --at NAME=VALUE)"
            ) from error

    def _check_places(self) -> None:
        kind = experiment_of(self.run.kind)
        free = [setting.name for setting in kind.settings if setting.role != "measures"]
        known = [*(argument.name for argument in kind.arguments), *free]
        for name in self.at:
            if name not in known:
                raise InputError(
                    f"`at` expected to name what says where things are, got {name!r}{closest(name, known)}; of "
                    f"{kind.kind} that may be {', '.join(known)}"
                )

    def _changes(self, budget: str | None) -> dict[str, Any]:
        if budget is None:
            return {}
        if "budget" not in self.run.settings:
            raise InputError(f"--budget belongs to a run that has one, and {self.run.kind} has none; leave it out")
        return {"budget": budget}


def _is_named(value: Any) -> bool:
    return all(isinstance(item, str | PathLike) for item in (value if isinstance(value, list | tuple) else [value]))


def _why_not(run: Run, named: bool) -> str:
    return f"a run of {run.kind} has no setting `dtype`" if named else "the model was given as an object"


def _refuse_another(run: Run, work: Experiment, drawn: Sequence[str]) -> None:
    """Refuse another model, other images, or other settings than those of the run, naming what differs."""
    settings = {setting.name: work.given.get(setting.name) for setting in work.settings}
    here = {"theodolite": run.info["theodolite"], "settings": plain(settings), "content": plain(work.content())}
    phrases = differences(work.settings, run.info, here)
    if not phrases:
        missing = [unit for unit in drawn if unit not in work.units]
        phrases = [f"no {missing[0]} here"] if missing else []
    if not phrases:
        other = [unit for unit in drawn if run.stamp(unit) != stamp_of(work, unit, run.info["configuration"])]
        phrases = [f"another model or shape behind {other[0]}"] if other else []
    if phrases:
        raise InputError(
            f"{run.path} was measured with something else than what is here ({'; '.join(phrases)}); give what it was "
            "measured with: --at NAME=VALUE says where that is now"
        )
