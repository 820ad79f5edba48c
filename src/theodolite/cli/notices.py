"""What the user should know before reading the numbers of a run: images left out, failures, doubted derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from theodolite.cli import terminal

__all__ = ["caveats", "tell"]

_TOLD = 10
"""Failures that are told one by one."""


def caveats(info: Mapping[str, Any]) -> dict[str, Any]:
    """Of a `run.json`, for the JSON of a verb: `skipped` images, `failed` measurements and the `self_check`."""
    data = info.get("data") or info
    return {
        "skipped": data.get("skipped", []),
        "failed": info.get("failed", []),
        "self_check": info.get("self_check"),
    }


def tell(info: Mapping[str, Any]) -> None:
    """The same in lines on stderr; of many failures the first ones."""
    found = caveats(info)
    for skipped in found["skipped"]:
        terminal.notice(f"skipped {skipped['file']}: {skipped['reason']}")
    for failed in found["failed"][:_TOLD]:
        terminal.notice(f"failed {failed['sample']}, {failed['descriptor'] or 'every descriptor'}: {failed['reason']}")
    if len(found["failed"]) > _TOLD:
        terminal.notice(f"failed {len(found['failed']) - _TOLD} more")
    terminal.warn(info)
