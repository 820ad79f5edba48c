"""The content of `run.json`: what was asked for, of what, when, with which versions, and what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import theodolite
from theodolite.errors import InputError

if TYPE_CHECKING:
    import torch

    from theodolite.runs.settings import Setting

__all__ = [
    "FORMAT",
    "STATES",
    "differences",
    "fingerprint",
    "is_run",
    "machine",
    "notes_of",
    "now",
    "read_record",
    "validated",
    "versions",
]

FORMAT = 2
"""Version of the run folder's layout."""

STATES = ("running", "interrupted", "complete")
"""How far a run is, by its record."""

_UNIT = re.compile(r"[\w+-][\w.+@,=-]{0,199}")
"""Ids of units, which become file names: no separator, no leading dot."""

_ALWAYS: Mapping[str, type] = {
    "kind": str,
    "theodolite": str,
    "command": str,
    "status": str,
    "configuration": str,
    "created": str,
    "settings": dict,
    "units": list,
    "failed": list,
    "messages": dict,
    "quantities": dict,
    "sittings": list,
}
_WHERE_PRESENT: Mapping[str, type] = {
    "arguments": dict,
    "content": dict,
    "self_check": dict,
    "data": dict,
    "model": dict,
    "effort": dict,
    "left_out": list,
    "shard": dict,
    "batch": int,
}
"""Entries that not every kind of run has, but whose readers are the same for all."""

