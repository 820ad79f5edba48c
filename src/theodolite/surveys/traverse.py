"""The engine of a traverse: psi, nu and delta at points of a design with coordinates, stored unit by unit."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

import theodolite
from theodolite.descriptors.chart import Chart
from theodolite.descriptors.effort import EFFORTS, Effort
from theodolite.descriptors.groups import group_size
from theodolite.errors import InputError
from theodolite.surveys.measure import rows_at
from theodolite.surveys.plan import closest, verb_command
from theodolite.surveys.progress import Progress, silent
from theodolite.surveys.record import machine, now, versions
from theodolite.surveys.self_checked import self_checked, worsened
from theodolite.surveys.store import FORMAT, RunFolder, read_info, read_rows, refuse_another_kind
from theodolite.surveys.traversed import Traversed, read_traverse, write_tables

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.maps import Autoencoder, LatentMap

__all__ = ["DESCRIPTORS", "Shard", "Work", "checked_settings", "opened", "opened_autoencoder", "run_traverse"]

DESCRIPTORS = ("local_scaling", "local_rank", "local_complexity")
"""Psi, nu and delta."""

_FREE = ("device", "data")
"""Settings that a run may go on without: images are compared by content."""


@dataclass(frozen=True)
class Shard:
    """What is stored of one unit.

    Attributes:
        points: coordinates by the id of a point.
        rows: of all points, each with its `sample`.
        pictures: by the end of their file name.
        failed: descriptors that failed, and why.
    """

    points: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, Image] = field(default_factory=dict)
    failed: list[dict[str, str]] = field(default_factory=list)


class Work(ABC):
    """One kind of traverse, its settings checked and its model opened.

    Attributes:
        over: what is traversed, as the command line has it.
        settings: as in `run.json`.
        defaults: settings that the command line need not repeat.
        words: what the command line has before its options: the model.
        units: what is measured and stored together, in order.
    """

    over: ClassVar[str]
    settings: Mapping[str, Any]
    defaults: ClassVar[Mapping[str, Any]]
    words: Sequence[str]
    units: Sequence[str]

    @property
    @abstractmethod
    def first(self) -> tuple[LatentMap, Tensor]:
        """A map and a few points `(k, *latent)` at which its derivatives are checked."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What decides the numbers beside the settings, for `run.json`; `model` is a part of it."""

    @abstractmethod
    def measured(self, unit: str) -> Shard:
        """Measure one unit."""

    @cached_property
    def effort(self) -> Effort:
        """What the budget stands for, with its first radius alone."""
        found = EFFORTS[self.settings["budget"]]
        return replace(found, radii=found.radii[:1])

    def rows(
        self, map: LatentMap, points: Tensor, samples: Sequence[str], seeds: Sequence[int], shard: Shard, size: float
    ) -> None:
        """Add the rows of psi, nu and delta at points `(n, *latent)` to a unit, in groups that fit in memory.

        Delta's radius is a part of `size`, not of each point's own: with that, it would follow the norm of the points.

        Args:
            map: the map.
            points: where.
            samples: their ids.
            seeds: one a point; points that are compared share theirs.
            shard: what is added to.
            size: root mean square of the entries of a latent, in which the radius is stated; 0 for one.
        """
        together = group_size(map, points, self.effort, None)
        for start in range(0, len(points), together):
            part = slice(start, start + together)
            chart = Chart(map, points[part], generator=seeds[part], effort=self.effort)
            chart.rms = torch.full_like(chart.rms, size or 1.0)
            self.add(shard, chart, samples[part])

    def add(
        self,
        shard: Shard,
        chart: Chart,
        samples: Sequence[str],
        names: Sequence[str] = DESCRIPTORS,
        kind: str = "decoder",
        sigma: float | None = None,
    ) -> None:
        """Add the rows of descriptors of a chart to a unit.

        Args:
            shard: what is added to.
            chart: a map at points.
            samples: their ids.
            names: of descriptors.
            kind: of the map.
            sigma: its noise level.
        """
        found, failed, _ = rows_at(chart, names, chart.seeds.base)
        shard.failed.extend({"sample": samples[0], **one} for one in failed)
        for sample, rows in zip(samples, found):
            shard.rows.extend({"sample": sample, "map": kind, "sigma": sigma, **row} for row in rows)


def opened(out: str | os.PathLike[str]) -> tuple[RunFolder, bool]:
    """The run folder, and whether a traverse is there.

    Raises:
        InputError: something else is there.
    """
    from theodolite.errors import path_of

    folder = RunFolder(path_of(out, "the run folder"))
    exists = folder.check()
    if exists:
        refuse_another_kind(folder.path, "traverse")
    return folder, exists


