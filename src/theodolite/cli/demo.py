"""`theodolite demo`: the main job on what ships with the package."""

from __future__ import annotations

import click

from theodolite.cli.verbs import conduct

__all__ = ["demo"]


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
    from theodolite.runs.registry import experiment_of
    from theodolite.zoo import bundled_images

    conduct(experiment_of("survey"), ["zoo:patches-kl"], out, {"data": str(bundled_images()), "size": 32})
