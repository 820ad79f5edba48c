"""Where the study keeps things: weights beside the code and out of git, outcomes one JSON file each and in git."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from theodolite.files import replacing

FOLDER = Path(__file__).parent
PARTS = FOLDER / "parts"
"""Weights, latents and states of training, which git ignores."""

OUTCOMES = FOLDER / "outcomes"
"""What everything came to: `autoencoders`, `truth` and `predictors`, a file a run."""


class Store:
    """The files of one execution of the study; tests have their own folders.

    Attributes:
        parts: what can be made again, and is large.
        outcomes: what the page is made from.
    """

    def __init__(self, parts: Path = PARTS, outcomes: Path = OUTCOMES) -> None:
        self.parts, self.outcomes = parts, outcomes

    def weights(self, kind: str, name: str) -> Path:
        """The file of weights of this kind and name; its folder exists."""
        return _in_folder(self.parts / kind / f"{name}.safetensors")

    def read(self, kind: str, name: str) -> dict[str, Any]:
        """An outcome; empty where there is none."""
        file = self.outcomes / kind / f"{name}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def read_all(self, kind: str) -> dict[str, dict[str, Any]]:
        """All outcomes of a kind, by name."""
        names = sorted(file.stem for file in (self.outcomes / kind).glob("*.json"))
        return {name: self.read(kind, name) for name in names}

    def write(self, kind: str, name: str, outcome: dict[str, Any]) -> None:
        """Write an outcome, whole or not at all."""
        with replacing(_in_folder(self.outcomes / kind / f"{name}.json")) as unfinished:
            unfinished.write_text(json.dumps(outcome, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _in_folder(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
