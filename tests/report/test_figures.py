from dataclasses import replace

import numpy as np
import pytest

from theodolite.experiments.survey.page import survey_listing
from theodolite.report import figures


@pytest.fixture
def content(make_run):
    return survey_listing(make_run(samples=16))


def points_of(figure):
    return next(trace for trace in figure.data if trace.mode == "markers" and len(trace.x))


def test_a_distribution_shows_every_usable_sample_once(content):
    for quantity in content.quantities:
        figure = figures.distribution(content, quantity)
        if quantity.name == "null_dimension":
            assert figure is None
            continue
        points = points_of(figure)
        assert list(points.customdata) == np.flatnonzero(quantity.usable).tolist()
        np.testing.assert_allclose(points.x, quantity.values[quantity.usable], rtol=1e-4)
        low, high = figure.layout.xaxis.range
        assert low < min(points.x) <= max(points.x) < high


def test_points_with_another_status_are_hollow_and_bounds_have_one_sided_bars(content):
    leading = content.quantity("leading_singular_value")
    points = points_of(figures.distribution(content, leading))
    for index, symbol, above, below in zip(
        points.customdata, points.marker.symbol, points.error_x.array, points.error_x.arrayminus
    ):
        flagged = leading.statuses[index] != "ok"
        assert symbol == ("circle-open" if flagged else "circle")
        assert above == pytest.approx(1.96 * leading.stderr[index], rel=1e-4)
        assert below == (0.0 if flagged else pytest.approx(above))


def test_a_sample_has_one_colour_in_every_figure(content):
    pair = content.quantity("local_scaling_per_dimension"), content.quantity("local_rank")
    scatter = points_of(figures.scatter(content, *pair))
    strip = points_of(figures.distribution(content, content.quantity("local_complexity")))
    own = {sample.index: sample.colour for sample in content.samples}
    for points in (scatter, strip):
        assert dict(zip(points.customdata, points.marker.color)) == own
    assert len(set(own.values())) > 8


def test_the_scatter_has_scaling_across_and_rank_up(content):
    across, up = content.quantity("local_scaling_per_dimension"), content.quantity("local_rank")
    figure = figures.scatter(content, across, up)
    points = points_of(figure)
    np.testing.assert_allclose(points.x, across.values, rtol=1e-4)
    np.testing.assert_allclose(points.error_y.array, 1.96 * up.stderr, rtol=1e-4)
    assert figure.layout.xaxis.title.text == "Local scaling per dimension (nats)"
    assert figure.layout.meta["highlight"] == len(figure.data) - 1


def test_the_spectrum_has_a_band_a_mean_and_a_line_a_sample(content):
    density = figures.averaged_spectrum(content)
    figure = figures.spectrum_density(content, density)
    assert [trace.meta["sample"] for trace in figure.data if trace.meta] == list(range(16))
    assert sum(trace.fill == "tonexty" for trace in figure.data) == 1
    assert figure.layout.xaxis.type == "log"
    assert "1" in figure.layout.xaxis.ticktext


def test_one_sample_has_a_spectrum_without_band_and_no_distribution(make_run):
    content = survey_listing(make_run(samples=1))
    figure = figures.spectrum_density(content, figures.averaged_spectrum(content))
    assert not any(trace.fill for trace in figure.data)
    assert all(figures.distribution(content, quantity) is None for quantity in content.quantities)


def test_a_wide_distribution_is_logarithmic(content):
    quantity = content.quantity("curvature")
    wide = replace(quantity, values=np.geomspace(0.01, 100.0, 16))
    figure = figures.distribution(content, wide)
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.range[0] < -2 < 2 < figure.layout.xaxis.range[1]


def test_axis_titles_are_escaped(content):
    quantity = content.quantity("local_rank")
    hostile = replace(quantity, words=replace(quantity.words, label="<a href='x'>rank</a>", unit="a & b"))
    title = figures.scatter(content, hostile, quantity).layout.xaxis.title.text
    assert title == "&lt;a href='x'&gt;rank&lt;/a&gt; (a &amp; b)"
