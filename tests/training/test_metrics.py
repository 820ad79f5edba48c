"""The metrics: closed forms, one process or several, bounded memory, refusals, pictures."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest
import torch

pytest.importorskip("torchmetrics", reason="torchmetrics is not installed (the `training` extra)")

from theodolite.errors import InputError
from theodolite.information import gaussian_information
from theodolite.scores import GaussianScore
from theodolite.training import FisherInformation, FisherInformationRate, metrics

LEVELS = [1.0, 3.0]
BOTH = (FisherInformation, FisherInformationRate)


def cloud(n, m=2, seed=0):
    return torch.randn(n, m, generator=torch.Generator().manual_seed(seed))


def fed(metric, latents, size=100):
    for batch in latents.split(size):
        metric.update(batch)
    return metric


@pytest.mark.parametrize("kind", BOTH)
def test_a_gaussian_cloud_within_its_errors(kind):
    metric = fed(kind(LEVELS), 7 * cloud(4000).reshape(-1, 2, 1, 1) + 3)
    exact = getattr(gaussian_information(torch.ones(2, dtype=torch.float64), LEVELS), kind.quantity).value
    found = metric.compute()
    assert found.shape == (2,)
    assert found.dtype == torch.float32
    assert ((found - exact).abs() < 3 * metric.estimate.stderr + 1e-6).all()
    torch.testing.assert_close(metric.estimate.value, found)
    assert metric.seen == 4000


@pytest.mark.parametrize("capacity", [4096, 500])
@pytest.mark.parametrize("kind", BOTH)
def test_merged_processes_are_one_process(kind, capacity):
    latents = cloud(1500)
    whole = fed(kind(30.0, capacity=capacity), latents)
    first, second = (fed(kind(30.0, capacity=capacity), part) for part in latents.split([500, 1000]))
    first.merge_state(second)
    if (kind, capacity) != (FisherInformationRate, 500):  # which has too few references
        torch.testing.assert_close(first.compute(), whole.compute())
    assert torch.equal(first.latents, whole.latents)
    assert first.seen == whole.seen == 1500
    assert len(whole.latents) == min(capacity, 1500)


WORKER = """
import sys, torch, torch.distributed as dist
from theodolite.training import FisherInformation
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
latents = torch.randn(1201, 2, generator=torch.Generator().manual_seed(0))
metric = FisherInformation([1.0, 3.0], capacity=600)
for batch in latents[rank::2].split(100):  # 601 and 600
    metric.update(batch)
uneven = FisherInformation([1.0, 3.0], capacity=600)
if rank == 0:
    uneven.update(latents)
with uneven.sync_context():
    kept, seen = uneven.latents, int(uneven.seen)
torch.save({"value": metric.compute(), "kept": kept, "seen": seen, "own": len(metric.latents)}, f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


def test_two_processes_over_gloo(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WORKER]
    running = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment) for rank in range(2)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    whole = fed(FisherInformation([1.0, 3.0], capacity=600), cloud(1201))
    for one in found:
        torch.testing.assert_close(one["value"], whole.compute())
        assert torch.equal(one["kept"], whole.latents)  # also where one process saw nothing
        assert one["seen"] == 1201
        assert one["own"] == 600


def test_samples_that_a_sampler_repeats_count_once():
    latents = cloud(800)
    padded = torch.cat([latents, latents[:100]])
    torch.testing.assert_close(
        fed(FisherInformation(3.0), padded).compute(), fed(FisherInformation(3.0), latents).compute()
    )


def test_memory_is_bounded_in_update_and_in_forward():
    updated, called = FisherInformation(3.0, capacity=200), FisherInformation(3.0, capacity=200)
    for batch in cloud(3000).split(300):
        updated.update(batch)
        called(batch)
        for metric in (updated, called):
            assert sum(part.numel() for part in metric.rows) <= 400
    torch.testing.assert_close(updated.compute(), called.compute())
    assert called.seen == 3000


def test_a_batch_alone_in_forward():
    metric, batch = FisherInformation(3.0), cloud(900, seed=1)
    metric.update(cloud(900))
    torch.testing.assert_close(metric(batch), fed(FisherInformation(3.0), batch, 900).compute())
    metric.reset()
    assert metric.estimate is None
    assert len(metric.latents) == 0


def test_a_score_is_asked_at_the_latents_as_they_are():
    latents = 2 * cloud(2000)
    metric = fed(FisherInformation(LEVELS, score=GaussianScore(torch.zeros(2), 4 * torch.eye(2))), latents)
    torch.testing.assert_close(metric.compute(), torch.tensor([2 / 5, 2 / 7]))
    made = fed(FisherInformation(LEVELS, score=lambda z: GaussianScore(z.mean(0), torch.cov(z.T))), latents)
    torch.testing.assert_close(made.compute(), torch.tensor([1.0, 0.5]), rtol=0.05, atol=0)


