"""A setting is declared once: what it takes, what it refuses in which words, and the command line that repeats it."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as hypotheses
from hypothesis import strategies as st

from theodolite.cli import verbs
from theodolite.errors import InputError
from theodolite.runs.conduct import _Conducted
from theodolite.runs.engine import ThisProcess
from theodolite.runs.folder import RunFolder
from theodolite.runs.run import schema_of
from theodolite.runs.settings import Setting, checked_settings, split_list

COUNT = Setting(name="count", help="How many.", default=3, kind=int, least=1)
LIMIT = replace(COUNT, name="limit", zero_means_none=True)
LEVEL = Setting(name="level", help="A level.", default=0.5, kind=float, above=0.0, most=1.0)
WORD = Setting(name="word", help="One of these.", default="red", choices=("red", "green", "blue"))
TEXT = Setting(name="text", help="Anything.")
FLAG = Setting(name="flag", help="Whether.", default=False, kind=bool)
WORDS = Setting(name="words", help="Some of these.", many=True, choices=lambda: ["red", "green", "blue"])
TEXTS = Setting(name="texts", help="Anything.", many=True)
NUMBERS = Setting(name="numbers", help="Numbers.", default=(0.5,), kind=float, many=True)
BOXES = Setting(name="boxes", help="Pairs.", kind=float, many=True, each=2)
DATA = Setting(name="data", help="Where the images are.", required=True, role="places")
ALL = (DATA, COUNT, LIMIT, LEVEL, WORD, TEXT, FLAG, WORDS, TEXTS, NUMBERS, BOXES)


@pytest.mark.parametrize(
    ("setting", "value", "checked"),
    [
        (COUNT, 5, 5),
        (COUNT, "5", 5),
        (COUNT, np.int32(5), 5),
        (LIMIT, 0, None),
        (LIMIT, "0", None),
        (LIMIT, None, None),
        (LIMIT, 7, 7),
        (LEVEL, 1, 1.0),
        (LEVEL, "1e-3", 0.001),
        (LEVEL, np.float32(0.25), 0.25),
        (WORD, "green", "green"),
        (TEXT, 5, "5"),
        (TEXT, torch.float32, "torch.float32"),
        (TEXT, "torch.photos", "torch.photos"),
        (Setting(name="dtype", help="", choices=("float32",)), torch.float32, "float32"),
        (FLAG, True, True),
        (WORDS, "green, red,", ["green", "red"]),
        (WORDS, ["blue"], ["blue"]),
        (WORDS, None, None),
        (TEXTS, r"a\,b,c", ["a,b", "c"]),
        (NUMBERS, (1, 2.5), [1.0, 2.5]),
        (NUMBERS, "1,2.5", [1.0, 2.5]),
        (BOXES, [(0, 1), (2, 3)], [[0.0, 1.0], [2.0, 3.0]]),
        (BOXES, "0,1,2,3", [[0.0, 1.0], [2.0, 3.0]]),
    ],
)
def test_what_is_taken(setting, value, checked):
    found = setting.checked(value)
    assert (found, type(found)) == (checked, type(checked))
    assert json.loads(json.dumps(found)) == checked


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        (COUNT, 0, "`count` expected to be a whole number, 1 or more, got 0"),
        (COUNT, 1.5, "a whole number"),
        (COUNT, True, "a whole number.*True"),
        (COUNT, "three", "a whole number.*'three'"),
        (COUNT, float("nan"), "a whole number"),
        (COUNT, 10**400, "a whole number"),
        (LIMIT, -1, "1 or more"),
        (LIMIT, False, "a whole number"),
        (LEVEL, 0, "a finite number, above 0 and 1 or less, got 0"),
        (LEVEL, 1.001, "1 or less"),
        (LEVEL, "nan", "a finite number"),
        (LEVEL, "inf", "a finite number"),
        (LEVEL, 10**400, "a finite number"),
        (LEVEL, [0.5], "a finite number"),
        (WORD, "gren", "`word` expected to be one of red, green, blue, got 'gren', did you mean 'green'"),
        (WORD, ["red"], "one of red"),
        (FLAG, "yes", "`flag` expected to be true or false, got 'yes'"),
        (FLAG, 1, "true or false"),
        (WORDS, ["red", "mauve"], "one of red, green, blue, got 'mauve'"),
        (WORDS, 5, "`words` expected to be a list, got 5; separate its entries by commas"),
        (NUMBERS, "1,x", "a finite number, got 'x'"),
        (replace(WORDS, different=True), "red,red", "`words` expected one or more different entries, got red, red"),
        (replace(WORDS, different=True), [], "`words` expected one or more different entries, got none"),
        (replace(NUMBERS, different=True), [2, 2.0000001], "`numbers` expected one or more different entries"),
        (BOXES, "0,1,2", "`boxes` expected 2 numbers each, got 3 in all"),
        (DATA, None, "`data` expected, got none: Where the images are"),
    ],
)
def test_what_is_refused_in_one_line(setting, value, message):
    with pytest.raises(InputError, match=message) as caught:
        setting.checked(value)
    assert "\n" not in str(caught.value)


def test_a_check_of_its_own_is_the_last_word():
    def even(value):
        if value % 2:
            raise InputError("`count` expected to be even")
        return value // 2

    setting = replace(COUNT, check=even)
    assert setting.checked("8") == 4
    with pytest.raises(InputError, match="even"):
        setting.checked(3)
    assert replace(COUNT, default=None, check=even).checked(None) is None


def test_settings_have_their_defaults_and_unknown_names_are_refused():
    found = checked_settings(ALL, {"data": "x", "word": "blue"}, "`theodolite mix`")
    assert found["word"] == "blue"
    assert (found["count"], found["limit"], found["flag"], found["numbers"]) == (3, 3, False, [0.5])
    with pytest.raises(InputError, match="unknown setting 'wrod' of `theodolite mix`, did you mean 'word'"):
        checked_settings(ALL, {"wrod": "blue"}, "`theodolite mix`")


def test_a_list_is_split_at_commas():
    assert split_list("a, b ,,c") == ["a", "b", "c"]
    assert split_list(r"a\,b") == ["a,b"]


@pytest.fixture(scope="module")
def echo():
    """From the words of a command line to the settings that its experiment gets."""
    from tally import Tally

    class Mix(Tally):
        """Nothing is measured."""

        kind = "mix"
        settings = ALL

    received = []

    def call(words):
        def conducted(experiment, arguments, out, given, **answer):
            received.append(({**checked_settings(ALL, given, "mix")}, arguments, out))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(verbs, "conduct", conducted)
            result = CliRunner().invoke(verbs.verb_of(Mix), words)
        assert result.exit_code == 0, result.output
        return received.pop()

    return Mix, call


TEXT_OF_A_LIST = st.text(st.characters(exclude_characters="\\", exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda text: text == text.strip()
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
COLOURS = st.sampled_from(["red", "green", "blue"])
GIVEN = st.fixed_dictionaries(
    {"data": st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)},
    optional={
        "count": st.integers(1, 10**9),
        "limit": st.none() | st.integers(0, 10**9),
        "level": st.floats(0, 1, exclude_min=True),
        "word": COLOURS,
        "text": st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
        "flag": st.booleans(),
        "words": st.lists(COLOURS),
        "texts": st.lists(TEXT_OF_A_LIST),
        "numbers": st.lists(FINITE, min_size=1),
        "boxes": st.lists(st.tuples(FINITE, FINITE)),
    },
)


@hypotheses(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(GIVEN, st.text(st.characters(exclude_characters="-", exclude_categories=["Cs", "Cc"]), min_size=1))
def test_the_recorded_command_parses_back_to_the_same_settings(echo, tmp_path_factory, given, thing):
    experiment, call = echo
    checked = checked_settings(ALL, given, "mix")
    folder = RunFolder(tmp_path_factory.getbasetemp() / "a run", schema_of(experiment))
    work = experiment({"thing": thing, **checked})
    command = _Conducted(work, folder, print, ThisProcess(), None, None).command(checked)
    program, kind, *words = shlex.split(command)
    assert (program, kind) == ("theodolite", "mix")
    assert call(words) == (checked, [thing], str(folder.path))


def test_an_option_may_be_given_again_instead_of_commas(echo):
    _, call = echo
    once = call(["x", "--data", "d", "--words", "red,blue", "--boxes", "1,2,3,4", "--out", "o"])
    boxes = ["--boxes", "1,2", "--boxes", "3,4"]
    again = call(["x", "--data", "d", "--words", "red", "--words", "blue", *boxes, "--out", "o"])
    assert once == again
