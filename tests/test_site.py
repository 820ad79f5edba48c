"""The docs site, without building it: its tree, the marks of tutorials, docstrings that stay whole."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = {path.stem: path.read_text() for path in sorted(DOCS.glob("*.md"))}
sys.path.insert(0, str(DOCS / "_extensions"))
docstrings, executed = importlib.import_module("docstrings"), importlib.import_module("executed")


def test_every_page_is_in_the_tree_once():
    listed = [
        line.strip()
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", PAGES["index"], re.DOTALL)
        for line in tree.splitlines()
        if line.strip() and not line.startswith(":")
    ]
    assert sorted([*listed, "index"]) == sorted(PAGES)


def test_every_room_is_in_the_python_reference():
    import theodolite

    rooms = set(re.findall(r"automodule:: theodolite\.(\w+)", PAGES["api"]))
    assert {name for name in theodolite._HOMES if name not in ("data", "errors", "extension", "report")} == rooms
    for room in rooms:
        importlib.import_module(f"theodolite.{room}")


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if "<!-- run -->" in text])
def test_every_mark_of_a_tutorial_is_understood(name):
    marks = re.findall(r"<!-- (?:run|figure|picture)\b", PAGES[name])
    assert len(executed._MARK.findall(PAGES[name])) == len(marks)
    runs = set(re.findall(r"--out (\S+)", PAGES[name]))
    assert {match["run"] for match in executed._MARK.finditer(PAGES[name]) if match["run"]} <= runs


def test_there_is_a_tutorial_a_question():
    questions = {"which_autoencoder", "where_brittle", "bad_samples", "was_it_memorised", "how_to_move", "start"}
    assert questions == {name for name, text in PAGES.items() if "<!-- run -->" in text}


def test_a_tutorial_is_executed(tmp_path):
    text = "a\n<!-- run -->\n```python\nimport os\nx = 2\nprint(x, len(os.listdir('photos')) > 20)\n```\n"
    again = "<!-- run -->\n```bash\necho hello\n```\n<!-- run -->\n```python\nprint(x + 1)\n```"
    page = executed.Tutorial(tmp_path).page(text + again)
    assert re.findall(r"```text\n(.*?)\n```", page, re.DOTALL) == ["2 True", "hello", "3"]
    with pytest.raises(RuntimeError, match="failed \\(1\\): false"):
        executed.Tutorial(tmp_path).page("<!-- run -->\n```bash\nfalse\n```")


def test_docstrings_become_restructured_text():
    lines = ["Sum `|x|", "    + y` of b_ and *c*.", "", "Args:", "    `a_`: is.", "    b: ``c``s.", ">>> `x`*2", "4"]
    docstrings.process(None, "", "", None, None, lines)
    assert lines[0] == "Sum ``|x| + y`` of b\\_ and \\*c\\*."
    assert lines[3:5] == ["    ``a_``: is.", "    b: ``c``\\ s."]
    assert lines[5:] == [">>> `x`*2", "4"]
