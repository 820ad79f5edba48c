"""load: four forms of a model, and one line for each mistake."""

from __future__ import annotations

import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image

from theodolite.errors import InputError
from theodolite.maps import load
from theodolite.maps.loading import _from_factory

FACTORIES = textwrap.dedent(
    """
    import torch
    from torch import nn
    from theodolite.maps import Autoencoder, Normalisation

    NUMBER = 3

    class Conv(nn.Module):
        def __init__(self, channels=3):
            super().__init__()
            self.down = nn.Conv2d(channels, 4, 4, stride=4)
            self.up = nn.ConvTranspose2d(4, channels, 4, stride=4)
            self.drop = nn.Dropout()
        def encode(self, images):
            return self.drop(self.down(images))
        def decode(self, latents):
            return self.up(latents)

    class Vector(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.Linear(28 * 28, 5), nn.Linear(5, 28 * 28)
        def encode(self, images):
            mean = self.down(images.flatten(1))
            return mean, torch.ones_like(mean)
        def decode(self, latents):
            return self.up(latents).view(-1, 1, 28, 28)

    class Noisy(Conv):
        def decode(self, latents):
            return self.up(latents + torch.randn_like(latents))

    class NoisyEncoder(Conv):
        def encode(self, images):
            return self.down(images + torch.randn_like(images))

    class Five(Conv):
        def __init__(self): super().__init__(5)

    class NotANumber(Conv):
        def encode(self, images): return self.down(images) * float("nan")

    class NotAnImage(Conv):
        def decode(self, latents): return self.up(latents) / 0

    class InPlace(Conv):
        def decode(self, latents): return self.up(latents.mul_(2))

    class Odd(Conv):
        def decode(self, latents): raise RuntimeError(f"no weights for {latents.shape[1]} latents")

    def five(): return Five()
    def not_a_number(): return NotANumber()
    def not_an_image(): return NotAnImage()
    def in_place(): return InPlace()
    def odd(): return Odd()
    def conv(): torch.manual_seed(0); return Conv()
    def grey(): return Conv(1)
    def vector(): return Vector()
    def half(): return Conv().half()
    def noisy(): return Noisy()
    def noisy_encoder(): return NoisyEncoder()
    def broken():
        model = Conv()
        model.up.weight.data[0] = float("nan")
        return model
    def doubled(z): return 2 * z.repeat_interleave(2, -1).repeat_interleave(2, -2)
    def functions(): return (lambda x: x[..., ::2, ::2] / 2), doubled
    def methods(): model = Conv(); return model.encode, model.decode
    def closures(): model = Conv().half(); return (lambda x: model.encode(x)), (lambda z: model.decode(z))
    def modules(): return nn.Conv2d(3, 4, 2, stride=2), nn.ConvTranspose2d(4, 3, 2, stride=2)
    def whole():
        shape, halved = (3, None, None), Normalisation(scaling_factor=0.5)
        return Autoencoder(*functions(), name="mine", latent_shape=shape, downsampling=2, normalisation=halved)
    def nothing(): return None
    def fails(): raise RuntimeError("no such disk\\nand more")
    def mute(): return (lambda x: x.flatten(1)), (lambda z: z)
    class Nested:
        @staticmethod
        def conv(): return Conv()
    """
)


