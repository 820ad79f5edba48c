"""`theodolite explore`: a page in the browser on run folders."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from theodolite.cli import terminal
from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.explorer.content import Content
    from theodolite.explorer.live import Live

__all__ = ["explore"]

_LAST_PORT = 65535


@click.command(short_help="Look at runs in the browser, and turn their latents.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--model", metavar="MODEL", help="The model of the live panel, as the verbs that measure take it.")
@click.option("--device", metavar="NAME", help="Where that model runs, e.g. cuda; cpu by default.")
@click.option("--port", type=int, default=0, metavar="N", help="Of 127.0.0.1; a free one by default.")
@click.option("--open", "in_browser", is_flag=True, help="Open the page in the browser.")
@click.option("--export", metavar="FOLDER", help="Write the page with its data there instead, for any web host.")
def explore(
    runs: tuple[str, ...], model: str | None, device: str | None, port: int, in_browser: bool, export: str | None
) -> None:
    """Serve a page on RUNs of any kind, and print its address; Ctrl-C ends it.

    Tables, scatter plots, pictures, spectra, curves, phase maps and pairs of runs, all linked by one selection. With
    --model a sample's latent can be turned along its singular directions, to other samples, and over the plane of
    three. The page is for this machine alone: it listens on 127.0.0.1, answers below a random token only, writes
    nothing, and fetches nothing from elsewhere. Needs `pip install 'theodolite[explorer]'`, --export does not.

    \b
    Examples:
      theodolite explore runs/first
      theodolite explore runs/first runs/second --open
      theodolite explore runs/first --model zoo:patches-kl
      theodolite explore runs/first --export public
    """  # noqa: D301
    from theodolite.explorer.content import contents_of

    if not 0 <= port <= _LAST_PORT:
        raise InputError(f"--port expected between 0 and {_LAST_PORT}, got {port}; leave it out for a free one")
    if device is not None and model is None:
        raise InputError("--device expected beside --model, got it alone; say which model, or leave it out")
    contents = contents_of([*{Path(run).resolve(): run for run in runs}.values()])  # a run that is named twice, once
    if export is not None:
        from theodolite.explorer.export import export_to

        if model is not None:
            raise InputError("--export writes what runs hold, and a model cannot be exported; leave out --model")
        if port or in_browser:
            raise InputError("--export writes a page and serves none; leave out --port and --open")
        terminal.say(export_to(contents, Path(export)))
        return
    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("starlette") is None:
        raise InputError("the explorer needs Starlette and Uvicorn; install them: pip install 'theodolite[explorer]'")
    from theodolite.explorer.server import address, bound, new_token, serve

    live = None if model is None else _live(model, device, contents)
    with bound(port) as listener:
        token = new_token()
        url = address(listener, token)
        terminal.say(url)
        if in_browser:
            click.launch(url)
        try:
            serve(contents, listener, token, live)
        except KeyboardInterrupt:
            pass  # the way to end it
        finally:
            if live is not None:
                live.close()


def _live(model: str, device: str | None, contents: Sequence[Content]) -> Live:
    """The live panel's model, which is opened when it is first asked; what can be refused before is refused here."""
    from theodolite.data.models import check_model
    from theodolite.explorer.live import Live

    check_model(model, device=device)
    if not any(content.has_latents for content in contents):
        raise InputError(
            "--model expected beside a run that stores latents (survey, detect, hotspots), got none of them"
        )
    return Live(model, device, [content.run.path for content in contents])
