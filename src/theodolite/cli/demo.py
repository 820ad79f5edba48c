"""`theodolite demo`: the main job on what ships with the package."""

from __future__ import annotations

import shlex

import click

from theodolite.cli import terminal
from theodolite.cli.verbs import conduct

__all__ = ["demo"]

_MODEL = "zoo:patches-kl"


@click.command(short_help="Survey a small model on bundled images.")
@click.option(
    "--out", default="runs/demo", show_default=True, metavar="FOLDER", help="Run folder: new, or one to resume."
)
def demo(out: str) -> None:
    """Survey a small autoencoder on the bundled images; about a minute, without a network or a GPU.

    The last line printed is the path of the report; how to look at the run in the browser is said on stderr.

    \b
    Examples:
      theodolite demo
      theodolite demo --out runs/second
    """  # noqa: D301
    from theodolite.runs.registry import experiment_of
    from theodolite.zoo import bundled_images

    conduct(experiment_of("survey"), [_MODEL], out, {"data": str(bundled_images()), "size": 32})
    terminal.notice(f"look closer, and turn its latents: theodolite explore {shlex.quote(out)} --model {_MODEL}")