@pytest.fixture(autouse=True)
def my_models(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(FACTORIES)
    (tmp_path / "bad_import.py").write_text("import a_package_nobody_has")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_models", raising=False)


def refused(message, spec, **keywords):
    with pytest.raises(InputError, match=message) as caught:
        load(spec, **keywords)
    assert "\n" not in str(caught.value)


@pytest.fixture
def folder(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    model = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        scaling_factor=0.5,
    )
    model.save_pretrained(tmp_path / "models" / "tiny")
    return tmp_path / "models" / "tiny"


def test_a_folder_is_loaded_evaluated_and_frozen(folder):
    loaded = load(folder)
    described = loaded.describe()
    assert (described["class"], described["name"], described["source"]) == ("AutoencoderTiny", "tiny", str(folder))
    assert described["normalisation"]["scaling_factor"] == 0.5
    weights = [weight for module in loaded.modules for weight in module.parameters()]
    assert weights
    assert not any(weight.requires_grad for weight in weights)
    assert not any(module.training for module in loaded.modules)
    assert load("models/tiny").fingerprint() == loaded.fingerprint()


def test_dtype_and_device_are_as_asked(folder):
    loaded = load(folder, device="cpu", dtype="float64")
    assert (loaded.dtype, loaded.device) == (torch.float64, torch.device("cpu"))
    assert load(folder, dtype=torch.float64).fingerprint() == loaded.fingerprint()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", torch.float16, "int8", "float"])
def test_other_dtypes_are_refused(folder, dtype):
    refused("float32 or float64 expected", folder, dtype=dtype)


def test_a_device_that_is_absent_or_unknown_is_refused(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    refused("'cuda' asked for, none found", folder, device="cuda")
    refused("a device such as 'cpu' or 'cuda' expected", folder, device="gpu")
    refused("a device such as 'cpu' or 'cuda' expected", folder, device=["cpu"])


@pytest.mark.parametrize("device", ["meta", "privateuseone", "xla"])
def test_a_device_that_torch_cannot_use_is_one_line(device):
    refused(f"device '{device}' asked for, torch has no use of it here: .*; use 'cpu'", "zoo:digits", device=device)


@pytest.mark.parametrize("spec", [None, "", 3, object()])
def test_what_names_no_model_is_refused_with_the_forms(spec):
    refused("a model expected .*'package.module:factory' or 'zoo:name'.*, got", spec)


def test_options_of_other_forms_are_refused(folder):
    refused("revision= belongs to a hub id", folder, revision="main")
    refused("subfolder= belongs to a folder or a hub id", "zoo:digits", subfolder="vae")
    refused("subfolder= belongs to a folder or a hub id", "my_models:conv", subfolder="vae")


@pytest.mark.parametrize("spec", ["nowhere", "./owner/name", "models/other", "/no/such/folder"])
def test_a_missing_folder_is_named_with_the_forms(folder, spec):
    refused("a folder, a hub id 'owner/name', 'package.module:factory' or 'zoo:name' expected", spec)


def test_a_missing_pickle_is_refused_before_it_is_looked_for():
    refused("pickled", "weights/model.ckpt")


def test_a_hub_id_goes_to_the_hub_with_its_options(folder, monkeypatch):
    from theodolite.maps import loading
    from theodolite.maps.hub import Fetched

    asked = []
    fetched = Fetched("owner/some-model.v2", folder, None)
    monkeypatch.setattr(loading, "fetch", lambda *arguments: asked.append(arguments) or fetched)
    load("owner/some-model.v2", subfolder="vae", revision="abc")
    assert asked == [("owner/some-model.v2", "vae", "abc")]


def test_a_model_of_the_zoo_is_loaded():
    loaded = load("zoo:digits")
    assert loaded.latent_shape == (8,)
    assert load("zoo:digits", dtype="float64").dtype == torch.float64


def test_an_unknown_model_of_the_zoo_lists_the_known():
    refused("a model of the zoo expected, one of zoo:digits, .*zoo:coloured-distilled", "zoo:atlantis")


def test_a_factory_of_a_module_is_probed_evaluated_and_frozen():
    loaded = load("my_models:conv")
    assert (loaded.latent_shape, loaded.downsampling, loaded.image_channels) == ((4, None, None), 4, 3)
    assert loaded.normalisation.convention == "none"
    assert not any(weight.requires_grad for module in loaded.modules for weight in module.parameters())
    images = torch.zeros(1, 3, 8, 8)
    assert torch.equal(loaded.encode(images), loaded.encode(images))
    assert load("my_models:conv", dtype="float64").dtype == torch.float64
    assert load("my_models:Nested.conv").latent_shape == (4, None, None)


def test_a_factory_may_write_to_its_inputs():
    assert load("my_models:in_place").latent_shape == (4, None, None)


def test_a_factory_of_grey_images():
    assert load("my_models:grey").image_channels == 1


def test_a_factory_of_vectors_has_one_image_size():
    loaded = load("my_models:vector")
    assert (loaded.latent_shape, loaded.image_size, loaded.image_channels) == ((5,), (28, 28), 1)
    assert loaded.encode(torch.zeros(1, 1, 28, 28), sample=True, generator=0).shape == (1, 5)


@pytest.mark.parametrize(("name", "downsampling"), [("functions", 2), ("methods", 4), ("closures", 4), ("modules", 2)])
def test_a_factory_of_a_pair(name, downsampling):
    loaded = load(f"my_models:{name}")
    assert loaded.downsampling == downsampling
    assert not any(module.training for module in loaded.modules)
    batch = torch.rand(2, 3, 8, 8)
    assert loaded.decode(loaded.encode(batch)).shape == batch.shape


def test_a_factory_of_an_autoencoder_keeps_what_it_says():
    loaded = load("my_models:whole")
    assert (loaded.name, loaded.normalisation.scaling_factor) == ("mine", 0.5)


def test_half_precision_of_a_factory_is_cast_up_and_noted():
    loaded = load("my_models:half")
    assert loaded.dtype == torch.float32
    assert any("half precision" in note for note in loaded.notes)


def test_a_diffusers_model_of_a_factory_gets_its_conventions():
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        scaling_factor=0.5,
    )
    loaded = _from_factory(model, "mine:model", torch.device("cpu"), None)
    assert (loaded.normalisation.scaling_factor, loaded.name) == (0.5, "mine:model")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module:model", "could not be imported: ModuleNotFoundError"),
        ("bad_import:model", "a_package_nobody_has"),
        ("my_models:other", "has no 'other'; it has .*Conv"),
        ("my_models:NUMBER", "a function without arguments, expected at my_models:NUMBER, got int"),
        ("my_models:nothing", "got None"),
        ("my_models:fails", "factory my_models:fails failed: RuntimeError: no such disk"),
        ("my_models:broken", "NaN or infinity in 'up.weight'"),
        ("my_models:noisy", "draws noise"),
        ("my_models:noisy_encoder", "other latents each time"),
        ("my_models:mute", "come back as"),
        ("my_models:broken", "the factory must initialise or load every weight"),
        ("my_models:five", "3 or 1 channels, .* at 3x32x32: .*to have 5 channels, but got 3 .*return an `Autoencoder`"),
        ("my_models:odd", "at 3x32x32: no weights for 4 latents"),
        ("my_models:not_a_number", "its latents are NaN or infinite"),
        ("my_models:not_an_image", "its images are NaN or infinite"),
        ("digits", "did you mean 'zoo:digits'"),
        ("nowhere", "check the path"),
    ],
)
def test_a_factory_that_fails_is_told_in_one_line(spec, message):
    refused(message, spec)


def test_the_search_path_is_restored():
    before = list(sys.path)
    load("my_models:conv")
    assert sys.path == before


def test_diffusers_missing_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    refused(r'pip install "theodolite\[diffusers\]"', folder)


def photographs(shared, count=2):
    files = sorted((shared / "images" / "photos").glob("*.png"))[:count]
    stack = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.real
@pytest.mark.parametrize(("name", "channels", "least"), [("taesd", 4, 22.0), ("taesd3", 16, 27.0)])
def test_real_models_reconstruct_photographs(shared, name, channels, least):
    loaded, images = load(shared / "models" / name), photographs(shared)
    latents = loaded.encode(images)
    assert latents.shape == (2, channels, 16, 16)
    errors = (loaded.decode(latents) - images).square().mean((1, 2, 3))
    decibels = 10 * torch.log10(4 / errors)
    assert (decibels > least).all()
    assert (decibels < least + 15).all()
    assert 0.3 < latents.std() < 1.5


@pytest.mark.real
def test_a_real_model_at_a_size_it_does_not_take(shared):
    with pytest.raises(InputError, match="nearest valid size: 96 or 104 by 128"):
        load(shared / "models" / "taesd").check_size(100, 128)
