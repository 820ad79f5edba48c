"""The pages: generated parts are up to date, commands parse, names, files and links exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

import theodolite
from theodolite.cli.main import main
from theodolite.runs.registry import experiment_of, kinds
from theodolite.runs.settings import split_list

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
sys.path.insert(0, str(ROOT / "scripts"))
house, reference = importlib.import_module("house"), importlib.import_module("reference")

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_PLACEHOLDER = re.compile(r"\.\.\.|\[|\||…|\bVERB\b")
"""What stands in a line that shows how a command is made up, and is none."""

_DOTTED = re.compile(r"(?<![\w./\"-])theodolite(?!\.toml\b)((?:\.[A-Za-z_]\w*)+)")


def blocks(page, language):
    return [text for name, text in _FENCED.findall(page.read_text()) if name == language]


def commands():
    """Every command of the pages: lines of code, and code inside a sentence that has more than a verb."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        lines = [line.strip().removeprefix("$ ") for line in text.splitlines()]
        inline = [code for code in re.findall(r"`(theodolite [^`\n]+)`", text) if len(code.split()) > 2]
        for line in [*(line for line in lines if line.startswith("theodolite ")), *inline]:
            if not _PLACEHOLDER.search(line):
                yield pytest.param(line, id=f"{page.name}: {line[:60]}")


@pytest.mark.parametrize("line", [*commands()])
def test_every_command_parses(line):
    verb, *words = shlex.split(line.split(" > ")[0], comments=True)[1:]
    command = main.get_command(click.Context(main), verb)
    assert command is not None, f"{verb} is no verb"
    if words == ["--help"]:
        return
    given = command.make_context(verb, words).params
    if verb in kinds():
        for setting in experiment_of(verb).settings:
            value = given[setting.name]
            if value not in (None, ()):
                setting.checked([part for item in value for part in split_list(item)] if setting.many else value)


def test_commands_are_found():
    lines = [param.values[0] for param in commands()]
    assert "theodolite rank --demo" in lines
    assert len(lines) > 60
    assert {line.split()[1] for line in lines} >= set(kinds())


def test_the_generated_pages_are_what_the_script_writes():
    for path, text in reference.references().items():
        assert path.read_text() == text, f"{path.name}: run python scripts/reference.py"


def test_the_references_name_every_setting_and_every_quantity():
    lines, quantities = reference.command_line(), reference.quantity_tables()
    for kind in kinds():
        experiment = experiment_of(kind)
        assert all(f"--{setting.name.replace('_', '-')}" in lines for setting in experiment.settings)
        assert all(f"`{name}`" in quantities for name in experiment.quantities())


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 8000


def test_the_readme_has_every_verb():
    readme = (ROOT / "README.md").read_text()
    for verb in main.list_commands(click.Context(main)):
        assert f"`theodolite {verb}" in readme, verb


def python_blocks():
    return [(page, text) for page in PAGES for text in blocks(page, "python")]


@pytest.mark.parametrize(("page", "text"), [pytest.param(p, t, id=f"{p.name}: {t[:40]}") for p, t in python_blocks()])
def test_python_in_the_pages_compiles_and_imports_what_exists(page, text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("theodolite"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{page.name}: {node.module}.{alias.name}"


def named():
    """Names below `theodolite.` in code, without what follows a call."""
    for page in PAGES:
        for name in sorted(
            set(re.findall(r"(?<![\w./\"-])theodolite(?!\.toml\b)((?:\.[A-Za-z_]\w*)+)", page.read_text()))
        ):
            yield pytest.param(name[1:], id=f"{page.name}: {name[1:]}")


@pytest.mark.parametrize("name", [*named()])
def test_names_in_the_pages_exist(name):
    thing = theodolite
    for part in name.split("."):
        if part in ("descriptors", "predictors", "experiments", "models") and thing is theodolite:
            return  # a group of entry points has the name of a room or of none
        if not hasattr(thing, part):
            importlib.import_module(f"{thing.__name__}.{part}")
        thing = getattr(thing, part)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_of_the_pages_exist(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        file = (page.parent / path) if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target
    for file in re.findall(r"`((?:benchmarks|examples|scripts|tests|docs)/[\w/.]+)`", text):
        assert (ROOT / file).exists(), file


def anchors(file):
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_picture_of_the_house_names_what_is_there():
    picture = blocks(ROOT / "docs" / "architecture.md", "")[0]
    source, room = ROOT / "src" / "theodolite", ""
    rooms = set()
    for line in picture.splitlines():
        if heading := re.match(r"  (\w+)/", line):
            room = heading.group(1)
            rooms.add(room)
        if line.startswith(" "):
            for file in re.findall(r"(?<![\w/.])(\w+\.py)\b", line):
                assert (source / file).exists() or [*(source / room).rglob(file)], f"{room}/{file}"
    assert rooms == {path.parent.name for path in source.glob("*/__init__.py")}


def test_the_house_is_counted(tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "report" / "templates").mkdir(parents=True)
    (tmp_path / "maps" / "a.py").write_text("1\n2\n")
    (tmp_path / "maps" / "b.py").write_text("1\n")
    (tmp_path / "top.py").write_text("1\n")
    (tmp_path / "report" / "templates" / "run.html").write_text("1\n2\n3\n")
    counts = house.counted(tmp_path)
    assert counts == {"maps": (2, 3), house.PACKAGE: (1, 1)}
    table = house.house(counts, house.templates(tmp_path)).splitlines()
    assert "| `maps` | 17 | 3,088 | 2 | 3 |" in table
    assert "| `fisher` | 37 | 5,093 | – | – |" in table
    assert "| **sum** | 297 | 40,281 | 3 | 4 |" in table
    assert table[-1].endswith("| 1 | 3 |")
