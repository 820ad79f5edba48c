"""The one way to conduct an experiment: check, hold the folder, then look at what is there, measure, store, finish."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import theodolite
from theodolite.errors import DiskError, InputError, in_one_line, path_of, refusing
from theodolite.estimates.quantity import described
from theodolite.runs.experiment import Experiment, Sitting
from theodolite.runs.folder import RunFolder, read_rows
from theodolite.runs.piece import Piece, doubted, without_numbers
from theodolite.runs.record import FORMAT, differences, fingerprint, machine, now, plain, read_record, versions
from theodolite.runs.registry import experiment_of, read_run
from theodolite.runs.run import Run, schema_of
from theodolite.runs.settings import checked_settings

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.derivatives import SelfCheck
    from theodolite.maps import LatentMap

__all__ = ["Progress", "conduct", "forecast", "measured", "opened", "prepared", "self_checked", "stamp_of", "teller"]

Progress = Callable[[int, int, str], None]
"""Called with (units done, units in all, what is under way); with an empty word at the start."""

_NOT_DIFFERENTIABLE = (
    "cannot be differentiated",
    "it must run at any latent near this one, and in torch operations only (no numpy, no .item())",
)


def conduct(
    experiment: type[Experiment], arguments: Sequence[Any], out: Any, *, progress: Progress | None = None, **given: Any
) -> Run:
    """Measure every unit of an experiment and store it as it is made.

    Called again with the same settings it goes on where it stopped, whatever stopped it; a complete run is left as it
    is, to the byte. The folder is held from before the first look at what is in it until the end.

    Args:
        experiment: the kind.
        arguments: what it is about, in the order of `Experiment.arguments`.
        out: the run folder: new, empty, or one of the same configuration.
        progress: called at the start, and as units are finished.
        given: settings by name.

    Raises:
        InputError: before long work starts, when anything cannot be used or the folder holds another run.
        DiskError: the disk is full or refuses; what is finished is kept.
        KeyboardInterrupt: on Ctrl-C, once what is finished is merged and the run says that it was interrupted.
        RuntimeError: not one unit could be measured.
    """
    work = prepared(experiment, arguments, given)
    folder = RunFolder(path_of(out, "the run folder"), schema_of(experiment))
    folder.check()
    with folder.held():
        return _Conducted(work, folder, progress or (lambda done, total, what: None)).run()


def forecast(experiment: type[Experiment], arguments: Sequence[Any], **given: Any) -> Mapping[str, Any]:
    """What `conduct` would cost with the same arguments; writes nothing.

    Raises:
        InputError: whatever `conduct` would refuse, or this experiment cannot tell.
    """
    work = opened(prepared(experiment, arguments, given))
    told = work.forecast()
    if told is None:
        raise InputError(
            f"the cost of `theodolite {experiment.kind}` cannot be told before it runs; leave out --dry-run"
        )
    return told


def self_checked(map: LatentMap, points: Tensor, name: str) -> SelfCheck:
    """Whether derivatives hold, at the first point where they do; at the last where they hold at none.

    Close to a kink central differences fail although the derivative is right; a wrong derivative is wrong everywhere.

    Args:
        map: of any kind.
        points: a few, `(k, *latent)`.
        name: what the user calls the model.

    Raises:
        InputError: the map cannot be differentiated.
    """
    from theodolite.derivatives import self_check

    with refusing(name, *_NOT_DIFFERENTIABLE):
        for point in points.split(1):
            check = self_check(map, point)
            if check.first_order_holds:
                break
    return check


def prepared(experiment: type[Experiment], arguments: Sequence[Any], given: Mapping[str, Any]) -> Experiment:
    """An experiment with what it is about and its settings, checked as far as that needs no model.

    Raises:
        InputError: something cannot be used.
    """
    named = dict(zip((argument.name for argument in experiment.arguments), arguments, strict=True))
    settings = checked_settings(experiment.settings, given, f"`theodolite {experiment.kind}`")
    return experiment({**named, **settings})


def opened(work: Experiment) -> Experiment:
    """The same experiment with its model loaded.

    Raises:
        InputError: whatever the model raises, in one line.
    """
    with refusing(_name(work), "could not be opened", "mend the model or what it needs"):
        work.open()
    return work


def measured(work: Experiment, unit: str, sitting: Sitting) -> Piece:
    """One unit as it is stored: no NaN is ``ok``, nor what rests on derivatives that were found wrong."""
    piece = work.measure(unit, sitting)
    rows = without_numbers(piece.rows)
    return replace(piece, rows=rows if sitting.first_order_holds else doubted(rows, work.without_derivatives))


def teller(progress: Progress, done: int, total: int, unit: str) -> Callable[[str], None]:
    """Says what is under way in a unit, see `Sitting.tell`."""
    return lambda what: progress(done, total, f"{unit}: {what}" if what else unit)


def stamp_of(work: Experiment, unit: str, configuration: str) -> str:
    """What a finished unit is known by: it is measured again where this is another one."""
    return fingerprint([configuration, unit, plain(work.identity(unit))])


def _name(work: Experiment) -> str:
    """What a user calls the subject: the model where there is an argument of that name, otherwise the first one."""
    if any(argument.name == "model" for argument in work.arguments):
        return _word(work.given["model"])
    words = _argument_words(work)
    return words[0] if words else work.kind


def _family(experiment: type[Experiment]) -> str:
    return experiment.family or experiment.kind


def _argument_words(work: Experiment) -> list[str]:
    """The arguments as the command line has them; a model that was given as an object by its name."""
    values = [work.given[argument.name] for argument in work.arguments]
    flat = [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]
    return [_word(value) for value in flat]


def _word(value: Any) -> str:
    from os import PathLike, fspath

    return fspath(value) if isinstance(value, str | PathLike) else str(getattr(value, "name", type(value).__name__))


class _Conducted:
    """An experiment in a folder that is held."""

    def __init__(self, work: Experiment, folder: RunFolder, progress: Progress) -> None:
        self.work, self.folder, self.progress = work, folder, progress
        self.kind = type(work)
        self.failed: list[dict[str, Any]] = []
        self.last_error: BaseException | None = None

    def run(self) -> Run:
        """Compare with what is there, measure what is missing, and finish."""
        there = read_record(self.folder.path) if (self.folder.path / "run.json").exists() else None
        if there is not None and _family(experiment_of(there["kind"])) != _family(self.kind):
            raise InputError(
                f"{self.folder.path} holds a run of `theodolite {there['kind']}`, not of `theodolite "
                f"{self.work.kind}`; give another --out"
            )
        opened(self.work)
        record = self._record()
        if there is not None:
            self._refuse_another(there, record)
        pending = self._pending(record["configuration"])
        if there is not None and not pending and self._is_as_asked(there, record):
            return read_run(self.folder.path)
        return self._continued(there, record, pending)

    def _continued(self, there: dict[str, Any] | None, record: dict[str, Any], pending: list[str]) -> Run:
        old = there or {}
        record |= {name: old[name] for name in ("created", "self_check") if name in old}
        if "self_check" not in record and (subject := self.work.checked_map()) is not None:
            record["self_check"] = self_checked(*subject).as_dict()
        sitting: dict[str, Any] = {"started": now(), "theodolite": theodolite.__version__, "versions": versions()}
        sitting |= {"machine": machine(self.work.device), "units": 0, "seconds": 0.0}
        record["sittings"] = [*(old.get("sittings") or []), sitting]
        self.folder.forget(pending)
        self.folder.write_record({**record, "status": "running", "finished": None})
        started = time.monotonic()
        try:
            self._measure(record, pending)
        except BaseException:
            sitting |= {"seconds": round(time.monotonic() - started, 3), "finished": now()}
            with suppress(DiskError):
                self._finish(record, "interrupted")
            raise
        sitting |= {"seconds": round(time.monotonic() - started, 3), "finished": now()}
        if len(pending) == len(self.failed) == len(self.work.units):
            self._finish(record, "interrupted")
            raise RuntimeError(f"nothing could be measured; the first: {self.failed[0]['reason']}") from self.last_error
        return self._finish(record, "complete")

    def _record(self) -> dict[str, Any]:
        settings = {setting.name: self.work.given[setting.name] for setting in self.work.settings}
        arguments = [
            _word(value) if not isinstance(value, list | tuple) else [_word(item) for item in value]
            for value in (self.work.given[argument.name] for argument in self.work.arguments)
        ]
        content = plain(self.work.content())
        measuring = {s.name: settings[s.name] for s in self.work.settings if s.role == "measures"}
        decisive = {"kind": _family(self.kind), "theodolite": theodolite.__version__, "settings": measuring}
        return plain(
            {
                "format": FORMAT,
                "kind": self.work.kind,
                "theodolite": theodolite.__version__,
                "command": self.command(settings),
                "created": now(),
                "arguments": dict(zip((argument.name for argument in self.work.arguments), arguments)),
                "settings": settings,
                "configuration": fingerprint({**decisive, "content": content}),
                "content": content,
                **self.work.record(),
                "units": list(self.work.units),
                "failed": [],
                "messages": {},
                "quantities": {},
            }
        )

    def command(self, settings: Mapping[str, Any]) -> str:
        """The command line that repeats, and so resumes, this run."""
        words = ["theodolite", self.work.kind, *_argument_words(self.work)]
        for setting in self.work.settings:
            words += setting.as_words(settings[setting.name])
        return shlex.join([*words, "--out", str(self.folder.path)])

    def _refuse_another(self, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        if there["configuration"] != here["configuration"]:
            phrases = "; ".join(differences(self.kind.settings, there, here)) or "it was changed by hand"
            raise InputError(
                f"{self.folder.path} holds a run of another configuration ({phrases}); give another --out, or repeat "
                f"the command of that run to go on with it: {there['command']}"
            )

    def _pending(self, configuration: str) -> list[str]:
        """Units that are not finished, those that failed among them."""
        _, notes = read_rows(self.folder.path, self.folder.schema)
        foreign = [unit for unit, note in notes.items() if note.get("configuration") != configuration]
        if foreign:
            raise InputError(
                f"{self.folder.path} holds {foreign[0]} of another configuration; delete its files below shards, or "
                "the run, and repeat the command"
            )
        done = {
            unit
            for unit in self.work.units
            if unit in notes and notes[unit].get("stamp") == stamp_of(self.work, unit, configuration)
        }
        return [unit for unit in self.work.units if unit not in done]

    def _is_as_asked(self, there: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
        """Whether nothing is left to do: what judges is as it was, and the run is whole."""
        judging = [setting.name for setting in self.work.settings if setting.role == "judges"]
        same = all(there["settings"].get(name) == record["settings"][name] for name in judging)
        same = same and all(there.get(name) == record[name] for name in self.work.judging)
        return same and there["status"] == "complete" and there["units"] == record["units"]

    def _measure(self, record: Mapping[str, Any], pending: Sequence[str]) -> None:
        total = len(self.work.units)
        self.progress(total - len(pending), total, "")
        for done, unit in enumerate(pending, start=total - len(pending)):
            self._measure_unit(unit, record, done, total)
            self.progress(done + 1, total, unit)

    def _measure_unit(self, unit: str, record: Mapping[str, Any], done: int, total: int) -> None:
        started = time.monotonic()
        tell = teller(self.progress, done, total, unit)
        sitting = Sitting(tell, self._piece, record.get("self_check") or {})
        try:
            piece = measured(self.work, unit, sitting)
        except DiskError:
            raise
        except (Exception, SystemExit) as error:  # the failure of one unit must not cost the others their run
            reason = str(error) if isinstance(error, InputError) else in_one_line(error)
            self.failed.append({"unit": unit, "what": None, "reason": reason})
            self.last_error = error
            return
        notes = {
            "configuration": record["configuration"],
            "stamp": stamp_of(self.work, unit, record["configuration"]),
            "seconds": round(time.monotonic() - started, 3),
            "about": plain(piece.about),
            "failed": [dict(entry) for entry in piece.failed],
            "messages": dict(piece.messages),
        }
        self.folder.write_unit(unit, piece.rows, piece.arrays, piece.pictures, notes)
        record["sittings"][-1]["units"] += 1

    def _piece(self, unit: str) -> Piece:
        return read_run(self.folder.path).piece(unit)

    def _finish(self, record: dict[str, Any], status: str) -> Run:
        """Merge, say how far the run is, and derive what follows from it."""
        self.folder.merge(self.work.units)
        table, notes = read_rows(self.folder.path, self.folder.schema)
        mine = {unit: notes[unit] for unit in self.work.units if unit in notes}
        failed = [{"unit": unit, **entry} for unit, note in mine.items() for entry in note["failed"]]
        messages = {name: text for note in reversed(mine.values()) for name, text in note["messages"].items()}
        done = {**record, "status": status, "finished": now(), "failed": [*self.failed, *failed], "messages": messages}
        done["quantities"] = self._described(table["quantity"].unique().to_pylist())
        # Not complete until what follows from the units is stored too: a repetition must not take it for done.
        self.folder.write_record({**done, "status": "running"})
        return self._derived(done)

    def _derived(self, record: dict[str, Any]) -> Run:
        """Write what follows from the finished units; too few of an interrupted run are no error."""
        try:
            derived = self.kind.derive(read_run(self.folder.path).without_derived())
        except BaseException as error:
            self.folder.write_record({**record, "status": "interrupted"})
            if record["status"] == "complete" or not isinstance(error, InputError):
                raise
            return read_run(self.folder.path)
        self.folder.write_derived(without_numbers(derived.rows), derived.tables, derived.pictures)
        words = self._described(row["quantity"] for row in derived.rows)
        messages = {**record["messages"], **derived.messages}
        added: dict[str, Any] = {"quantities": {**record["quantities"], **words}, "messages": messages}
        if derived.left_out:
            added["left_out"] = [*(record.get("left_out") or []), *map(dict, derived.left_out)]
        self.folder.write_record({**record, **added})
        return read_run(self.folder.path)

    def _described(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        words = described(self.kind.quantities(), dict.fromkeys(names))
        return {name: {k: v for k, v in asdict(own).items() if k != "name"} for name, own in words.items()}
