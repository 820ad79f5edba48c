"""A quick subject of guidance, a reward that is fitted in no time, and runs that are made up."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from theodolite import LatentMap
from theodolite.estimates import Estimate
from theodolite.experiments.guide.experiment import Guide, unit_of
from theodolite.runs import read_run
from theodolite.runs.experiment import number
from theodolite.runs.folder import RunFolder
from theodolite.runs.run import schema_of
from theodolite.steering import fit_reward
from theodolite.steering import subject as subjects

RHOS = (-0.5, 0.0, 0.5)


@pytest.fixture(scope="session")
def reward(tmp_path_factory):
    """A reward of the mean entry of a latent, in a file."""
    z = torch.randn(60, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("reward") / "reward.safetensors"
    fit_reward(z, z.mean((1, 2, 3)), steps=60, width=8, depth=1, batch=32, generator=0).save(path)
    return path


@pytest.fixture
def quick(monkeypatch):
    """A map whose local scaling takes no time, in place of the decoder."""
    whole = subjects.subject_of

    def smaller(model, level):
        subject = whole(model, level)
        map = LatentMap(lambda z: z.flatten(1)[:, :3].exp(), subject.shape, name="small")
        return dataclasses.replace(subject, map=map)

    monkeypatch.setattr(subjects, "subject_of", smaller)


def estimate(value, stderr, n=16):
    return Estimate(torch.tensor([value]).double(), torch.tensor([stderr]).double(), 0, n)


def made_up(folder, slopes, error, frechet, unfinished):
    """Write a run whose local scaling changes in proportion to rho: by reward the change over that of rho."""
    names = [name for name in slopes if name != "scaling"]
    store = RunFolder(folder, schema_of(Guide))
    units = ["reward-scaling", "unguided", *(unit_of(name, rho) for name in slopes for rho in RHOS if rho)]
    correlations = estimate(0.9, 0.02), estimate(0.6, 0.1), estimate(0.1, 0.2)
    learnt = [
        number("held_out_correlation", one, reward="scaling", sigma=sigma)
        for one, sigma in zip(correlations, (0.02, 2.0, 20.0))
    ]
    picture = subjects_picture()
    rows, derived = {"reward-scaling": learnt}, []
    for name, slope in slopes.items():
        for before, rho in zip((None, *RHOS), RHOS):
            at = {"reward": name, "rho": rho}
            measured = {
                "diversity": estimate(25.0, 1.3, 64),
                "frechet_distance": estimate(114 + frechet * rho, 10.0, 64),
            }
            measured["local_scaling"] = estimate(slope * rho, error)
            own = {**at, "reward": name if rho else None}
            rows[unit_of(name, rho)] = [number(quantity, one, **own) for quantity, one in measured.items()]
            changes = {"local_scaling_change": estimate(slope * rho, error if rho else 0.0)}
            if before is not None:
                changes["local_scaling_step"] = estimate(slope * (rho - before), error)
            if name != "scaling":
                changes["local_scaling_lead"] = estimate((slopes["scaling"] - slope) * rho, error if rho else 0.0)
            derived += [number(quantity, one, **at) for quantity, one in changes.items()]
    store.check()
    with store.held():
        for unit in units:
            if unit not in unfinished:
                store.write_unit(unit, rows[unit], {}, {"": picture}, {"about": {}, "failed": [], "seconds": 0.0})
        store.write_record(record_of(names, units, "interrupted" if unfinished else "complete"))
        store.merge(units)
        gone = {unit.rsplit("_", 1)[0] for unit in unfinished}
        store.write_derived([row for row in derived if row["reward"] not in gone], {}, {})
    return read_run(folder)


def subjects_picture():
    from PIL import Image

    return Image.new("L", (16, 4))


def record_of(controls, units, status):
    settings = {
        "rho": [-0.5, 0.0, 0.5],
        "control": controls,
        "norm": "unit",
        "steps": 12,
        "samples": 64,
        "measured": 16,
    }
    record = {
        "format": 2,
        "kind": "guide",
        "theodolite": "0.1.0",
        "command": "theodolite guide zoo:made-up --out run",
        "status": status,
        "configuration": "",
        "created": "2026-03-12T10:04:11+00:00",
        "settings": settings,
        "arguments": {"model": "zoo:made-up"},
        "model": {"name": "zoo:made-up", "shape": [1, 4, 4], "map": "decoder"},
        "units": units,
        "failed": [],
        "messages": {},
        "quantities": {},
        "sittings": [],
    }
    return json.loads(json.dumps(record))


@pytest.fixture
def make_guidance(tmp_path):
    """A function that writes a made-up guidance run."""

    def make(slopes, *, error=1.0, frechet=0.0, unfinished=()):
        return made_up(tmp_path / "guided", slopes, error, frechet, unfinished)

    return make
