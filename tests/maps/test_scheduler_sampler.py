"""Samplers that are the scheduler's own: equal to diffusers' loops for every class and setting, or refused."""

from __future__ import annotations

import copy
import inspect
import warnings

import pytest
import torch
from torch import nn

from theodolite import Denoiser, InputError, jacobian, sampler_map
from theodolite.derivatives import self_check
from theodolite.maps.scheduler_steps import scheduler_steps

diffusers = pytest.importorskip("diffusers")
diffusers.utils.logging.set_verbosity_error()
D = torch.float64
SHAPE = (3, 4, 4)
ZERO_SNR = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}

FOLLOWED = [
    "CogVideoXDDIM",
    "DDIM",
    "DDIMInverse",
    "DDIMParallel",
    "DEISMultistep",
    "DPMSolverMultistep",
    "DPMSolverMultistepInverse",
    "DPMSolverSinglestep",
    "EDMDPMSolverMultistep",
    "EDMEuler",
    "EulerDiscrete",
    "FlowMatchEulerDiscrete",
    "FlowMatchHeunDiscrete",
    "HeunDiscrete",
    "IPNDM",
    "KDPM2Discrete",
    "LMSDiscrete",
    "PNDM",
    "UniPCMultistep",
]
NOISY = [
    "DDPM",
    "DDPMParallel",
    "EulerAncestralDiscrete",
    "KDPM2AncestralDiscrete",
    "FlowMatchLCM",
    "LCM",
    "TCD",
    "UnCLIP",
]
REFUSED = [
    *NOISY,
    "BlockRefinement",
    "CMStochasticIterative",
    "CogVideoXDPM",
    "DDPMWuerstchen",
    "DiscreteDDIM",
    "EntropyBound",
    "FlowMapEulerDiscrete",
    "Helios",
    "HeliosDMD",
    "KarrasVe",
    "LTXEulerAncestralRF",
    "MiniMaxH3",
    "Piflow",
    "RePaint",
    "SASolver",
    "SCM",
    "ScoreSdeVe",
]
SETTINGS = {
    "DDIM": (
        {"clip_sample": False},
        {"thresholding": True, "sample_max_value": 2.0},
        {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"},
        {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "beta_schedule": "scaled_linear"},
        {"prediction_type": "sample"},
        {"prediction_type": "v_prediction"},
        ZERO_SNR,
        {**ZERO_SNR, "clip_sample": False},
    ),
    "DDIMInverse": ({}, {"clip_sample": False}),
    "DEISMultistep": ({"thresholding": True}, {"use_karras_sigmas": True}),
    "DPMSolverMultistep": (
        {"thresholding": True},
        {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "thresholding": True},
        {"solver_order": 3, "use_karras_sigmas": True},
        {"use_lu_lambdas": True},
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    ),
    "EulerDiscrete": ({"use_karras_sigmas": True}, {"use_exponential_sigmas": True}, ZERO_SNR),
    "FlowMatchEulerDiscrete": ({"shift": 3.0, "use_karras_sigmas": True}, {"shift_terminal": 0.1}),
    "HeunDiscrete": ({"clip_sample": True}, {"use_karras_sigmas": True}),
    "KDPM2Discrete": ({"use_karras_sigmas": True},),
    "LMSDiscrete": ({"use_karras_sigmas": True}, {"prediction_type": "v_prediction"}),
    "PNDM": ({"skip_prk_steps": True, "steps_offset": 1}, {"prediction_type": "v_prediction"}),
    "UniPCMultistep": ({"thresholding": True}, {"solver_order": 3, "use_exponential_sigmas": True}),
}


class Net(nn.Module):
    """A smooth random network that takes a time as diffusers' do."""

    shape = SHAPE

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(0.3 * torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=D))

    def forward(self, y, timestep):
        phase = torch.as_tensor(timestep, dtype=y.dtype).reshape(-1, 1, 1, 1) / 50
        return torch.tanh(nn.functional.conv2d(y, self.mix, padding=1) + phase.sin())


NET = Net().eval().requires_grad_(False)


