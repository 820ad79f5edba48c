"""What a worker process of the study does."""

from __future__ import annotations

from datetime import date

import torch

from studies.compatibility.store import Outcome
from studies.compatibility.subjects import Class
from studies.compatibility.trials import quietly, tried


def outcome_of(each: Class) -> Outcome:
    """Try a class."""
    with quietly():
        trials = tried(each)
    return Outcome(each.name, each.kind, *versions(), date.today().isoformat(), trials)


def versions() -> tuple[str, str]:
    """Of torch and of diffusers."""
    import diffusers

    return torch.__version__.partition("+")[0], diffusers.__version__


def one_thread() -> None:
    """Set a worker up."""
    torch.set_num_threads(1)
