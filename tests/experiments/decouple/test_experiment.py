"""The decoupling experiment on a denoiser small enough to run in a second."""

from __future__ import annotations

import json
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from theodolite.data.conditions import prompts_of, text_of
from theodolite.derivatives import SelfCheck
from theodolite.errors import InputError
from theodolite.experiments.decouple.experiment import Decouple
from theodolite.experiments.decouple.pairs import Pairs
from theodolite.maps import Denoiser
from theodolite.report.render import write_report
from theodolite.runs import read_run
from theodolite.runs.functions import function_of

decouple = function_of("decouple")
LEVELS = {"steps": 2, "dimension": 4, "neighbours": 2}


class Tiny(torch.nn.Module):
    """A denoiser of points (1, 4, 4) with two conditions."""

    shape = (1, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Parameter(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)) / 4)
        self.requires_grad_(False).eval()

    def forward(self, x: torch.Tensor, sigma: Any, condition: Any = None) -> torch.Tensor:
        shift = 0.0 if condition is None else float(condition)
        mixed = torch.tanh(x.flatten(1) @ self.mix + shift).reshape(x.shape)
        return (x + sigma * mixed) / (1 + sigma**2)

    def levels(self, steps: int) -> list[float]:
        return [4.0 * (steps - step) / steps for step in range(steps)] + [0.0]


def model() -> Any:
    return SimpleNamespace(name="tiny", denoiser=Tiny())


def test_every_pair_has_all_quantities_under_all_conditions(tmp_path: Path) -> None:
    run = decouple(model(), tmp_path / "run", conditions="0/1,0/2", pairs=6, **LEVELS)
    found = Pairs(run)
    assert run.status == "complete"
    assert found.names == [f"pair-{place:04d}" for place in range(6)]
    assert set(found.values) == {"normal", "unusual", "null"}
    assert {"ls_max", "lc", "phfe", "q", "map_correlation", "tortuosity"} <= set(found.values["unusual"])
    assert not found.values["normal"]["ls_max"].isnan().any()
    assert found.columns.paths.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert found.columns.pairs == ("0/1", "0/1", "0/2", "0/2", "0/1", "0/1")
    assert [claim.id for claim in found.claims] == [f"C{place}" for place in range(1, 9)]
    assert {claim.verdict for claim in found.claims} == {"undecided"}  # six pairs settle nothing
    assert run.parquet("claims") == found.verdicts()
    for claim in found.claims:
        deciding, *beside = run.rows("claim", claim=claim.id)
        assert deciding["beside"] is None
        assert [row["beside"] for row in beside] == [*claim.others]
        number = claim.number
        ends = (nan, nan, nan) if number is None else (number.item(), number.low.item(), number.high.item())
        assert (deciding["value"], deciding["low"], deciding["high"]) == pytest.approx(ends, nan_ok=True)
        assert deciding["status"] == ("undetermined" if number is None else number.status)


def test_conditions_of_a_pair_share_noise_subspace_and_neighbours(tmp_path: Path) -> None:
    found = Pairs(decouple(model(), tmp_path / "run", conditions="1/1", pairs=4, guidance=1.0, **LEVELS))
    for name, column in found.values["normal"].items():
        torch.testing.assert_close(column, found.values["unusual"][name], equal_nan=True)


def test_hotspots_are_those_beside_the_same_seeds_under_the_normal_condition(tmp_path: Path) -> None:
    run = decouple(model(), tmp_path / "run", conditions="1/1,0/2", pairs=6, guidance=1.0, **LEVELS)
    found = Pairs(run)
    sides = found.hotspots
    assert set(sides) == {"normal", "unusual", "null"}
    known = [*found.leading]
    assert sides["normal"].mask.shape == (len(known), 4, 4)
    for place, pair in enumerate(known):
        same = found.columns.pairs[found.names.index(pair)] == "1/1"
        assert torch.equal(sides["normal"].mask[place], sides["unusual"].mask[place]) or not same
    assert sides["normal"].shares.keys() < sides["unusual"].shares.keys()
    (overlap,) = run.rows("overlap", condition="unusual", part="value")
    assert overlap["value"] == sides["unusual"].shares["overlap"].item()


