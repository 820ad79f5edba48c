"""What is tried of one class: opening, products, and verbs, each in words that a table can hold."""

from __future__ import annotations

import contextlib
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import theodolite
from studies.compatibility.autoencoders import AUTOENCODERS
from studies.compatibility.denoisers import NETWORKS, normal
from studies.compatibility.subjects import Class
from theodolite.derivatives import JacobianOperator, self_check
from theodolite.errors import InputError, in_one_line
from theodolite.runs.functions import function_of

STEPS = 4
"""Steps of samplers: the fewest at which multistep schedulers use all of their formulas."""
SIGMA = 0.5
"""Noise level of denoisers, where neither the signal nor the noise of unit data is small."""
EXACT = 1e-4
"""Largest distance of a product from its reference, of the reference: central differences in float64 come to 1e-6 on
smooth networks, and to 1e-4 beside the kinks of ReLU."""
IMAGES = 6
"""Images of `rank`, the fewest at which every error can be stated."""


@dataclass(frozen=True)
class Trial:
    """How one step of a class ended.

    Attributes:
        step: its name.
        result: ``yes``, ``refused`` (an `InputError`: a sentence), ``fault`` (any other exception, or wrong products),
            ``not built`` where diffusers wants arguments or packages of its own.
        said: what was said, in one line; of products the largest distance.
        seconds: how long it took.
    """

    step: str
    result: str
    said: str = ""
    seconds: float = 0.0


def tried(each: Class) -> list[Trial]:
    """Every step of a class; the first that does not end with ``yes`` is the last where the others need it."""
    steps = {"autoencoder": _autoencoder, "denoiser": _denoiser, "scheduler": _scheduler}[each.kind]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(steps(each.name, Path(folder)))


def _run(step: str, function: Callable[[], Any]) -> tuple[Trial, Any]:
    start = time.monotonic()
    result, said, value = "yes", "", None
    try:
        value = function()
        said = value if isinstance(value, str) else ""
    except InputError as error:
        result, said = "refused", in_one_line(error)
    except Exception as error:
        result, said = "not built" if step == "build" else "fault", f"{type(error).__name__}: {in_one_line(error)}"
    said = said.replace(f"{tempfile.gettempdir()}/", "")  # nothing of this machine belongs into the outcomes
    return Trial(step, result, said, round(time.monotonic() - start, 2)), value


def _autoencoder(name: str, folder: Path) -> Iterator[Trial]:
    trial, saved = _run("build", lambda: _saved(name, AUTOENCODERS[name], folder / "model"))
    if saved is None:
        yield trial
        return
    trial, model = _run("load", lambda: theodolite.load(folder / "model"))
    yield trial
    if model is None:
        return
    side = model.image_size[0] if model.image_size else max(32, 2 * model.downsampling)
    images = _pictures(folder / "images", side)
    latent = model.encode(_waves(1, model.image_channels, side))
    yield _run("products", lambda: _products(model.decoder, latent))[0]
    options = {"size": side, "budget": "quick", "progress": None}
    yield _run("survey", lambda: _whole(theodolite.survey(model, images, folder / "survey", limit=1, **options)))[0]
    yield _run("rank", lambda: _whole(function_of("diffusability")(model, images, folder / "rank", **options)))[0]


def _denoiser(name: str, folder: Path) -> Iterator[Trial]:
    network = NETWORKS[name]
    trial, saved = _run("build", lambda: _saved(name, network.config, folder / "model" / "transformer"))
    if saved is None:
        yield trial
        return
    _scheduler_of(network.scheduler).save_pretrained(folder / "model" / "scheduler")
    trial, model = _run("load", lambda: theodolite.load(folder / "model", subfolder="transformer"))
    yield trial
    if model is None:
        return
    model = model.with_condition(network.condition())
    point = normal(1, *network.shape)
    yield _run("products", lambda: _products(theodolite.denoiser_map(model, SIGMA), point))[0]
    latents = folder / "latents.safetensors"
    _write(latents, {"latents": point})
    options = {"latents": latents, "budget": "quick", "progress": None}
    for kind, setting in (("denoiser", {"sigma": SIGMA}), ("sampler", {"steps": STEPS})):
        survey = partial(theodolite.survey, model, None, folder / kind, map=kind, **setting, **options)
        yield _run(kind, lambda survey=survey: _whole(survey()))[0]


def _scheduler(name: str, folder: Path) -> Iterator[Trial]:
    trial, scheduler = _run("build", lambda: _scheduler_of(name))
    yield trial
    if scheduler is None:
        return
    for step, options in (("sampler", {}), ("with fixed noise", {"noise": 0})):
        trial, _ = _run(step, partial(_drawn, scheduler, **options))
        yield trial
        if trial.result == "yes":
            return


def _drawn(scheduler: Any, **options: Any) -> None:
    """Draw with the scheduler's loop as a map."""
    network = theodolite.Denoiser(_smooth, schedule=scheduler, shape=(3, 4, 4))
    theodolite.sampler_map(network, STEPS, **options)(normal(1, 3, 4, 4))


def _smooth(y: Tensor, timestep: Any) -> Tensor:
    """A smooth function of a point and a step, as a network that was trained on nothing."""
    phase = torch.as_tensor(timestep, dtype=y.dtype).reshape(-1, 1, 1, 1) / 50
    return torch.tanh(0.3 * y + 0.2 * y.roll(1, -1) + phase.sin())


def _saved(name: str, config: Any, folder: Path) -> Path:
    import diffusers

    torch.manual_seed(0)
    getattr(diffusers, name)(**config).eval().save_pretrained(folder)
    return folder


def _scheduler_of(name: str) -> Any:
    import diffusers

    return getattr(diffusers, name)()


def _products(map_: Any, point: Tensor) -> str:
    """Products against central differences and against reverse mode of autograd, both in float64.

    Raises:
        ArithmeticError: they are apart.
    """
    check = self_check(map_, point)
    if not check.passed:
        raise ArithmeticError(check.message)
    wide = map_.to(dtype=torch.float64)
    at = point.double().requires_grad_()
    output = wide(at)
    weights = normal(*output.shape).double()
    (expected,) = torch.autograd.grad(output, at, weights)
    product = JacobianOperator(wide, point.double()).rmatvec(weights[None])[0]
    apart = float((product - expected).norm() / expected.norm())
    if not apart < EXACT:
        raise ArithmeticError(f"a product is {apart:.1e} from autograd's")
    return f"{apart:.0e}"


def _whole(run: Any) -> str:
    """A sentence on a run: how many of its numbers are numbers.

    Raises:
        RuntimeError: a unit failed.
    """
    if not run.is_whole:
        raise RuntimeError("; ".join(str(value) for value in run.failures.values()) or "the run is not whole")
    statuses = run.table["status"].to_pylist()
    return f"{sum(status != 'undetermined' for status in statuses)} of {len(statuses)} numbers"


def _waves(n: int, channels: int, side: int) -> Tensor:
    """Smooth images in [-1, 1], no two alike."""
    ramp = torch.linspace(0, 3, side)
    rows = [torch.sin(ramp[:, None] * (1 + k) + ramp[None] * (2 + k % 3) + k) for k in range(n * channels)]
    return torch.stack(rows).reshape(n, channels, side, side)


def _pictures(folder: Path, side: int) -> Path:
    """A folder of `IMAGES` pictures."""
    from PIL import Image

    folder.mkdir()
    for k, image in enumerate(_waves(IMAGES, 3, side)):
        pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what models print while they are built."""
    import io

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
