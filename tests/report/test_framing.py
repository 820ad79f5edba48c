"""Axes: nothing is squeezed by one sample, nothing is cut without a sign, nothing goes beyond what is possible."""

from dataclasses import replace

import numpy as np
import pytest

from theodolite.experiments.survey.page import survey_listing
from theodolite.report import figures
from theodolite.report.framing import central, framed

NONE = np.zeros(12)
VALUES = np.linspace(1.0, 2.0, 12)


def changed(quantity, **fields):
    return replace(quantity, **fields)


def test_every_value_and_interval_is_inside_when_none_is_far():
    frame = framed(VALUES, NONE + 0.1, NONE + 0.2)
    assert frame.low < 0.9
    assert frame.high > 2.2
    assert not np.any([frame.side, frame.cut_low, frame.cut_high])
    np.testing.assert_array_equal(frame.places, VALUES)


@pytest.mark.parametrize(("outlier", "side"), [(40.0, 1), (-40.0, -1)])
def test_an_outlier_stands_at_the_edge_and_squeezes_no_one(outlier, side):
    values = np.append(VALUES, outlier)
    frame = framed(values, np.append(NONE, 1.0), np.append(NONE, 1.0))
    assert frame.high - frame.low < 1.5
    assert frame.side.tolist() == [0] * 12 + [side]
    assert frame.places[-1] == (frame.high if side > 0 else frame.low)
    assert frame.below[-1] == frame.above[-1] == 0
    assert central(values[-3:]).all()  # of a few samples every one counts


def test_an_interval_that_is_cut_says_so():
    frame = framed(VALUES, np.eye(12)[0] * 50, np.eye(12)[11] * 50)
    assert frame.cut_low.tolist() == [True] + [False] * 11
    assert frame.cut_high.tolist() == [False] * 11 + [True]


def test_nothing_goes_beyond_what_is_possible():
    frame = framed(np.linspace(0.9, 0.99, 12), NONE, NONE + 0.2, most=1.0)
    assert frame.high < 1.01
    assert (frame.places + frame.above).max() <= 1.0
    assert not frame.cut_high.any()


def test_logarithmic_ends_are_told_in_the_values_unit():
    frame = framed(np.geomspace(0.01, 100, 12), NONE, NONE, logarithmic=True)
    assert frame.low < 0.01
    assert frame.high > 100
    assert frame.axis["type"] == "log"
    np.testing.assert_allclose(frame.axis["range"], np.log10([frame.low, frame.high]))


def test_figures_draw_the_signs(make_run):
    content = survey_listing(make_run(samples=12, flagged=False))
    quantity = content.quantity("local_rank")
    values, stderr = np.append(VALUES[1:], 40.0), np.append(3.0, NONE[1:])
    figure = figures.distribution(content, changed(quantity, values=values, stderr=stderr))
    _, points, _, cut = figure.data
    assert list(points.marker.symbol) == ["circle"] * 11 + ["triangle-right"]
    assert points.x[-1] == pytest.approx(figure.layout.xaxis.range[1], rel=1e-4)
    assert set(cut.marker.symbol) == {"triangle-left", "triangle-right"}
    other = content.quantity("local_scaling_per_dimension")
    scatter = figures.scatter(content, other, changed(quantity, values=values, stderr=stderr))
    assert list(scatter.data[0].marker.symbol) == ["circle"] * 11 + ["triangle-up"]
    assert set(scatter.data[1].marker.symbol) == {"triangle-up", "triangle-down"}


def test_a_cosine_is_not_drawn_beyond_one(make_run):
    content = survey_listing(make_run(samples=12, flagged=False))
    values = np.linspace(0.9, 0.999, 12)
    cosine = changed(content.quantity("local_rank"), name="axis_cosine", most=1.0, values=values, stderr=NONE + 0.05)
    outline, points, _, _ = figures.distribution(content, cosine).data
    assert max(outline.x) <= 1.0
    assert (np.array(points.x) + np.array(points.error_x.array)).max() <= 1.0 + 1e-4


def test_values_close_to_each_other_stay_apart(make_run):
    content = survey_listing(make_run(samples=12, flagged=False))
    values = 1 - np.linspace(1e-8, 4e-7, 12)
    cosine = changed(content.quantity("local_rank"), name="axis_cosine", most=1.0, values=values, stderr=NONE + 1e-7)
    figure = figures.distribution(content, changed(cosine, stderr=np.append(1.0, cosine.stderr[1:])))
    assert figure.data[3].x == (figure.layout.xaxis.range[0],)
    points = figures.distribution(content, cosine).data[1]
    assert len(set(points.x)) == 12
    assert (np.array(points.x) + np.array(points.error_x.array)).max() <= 1.0 + 1e-11