def test_a_student_is_measured_at_the_same_noises_and_decides_the_seventh_claim(tmp_path: Path) -> None:
    """A student that is the model itself, without guidance, has its gap."""
    options: dict[str, Any] = {"conditions": "0/1", "pairs": 6, "guidance": 1.0, "null": False, **LEVELS}
    run = decouple(model(), tmp_path / "run", student=model(), student_steps=2, **options)
    found = Pairs(run)
    assert found.student is not None
    assert set(found.values) == set(found.hotspots) == {"normal", "unusual"}
    for own, students in zip((found.values["normal"], found.values["unusual"]), found.student):
        for name, column in students.items():
            torch.testing.assert_close(column, own[name], equal_nan=True)
    seventh = found.claims[6]
    assert (seventh.n, seventh.number.item(), seventh.verdict) == (6, 0.0, "undecided")  # type: ignore[union-attr]
    assert run.info["student"] == "tiny"
    assert "tiny, 2 steps" in write_report(run.path).read_text()


def test_a_student_of_other_points_is_refused(tmp_path: Path) -> None:
    class Other(Tiny):
        shape = (1, 8, 2)

    with pytest.raises(InputError, match=r"a student of points \(1, 4, 4\) expected"):
        decouple(model(), tmp_path / "run", conditions="0/1", student=SimpleNamespace(denoiser=Other()), **LEVELS)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_run_goes_on_to_equal_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr("theodolite.experiments.decouple.experiment._BATCH", 2)
    options: dict[str, Any] = {"conditions": "0/1", "pairs": 6, "null": False, **LEVELS}
    whole = decouple(model(), tmp_path / "whole", **options)

    def stop(done: int, total: int, what: str) -> None:
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decouple(model(), tmp_path / "run", progress=stop, **options)
    assert read_run(tmp_path / "run").status == "interrupted"
    assert len(read_run(tmp_path / "run").units) == after
    again = decouple(model(), tmp_path / "run", **options)
    assert again.status == "complete"
    assert str(again.table.to_pylist()) == str(whole.table.to_pylist())  # NaN is NaN
    assert again.parquet("claims") == whole.parquet("claims")


def test_a_batch_that_fails_is_the_failure_of_its_pairs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Decouple._measure

    def failing(self: Decouple, batch: Any) -> Any:
        if "pair-0002" in batch:
            raise RuntimeError("no luck")
        return measure(self, batch)

    monkeypatch.setattr(Decouple, "_measure", failing)
    options: dict[str, Any] = {"conditions": "0/1,0/2", "pairs": 4, "null": False, **LEVELS}
    run = decouple(model(), tmp_path / "run", **options)
    assert run.units == ["pair-0000", "pair-0001"]
    assert [entry["reason"] for entry in run.info["failed"]] == ["RuntimeError: no luck"] * 2
    monkeypatch.setattr(Decouple, "_measure", measure)
    assert decouple(model(), tmp_path / "run", **options).is_whole


def test_paper_mode_records_what_its_step_does(tmp_path: Path) -> None:
    run = decouple(model(), tmp_path / "run", conditions="0/1", pairs=2, paper=True, null=False, **LEVELS)
    precision = run.rows("ls_max_over_exact", unit="precision")
    assert [row["step"] for row in precision] == [0.01, 0.02, 0.04]
    assert abs(precision[1]["value"] - 1) < 0.05
    assert not Pairs(run).values["normal"]["linearity"].isnan().any()
    assert "self_check" not in run.info
    assert "precision of differences" in write_report(run).read_text()


def test_bad_input_is_one_error_before_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="conditions expected"):
        decouple(model(), tmp_path / "run", pairs=2)
    for word in ("red/blue", "²/3"):  # a superscript is a digit and no number
        with pytest.raises(InputError, match="condition expected to be a class"):
            decouple(model(), tmp_path / "run", conditions=word)
    with pytest.raises(InputError, match="pairs"):
        decouple(model(), tmp_path / "run", conditions="0/1", pairs=1)
    with pytest.raises(InputError, match="dimension"):
        decouple(model(), tmp_path / "run", conditions="0/1", pairs=2, **{**LEVELS, "dimension": 999})
    with pytest.raises(InputError, match="guidance"):
        decouple(model(), tmp_path / "run", conditions="0/1", pairs=2, guidance=float("nan"), **LEVELS)
    with pytest.raises(InputError, match="autoencoder"):
        decouple("zoo:digits", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    decouple(model(), tmp_path / "run", conditions="0/1", pairs=2, **LEVELS)
    with pytest.raises(InputError, match="another configuration"):
        decouple(model(), tmp_path / "run", conditions="0/1", pairs=4, **LEVELS)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text(json.dumps({**record, "kind": "rank"}))
    with pytest.raises(InputError, match="a run of"):
        decouple(model(), tmp_path / "other", conditions="0/1", pairs=2, **LEVELS)


def test_derivatives_are_checked_first_and_numbers_of_wrong_ones_settle_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"conditions": "0/1", "pairs": 4, "null": False, **LEVELS}
    checked = decouple(model(), tmp_path / "checked", **options)
    assert checked.info["self_check"]["passed"]
    wrong = SelfCheck(False, "float64", "linearised", 1.0, 0.0, None, True, True, "wrong by 1", first_order_holds=False)
    monkeypatch.setattr("theodolite.derivatives.self_check", lambda map, point: wrong)
    found = decouple(model(), tmp_path / "run", cache=False, **options)
    statuses = {row["quantity"]: row["status"] for row in found.table.to_pylist() if row["unit"]}
    assert statuses.pop("jump") == statuses.pop("tortuosity") == "undefined"  # of the second pair of a path
    assert set(statuses.values()) == {"undetermined"}
    first = [Pairs(run).values["normal"]["tortuosity"][0] for run in (found, checked)]
    assert first[0] == first[1]
    assert {claim["verdict"] for claim in found.parquet("claims")} == {"undecided"}
    page = write_report(found).read_text()
    assert "wrong by 1" in page
    assert "their spectral gap closes" not in page


