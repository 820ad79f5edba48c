"""A latent that is turned, beside closed forms; and the process in which that happens."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from theodolite import read_run
from theodolite.descriptors import location_map
from theodolite.errors import InputError
from theodolite.estimates.streams import seed_of
from theodolite.explorer.live import Live
from theodolite.explorer.turning import Turning, _along


@pytest.fixture(scope="module")
def turning(made):
    return Turning("zoo:patches-kl", None, [made("survey"), made("rank")])


@pytest.fixture(scope="module")
def units(made):
    return read_run(made("survey")).units


@pytest.fixture(scope="module")
def chosen(turning, units):
    return turning.answer({"do": "choose", "run": 0, "unit": units[0]})


def at(unit, **how):
    return {"run": 0, "unit": unit, **how}


def test_directions_are_the_singular_vectors_of_the_dense_jacobian(turning, chosen, units):
    from theodolite.derivatives import jacobian

    base = turning._bases[0, units[0]]
    sigma = torch.linalg.svdvals(jacobian(turning.subject.map, base.latent).dense()[0].double())
    assert chosen["sigma"]["leading"] == pytest.approx(sigma[:4].tolist(), rel=1e-4)
    assert chosen["sigma"]["trailing"] == pytest.approx(sigma.flip(0)[:4].tolist(), rel=1e-3)
    step = 1e-2 * base.directions["leading"][0]
    moved = turning.subject.outputs(base.latent + step) - base.output
    assert float(moved.norm() / step.norm()) == pytest.approx(float(sigma[0]), rel=0.05)


def test_a_large_latent_gets_its_leading_directions_by_iteration(turning, chosen, units, monkeypatch):
    monkeypatch.setattr("theodolite.explorer.turning._DENSE", 8)
    few = turning.answer({"do": "choose", "run": 0, "unit": units[0]})
    assert "trailing" not in few["sigma"]
    assert few["denseSeconds"] > 0
    for value, error, truth in zip(few["sigma"]["leading"], few["errors"], chosen["sigma"]["leading"]):
        assert value <= truth * (1 + 1e-5)
        assert abs(value - truth) <= max(error, 1e-4 * truth)
    whole = turning.answer({"do": "choose", "run": 0, "unit": units[0], "dense": True})
    assert whole["sigma"]["trailing"] == pytest.approx(chosen["sigma"]["trailing"], rel=1e-4)


def test_points_are_where_sliders_and_samples_lead(turning, chosen, units):
    bases = [turning._base(at(unit)) for unit in units[:3]]
    z, first, second = (base.latent for base in bases)
    v = bases[0].directions["leading"][1]
    moved = turning._point(bases[0], at(units[0], moves={"leading": [0, 0.4], "trailing": []}))
    assert torch.allclose(moved, z + 0.4 * 0.5 * z.norm() * v)
    between = turning._point(bases[0], at(units[0], to={"unit": units[1], "t": 0.25, "way": "line"}))
    assert torch.allclose(between, 0.75 * z + 0.25 * first, atol=1e-6)
    plane = turning._point(bases[0], at(units[0], plane={"first": units[1], "second": units[2], "s": 0.3, "t": -0.2}))
    assert torch.allclose(plane, z + 0.3 * (first - z) - 0.2 * (second - z), atol=1e-6)


def test_nothing_moved_is_nothing_changed(turning, chosen, units):
    told = turning.answer({"do": "turn", **at(units[0], moves={"leading": [0, 0, 0, 0]})})
    assert told["moved"] == 0
    assert told["changed"] == 0
    assert told["image"].startswith("data:image/png;base64,")


def test_numbers_where_one_stops_are_those_of_the_run(turning, chosen, units, made):
    told = turning.answer({"do": "measure", **at(units[0])})
    run = read_run(made("survey"))
    numbers = {entry["label"]: entry for entry in told["numbers"]}
    for label, quantity in (("local scaling ψ", "local_scaling"), ("gain", "gain")):
        (row,) = run.rows(quantity, unit=units[0])
        reach = 3 * (row["stderr"] + numbers[label]["stderr"]) + 1e-4 * abs(row["value"])
        assert abs(numbers[label]["value"] - row["value"]) <= reach
    assert told["gain"]["low"] < told["gain"]["high"]
    assert told["gain"]["status"] == "ok"


def test_the_gain_where_one_stops_has_the_error_of_its_root(turning, chosen, units, monkeypatch):
    """Of a location's squared gain `g² ± e` the gain is `g ± e / 2 g`; what changed is the root of a mean square."""

    def noisy(*of, **options):
        located = location_map(*of, **options)
        return SimpleNamespace(gain=replace(located.gain, stderr=0.1 * located.gain.value), statuses=located.statuses)

    monkeypatch.setattr("theodolite.explorer.turning.location_map", noisy)
    told = turning.answer({"do": "measure", **at(units[0], moves={"leading": [0.5]})})
    base = turning._base(at(units[0]))
    point = turning._point(base, at(units[0], moves={"leading": [0.5]}))
    gain = noisy(turning.subject.map, point, generator=seed_of(0, units[0])).gain
    assert told["gain"]["stderr"] > 0
    root = gain.value[0].sqrt()
    assert told["gain"]["low"] == pytest.approx(float(root.min()))
    assert told["gain"]["stderr"] == pytest.approx(float((gain.stderr[0] / (2 * root)).square().mean().sqrt()))
    change = turning.subject.outputs(point) - base.output
    assert told["changed"] == pytest.approx(float(change.square().mean().sqrt()), rel=1e-5)


