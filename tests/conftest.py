"""One torch thread a worker, real and tiny models, densities with known information, runners of the command line."""

from __future__ import annotations

import importlib
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

import theodolite
from theodolite.cli.main import main
from theodolite.scores import GaussianMixtureScore, GaussianScore

torch.set_num_threads(1)
# Whoever starts the tests may set a width, parallel workers among them; what is printed must not depend on it.
os.environ.pop("COLUMNS", None)
# A test of a check must make it, and none may leave anything with the user.
os.environ["THEODOLITE_NO_CACHE"] = "1"
STAND_INS = pathlib.Path(__file__).parent / "stand_ins"
SHARED = pathlib.Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture
def unrecorded(monkeypatch):
    """Without recordings of maps, so that the other ways of differentiation are tried."""
    from theodolite.derivatives import operator, products

    monkeypatch.setattr(operator, "PUSHES", products.PUSHES[1:])
    monkeypatch.setattr(operator, "PULLS", products.PULLS[1:])


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of real models, photographs and data, next to the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder `shared` with real models and images is not next to this checkout")
    return SHARED


D = torch.float64


def tensor(*rows):
    return torch.tensor(rows, dtype=D)


@pytest.fixture
def eight():
    """The Gaussian in eight dimensions."""
    return GaussianScore(torch.zeros(8, dtype=D), tensor(2, 1.5, 1, 1, 0.5, 0.5, 0.1, 0.1), exact=True)


@pytest.fixture
def three():
    """Three Gaussians in the plane."""
    covs = torch.stack([tensor([0.5, 0.2], [0.2, 0.3]), tensor(0.2, 0.6).diag(), tensor(0.1, 0.1).diag()])
    return GaussianMixtureScore(tensor(0.5, 0.3, 0.2), tensor([0, 0], [2, 1], [-1, 2]), covs, exact=True)


@pytest.fixture
def two():
    """Half a mass at each of -1 and 1."""
    return GaussianMixtureScore(tensor(1, 1), tensor([-1], [1]), tensor([0], [0]), exact=True)


def _hermite(order, dimension):
    k = torch.arange(1, order, dtype=D)
    nodes, vectors = torch.linalg.eigh(k.sqrt().diag(1) + k.sqrt().diag(-1))
    grids = torch.cartesian_prod(*(nodes,) * dimension).reshape(-1, dimension)
    weights = torch.cartesian_prod(*(vectors[0].square(),) * dimension).reshape(-1, dimension).prod(-1)
    return grids, weights


def _shape_information(points, weights, t, outer, order=14, reach=12.0):
    """`J`, `F` and the block traces of points standing for a smooth curve or surface, by Gauss-Hermite quadrature.

    `points: (K, D)` with spacing well below `sqrt(t)`; `outer` picks those whose noise is averaged over; only points
    within `reach` standard deviations of it count. Returns `J`, `F` as floats.
    """
    dimension = points.shape[1]
    noise, share = _hermite(order, dimension)
    total = torch.zeros(2, dtype=D)
    for index in outer:
        Y = points - points[index]
        near = Y.square().sum(-1) < (reach**2) * t
        Y, w = Y[near], weights[near]
        x = t**0.5 * noise
        r = ((x @ Y.T - Y.square().sum(-1) / 2) / t + w.log()).softmax(-1)
        mean = r @ Y
        second = (r @ (Y[:, :, None] * Y[:, None]).flatten(1)).unflatten(1, (dimension, dimension))
        C = second - mean[:, :, None] * mean[:, None]
        H = (C / t - torch.eye(dimension, dtype=D)) / t
        both = torch.stack([(mean - x).square().sum(-1) / t**2, H.square().sum((-2, -1))])
        total += weights[index] * (both @ share)
    return (total / weights[list(outer)].sum()).tolist()


@pytest.fixture
def shape_information():
    return _shape_information


@pytest.fixture
def hermite():
    return _hermite


_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_LAPTOP = {"width": 1280, "height": 800}


@pytest.fixture(scope="session")
def chromium():
    """Headless Chromium; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on the path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open a report; at the end nothing may have been complained about or fetched."""
    pages, troubles = [], []

    def check(request):
        if not request.url.startswith(("file:", "data:", "blob:")):
            troubles.append(request.url)

    def open_report(path, viewport=_LAPTOP, **options):
        page = chromium.new_page(viewport=viewport, **options)
        pages.append(page)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on("request", check)
        page.goto(path.as_uri())
        page.add_style_tag(content="html { scroll-behavior: auto !important; }")
        return page

    yield open_report
    for page in pages:
        page.close()
    assert not troubles


@pytest.fixture
def tiny(monkeypatch):
    """The module of tiny models, importable as `tiny`, here and in processes started from here."""
    source = pathlib.Path(theodolite.__file__).parents[1]
    path = [str(STAND_INS), str(source), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(STAND_INS)
    return importlib.import_module("tiny")


@pytest.fixture
def situations(tiny):
    """The module of models in the ways that people write them, importable as `situations`."""
    return importlib.import_module("situations")


@pytest.fixture
def photos(tiny, tmp_path):
    """Four images of 16x16 pixels."""
    return tiny.write_images(tmp_path / "photos")


@pytest.fixture
def invoke():
    """Run the command line in this process."""

    def call(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    return call


@pytest.fixture
def refused(invoke):
    """Run a command that must be refused in one line that holds a message."""

    def call(message, *words):
        result = invoke(*words)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith("theodolite: error: ")
        assert message in line

    return call


@pytest.fixture
def start():
    """Start the command line in a process of its own, which ends with the test."""
    processes = []

    def call(*words):
        source = str(pathlib.Path(theodolite.__file__).parents[1])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
        command = [sys.executable, "-m", "theodolite", *(str(word) for word in words)]
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=environment, **pipes)
        processes.append(process)
        return process

    yield call
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
