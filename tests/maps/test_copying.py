"""Copies of modules that hold what no copy can be made of."""

import threading

import torch
from torch import nn

from theodolite.maps import Autoencoder, LatentMap
from theodolite.maps.copying import copied


class Helper:
    """An object of a user's own that computes with a part of the model."""

    def __init__(self, part):
        self.part = part


class Helped(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.helper = Helper(self.layer)
        self.lock = threading.Lock()

    def forward(self, x):
        return self.helper.part(x)


def test_weights_are_copied_and_a_lock_is_shared():
    model = Helped()
    twin = copied(model)
    assert twin.lock is model.lock
    assert twin.layer.weight is not model.layer.weight
    assert torch.equal(twin.layer.weight, model.layer.weight)


def test_an_object_that_holds_a_part_of_the_model_holds_the_copied_part():
    twin = copied(Helped()).double()
    assert twin.helper.part is twin.layer
    assert twin(torch.ones(1, 2, dtype=torch.float64)).dtype == torch.float64


def test_the_parts_of_a_pair_stay_one_model():
    model = Helped()
    first, second = copied((model, model))
    assert first is second


def test_a_weight_that_a_hook_computes_is_copied_by_its_value():
    model = nn.Linear(2, 2)
    model.scaled = model.weight * 2
    assert torch.equal(copied(model).scaled, model.weight * 2)


def test_an_autoencoder_that_holds_a_file_moves_to_float64_and_its_model_stays(situations):
    model = situations.holding()
    mine = Autoencoder(model.encode, model.decode, name="mine", latent_shape=(2, None, None), downsampling=4)
    images = torch.rand(1, 3, 8, 8)
    double = mine.to(dtype=torch.float64)
    assert double.decode(double.encode(images)).dtype == torch.float64
    assert model.down.weight.dtype == torch.float32
    assert torch.allclose(double.encode(images).float(), mine.encode(images), atol=1e-6)
    assert LatentMap(model.up, (2, None, None)).to(dtype=torch.float64).dtype == torch.float64
