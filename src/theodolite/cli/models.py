"""`theodolite models`: what a model would be opened as, and which ones ship."""

from __future__ import annotations

import json
from typing import Any

import click

from theodolite.cli import terminal

__all__ = ["models"]


@click.command(short_help="What a model is opened as, and which maps it has; or what ships.")
@click.argument("model", required=False)
@click.option("--subfolder", metavar="NAME", help="Of the model's folder or hub repository, e.g. vae or unet.")
@click.option("--revision", metavar="NAME", help="Of the hub repository.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else.")
def models(model: str | None, subfolder: str | None, revision: str | None, as_json: bool) -> None:
    """Open MODEL and say what it is: its kind, the maps that verbs can measure, shapes, and how it was read.

    Without MODEL: what ships with the package, and families of models that installed packages add.

    \b
    Examples:
      theodolite models
      theodolite models ./my-vae
      theodolite models ./pipeline --subfolder unet
      theodolite models my_package.models:make --json
    """  # noqa: D301
    described = _shipped() if model is None else _described(model, subfolder=subfolder, revision=revision)
    if as_json:
        terminal.say(json.dumps(described, indent=2))
        return
    lines = {key.replace("_", " "): text for key, value in described.items() if (text := _text(value))}
    width = max(map(len, lines))
    for key, value in lines.items():
        terminal.say(f"{terminal.printable(key):<{width}}  {terminal.printable(value)}".rstrip())


def _shipped() -> dict[str, str]:
    """A line about every model by name."""
    from theodolite.maps.families import FAMILIES
    from theodolite.zoo import AUTOENCODERS, DIFFUSIONS, MEMORISING
    from theodolite.zoo import FAMILIES as PHASES

    shipped = {f"zoo:{name}": f"autoencoder: {text}" for name, text in AUTOENCODERS.items()}
    shipped |= {f"zoo:{name}": f"diffusion model: {text}" for name, text in DIFFUSIONS.items()}
    shipped |= {f"zoo:{name}": f"diffusion model: {text}" for name, text in MEMORISING.items()}
    shipped |= dict.fromkeys(PHASES, "parameter family with exact answers, for `phases`")
    return shipped | dict.fromkeys(FAMILIES, "models of an installed package")


def _described(model: str, **options: Any) -> dict[str, Any]:
    """What a model is, ready for JSON."""
    from theodolite.data.models import opened_model
    from theodolite.errors import InputError
    from theodolite.maps.adapters import maps_of, subject_of

    opened = opened_model(model, **options)
    try:
        described = subject_of(opened).describe()
    except InputError as reason:  # of a diffusion model whose sampler needs a condition, which only a verb is given
        described = {"name": opened.name, "latent_shape": [*opened.shape], "notes": [*opened.notes, str(reason)]}
    return {"name": described["name"], "maps": ", ".join(maps_of(opened)), **described}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("formula", value))
    if isinstance(value, tuple | list):
        is_shape = all(item is None or isinstance(item, int) for item in value)
        return (" x " if is_shape else "; ").join("any" if item is None else str(item) for item in value)
    return "" if value is None else str(value)
