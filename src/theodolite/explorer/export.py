"""The page with its data as a folder: for any web host, and to be opened by `file://`."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from theodolite.errors import DiskError, InputError
from theodolite.explorer.content import Content, as_json
from theodolite.explorer.server import STATIC, static

__all__ = ["export_to"]

_POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src 'self' data: file:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)
"""As the server's; a page of `file://` is not even of its own origin, so that its files are named by their scheme."""

_DATA = (".json", ".parquet")


def export_to(contents: Sequence[Content], folder: Path) -> Path:
    """Write the page and everything that it may ask for of these runs.

    Data is written twice: as it is, which a web host serves (`hyparquet` reads ranges of it), and inside a script,
    since a page that is opened by `file://` may load scripts and pictures and fetch nothing. A part that rests on a
    damaged file is left out: its view then says that it is missing.

    Returns:
        The page.

    Raises:
        InputError: the folder is not empty, or a run is damaged.
        DiskError: the disk refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"a new or an empty folder expected for --export, got {folder}; give another name")
    try:
        for name in STATIC:
            _write(folder / (name or "index.html"), _page(static(name)) if not name else static(name))
        runs = [{"name": content.name, "kind": content.run.kind} for content in contents]
        _data(folder, "runs.json", as_json({"runs": runs, "live": None}))
        for number, content in enumerate(contents):
            content.read("about.json")
            for part in content.parts():
                with suppress(InputError):  # of a damaged file; without `about.json` and numbers there is no page
                    _data(folder, f"runs/{number}/{part}", content.read(part)[1])
    except OSError as error:
        raise DiskError(
            f"cannot write to {folder}: {error.strerror or error}; mend the disk or give another"
        ) from error
    return folder / "index.html"


def _page(page: bytes) -> bytes:
    """The page with the policy that no server sends beside it."""
    head = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<meta charset="utf-8">'
    return page.replace(b'<meta charset="utf-8">', head.encode(), 1)


def _data(folder: Path, name: str, body: bytes) -> None:
    _write(folder / name, body)
    if name.endswith(_DATA):
        script = f"theodoliteData({json.dumps(name)},{json.dumps(base64.b64encode(body).decode('ascii'))});\n"
        _write(folder / f"{name}.js", script.encode())


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
