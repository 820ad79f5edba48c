"""Tiny models and images, runners of the command line here and in its own process, and what refusals look like."""

from __future__ import annotations

import importlib
import os
import pathlib
import subprocess
import sys

import pytest
from click.testing import CliRunner

import theodolite
from theodolite.cli.main import main

TESTS = pathlib.Path(__file__).parents[1]
HERE = TESTS / "surveys"
sys.path[:0] = [str(TESTS), str(TESTS / "golden")]


@pytest.fixture
def tiny(monkeypatch):
    """The module `tiny`, importable under that name, here and in processes started from here."""
    source = pathlib.Path(theodolite.__file__).parents[1]
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(HERE), str(source), before])))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("tiny")


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
