"""LatentMap: shapes are checked, fingerprints tell models apart in every process, conversion copies."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from theodolite.errors import InputError
from theodolite.maps import LatentMap


def seeded(module_type, *args):
    torch.manual_seed(0)
    return module_type(*args).eval()


class Scaled(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def forward(self, z):
        return self.gain * z


class Forgetful(nn.Module):
    """Remembers the shape it last saw, as some real decoders do."""

    def __init__(self):
        super().__init__()
        self.last_shape = None
        self.linear = nn.Linear(2, 2)

    def forward(self, z):
        self.last_shape = z.shape
        return self.linear(z)


def print_of(function, **keywords):
    return LatentMap(function, (2,), **keywords).fingerprint()


def times(factor):
    return lambda z: z * factor


def test_calls_the_function_on_a_batch():
    double = LatentMap(lambda z: 2 * z, (3,))
    assert torch.equal(double(torch.ones(4, 3)), torch.full((4, 3), 2.0))


@pytest.mark.parametrize("shape", [(0,), (-1, 2), (2.0,), ("4",)])
def test_refuses_a_latent_shape_that_is_none(shape):
    with pytest.raises(InputError, match="latent_shape"):
        LatentMap(lambda z: z, shape)


def test_refuses_what_cannot_be_called():
    with pytest.raises(InputError, match="callable"):
        LatentMap(3, (2,))


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (torch.zeros(4, 8, 8), r"latents\[None\]"),
        (torch.zeros(1, 3, 8, 8), "latents of shape"),
        (torch.zeros(0, 4, 8, 8), "empty batch"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.int64), "floating-point"),
        (torch.full((1, 4, 8, 8), torch.nan), "NaN"),
    ],
)
def test_check_refuses_latents_that_do_not_fit(latents, message):
    with pytest.raises(InputError, match=message):
        LatentMap(lambda z: z, (4, None, None)).check(latents)


def test_check_accepts_any_size_of_a_free_axis():
    LatentMap(lambda z: z, (4, None, None)).check(torch.zeros(2, 4, 5, 7))


def test_fingerprint_is_the_same_for_equal_weights_and_changes_with_them():
    first, second = seeded(nn.Linear, 2, 2), seeded(nn.Linear, 2, 2)
    assert print_of(first) == print_of(second)
    with torch.no_grad():
        second.weight[0, 0] += 1e-6
    assert print_of(first) != print_of(second)


def test_fingerprint_changes_with_settings():
    assert print_of(torch.sin, settings={"scale": 1.0}) != print_of(torch.sin, settings={"scale": 2.0})


def test_fingerprint_changes_with_the_mode_of_the_module():
    assert print_of(nn.Dropout().eval()) != print_of(nn.Dropout())


def global_constant(z):
    return z * torch.tensor((1.0, 2.0))


def other_constant(z):
    return z * torch.tensor((1.0, 3.0))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (times(2.0), times(3.0)),
        (times(torch.tensor([1.0, 2.0])), times(torch.tensor([1.0, 3.0]))),
        (times(np.array([1.0, 2.0])), times(np.array([1.0, 3.0]))),
        (functools.partial(torch.mul, other=2.0), functools.partial(torch.mul, other=3.0)),
        ((lambda scales: lambda z: z * scales[0])([2.0]), (lambda scales: lambda z: z * scales[0])([3.0])),
        (
            (lambda scales: lambda z: z * scales["a"])({"a": 2.0}),
            (lambda scales: lambda z: z * scales["a"])({"a": 3.0}),
        ),
        (lambda z: (lambda y: 2 * y)(z), lambda z: (lambda y: 3 * y)(z)),
        (global_constant, other_constant),
        (torch.sin, torch.cos),
        (Scaled(2.0), Scaled(3.0)),
        (Scaled(2.0).forward, Scaled(3.0).forward),
        (lambda z, gain=2.0: gain * z, lambda z, gain=3.0: gain * z),
    ],
    ids=[
        "closure",
        "closed-over tensor",
        "closed-over array",
        "partial",
        "list",
        "dictionary",
        "nested function",
        "constant tuple",
        "builtin",
        "module attribute",
        "bound method",
        "default argument",
    ],
)
def test_fingerprint_tells_functions_apart(one, other):
    assert print_of(one) != print_of(other)
    assert print_of(one) == print_of(one)


GAIN = 2.0


def test_fingerprint_sees_numbers_reached_by_a_global_name(monkeypatch):
    def scaled(z):
        return GAIN * z

    before = print_of(scaled)
    monkeypatch.setitem(globals(), "GAIN", 3.0)
    assert print_of(scaled) != before


class Private(nn.Module):
    """Set by a private attribute or by a buffer that is not saved; counts its calls."""

    def __init__(self, mix=False, offset=0.0, pair=(1, "a")):
        super().__init__()
        self._mix, self._pair, self._calls, self._log = mix, pair, 0, []
        self.register_buffer("offset", torch.tensor(offset), persistent=False)

    def forward(self, z):
        self._count()
        return (z.flip(-1) if self._mix else z) + self.offset

    def _count(self):
        self._calls += 1
        self._log.append(self._calls)


@pytest.mark.parametrize("changed", [{"mix": True}, {"offset": 1.0}, {"pair": (1, "b")}])
def test_fingerprint_sees_private_settings_and_buffers_that_are_not_saved(changed):
    assert print_of(Private().eval()) == print_of(Private().eval()) != print_of(Private(**changed).eval())


def test_fingerprint_is_not_moved_by_a_private_count_of_calls():
    module = Private().eval()
    before = print_of(module)
    module(torch.zeros(5, 2))
    assert module._calls == 1
    assert print_of(module) == before


def test_fingerprint_is_not_moved_by_use():
    module = seeded(Forgetful)
    before = print_of(module)
    module(torch.zeros(5, 2))
    assert print_of(module) == before


def test_fingerprint_is_the_same_in_two_processes():
    script = textwrap.dedent(
        """
        import torch
        from theodolite.maps import LatentMap
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.SiLU()).eval()
        def factory(factor, words):
            return lambda z: factor * net(z) if words else z
        both = [net, factory(0.5, {"b", "a", "c"})]
        print(*(LatentMap(f, (2,), settings={"x": (1, 2)}).fingerprint() for f in both))
        """
    )
    prints = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert prints[0] == prints[1]
    assert len(set(prints[0].split())) == 2


def test_to_converts_a_copy_and_leaves_the_module_alone():
    module = seeded(nn.Linear, 2, 2)
    wide = LatentMap(module, (2,), output_range=(-1, 1), name="net", settings={"a": 1}).to(dtype=torch.float64)
    assert (wide.dtype, module.weight.dtype) == (torch.float64, torch.float32)
    assert (wide.latent_shape, wide.output_range, wide.name, wide.settings) == ((2,), (-1, 1), "net", {"a": 1})
    z = torch.ones(1, 2, dtype=torch.float64)
    assert torch.allclose(wide(z).float(), module(z.float()))


def test_finds_device_and_dtype_of_weights_in_a_closure():
    net = seeded(nn.Linear, 2, 2).double()
    found = LatentMap(lambda z: net(z) + 1, (2,))
    assert found.modules == (net,)
    assert (found.dtype, found.device) == (torch.float64, torch.device("cpu"))


def test_has_no_device_or_dtype_without_weights():
    bare = LatentMap(lambda z: 2 * z, (2,))
    assert (bare.dtype, bare.device, bare.modules) == (None, None, ())
