"""The compatibility study: a class of each kind goes through its trials, and what is stored holds no fault."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from studies.compatibility import page, store
from studies.compatibility.autoencoders import AUTOENCODERS
from studies.compatibility.denoisers import NETWORKS
from studies.compatibility.store import Outcome
from studies.compatibility.subjects import Class, classes
from studies.compatibility.trials import Trial, tried

KNOWN, STORED = classes(), store.read()


def named(name):
    return next(each for each in KNOWN if each.name == name)


@pytest.mark.parametrize(
    ("name", "results"),
    [
        ("DDIMScheduler", {"build": "yes", "sampler": "yes"}),
        ("DDPMScheduler", {"build": "yes", "sampler": "refused", "with fixed noise": "yes"}),
        ("StableCascadeUNet", {"load": "refused"}),
    ],
)
def test_a_class_goes_through_its_trials(name, results):
    assert {trial.step: trial.result for trial in tried(named(name))} == results


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("AutoencoderTiny", ["load", "products", "survey", "rank"]),
        ("DiTTransformer2DModel", ["load", "products", "denoiser", "sampler"]),
    ],
)
def test_a_model_goes_through_every_verb(name, steps):
    assert [(trial.step, trial.result) for trial in tried(named(name))] == [(step, "yes") for step in steps]


def test_every_class_with_a_configuration_is_known_once():
    names = [each.name for each in KNOWN]
    assert len(names) == len(set(names))
    assert {*AUTOENCODERS, *NETWORKS} <= set(names)
    assert all(each.untried for each in KNOWN if each.name in ("AutoencoderOobleck", "UVit2DModel"))


def test_what_is_stored_holds_no_fault():
    assert [each.name for each in STORED.values() if each.has_fault] == []
    assert {each.kind for each in STORED.values()} == {"autoencoder", "denoiser", "scheduler"}


def test_outcomes_survive_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "OUTCOMES", tmp_path / "outcomes.json")
    first = Outcome("B", "denoiser", "1", "2", "2026-01-01", [Trial("load", "yes", "", 0.5)])
    later = Outcome("B", "denoiser", "1", "3", "2026-01-02", [Trial("load", "fault", "x", 0.5)])
    for outcome in (first, later):
        store.add(outcome)
    assert store.read() == {"B": later}
    assert later.has_fault
    assert not first.has_fault


def test_the_page_says_what_was_said_and_what_was_not_tried():
    known = [Class("A", "autoencoder"), Class("B", "denoiser", "of videos")]
    trials = [
        Trial("load", "yes", "", 1.25),
        Trial("products", "yes", "3e-15"),
        Trial("rank", "refused", "no | images"),
    ]
    text = page.page(known, {"A": Outcome("A", "autoencoder", "2.0", "0.1", "2026-01-01", trials)})
    assert "| `A` | yes, 1.2 s | 3e-15 | refused | no \\| images |" in text
    assert "- of videos: `B`" in text
    assert "1 classes were tried: 0 went through every step" in text
