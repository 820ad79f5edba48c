"""What messages advise exists: options of the command line, keywords of Python, and cures of the error that came."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

import theodolite
from theodolite.cli.main import main
from theodolite.descriptors import Effort
from theodolite.errors import InputError, refusing
from theodolite.runs.settings import SIZE

SOURCE = Path(theodolite.__file__).parent
OTHERS = {"--frozen", "--head", "--no-sandbox", "--no"}
"""Options of other programs, and how those of switches begin."""


@functools.cache
def texts() -> list[tuple[str, str]]:
    """Every string of the package that may be a message, with its file."""
    return [*_texts()]


def _texts() -> Iterator[tuple[str, str]]:
    """Every string of the package that is no docstring, pieces of f-strings joined, with its file."""
    for file in sorted(SOURCE.rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        if "--" not in source and "`" not in source:
            continue
        tree = ast.parse(source)
        spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                yield file.name, "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (spoken | inside):
                yield file.name, node.value


def options(command: click.Command) -> set[str]:
    own = {word for part in command.params for word in (*part.opts, *part.secondary_opts)}
    if isinstance(command, click.Group):
        context = click.Context(command)
        own |= {word for name in command.list_commands(context) for word in options(command.get_command(context, name))}
    return own | {"--help"}


def test_every_option_that_a_message_names_exists():
    known = options(main) | OTHERS
    named = {
        (file, word) for file, text in texts() for word in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]\b(?!-?\0)", text)
    }
    assert len(named) > 50
    assert not {pair for pair in named if pair[1] not in known}


def test_settings_of_an_effort_are_told_as_pythons():
    """None of them is an option of the command line, where only the budget is chosen."""
    words = "|".join(field.name for field in fields(Effort))
    advice = [(file, text) for file, text in texts() if re.search(rf"(increase|raise|more|larger) `({words})`", text)]
    assert len(advice) >= 4
    assert not [each for each in advice if "in Python" not in each[1]]


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (RuntimeError("size mismatch"), "another --size"),
        (TypeError("forward() missing 1 required positional argument: 'text'"), "condition"),
        (AttributeError("'Decoder' object has no attribute 'up'"), "its own code"),
    ],
)
def test_the_cure_is_that_of_the_error(error, cure):
    with pytest.raises(InputError) as caught, refusing("my-vae", "failed", "try another --size"):
        raise error
    assert cure in str(caught.value)
    assert str(caught.value).count(";") == 1


def test_a_size_that_no_memory_holds_is_refused_before_any_is_taken():
    with pytest.raises(InputError, match="16384 or less, got 100000"):
        SIZE.checked("100000")
