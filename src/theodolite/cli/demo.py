"""`theodolite demo`: the main job on what ships with the package."""

from __future__ import annotations

from typing import Any

import click

from theodolite.cli.survey import conduct

__all__ = ["demo"]

SETTINGS: dict[str, Any] = {"model": "zoo:patches-kl", "size": 32, "limit": None, "budget": "standard"}


@click.command(short_help="Survey a small model on bundled images.")
@click.option(
    "--out", default="runs/demo", show_default=True, metavar="FOLDER", help="Run folder: new, or one to resume."
)
def demo(out: str) -> None:
    """Survey a small autoencoder on the bundled images; about a minute, without a network or a GPU.

    The last line printed is the path of the report.

    \b
    Examples:
      theodolite demo
      theodolite demo --out runs/second
    """  # noqa: D301
    from theodolite.zoo import bundled_images

    conduct(out, data=bundled_images(), **SETTINGS)
