"""Verification of runs: what is measured again, what is found, what is refused, and that nothing is written."""

from __future__ import annotations

import json

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from tally import Tally

import theodolite
from theodolite.errors import InputError
from theodolite.estimates import Estimate, student_mean
from theodolite.estimates.agreement import binomial_tail
from theodolite.runs import Derived, Piece, Setting, number, registry
from theodolite.runs.conduct import conduct
from theodolite.runs.settings import DTYPE


class Urn(Tally):
    """Means of draws from known laws: of each unit's own, and two at its levels that err together.

    Examples:
      theodolite urn abacus --out runs/urn
    """

    kind = "urn"
    settings = (
        *Tally.settings,
        DTYPE,
        Setting(name="budget", default="quick", choices=("quick", "full"), help="How many draws."),
    )
    scale = 1.0

    def measure(self, unit, sitting):
        self.measured.append(unit)
        if unit in self.broken:
            raise self.broken[unit]
        n = self.given["draws"] * (10 if self.given["budget"] == "full" else 1)
        stream = torch.Generator().manual_seed(self.probe_seed(unit))
        draws = torch.randn(n, 2, generator=stream, dtype=torch.float64)
        mean, stderr = (part.unsqueeze(1) for part in student_mean(draws))
        own = [Estimate(m, self.scale * e, n, n) for m, e in zip(mean, stderr)]
        rows = [number("mean", own[0], side="left"), *(number("twin", own[1], level=level) for level in (0.5, 0.7))]
        return Piece([*rows, number("half", Estimate.of(torch.tensor([0.5])))], {"draws": draws[:, 0]})

    @classmethod
    def derive(cls, run):
        rows = run.rows("mean") if run.units else []
        if len(rows) < 2:
            raise InputError("two units expected, got fewer; measure more")
        mean = sum(row["value"] for row in rows) / len(rows)
        error = sum(row["stderr"] ** 2 for row in rows) ** 0.5 / len(rows)
        return Derived([number("grand", Estimate.of(torch.tensor([mean]), torch.tensor([error])))])


@pytest.fixture
def urn(monkeypatch):
    monkeypatch.setitem(registry._REGISTERED, "urn", Urn)
    for name, value in (("measured", []), ("broken", {}), ("doubt", False), ("length", ""), ("scale", 1.0)):
        monkeypatch.setattr(Urn, name, value)
    return Urn


@pytest.fixture
def drawn(urn, tmp_path):
    """Conduct one urn of twenty units."""

    def call(out="run", **given):
        return conduct(urn, ["abacus"], tmp_path / out, **{"units": 20, **given})

    return call


def rewrite(run, change):
    """Change the table of a run by hand."""
    file = run.path / "quantities.parquet"
    table = pq.read_table(file)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), file)
    return run.path


def replaced(table, column, values):
    return table.set_column(table.column_names.index(column), column, values)


def verdicts(result):
    return {(check.quantity, check.derived): check.verdict for check in result.checks}


