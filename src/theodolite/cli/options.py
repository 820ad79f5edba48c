"""Options that several verbs share, in their words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["ANSWER", "DEVICE", "LIMIT", "MODEL", "REPOSITORY", "SEED", "chosen"]

_Verb = TypeVar("_Verb", bound=Callable[..., Any])
Option = Callable[[Any], Any]

SEED = click.option("--seed", type=int, default=0, show_default=True, help="Of every random draw.")

DEVICE = click.option("--device", help="As in torch, e.g. cuda or cuda:1; cpu by default.")

REPOSITORY: tuple[Option, ...] = (
    click.option("--subfolder", help="Of the model's folder or hub repository, e.g. vae or unet."),
    click.option("--revision", help="Of the hub repository."),
)
"""Where a model is."""

MODEL: tuple[Option, ...] = (
    *REPOSITORY,
    DEVICE,
    click.option("--dtype", help="float32 or float64; by default as stored, half precision up-cast to float32."),
)
"""Where a model is, and how it is loaded."""

ANSWER: tuple[Option, ...] = (
    click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, nothing else."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
    click.option("--no-report", is_flag=True, help="Leave report.html out."),
)
"""What a verb that makes a run says at its end."""

LIMIT = click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    metavar="N",
    help="Images of each folder, from its sources in turn; 0 for all.",
)


def chosen(*options: Option) -> Callable[[_Verb], _Verb]:
    """A verb with these options, in this order in its help."""

    def decorate(verb: _Verb) -> _Verb:
        for option in reversed(options):
            verb = option(verb)
        return verb

    return decorate
