"""The page that ships is what its sources make."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATIC = ROOT / "src" / "theodolite" / "explorer" / "static"


def script():
    spec = importlib.util.spec_from_file_location("explorer_script", ROOT / "scripts" / "explorer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bundle_is_built_from_these_sources():
    assert script().stale_parts() == [], "run python scripts/explorer.py"


def test_a_changed_source_or_bundle_is_seen(monkeypatch, tmp_path):
    module = script()
    for name in (*module.BUILT, module.MANIFEST):
        (tmp_path / name).write_bytes((STATIC / name).read_bytes())
    monkeypatch.setattr(module, "STATIC", tmp_path)
    assert module.stale_parts() == []
    (tmp_path / "explorer.js").write_bytes(b"alert(1)")
    assert module.stale_parts() == ["explorer.js"]
    monkeypatch.setattr(module, "_OF_THE_BUILD", module._OF_THE_BUILD[1:])
    assert "sources" in module.stale_parts()


def test_the_bundle_compiles_nothing_and_names_no_host():
    text = (STATIC / "explorer.js").read_text()
    assert not re.search(r"\beval\(|new Function\b", text)
    hosts = set(re.findall(r"https?://([^/\"'`\s]+)", text))
    assert hosts <= {"www.w3.org"}, hosts


def test_licences_of_all_that_is_bundled_are_listed():
    told = (STATIC / "LICENCES.txt").read_text()
    for name, version in json.loads((ROOT / "explorer" / "package.json").read_text())["dependencies"].items():
        assert f"{name} {version} (" in told


def test_the_lock_names_no_registry():
    lock = json.loads((ROOT / "explorer" / "package-lock.json").read_text())
    assert not any("resolved" in package for package in lock["packages"].values())
