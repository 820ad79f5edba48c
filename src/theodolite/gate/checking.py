"""A run beside a threshold file: a verdict a bound, the table of them, and the exit code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.estimates.shown import Shown
from theodolite.gate.evidence import evidence_of
from theodolite.gate.thresholds import Bound, Thresholds, within_margin
from theodolite.gate.verdict import Verdict, judged
from theodolite.runs.registry import read_run

if TYPE_CHECKING:
    from theodolite.report.page import Cell, Table
    from theodolite.runs.run import Run

__all__ = ["EXIT_CODES", "Gate", "check", "thresholds_beside"]

EXIT_CODES = {"kept": 0, "broken": 1, "undecided": 3}
"""Of the command line; 2 is bad input."""


@dataclass(frozen=True)
class Gate(Shown):
    """What is sure of all bounds of a run.

    Attributes:
        run: the run.
        thresholds: the bounds, and how sure a verdict must be.
        verdicts: one a bound, in order.
        left_out: quantities of a reference that no bound could be made of, with the reason.
    """

    run: Run
    thresholds: Thresholds
    verdicts: Sequence[Verdict]
    left_out: Mapping[str, str]

    @property
    def outcome(self) -> str:
        """``broken`` where any bound is, else ``undecided`` where any is, else ``kept``."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return next(outcome for outcome in ("broken", "undecided", "kept") if outcome in outcomes)

    @property
    def exit_code(self) -> int:
        """0 kept, 1 broken, 3 undecided."""
        return EXIT_CODES[self.outcome]

    @property
    def table(self) -> Table:
        """A row a bound."""
        from theodolite.report.page import Column, Table, number_cell

        columns = [
            Column("bound", prose=True),
            Column("of", prose=True),
            Column("value"),
            Column("interval"),
            Column("status"),
            Column("verdict", prose=True),
        ]
        rows = []
        for verdict in self.verdicts:
            own = verdict.evidence
            number = {"value": own.value, "stderr": own.stderr, "status": own.status, "n": own.n}
            where = ", ".join(f"{name}={value}" for name, value in verdict.bound.where.items())
            of = ", ".join(part for part in (own.what, where) if part)
            rows.append([str(verdict.bound), of, number_cell(number), _interval(verdict), own.status, verdict.outcome])
        return Table(
            "bounds", f"{self.run.path}: {_bounds(len(rows))} of {self.run.kind}", columns, rows, self.sureness
        )

    @property
    def sureness(self) -> str:
        """With which probability the verdicts hold, in a sentence."""
        own = self.thresholds
        if own.sure_of == "each":
            return "Every verdict holds with the probability of its bound, each for itself; interval: at that level."
        level = f"{own.level(own.bounds[0]):.6g}"
        return (
            f"With probability {own.sure:g} or more no verdict is wrong, over {_bounds(len(own.bounds))} tested at "
            f"{level} each (Bonferroni); interval: at that level."
        )

    @property
    def sentences(self) -> list[str]:
        """The outcome, what would decide the undecided bounds, and what the verdicts rest on."""
        advice = [f"{v.bound}: undecided; {v.advice}." for v in self.verdicts if v.outcome == "undecided"]
        doubtful = sorted({v.evidence.status for v in self.verdicts if v.evidence.is_number} - {"ok"})
        rests = [f"Some verdicts rest on numbers of status {', '.join(doubtful)}."] if doubtful else []
        counts = {outcome: sum(v.outcome == outcome for v in self.verdicts) for outcome in EXIT_CODES}
        summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        return [*advice, *rests, f"{self.outcome}: {summary}."]

    def number_rows(self) -> list[dict[str, Any]]:
        """A row a bound: the number that decides it, with the interval at its level and the verdict."""
        return [
            {
                **{"bound": str(v.bound), "of": v.evidence.what, "verdict": v.outcome, "level": v.level},
                **{"quantity": v.bound.quantity, "value": v.evidence.value, "stderr": v.evidence.stderr},
                **{"low": v.low, "high": v.high, "n": v.evidence.n, "passes": 0, "status": v.evidence.status},
            }
            for v in self.verdicts
        ]

    def headline_rows(self) -> list[dict[str, Any]]:
        """The same by bound and verdict alone."""
        fields = ("value", "stderr", "low", "high", "status")
        return [{"bound": f"{r['bound']} ({r['verdict']})", **{n: r[n] for n in fields}} for r in self.number_rows()]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        own = self.thresholds
        head = {"run": str(self.run.path), "kind": self.run.kind, "outcome": self.outcome, "exit_code": self.exit_code}
        sure = {"sure": own.sure, "sure_of": own.sure_of, "only_ok": own.only_ok}
        reference = None if own.reference is None else str(own.reference)
        verdicts = [verdict.as_dict() for verdict in self.verdicts]
        return {**head, **sure, "reference": reference, "verdicts": verdicts, "left_out": dict(self.left_out)}

    def __repr__(self) -> str:
        return f"Gate({str(self.run.path)!r}, {self.outcome}, {_bounds(len(self.verdicts))})"


