"""The result every estimator returns: a value, its standard error, what it cost and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from typing import Any, cast, overload

import torch
from torch import Tensor

from theodolite.estimates.shown import Shown
from theodolite.estimates.statuses import BOUNDS, NOT_NUMBERS, STATUSES, mirrored, worse

__all__ = ["Estimate", "joined"]

_NO_NUMBER = "a value or its error came out as NaN or infinite"
_SHOWN = 6
"""Entries that `repr` prints; more do not fit on a line."""


@dataclass(frozen=True, init=False, repr=False)
class Estimate(Shown):
    """Numbers of any shape with their errors: one scalar, one entry a latent, a map, a table.

    `value ± 1.96 stderr` is a 95 % interval: where the standard error itself was estimated from few draws it is
    widened by Student's quantile (`student_mean`), and where an algorithm was cut short its bias is added in
    quadrature. Where the interval is not symmetric it stands in `ends`.

    An entry whose value or standard error is NaN or infinite is never ``ok``: at construction its status becomes
    ``undetermined``, as a survey of a thousand images should not end at the one that overflows. A bound keeps its
    status if only its width is infinite.

    Args:
        value: any shape, 0-d included.
        stderr: standard error, the shape of `value`; zero where the value is exact up to rounding.
        passes: model passes spent on one entry (a JVP or a VJP counts one, as does a forward evaluation).
        n: sample size behind the standard error (probes, directions or neighbours); 1 for a deterministic value.
        statuses: one word an entry in row-major order, or one word for all; ``ok`` by default.
        message: what to know when a status is not ``ok``, in a sentence.
        method: how it was computed, e.g. ``dense`` or ``golub-kahan``.
        parts: other quantities from the same computation, by name.
        ends: both ends of the 95 % interval, in the shape of `value`, where these are not `value ± 1.96 stderr`.

    Attributes:
        statuses: a flat tuple, one word an entry in row-major order.

    Raises:
        ValueError: shapes that differ, another number of statuses, or a word that is no status.

    Example:
        >>> gains = Estimate(torch.tensor([1.0, float("inf")]), torch.tensor([0.1, 0.2]), passes=2, n=4)
        >>> gains.statuses, gains[0].item()
        (('ok', 'undetermined'), 1.0)
    """

    value: Tensor
    stderr: Tensor
    passes: int
    n: int
    statuses: tuple[str, ...]
    message: str
    method: str
    parts: Mapping[str, Estimate]
    ends: tuple[Tensor, Tensor] | None

    def __init__(
        self,
        value: Tensor,
        stderr: Tensor,
        passes: int,
        n: int,
        statuses: Sequence[str] | str = (),
        message: str = "",
        method: str = "",
        parts: Mapping[str, Estimate] | None = None,
        ends: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        broadcast_statuses = _broadcast(statuses, value.numel())
        _check(value, stderr, broadcast_statuses, ends)
        broadcast_statuses, spoilt = _without_silent_nan(value, stderr, broadcast_statuses, ends)
        fields = {
            "value": value,
            "stderr": stderr,
            "passes": passes,
            "n": n,
            "statuses": broadcast_statuses,
            "method": method,
        }
        fields |= {"message": message or (_NO_NUMBER if spoilt else ""), "parts": parts or {}, "ends": ends}
        for name, content in fields.items():
            object.__setattr__(self, name, content)

    @classmethod
    def of(
        cls,
        value: float | Tensor,
        stderr: float | Tensor = 0.0,
        *,
        n: int = 1,
        passes: int = 0,
        statuses: Sequence[str] | str = (),
        message: str = "",
        method: str = "",
        parts: Mapping[str, Estimate] | None = None,
        ends: tuple[float | Tensor, float | Tensor] | None = None,
    ) -> Estimate:
        """An estimate of numbers or tensors; standard error and ends take the shape of the value.

        Example:
            >>> Estimate.of(0.5, 0.1, n=20).interval()[1].item()
            0.696
        """
        like = value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
        both = None if ends is None else (_shaped(ends[0], like), _shaped(ends[1], like))
        return cls(like, _shaped(stderr, like), passes, n, statuses, message, method, parts, both)

    @classmethod
    def between(cls, value: float, low: float, high: float, *, n: int = 1, method: str = "") -> Estimate:
        """A scalar with the ends of its interval; the standard error reaches the farther end.

        An interval with an end that is unknown (NaN) leaves the value ``undetermined``.
        """
        return cls.of(value, max(high - value, value - low) / 1.96, n=n, method=method, ends=(low, high))

    @classmethod
    def exact(cls, values: Tensor) -> Estimate:
        """Numbers without an error, ``undefined`` where they are none.

        Example:
            >>> Estimate.exact(torch.tensor([1.0, float("nan")])).statuses
            ('ok', 'undefined')
        """
        statuses = tuple("ok" if is_number else "undefined" for is_number in values.isfinite().flatten().tolist())
        return cls(values, torch.zeros_like(values), 0, 1, statuses)

    @property
    def shape(self) -> torch.Size:
        """The shape of `value`."""
        return self.value.shape

    @property
    def status(self) -> str:
        """The worst of `statuses`."""
        return reduce(worse, set(self.statuses), "ok")

    @property
    def low(self) -> Tensor:
        """The lower end of the 95 % interval."""
        return self.interval()[0]

    @property
    def high(self) -> Tensor:
        """The upper end of the 95 % interval."""
        return self.interval()[1]

    def interval(self) -> tuple[Tensor, Tensor]:
        """The 95 % interval: `ends` or `value ± 1.96 stderr`; for a bound from the value to the end of its width."""
        low, high = self.ends or (self.value - 1.96 * self.stderr, self.value + 1.96 * self.stderr)
        if BOUNDS.keys().isdisjoint(self.statuses):
            return low, high
        return torch.where(self._is("lower"), self.value, low), torch.where(self._is("upper"), self.value, high)

    def scaled(self, factor: float | Tensor) -> Estimate:
        """This estimate times an exact number, of either sign, for each entry; its parts are left behind.

        Where the factor is negative, a bound bounds from the other side.

        Example:
            >>> Estimate.of(2.0, 0.5).scaled(-3.0)
            Estimate(-6 ± 1.5, passes=0, n=1, status='ok')
        """
        by = _shaped(factor, self.value)
        ends = None
        if self.ends is not None:
            both = torch.stack([by * end for end in self.ends])
            ends = both.amin(0), both.amax(0)
        turned = (by < 0).flatten().tolist()
        statuses = tuple(mirrored(own) if is_turned else own for own, is_turned in zip(self.statuses, turned))
        value, stderr = by * self.value, by.abs() * self.stderr
        return replace(self, value=value, stderr=stderr, statuses=statuses, parts={}, ends=ends)

    def widened(self, error: float | Tensor) -> Estimate:
        """This estimate with another, independent standard error in quadrature, in both ends of its interval too.

        Example:
            >>> Estimate.of(2.0, 3.0).widened(4.0)
            Estimate(2 ± 5, passes=0, n=1, status='ok')
        """
        more = _shaped(error, self.value)
        ends = None
        if self.ends is not None:
            below, above = (torch.hypot(self.value - end, 1.96 * more) for end in self.ends)
            ends = self.value - below, self.value + above
        return replace(self, stderr=torch.hypot(self.stderr, more), ends=ends)

    def is_number(self) -> Tensor:
        """Where the value may be ranked, averaged or drawn, in the shape of `value`."""
        return self._mask(status not in NOT_NUMBERS for status in self.statuses)

    def item(self) -> float:
        """The value of the only entry.

        Raises:
            ValueError: more entries than one, or none.
        """
        if self.value.numel() != 1:
            raise ValueError(f"one entry expected, got shape {tuple(self.shape)}; index it first")
        return float(self.value)

    def entry(self, place: int = 0) -> dict[str, Any]:
        """`value`, `stderr`, `n` and `status` of the entry at a place in row-major order, as a table's row."""
        value, stderr = float(self.value.flatten()[place]), float(self.stderr.flatten()[place])
        return {"value": value, "stderr": stderr, "n": self.n, "status": self.statuses[place]}

    def number_rows(self) -> list[dict[str, Any]]:
        """Every entry, then those of the parts by name, with its place `axis_0, axis_1, ...` in the shape."""
        deepest = max(part.value.ndim for part in (self, *self.parts.values()))
        own = self._rows("", deepest)
        return [*own, *(row for name, part in self.parts.items() for row in part._rows(name, deepest))]

    def headline_rows(self) -> list[dict[str, Any]]:
        """Every entry; parts are asked for by name."""
        return self._rows("", self.value.ndim)

    def _rows(self, name: str, axes: int) -> list[dict[str, Any]]:
        value, stderr, low, high = (
            part.detach().flatten().tolist() for part in (self.value, self.stderr, *self.interval())
        )
        return [
            {
                **{f"axis_{axis}": own[axis] if axis < len(own) else None for axis in range(axes)},
                **{"quantity": name, "value": value[k], "stderr": stderr[k], "low": low[k], "high": high[k]},
                **{"n": self.n, "passes": self.passes, "status": self.statuses[k]},
            }
            for k, own in enumerate(product(*map(range, self.shape)))
        ]

    def named(self, name: str) -> dict[str, Estimate]:
        """This estimate under `name`, and its parts under theirs."""
        return {name: replace(self, parts={}), **self.parts}

    @overload
    def __getitem__(self, key: str) -> Estimate: ...

    @overload
    def __getitem__(self, key: int | slice | tuple[int | slice, ...] | Tensor) -> Estimate: ...

    def __getitem__(self, key: Any) -> Estimate:
        """A part by its name, or some of the entries by an index of `value`; parts of the same shape follow it."""
        if not isinstance(key, str):
            return self._entries(key)
        if key not in self.parts:
            raise KeyError(f"no part {key!r}; this estimate has {sorted(self.parts)}")
        return self.parts[key]

    def _entries(self, key: Any) -> Estimate:
        places = torch.arange(self.value.numel()).reshape(self.shape)
        chosen = places[key.cpu() if isinstance(key, Tensor) else key].flatten().tolist()
        parts = {name: part._entries(key) if part.shape == self.shape else part for name, part in self.parts.items()}
        ends = None if self.ends is None else (self.ends[0][key], self.ends[1][key])
        statuses = tuple(self.statuses[index] for index in chosen)
        return replace(self, value=self.value[key], stderr=self.stderr[key], statuses=statuses, parts=parts, ends=ends)

    def _is(self, side: str) -> Tensor:
        return self._mask(BOUNDS.get(status) == side for status in self.statuses)

    def _mask(self, flags: Any) -> Tensor:
        return torch.tensor(list(flags), dtype=torch.bool, device=self.value.device).reshape(self.shape)

    def __repr__(self) -> str:
        values, errors = (part.detach().flatten()[:_SHOWN].tolist() for part in (self.value, self.stderr))
        rows = ", ".join(f"{value:.6g} ± {error:.2g}" for value, error in zip(values, errors))
        more = ", ..." if self.value.numel() > _SHOWN else ""
        shape = f", shape={tuple(self.shape)}" if self.value.ndim > 1 else ""
        parts = f", parts={sorted(self.parts)}" if self.parts else ""
        numbers = f"[{rows}{more}]" if self.value.ndim else rows
        return f"Estimate({numbers}{shape}, passes={self.passes}, n={self.n}, status={self.status!r}{parts})"


