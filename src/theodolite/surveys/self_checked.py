"""Whether the derivatives of a map hold, before a survey rests numbers on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from theodolite.surveys.measure import lowered, refusing

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.derivatives import SelfCheck
    from theodolite.maps import LatentMap

__all__ = ["doubted", "self_checked", "worsened"]


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

    with refusing(name, "cannot be differentiated", "its map must consist of torch operations"):
        for point in points.split(1):
            check = self_check(map, point)
            if check.first_order_holds:
                break
    return check


def doubted(info: Mapping[str, Any]) -> bool:
    """Whether a run's record says that its derivatives are wrong."""
    return (info.get("self_check") or {}).get("first_order_holds") is False


def worsened(rows: Iterable[Mapping[str, Any]], info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of numbers that rest on derivatives: none is better than ``undetermined`` where these are wrong."""
    return lowered(rows) if doubted(info) else [dict(row) for row in rows]
