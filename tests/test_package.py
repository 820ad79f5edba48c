"""The package as a whole: its names, its weight, its rooms, and pages that tell all."""

from __future__ import annotations

import ast
import graphlib
import pathlib
import re
import subprocess
import sys

import pytest

import theodolite
from theodolite.descriptors import REGISTRY
from theodolite.experiments import SUMMARIES

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "theodolite"
_GEOMETRY = {"estimates", "maps", "derivatives", "spectrum", "descriptors"}
_CLOUDS = {"scores", "information", "diffusability"}
_BELOW = {*_GEOMETRY, *_CLOUDS, "families", "geodesics", "detection", "steering", "files"}
ABOVE = {
    "estimates": set(),
    "maps": {"estimates"},
    "derivatives": {"estimates", "maps"},
    "spectrum": {"estimates", "maps", "derivatives"},
    "descriptors": _GEOMETRY,
    "scores": {"estimates", "maps", "derivatives", "files"},
    "information": {"estimates", "scores"},
    "diffusability": {"estimates", "maps", "derivatives", "spectrum", "scores", "information", "files"},
    "families": {"estimates", "derivatives"},
    "geodesics": {"estimates", "derivatives", "families"},
    "detection": _GEOMETRY,
    "steering": {*_GEOMETRY, "scores", "files"},
    "loggers": {"estimates"},
    "training": {"estimates", "maps", "loggers", *_CLOUDS},
    "zoo": {"estimates", "maps", "derivatives", "scores", "families"},
    "data": {"maps", "estimates", "families", "zoo"},
    "runs": {"estimates", "maps", "derivatives", "files", "report", "experiments", "loggers"},
    "experiments": {*_BELOW, "zoo", "data", "runs", "report"},
    "report": {"estimates", "files", "runs", "data", "loggers"},
    "gate": {"estimates", "files", "data", "runs", "report"},
    "explorer": {*_BELOW, "data", "runs", "report", "experiments"},
}


def imports(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("theodolite."):
            yield node.module.split(".")[1]


def test_every_public_name_resolves():
    listed = [name for names in theodolite._HOMES.values() for name in names]
    verbs = {*SUMMARIES} - {"diffusability"}  # the name of a room first; `rank` does the same for one model
    assert sorted({*listed, *verbs}) == sorted(theodolite.__all__)
    assert all(getattr(theodolite, name) is not None for name in theodolite.__all__)
    assert set(theodolite.__all__) <= set(dir(theodolite))
    with pytest.raises(AttributeError, match="no attribute"):
        theodolite.nothing_of_the_kind  # noqa: B018
    assert not hasattr(theodolite, "nothing_of_the_kind")


@pytest.mark.parametrize("module", ["theodolite", "theodolite.errors", "theodolite.cli.main", "theodolite.zoo"])
def test_importing_costs_nothing(module):
    heavy = {"torch", "numpy", "pyarrow", "plotly", "diffusers", "PIL"}
    code = f"import {module}, sys; assert not {heavy!r} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_is_typed_and_versioned():
    assert (SOURCE / "py.typed").is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.\w+)?", theodolite.__version__)


@pytest.mark.parametrize("room", ABOVE)
def test_arrows_point_one_way(room):
    for path in (SOURCE / room).rglob("*.py"):
        for other in imports(path):
            back = room == "maps" and other == "zoo" and path.name == "loading.py"
            assert other in {*ABOVE[room], room, "errors", "registry"} or back, f"{path.name} imports {other}"


def modules():
    """Every module of the package by its dotted name."""
    names = {path: path.relative_to(SOURCE.parent).with_suffix("").parts for path in SOURCE.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in names.items()}


def imported(path, known):
    """The modules that a file imports anywhere in it: at its head, inside functions, or for types alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                (full if (full := f"{node.module}.{name.name}") in known else node.module) for name in node.names
            )
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


_TRAVERSE = "theodolite.experiments.traverse"
# The one circle that is left: `traverse` makes the experiment of its design, which is a kind of itself.
_LEFT = {(f"{_TRAVERSE}.experiment", f"{_TRAVERSE}.{name}") for name in ("sources", "page")}


def test_no_two_modules_of_a_room_import_each_other():
    known = modules()
    rooms = {name: name.split(".")[1] for name in known if "." in name}
    graph = {
        name: {other for other in imported(known[name], known) if rooms.get(other) == room and other != name}
        for name, room in rooms.items()
    }
    for name, other in _LEFT:
        graph[name].remove(other)
    assert sum(map(len, graph.values())) > 300, "the imports of the package were not seen"
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_only_one_room_calls_torch_func():
    callers = {
        path.relative_to(SOURCE).parts[0]
        for path in SOURCE.rglob("*.py")
        if re.search(r"torch\.func|torch\.autograd|from torch.func", path.read_text())
    }
    assert callers <= {"derivatives"}


def test_the_docs_name_every_quantity_of_every_descriptor():
    page = (ROOT / "docs" / "quantities.md").read_text()
    for descriptor in REGISTRY.values():
        for quantity in descriptor.quantities:
            assert f"`{quantity.name}`" in page, quantity.name


def test_the_docs_name_every_model_of_the_zoo():
    from theodolite.zoo import AUTOENCODERS

    page = (ROOT / "docs" / "models.md").read_text()
    assert all(f"`zoo:{name}`" in page for name in AUTOENCODERS)


def test_the_readmes_snippet_runs(tmp_path, monkeypatch):
    from theodolite.zoo import bundled_images

    readme = (ROOT / "README.md").read_text()
    snippet = re.search(r"```python\n(import theodolite\n.*?)```", readme, re.DOTALL).group(1)
    (tmp_path / "photos").symlink_to(bundled_images())
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(snippet.replace("./my-vae", "zoo:patches-kl").replace("size=128", "size=16"), names)
    assert names["psi"].value.shape == (4,)


def test_the_query_of_the_docs_leaves_out_what_is_no_number():
    from theodolite.estimates import NOT_NUMBERS

    page = (ROOT / "docs" / "python.md").read_text()
    left_out = re.search(r"where status not in \((.*?)\)", page).group(1)
    assert set(re.findall(r"\w+", left_out)) == set(NOT_NUMBERS)


def test_no_file_names_a_machine():
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|Users)/")
    code = (path for room in ("src", "scripts", "examples", "benchmarks") for path in (ROOT / room).rglob("*.py"))
    for path in (*code, *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        assert not pattern.search(path.read_text()), path.name
