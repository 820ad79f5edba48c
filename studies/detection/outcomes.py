"""Every kind of images against the reference: the best score, the best baseline, and whether the one beats the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.detection.kinds import CROPS, KINDS
from theodolite import Run, read_run
from theodolite.data.sources import sources_of
from theodolite.detection import evaluate
from theodolite.detection.beside_baselines import beside_baselines
from theodolite.detection.scores import BASELINES
from theodolite.files import replacing

FOLDER = Path(__file__).parent
FILE, PARTS = FOLDER / "outcomes.json", FOLDER / "parts"

MODELS = ("taesd", "taesd3")


def run_of(model: str) -> Path:
    """The run folder of a model."""
    return PARTS / model
