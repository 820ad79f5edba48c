"""The page as a folder."""

from __future__ import annotations

import base64
import json
import re

import pytest

from theodolite import read_run
from theodolite.errors import InputError
from theodolite.explorer.content import Content
from theodolite.explorer.export import export_to


def test_every_part_is_there_as_it_is_and_as_a_script(made, tmp_path):
    content = Content(read_run(made("survey")))
    page = export_to([content], tmp_path / "public")
    assert page.read_text().index("Content-Security-Policy") < page.read_text().index("<script")
    for part in content.parts():
        body = (tmp_path / "public" / "runs" / "0" / part).read_bytes()
        assert body == content.read(part)[1]
        if part.endswith((".json", ".parquet")):
            script = (tmp_path / "public" / "runs" / "0" / f"{part}.js").read_text()
            name, held = re.fullmatch(r"theodoliteData\((\".*?\"),\"(.*)\"\);\n", script).groups()
            assert json.loads(name) == f"runs/0/{part}"
            assert base64.b64decode(held) == body


def test_only_a_new_or_an_empty_folder_is_written_to(made, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").touch()
    with pytest.raises(InputError, match="empty folder expected"):
        export_to([Content(read_run(made("survey")))], tmp_path / "there")
