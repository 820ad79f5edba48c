"""The same on a GPU: metrics, probe and losses follow their input."""

from __future__ import annotations

import pytest
import torch

from theodolite.steering import encoder_curvature_loss, fir_loss, tangential_loss, tangents
from theodolite.training import probe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_the_probe_finds_the_same(small, images):
    first = probe(small, images, 0, t=5.0)
    small.cuda()
    for placed in (images, images.cuda()):
        second = probe(small, placed, 0, t=5.0)
        for name in set(first) - {"fir", "rate"}:
            assert second[name].value.item() == pytest.approx(first[name].value.item(), rel=1e-2), name


def test_the_metric_finds_the_same():
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed (the `training` extra)")
    from theodolite.training import FisherInformation

    latents = torch.randn(900, 2, generator=torch.Generator().manual_seed(0))
    metrics = FisherInformation([1.0, 3.0]), FisherInformation([1.0, 3.0]).cuda()
    for metric, where in zip(metrics, ("cpu", "cuda")):
        metric.update(latents.to(where))
    assert torch.equal(metrics[0].latents, metrics[1].latents.cpu())
    torch.testing.assert_close(metrics[0].compute(), metrics[1].compute().cpu(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_losses_take_a_generator_of_any_device(small, images, where):
    small.cuda().eval()
    x, draw = images[:300].cuda(), torch.Generator(where).manual_seed(0)
    z = small.encode(x)[0]
    along = tangents(small.decode, z, generator=draw)
    losses = (
        tangential_loss(small.decode, z, generator=draw),
        encoder_curvature_loss(small.encode, x, generator=draw),
        encoder_curvature_loss(small.encode, x, generator=draw, step=0.1, directions=along),
        fir_loss(z, 10.0, generator=draw),
    )
    assert all(loss.is_cuda for loss in losses)
    sum(losses).backward()
    assert all(torch.isfinite(weight.grad).all() for weight in small.parameters() if weight.grad is not None)
