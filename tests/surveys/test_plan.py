"""Settings: what is refused, and what counts as another configuration."""

import copy
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from theodolite.errors import InputError
from theodolite.surveys.plan import differences, make_plan, sample_seed

KNOWN = ["local_scaling", "local_rank", "curvature"]
SETTINGS = {
    "model": "tiny:make", "data": "my photos", "limit": None, "size": None, "budget": "standard", "descriptors": None,
    "seed": 0, "device": None, "dtype": None, "subfolder": None, "revision": None,
}  # fmt: skip


def plan(**settings):
    return make_plan({**SETTINGS, **settings}, KNOWN)


def test_all_descriptors_by_default_and_always_in_the_order_of_the_registry():
    assert plan().descriptors == ("local_scaling", "local_rank", "curvature")
    assert plan(descriptors=["curvature", "local_scaling", "curvature"]).descriptors == ("local_scaling", "curvature")


def test_an_unknown_descriptor_names_the_closest_and_the_known_ones():
    with pytest.raises(InputError, match=r"'local_scalin', did you mean 'local_scaling'\?; known are .*curvature"):
        plan(descriptors=["local_scalin"])
    with pytest.raises(InputError, match="unknown descriptor 'volume'; known are"):
        plan(descriptors=["volume"])
    with pytest.raises(InputError, match="at least one descriptor"):
        plan(descriptors=[])


def test_descriptors_may_be_one_text():
    assert plan(descriptors="curvature").descriptors == ("curvature",)
    assert plan(descriptors=" curvature, local_scaling,").descriptors == ("local_scaling", "curvature")
    for wrong in (5, ["curvature", 5], " , "):
        with pytest.raises(InputError, match="known are local_scaling"):
            plan(descriptors=wrong)


@pytest.mark.parametrize("budget", ["fast", "quik", None, ["quick"]])
def test_an_unknown_budget_lists_the_known_ones_and_the_way_out(budget):
    with pytest.raises(InputError, match=r"one of quick, standard, full, got .*leave it out") as caught:
        plan(budget=budget)
    assert ("did you mean 'quick'" in str(caught.value)) is (budget in ("quik", ["quick"]))


@pytest.mark.parametrize("settings", [{"size": "8"}, {"limit": 1.5}, {"seed": "a"}, {"seed": None}, {"limit": True}])
def test_numbers_of_another_type_are_refused(settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))} expected to be a whole number, got .*e.g."):
        plan(**settings)


def test_whole_numbers_of_numpy_are_taken_as_pythons_own():
    settings = plan(limit=np.int64(3), seed=np.int32(5)).settings
    assert (type(settings["limit"]), type(settings["seed"])) == (int, int)
    json.dumps(settings)


@pytest.mark.parametrize("settings", [{"budget": "huge"}, {"limit": 0}, {"size": -3}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        plan(**settings)


def test_the_command_repeats_the_settings():
    assert plan().command(Path("out")) == "theodolite survey tiny:make --data 'my photos' --out out"
    words = shlex.split(plan(size=8, seed=3, budget="quick", descriptors=["curvature"]).command(Path("out")))
    assert words[-8:] == ["--size", "8", "--budget", "quick", "--seed", "3", "--descriptors", "curvature"]


def test_sample_seeds_differ_between_samples_and_seeds_and_fit_a_generator():
    seeds = {sample_seed(seed, sample) for seed in range(20) for sample in ("a", "b", "c")}
    assert len(seeds) == 60
    assert all(0 <= seed < 2**63 for seed in seeds)


def record():
    return {
        "theodolite": "0.1.0",
        "settings": plan().settings,
        "effort": plan().effort_as_dict(),
        "model": {"fingerprint": "abc"},
        "data": {"files": [{"sample": "a", "sha256": "1"}, {"sample": "b", "sha256": "2"}]},
    }


def test_the_same_configuration_has_no_differences_wherever_model_and_images_came_from():
    here = record()
    here["settings"] = {**here["settings"], "model": "./elsewhere", "data": "/mnt/photos"}
    assert differences(record(), here) == []


def test_every_difference_is_named():
    here = copy.deepcopy(record())
    here["settings"] = {**here["settings"], "seed": 1, "size": 64, "descriptors": ["curvature"]}
    here["theodolite"] = "0.2.0"
    here["model"]["fingerprint"] = "def"
    here["data"]["files"] = [{"sample": "a", "sha256": "9"}, {"sample": "c", "sha256": "3"}]
    assert differences(record(), here) == [
        "size unset there, 64 here",
        "descriptors local_scaling,local_rank,curvature there, curvature here",
        "seed 0 there, 1 here",
        "model fingerprint abc there, def here",
        "theodolite 0.1.0 there, 0.2.0 here",
        "images 1 missing here, 1 not there, 1 changed",
    ]


def test_the_same_budget_with_another_effort_is_a_difference():
    here = copy.deepcopy(record())
    here["effort"]["probes"] += 1
    assert len(differences(record(), here)) == 1


def test_a_record_that_lacks_parts_differs_in_them():
    assert (
        differences({"data": {"files": record()["data"]["files"]}}, record())[-1]
        == "theodolite unset there, 0.1.0 here"
    )
