"""Reference trainings: they learn, resume to the bit, and are judged beside each other."""

from __future__ import annotations

import pytest
import torch

from theodolite.diffusability.trainer import (
    NETWORKS,
    Entrant,
    FlowTraining,
    Moments,
    SampleJudge,
    TrainingPlan,
    loss_by_time,
    reference_trainings,
    velocity_network,
)
from theodolite.errors import InputError

SHAPE = (2, 4, 4)


def cloud(n=400, seed=0, spread=0.5):
    z = torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return spread * z + torch.linspace(-1, 1, 4)


def judge(decode=lambda z: z, samples=64):
    features = lambda x: x.flatten(1)[:, :6]  # noqa: E731
    return SampleJudge(decode, features, Moments.of(features(cloud(2000, seed=9).clamp(-1, 1))), samples)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("shape", [(3, 8, 8), (5, 4, 4), (2, 9, 8), (7,)])
def test_networks_take_any_shape_and_are_zero_at_first(kind, shape):
    network = velocity_network(kind, shape, seed=0).requires_grad_(False)
    x, t = torch.randn(2, *shape), torch.tensor([0.2, 0.7])
    assert network(x, t).shape == x.shape
    assert float(network(x, t).abs().max()) == 0


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_training_resumes_to_the_bit(kind, tmp_path):
    plan = TrainingPlan(kind, batch=8)
    whole, first, second = (FlowTraining(cloud(), plan, seed=3) for _ in range(3))
    whole.advance(6)
    first.advance(4)
    first.save(tmp_path / "state.safetensors")
    second.resume(tmp_path / "state.safetensors")
    second.advance(2)
    assert second.step == whole.step
    assert torch.equal(second.samples(3, seed=0), whole.samples(3, seed=0))
    assert not torch.equal(first.samples(3, seed=0), whole.samples(3, seed=0))


def test_a_state_of_another_training_is_refused(tmp_path):
    FlowTraining(cloud(), TrainingPlan(batch=8), seed=0).save(tmp_path / "state.safetensors")
    for other in (
        FlowTraining(cloud(), TrainingPlan(batch=9), 0),
        FlowTraining(cloud(spread=2.0), TrainingPlan(batch=8), 0),
    ):
        with pytest.raises(InputError, match="remove it to start anew"):
            other.resume(tmp_path / "state.safetensors")


def test_training_comes_near_the_floor_of_a_gaussian():
    z, held_out = cloud(2000), cloud(500, seed=1)
    training = FlowTraining(z, TrainingPlan(batch=32), seed=0)
    t = torch.tensor([0.5])
    before = loss_by_time(training.average, held_out, t, torch.Generator().manual_seed(0))
    training.advance(150)
    after = loss_by_time(training.average, held_out, t, torch.Generator().manual_seed(0))
    floor = 0.25 / (0.25 * 0.25 + 0.25)  # lambda / ((1 - t)² lambda + t²)
    assert 0.9 * floor < float(after) < floor + 0.3 * (float(before) - floor)


def test_latents_that_are_no_cloud_are_refused():
    with pytest.raises(InputError, match="finite latents"):
        FlowTraining(torch.full((100, 3), torch.nan), TrainingPlan(batch=8), 0)
    with pytest.raises(InputError, match="one of convolutional"):
        FlowTraining(cloud(), TrainingPlan("unet", batch=8), 0)


def test_trainings_side_by_side_and_what_surely_loses_stops(tmp_path):
    entrants = {
        "whole": Entrant(cloud(), cloud(100, seed=1), judge()),
        "broken": Entrant(cloud(), cloud(100, seed=1), judge(lambda z: 0 * z - 1)),
    }
    seen = []
    told = lambda name, step, value: seen.append((name, step))  # noqa: E731
    plan = TrainingPlan(batch=16, sampling_steps=3)
    run = lambda **more: reference_trainings(entrants, (2, 60, 70), plan=plan, **more)  # noqa: E731
    result = run(folder=tmp_path, progress=told)
    assert result["whole"].statuses == ("learned",) * 3
    assert result["broken"].status == "undetermined"
    assert "whole generates" in result["broken"].message
    assert ("broken", 70) not in seen
    assert float(result["whole"].value[2]) < float(result["whole"].value[0])
    again = run(folder=tmp_path)
    assert torch.equal(again["whole"].value, result["whole"].value)  # from the states, without training
    alone = run(seeds=(0,), racing=False)["broken"]
    assert alone.statuses == ("few-samples",) * 3


@pytest.mark.parametrize(
    ("checkpoints", "seeds"), [((), (0,)), ((2, 1), (0,)), ((0,), (0,)), ((1,), ()), ((1,), (0, 0))]
)
def test_a_race_without_budgets_or_seeds_is_refused(checkpoints, seeds):
    with pytest.raises(InputError, match="expected"):
        reference_trainings({"a": Entrant(cloud(), cloud(), judge())}, checkpoints, seeds=seeds)
