"""Outcomes on disk: one JSON file, an entry a class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from studies.compatibility.trials import Trial
from theodolite.files import replacing

OUTCOMES = Path(__file__).parent / "outcomes.json"


@dataclass(frozen=True)
class Outcome:
    """What came of a class.

    Attributes:
        name: of the class.
        kind: as of the class.
        torch: version.
        diffusers: version.
        date: of the trial.
        trials: in their order.
    """

    name: str
    kind: str
    torch: str
    diffusers: str
    date: str
    trials: Sequence[Trial]

    @property
    def is_whole(self) -> bool:
        """Whether it went through every step; a scheduler that draws noise through the last one."""
        results = [trial.result for trial in self.trials]
        return results[-1] == "yes" if self.kind == "scheduler" else all(result == "yes" for result in results)

    @property
    def has_fault(self) -> bool:
        """Whether a step ended with something else than a number or a sentence."""
        return any(trial.result == "fault" for trial in self.trials)


def read() -> dict[str, Outcome]:
    """The outcomes by class; none where there is no file."""
    rows = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else []
    return {row["name"]: Outcome(**{**row, "trials": [Trial(**each) for each in row["trials"]]}) for row in rows}


def add(outcome: Outcome) -> None:
    """Put an outcome in the place of an older one of its class; whole or not at all."""
    outcomes = {**read(), outcome.name: outcome}
    rows = [asdict(each) for each in sorted(outcomes.values(), key=lambda each: (each.kind, each.name))]
    with replacing(OUTCOMES) as unfinished:
        unfinished.write_text(json.dumps(rows, indent=1) + "\n")
