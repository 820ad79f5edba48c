"""How one unit is measured and stored, in the process that conducts a run and in its workers alike."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import theodolite
from theodolite.errors import DiskError, InputError, in_one_line, refusing
from theodolite.runs.batches import Batch
from theodolite.runs.experiment import Experiment, Sitting
from theodolite.runs.folder import RunFolder
from theodolite.runs.piece import Piece, doubted, without_numbers
from theodolite.runs.record import fingerprint, plain
from theodolite.runs.settings import Setting, checked_settings

__all__ = [
    "Progress",
    "argument_words",
    "command_line",
    "configuration_of",
    "family_of_kind",
    "measured",
    "opened",
    "prepared",
    "reason_of",
    "stamp_of",
    "store_unit",
    "teller",
    "word_of",
]

Progress = Callable[[int, int, str], None]
"""Called with (units done, units in all, what is under way); with an empty word at the start."""


def prepared(experiment: type[Experiment], arguments: Sequence[Any], given: Mapping[str, Any]) -> Experiment:
    """An experiment with what it is about and its settings, checked as far as that needs no model.

    Raises:
        InputError: something cannot be used.
    """
    named = dict(zip((argument.name for argument in experiment.arguments), arguments, strict=True))
    settings = checked_settings(experiment.settings, given, f"`theodolite {experiment.kind}`")
    return experiment.variant(settings)({**named, **settings})


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
    return _sound(work, work.measure(unit, sitting), sitting)


def _sound(work: Experiment, piece: Piece, sitting: Sitting) -> Piece:
    rows = without_numbers(piece.rows)
    return replace(piece, rows=rows if sitting.first_order_holds else doubted(rows, work.without_derivatives))


def teller(progress: Progress, done: int, total: int, unit: str) -> Callable[[str], None]:
    """Says what is under way in a unit, see `Sitting.tell`."""
    return lambda what: progress(done, total, f"{unit}: {what}" if what else unit)


def stamp_of(work: Experiment, unit: str, configuration: str) -> str:
    """What a finished unit is known by: it is measured again where this is another one."""
    return fingerprint([configuration, unit, plain(work.identity(unit))])


def configuration_of(work: Experiment, content: Mapping[str, Any]) -> str:
    """What a run is known by: the kind, the version, the settings that decide its numbers, and their content.

    Args:
        work: the experiment, opened.
        content: its own, with the types of JSON.
    """
    measuring = {s.name: work.given[s.name] for s in work.settings if s.role == "measures"}
    decisive = {"kind": family_of_kind(type(work)), "theodolite": theodolite.__version__, "settings": measuring}
    return fingerprint({**decisive, "content": content})


def store_unit(work: Experiment, folder: RunFolder, unit: str, configuration: str, sitting: Sitting) -> None:
    """Measure a unit and store it in the folder, which this process or its parent holds.

    Of a batch (`theodolite.runs.batches`) those units are stored that could be measured with the others; the rest is
    to be measured alone, where each succeeds or says why not.

    Raises:
        DiskError: the disk is full or refuses.
        Exception: whatever the model raises; nothing is stored then.
    """
    started = time.monotonic()
    batch = Batch.of_name(unit)
    pieces = {unit: measured(work, unit, sitting)} if batch is None else _together(work, batch, sitting)
    seconds = round((time.monotonic() - started) / max(1, len(pieces)), 6 if batch else 3)
    noted = {name: _notes(work, name, piece, configuration, seconds) for name, piece in pieces.items()}
    if pieces:
        folder.write_units(pieces, noted)


def _together(work: Experiment, batch: Batch, sitting: Sitting) -> dict[str, Piece]:
    """What is stored of a batch; nothing where it could not be measured as one."""
    units = work.units[batch.start : batch.stop]
    chosen = {work.units[index] for index in batch.chosen}
    try:
        pieces = work.measure_together(units, sitting)
    except DiskError:
        raise
    except (Exception, SystemExit):  # measured alone, each unit says what it was
        return {}
    return {unit: _sound(work, piece, sitting) for unit, piece in pieces.items() if unit in chosen}


def _notes(work: Experiment, unit: str, piece: Piece, configuration: str, seconds: float) -> dict[str, Any]:
    return {
        "configuration": configuration,
        "stamp": stamp_of(work, unit, configuration),
        "seconds": seconds,
        "about": plain(piece.about),
        "failed": [dict(entry) for entry in piece.failed],
        "messages": dict(piece.messages),
    }


def reason_of(error: BaseException) -> str:
    """Why a unit failed, in one line."""
    return str(error) if isinstance(error, InputError) else in_one_line(error)


def _name(work: Experiment) -> str:
    """What a user calls the subject: the model where there is an argument of that name, otherwise the first one."""
    if any(argument.name == "model" for argument in work.arguments):
        return word_of(work.given["model"])
    words = argument_words(work)
    return words[0] if words else work.kind


def family_of_kind(experiment: type[Experiment]) -> str:
    """What kinds that go on with each other's folders share."""
    return experiment.family or experiment.kind


def argument_words(work: Experiment) -> list[str]:
    """The arguments as the command line has them; a model that was given as an object by its name."""
    values = [work.given[argument.name] for argument in work.arguments]
    flat = [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]
    return [word_of(value) for value in flat]


def command_line(
    kind: str, arguments: Sequence[str], settings: Sequence[Setting], values: Mapping[str, Any], more: Sequence[str]
) -> str:
    """The command of a run, quoted for a POSIX shell; settings that have their default are left out.

    Args:
        kind: of the experiment.
        arguments: what it is about, in words.
        settings: those of the experiment that are told.
        values: of each by name.
        more: words that end it.
    """
    words = [word for setting in settings for word in setting.as_words(values[setting.name])]
    return shlex.join(["theodolite", kind, *arguments, *words, *more])


def word_of(value: Any) -> str:
    """A value as text; an object that was given by its name."""
    from os import PathLike, fspath

    return fspath(value) if isinstance(value, str | PathLike) else str(getattr(value, "name", type(value).__name__))