def test_refused_levels_are_nan_with_the_reason():
    metric = fed(FisherInformation([0.01, 3.0]), cloud(1000))
    assert torch.isnan(metric.compute()).tolist() == [True, False]
    assert "remembers its references" in metric.estimate.message
    nowhere = fed(FisherInformationRate([0.01, 0.02]), cloud(1000, 6))
    assert torch.isnan(nowhere.compute()).all()
    assert "refused at every level" in nowhere.estimate.message


def test_it_travels_and_joins_a_collection():
    from torchmetrics import MetricCollection

    metric = fed(FisherInformation(LEVELS), cloud(700))
    torch.testing.assert_close(pickle.loads(pickle.dumps(metric)).compute(), metric.compute())
    torch.testing.assert_close(metric.clone().compute(), metric.compute())
    both = MetricCollection([FisherInformation(LEVELS), FisherInformationRate(LEVELS)])
    for batch in cloud(700).split(350):
        both.update(batch)
    found = both.compute()
    torch.testing.assert_close(found["FisherInformation"], metric.compute())
    assert found["FisherInformationRate"].shape == (2,)


def test_half_precision_latents_are_kept_in_single():
    metric = fed(FisherInformation(3.0), cloud(900).bfloat16())
    assert metric.latents.dtype == torch.float32
    assert torch.isfinite(metric.compute())


class Axes:
    def __init__(self):
        self.curves, self.bands, self.settings = [], [], {}

    def plot(self, x, y, **_):
        self.curves.append((x, y))

    def fill_between(self, x, low, high, **_):
        self.bands.append((x, low, high))

    def set(self, **settings):
        self.settings |= settings

    def get_figure(self):
        return "figure"


def test_plot_draws_what_was_computed_with_its_band():
    metric = fed(FisherInformation(LEVELS), cloud(900))
    figure, axes = metric.plot(ax=Axes())
    assert figure == "figure"
    assert axes.curves == [(LEVELS, metric.compute().tolist())]
    ((_, low, high),) = axes.bands
    assert all(a < b < c for a, b, c in zip(low, metric.compute().tolist(), high))
    assert axes.settings["xscale"] == "log"
    _, history = metric.plot([metric.compute(), 2 * metric.compute()], ax=Axes())
    assert len(history.curves) == 2
    assert not history.bands


def test_plot_makes_a_matplotlib_figure():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed (the `training` extra)")
    pyplot.switch_backend("agg")
    figure, axes = fed(FisherInformationRate(3.0), cloud(900)).plot()
    assert axes in figure.axes
    pyplot.close(figure)


def test_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r'pip install "theodolite\[training\]"'):
        metrics._new_axes()


def test_without_torchmetrics_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['torchmetrics'] = None\n"
        "import theodolite.training as training\n"
        "try: training.FisherInformation\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "theodolite[training]"' in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FisherInformation([0.0]), "noise variances `t`"),
        (lambda: FisherInformation(1.0, capacity=3), "`capacity` expected"),
        (lambda: FisherInformation(1.0, score=7), "`score` expected"),
        (lambda: FisherInformation(1.0).update(torch.ones(3)), r"\(n, \*latent\)"),
        (lambda: FisherInformation(1.0).update([1]), "got list"),
        (lambda: FisherInformation(1.0).update(torch.full((4, 2), torch.nan)), "finite `latents`"),
        (
            lambda: fed(FisherInformation(1.0), cloud(20)).update(cloud(5, 3)),
            "latents of 2 dimensions expected, as before",
        ),
        (lambda: fed(FisherInformation(1.0), cloud(5)).compute(), "at least 8 different latents"),
        (lambda: fed(FisherInformation(1.0), torch.ones(50, 2)).compute(), "at least two samples"),
        (
            lambda: fed(FisherInformation(1.0, score=GaussianScore(torch.zeros(3), torch.eye(3))), cloud(50)).compute(),
            "latents of 3 dimensions expected",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(("step", "m"), [(0.25, 2), (0.5, 8), (1.0, 8), (2.0, 64)])
def test_quantised_latents_are_named_and_nan_has_its_reason(kind, step: float, m: int):
    """Rounding makes negative zeros too, which are the same latents as positive ones."""
    metric = fed(kind([0.01, 30.0]), (cloud(2000, m) / step).round() * step)
    with pytest.warns(UserWarning, match="before the quantiser") as warned:
        value = metric.compute()
    words = [str(warning.message) for warning in warned]
    if not bool(torch.isfinite(value).all()):
        assert any("is NaN: " in message and "references" in message for message in words)
    assert torch.isnan(value[0])


def test_latents_of_low_precision_are_not_taken_for_quantised(recwarn):
    fed(FisherInformation(30.0), cloud(3000).bfloat16().float()).compute()
    assert not [warning for warning in recwarn if "quantiser" in str(warning.message)]


def test_zeros_of_both_signs_are_one_latent():
    rows = torch.tensor([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [1.0, -0.0]])
    metric = FisherInformation(1.0)
    metric.update(rows)
    assert len(metric.latents) == 2
