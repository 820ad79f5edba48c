"""The report of any run: one self-contained HTML file made from its run folder, and from nothing else."""

from theodolite.report.render import write_report

__all__ = ["write_report"]
