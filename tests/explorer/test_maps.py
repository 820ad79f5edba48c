"""Maps over pictures: which arrays are maps, on which scale, and what their pictures show."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from theodolite import read_run
from theodolite.errors import InputError
from theodolite.explorer.content import Content
from theodolite.explorer.maps import map_picture, maps_of
from theodolite.report import palette
from theodolite.report.pictures import heat_image


@pytest.fixture(scope="module")
def hot(made):
    return read_run(made("hotspots"))


def test_the_maps_of_hotspots_have_one_scale_over_all_samples(hot):
    shown = maps_of(hot, hot.units)
    assert [item.name for item in shown] == ["gain", "curvature", "detail"]
    cells = np.concatenate([hot.numpy_arrays(unit)["curvature"].ravel() for unit in hot.units])
    assert (shown[1].low, shown[1].high) == pytest.approx(tuple(np.quantile(cells, (0.01, 0.99))))
    assert shown[1].label == "Curvature of a cell"


def test_a_run_of_another_kind_has_none(made):
    survey = read_run(made("survey"))
    assert maps_of(survey, survey.units) == []
    assert maps_of(read_run(made("hotspots")), []) == []


def test_a_picture_is_dark_where_the_map_is_large_and_transparent_where_it_is_no_number():
    field = np.array([[0.0, 1.0, 2.0], [np.nan, -5.0, 9.0]])
    pixels = np.asarray(heat_image(field, (0.0, 2.0), side=3))
    ends = [palette.rgb(palette.SCALE[at]) for at in (0, -1)]
    assert pixels.shape == (2, 3, 4)
    for row, column, colour in ((0, 0, ends[0]), (1, 1, ends[0]), (0, 2, ends[1]), (1, 2, ends[1])):
        assert tuple(pixels[row, column, :3]) == tuple(colour)
    assert (pixels[..., 3] == np.where(np.isnan(field), 0, 255)).all()
    assert heat_image(field[:1], (0.0, 2.0), side=30).size == (30, 10)


def test_maps_are_parts_of_the_content_by_number_and_row(hot):
    content = Content(hot)
    kind, body = content.read("maps/1/2.png")
    assert kind == "image/png"
    assert body == map_picture(hot, content.units[2], content.maps[1])
    assert Image.open(io.BytesIO(body)).size[0] >= 16
    assert [part for part in content.parts() if part.startswith("maps/")] == [
        f"maps/{number}/{row}.png" for number in range(3) for row in range(3)
    ]
    for part in ("maps/3/0.png", "maps/0/3.png"):
        with pytest.raises(KeyError):
            content.read(part)
    with pytest.raises(InputError, match="holds no map"):
        map_picture(hot, content.units[0], replace(content.maps[0], name="pattern"))
