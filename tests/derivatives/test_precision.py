"""The precision of float32 while a map is differentiated, and the caller's settings afterwards."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

import theodolite
from theodolite import InputError, LatentMap

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


class Casting(nn.Module):
    """A network that opens autocast inside, around all of it or around some of its layers, as trained pipelines do."""

    def __init__(self, opened):
        super().__init__()
        self.first, self.second, self.opened = nn.Linear(6, 9), nn.Linear(9, 8), opened

    def forward(self, z):
        if self.opened == "nothing":
            return self.second(self.first(z).tanh())
        if self.opened == "all":
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.second(self.first(z).tanh()).float()
        with torch.autocast("cpu", dtype=torch.float16):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                h = self.first(z).tanh()
            return (h @ self.second.weight.T).float() + self.second.bias


@pytest.mark.parametrize("opened", ["all", "nested"])
def test_autocast_inside_a_map_is_closed(opened):
    torch.manual_seed(0)
    net, z = Casting(opened).eval(), torch.randn(3, 6)
    rounded = LatentMap(net, (6,))(z)
    J, V = theodolite.jacobian(LatentMap(net, (6,)), z), torch.randn(2, *z.shape)
    dense, second = J.dense(), J.second(V)
    net.opened = "nothing"
    reference = theodolite.jacobian(LatentMap(net.double(), (6,)), z.double())
    assert (rounded - reference.outputs).norm() > 1e-3 * rounded.norm()
    torch.testing.assert_close(J.outputs.double(), reference.outputs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dense.double(), reference.dense(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(second.double(), reference.second(V.double()), rtol=1e-4, atol=1e-5)


def test_the_callers_autocast_is_without_effect_and_stays():
    torch.manual_seed(0)
    net, z = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 8)), torch.randn(2, 6)
    plain = theodolite.jacobian(LatentMap(net, (6,)), z).dense()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = theodolite.jacobian(LatentMap(net, (6,)), z).dense()
        assert torch.is_autocast_enabled("cpu")
        assert net(z).dtype is torch.bfloat16
    torch.testing.assert_close(within, plain)
    assert not torch.is_autocast_enabled("cpu")


HALF = {
    "bfloat16": lambda z: z.bfloat16().float().sin(),
    "float16": lambda z: (z.to(torch.float16) @ torch.ones(3, 3, dtype=torch.float16)).float(),
    "a stored result": lambda z: torch.zeros(len(z), 3, dtype=torch.bfloat16).copy_(z).float(),
}


@pytest.mark.parametrize("name", HALF)
def test_half_precision_inside_a_map_is_refused(name):
    with pytest.raises(InputError, match="half precision") as caught:
        theodolite.jacobian(LatentMap(HALF[name], (3,)), torch.ones(2, 3))
    assert "\n" not in str(caught.value)


def test_half_precision_beside_the_latents_is_no_rounding_of_them():
    def scaled(z):
        return z * (2 * torch.ones(3, dtype=torch.bfloat16)).float()

    J = theodolite.jacobian(LatentMap(scaled, (3,)), torch.ones(2, 3))
    torch.testing.assert_close(J.dense(), 2 * torch.eye(3).expand(2, 3, 3))


def settings():
    cuda = torch.backends.cuda
    attention = cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled()
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, attention


@pytest.mark.parametrize("count", [2, 4])
def test_threads_leave_the_settings_of_the_process_as_they_found_them(count):
    """Each enters while the one before is inside, and leaves after it: the order that breaks saving by each."""
    before, inside = settings(), []
    entered = [threading.Event() for _ in range(count)]
    left = [threading.Event() for _ in range(count + 1)]
    left[0].set()

    def measure(index):
        def map(z):
            inside.append(settings())
            entered[index].set()
            if index + 1 < count:
                entered[index + 1].wait(10)
            left[index].wait(10)
            return z**2

        theodolite.jacobian(LatentMap(map, (2,)), torch.ones(1, 2))
        left[index + 1].set()

    threads = [threading.Thread(target=measure, args=(index,)) for index in range(count)]
    for index, thread in enumerate(threads):
        thread.start()
        entered[index].wait(10)
    for thread in threads:
        thread.join(30)
    assert settings() == before
    assert set(inside) == {("highest", False, (False, False, False))}