def test_a_class_conditional_transformer_of_diffusers_is_taken_with_its_own_null_class(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=2,
        out_channels=2,
        num_layers=1,
        sample_size=4,
        patch_size=2,
        num_embeds_ada_norm=10,
        norm_num_groups=2,
    )
    for weight in network.eval().requires_grad_(False).parameters():
        weight.normal_(std=0.3)
    loaded = Denoiser(network, schedule=diffusers.DDIMScheduler())
    found = Pairs(decouple(loaded, tmp_path / "run", conditions="1/2", pairs=2, **LEVELS))
    scaling = [found.values[kind]["ls_max"] for kind in ("normal", "unusual", "null")]
    assert all(bool(one.isfinite().all()) for one in scaling)
    assert not torch.equal(scaling[0], scaling[2])


def test_the_zoo_says_its_own_conditions() -> None:
    from theodolite.zoo.coloured import CONDITIONS, HELD_OUT

    found = prompts_of(SimpleNamespace(conditions=CONDITIONS, held_out=HELD_OUT), None)
    assert [unusual for _, unusual in found] == list(HELD_OUT)
    assert all(normal in CONDITIONS and normal[0] == unusual[0] for normal, unusual in found)
    assert prompts_of(None, "3-red/3-yellow,207/360") == [((3, "red"), (3, "yellow")), (207, 360)]


def test_a_mix_of_two_conditions_is_read_and_written() -> None:
    text = "3-red/3-red+8-red"
    assert prompts_of(None, text) == [((3, "red"), ((3, "red"), (8, "red")))]
    assert text_of(prompts_of(None, text)) == text
    with pytest.raises(InputError, match="a mix of the zoo's conditions"):
        prompts_of(None, "207/207+360")


def test_a_model_is_opened_where_its_options_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("theodolite.maps.load", lambda spec, **options: asked.append((spec, options)) or model())
    options: dict[str, Any] = {"conditions": "0/1", "pairs": 2, "null": False, **LEVELS}
    run = decouple("owner/dit", tmp_path / "run", subfolder="transformer", revision="v2", **options)
    (said,) = asked
    assert said[0] == "owner/dit"
    assert {name: said[1][name] for name in ("subfolder", "revision")} == {"subfolder": "transformer", "revision": "v2"}
    assert "--subfolder transformer --revision v2" in run.info["command"]


def test_a_run_of_another_version_is_refused(tmp_path: Path) -> None:
    options: dict[str, Any] = {"conditions": "0/1", "pairs": 2, "null": False, **LEVELS}
    decouple(model(), tmp_path / "run", **options)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "theodolite": "0.0.1", "configuration": "x"}))
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(InputError, match=r"theodolite 0\.0\.1 there"):
        decouple(model(), tmp_path / "run", **options)
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_a_killed_run_is_shown_as_far_as_it_came(tmp_path: Path) -> None:
    whole = decouple(model(), tmp_path / "run", conditions="0/1", pairs=4, **LEVELS)
    told = whole.experiment.page(whole).readings
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "status": "running"}))
    (tmp_path / "run" / "claims.parquet").unlink()
    killed = read_run(tmp_path / "run")
    assert killed.status == "interrupted"
    assert killed.experiment.page(killed).readings == told
