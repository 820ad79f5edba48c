"""Every status of a number: what it claims, whether it is a number at all, and which of two is worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

__all__ = ["NOT_NUMBERS", "STATUSES", "STATUS_TABLE", "Status", "is_number", "mirrored", "worse", "worst"]


class Status(NamedTuple):
    """What one word beside a number claims.

    Attributes:
        name: the word.
        meaning: the claim, in a sentence.
        is_number: whether the value may be ranked, averaged or drawn.
        bound: the side from which the value bounds the truth; empty for an estimate.
    """

    name: str
    meaning: str
    is_number: bool = True
    bound: Literal["", "lower", "upper"] = ""

    @property
    def is_bound(self) -> bool:
        """Whether the value is a bound of the truth instead of an estimate of it."""
        return bool(self.bound)


STATUS_TABLE = (
    Status("ok", "the value and its standard error can be used as they are"),
    Status("rank-deficient", "a null space was found, counted and left out"),
    Status(
        "lower-bound",
        "the truth is at or above the value; the standard error is the width of the bound",
        bound="lower",
    ),
    Status(
        "upper-bound",
        "the truth is at or below the value; the standard error is the width of the bound",
        bound="upper",
    ),
    Status("truncated", "truncation bias exceeds sampling error; it is inside the standard error"),
    Status("miscalibrated", "the error of the score exceeds sampling error; it is inside the standard error"),
    Status("approximate", "the derivative came from finite differences"),
    Status(
        "learned",
        "it rests on networks or denoisers that were trained; the standard error holds how they differ, not what they "
        "have in common",
    ),
    Status(
        "few-samples",
        "fewer independent samples than an interval for any law needs; it holds if they scatter as normal ones do",
    ),
    Status(
        "outside-data",
        "a sampler's result left the range of the data; the number is the map's, not that of a sample of the data",
    ),
    Status(
        "extrapolated",
        "it comes from a fit that is used outside of what it was fitted to; the interval is that of the fit, and holds "
        "nothing of what differs",
    ),
    Status(
        "undetermined",
        "the quantity is not defined well enough here to be a number; do not rank by it",
        is_number=False,
    ),
    Status("undefined", "the quantity does not exist for this map or latent", is_number=False),
)
"""All statuses, from the best to the worst."""

STATUSES = {status.name: status.meaning for status in STATUS_TABLE}
"""The meaning of every status by its name, from the best to the worst."""

NOT_NUMBERS = tuple(status.name for status in STATUS_TABLE if not status.is_number)
"""Statuses whose value is no number to rank by, to average or to draw."""

BOUNDS = {status.name: status.bound for status in STATUS_TABLE if status.is_bound}
"""The side of every status that is a bound."""

_MIRRORED = {"lower-bound": "upper-bound", "upper-bound": "lower-bound"}

_SEVERITY = {status.name: rank for rank, status in enumerate(STATUS_TABLE)}


def is_number(status: str) -> bool:
    """Whether a value of this status may be ranked, averaged or drawn.

    Example:
        >>> is_number("truncated"), is_number("undetermined")
        (True, False)
    """
    return status not in NOT_NUMBERS


def mirrored(status: str) -> str:
    """The status of the negated value: a bound bounds it from the other side.

    Example:
        >>> mirrored("lower-bound"), mirrored("truncated")
        ('upper-bound', 'truncated')
    """
    return _MIRRORED.get(status, status)


def worse(first: str, second: str) -> str:
    """The more severe of two statuses."""
    return max(first, second, key=_SEVERITY.__getitem__)


def worst(*columns: Sequence[str]) -> tuple[str, ...]:
    """The most severe status of each row of several columns of statuses."""
    return tuple(max(row, key=_SEVERITY.__getitem__) for row in zip(*columns))