def check(run: Run | str | PathLike[str], thresholds: Thresholds, left_out: Mapping[str, str] | None = None) -> Gate:
    """Whether the numbers of a run keep to bounds, each with the probability that the thresholds ask for.

    Nothing is measured: every number is one that the run holds, or a mean of those over samples, with the error over
    their sources.

    Args:
        run: a complete run, or its folder.
        thresholds: of `read_thresholds`, or made in Python.
        left_out: see `Gate`.

    Raises:
        InputError: the run is not complete, a quantity was not measured, or a bound is of several numbers.

    Example:
        >>> from theodolite.gate import Bound, Thresholds
        >>> str(Bound("gain", low=2.0)), Thresholds([Bound("gain", low=2.0)] * 5).level(Bound("gain"))
        ('gain >= 2', 0.99)
    """
    own, reference = _complete(run), None
    if any(bound.of_change for bound in thresholds.bounds) and thresholds.reference is not None:
        reference = _complete(thresholds.reference)
    verdicts = [
        judged(
            bound,
            evidence_of(own, bound, reference, thresholds.group),
            thresholds.level(bound),
            only_ok=thresholds.only_ok,
        )
        for bound in thresholds.bounds
    ]
    return Gate(own, thresholds, verdicts, left_out or {})


def thresholds_beside(
    run: Run | str | PathLike[str], reference: Run | str | PathLike[str], margin: float, sure: float = 0.95
) -> tuple[Thresholds, dict[str, str]]:
    """Bounds by which no number of a run may leave that of a reference by more than a share, and what was left out.

    A quantity has a bound where the reference holds it as one number, or as one number a sample, and the run does too.
    One that the run does not hold at all has its bound as well, which stays undecided: what was lost is not kept.

    Args:
        run: a complete run.
        reference: another of the same experiment.
        margin: the share, above zero.
        sure: probability that no verdict is wrong.

    Raises:
        InputError: one is not complete, or nothing can be compared.
    """
    own, other = _complete(run), _complete(reference)
    if own.kind != other.kind:
        raise InputError(
            f"two runs of one experiment expected, got {own.path} of `theodolite {own.kind}` and {other.path} of "
            f"`theodolite {other.kind}`"
        )
    sizes, left_out = {}, {}
    for name in other.quantities:
        try:
            (number,) = evidence_of(other, Bound(name))
            if name in own.quantities:
                evidence_of(own, Bound(name))
        except InputError:
            left_out[name] = "several numbers; write a threshold file that says which"
            continue
        if number.is_number and number.value:
            sizes[name] = number.value
        else:
            left_out[name] = "the reference has no number that a share can be taken of"
    return Thresholds(within_margin(sizes, margin), sure, reference=other.path), left_out


def _interval(verdict: Verdict) -> Cell:
    """Both ends in the digits of the error; an end that nothing is known of is open."""
    from theodolite.report.page import Cell
    from theodolite.report.rounding import Shown, rounded

    if not verdict.evidence.is_number:
        return Cell("–")
    (low, high), _, power = rounded([verdict.low, verdict.high], verdict.evidence.stderr)
    low, high = ("open" if math.isinf(end) else text for end, text in ((verdict.low, low), (verdict.high, high)))
    ends = [end if math.isfinite(end) else None for end in (verdict.low, verdict.high)]
    return Cell(Shown(f"{low} to {high}", "", power), ends)


def _complete(run: Run | str | PathLike[str]) -> Run:
    own = read_run(run) if isinstance(run, str | PathLike) else run
    if own.status != "complete":
        raise InputError(
            f"a complete run expected, and {own.path} is {own.status}: {len(own.units)} of {len(own.info['units'])} "
            f"units; finish it with: {own.info['command']}"
        )
    return own


def _bounds(count: int) -> str:
    return f"{count} bound" if count == 1 else f"{count} bounds"