_LARGEST = 512 * 2**20
"""Bytes of a `run.json` that is read: more than any run of a million images, and no device without an end."""


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of everything that decides numbers or files."""
    known = {"python": platform.python_version(), "theodolite": theodolite.__version__}
    for package in ("torch", "numpy", "diffusers", "safetensors", "pyarrow", "pillow"):
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return known


def machine(device: torch.device | None) -> dict[str, Any]:
    """Where a run was made; nothing that names its owner."""
    import torch

    accelerator = torch.cuda.get_device_name(device) if device is not None and device.type == "cuda" else None
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device or "cpu"),
        "accelerator": accelerator,
        "byteorder": sys.byteorder,
    }


def fingerprint(value: Any) -> str:
    """A hash of anything that JSON holds, the same for equal content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def plain(value: Any) -> Any:
    """The value with the types of JSON: a number that does not exist is None."""
    return json.loads(json.dumps(_finite(value), default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value


def differences(settings: Sequence[Setting], stored: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What separates the configurations of two records of a kind, one phrase a difference; empty when they agree."""
    measuring = [s.name for s in settings if s.role == "measures"]
    pairs = [("theodolite", stored.get("theodolite"), here["theodolite"])]
    old, new = stored.get("settings") or {}, here["settings"]
    pairs += [(name, old.get(name), new.get(name)) for name in measuring]
    phrases = [f"{name} {_shown(a)} there, {_shown(b)} here" for name, a, b in pairs if a != b]
    return [*phrases, *_of_content(stored.get("content") or {}, here["content"])]


def _of_content(stored: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The parts of the record that differ, in words; of images, how many."""
    phrases = []
    for name in sorted({*stored, *here}):
        old, new = stored.get(name), here.get(name)
        if old == new:
            continue
        if name == "images" and isinstance(old, Mapping) and isinstance(new, Mapping):
            phrases.append(_of_images(old, new))
        else:
            phrases.append(f"another {name.replace('_', ' ')}")
    return phrases


def _of_images(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    counts = {
        "missing here": len(old.keys() - new.keys()),
        "not there": len(new.keys() - old.keys()),
        "changed": sum(old[sample] != new[sample] for sample in old.keys() & new.keys()),
    }
    return f"images {', '.join(f'{count} {what}' for what, count in counts.items() if count)}"


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def read_record(path: Path) -> dict[str, Any]:
    """The content of a run folder's `run.json`, as far as every kind of run has it.

    Raises:
        InputError: the folder is missing, holds no run, one of another layout, or a damaged one.
    """
    from theodolite.runs.tables import regular

    file = path / "run.json"
    if not regular(file):
        raise InputError(
            f"run folder expected at {path}, got {_instead(path, file)}; make one with `theodolite survey`"
        )
    if file.stat().st_size > _LARGEST:
        raise InputError(f"{file} expected below {_LARGEST:,} bytes, got {file.stat().st_size:,}; it is no run")
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is not readable as JSON ({error}); make the run again in another folder") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{file} expected to hold a run of format {FORMAT}, got another; use the version that made it")
    return validated(record, file)


def validated(record: dict[str, Any], file: Path, requires: Mapping[str, type] = _ALWAYS) -> dict[str, Any]:
    """The record, if it has these keys with these types.

    Raises:
        InputError: it lacks one, or one holds something else.
    """
    optional = _WHERE_PRESENT if requires is _ALWAYS else {}
    for key, kind in {**requires, **optional}.items():
        value: Any = record
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if not isinstance(value, kind) and not (value is None and key in optional):
            raise InputError(
                f"broken {file}: `{key}` expected to be a {kind.__name__}, got {str(value)[:60]!r}; make the run again "
                "in another folder"
            )
    if requires is _ALWAYS:
        _check_lists(record, file)
    return record


def _instead(path: Path, file: Path) -> str:
    """What is there instead of a run."""
    try:
        if file.is_symlink() or file.exists():
            return "a run.json that is no regular file"
        return "a folder without run.json" if path.is_dir() else "a file" if path.exists() else "nothing there"
    except OSError as error:  # a name that is too long
        return str(error.strerror).lower()


def _check_lists(record: Mapping[str, Any], file: Path) -> None:
    bad = [unit for unit in record["units"] if not is_unit(unit)]
    if bad:
        raise InputError(f"broken {file}: ids of units expected as plain words, got {str(bad[0])[:60]!r}")
    if record["status"] not in STATES:
        raise InputError(f"broken {file}: `status` expected to be one of {', '.join(STATES)}, got {record['status']!r}")
    data = record.get("data") or {}
    tables: dict[str, tuple[Any, dict[str, Any]]] = {
        "failed": (record["failed"], {"unit": (str, type(None)), "what": (str, type(None)), "reason": str}),
        "sittings": (record["sittings"], {"units": int, "seconds": (int, float)}),
        "left_out": (record.get("left_out") or [], {"what": str, "reason": str}),
        "data.files": (data.get("files") or [], {}),
        "data.skipped": (data.get("skipped") or [], {"file": str, "reason": str}),
    }
    for name, (entries, columns) in tables.items():
        if not isinstance(entries, list) or not all(_is_row(entry, columns) for entry in entries):
            raise InputError(
                f"broken {file}: entries of `{name}` expected to be tables{' with ' if columns else ''}"
                f"{', '.join(columns)}; make the run again in another folder"
            )
    for name, kind in (("messages", str), ("quantities", dict)):
        if not all(isinstance(entry, kind) for entry in record[name].values()):
            raise InputError(f"broken {file}: entries of `{name}` expected to be of type {kind.__name__}")


def _is_row(entry: Any, columns: Mapping[str, Any]) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(name), kind) for name, kind in columns.items())


def notes_of(record: Mapping[str, Any]) -> list[str]:
    """What a run says of its images and its models: what was drawn and passed over, how a model was read."""
    models = [record.get("model"), *(record.get("models") or [])]
    known = [model for model in models if isinstance(model, Mapping)]
    named = [f"{model.get('name')}: {note}" for model in known for note in _entries(model, "notes")]
    return [*(str(note) for note in _entries(record.get("data") or {}, "notes")), *named]


def _entries(table: Mapping[str, Any], name: str) -> list[Any]:
    """A list in a record that others may have written; empty where it is none."""
    return entries if isinstance(entries := table.get(name), list) else []


def is_run(path: Any) -> bool:
    """Whether this is the path of a folder that holds a run, whole or damaged."""
    return isinstance(path, str | Path) and (Path(path) / "run.json").is_file()


def is_unit(unit: Any) -> bool:
    """Whether this can be the id of a unit, which becomes a part of file names."""
    return isinstance(unit, str) and _UNIT.fullmatch(unit) is not None


def timing(sittings: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of all sittings."""
    return round(sum(float(entry.get("seconds") or 0) for entry in sittings), 3)
