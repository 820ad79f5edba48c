"""The decoupling experiment on a denoiser small enough to run in a second."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from theodolite import InputError, decouple
from theodolite.data.conditions import prompts_of, text_of
from theodolite.derivatives import SelfCheck
from theodolite.maps.diffusion import Diffusion
from theodolite.report.decoupling import write_decoupling_report
from theodolite.surveys import decoupling_claims
from theodolite.surveys.decoupled import read_decoupling
from theodolite.surveys.decoupled_hotspots import paired_hotspots
from theodolite.surveys.decoupling_claims import Claim, claims
from theodolite.surveys.decoupling_columns import Columns, auroc_within

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
    found = decouple(model(), tmp_path / "run", conditions="0/1,0/2", pairs=6, **LEVELS)
    assert found.status == "complete"
    assert len(found.samples) == 6
    assert set(found.values) == {"normal", "unusual", "null"}
    assert {"ls_max", "lc", "phfe", "q", "map_correlation", "tortuosity"} <= set(found.values["unusual"])
    assert not found.values["normal"]["ls_max"].isnan().any()
    assert found.columns.paths.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert found.columns.pairs == ("0/1", "0/1", "0/2", "0/2", "0/1", "0/1")
    assert [claim.id for claim in found.claims] == [f"C{place}" for place in range(1, 9)]
    assert {claim.verdict for claim in found.claims} == {"undecided"}  # six pairs settle nothing


def test_conditions_of_a_pair_share_noise_subspace_and_neighbours(tmp_path: Path) -> None:
    found = decouple(model(), tmp_path / "run", conditions="1/1", pairs=4, guidance=1.0, **LEVELS)
    for name, column in found.values["normal"].items():
        torch.testing.assert_close(column, found.values["unusual"][name], equal_nan=True)


def test_hotspots_are_those_beside_the_same_seeds_under_the_normal_condition(tmp_path: Path) -> None:
    found = decouple(model(), tmp_path / "run", conditions="1/1,0/2", pairs=6, guidance=1.0, **LEVELS)
    pairs = paired_hotspots(found)
    assert pairs is not None
    assert set(pairs.sides) == {"normal", "unusual", "null"}
    assert pairs.sides["normal"].mask.shape == (len(pairs.samples), 4, 4)
    for place, sample in enumerate(pairs.samples):
        same = found.columns.pairs[found.samples.index(sample)] == "1/1"
        assert torch.equal(pairs.sides["normal"].mask[place], pairs.sides["unusual"].mask[place]) or not same
    assert pairs.sides["normal"].shares.keys() < pairs.sides["unusual"].shares.keys()


def test_an_interrupted_run_goes_on_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theodolite.surveys.decoupling._BATCH", 2)
    options: dict[str, Any] = {"conditions": "0/1", "pairs": 6, "null": False, **LEVELS}
    whole = decouple(model(), tmp_path / "whole", **options)

    def stop(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decouple(model(), tmp_path / "run", progress=stop, **options)
    assert read_decoupling(tmp_path / "run").status == "interrupted"
    assert len(read_decoupling(tmp_path / "run").samples) == 2
    again = decouple(model(), tmp_path / "run", **options)
    assert again.status == "complete"
    for kind, side in whole.values.items():
        for name, column in side.items():
            torch.testing.assert_close(again.values[kind][name], column, equal_nan=True)


def test_paper_mode_records_what_its_step_does(tmp_path: Path) -> None:
    found = decouple(model(), tmp_path / "run", conditions="0/1", pairs=2, paper=True, null=False, **LEVELS)
    assert [entry["step"] for entry in found.info["precision"]] == [0.01, 0.02, 0.04]
    assert abs(found.info["precision"][1]["ls_max"] - 1) < 0.05
    assert not found.values["normal"]["linearity"].isnan().any()


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
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text(json.dumps({"format": 1, "kind": "rank"}))
    with pytest.raises(InputError, match="another kind"):
        decouple(model(), tmp_path / "other", conditions="0/1", pairs=2, **LEVELS)


def test_derivatives_are_checked_first_and_numbers_of_wrong_ones_settle_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"conditions": "0/1", "pairs": 4, "null": False, **LEVELS}
    checked = decouple(model(), tmp_path / "checked", **options)
    assert checked.info["self_check"]["passed"]
    wrong = SelfCheck(False, "float64", "linearised", 1.0, 0.0, None, True, True, "wrong by 1", False)
    monkeypatch.setattr("theodolite.derivatives.self_check", lambda map, point: wrong)
    found = decouple(model(), tmp_path / "run", **options)
    statuses = {row["quantity"]: row["status"] for row in found.table.to_pylist()}
    assert statuses.pop("jump") == statuses.pop("tortuosity") == "undefined"  # of the second pair of a path
    assert set(statuses.values()) == {"undetermined"}
    assert found.values["normal"]["tortuosity"][0] == checked.values["normal"]["tortuosity"][0]
    assert {claim.verdict for claim in found.claims} == {"undecided"}
    page = write_decoupling_report(found).read_text()
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
    loaded = Diffusion(network, diffusers.DDIMScheduler())
    found = decouple(loaded, tmp_path / "run", conditions="1/2", pairs=2, **LEVELS)
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


def drawn(n: int, seed: int, link: float, shift: float = 0.0) -> dict[str, torch.Tensor]:
    """Quantities with a given link of LC and PHFE, LS tied to PHFE, and a shift of LC / PHFE."""
    a, b, c, d = torch.randn(4, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    phfe, lc = a.exp(), (link * a + (1 - link**2) ** 0.5 * b + shift).exp()
    even = {"q": d.exp(), "leading_share": 0.2 + 0.01 * d, "gap": c.exp(), "ls_max": (a / 2 + 0.02 * c).exp()}
    more = {"map_correlation": 0.3 * link + 0.01 * c, "mass_on_detail": 0.1 + 0.01 * d, "tortuosity": 1 + d.abs()}
    return {"lc": lc, "phfe": phfe, **even, **more, "jump": 1 + c.abs(), "recognised": (lc / phfe < 1).double()}


def columns(n: int, *, link: float, odd: float, shift: float) -> Columns:
    normal, unusual = drawn(n, 0, link), drawn(n, 1, odd, shift)
    unusual["tortuosity"] = normal["tortuosity"] + 0.5
    paths = torch.arange(n - n % 2).reshape(-1, 2)
    return Columns(normal, unusual, paths, 16, ("a/b",) * n)


@pytest.fixture(scope="module")
def judged() -> dict[str, Claim]:
    """Claims from pairs for which they hold."""
    return {claim.id: claim for claim in claims(columns(240, link=0.7, odd=0.0, shift=0.0))}


def test_claims_hold_where_they_are_true_and_fail_where_the_opposite_is(judged: dict[str, Claim]) -> None:
    true = {name: claim.verdict for name, claim in judged.items()}
    assert true["C1"] == "holds"
    assert true["C2"] == "holds"
    assert true["C4"] == "fails"
    assert true["C5"] == "holds"
    assert true["C6"] == "holds"
    assert true["C7"] == "undecided"
    assert true["C8"] == "holds"
    reverse = {claim.id: claim.verdict for claim in claims(columns(240, link=0.0, odd=0.7, shift=-2.0))}
    assert reverse["C1"] == "fails"
    assert reverse["C3"] == "fails"
    assert reverse["C5"] == "fails"


def test_few_pairs_leave_the_first_claim_open() -> None:
    first = claims(columns(100, link=0.7, odd=0.0, shift=0.0))[0]
    assert first.verdict == "undecided"
    assert "fewer than 200" in first.why


def test_detection_is_told_apart_by_what_the_classifier_saw(judged: dict[str, Claim]) -> None:
    seen = columns(240, link=0.7, odd=0.0, shift=0.0).unusual["recognised"]
    failed = int((seen < 0.5).sum())
    outcomes = {name: number for name, number in judged["C3"].others.items() if " pairs " in name}
    assert len(outcomes) == 8
    high = outcomes[f"LC / PHFE, {failed} pairs failed"]
    low = outcomes[f"LC / PHFE, {240 - failed} pairs recognised"]
    assert low.high < 0.5 < high.low  # the classifier of `drawn` recognises what has a low score
    assert judged["C8"].prompts == 0
    assert set(judged["C8"].others) == {"LC", "LS", "−LS", "1 / PHFE", "LC / LS²", "LC / q"}
    assert f"{failed} of 240" in judged["C8"].why


def of_prompts(seed: int, prompts: int = 8, seeds: int = 8, **options: Any) -> Columns:
    """Nothing is linked or differs between conditions, but every prompt has effects and failures of its own."""
    generator, n = torch.Generator().manual_seed(seed), prompts * seeds

    def side() -> dict[str, torch.Tensor]:
        own = torch.randn(5, prompts, generator=generator, dtype=torch.float64).repeat_interleave(seeds, 1)
        a, b, c, d, e = own + torch.randn(5, n, generator=generator, dtype=torch.float64)
        lengths = {"lc": a.exp(), "phfe": b.exp(), "q": c.exp(), "gap": c.exp(), "ls_max": c.exp()}
        return {**lengths, "map_correlation": d, "mass_on_detail": d, "recognised": (e > 0).double()}

    names = tuple(str(place // seeds) for place in range(n))
    return Columns(side(), side(), torch.empty(0, 2, dtype=torch.int64), 16, names, **options)


def test_intervals_hold_what_differs_between_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoupling_claims, "RESAMPLES", 200)
    truths = {"_linked": 0.0, "_off_detail": 0.0, "_visible": 0.5}

    def covered(**options: Any) -> float:
        hits = []
        for seed in range(40):
            columns = of_prompts(seed, **options)
            numbers = {name: getattr(decoupling_claims, name)(columns, seed).number for name in truths}
            hits += [one.low <= truths[name] <= one.high for name, one in numbers.items() if one is not None]
        return sum(hits) / len(hits)

    assert 0.88 <= covered() <= 0.99
    assert covered(over_prompts=False) < 0.85  # seeds of the same prompts are no replication


def test_prompts_are_drawn_whole_where_there_are_five() -> None:
    few, many = of_prompts(0, prompts=4), of_prompts(0, prompts=5)
    assert few.units == tuple(range(32))
    assert "these prompts alone" in few.drawn
    assert many.units == many.pairs
    assert many.among(torch.arange(40) < 16).units == many.pairs[:16]  # two prompts of five are drawn whole too
    assert [decoupling_claims._off_detail(one, 0).prompts for one in (few, many)] == [0, 5]


def test_auroc_within_prompts_does_not_see_what_differs_between_them() -> None:
    failed = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0] * 4).bool()
    prompts = [str(place // 4) for place in range(32)]
    between = torch.tensor([5.0, 5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0] * 4)
    found = auroc_within(between, failed, prompts)
    assert found is not None
    assert (found[0].value, found[1]) == (0.5, 8)
    above = auroc_within(between + failed, failed, prompts)
    assert above is not None
    assert above[0].value == 1.0
    assert auroc_within(between[:12], failed[:12], prompts[:12]) is None


def test_a_model_is_opened_where_its_options_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("theodolite.maps.load", lambda spec, **options: asked.append((spec, options)) or model())
    options: dict[str, Any] = {"conditions": "0/1", "pairs": 2, "null": False, **LEVELS}
    found = decouple("owner/dit", tmp_path / "run", subfolder="transformer", revision="v2", **options)
    assert asked == [("owner/dit", {"subfolder": "transformer", "revision": "v2", "device": None, "dtype": None})]
    assert "--subfolder transformer --revision v2" in found.info["command"]
