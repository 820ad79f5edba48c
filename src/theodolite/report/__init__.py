"""The report: one self-contained HTML file made from a run folder, and from nothing else."""

from theodolite.report.decoupling import write_decoupling_report
from theodolite.report.detection import write_detection_report
from theodolite.report.guidance import write_guidance_report
from theodolite.report.hotspots import write_hotspots_report
from theodolite.report.html import write_report
from theodolite.report.paths import write_paths_report
from theodolite.report.phases import write_phases_report
from theodolite.report.ranking import write_ranking_report
from theodolite.report.traverse import write_traverse_report

__all__ = [
    "write_decoupling_report",
    "write_detection_report",
    "write_guidance_report",
    "write_hotspots_report",
    "write_paths_report",
    "write_phases_report",
    "write_ranking_report",
    "write_report",
    "write_traverse_report",
]
