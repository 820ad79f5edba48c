"""What samplers start from, at every noise level: the point that the model is given is its noise and nothing else."""

from __future__ import annotations

import math

import pytest

from theodolite.maps.channels import Flow, Preserving

STEPS = (0.01, 0.1, 1.0, 10.0)
CHANNELS = {
    "flow": Flow("flow", "step", 1e-6, 1e6, 1.0, 1000),
    "preserving": Preserving("eps", "step", STEPS[0], STEPS[-1], 1.0, STEPS),
}


@pytest.mark.parametrize("t", [0.04, 1.0, 9.0])
@pytest.mark.parametrize("name", CHANNELS)
def test_standard_normal_noise_comes_to_the_model_as_it_is(name, t):
    """Pipelines hand noise to the model; here the same noise is made an `x`, which is scaled on its way."""
    channel = CHANNELS[name]
    assert channel.start(t) * channel.scale(t) == pytest.approx(1)


def test_a_flow_begins_with_nothing_but_noise():
    assert CHANNELS["flow"].start(math.inf) == 1
    assert (CHANNELS["flow"].scale(math.inf), CHANNELS["flow"].told(math.inf)) == (1, 1000)