def noise(n=2, seed=1):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=D)


def made(name, **settings):
    return getattr(diffusers, f"{name}Scheduler")(**settings)


def own_loop(scheduler, steps, z, draws=None, mu=None, **options):
    """The loop that pipelines have; `draws` collects what a seeded generator gives at every step."""
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps, **({} if mu is None else {"mu": mu}))
    x = z * float(getattr(scheduler, "init_noise_sigma", 1.0))
    for place, time in enumerate(scheduler.timesteps):
        given = scheduler.scale_model_input(x, time) if hasattr(scheduler, "scale_model_input") else x
        own = dict(options)
        if draws is not None and "generator" in inspect.signature(scheduler.step).parameters:
            own["generator"] = torch.Generator().manual_seed(place)
            draws.append(torch.randn(x.shape, generator=torch.Generator().manual_seed(place), dtype=D))
        x = scheduler.step(NET(given, time.double()), time, x, return_dict=False, **own)[0].double()
    return x


def apart(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("steps", [4, 9])
@pytest.mark.parametrize("name", FOLLOWED)
def test_every_deterministic_class_is_its_own_loop(name, steps):
    scheduler = made(name)
    ours = sampler_map(Denoiser(NET, schedule=scheduler), steps)(noise())
    assert apart(ours, own_loop(scheduler, steps, noise())) < 1e-6


@pytest.mark.parametrize(("name", "settings"), [(name, each) for name, all in SETTINGS.items() for each in all])
def test_every_setting_is_followed(name, settings):
    scheduler = made(name, **settings)
    ours = sampler_map(Denoiser(NET, schedule=scheduler), 6)(noise())
    assert apart(ours, own_loop(scheduler, 6, noise())) < 1e-6


CLASSES = [name for name in dir(diffusers) if name.endswith("Scheduler")]


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_of_the_installed_diffusers_is_followed_or_refused(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            scheduler = getattr(diffusers, name)()
        except Exception:
            pytest.skip("needs arguments or packages")
    if name.removesuffix("Scheduler") in REFUSED:
        with pytest.raises(InputError, match=r"expected|cannot be followed|draws noise|does not make"):
            sampler_map(Denoiser(NET, schedule=scheduler), 5)
        return
    assert apart(sampler_map(Denoiser(NET, schedule=scheduler), 5)(noise()), own_loop(scheduler, 5, noise())) < 1e-6


@pytest.mark.parametrize(
    ("name", "settings", "options"),
    [
        *((name, {}, {}) for name in NOISY),
        ("DDIM", {}, {"eta": 1.0}),
        ("DDIM", {"clip_sample": False}, {"eta": 0.5}),
        ("EDMDPMSolverMultistep", {"algorithm_type": "sde-dpmsolver++"}, {}),
    ],
)
def test_noise_on_the_way_is_held_fixed(name, settings, options):
    """With the scheduler's own draws, its own sample; without any, refused; the same seed gives the same map."""
    scheduler, draws, z = made(name, **settings), [], noise(1)
    theirs = own_loop(scheduler, 5, z, draws, **options)
    denoiser = Denoiser(NET, schedule=scheduler)
    ours = sampler_map(denoiser, 5, noise=torch.cat(draws), **options)(z)
    assert apart(ours, theirs) < 1e-6
    with pytest.raises(InputError, match="give `noise=SEED`"):
        sampler_map(denoiser, 5, **options)
    first, again, other = (sampler_map(denoiser, 5, noise=seed, **options) for seed in (0, 0, 1))
    rows = first(noise(2))
    torch.testing.assert_close(rows, torch.cat([again(row) for row in noise(2).split(1)]))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert not torch.allclose(rows, other(noise(2)))


def test_what_cannot_be_followed_is_refused_and_not_replaced():
    for message, scheduler in {
        "cannot be followed with its settings": made("SASolver"),  # keeps samples with their noise
        "cannot be followed": made("CogVideoXDPM"),
        "expected to be finite": made("UniPCMultistep", predict_x0=False),
        "does not make 2000 steps": made("DDIM"),
    }.items():
        with pytest.raises(InputError, match=message):
            sampler_map(Denoiser(NET, schedule=scheduler), 2000 if "2000" in message else 6, noise=0)


@pytest.mark.parametrize("size", [(3, 4, 4), (3, 64, 64)])
def test_dynamic_shifting_is_that_of_the_size_of_the_image_as_pipelines_take_it(size):
    scheduler = made("FlowMatchEulerDiscrete", use_dynamic_shifting=True)
    mu = 0.5 + (size[1] * size[2] - 256) * (1.15 - 0.5) / (4096 - 256)
    denoiser = Denoiser(NET, schedule=scheduler, shape=size)
    z = torch.randn(1, *size, generator=torch.Generator().manual_seed(0), dtype=D)
    assert apart(sampler_map(denoiser, 5)(z), own_loop(scheduler, 5, z, mu=mu)) < 1e-6
    assert apart(sampler_map(denoiser, 5, mu=0.9)(z), own_loop(scheduler, 5, z, mu=0.9)) < 1e-6
    assert denoiser.levels(5)[1] != denoiser.levels(5, 0.9)[1]
    with pytest.raises(InputError, match="give `mu`"):
        sampler_map(Denoiser(NET, schedule=scheduler, shape=(3, None, None)), 5)
    with pytest.raises(InputError, match="`mu` belongs to"):
        sampler_map(Denoiser(NET, schedule=made("DDIM")), 5, mu=0.9)


JVPS = {
    "clipped": ("DDIM", {}),
    "dynamic thresholding": ("DPMSolverMultistep", {"thresholding": True, "sample_max_value": 3.0}),
    "multistep": ("UniPCMultistep", {"solver_order": 3}),
    "second order": ("HeunDiscrete", {}),
    "noise alone": ("DDIM", {**ZERO_SNR, "clip_sample": False}),
    "many terms": ("PNDM", {}),
}


@pytest.mark.parametrize("case", JVPS)
def test_derivatives_hold_through_every_step(case):
    name, settings = JVPS[case]
    map = sampler_map(Denoiser(NET, schedule=made(name, **settings)), 5)
    J, h = jacobian(map, noise()), 1e-6
    V, U = torch.stack([noise(seed=3), noise(seed=4)]), torch.stack([noise(seed=5), noise(seed=6)])
    slope = (J.at_offsets(h * V) - J.at_offsets(-h * V)) / (2 * h)
    assert apart(J.matvec(V), slope) < 1e-6
    torch.testing.assert_close((U * J.matvec(V)).sum((-1, -2, -3)), (V * J.rmatvec(U)).sum((-1, -2, -3)))
    ways = {"linearised", *(["forward"] if case == "dynamic thresholding" else [])}  # torch 2.8 alone records quantiles
    assert J.way in ways
    assert self_check(map, noise(1)).passed


def test_between_multistep_stages_stands_no_more_than_later_steps_need():
    """Second order needs one earlier answer and its sample, however many steps there are."""
    denoiser = Denoiser(NET, schedule=made("DPMSolverMultistep"))
    for steps in (6, 24):
        stages = sampler_map(denoiser, steps).function.stages
        assert len(stages) == steps
        assert max(stage.latent_shape[0] for stage in stages if len(stage.latent_shape) == 4) == 3


def test_the_weights_of_ddim_are_those_of_the_formula():
    scheduler = made("DDIM")
    denoiser = Denoiser(NET, schedule=scheduler)
    loop = scheduler_steps(scheduler, denoiser.channel, 4)
    alphas = [float(scheduler.alphas_cumprod[time]) for time in (750, 500)]
    (a, b), step = alphas, loop.steps[0]
    assert (step.time, step.sigma) == (750, pytest.approx(((1 - a) / a) ** 0.5))
    weights = {("sample", 0): (b / a) ** 0.5, ("answer", 0): (1 - b) ** 0.5 - (b / a * (1 - a)) ** 0.5}
    assert {key: pytest.approx(value, rel=1e-6) for key, value in step.terms.items()} == weights


def test_levels_are_those_that_the_scheduler_makes():
    for name, settings in (("DDIM", ZERO_SNR), ("HeunDiscrete", {}), ("PNDM", {}), ("IPNDM", {})):
        levels = Denoiser(NET, schedule=made(name, **settings)).levels(5)
        assert levels == sorted(set(levels), reverse=True)
        assert 0 <= levels[-1] < 0.02
    zero = Denoiser(NET, schedule=made("DDIM", **ZERO_SNR))
    assert zero.levels(5)[0] == float("inf")
    named, own = sampler_map(zero, 5, "ddim")(noise()), sampler_map(zero, 5)(noise())
    assert apart(named, own) < 1e-6  # the same formula with the same clipping, in other units


@pytest.mark.parametrize("settings", [{}, {"clip_sample": False}, ZERO_SNR])
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_noise_drawn_at_given_levels_is_that_of_the_scheduler(settings, eta):
    denoiser = Denoiser(NET, schedule=made("DDIM", **settings))
    draws = noise(5, seed=2)
    ours, own = (sampler_map(denoiser, 5, method, eta=eta, noise=draws)(noise()) for method in ("ddim", None))
    assert apart(ours, own) < 1e-6


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_drawn_noise_keeps_the_law_of_the_data(eta):
    """Of standard normal data, in steps small enough, every `eta` gives variance 1 back."""
    steps = 400
    levels = [20.0 * 0.97**step for step in range(steps)] + [0.0]
    denoise = lambda x, sigma: x / (1 + sigma**2)  # noqa: E731
    draws = torch.zeros(steps, steps + 1, dtype=D)
    draws[range(steps), range(1, steps + 1)] = 1.0  # an entry a draw: the sample is the weights of z and of each draw
    z = torch.zeros(1, steps + 1, dtype=D)
    z[0, 0] = 1.0
    given = {"eta": eta, "noise": draws} if eta else {}
    weights = sampler_map(denoise, levels, shape=(steps + 1,), **given)(z)[0]
    assert abs(float(weights.square().sum()) - 1) < 0.05
    assert float(weights[0]) == pytest.approx(1.0, abs=0.05) if eta == 0 else float(weights[0]) < 0.5


def test_methods_and_their_options_belong_together():
    denoiser = Denoiser(NET, schedule=made("DDIM"))
    for message, call in {
        "a number of steps with method 'scheduler'": lambda: sampler_map(denoiser, [1.0, 0.0], "scheduler"),
        "a model with a diffusers scheduler": lambda: sampler_map(lambda x, s: x, 4, "scheduler", shape=(2,)),
        "`eta` belongs to method 'ddim'": lambda: sampler_map(denoiser, 4, "euler", eta=0.5, noise=1),
        "`noise` belongs to `eta` above 0": lambda: sampler_map(denoiser, 4, "heun", noise=1),
        "draws noise at every step": lambda: sampler_map(denoiser, 4, "ddim", eta=0.5),
        "a draw for each of 4 steps": lambda: sampler_map(denoiser, 4, "ddim", eta=1.0, noise=noise(3)),
        "no noise, and 1, got 1.5": lambda: sampler_map(denoiser, 4, "ddim", eta=1.5, noise=1),
        "`eta` expected between 0": lambda: sampler_map(denoiser, 4, eta=2.0),
        "`eta` belongs to DDIM": lambda: sampler_map(Denoiser(NET, schedule=made("PNDM")), 4, eta=0.5),
        "a seed or a tensor": lambda: sampler_map(denoiser, 4, noise="some"),
        "a draw for each of 4": lambda: sampler_map(denoiser, 4, eta=1.0, noise=noise(3)),
        "at least one step": lambda: sampler_map(denoiser, 0),
    }.items():
        with pytest.raises(InputError, match=message):
            call()


def test_an_eps_network_cannot_start_from_noise_alone():
    scheduler = made("DDIM", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(InputError, match="without signal"):
        sampler_map(Denoiser(NET, schedule=scheduler), 5)
