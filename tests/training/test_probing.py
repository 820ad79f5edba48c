"""The probe: the right numbers, a model left alone, every logger served, little time."""

from __future__ import annotations

import time

import pytest
import torch

import theodolite
from theodolite.diffusability import penalties
from theodolite.errors import InputError
from theodolite.maps import Autoencoder
from theodolite.scores import GaussianScore
from theodolite.training import probe

NAMES = {
    "mmse",
    "fi",
    "fir",
    "rate",
    "filled_dimension",
    "compression",
    "distortion",
    "encoder_curvature",
    "data_curvature",
}


def autoencoder(model):
    return Autoencoder(model.encode, model.decode, name="small", latent_shape=(3,), image_channels=1, image_size=(8, 8))


def test_it_finds_what_the_parts_find(small, images):
    found = probe(small, images, 0, t=[3.0, 10.0])
    assert set(found) == NAMES
    assert found["fi"].value.shape == (2,)
    small.eval().requires_grad_(False)
    parts = penalties(autoencoder(small), images[:8], generator=0, ascent=0)
    assert found["compression"].value.item() == pytest.approx(61 / 64)
    assert found["distortion"].value.item() == pytest.approx(parts.distortion.value.item(), rel=1e-4)
    relative = parts.encoder_curvature["relative"].value.item()
    assert found["encoder_curvature"].value.item() == pytest.approx(relative, rel=1e-4)
    assert found["data_curvature"].value.item() == pytest.approx(parts.data_curvature.value.item(), rel=1e-4)
    assert 1 <= found["filled_dimension"].value.item() <= 3.2


def test_a_module_and_its_autoencoder_are_the_same(small, images):
    first, second = probe(small, images, 0, bent=0), probe(autoencoder(small), images, 0, bent=0)
    assert set(first) == NAMES - {"compression", "distortion", "encoder_curvature", "data_curvature"}
    for name in first:
        torch.testing.assert_close(first[name].value, second[name].value, equal_nan=True, msg=name)


def test_latents_of_another_scale_are_the_same_latents(small, images):
    class Scaled(type(small)):
        def encode(self, images):
            mean, log_variance = super().encode(images)
            return 64 * mean, log_variance

        def decode(self, latents):
            return super().decode(latents / 64)

    scaled = Scaled()
    scaled.load_state_dict(small.state_dict())
    first, second = probe(small, images, 0, t=5.0), probe(scaled, images, 0, t=5.0)
    for name in NAMES - {"fir", "rate"}:  # which are refused
        assert second[name].value.item() == pytest.approx(first[name].value.item(), rel=1e-3), name


