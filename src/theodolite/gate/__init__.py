"""Thresholds for the numbers of a run: which are surely kept, which are surely broken, and what is undecided."""

from __future__ import annotations

from theodolite.gate.checking import Gate, check, thresholds_beside
from theodolite.gate.junit import junit_xml
from theodolite.gate.thresholds import Bound, Thresholds, read_thresholds, within_margin
from theodolite.gate.verdict import Verdict

__all__ = [
    "Bound",
    "Gate",
    "Thresholds",
    "Verdict",
    "check",
    "junit_xml",
    "read_thresholds",
    "thresholds_beside",
    "within_margin",
]
