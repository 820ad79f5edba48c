"""The coverage study: its cells draw, its judge finds what is wrong, and what is stored keeps the rule."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import pytest
import torch

from theodolite.descriptors import REGISTRY
from theodolite.estimates import STATUSES, Estimate

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from studies.coverage import page, store  # noqa: E402
from studies.coverage.cells import Answer, Cell, all_cells, rows_of  # noqa: E402
from studies.coverage.judge import PROMISES, binomial_interval, verdicts  # noqa: E402
from studies.coverage.known import known_of  # noqa: E402

CELLS = all_cells()
STORED = store.read_table()


def drawn(error, stated, *, status="ok", conservative="", seeds=200):
    """The verdicts of a cell whose values err by `error` and state `stated`."""

    def draw(seed):
        value = error * torch.randn((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return {"number": Answer(Estimate.of(value, stated, statuses=status), 0.0)}

    cell = Cell("room", "regime", 1, "setting", draw, conservative)
    return verdicts(row for seed in range(seeds) for row in rows_of(cell, seed))


@pytest.mark.parametrize(
    ("stated", "options", "breach"),
    [
        (1.0, {}, ""),
        (0.7, {}, "too sure"),
        (0.7, {"status": "truncated"}, "too sure"),
        (0.7, {"status": "learned"}, ""),
        (0.7, {"status": "undetermined"}, ""),
        (3.0, {}, "too wide"),
        (3.0, {"conservative": "a bound"}, ""),
        (3.0, {"status": "truncated"}, ""),
        (0.0, {}, "not exact"),
    ],
)
def test_the_judge_finds_what_is_wrong(stated, options, breach):
    (verdict,) = drawn(1.0, stated, **options)
    assert verdict.breach == breach


def test_bounds_must_bound_on_their_side():
    def rows(side):
        estimate = Estimate.of(1.0, 0.5, statuses=f"{side}-bound")
        cell = Cell("room", side, 1, "", lambda seed: {"number": Answer(estimate, 1.2)})
        return verdicts(row for seed in range(30) for row in rows_of(cell, seed))

    assert [rows(side)[0].breach for side in ("lower", "upper")] == ["", "too sure"]


def test_every_status_has_a_promise():
    assert set(PROMISES) == set(STATUSES)


def test_the_binomial_interval_is_that_of_clopper_and_pearson():
    assert binomial_interval(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert binomial_interval(10, 10) == pytest.approx((0.025**0.1, 1.0))


def test_one_entry_a_draw_is_kept_and_all_of_them_come_up():
    estimate = Estimate.of(torch.arange(5.0, dtype=torch.float64), 1.0)
    cell = Cell("room", "regime", 5, "", lambda seed: {"number": Answer(estimate, estimate.value)})
    assert {next(rows_of(cell, seed))["value"] for seed in range(60)} == {0.0, 1.0, 2.0, 3.0, 4.0}


def test_rows_come_back_as_written(tmp_path):
    rows = [{**row, "code": "abc"} for row in rows_of(CELLS[0], 0)]
    store.write(rows, tmp_path / "rows.parquet")
    back = store.read(tmp_path / "rows.parquet")
    assert [row["value"] for row in back] == [row["value"] for row in rows]
    assert verdicts(back)[0].cell == CELLS[0].name


def test_collecting_keeps_what_was_not_drawn_again(tmp_path, monkeypatch):
    """By cell: its draws, where there are some, else what the table holds."""
    monkeypatch.setattr(store, "TABLE", tmp_path / "table.parquet")
    monkeypatch.setattr(store, "PARTS", tmp_path / "parts")
    exact = Estimate.of(1.0, 0.0)
    cells = [Cell("room", name, 1, "", lambda seed: {"number": Answer(exact, 1.0)}, seeds=2) for name in "ab"]
    rows = {cell.name: [row for seed in (0, 1) for row in rows_of(cell, seed)] for cell in cells}
    store.write_table(verdicts({**row, "code": "old"} for own in rows.values() for row in own))
    store.write([{**row, "code": "new"} for row in rows[cells[1].name]], store.part_of(cells[1].name))
    assert [(each.cell, each.code) for each in store.collected([cell.name for cell in cells])] == [
        (cells[0].name, "old"),
        (cells[1].name, "new"),
    ]


SMOKE = [cell for cell in CELLS if zlib.crc32(cell.name.encode()) % 40 == 0]
"""One cell in forty, the same in every run."""


@pytest.mark.parametrize("cell", SMOKE, ids=lambda cell: cell.name)
def test_a_cell_draws_again_what_it_drew(cell):
    first, again = ([*rows_of(cell, 3)] for _ in range(2))
    assert [row["value"] for row in first] == pytest.approx([row["value"] for row in again], rel=1e-9, nan_ok=True)
    assert all(row["truth"] == row["truth"] for row in first)


@pytest.mark.skipif(not STORED, reason="nothing has been collected")
class TestStored:
    """Rules on coverage.parquet."""

    def test_every_cell_in_it_has_all_its_draws(self):
        seeds = {cell.name: cell.seeds for cell in CELLS}
        assert not [each.cell for each in STORED if seeds.get(each.cell, 0) < each.seeds]
        most = {each.cell: max(v.seeds for v in STORED if v.cell == each.cell) for each in STORED[::97]}
        assert {name: seeds[name] for name in most} == most

    def test_every_promise_is_kept_but_those_that_are_known_to_be_broken(self):
        new, gone = known_of(each for each in STORED if each.breach)
        assert not [(each.breach, each.quantity, each.cell) for each in new]
        assert not gone, "broken no more: take them off the list"

    def test_every_quantity_of_every_descriptor_is_there(self):
        missing = {q.name for name in REGISTRY for q in REGISTRY[name].quantities} - {each.quantity for each in STORED}
        assert not missing

    def test_the_page_is_that_of_the_table(self):
        text = page.PAGE.read_text(encoding="utf-8")
        when = text.split("quantities, ")[1].split(",")[0]
        assert text == page.text_of(STORED, when, len(CELLS))
