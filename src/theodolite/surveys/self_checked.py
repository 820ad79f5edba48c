"""Whether the derivatives of a map hold, before a survey rests numbers on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.spectrum.estimate import worse
from theodolite.surveys.measure import described

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.derivatives import SelfCheck
    from theodolite.maps import LatentMap

__all__ = ["DOUBTED", "doubted", "self_checked", "worsened"]

DOUBTED = "undetermined"
"""The best status of a number that rests on derivatives which were found wrong."""


def self_checked(map: LatentMap, points: Tensor, name: str) -> SelfCheck:
    """At the first point where the derivatives hold; at the last where they hold at none.

    Close to a kink central differences fail although the derivative is right; a wrong derivative is wrong everywhere.

    Args:
        map: of any kind.
        points: a few, `(k, *latent)`.
        name: what the user calls the model.

    Raises:
        InputError: the map cannot be differentiated.
    """
    from theodolite.derivatives import self_check

    try:
        for point in points.split(1):
            check = self_check(map, point)
            if check.first_order_holds:
                break
    except InputError:
        raise
    except Exception as error:  # whatever the user's model raises
        raise InputError(
            f"{name} cannot be differentiated ({described(error)}); its map must consist of torch operations"
        ) from error
    return check


def doubted(info: Mapping[str, Any]) -> bool:
    """Whether a run's record says that its derivatives are wrong."""
    return (info.get("self_check") or {}).get("first_order_holds") is False


def worsened(rows: Iterable[Mapping[str, Any]], info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of numbers that rest on derivatives: none is better than `DOUBTED` where these are wrong."""
    if not doubted(info):
        return [dict(row) for row in rows]
    return [{**row, "status": worse(row["status"], DOUBTED)} for row in rows]
