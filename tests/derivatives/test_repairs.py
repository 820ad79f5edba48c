"""First and second derivatives through the operations that torch gets wrong, against fourth-order differences."""

from __future__ import annotations

import contextlib

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import theodolite
from theodolite import LatentMap
from theodolite.derivatives.repairs import repaired

torch.manual_seed(0)
W = torch.randn(6, 6, dtype=torch.float64)
SPD = W @ W.T + 6 * torch.eye(6, dtype=torch.float64)
IMAGE, SQUARE, ROW = (4, 5, 5), (6, 6), (6,)


class Attend(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.attend, self.weights = nn.MultiheadAttention(6, 2, batch_first=True), weights

    def forward(self, z):
        return self.attend(z, z, z, need_weights=self.weights)[0]


def features(*layers):
    return nn.Sequential(nn.Linear(6, 6), *layers)


def images(*layers):
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), *layers)


def spread(z):
    return torch.cdist(z, z.flip(1) + 1)


def attended(z):
    return F.scaled_dot_product_attention(z, 2 * z, z.sin())


CASES = {
    "layer norm": (features(nn.LayerNorm(6)), SQUARE),
    "layer norm over two axes": (nn.LayerNorm(SQUARE), SQUARE),
    "torch.layer_norm": (lambda z: torch.layer_norm(z, [6]), SQUARE),
    "torch.native_layer_norm": (lambda z: torch.native_layer_norm(z, [6], None, None, 1e-5)[0], SQUARE),
    "rms norm": (nn.RMSNorm(6), SQUARE),
    "instance norm": (images(nn.InstanceNorm2d(4, affine=True)), IMAGE),
    "instance norm, tracked": (images(nn.InstanceNorm2d(4, track_running_stats=True)), IMAGE),
    "torch.instance_norm": (lambda z: torch.instance_norm(z, None, None, None, None, True, 0.1, 1e-5, False), IMAGE),
    "group norm": (images(nn.GroupNorm(2, 4)), IMAGE),
    "torch.group_norm": (lambda z: torch.group_norm(z, 2), IMAGE),
    "group norm, transposed": (lambda z: F.group_norm(z.transpose(2, 3).sin(), 2), IMAGE),
    "group norm, channels last": (
        lambda z: F.group_norm(z.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).sin(), 2),
        IMAGE,
    ),
    "batch norm, evaluated": (images(nn.BatchNorm2d(4), nn.SiLU()), IMAGE),
    "silu": (features(nn.SiLU()), ROW),
    "silu, in place": (features(nn.SiLU(inplace=True)), ROW),
    "gelu": (features(nn.GELU()), ROW),
    "gelu, tanh": (features(nn.GELU(approximate="tanh")), ROW),
    "mish": (features(nn.Mish()), ROW),
    "hard sigmoid": (nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Hardsigmoid()), ROW),
    "relu": (features(nn.ReLU(), nn.Linear(6, 3)), ROW),
    "relu, then tanh": (features(nn.ReLU(), nn.Tanh()), ROW),
    "glu": (features(nn.GLU()), ROW),
    "glu along channels": (images(nn.GLU(dim=1)), IMAGE),
    "softmax": (features(nn.Softmax(dim=-1)), ROW),
    "cdist": (spread, SQUARE),
    "cdist, p = 3": (lambda z: torch.cdist(z, z.flip(1) + 1, p=3.0), SQUARE),
    "solve": (lambda z: torch.linalg.solve(SPD + z, z.sin()), SQUARE),
    "solve from the right": (lambda z: torch.linalg.solve(SPD + z, z.sin(), left=False), SQUARE),
    "solve for a vector": (lambda z: torch.linalg.solve(SPD + z, z[:, 0].sin()), SQUARE),
    "slogdet": (lambda z: torch.linalg.slogdet(SPD + z).logabsdet[:, None], SQUARE),
    "Tensor.slogdet": (lambda z: (SPD + z).slogdet()[1][:, None], SQUARE),
    "logdet": (lambda z: torch.logdet(SPD + z)[:, None], SQUARE),
    "Tensor.logdet": (lambda z: (SPD + z).logdet()[:, None], SQUARE),
    "det": (lambda z: torch.linalg.det(SPD / 10 + z)[:, None], SQUARE),
    "Tensor.det": (lambda z: (SPD / 10 - z).det()[:, None], SQUARE),
    "cholesky inverse": (lambda z: torch.cholesky_inverse(torch.linalg.cholesky(SPD + z @ z.mT)), SQUARE),
    "attention, fused": (attended, SQUARE),
    "attention, causal": (lambda z: F.scaled_dot_product_attention(z, z, z, is_causal=True), SQUARE),
    "multi-head attention": (Attend(weights=False), SQUARE),
    "multi-head attention with weights": (Attend(weights=True), SQUARE),
    "transformer layer": (nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, activation="gelu"), SQUARE),
    "transformer layer, norm first": (
        nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, activation="gelu", norm_first=True),
        SQUARE,
    ),
    "nearest": (lambda z: F.interpolate(z.sin(), scale_factor=2, mode="nearest"), IMAGE),
    "nearest-exact": (lambda z: F.interpolate(z.sin(), scale_factor=2, mode="nearest-exact"), IMAGE),
    "nearest-exact, fractional": (lambda z: F.interpolate(z.sin(), scale_factor=1.5, mode="nearest-exact"), IMAGE),
    "nearest-exact, to a size": (lambda z: F.interpolate(z.sin(), size=(7, 9), mode="nearest-exact"), IMAGE),
    "bilinear": (lambda z: F.interpolate(z.sin(), scale_factor=2, mode="bilinear"), IMAGE),
    "bicubic": (lambda z: F.interpolate(z.sin(), scale_factor=2, mode="bicubic"), IMAGE),
    "area": (lambda z: F.interpolate(z.sin(), size=(3, 3), mode="area"), IMAGE),
    "linear": (lambda z: F.interpolate(z.sin(), scale_factor=2, mode="linear"), SQUARE),
    "trilinear": (lambda z: F.interpolate(z.sin()[:, None], scale_factor=2, mode="trilinear"), IMAGE),
}