def joined(estimates: Sequence[Estimate]) -> Estimate:
    """One estimate of all entries, from estimates of groups of them, along the first axis; scalars count as one entry.

    Raises:
        ValueError: no estimates.
    """
    if not estimates:
        raise ValueError("joined expected at least one estimate, got none")
    first = estimates[0]
    both = None
    if any(estimate.ends for estimate in estimates):
        both = (_together([one.low for one in estimates]), _together([one.high for one in estimates]))
    return Estimate(
        _together([estimate.value for estimate in estimates]),
        _together([estimate.stderr for estimate in estimates]),
        max(estimate.passes for estimate in estimates),
        first.n,
        sum((estimate.statuses for estimate in estimates), ()),
        next((estimate.message for estimate in estimates if estimate.message), ""),
        first.method,
        {name: joined([estimate.parts[name] for estimate in estimates]) for name in first.parts},
        both,
    )


def _together(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([torch.atleast_1d(tensor) for tensor in tensors])


def _shaped(number: float | Tensor, like: Tensor) -> Tensor:
    """A number or tensor in the shape, dtype and place of another."""
    dtype = like.dtype if like.is_floating_point() else torch.float64
    return torch.as_tensor(number, dtype=dtype, device=like.device).expand(like.shape).clone()


def _broadcast(statuses: Sequence[str] | str, count: int) -> tuple[str, ...]:
    if isinstance(statuses, str):
        return (statuses,) * count
    return tuple(statuses) if statuses else ("ok",) * count


def _check(value: Tensor, stderr: Tensor, statuses: tuple[str, ...], ends: tuple[Tensor, Tensor] | None) -> None:
    shapes = {value.shape, stderr.shape, *(end.shape for end in ends or ())}
    if len(shapes) > 1 or len(statuses) != value.numel():
        raise ValueError(
            f"Estimate expects value, stderr and ends of one shape and one status an entry, got shapes "
            f"{sorted(map(tuple, shapes))} and {len(statuses)} statuses"
        )
    unknown = set(statuses) - set(STATUSES)
    if unknown:
        raise ValueError(f"Estimate status expected to be one of {list(STATUSES)}, got {sorted(unknown)}")


def _without_silent_nan(
    value: Tensor, stderr: Tensor, statuses: tuple[str, ...], ends: tuple[Tensor, Tensor] | None
) -> tuple[tuple[str, ...], bool]:
    """The statuses with ``undetermined`` for every entry that claims a number and has none, and whether any did."""
    known = value.detach().isfinite()
    for end in ends or ():
        known = known & ~end.detach().isnan()
    sound = known & stderr.detach().isfinite()
    if bool(sound.all()):
        return statuses, False
    half_open = known & ~stderr.detach().isnan()
    stated = tuple(
        status if is_sound or (status in BOUNDS and is_bounded) else worse(status, "undetermined")
        for status, is_sound, is_bounded in zip(statuses, _flat(sound), _flat(half_open))
    )
    return stated, stated != statuses


def _flat(mask: Tensor) -> list[bool]:
    return cast("list[bool]", mask.flatten().tolist())
