"""What single views show, beside what the runs hold."""

from __future__ import annotations

import base64
import itertools

import numpy as np

from theodolite import read_run
from theodolite.explorer.content import Content
from theodolite.explorer.pictures import album_of, sheet_of
from theodolite.explorer.views import curves_of, pairs_of, phases_of, projection_of, spectra_of


def unpacked(text):
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


def test_curves_of_a_ranking_have_a_series_for_every_space_and_denoiser(made):
    run = read_run(made("rank"))
    curves = {(curve["quantity"], curve["x"]): curve for curve in curves_of(run)}
    resolved = curves["resolved", "tau"]
    rows = run.rows("resolved", space="images", denoiser="best")
    points = next(entry["points"] for entry in resolved["series"] if entry["label"] == "images, best")
    assert resolved["log"]
    assert [point[:4] for point in points] == sorted([r["tau"], r["value"], r["low"], r["high"]] for r in rows)
    assert len(resolved["series"]) == 3 * 2  # images and two models, by two denoisers
    assert ("resolved", "t") in curves  # the same over the noise of the space, not a series for every place


def test_a_run_without_a_numeric_coordinate_has_no_curves(made):
    assert curves_of(read_run(made("survey"))) == []


def test_the_projection_keeps_the_distances_that_its_axes_span(made):
    run = read_run(made("survey"))
    told = projection_of(run, run.units)
    X = np.stack([run.numpy_arrays(unit)["latent"].ravel() for unit in run.units]).astype(float)
    X -= X.mean(0)
    _, singular, axes = np.linalg.svd(X, full_matrices=False)
    points = unpacked(told["points"]).reshape(len(run.units), 3)
    assert np.allclose(np.abs(points), np.abs(X @ axes[:3].T), atol=1e-4)
    assert np.allclose(told["share"], singular[:3] ** 2 / (singular**2).sum())
    assert told["shape"] == [4, 4, 4]


def test_spectra_are_densities_over_decades(made):
    run = read_run(made("survey"))
    side = spectra_of(run, run.units)["sides"]["spectrum"]
    curves = unpacked(side["curves"]).reshape(len(side["rows"]), len(side["grid"]))
    mass = np.trapezoid(curves, side["grid"], axis=1)
    assert np.allclose(mass, 1 - side["nullShare"], atol=0.02)
    assert np.allclose(curves.mean(0), side["mean"], atol=1e-5)


def test_pairs_come_with_the_surest_difference_first(made):
    pairs = pairs_of(read_run(made("compare")))
    away = [abs(v) / ((high - low) / 2 or 1e-300) for v, low, high in (pair["difference"] for pair in pairs)]
    assert len(pairs) > 2
    assert all(first >= second for first, second in itertools.pairwise(away))


def test_phase_maps_have_a_value_a_cell(made):
    run = read_run(made("phases"))
    told = phases_of(run)
    level = told["levels"][0]
    cells = level["shape"][0] * level["shape"][1]
    assert len(told["levels"]) == len(run.units) == 2
    assert len(unpacked(level["fields"]["log_determinant"]["value"])) == cells == len(level["regions"])
    assert len(unpacked(level["points"])) == 2 * cells


def test_every_run_has_the_views_that_it_can_fill(made):
    views = {kind: Content(read_run(made(kind))).views for kind in ("survey", "rank", "path", "phases", "hotspots")}
    assert views["survey"] == ["scatter", "gallery", "spectrum", "projection", "table"]
    assert views["rank"] == ["curves", "scatter", "table"]
    assert views["path"] == ["curves", "scatter", "strips", "table"]
    assert views["phases"] == ["phases", "scatter", "strips", "table"]
    assert "gallery" in views["hotspots"]


def test_an_album_lists_pictures_by_unit_and_a_sheet_shows_their_colours(made):
    import io

    from PIL import Image

    run = read_run(made("survey"))
    album = album_of(run)
    assert album.names == {unit: ["", "reconstruction"] for unit in run.units}
    sheet = Image.open(io.BytesIO(sheet_of(run, album, run.units)))
    with Image.open(run.picture(run.units[2])) as image:
        own = np.asarray(image.convert("RGB"), dtype=float).mean((0, 1))
    cell = np.asarray(sheet.crop((2 * 64, 0, 3 * 64, 64)), dtype=float).mean((0, 1))
    assert np.abs(own - cell).max() < 4  # JPEG


def test_a_unit_with_dots_in_its_name_keeps_its_pictures(made, tmp_path):
    import json
    import shutil

    shutil.copytree(made("path"), tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    run = read_run(tmp_path / "run")
    (tmp_path / "run" / "pictures" / "linear.a.b.png").write_bytes((run.picture("linear", "strip")).read_bytes())
    assert album_of(run).names["linear"] == ["a.b", "strip"]
    assert info["units"] == [*album_of(run).names] or set(album_of(run).names) == set(info["units"])