def points(shape):
    generator = torch.Generator().manual_seed(7)
    z = 0.3 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    V = torch.randn(3, 2, *shape, generator=generator, dtype=torch.float64)
    return z, V / V.flatten(2).norm(dim=-1).reshape(3, 2, *(1,) * len(shape))


@torch.no_grad()
def differences(f, z, V, h=1e-3):
    """First and second fourth-order central differences along each vector."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        far_back, back, here, ahead, far_ahead = (torch.stack([f(z + s * h * v) for v in V]) for s in (-2, -1, 0, 1, 2))
    first = (far_back - 8 * back + 8 * ahead - far_ahead) / (12 * h)
    second = (-far_back + 16 * back - 30 * here + 16 * ahead - far_ahead) / (12 * h * h)
    return first, second


def case(name):
    function, shape = CASES[name]
    return function.double().eval() if isinstance(function, nn.Module) else function, shape


@pytest.mark.filterwarnings("ignore:There is a performance drop", "ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", CASES)
def test_both_derivatives_are_right_for_several_vectors_at_once(name, way):
    function, shape = case(name)
    z, V = points(shape)
    operator = theodolite.jacobian(LatentMap(function, shape), z)
    first, second = differences(function, z, V)
    U = torch.randn(2, *operator.outputs.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    torch.testing.assert_close(operator.matvec(V), first, rtol=1e-8, atol=1e-8 * float(first.norm()))
    torch.testing.assert_close(operator.second(V), second, rtol=1e-5, atol=1e-6 * float(first.norm()))
    torch.testing.assert_close(operator.second(V)[:1], operator.second(V[:1]), rtol=1e-9, atol=1e-12)
    pulled = (operator.rmatvec(U)[:, None] * V).sum()
    torch.testing.assert_close(pulled, (U[:, None] * operator.matvec(V)).sum(), rtol=1e-9, atol=1e-11)
    assert operator.way == way


@pytest.mark.parametrize("name", CASES)
def test_the_repaired_value_is_the_value(name):
    function, shape = case(name)
    z, _ = points(shape)
    with torch.no_grad():
        plain = function(z)
        with repaired():
            again = function(z)
    torch.testing.assert_close(again, plain, rtol=1e-10, atol=1e-10)


def batch_normalised(**settings):
    return nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, **settings), nn.SiLU()).double().train()


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": None}, {"track_running_stats": False}, {"affine": False}], ids=str
)
def test_batch_statistics_are_differentiated_and_leave_the_model_as_it_was(settings, way):
    module = batch_normalised(**settings)
    if module[1].num_batches_tracked is not None:
        module[1].num_batches_tracked.fill_(5)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    z, V = (part[..., :1, :, :, :] for part in points(IMAGE))
    operator = theodolite.jacobian(LatentMap(module, IMAGE), z)
    mine = operator.matvec(V), operator.second(V)
    assert operator.way == way
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    first, second = differences(module, z, V)
    torch.testing.assert_close(mine[0], first, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(mine[1], second, rtol=1e-5, atol=1e-6)


def test_a_counter_of_the_models_own_is_put_back_after_an_exception():
    counter = torch.zeros((), dtype=torch.int64)

    def counting(z):
        counter.add_(1)
        assert int(counter) == 1
        raise KeyError("a mistake in the map")

    with pytest.raises(KeyError), repaired():
        counting(None)
    assert int(counter) == 0


def test_in_place_sums_inside_a_map_still_add(way):
    def accumulated(z):
        total, steps = torch.zeros_like(z), torch.zeros((), dtype=torch.int64)
        for _ in range(3):
            total.add_(z.sin())
            steps.add_(1)
        return total * steps

    z = torch.ones(1, 3, dtype=torch.float64)
    operator = theodolite.jacobian(LatentMap(accumulated, (3,)), z)
    torch.testing.assert_close(operator.outputs, 9 * z.sin())
    torch.testing.assert_close(operator.matvec(z[None])[0], 9 * z.cos())
    assert operator.way == way


class CastingDecoder(nn.Module):
    """Casts to float32 inside, as many decoders do for their norms and their softmax."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 5)

    def forward(self, z):
        hidden = F.silu(self.first(z)).float()
        hidden = F.softmax(hidden, dim=-1, dtype=torch.float32) + hidden.to(torch.float32).mean(-1, keepdim=True)
        return self.last(hidden.to(dtype=torch.float32).to(self.last.weight.dtype)).float()


