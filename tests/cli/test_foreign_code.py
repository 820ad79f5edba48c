"""What a user's own code does to the command line: it may be slow, print, or end the process."""

import json
import subprocess
import sys
import time

import pytest

MODULE = '''
import os, pathlib, sys, time
import tiny

print("the module is imported")
HERE = pathlib.Path(os.environ["EVENTS"])

def slow():
    """Says that it has begun, and waits until it may go on."""
    (HERE / "loading").touch()
    while not (HERE / "go").exists():
        time.sleep(0.02)
    return tiny.make()

def noisy():
    print("weights", "are", "loaded")
    return tiny.make()

def leaves():
    sys.exit(0)

def leaves_with_words():
    sys.exit("no licence\\nfound")
'''


@pytest.fixture
def foreign(tiny, tmp_path, monkeypatch):
    """The folder of events, and of the module `foreign`."""
    (tmp_path / "foreign.py").write_text(MODULE)
    monkeypatch.setenv("EVENTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # factories are looked for there
    return tmp_path


QUICK = ("--budget", "quick", "--descriptors", "local_rank", "--limit", "1", "--no-report")


def survey(name, photos, out, *more):
    return ("survey", f"foreign:{name}", "--data", photos, "--out", out, *QUICK, *more)


def waited_for(path, process):
    while not path.exists():  # for an event, however busy the machine is
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_a_folder_that_is_taken_is_refused_before_a_model_is_loaded(foreign, start, photos, tmp_path):
    first = start(*survey("slow", photos, tmp_path / "run", "--seed", 1))
    waited_for(tmp_path / "loading", first)
    (tmp_path / "loading").unlink()
    second = start(*survey("slow", photos, tmp_path / "run", "--seed", 2))
    stdout, stderr = second.communicate()
    assert (second.returncode, stdout) == (2, "")
    assert "another process is writing" in stderr
    assert len(stderr.splitlines()) == 1
    assert not (tmp_path / "loading").exists()  # told before its model was loaded
    (tmp_path / "go").touch()
    assert first.wait() == 0
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (info["settings"]["seed"], info["status"], len(info["sittings"])) == (1, "complete", 1)


def test_a_missing_end_of_a_path_is_told_before_the_model_is_loaded(foreign, start, tmp_path):
    process = start("path", "foreign:slow", "seed:1", tmp_path / "nowhere.png", "--out", tmp_path / "run")
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (2, "")
    assert "no regular file" in stderr
    assert not (tmp_path / "loading").exists()


def test_what_a_factory_prints_stays_out_of_the_answer(foreign, start, photos, tmp_path):
    process = start(*survey("noisy", photos, tmp_path / "run", "--json"))
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["status"] == "complete"
    assert "weights are loaded" in stderr


@pytest.mark.parametrize(("name", "words"), [("leaves", "SystemExit"), ("leaves_with_words", "no licence")])
def test_a_factory_that_ends_the_process_is_one_line_and_code_two(foreign, start, photos, tmp_path, name, words):
    process = start(*survey(name, photos, tmp_path / "run"))
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (2, "")
    lines = [line for line in stderr.splitlines() if line != "the module is imported"]
    assert len(lines) == 1
    assert words in lines[0]
    assert not (tmp_path / "run").exists()


def test_a_factory_that_ends_the_process_is_an_input_error_in_python(foreign):
    code = (
        "import theodolite\n"
        "try:\n    theodolite.load('foreign:leaves')\n"
        "except theodolite.InputError as error:\n    print('refused', error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=foreign)
    assert "refused factory foreign:leaves failed: SystemExit" in done.stdout, done.stderr
