"""The one way to conduct an experiment: check, hold the folder, then look at what is there, measure, store, finish."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import theodolite
from theodolite.errors import DiskError, InputError, in_one_line, path_of
from theodolite.loggers import check_log, opened_logger
from theodolite.runs.batches import Batch, batch_size, batches
from theodolite.runs.engine import Answer, Engine, Job, check_workers
from theodolite.runs.engines import check_named, engine_of
from theodolite.runs.experiment import Experiment
from theodolite.runs.finishing import finished
from theodolite.runs.folder import RunFolder
from theodolite.runs.measuring import (
    Progress,
    argument_words,
    command_line,
    configuration_of,
    family_of_kind,
    opened,
    prepared,
    stamp_of,
    teller,
    word_of,
)
from theodolite.runs.piece import Piece
from theodolite.runs.record import FORMAT, differences, machine, now, plain, read_record, versions
from theodolite.runs.registry import experiment_of, read_run
from theodolite.runs.run import Run, schema_of
from theodolite.runs.self_checks import self_checked
from theodolite.runs.sharding import Shard
from theodolite.runs.tables import read_rows

__all__ = ["conduct", "forecast"]


def conduct(
    experiment: type[Experiment],
    arguments: Sequence[Any],
    out: Any,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    engine: Engine | str = "local",
    shard: Any = None,
    cache: bool = True,
    log: Any = None,
    **given: Any,
) -> Run:
    """Measure every unit of an experiment and store it as it is made.

    Called again with the same settings it goes on where it stopped, whatever stopped it; a complete run is left as it
    is, to the byte. The folder is held from before the first look at what is in it until the end.

    Args:
        experiment: the kind.
        arguments: what it is about, in the order of `Experiment.arguments`.
        out: the run folder: new, empty, or one of the same configuration.
        progress: called at the start, and as units are finished.
        workers: processes that measure units, one thread and one model each; the numbers do not depend on it. Of this
            machine 1 by default, which is this process itself, with its own threads; of a Ray cluster as many as it has
            room for. Others need a model that is named, not given as an object.
        engine: ``local``, ``ray``, or an engine: `theodolite.runs.OnRay` says which cluster and how many GPUs.
        shard: ``I/N`` for every N-th unit alone, from the I-th; `theodolite.runs.merge` makes one run of the parts.
        cache: whether a self-check of the derivatives that passed before is taken for this run too, see
            `theodolite.runs.self_checks`.
        log: where the results of the complete run go too: ``tensorboard:FOLDER``, ``wandb:PROJECT``,
            ``trackio:PROJECT`` or an object, see `theodolite.loggers.check_log`.
        given: settings by name.

    Raises:
        InputError: before long work starts, when anything cannot be used or the folder holds another run.
        DiskError: the disk is full or refuses; what is finished is kept.
        KeyboardInterrupt: on Ctrl-C, once what is finished is merged and the run says that it was interrupted.
        RuntimeError: not one unit could be measured.
    """
    work = prepared(experiment, arguments, given)
    work.uses_cache = cache
    folder = RunFolder(path_of(out, "the run folder"), schema_of(experiment))
    folder.check()
    part = None if shard is None else Shard.of_text(shard)
    count = None if workers is None else check_workers(workers)
    chosen = engine_of(engine, count)
    if chosen.elsewhere:
        check_named(work)
    check_log(log)
    if log is not None and part is not None:
        raise InputError("`log` belongs to a whole run, and --shard measures a part; log when the parts are merged")
    with chosen.ready(work, count), folder.held():
        run = _Conducted(work, folder, progress or (lambda done, total, what: None), chosen, count, part).run()
    if log is not None:
        _send(run, log)
    return run


def _send(run: Run, log: Any) -> None:
    """Send a run to a logger; whatever fails there, the run is whole and stays."""
    from theodolite.report.logged import log_run

    try:
        with opened_logger(log) as logger:
            log_run(run, logger)
    except Exception as error:
        raise InputError(
            f"the run is {run.status} in {run.path}, but could not be logged ({in_one_line(error)}); the same command "
            "logs it again and measures nothing"
        ) from error


def forecast(experiment: type[Experiment], arguments: Sequence[Any], **given: Any) -> Mapping[str, Any]:
    """What `conduct` would cost with the same arguments; writes nothing.

    Raises:
        InputError: whatever `conduct` would refuse, or this experiment cannot tell.
    """
    work = opened(prepared(experiment, arguments, given))
    costs = work.forecast()
    if costs is None:
        raise InputError(
            f"the cost of `theodolite {experiment.kind}` cannot be told before it runs; leave out --dry-run"
        )
    return costs


class _Conducted:
    """An experiment in a folder that is held."""

    def __init__(
        self,
        work: Experiment,
        folder: RunFolder,
        progress: Progress,
        engine: Engine,
        workers: int | None,
        shard: Shard | None,
    ) -> None:
        self.work, self.folder, self.progress = work, folder, progress
        self.engine, self.workers, self.shard = engine, workers, shard
        self.kind = type(work)
        self.units: list[str] = []
        self.failed: list[dict[str, Any]] = []
        self.last_error: BaseException | None = None

    def run(self) -> Run:
        """Compare with what is there, measure what is missing, and finish."""
        stored = read_record(self.folder.path) if (self.folder.path / "run.json").exists() else None
        if stored is not None and family_of_kind(experiment_of(stored["kind"])) != family_of_kind(self.kind):
            raise InputError(
                f"{self.folder.path} holds a run of `theodolite {stored['kind']}`, not of `theodolite "
                f"{self.work.kind}`; give another --out"
            )
        opened(self.work)
        self.units = [*self.work.units]
        self.size = batch_size(self.work.together, len(self.units))
        if stored is not None:  # also on another device: what is together decides last digits
            self.size = max(1, int(stored.get("batch") or 1))
        record = self._record()
        if self.shard is not None:
            record |= self._part()
        if stored is not None:
            self._refuse_another(stored, record)
        pending = self._pending(record["configuration"])
        if stored is not None and not pending and self._is_as_asked(stored, record):
            return read_run(self.folder.path)
        return self._continued(stored, record, pending)

    def _continued(self, stored: dict[str, Any] | None, record: dict[str, Any], pending: list[str]) -> Run:
        old = stored or {}
        record |= {name: old[name] for name in ("created", "self_check") if name in old}
        if "self_check" not in record and (subject := self.work.checked_map()) is not None:
            record["self_check"] = self_checked(*subject, cache=self.work.uses_cache).as_dict()
        sitting: dict[str, Any] = {"started": now(), "theodolite": theodolite.__version__, "versions": versions()}
        sitting |= {"machine": machine(self.work.device), "workers": self.workers or 1, "units": 0, "seconds": 0.0}
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
        if len(pending) == len(self.failed) == len(self.units):
            self._finish(record, "interrupted")
            raise RuntimeError(f"nothing could be measured; the first: {self.failed[0]['reason']}") from self.last_error
        return self._finish(record, "complete")

    def _record(self) -> dict[str, Any]:
        settings = {setting.name: self.work.given[setting.name] for setting in self.work.settings}
        arguments = [
            word_of(value) if not isinstance(value, list | tuple) else [word_of(item) for item in value]
            for value in (self.work.given[argument.name] for argument in self.work.arguments)
        ]
        content = plain(self.work.content())
        return plain(
            {
                "format": FORMAT,
                "kind": self.work.kind,
                "theodolite": theodolite.__version__,
                "command": self.command(settings),
                "created": now(),
                "arguments": dict(zip((argument.name for argument in self.work.arguments), arguments)),
                "settings": settings,
                "configuration": configuration_of(self.work, content),
                "content": content,
                **self.work.record(),
                "units": self.units,
                **({"batch": self.size} if self.size > 1 else {}),
                "failed": [],
                "messages": {},
                "quantities": {},
            }
        )

    def _part(self) -> dict[str, Any]:
        """What the record of a part says: its units, and all of them for the merge."""
        assert self.shard is not None
        all_units = self.units
        dependent = next((unit for unit in all_units if self.work.needs(unit)), None)
        if dependent is not None:
            raise InputError(
                f"--shard cannot part a run of `theodolite {self.work.kind}`: {dependent} builds on "
                f"{self.work.needs(dependent)[0]}; leave it out"
            )
        self.units = self.shard.units(all_units, self.size)
        return {"units": self.units, "shard": {"index": self.shard.index, "of": self.shard.of, "units": all_units}}

    def command(self, settings: Mapping[str, Any]) -> str:
        """The command line that repeats, and so resumes, this run."""
        part = [] if self.shard is None else ["--shard", str(self.shard)]
        more = [*part, "--out", str(self.folder.path)]
        return command_line(self.work.kind, argument_words(self.work), self.work.settings, settings, more)

    def _refuse_another(self, stored: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        if stored["configuration"] != here["configuration"]:
            phrases = "; ".join(differences(self.kind.settings, stored, here)) or "it was changed by hand"
            raise InputError(
                f"{self.folder.path} holds a run of another configuration ({phrases}); give another --out, or repeat "
                f"the command of that run to go on with it: {stored['command']}"
            )
        if stored.get("shard") != here.get("shard"):
            raise InputError(
                f"{self.folder.path} holds another part of this run; give every --shard an --out of its own, and merge "
                "them with `theodolite merge`"
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
        complete = notes.keys() - self.folder.without_arrays()
        done = {
            unit
            for unit in self.units
            if unit in complete and notes[unit].get("stamp") == stamp_of(self.work, unit, configuration)
        }
        return [unit for unit in self.units if unit not in done]

    def _is_as_asked(self, stored: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
        """Whether nothing is left to do: what judges is as it was, and the run is whole."""
        judging = [setting.name for setting in self.work.settings if setting.role == "judges"]
        same = all(stored["settings"].get(name) == record["settings"][name] for name in judging)
        same = same and all(stored.get(name) == record[name] for name in self.work.judging)
        return same and stored["status"] == "complete" and stored["units"] == record["units"]

    def _measure(self, record: dict[str, Any], pending: Sequence[str]) -> None:
        """Batches first, then, one by one, the units that could not be measured with others."""
        self.progress(len(self.units) - len(pending), len(self.units), "")
        alone = [*pending]
        names = batches(self.work.units, pending, self.size)
        if names != alone:
            self._measure_each(record, [name for name in names if Batch.of_name(name)], len(self.units) - len(pending))
            alone = self._pending(record["configuration"])
            record["sittings"][-1]["units"] = len(pending) - len(alone)
        self._measure_each(record, alone, len(self.units) - len(alone))

    def _measure_each(self, record: dict[str, Any], names: Sequence[str], done: int) -> None:
        """Have the engine measure batches, or units alone."""
        if not names:
            return

        def hear(answer: Answer) -> None:
            nonlocal done
            if answer.what is not None:
                teller(self.progress, done, len(self.units), answer.unit)(answer.what)
            else:
                done = self._settle(record, answer, done)

        self.engine.measure(self._job(record, names), hear)
        order = {name: index for index, name in enumerate(names)}
        self.failed.sort(key=lambda entry: order.get(entry["unit"], -1))

    def _job(self, record: dict[str, Any], names: Sequence[str]) -> Job:
        given = [self.work.given[argument.name] for argument in self.work.arguments]
        installed = versions()
        task = {
            "kind": self.work.kind,
            "arguments": plain(given) if self.engine.elsewhere else [],
            "inventory": self.work.inventory() if self.engine.elsewhere else None,
            "versions": {name: installed[name] for name in ("theodolite", "torch")},
            "settings": record["settings"],
            "configuration": record["configuration"],
            "check": record.get("self_check") or {},
            "threads": 1,
        }
        return Job(self.work, self.folder, names, self._piece, task, self.workers, record["sittings"][-1])

    def _settle(self, record: dict[str, Any], answer: Answer, done: int) -> int:
        """Keep what came of a batch or a unit; how many units are done now."""
        batch = Batch.of_name(answer.unit)
        if batch is not None:
            stored = 0 if answer.reason else len(batch.chosen)
            record["sittings"][-1]["units"] += stored
            self.progress(done + stored, len(self.units), self.work.units[batch.chosen[-1]])
            return done + stored
        if answer.reason is None:
            record["sittings"][-1]["units"] += 1
        else:
            self.failed.append({"unit": answer.unit, "what": None, "reason": answer.reason})
            self.last_error = answer.error or (InputError if answer.is_input else RuntimeError)(answer.reason)
        self.progress(done + 1, len(self.units), answer.unit)
        return done + 1

    def _piece(self, unit: str) -> Piece:
        return read_run(self.folder.path).piece(unit)

    def _finish(self, record: dict[str, Any], status: str) -> Run:
        return finished(self.kind, self.folder, record, status, self.failed)