def opened_autoencoder(model: Any, **options: Any) -> tuple[Autoencoder, str]:
    """An autoencoder that is named, with `options` of `theodolite.load`, or was given; what the command line calls it.

    Raises:
        InputError: something else is named, or has no encoder and decoder.
    """
    from theodolite.maps import Autoencoder
    from theodolite.maps.loading import load_autoencoder

    if isinstance(model, Autoencoder):
        return model, model.name
    return load_autoencoder(model, **options), os.fspath(model)


def checked_settings(settings: Mapping[str, Any], whole: Mapping[str, int]) -> dict[str, Any]:
    """Settings with the types of JSON.

    Args:
        settings: as given.
        whole: those that are whole numbers, with the least of each; None is let through.

    Raises:
        InputError: an unknown budget, or a number that is none.
    """
    budget = settings["budget"]
    if not isinstance(budget, str) or budget not in EFFORTS:
        raise InputError(
            f"budget expected to be one of {', '.join(EFFORTS)}, got {budget!r}{closest(budget, [*EFFORTS])}"
        )
    for name, least in whole.items():
        value = settings[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"`{name}` expected to be a whole number, {least} or more, got {value!r}")
    texts = {name: str(settings[name]).removeprefix("torch.") for name in ("device", "dtype") if settings.get(name)}
    lists = {name: list(value) for name, value in settings.items() if isinstance(value, tuple)}
    return {**settings, **lists, **texts}


def run_traverse(work: Work, folder: RunFolder, exists: bool, progress: Progress | None) -> Traversed:
    """Measure what is missing, and read the run.

    Raises:
        InputError: the folder holds a traverse of another configuration, the map cannot be differentiated.
        KeyboardInterrupt: on Ctrl-C, once what is finished is merged.
    """
    info = _record(work, folder)
    if exists:
        there = read_info(folder.path)
        _refuse_another(folder, there, info)
        info |= {name: there[name] for name in ("created", "self_check")}
    else:
        info["self_check"] = self_checked(*work.first, work.words[0]).as_dict()
    folder.make()
    with folder.locked():
        folder.tidy()
        done = set(read_rows(folder.path)[1])
        folder.write_info({**info, "status": "running", "finished": None})
        try:
            _measure(work, folder, info, done, progress or silent)
        except BaseException:
            _finish(folder, info, "interrupted")
            raise
        _finish(folder, info, "complete")
    return read_traverse(folder.path)


def _measure(work: Work, folder: RunFolder, info: Mapping[str, Any], done: set[str], progress: Progress) -> None:
    finished, total = len(done), len(work.units)
    progress(finished, total, "")
    for unit in work.units:
        if unit in done:
            continue
        started = time.monotonic()
        found = work.measured(unit)
        rows = worsened(({"model": info["model"]["name"], **row} for row in found.rows), info)
        notes = {"seconds": round(time.monotonic() - started, 3), "points": found.points, "failed": found.failed}
        folder.write_shard(unit, rows, {}, found.pictures, notes)
        finished += 1
        progress(finished, total, unit)


def _finish(folder: RunFolder, info: Mapping[str, Any], status: str) -> None:
    notes = read_rows(folder.path)[1]
    folder.merge([sample for note in notes.values() for sample in note["points"]])
    timing = {"seconds": round(sum(note["seconds"] for note in notes.values()), 3)}
    failed = [one for note in notes.values() for one in note["failed"]]
    done = {**info, "status": status, "finished": now(), "timing": timing, "failed": failed}
    if notes:
        write_tables(folder.path, done)
    folder.write_info(done)


def _record(work: Work, folder: RunFolder) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": "traverse",
        "over": work.over,
        "theodolite": theodolite.__version__,
        "command": verb_command("traverse", [work.over, *work.words], folder.path, work.settings, work.defaults),
        "created": now(),
        "settings": dict(work.settings),
        **work.described(),
        "units": list(work.units),
        "versions": versions(),
        "machine": machine(work.first[1].device),
    }


def _refuse_another(folder: RunFolder, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `InputError` unless the run there has the configuration of this one."""
    settings = there.get("settings") or {}
    pairs = {name: (settings.get(name), value) for name, value in here["settings"].items() if name not in _FREE}
    pairs |= {name: (there.get(name), here[name]) for name in ("over", "theodolite", "design")}
    pairs["model"] = ((there.get("model") or {}).get("fingerprint"), here["model"]["fingerprint"])
    found = [name for name, (old, new) in pairs.items() if old != new]
    if found:
        raise InputError(
            f"{folder.path} holds a traverse of another configuration ({', '.join(found)} differ); give another --out, "
            f"or repeat its command to go on: {there.get('command')}"
        )