def test_a_map_that_casts_to_float32_stays_in_float64():
    map = LatentMap(CastingDecoder(), ROW).to(dtype=torch.float64)
    z, V = points(ROW)
    operator = theodolite.jacobian(map, z)
    assert operator.outputs.dtype is torch.float64
    with repaired():
        first, second = differences(map, z, V)
    torch.testing.assert_close(operator.matvec(V), first, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(operator.second(V), second, rtol=1e-5, atol=1e-7)


def test_a_map_in_float32_may_cast_to_float32():
    operator = theodolite.jacobian(LatentMap(CastingDecoder(), ROW), torch.randn(1, 6))
    assert operator.dense().dtype is torch.float32


class AttentiveDecoder(nn.Module):
    """Attention with positions that are computed in float64 and cast to the type of the queries, as of Flux."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 12)

    def forward(self, z):
        queries, keys, values = self.mix(z).chunk(3, -1)
        angle = torch.arange(3, dtype=torch.float64)[:, None] * torch.ones(4, dtype=torch.float64)
        turned = [(part.float() * angle.cos().float()).to(part.dtype) for part in (queries, keys)]
        return F.scaled_dot_product_attention(*turned, values)


def test_positions_in_float64_are_cast_in_a_float32_map_and_stay_in_a_float64_one():
    narrow = LatentMap(AttentiveDecoder(), (3, 4))
    z = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    single = theodolite.jacobian(narrow, z).dense()
    double = theodolite.jacobian(narrow.to(dtype=torch.float64), z.double()).dense()
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-6)


def test_determinants_keep_their_signs_and_singular_matrices():
    negative = torch.diag(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    singular = torch.diag(torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64))
    with repaired():
        sign, logarithm = torch.linalg.slogdet(negative)
        assert torch.linalg.slogdet(negative).sign == -1
        assert torch.isnan(torch.logdet(negative))
        torch.testing.assert_close(torch.linalg.det(negative), torch.tensor(-6.0, dtype=torch.float64))
        assert torch.linalg.det(singular) == 0
        assert torch.logdet(singular) == -torch.inf
        assert torch.linalg.slogdet(singular).sign == 0
    assert (sign, logarithm.exp().round()) == (-1, 6)


def test_distances_of_points_to_themselves_have_finite_derivatives():
    z, V = points(SQUARE)
    operator = theodolite.jacobian(LatentMap(lambda z: torch.cdist(z, z), SQUARE), z)
    diagonal = operator.matvec(V).diagonal(dim1=-2, dim2=-1)
    assert (diagonal == 0).all()
    assert torch.isfinite(operator.rmatvec(operator.outputs[None])).all()


def test_nothing_is_replaced_outside():
    names = [(F, "layer_norm"), (F, "silu"), (torch.linalg, "det"), (torch.Tensor, "to")]
    before = [getattr(owner, name) for owner, name in names]
    with contextlib.suppress(KeyError), repaired():
        raise KeyError
    assert [getattr(owner, name) for owner, name in names] == before
    x = torch.ones(2, dtype=torch.float64)
    assert x.float().dtype is torch.float32
    with repaired():
        assert x.float().dtype is torch.float64
        assert x.half().dtype is torch.float16
        assert torch.ones(2).to(torch.float32).dtype is torch.float32
        assert x.to("cpu", torch.float32).dtype is torch.float64
        assert x.to(x.float()).dtype is torch.float64
