"""`theodolite diffusability`: one autoencoder against the images it encodes."""

from __future__ import annotations

from typing import Any

import click

from theodolite.cli.rank import conduct, shared

__all__ = ["diffusability"]


@click.command(short_help="How differently a model's latents and its images give way to noise.")
@click.argument("model")
@shared
def diffusability(
    model: str, data: str | None, out: str | None, as_json: bool, quiet: bool, no_report: bool, **settings: Any
) -> None:
    """Measure how differently the latents of MODEL and the images give way to noise, with penalties and curves.

    One number, 0 for an isometric embedding and 1 at most; see `theodolite rank --help`. A MODEL is what `theodolite
    survey` takes. Other models join the same folder with `theodolite rank`.

    \b
    Examples:
      theodolite diffusability zoo:patches-kl --data photos --out runs/kl --size 64
      theodolite diffusability ./my-vae --data photos --out runs/mine --budget quick --json
    """  # noqa: D301
    conduct([model], data, out, as_json=as_json, quiet=quiet, with_report=not no_report, **settings)
