"""The page of one model's gap: that of a ranking of one."""

from theodolite.experiments.rank.page import page

__all__ = ["page"]
