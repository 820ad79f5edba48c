"""The end of a run: its shards merged, how far it is, and what follows from its units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from theodolite.errors import InputError
from theodolite.estimates.quantity import described
from theodolite.runs.experiment import Experiment
from theodolite.runs.folder import RunFolder
from theodolite.runs.piece import without_numbers
from theodolite.runs.record import now
from theodolite.runs.registry import read_run
from theodolite.runs.run import Run
from theodolite.runs.tables import read_rows

__all__ = ["finished"]


def finished(
    kind: type[Experiment],
    folder: RunFolder,
    record: Mapping[str, Any],
    status: str,
    failed: Sequence[Mapping[str, Any]],
) -> Run:
    """Merge, say how far the run is, and derive what follows from it.

    Args:
        kind: the experiment.
        folder: its folder, held.
        record: what `run.json` says, with its units in their order; a shard has ``shard``, and nothing follows from it.
        status: ``complete`` or ``interrupted``.
        failed: units that could not be measured, with the reason.
    """
    units = record["units"]
    folder.merge(units)
    table, notes = read_rows(folder.path, folder.schema)
    mine = {unit: notes[unit] for unit in units if unit in notes}
    parts = [{"unit": unit, **entry} for unit, note in mine.items() for entry in note["failed"]]
    messages = {name: text for note in reversed(mine.values()) for name, text in note["messages"].items()}
    done = {**record, "status": status, "finished": now(), "failed": [*failed, *parts], "messages": messages}
    done["quantities"] = _described(kind, table["quantity"].unique().to_pylist())
    if isinstance(plan := record.get("plan"), Mapping):
        done["plan"] = {**plan, "took": _taken(mine)}
    if record.get("shard"):
        folder.write_record(done)
        return read_run(folder.path)
    # Not complete until what follows from the units is stored too: a repetition must not take it for done.
    folder.write_record({**done, "status": "running"})
    return _derived(kind, folder, done)


def _derived(kind: type[Experiment], folder: RunFolder, record: Mapping[str, Any]) -> Run:
    """Write what follows from the finished units; too few of an interrupted run are no error."""
    try:
        derived = kind.derive(read_run(folder.path).without_derived())
    except BaseException as error:
        folder.write_record({**record, "status": "interrupted"})
        if record["status"] == "complete" or not isinstance(error, InputError):
            raise
        return read_run(folder.path)
    folder.write_derived(without_numbers(derived.rows), derived.tables, derived.pictures)
    quantities = _described(kind, (row["quantity"] for row in derived.rows))
    messages = {**record["messages"], **derived.messages}
    added: dict[str, Any] = {"quantities": {**record["quantities"], **quantities}, "messages": messages}
    if derived.left_out:
        added["left_out"] = [*(record.get("left_out") or []), *map(dict, derived.left_out)]
    folder.write_record({**record, **added})
    return read_run(folder.path)


def _taken(notes: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Model passes that finished units took, on average and at most."""
    passes = [note["about"]["passes"] for note in notes.values() if isinstance(note["about"].get("passes"), int)]
    return {"passes_a_sample": sum(passes) / len(passes), "most": max(passes)} if passes else {}


def _described(kind: type[Experiment], names: Iterable[str]) -> dict[str, dict[str, str]]:
    quantities = described(kind.quantities(), dict.fromkeys(names))
    return {name: {k: v for k, v in asdict(own).items() if k != "name"} for name, own in quantities.items()}
