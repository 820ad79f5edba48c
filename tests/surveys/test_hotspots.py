"""A run of hotspots on a tiny decoder: its folder, interruption, the reference, and what is refused; its report."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from theodolite.surveys.hotspots_store import HotspotRun, read_hotspots

from theodolite import InputError, find_hotspots
from theodolite.derivatives import SelfCheck
from theodolite.detection import hotspots
from theodolite.surveys.engine import Survey
from theodolite.surveys.store import RunFolder, read_parquet

QUICK: dict[str, Any] = {"dimension": 3, "neighbours": 2}


@pytest.fixture(scope="module")
def tiny() -> Iterator[Any]:
    """The module of tiny models, for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield importlib.import_module("tiny")


@pytest.fixture(scope="module")
def photos(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_images(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="module")
def found(tiny: Any, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> HotspotRun:
    return find_hotspots(tiny.make(), photos, tmp_path_factory.mktemp("runs") / "run", **QUICK)


def test_the_folder_holds_maps_masks_and_numbers(found: HotspotRun) -> None:
    assert found.run.status == "complete"
    assert found.samples == ("00", "01", "02", "03")
    maps = [found.run.arrays(sample) for sample in found.samples]
    assert maps[0]["gain"].shape == (16, 16)
    again = hotspots(*(torch.stack([one[name] for one in maps]) for name in ("curvature", "detail")))
    assert torch.equal(again.mask, found.found.mask)
    assert all(found.overlay(sample).stat().st_size > 100 for sample in found.samples)
    rows = read_parquet(found.run.path / "hotspots.parquet").to_pylist()
    assert {row["quantity"] for row in rows if row["sample"] is None} == set(found.found.shares)
    assert len(rows) == 5 + 4 * 5
    assert "subspace_lc" in found.run.quantities
    shares = found.found.images["wasted_share"].value[found.order].nan_to_num(nan=-1.0)
    assert torch.equal(shares, shares.sort(descending=True).values)


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    tiny: Any, found: HotspotRun, photos: Path, tmp_path: Path
) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_hotspots(tiny.make(), photos, tmp_path / "run", progress=stop, **QUICK)
    kept = read_hotspots(tmp_path / "run")
    assert (kept.run.status, kept.samples) == ("interrupted", ("00", "01"))
    assert kept.overlay("01").exists()
    again = find_hotspots(tiny.make(), photos, tmp_path / "run", **QUICK)
    assert again.run.status == "complete"
    for name, share in found.found.shares.items():
        assert float(again.found.shares[name].value) == float(share.value)
    with pytest.raises(InputError, match="grid output there, latent here"):
        find_hotspots(tiny.make(), photos, tmp_path / "run", grid="latent", **QUICK)


def test_thresholds_are_those_of_the_reference(tiny: Any, photos: Path, tmp_path: Path) -> None:
    odd = tiny.write_images(tmp_path / "odd", count=1)
    found = find_hotspots(tiny.make(), odd, tmp_path / "run", reference=photos, grid="latent", **QUICK)
    assert (len(found.samples), found.reference) == (1, 4)
    assert found.found.mask.shape == (1, 4, 4)
    assert found.found.shares["area"].status == "undetermined"  # one image tells no error
    roles = [file["role"] for file in found.run.info["data"]["files"]]
    assert roles == ["image"] + ["reference"] * 4
    assert f"--reference {photos}" in found.run.info["command"]


def test_a_folder_that_another_process_holds_is_left_as_it_is(tiny: Any, photos: Path, found: HotspotRun) -> None:
    table = found.run.path / "hotspots.parquet"
    before = (table.stat().st_ino, found.overlay("01").stat().st_ino)
    with RunFolder(found.run.path).locked(), pytest.raises(InputError, match="another survey is writing"):
        find_hotspots(tiny.make(), photos, found.run.path, **QUICK)
    assert (table.stat().st_ino, found.overlay("01").stat().st_ino) == before


def test_doubted_derivatives_doubt_every_share(
    tiny: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("plotly")
    from theodolite.report.hotspots import write_hotspots_report

    whole = Survey._self_checked

    def failed(self: Survey, latents: torch.Tensor) -> SelfCheck:
        return replace(whole(self, latents), passed=False, first_order_holds=False, message="cut off")

    monkeypatch.setattr(Survey, "_self_checked", failed)
    found = find_hotspots(tiny.make(), photos, tmp_path / "run", **QUICK)
    rows = read_parquet(found.run.path / "hotspots.parquet").to_pylist()
    assert not {row["status"] for row in rows} & {"ok", "approximate"}
    assert {one.status for one in found.found.thresholds.values()} == {"undetermined"}
    page = write_hotspots_report(found).read_text()
    assert "Doubt every number below: cut off" in page
    assert "of chance" not in page


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        ("make", {"reference": "same"}, "two folders"),
        ("make", {"grid": "cells"}, "output, latent"),
        ("make", {"neighbours": 0}, "`neighbours`"),
        ("make", {"dimension": 99}, "between 1 and 32"),
        ("make", {"group": "^"}, "two sources"),
        ("make", {"data": "nowhere"}, "does not exist"),
        ("make", {"limit": -1}, "limit"),
        ("make", {"limit": 1}, "a larger --limit"),
        ("to_vectors", {}, "spatial axes"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    tiny: Any, make: str, change: dict[str, Any], message: str, photos: Path, tmp_path: Path
) -> None:
    given = {"data": photos, **QUICK, **change}
    if given.get("reference"):
        given["reference"] = photos
    with pytest.raises(InputError, match=message):
        find_hotspots(getattr(tiny, make)(), given.pop("data"), tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_other_runs_are_refused(tiny: Any, photos: Path, found: HotspotRun, tmp_path: Path) -> None:
    from theodolite.surveys import survey

    survey(tiny.make(), photos, tmp_path / "run", descriptors="local_scaling", budget="quick", limit=1)
    with pytest.raises(InputError, match="theodolite survey"):
        find_hotspots(tiny.make(), photos, tmp_path / "run", **QUICK)
    with pytest.raises(InputError, match="of a survey"):
        read_hotspots(tmp_path / "run")