def test_a_geodesic_is_no_longer_than_the_straight_line_and_has_its_ends(turning, chosen, units):
    told = turning.answer({"do": "way", "run": 0, "unit": units[0], "to": units[1]})
    assert told["length"] <= told["straight"] * 1.001
    ends = [turning._base(at(unit)).latent for unit in units[:2]]
    for t, end in zip((0.0, 1.0), ends):
        how = {"unit": units[1], "t": t, "way": "geodesic"}
        assert torch.allclose(turning._point(turning._base(at(units[0])), at(units[0], to=how)), end, atol=1e-5)


def test_the_sample_that_is_turned_stays_open_with_what_was_found_of_it(turning, chosen, units, monkeypatch):
    monkeypatch.setattr("theodolite.explorer.turning._MOST_OPEN", 3)
    base = turning._base(at(units[0]))
    for first, second in itertools.pairwise(units[1:]):  # more samples than stay open
        plane = {"first": first, "second": second, "s": 0.5, "t": 0.5}
        turning._point(turning._base(at(units[0])), at(units[0], plane=plane))
    assert turning._base(at(units[0])) is base
    assert len(turning._bases) == 3


def test_what_was_not_found_before_is_no_silent_standstill(turning, units):
    base = turning._base(at(units[4]))
    with pytest.raises(InputError, match="along 0 leading directions"):
        turning._point(base, at(units[4], moves={"leading": [0.5]}))
    with pytest.raises(InputError, match="find it first"):
        turning._point(base, at(units[4], to={"unit": units[0], "t": 0.5, "way": "geodesic"}))
    still = turning._point(base, at(units[4], moves={"leading": [0, 0], "trailing": [0]}))
    assert torch.equal(still, base.latent)


def test_a_polygon_is_followed_at_even_steps():
    curve = torch.tensor([[0.0], [1.0], [3.0]])
    assert [_along(curve, t).item() for t in (-1.0, 0.0, 0.25, 0.5, 0.75, 1.0, 2.0)] == [0, 0, 0.5, 1, 2, 3, 3]


def test_another_model_than_that_of_a_run_is_told(made):
    assert Turning("zoo:patches-plain", None, [made("survey")]).answer({"do": "open"})["others"] == [0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"do": "nothing"}, "`do` expected to be one of open"),
        ({"do": "choose", "run": 9, "unit": "x"}, "number of a run"),
        ({"do": "choose", "run": True, "unit": "x"}, "number of a run"),
        ({"do": "choose", "run": 0, "unit": "../../etc/passwd"}, "finished unit"),
        ({"do": "choose", "run": 0, "unit": ["x"]}, "finished unit"),
        ({"do": "choose", "run": 1, "unit": "images"}, "holds no latent"),
    ],
)
def test_requests_for_what_is_not_there_are_refused(turning, asked, message):
    with pytest.raises(InputError, match=message):
        turning.answer(asked)


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), 1e9, "1", None, True])
def test_amounts_that_are_no_moves_are_refused(turning, chosen, units, amount):
    with pytest.raises(InputError, match="a number between -4 and 4 expected"):
        turning.answer({"do": "turn", **at(units[0], moves={"leading": [amount]})})


def test_the_latest_request_waits_and_the_one_before_it_is_dropped(monkeypatch):
    live, started, go_on = Live("zoo:digits", None, []), threading.Event(), threading.Event()
    answers = {}

    def slow(asked):
        started.set()
        assert go_on.wait(30)
        return {"answer": asked["n"]}

    monkeypatch.setattr(live, "_answered", slow)
    threads = [threading.Thread(target=lambda n=n: answers.update({n: live.ask({"n": n})})) for n in range(3)]
    threads[0].start()
    assert started.wait(30)
    threads[1].start()
    while live._latest < 2:
        time.sleep(0.001)
    threads[2].start()
    threads[1].join(30)  # dropped at once, while the first is still answered
    assert answers == {1: {"superseded": True}}
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert answers == {0: {"answer": 0}, 1: {"superseded": True}, 2: {"answer": 2}}


def test_a_model_that_cannot_be_opened_is_told_in_one_line(made):
    live = Live("zoo:nothing", None, [made("survey")])
    try:
        assert "model of the zoo expected" in live.ask({"do": "open"})["error"]
    finally:
        live.close()


def test_a_process_that_ends_is_told_and_started_anew(monkeypatch):
    import subprocess
    import sys

    real, scripts = (
        subprocess.Popen,
        ["raise SystemExit('no memory')", "print('{\"opened\": 1}'); input(); print('{\"here\": 1}')"],
    )

    def started(command, **options):
        return real([sys.executable, "-c", scripts.pop(0)], **options)

    monkeypatch.setattr("theodolite.explorer.live.subprocess.Popen", started)
    live = Live("zoo:digits", None, [])
    assert "no memory" in live.ask({"do": "open"})["error"]
    assert live.ask({"do": "open"}) == {"here": 1}
    live.close()