def test_the_order_of_images_does_not_matter(small, images):
    first, second = probe(small, images, 0, t=5.0, bent=0), probe(small, images.flip(0), 0, t=5.0, bent=0)
    assert first["fi"].value.item() == pytest.approx(second["fi"].value.item(), rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(small, images, training):
    small.train(training)
    small.encoder[2].eval()
    small.decoder.requires_grad_(False)
    small.encoder[1].weight.grad = torch.ones_like(small.encoder[1].weight)
    modes = [module.training for module in small.modules()]
    wanted = [weight.requires_grad for weight in small.parameters()]
    before = {name: value.clone() for name, value in small.state_dict().items()}
    random = torch.get_rng_state()
    probe(small, images, 0, t=3.0)
    assert [module.training for module in small.modules()] == modes
    assert [weight.requires_grad for weight in small.parameters()] == wanted
    assert torch.equal(small.encoder[1].weight.grad, torch.ones_like(small.encoder[1].weight))
    assert sum(weight.grad is not None for weight in small.parameters()) == 1
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


def test_it_is_left_as_it_was_after_an_error_too(small, images):
    small.train()
    with pytest.raises(InputError):
        probe(small, images.new_zeros(600, 1, 8, 8), 0)
    assert all(module.training for module in small.modules())
    assert all(weight.requires_grad for weight in small.parameters())


def test_training_goes_on_bit_for_bit(small, images):
    def trained(with_probe):
        torch.manual_seed(3)
        model = type(small)()
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for step in range(4):
            batch = images[step * 50 : step * 50 + 50]
            optimiser.zero_grad()
            (model.decode(model.encode(batch)[0]) - batch).square().mean().backward()
            if with_probe:
                probe(model, images, step, t=3.0, bent=2)
            optimiser.step()
        return model.state_dict()

    first, second = trained(False), trained(True)
    for name in first:
        torch.testing.assert_close(first[name], second[name])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_any_mode_of_the_caller_gives_the_same(small, images, mode):
    plain = probe(small, images, 0, t=3.0)
    with mode():
        moded = probe(small, images.clone(), 0, t=3.0)
    for name in NAMES:
        torch.testing.assert_close(plain[name].value, moded[name].value, equal_nan=True, msg=name)


def test_a_score_of_the_users(small, images):
    asked = []

    def linear(references):
        asked.append(references.shape)
        return GaussianScore(references.mean(0), torch.cov(references.T))

    found = probe(small, images, 0, t=[0.01, 1.0], score=linear, bent=0)
    assert asked == [(450, 3)]
    assert torch.isfinite(found["fir"].value).all()


def test_repeated_images_do_not_stop_it(small, images):
    assert torch.isfinite(probe(small, images.repeat(2, 1, 1, 1), 0, t=5.0, bent=0)["fi"].value).all()


class Writer:
    def __init__(self):
        self.scalars = {}

    def add_scalar(self, tag, value, step):
        self.scalars[tag, step] = value


class Run:
    def __init__(self):
        self.rows = []

    def log(self, row):
        self.rows.append(row)


def test_every_logger_gets_the_finite_values(small, images):
    writer, run, rows = Writer(), Run(), []
    found = probe(small, images, 7, log=writer, t=[0.001, 3.0], bent=2)
    probe(small, images, 7, log=run, t=[0.001, 3.0], bent=2)
    probe(small, images, 7, log=rows.append, t=[0.001, 3.0], bent=2, prefix="latents")
    assert writer.scalars["theodolite/fi/t=3", 7] == found["fi"].value[1].item()
    assert writer.scalars["theodolite/fi/t=3/stderr", 7] == found["fi"].stderr[1].item()
    assert writer.scalars["theodolite/distortion", 7] == found["distortion"].value.item()
    assert not any("t=0.001" in tag for tag, _ in writer.scalars)
    assert run.rows == [{"theodolite/step": 7, **{tag: value for (tag, _), value in writer.scalars.items()}}]
    assert rows[0]["latents/step"] == 7
    assert len(rows[0]) == len(run.rows[0])
    one = Writer()
    probe(small, images, 0, log=one, t=3.0, bent=0)
    assert ("theodolite/fi/t=3", 0) in one.scalars


def test_tensorboard_reads_it_back(small, images, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (the `training` extra)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        values = [probe(small, images, step, log=writer, t=3.0, bent=2)["fi"].value.item() for step in (0, 5)]
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("theodolite/fi/t=3")
    assert [event.step for event in events] == [0, 5]
    assert [event.value for event in events] == pytest.approx(values)


def test_it_is_cheap_enough_for_every_epoch():
    model, images = theodolite.load("zoo:digits"), torch.rand(2000, 1, 8, 8) * 2 - 1
    probe(model, images[:20], 0, bent=2)
    start = time.process_time()
    probe(model, images, 0)
    assert time.process_time() - start < 10  # about one second on one core


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": torch.nn.Linear(2, 2)}, "a module with `encode` and `decode` expected, got Linear"),
        ({"model": None}, "got NoneType"),
        ({"images": torch.zeros(9, 8, 8)}, r"`images` expected to be \(n, channels, height, width\)"),
        ({"images": torch.full((9, 1, 8, 8), 2.0)}, r"images in \[-1, 1\] expected"),
        ({"images": torch.full((9, 1, 8, 8), torch.nan)}, r"images in \[-1, 1\] expected"),
        ({"images": torch.zeros(9, 1, 8, 8)}, "at least 8 different images expected, got 1"),
        ({"images": torch.rand(5, 1, 8, 8)}, "at least 8 different images expected, got 5"),
        ({"t": -1.0}, "noise variances `t`"),
        ({"bent": 1}, "`bent` expected"),
        ({"log": 3}, "`log` expected"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(small, images, change, message):
    arguments = {"model": small, "images": images, "step": 0, "t": 3.0, **change}
    with pytest.raises(InputError, match=message):
        probe(**arguments)
