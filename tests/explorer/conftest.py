"""Runs of several kinds, made once, and a server on them."""

from __future__ import annotations

import threading

import pytest

import theodolite
from theodolite.zoo import bundled_images

SURVEYED = ["local_scaling", "leading_singular_value", "curvature"]


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Make a run of a kind at most once: `made("survey")` is its folder."""
    root, photos, done = tmp_path_factory.mktemp("runs"), str(bundled_images()), {}
    small = {"size": 16, "budget": "quick"}
    names = [f"{photos}/{name}.png" for name in ("astronaut-face", "chelsea-eye")]

    def surveyed(model, out, descriptors):
        theodolite.survey(model, photos, out, limit=6, descriptors=descriptors, **small)

    recipes = {
        "survey": lambda out: surveyed("zoo:patches-kl", out, SURVEYED),
        "second": lambda out: surveyed("zoo:patches-plain", out, SURVEYED[:1]),
        "compare": lambda out: theodolite.compare(make("survey"), make("second"), out),
        "rank": lambda out: theodolite.rank(["zoo:patches-plain", "zoo:patches-smooth"], photos, out, limit=4, **small),
        "hotspots": lambda out: theodolite.hotspots(
            "zoo:patches-kl", photos, out, limit=3, size=16, dimension=3, neighbours=1
        ),
        "path": lambda out: theodolite.path("zoo:patches-kl", *names, out, steps=4, size=16),
        "phases": lambda out: theodolite.phases("zoo:ising", out, side=3, grid=7, samples=40, bundle=6, zoom=4),
    }

    def make(kind):
        if kind not in done:
            recipes[kind](str(root / kind))
            done[kind] = root / kind
        return done[kind]

    return make


@pytest.fixture(scope="session")
def serving():
    """Serve contents: `serving(contents, live)` is the address of the page, until the session ends."""
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    from theodolite.explorer.server import HOST, address, application, bound

    running = []

    def serve(contents, live=None):
        listener, token = bound(0), "test-token"
        hosts = {f"{HOST}:{listener.getsockname()[1]}"}
        config = uvicorn.Config(application(contents, token, hosts, live), log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread, listener))
        return address(listener, token)

    yield serve
    for server, thread, listener in running:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