class TestAnHonestRun:
    def test_holds(self, drawn):
        result = theodolite.verify(drawn(), units=None)
        assert result.holds
        assert len(result.units) == 20
        assert result.precision == "float64"
        assert verdicts(result) == {
            ("mean", False): "holds",
            ("twin", False): "holds",
            ("half", False): "repeats up to rounding",
            ("grand", True): "too few to tell",
        }
        (mean,) = [check.agreement for check in result.checks if check.quantity == "mean"]
        assert 0.5 < mean.spread < 1.5
        assert mean.error_ratio == pytest.approx(1, rel=0.3)

    @pytest.mark.slow
    def test_raises_few_alarms(self, urn, tmp_path):
        alarms = 0
        for seed in range(60):
            run = conduct(urn, ["abacus"], tmp_path / str(seed), units=8, seed=seed, draws=4)
            alarms += not theodolite.verify(run, seed=seed, level=0.05).holds
        assert binomial_tail(alarms, 60, 0.05) > 1e-3, alarms

    def test_draws_other_numbers_for_every_seed_and_the_same_for_one(self, drawn):
        run = drawn()
        first, again, other = (theodolite.verify(run, seed=seed) for seed in (1, 1, 2))
        assert first.rows == again.rows
        assert first.units != other.units
        new = {row["again"][0] for row in first.rows if row["quantity"] == "mean"}
        assert new.isdisjoint(row["stored"][0] for row in first.rows if row["quantity"] == "mean")

    def test_is_left_as_it_is(self, drawn, contents):
        run = drawn()
        before = contents(run.path)
        theodolite.verify(run.path)
        assert contents(run.path) == before

    def test_draws_no_more_units_than_asked(self, drawn, urn):
        run = drawn()
        urn.measured.clear()
        result = theodolite.verify(run, units=5)
        assert urn.measured == [*result.units]
        assert len(result.units) == 5
        assert verdicts(result)["grand", True] == "follows from the stored units"

    def test_may_be_measured_with_another_budget(self, drawn):
        result = theodolite.verify(drawn(), budget="full")
        (mean,) = [check.agreement for check in result.checks if check.quantity == "mean"]
        assert result.holds
        assert mean.error_ratio > 2
        assert result.rows[0]["again"][3] == 80

    def test_is_told_by_the_json_of_its_verification(self, drawn):
        told = json.loads(json.dumps(theodolite.verify(drawn()).as_dict()))
        assert (told["holds"], told["kind"], told["of"]) == (True, "urn", 20)
        assert {entry["quantity"] for entry in told["quantities"]} == {"mean", "twin", "half", "grand"}
        assert len(told["rows"]) == 8 * 4


class TestARunThatDoesNotHold:
    def test_by_divided_errors(self, drawn):
        path = rewrite(drawn(draws=20), lambda table: replaced(table, "stderr", pc.divide(table["stderr"], 5.0)))
        result = theodolite.verify(path)
        assert not result.holds
        assert verdicts(result)["mean", False] == "stored errors smaller than those found again"

    def test_by_an_estimator_that_is_too_sure(self, drawn, urn):
        urn.scale = 0.25
        assert verdicts(theodolite.verify(drawn(), units=None))["mean", False] == "too often outside its errors"

    def test_by_one_changed_number(self, drawn):
        def change(table):
            values = table["value"].to_pylist()
            values[0] += 40
            return replaced(table, "value", [values])

        result = theodolite.verify(rewrite(drawn(draws=30), change), units=None)
        assert verdicts(result)["mean", False] == "a value far outside its error"
        assert verdicts(result)["grand", True] == "does not follow from the stored units"

    def test_by_a_derived_number_alone(self, drawn):
        def change(table):
            values = table["value"].to_pylist()
            values[-1] += 1e-3
            return replaced(table, "value", [values])

        result = theodolite.verify(rewrite(drawn(), change))
        assert [check.quantity for check in result.checks if not check.holds] == ["grand"]

    def test_by_rows_that_are_gone(self, drawn):
        result = theodolite.verify(rewrite(drawn(), lambda table: table.slice(1)), units=None)
        assert verdicts(result)["mean", False] == "rows are missing"

    def test_by_a_unit_that_fails_now(self, drawn, urn):
        run = drawn()
        urn.broken = {"u3": ValueError("it burst")}
        result = theodolite.verify(run, units=None)
        assert [*result.failed] == [{"unit": "u3", "reason": "ValueError: it burst"}]
        assert not result.holds


class TestOtherRuns:
    def test_whose_draws_are_not_made_anew_repeat(self, tallied):
        result = theodolite.verify(tallied(units=6), units=None)
        assert result.holds
        assert verdicts(result)["mean", False] == "repeats up to rounding"
        assert verdicts(result)["hole", False] == "nothing to compare"

    def test_that_were_interrupted_are_verified_as_far_as_they_are(self, urn, tmp_path):
        def stop(done, total, what):
            if done == 6:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            conduct(urn, ["abacus"], tmp_path / "run", units=20, progress=stop)
        result = theodolite.verify(tmp_path / "run", units=None)
        assert len(result.units) == 6
        assert result.holds
        assert ("grand", True) not in verdicts(result)

    def test_that_were_killed_too(self, drawn, urn, monkeypatch):
        run = drawn()
        info = json.loads((run.path / "run.json").read_text())
        (run.path / "run.json").write_text(json.dumps({**info, "status": "running"}))
        assert theodolite.verify(run.path).holds

    def test_without_finished_units_are_refused(self, urn, tmp_path):
        def stop(done, total, what):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            conduct(urn, ["abacus"], tmp_path / "run", progress=stop)
        with pytest.raises(InputError, match="finished units expected"):
            theodolite.verify(tmp_path / "run")

    def test_of_float64_themselves_are_compared_to_more_digits(self, drawn):
        def change(table):
            halves = pc.equal(table["quantity"], "half")
            return replaced(table, "value", pc.if_else(halves, 0.5 + 1e-6, table["value"]))

        assert theodolite.verify(rewrite(drawn("single"), change)).holds
        assert not theodolite.verify(rewrite(drawn("double", dtype="float64"), change)).holds


