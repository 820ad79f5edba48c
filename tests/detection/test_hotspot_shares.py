"""Shares of hotspots: what they are by construction, by chance and with honest errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from theodolite import InputError
from theodolite.detection import hotspots
from theodolite.detection.hotspot_shares import paired_hotspots


def maps(n: int, seed: int, side: int = 0, link: float = 1.0, louder: float = 0.0) -> tuple[Tensor, Tensor]:
    """Log-normal maps of 6x6 cells: both share a field of cells and a level of each image, and so do all sides."""
    first, own = (torch.Generator().manual_seed(one) for one in (seed, 1_000_000 * (side + 1) + seed))
    level, shared = torch.randn(n, 1, 1, generator=first), torch.randn(n, 6, 6, generator=first)
    common = 0.4 * level + link * shared
    bend, rough = torch.randn(2, n, 6, 6, generator=own)
    return (0.6 * (common + bend + louder)).exp(), (0.6 * (common + rough)).exp()


def test_a_reference_is_five_percent_hot_by_construction() -> None:
    found = hotspots(*maps(40, 0))
    area = found.shares["area"]
    assert abs(float(area.value) - 0.05) < 0.001
    assert float(area.stderr) < 1e-3
    assert float(area["excess"].value) == 0
    assert all(float(share["change"].value) == float(share["change"].stderr) == 0 for share in found.shares.values())
    assert float(found.mask.double().mean()) == pytest.approx(float(area.value))
    assert not (found.wasted & ~found.mask).any()
    assert "overlap" not in found.shares


def test_independent_maps_give_the_chance_values() -> None:
    bend = torch.rand(60, 12, 12, generator=torch.Generator().manual_seed(0))
    rough = torch.rand(60, 12, 12, generator=torch.Generator().manual_seed(1))
    other = torch.rand(60, 12, 12, generator=torch.Generator().manual_seed(2))
    found = hotspots(bend, rough, reference=(other, rough), paired=True, resamples=100)
    chance = {"area": 0.05, "wasted_area": 0.025, "wasted_share": 0.5, "wasted_mass": 0.5, "overlap": 0.05 / 1.95}
    for name, value in chance.items():
        assert float(found.shares[name]["null"].value) == pytest.approx(value, rel=0.1)
    assert float(found.shares["mass_on_detail"]["null"].value) == 14 / 144
    for share in found.shares.values():
        assert abs(float(share["excess"].value)) < 3.5 * float(share["excess"].stderr) + 1e-9


def test_linked_maps_waste_less_and_the_same_maps_overlap_fully() -> None:
    bend, rough = maps(40, 3)
    found = hotspots(bend, rough, reference=(bend.clone(), rough), paired=True)
    high = found.shares["wasted_share"]["excess"].interval()[1]
    assert float(high) < 0
    assert float(found.shares["mass_on_detail"]["excess"].interval()[0]) > 0
    assert float(found.shares["overlap"].value) == 1
    for image, mask in zip(found.images["area"].value, found.mask):
        assert float(image) == pytest.approx(float(mask.double().mean()))
    scaled = hotspots(7 * bend, 3 * rough, reference=(7 * bend, 3 * rough), paired=True)
    assert torch.equal(found.mask, scaled.mask)
    assert torch.equal(found.wasted, scaled.wasted)


def test_the_errors_of_shares_are_honest_over_draws() -> None:
    n, seeds = 24, 200
    options = {"link": 0.7, "louder": 0.3}
    many, reference = maps(20_000, 10_001, **options), maps(20_000, 10_001, side=1)
    truth = hotspots(*many, reference=reference, paired=True, resamples=2).shares
    names = ("area", "wasted_area", "wasted_share", "wasted_mass", "mass_on_detail", "overlap")
    scores: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(seeds):
        pair = maps(n, seed, **options), maps(n, seed, side=1)
        found = hotspots(*pair[0], reference=pair[1], paired=True, resamples=60, seed=seed).shares
        for name in names:
            one = found[name]
            scores[name].append(float((one.value - truth[name].value) / one.stderr))
            for part in ("excess", "change") if name != "overlap" else ("excess",):
                one, true = found[name][part], truth[name][part]
                scores.setdefault(f"{name}, {part}", []).append(float((one.value - true.value) / one.stderr))
    for name, column in scores.items():
        z = torch.tensor(column)
        assert abs(float(z.mean())) < 0.25, name
        assert 0.7 < float(z.std()) < 1.3, name


def test_groups_are_drawn_whole() -> None:
    bend, rough = maps(12, 5)
    twice = hotspots(bend.repeat(3, 1, 1), rough.repeat(3, 1, 1), groups=list(range(12)) * 3)
    once = hotspots(bend, rough)
    for name, share in once.shares.items():
        torch.testing.assert_close(twice.shares[name].value, share.value)
        torch.testing.assert_close(twice.shares[name].stderr, share.stderr)
    pair = maps(12, 5, side=1)
    hotspots(bend, rough, reference=pair, paired=True, groups=list("aabbccddeeff"))  # of both sides


def test_one_image_beside_a_reference_has_masks_and_no_error() -> None:
    bend, rough = maps(1, 7)
    found = hotspots(bend, rough, reference=maps(10, 8))
    assert found.shares["wasted_mass"].status == "undetermined"
    assert float(found.images["wasted_mass"].stderr) > 0


def test_what_never_happened_has_no_error_and_says_so() -> None:
    bend, rough = torch.zeros(2, 6, 4, 4)
    bend[:, 0, 0], rough[:, 0, 0] = 1.0, 1.0
    found = hotspots(bend, rough, level=0.9)
    assert float(found.shares["wasted_share"].value) == 0
    assert found.shares["wasted_share"].status == found.shares["wasted_share"]["excess"].status == "undetermined"
    assert found.shares["area"].status == "few-samples"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ["a"] * 4}, "two independent images"),
        ({"groups": ["a"]}, "one group for each"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"reference": (torch.ones(3, 5, 5), torch.ones(3, 5, 5))}, "one shape"),
        ({"reference": maps(3, 0), "paired": True}, "pairs expected"),
        ({"reference": maps(3, 0), "paired": True, "groups": list("aabc")}, "one group for each"),
        ({"reference": (torch.full((2, 6, 6), torch.nan), torch.ones(2, 6, 6))}, "finite curvature"),
        ({"reference": (torch.ones(1, 6, 6), torch.ones(1, 6, 6))}, "two independent images"),
    ],
)
def test_what_cannot_be_judged_is_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hotspots(*maps(4, 0), **change)


def test_paired_hotspots_are_those_beside_one_condition() -> None:
    g = torch.Generator().manual_seed(0)
    curvature, detail = ({kind: torch.rand(6, 8, 8, generator=g) for kind in ("normal", "unusual")} for _ in range(2))
    sides = paired_hotspots(curvature, detail, "normal", groups=range(6))
    reference = (curvature["normal"], detail["normal"])
    alone = hotspots(curvature["unusual"], detail["unusual"], reference=reference, paired=True, groups=range(6))
    assert torch.equal(sides["unusual"].mask, alone.mask)
    assert torch.equal(sides["normal"].mask, hotspots(*reference, groups=range(6)).mask)
    assert sides["unusual"].shares["overlap"].item() == alone.shares["overlap"].item()
