"""What each class of diffusers network is told: an exact network under the convention of its pipelines denoises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from theodolite import Denoiser, InputError
from theodolite.maps.loading import _from_factory
from theodolite.maps.network_classes import places_of
from theodolite.maps.networks import conditions_of, null_of, rows_of

diffusers = pytest.importorskip("diffusers")
D = torch.float64


class Exact(nn.Module):
    """The velocity of standard normal data, told its time as the pipelines of a class do."""

    config_name = "config.json"

    def __init__(self, share, sign, **config):
        super().__init__()
        self.share, self.sign = share, sign
        self.config = {"in_channels": 2, "sample_size": 1, **config}

    def forward(self, hidden_states, timestep):
        u = self.share(timestep).reshape(-1, 1, 1, 1)
        velocity = (2 * u - 1) / ((1 - u) ** 2 + u**2) * hidden_states  # E[eps - x_0 | y]
        return self.sign * velocity


def of_class(name, *args, **config):
    return type(name, (Exact,), {})(*args, **config).eval()


@pytest.mark.parametrize(
    ("name", "share", "sign", "config"),
    [
        ("SD3Transformer2DModel", lambda time: time / 1000, 1, {}),
        ("AuraFlowTransformer2DModel", lambda time: time, 1, {}),
        ("PRXTransformer2DModel", lambda time: time, 1, {}),
        ("Lumina2Transformer2DModel", lambda time: 1 - time, -1, {}),
        ("SanaTransformer2DModel", lambda time: time / 1, 1, {"timestep_scale": 0.001}),
    ],
)
@pytest.mark.parametrize("sigma", [0.1, 1.0, 7.0])
def test_a_network_denoises_under_the_convention_of_its_pipelines(name, share, sign, config, sigma):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    denoiser = Denoiser(of_class(name, share, sign, **config), schedule=scheduler)
    x = torch.randn(3, 2, 1, 1, dtype=D, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(denoiser(x, sigma), x / (1 + sigma**2), rtol=1e-6, atol=1e-9)


class Tokens(nn.Module):
    def __init__(self, **config):
        super().__init__()
        self.config = config

    def forward(self, hidden_states, timestep, encoder_hidden_states=None, img_ids=None, txt_ids=None):
        return hidden_states


def tokens(name, **config):
    return type(name, (Tokens,), {})(**config)


TEXT = {"encoder_hidden_states": torch.zeros(1, 3, 5)}
GRID = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("name", "image", "text"),
    [
        ("FluxTransformer2DModel", [[0.0, *place] for place in GRID], [[0.0] * 3] * 3),
        ("OvisImageTransformer2DModel", [[0.0, *place] for place in GRID], [[0.0, k, k] for k in (0.0, 1.0, 2.0)]),
        ("LongCatImageTransformer2DModel", [[1.0, *place] for place in GRID], [[0.0, k, k] for k in (0.0, 1.0, 2.0)]),
        ("Flux2Transformer2DModel", [[0.0, *place, 0.0] for place in GRID], [[0.0] * 3 + [k] for k in (0.0, 1.0, 2.0)]),
    ],
)
def test_tokens_lie_where_the_pipelines_of_a_class_put_them(name, image, text):
    model = tokens(name, axes_dims_rope=(2,) * len(image[0]))
    made = places_of(model, TEXT, torch.zeros(2, 4, 6))
    assert made["img_ids"].tolist() == image
    assert made["txt_ids"].tolist() == text


def test_given_coordinates_stay_and_unknown_ones_are_refused():
    given = {**TEXT, "img_ids": torch.ones(4, 4), "txt_ids": torch.ones(3, 4)}
    model = tokens("Flux9Transformer2DModel", axes_dims_rope=(2, 2, 2, 2))
    assert places_of(model, given, torch.zeros(1, 4, 6)) == {}
    with pytest.raises(InputError, match=r"4 axes expected.*give `img_ids` and `txt_ids`"):
        places_of(model, TEXT, torch.zeros(1, 4, 6))
    with pytest.raises(InputError, match="tokens of a square"):
        places_of(tokens("FluxTransformer2DModel"), TEXT, torch.zeros(1, 5, 6))


def test_rows_of_lists_of_layers_and_of_tensors_that_views_are_taken_of():
    x = torch.zeros(3, 2)
    layers = rows_of("text_encoder_layers", [torch.ones(1, 4), torch.zeros(1, 4)], x)
    assert [tuple(layer.shape) for layer in layers] == [(3, 4)] * 2
    assert rows_of("encoder_hidden_states", torch.ones(1, 4, 5), x).is_contiguous()


def test_a_network_without_a_step_is_refused_with_what_it_takes():
    class Ratio(nn.Module):
        config_name, config = "config.json", {"in_channels": 4, "sample_size": 8}

        def forward(self, sample, timestep_ratio):
            return sample

    with pytest.raises(InputError, match=r"takes a `timestep`, Ratio takes sample, timestep_ratio"):
        Denoiser(Ratio().eval(), schedule=diffusers.DDIMScheduler())


@pytest.mark.parametrize(
    ("name", "config", "shape"),
    [
        ("PRXTransformer2DModel", {"patch_size": 2}, (4, None, None)),
        ("UNet2DModel", {"sample_size": None}, (4, None, None)),
        ("UNet2DModel", {"sample_size": (8, 6)}, (4, 8, 6)),
    ],
)
def test_a_network_of_any_size_says_its_channels(name, config, shape):
    model = of_class(name, lambda time: time, 1, **{"sample_size": None, **config, "in_channels": 4})
    assert Denoiser(model, schedule=diffusers.DDIMScheduler()).shape == shape


def test_a_network_of_videos_needs_the_shape_of_a_point():
    model = of_class("WanTransformer3DModel", lambda time: time, 1, sample_size=None)
    with pytest.raises(InputError, match="frames"):
        Denoiser(model, schedule=diffusers.FlowMatchEulerDiscreteScheduler())


@pytest.mark.parametrize(
    ("config", "given"),
    [({"num_class_embeds": None}, {}), ({}, {}), ({"num_embeds_ada_norm": 10}, {"class_labels": torch.tensor([10])})],
)
def test_a_network_that_is_told_nothing_needs_no_condition_of_nothing(config, given):
    class Labelled(Exact):
        def forward(self, hidden_states, timestep, class_labels=None):
            return super().forward(hidden_states, timestep)

    model = Labelled(lambda time: time, 1, **config).eval()
    assert null_of(model) == given
    assert Denoiser(model, schedule=diffusers.DDIMScheduler(), null=True).given == given


@pytest.mark.parametrize("name", ["encoder_hidden_states", "class_labels"])
def test_a_network_that_is_told_something_names_it(name):
    model = tokens("Told", num_class_embeds=5) if name == "class_labels" else tokens("Told")
    with pytest.raises(InputError, match="a condition of Told expected, got none"):
        null_of(model)


@pytest.mark.parametrize(("config", "count"), [({"num_class_embeds": 5}, 5), ({"num_embeds_ada_norm": 5}, 6)])
def test_a_class_that_a_network_has_not_is_refused_with_those_that_it_has(config, count):
    class Labelled(Exact):
        def forward(self, hidden_states, timestep, class_labels=None):
            return super().forward(hidden_states, timestep)

    model = Labelled(lambda time: time, 1, **config).eval()
    for label in (-1, count):
        with pytest.raises(InputError, match=f"a class from 0 to {count - 1} expected by Labelled, got {label}"):
            Denoiser(model, schedule=diffusers.DDIMScheduler(), condition=label)
    assert Denoiser(model, schedule=diffusers.DDIMScheduler(), condition=count - 1).given["class_labels"] == count - 1


def test_a_condition_of_another_name_is_refused_with_the_names_that_there_are():
    with pytest.raises(InputError, match="Told takes no condition 'words' but encoder_hidden_states"):
        conditions_of(tokens("Told"), {"words": torch.ones(1, 2, 3)})


def test_a_factory_of_a_network_without_its_schedule_is_told_what_lacks():
    with pytest.raises(InputError, match="returned Told without what it was trained on"):
        _from_factory(tokens("Told"), "mine:net", torch.device("cpu"), None)
