"""The tiny models and images of the surveys' tests, a runner in this process, and one in its own."""

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

SURVEYS = pathlib.Path(__file__).parents[1] / "surveys"


@pytest.fixture
def tiny(monkeypatch):
    """The module `tiny`, importable under that name, here and in processes started from here."""
    source = pathlib.Path(theodolite.__file__).parents[1]
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(SURVEYS), str(source), before])))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(SURVEYS)
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
def start():
    """Start the command line in a process of its own, which ends with the test."""
    processes = []

    def call(*words):
        command = [sys.executable, "-m", "theodolite", *(str(word) for word in words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield call
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def done(invoke, photos, tmp_path):
    """A complete run of two samples without a report."""
    words = ("--budget", "quick", "--descriptors", "local_scaling,local_rank", "--limit", 2, "--no-report", "--quiet")
    result = invoke("survey", "tiny:make", "--data", photos, "--out", tmp_path / "done", *words)
    assert result.exit_code == 0, result.output
    return tmp_path / "done"
