"""Checks that passed are remembered by everything that they depend on, and by nobody else's word."""

from __future__ import annotations

import json
import sys
import sysconfig
import types
from dataclasses import replace

import pytest
import torch
from torch import nn

import theodolite
from theodolite import LatentMap
from theodolite.runs import self_checks
from theodolite.runs.self_checks import cache_folder, self_checked

Z = torch.randn(1, 5, generator=torch.Generator().manual_seed(0))


def network(seed=0):
    torch.manual_seed(seed)
    return LatentMap(nn.Sequential(nn.Linear(5, 8), nn.SiLU(), nn.Linear(8, 9)), (5,))


@pytest.fixture
def made(monkeypatch, tmp_path):
    """The checks that were made, in a cache of the test's own."""
    monkeypatch.delenv(self_checks.NO_CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls, whole = [], theodolite.derivatives.self_check

    def counted(map, point):
        calls.append(map)
        return whole(map, point)

    monkeypatch.setattr("theodolite.derivatives.self_check", counted)
    return calls


def entries():
    return [*cache_folder().glob("*")]


def test_a_check_that_passed_is_not_made_again_and_says_when_it_was(made):
    first, second = (self_checked(network(), Z, "net") for _ in range(2))
    assert len(made) == 1
    assert first.made == ""
    assert second.made[:2] == "20"
    assert replace(second, made="") == first
    assert self_checked(network(), 2 * Z, "net").made  # another image of the same model


@pytest.mark.parametrize("what", ["weights", "shape", "torch", "code", "library"])
def test_whatever_it_depends_on_makes_it_anew(made, monkeypatch, tmp_path, what):
    file = tmp_path / "helper.py"
    file.write_text("FACTOR = 1\n")
    helper = types.ModuleType("helper")
    helper.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "helper", helper)
    self_checked(network(), Z, "net")
    map, z = network(seed=1 if what == "weights" else 0), Z
    if what == "shape":
        map, z = LatentMap(nn.SiLU(), (None,)), Z[:, :3]
        self_checked(map, Z, "net")
        made.pop()
    elif what == "torch":
        monkeypatch.setattr(torch, "__version__", "0.0")
    elif what == "code":  # of a module of the user that the map may call
        file.write_text("FACTOR = 2\n")
    elif what == "library":
        monkeypatch.setattr(theodolite, "__version__", "0.0")
    assert self_checked(map, z, "net").made == ""
    assert len(made) == 2


def test_code_that_is_imported_as_the_map_runs_counts(made, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "late_helper.py").write_text("FACTOR = 1\n")

    def function(z):
        import late_helper

        return late_helper.FACTOR * z.sin()

    for factor in (1, 2, 2):
        (tmp_path / "late_helper.py").write_text(f"FACTOR = {factor}\n")
        monkeypatch.delitem(sys.modules, "late_helper", raising=False)  # as in a new process
        last = self_checked(LatentMap(function, (5,)), Z, "late")
    monkeypatch.delitem(sys.modules, "late_helper")
    assert len(made) == 2
    assert last.made


def test_another_version_of_an_installed_package_makes_it_anew(made, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    before = tmp_path / "thing-1.0.dist-info"
    before.mkdir()
    for _ in range(2):
        self_checked(network(), Z, "net")
    before.rename(tmp_path / "thing-1.1.dist-info")
    self_checked(network(), Z, "net")
    assert len(made) == 2


def test_a_module_below_the_prefix_is_the_users_unless_an_installer_put_it_there(monkeypatch):
    folders = {name: sysconfig.get_path(name) for name in ("stdlib", "purelib")}
    assert not any(self_checks._is_the_users("some", f"{folder}/some.py") for folder in folders.values())
    monkeypatch.setattr(sys, "prefix", "/usr")
    assert self_checks._is_the_users("mine", "/usr/app/mine.py")
    assert self_checks._is_the_users("mine", f"{sys.base_prefix}/app/mine.py")


def test_a_check_that_failed_is_made_every_time(made):
    mixed = LatentMap(lambda z: z - z.mean(0) + z**2, (5,))
    assert not [self_checked(mixed, Z, "mixed") for _ in range(2)][1].passed
    assert len(made) == 2
    assert entries() == []


@pytest.mark.parametrize("off", ["argument", "environment"])
def test_it_can_be_switched_off(made, monkeypatch, off):
    if off == "environment":
        monkeypatch.setenv(self_checks.NO_CACHE, "1")
    for _ in range(2):
        self_checked(network(), Z, "net", cache=off != "argument")
    assert len(made) == 2
    assert entries() == []


def test_code_that_is_in_no_file_is_checked_every_time(made, monkeypatch):
    typed = types.ModuleType("typed")
    monkeypatch.setitem(sys.modules, "typed", typed)
    exec("def function(z):\n    return z.sin()", vars(typed))
    for _ in range(2):
        self_checked(LatentMap(typed.function, (5,)), Z, "typed")
    assert len(made) == 2
    assert entries() == []


def _broken(file):
    file.write_text('{"passed": true')


def _failed(file):
    file.write_text(json.dumps({**json.loads(file.read_text()), "passed": False}))


def _of_another_type(file):
    file.write_text(json.dumps({**json.loads(file.read_text()), "first_order": "small"}))


def _endless(file):
    file.unlink()
    file.symlink_to("/dev/zero")


def _linked(file):
    target = file.rename(file.with_suffix(".elsewhere"))
    file.symlink_to(target)


def _open_to_all(file):
    file.chmod(0o666)


def _in_a_folder_of_all(file):
    file.parent.chmod(0o777)


@pytest.mark.parametrize(
    "spoil", [_broken, _failed, _of_another_type, _endless, _linked, _open_to_all, _in_a_folder_of_all]
)
def test_an_entry_that_is_damaged_or_may_be_anothers_is_none(made, spoil):
    self_checked(network(), Z, "net")
    (file,) = entries()
    spoil(file)
    assert self_checked(network(), Z, "net").made == ""
    assert len(made) == 2


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(made, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert all(self_checked(network(), Z, "net").passed for _ in range(2))
    assert len(made) == 2


def test_a_run_says_when_its_check_was_made(made, tiny, photos, tmp_path, invoke):
    words = ("survey", "tiny:make", "--data", photos, "--budget", "quick", "--descriptors", "local_complexity")
    checks = []
    for name, more in (("first", ()), ("second", ()), ("third", ("--no-cache",))):
        result = invoke(*words, "--out", tmp_path / name, "--no-report", *more)
        assert result.exit_code == 0, result.output
        checks.append(theodolite.read_run(tmp_path / name).info["self_check"])
    assert [bool(check["made"]) for check in checks] == [False, True, False]
    assert len(made) == 2
