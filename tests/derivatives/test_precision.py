"""The precision of float32 while a map is differentiated, and the caller's settings afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECK = """
import torch
from theodolite import LatentMap, jacobian
from theodolite.derivatives.precision import full_precision, _by_operator

def state():
    try:
        switches = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        switches = None
    return switches, list(_by_operator().values())

def seen_inside(z):
    seen.append(state())
    if failing:
        raise RuntimeError("no")
    return z**2

{settings}
before, seen, failing = state(), [], False
operator = jacobian(LatentMap(seen_inside, (2,)), torch.ones(1, 2))
operator.dense(), operator.rmatvec(torch.ones(1, 1, 2))
readable = ("highest", False) if before[0] else None
assert seen and all(switches == readable and set(modes) <= {{"ieee"}} for switches, modes in seen), seen
assert state() == before, (before, state())
failing = True
try:
    jacobian(LatentMap(seen_inside, (2,)), torch.ones(1, 2))
except RuntimeError:
    pass
assert state() == before, (before, state())
with full_precision(), full_precision():
    pass
assert state() == before, (before, state())
"""

NEW = "hasattr(torch.backends, 'fp32_precision')"


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.cudnn.allow_tf32 = False",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        f"if {NEW}: torch.backends.fp32_precision = 'tf32'",
        f"if {NEW}: torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    ],
    ids=["default", "medium", "without TF32", "TF32 products", "TF32 everywhere", "one operator"],
)
def test_the_map_sees_full_precision_and_the_caller_finds_his_settings_again(settings):
    """In a process of its own: torch does not let all of its settings be undone."""
    done = subprocess.run([sys.executable, "-c", CHECK.format(settings=settings)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