class TestFloat64:
    def test_is_not_taken_where_it_is_not_wanted(self, drawn):
        assert theodolite.verify(drawn(), float64=False).precision == "float32"

    def test_is_left_where_it_fails(self, drawn, urn, monkeypatch):
        run, measure = drawn(), urn.measure

        def fails(self, unit, sitting):
            if self.given["dtype"] == "float64":
                raise RuntimeError("expected scalar type Float")
            return measure(self, unit, sitting)

        monkeypatch.setattr(urn, "measure", fails)
        result = theodolite.verify(run)
        assert (result.precision, result.holds) == ("float32", True)
        assert "since float64 failed: RuntimeError: expected scalar type Float" in result.notes[0]

    def test_is_not_there_without_the_setting(self, tallied):
        result = theodolite.verify(tallied())
        assert [*result.notes] == ["measured in the run's own precision: a run of tally has no setting `dtype`"]


class TestRefusals:
    def test_of_other_content(self, drawn, urn, monkeypatch):
        run = drawn()
        monkeypatch.setattr(urn, "length", "longer")
        with pytest.raises(InputError, match=r"something else than what is here \(another length\)"):
            theodolite.verify(run)

    def test_of_another_identity_of_a_unit(self, drawn, urn, monkeypatch):
        run = drawn()
        monkeypatch.setattr(urn, "identity", lambda self, unit: "another")
        with pytest.raises(InputError, match="another model or shape behind u"):
            theodolite.verify(run)

    def test_of_another_argument(self, drawn):
        with pytest.raises(InputError, match="another thing"):
            theodolite.verify(drawn(), at={"thing": "sliderule"})

    def test_of_what_cannot_be_opened(self, drawn):
        with pytest.raises(InputError, match="cannot be measured again: a thing expected, got nothing") as caught:
            theodolite.verify(drawn(), at={"thing": "nothing"})
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"at": {"thin": "x"}}, "did you mean 'thing'"),
            ({"at": {"units": 3}}, "expected to name what says where things are"),
            ({"units": 0}, "`units` expected"),
            ({"level": 1.0}, "`level` expected"),
            ({"budget": "huge"}, "quick, full"),
        ],
    )
    def test_of_wrong_settings(self, drawn, options, message):
        with pytest.raises(InputError, match=message):
            theodolite.verify(drawn(), **options)

    def test_of_a_budget_that_the_kind_has_not(self, tallied):
        with pytest.raises(InputError, match="--budget belongs to a run that has one"):
            theodolite.verify(tallied(), budget="full")

    def test_of_no_run(self, tmp_path):
        with pytest.raises(InputError, match="run folder expected"):
            theodolite.verify(tmp_path)

    def test_ctrl_c_ends_it(self, drawn):
        def stop(done, total, what):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            theodolite.verify(drawn(), progress=stop)


def test_streams_of_a_run_are_what_they_were(urn):
    from theodolite.estimates.streams import seed_of

    work = urn({"seed": 5, "thing": "abacus", "units": 1, "draws": 2})
    assert (work.probe_seed("cat"), work.probe_seed()) == (seed_of(5, "cat"), 5)
    work.redraw = 0
    assert len({work.probe_seed("cat"), work.probe_seed("dog"), work.probe_seed(), seed_of(5, "cat"), 5}) == 5
