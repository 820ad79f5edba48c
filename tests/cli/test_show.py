"""`theodolite show`: a run's summary in the terminal and for machines."""

import json
import re

from theodolite.surveys import read_run


def test_the_table_holds_every_quantity(invoke, done):
    result = invoke("show", done)
    assert result.exit_code == 0
    assert "tiny, 2 samples, budget quick, complete" in result.stdout
    for quantity in read_run(done).quantities:
        assert re.search(rf"^ *{quantity} ", result.stdout, re.MULTILINE)


def test_flagged_quantities_say_why(invoke, photos, tmp_path):
    words = ("--budget", "quick", "--descriptors", "local_complexity", "--limit", 2, "--no-report", "--quiet")
    invoke("survey", "tiny:make", "--data", photos, "--out", tmp_path / "run", *words)
    result = invoke("show", tmp_path / "run")
    line = next(line for line in result.stdout.splitlines() if line.startswith("local_complexity: "))
    assert line == "local_complexity: 2 undefined; the map calls no activation with a kink at zero"


def test_json_is_one_object_without_nan(invoke, done):
    result = invoke("show", done, "--json", "--sort", "local_rank")
    content = json.loads(result.stdout, parse_constant=lambda word: 1 / 0)
    assert content["samples"] == 2
    assert [entry["quantity"] for entry in content["quantities"]] == read_run(done).quantities
    values = [entry["value"] for entry in content["samples_by"]["local_rank"]]
    assert values == sorted(values, reverse=True)
    assert len(values) == 2


def test_samples_are_listed_by_a_quantity(invoke, done):
    text = invoke("show", done, "--sort", "local_rank").stdout
    column = read_run(done).column("local_rank")
    first = column["sample"][column["value"].argmax()]
    lines = text[text.index("samples by local_rank") :].splitlines()
    assert next(line.split()[0] for line in lines if re.match(r" *0\d ", line)) == first


def test_an_unknown_quantity_or_run_is_one_line(invoke, done, tmp_path):
    result = invoke("show", done, "--sort", "local_rnk")
    assert result.exit_code == 2
    assert "did you mean 'local_rank'" in result.stderr
    result = invoke("show", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "theodolite survey" in result.stderr
