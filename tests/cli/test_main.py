"""The command line as a whole: quick to start, helpful, honest in its exit codes."""

import subprocess
import sys

import pytest

import theodolite
from theodolite.cli.main import main
from theodolite.descriptors import EFFORTS, REGISTRY
from theodolite.errors import InputError
from theodolite.runs.registry import kinds
from theodolite.zoo import AUTOENCODERS

HEAVY = ("torch", "numpy", "rich", "plotly", "jinja2", "PIL", "pyarrow", "diffusers")


@pytest.mark.parametrize("words", [["--help"], ["path", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(tiny, words):
    code = (
        "import sys; from theodolite.cli.main import main; main(sys.argv[1:], standalone_mode=False); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", sorted({*kinds(), *main.commands}))
def test_every_verb_shows_examples(invoke, verb):
    text = invoke(verb, "--help").output
    assert "Examples:" in text
    assert f"theodolite {verb}" in text


def test_the_help_names_models_descriptors_defaults_and_costs(invoke):
    text = " ".join(invoke("survey", "--help").output.split())
    lower = text.lower()
    for name in (*AUTOENCODERS, *REGISTRY):
        assert name in text
    for words in ("all by default", "cpu by default", "by default as stored", "by default what the model takes"):
        assert words in lower
    assert all(budget in text for budget in EFFORTS)
    assert "decoder passes" in text


def test_the_verbs_are_summarised_in_whole_words(invoke):
    summary = invoke("--help").output.partition("Commands:")[2]
    assert len(summary.split("\n")) >= len(main.commands)
    assert "..." not in summary


def test_an_empty_path_is_refused_by_every_verb(invoke, photos, tmp_path):
    calls = (
        ("show", ""),
        ("report", ""),
        ("demo", "--out", ""),
        ("survey", "tiny:make", "--data", "", "--out", tmp_path / "run"),
        ("survey", "tiny:make", "--data", photos, "--out", ""),
        ("survey", "", "--data", photos, "--out", tmp_path / "run"),
    )
    for words in calls:
        result = invoke(*words)
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert "expected" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_the_version_is_told(invoke):
    assert invoke("--version").output == f"theodolite, version {theodolite.__version__}\n"


def test_python_m_is_the_same_command(start, tiny):
    process = start("--version")
    assert process.communicate(timeout=60)[0] == f"theodolite, version {theodolite.__version__}\n"
    assert process.returncode == 0


def test_a_users_mistake_is_one_line_and_code_two(invoke, monkeypatch, tmp_path):
    def fails(path):
        raise InputError("one thing\nwas expected,  another came")

    monkeypatch.setattr("theodolite.runs.registry.read_run", fails)
    result = invoke("show", tmp_path)
    assert result.exit_code == 2
    assert result.stderr == "theodolite: error: one thing was expected, another came\n"
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("survey", "tiny:make", "--out", "run"), "--data"),
        (("survey", "tiny:make", "--data", "x", "--out", "run", "--sise", "8"), "--size"),
        (("surway",), "surway"),
    ],
)
def test_a_wrong_option_is_one_line_and_code_two(invoke, words, message):
    result = invoke(*words)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("theodolite: error: ")
    assert message in result.stderr
    assert "--help)" in result.stderr


def test_a_bug_keeps_its_traceback_and_is_code_one(invoke, monkeypatch, tmp_path):
    def fails(path):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("theodolite.runs.registry.read_run", fails)
    result = invoke("show", tmp_path)
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


def test_an_interrupt_is_code_130(invoke, monkeypatch, tmp_path):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("theodolite.runs.registry.read_run", interrupted)
    result = invoke("show", tmp_path)
    assert (result.exit_code, result.stderr) == (130, "theodolite: interrupted\n")
