"""The explorer's server: one page, its data and the live panel, for the owner of this machine alone.

It listens on 127.0.0.1, answers only below a random token and to the name under which it was started, reads only what
`Content` lists by name, writes nothing, and tells the browser to fetch nothing from anywhere else.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from theodolite.errors import InputError
from theodolite.explorer.content import Content, as_json

if TYPE_CHECKING:
    from types import FrameType

    import uvicorn
    from starlette.requests import Request
    from starlette.responses import Response

    from theodolite.explorer.live import Live

__all__ = ["HEADERS", "STATIC", "address", "application", "bound", "ending_with", "new_token", "serve", "static"]

HOST = "127.0.0.1"
STATIC = {"": "text/html", "explorer.js": "text/javascript", "explorer.css": "text/css", "LICENCES.txt": "text/plain"}
"""What of the package is served, by address; the empty one is the page."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_LONGEST_REQUEST = 64 * 2**10
_LAST_ANSWERS = 2
"""Seconds that answers under way may take after Ctrl-C: parts of a run that are nearly there, and no more."""


def static(name: str) -> bytes:
    """The content of one of the files of `STATIC`."""
    return files("theodolite.explorer").joinpath("static", name or "index.html").read_bytes()


def new_token() -> str:
    """A token that nobody guesses: 192 random bits."""
    return secrets.token_urlsafe(24)


def bound(port: int) -> socket.socket:
    """A socket on 127.0.0.1; port 0 takes a free one.

    Raises:
        InputError: the port is taken, or not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # a browser that comes before the server is ready waits instead of being refused
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(f"cannot listen on port {port} of {HOST} ({error}); give another --port, or 0") from error
    return listener


def address(listener: socket.socket, token: str) -> str:
    """Where the page is."""
    return f"http://{HOST}:{listener.getsockname()[1]}/{token}/"


def serve(contents: Sequence[Content], listener: socket.socket, token: str, live: Live | None = None) -> None:
    """Answer until Ctrl-C; no request is logged, since addresses hold the token.

    The signal ends the model's process at once, whatever that computes, and other answers have two seconds.
    """
    threading.Thread(target=_prepared, args=(contents[0],), daemon=True).start()
    hosts = {f"{name}:{listener.getsockname()[1]}" for name in (HOST, "localhost")}
    app = application(contents, token, hosts, live)
    ending_with(live, app).run(sockets=[listener])


def ending_with(live: Live | None, app: Any) -> uvicorn.Server:
    """The server of an application, whose signal to end is the model's as well."""
    import uvicorn

    class Ending(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if live is not None:  # before the server waits for answers: one may wait for the model
                live.close()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="error",
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
    return Ending(config)


def _prepared(content: Content) -> None:
    """Make what the page asks for first, while the browser is still on its way."""
    with suppress(InputError):  # the page is told when it asks
        content.read("about.json")
        content.read("frame.parquet")


def application(given: Sequence[Content], token: str, hosts: set[str], live: Live | None = None) -> Any:
    """The ASGI application.

    Args:
        given: the runs, in the order in which the page names them; those that go on are read again with every page.
        token: what every address begins with.
        hosts: values of the `Host` header that are answered: a page of somebody else's that a name server sends here
            names another.
        live: the live panel's model.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response
    from starlette.routing import Route

    contents = [*given]

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "")
        if name not in STATIC:
            return _said(404, "no such file")
        return Response(static(name), media_type=f"{STATIC[name]}; charset=utf-8")

    async def runs(request: Request) -> Response:
        with suppress(InputError):  # a folder that is gone: what was read of it stays
            contents[:] = [await run_in_threadpool(content.renewed) for content in contents]
        names = [{"name": content.name, "kind": content.run.kind} for content in contents]
        return Response(as_json({"runs": names, "live": live and live.described()}), media_type="application/json")

    async def part(request: Request) -> Response:
        number = request.path_params["number"]
        if number >= len(contents):
            return _said(404, "no such run")
        try:
            kind, body = await run_in_threadpool(contents[number].read, request.path_params["part"])
        except KeyError:
            return _said(404, "the run has no such part")
        except InputError as error:
            return _said(409, str(error))
        return ranged(request.headers.get("range"), body, kind)

    async def turn(request: Request) -> Response:
        if live is None:
            return _said(404, "no model was given")
        request_body = await _json_body(request)
        if request_body is None:
            return _said(400, "one JSON object below 64 KiB expected")
        return Response(as_json(await run_in_threadpool(live.ask, request_body)), media_type="application/json")

    routes = [
        Route("/", page),
        Route("/runs.json", runs),
        Route("/runs/{number:int}/{part:path}", part),
        Route("/live", turn, methods=["POST"]),
        Route("/{name}", page),
    ]
    return _Guard(Starlette(routes=routes), token, hosts)


async def _json_body(request: Request) -> dict[str, Any] | None:
    """The JSON object of a request; None where it is anything else, or sent as a form of another page would be."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return None
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_REQUEST:
            return None
    try:
        request_body = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return request_body if isinstance(request_body, dict) else None


def ranged(requested: str | None, body: bytes, kind: str) -> Response:
    """A body, or the one range of it that is wanted, as `hyparquet` reads the columns of a table."""
    from starlette.responses import Response

    headers = {"Accept-Ranges": "bytes"}
    match = _RANGE.fullmatch(requested or "")
    if match is None or match[0] == "bytes=-":
        return Response(body, media_type=kind, headers=headers)
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or len(body) - 1), len(body) - 1)
    else:
        first, last = max(0, len(body) - int(match[2])), len(body) - 1
    if first > last:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(body)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
    return Response(body[first : last + 1], status_code=206, media_type=kind, headers=headers)


def _said(status: int, message: str) -> Response:
    from starlette.responses import Response

    return Response(as_json({"error": message}), status_code=status, media_type="application/json")


class _Guard:
    """Lets through what carries the token and names this host, and puts the headers on every answer."""

    def __init__(self, app: Callable[..., Awaitable[None]], token: str, hosts: set[str]) -> None:
        self.app, self.token, self.hosts = app, token.encode(), {host.encode() for host in hosts}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        if scope["type"] != "http":
            return
        # The raw path is split before it is decoded: an encoded slash stays inside its part.
        raw = scope.get("raw_path") or scope["path"].encode()
        first, slash, rest = raw.partition(b"?")[0].removeprefix(b"/").partition(b"/")
        host = dict(scope["headers"]).get(b"host", b"")
        if host not in self.hosts or not hmac.compare_digest(first, self.token) or not slash:
            await _said(403, "the address that `theodolite explore` printed expected")(scope, receive, sending)
            return
        path = "/" + unquote(rest.decode("latin-1"), errors="replace")
        await self.app({**scope, "path": path, "raw_path": None, "root_path": ""}, receive, sending)
