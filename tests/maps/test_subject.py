"""One map of a model, whatever the model is, and the points where it is measured."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from theodolite import Autoencoder, Denoiser, InputError, LatentMap
from theodolite.maps.adapters import map_at, subject_of
from theodolite.maps.generators import is_plain_generator, plain_generator_map
from theodolite.maps.samplers import sampler_map

CODER = Autoencoder(
    lambda x: x[:, :, ::2, ::2] / 2,
    lambda z: (2 * z).repeat_interleave(2, -1).repeat_interleave(2, -2),
    name="coder",
    latent_shape=(3, None, None),
    downsampling=2,
)
IMAGE = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)


class TestAutoencoder:
    def test_its_decoder_is_measured_at_latents_of_images(self):
        subject = subject_of(CODER)
        assert subject.kind == "decoder"
        assert subject.map is CODER.decoder
        torch.testing.assert_close(subject.points(IMAGE), CODER.encode(IMAGE))
        outputs = subject.outputs(subject.points(IMAGE))
        torch.testing.assert_close(subject.images(outputs), CODER.decode(CODER.encode(IMAGE)))

    def test_its_encoder_is_measured_at_images_and_shown_decoded(self):
        subject = subject_of(CODER, "encoder")
        assert torch.equal(subject.points(IMAGE), IMAGE)
        latents = subject.outputs(IMAGE)
        torch.testing.assert_close(latents, CODER.encode(IMAGE))
        torch.testing.assert_close(subject.images(latents), CODER.decode(latents))
        with pytest.raises(InputError, match="the encoder of coder is measured at images"):
            subject.draw(0, (3, 4, 4))

    def test_a_latent_of_any_size_needs_one(self):
        subject = subject_of(CODER)
        assert subject.shape(8) == (3, 4, 4)
        assert subject_of(CODER, "encoder").shape(8) == (3, 8, 8)
        with pytest.raises(InputError, match="--size"):
            subject.shape()
        with pytest.raises(InputError, match="divisible by 2"):
            subject.shape(7)

    def test_a_map_that_it_has_not_is_named(self):
        with pytest.raises(InputError, match="coder has no generator: it has decoder and encoder"):
            subject_of(CODER, "generator")


class TestGenerator:
    def test_it_takes_no_images(self):
        subject = subject_of(LatentMap(nn.Linear(3, 5).eval(), (3,), name="net"))
        assert subject.kind == "generator"
        assert subject.images(subject.outputs(torch.ones(1, 3))) is None
        with pytest.raises(InputError, match="net makes images and takes none"):
            subject.points(IMAGE)

    def test_draws_are_those_of_their_seed_in_the_type_of_the_weights(self):
        subject = subject_of(LatentMap(nn.Linear(3, 5).eval(), (3,)))
        draw = subject.draw(5, subject.shape())
        expected = torch.randn(3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        assert torch.equal(draw, expected.float())

    @pytest.mark.parametrize(
        ("model", "shape"),
        [
            (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8)), (4,)),
            (nn.Sequential(nn.ConvTranspose2d(4, 3, 2), nn.Tanh()), (4, 1, 1)),
        ],
    )
    def test_a_module_says_its_shape_by_its_first_layer(self, model, shape):
        assert is_plain_generator(model)
        assert plain_generator_map(model.eval(), "net").latent_shape == shape

    def test_a_shape_that_the_module_states_comes_first(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(6, 8)).eval()
        model.latent_shape = (2, 3)
        assert plain_generator_map(model, "net").latent_shape == (2, 3)

    def test_what_is_no_generator(self):
        with_two = nn.Bilinear(2, 2, 2)
        assert not is_plain_generator(with_two)
        assert not is_plain_generator(lambda z: z)
        with pytest.raises(InputError, match="the shape of a latent of net is not known"):
            plain_generator_map(nn.Tanh(), "net")
        model = nn.Sequential(nn.Flatten(0), nn.Linear(6, 8)).eval()
        with pytest.raises(InputError, match="net failed on latents"):
            plain_generator_map(model, "net")


def test_another_model_is_refused():
    with pytest.raises(InputError, match="an autoencoder, a generator or a denoiser expected, got str"):
        subject_of("zoo:digits")


class Scaled(nn.Module):
    """Its condition times the point, half of it without one; sampled from level 2."""

    shape = (1, 4, 4)

    def forward(self, x, sigma, condition=None):
        return (0.5 if condition is None else condition) * x

    def levels(self, steps):
        return [2.0 * (1 - step / steps) for step in range(steps + 1)]


class TestDenoiser:
    """Of standard normal data, where `E[x_0 | x] = x / (1 + sigma²)`."""

    MODEL = Denoiser(lambda x, sigma: x / (1 + sigma**2), shape=(1, 4, 4), name="normal")

    def test_it_is_measured_at_noised_images_by_one_draw(self):
        subject = subject_of(self.MODEL, sigma=0.5)
        assert subject.kind == "denoiser"
        images = torch.linspace(-1, 1, 32).reshape(2, 1, 4, 4)
        points = subject.points(images, seed=3)
        noise = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64).float()
        torch.testing.assert_close(points, images + 0.5 * noise)
        torch.testing.assert_close(subject.outputs(points), points / 1.25)
        assert subject.images(points).shape == (2, 1, 4, 4)

    def test_its_sampler_is_measured_at_noise(self):
        levels = [2.0, 1.0, 0.0]
        model = Denoiser(self.MODEL.net, shape=(1, 4, 4), name="normal")
        model.net.levels = lambda steps: levels
        subject = subject_of(model, steps=2)
        assert subject.kind == "sampler"
        z = subject.draw(1, subject.shape())[None]
        torch.testing.assert_close(subject.outputs(z), sampler_map(model, levels)(z))
        with pytest.raises(InputError, match="normal makes images and takes none: a sampler is measured at latents"):
            subject.points(IMAGE)

    def test_settings_of_another_map_are_refused(self):
        with pytest.raises(InputError, match="--steps belongs to a sampler, and normal is measured as a denoiser"):
            subject_of(self.MODEL, sigma=0.5, steps=3)
        with pytest.raises(InputError, match="give --sigma"):
            subject_of(self.MODEL, "denoiser")
        with pytest.raises(InputError, match="--sigma belongs to a denoiser, and coder is measured as a decoder"):
            subject_of(CODER, sigma=0.5)
        with pytest.raises(InputError, match="normal has no decoder: it has sampler and denoiser"):
            subject_of(self.MODEL, "decoder")
        with pytest.raises(InputError, match="measured at images: give --data"):
            subject_of(self.MODEL, sigma=0.5).draw(0, (1, 4, 4))

    def test_a_condition_is_that_of_the_network_or_another(self):
        model = Denoiser(lambda x, sigma, c: c * x, condition=2.0, shape=(1, 4, 4))
        ones = torch.ones(1, 1, 4, 4)
        assert subject_of(model, sigma=1.0).outputs(ones).mean() == 2
        assert subject_of(model, sigma=1.0, condition=3.0).outputs(ones).mean() == 3

    def test_its_noise_is_its_own_at_every_level_and_a_denoised_point_that_of_either_output(self):
        x0, eps = (subject_of(self.MODEL, sigma=0.5, output=output) for output in ("x0", "eps"))
        images = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4)
        points = eps.points(images, seed=3)
        torch.testing.assert_close(eps.denoised(points, eps.outputs(points)), x0.outputs(points))
        other = eps.at(2.0)
        torch.testing.assert_close((other.points(images, seed=3) - images) / 2.0, (points - images) / 0.5)
        torch.testing.assert_close(other.outputs(points), points * 2.0 / 5.0)

    def test_guidance_needs_the_condition_that_it_is_about(self):
        model = Denoiser(lambda x, sigma, c: (c or 0.0) * x, shape=(1, 4, 4))
        ones = torch.ones(1, 1, 4, 4)
        guided = subject_of(model, sigma=1.0, condition=2.0, guidance=3.0)
        assert guided.outputs(ones).mean() == 6
        assert guided.at(0.5).outputs(ones).mean() == 6
        with pytest.raises(InputError, match="a condition expected with guidance"):
            subject_of(model, sigma=1.0, guidance=3.0)

    @pytest.mark.parametrize("kind", [{"sigma": 1.0}, {"kind": "sampler", "steps": 1}])
    def test_guidance_starts_from_the_condition_that_is_given(self, kind):
        net = Denoiser(Scaled().eval())
        ones = torch.ones(1, 1, 4, 4)
        options = {"condition": 2.0, "guidance": 3.0, **kind}
        starts = [subject_of(net, unconditional=u, **options).outputs(ones).mean() for u in (None, 1.0)]
        plain, other = (subject_of(net, condition=c, **kind).outputs(ones).mean() for c in (2.0, 1.0))
        torch.testing.assert_close(starts[1], other + 3.0 * (plain - other))
        assert float(starts[0]) != float(starts[1])
        if "sigma" in kind:
            again = subject_of(net, unconditional=1.0, **options).at(1.0).outputs(ones).mean()
            torch.testing.assert_close(again, starts[1])

    def test_what_guidance_starts_from_is_no_setting_without_guidance(self):
        for guidance in (None, 1.0):
            with pytest.raises(InputError, match=r"--unconditional is what guidance starts from.*give --guidance"):
                subject_of(Denoiser(Scaled().eval()), sigma=1.0, condition=2.0, unconditional=1.0, guidance=guidance)
        with pytest.raises(InputError, match="--unconditional belongs to a denoiser or a sampler"):
            subject_of(LatentMap(lambda z: z, (3,)), unconditional=1.0)

    def test_the_map_of_images_is_the_denoiser_and_that_of_latents_the_sampler(self):
        assert map_at(self.MODEL, None, images=True) == "denoiser"
        assert map_at(self.MODEL, None, images=False) == "sampler"
        assert map_at(CODER, None, images=False) == "decoder"

    def test_a_latent_model_takes_images_of_the_size_of_its_latents(self):
        latent = Denoiser(lambda x, sigma: x, shape=(3, 4, 4), autoencoder=CODER, name="latent")
        reader = subject_of(latent, sigma=0.5).reader()
        assert reader.image_size == (8, 8)
        images = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)
        torch.testing.assert_close(reader.encode(images), CODER.encode(images))
        for model, message in (
            (Denoiser(self.MODEL.net, shape=(4, 4, 4), name="four"), "images of 1 or 3 channels expected, four"),
            (Denoiser(self.MODEL.net, shape=(2, 4, 4), autoencoder=CODER), "latents of 2 channels expected"),
            (Denoiser(self.MODEL.net, shape=(16, 4)), "a denoiser of images .channels, height, width. expected"),
        ):
            with pytest.raises(InputError, match=message):
                subject_of(model, sigma=0.5).reader()

    def test_tokens_of_any_number_are_those_of_a_size(self):
        model = Denoiser(lambda x, sigma: x, shape=(None, 4), name="tokens")
        model.net.levels = lambda steps: [1.0, 0.0]
        assert subject_of(model, steps=1, size=3).shape() == (9, 4)

    def test_noise_that_a_scheduler_adds_is_fixed_by_a_seed(self):
        diffusers = pytest.importorskip("diffusers")
        scheduler = diffusers.DDPMScheduler(clip_sample=False)
        model = Denoiser(lambda y, index: 0.5 * y, "eps", "index", scheduler, shape=(1, 4, 4), name="noisy")
        z = torch.ones(1, 1, 4, 4)
        first, same, other = (subject_of(model, steps=3, draws=draws).outputs(z) for draws in (None, 0, 1))
        torch.testing.assert_close(first, sampler_map(model, 3, noise=0)(z))
        assert torch.equal(first, same)
        assert not torch.allclose(first, other)
        levels = Denoiser(lambda x, sigma: x, shape=(1, 4, 4))
        levels.net.levels = lambda steps: [1.0, 0.0]
        with pytest.raises(InputError, match="`noise` belongs to `eta` above 0"):
            subject_of(levels, draws=1)

    def test_noise_of_eta_is_fixed_by_a_seed_without_a_scheduler_too(self):
        model = Denoiser(lambda x, sigma: x / (1 + sigma), shape=(1, 4, 4))
        model.net.levels = lambda steps: [4.0, 1.0, 0.0]
        z = torch.ones(1, 1, 4, 4)
        none, first, same, other = (
            subject_of(model, eta=eta, draws=draws).outputs(z)
            for eta, draws in ((0.0, None), (1.0, None), (1.0, 0), (1.0, 1))
        )
        torch.testing.assert_close(none, subject_of(model).outputs(z))
        assert torch.equal(first, same)
        assert not torch.allclose(first, other)
        assert not torch.allclose(first, none)
