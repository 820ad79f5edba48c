"""The callback: one probe an epoch by either hook, told to every logger, with Lightning or without."""

from __future__ import annotations

import copy
import pickle
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from theodolite.errors import InputError
from theodolite.training import TheodoliteCallback


class Logger:
    def __init__(self):
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))


def trainer(**changes):
    state = {"current_epoch": 0, "global_step": 10, "sanity_checking": False, "is_global_zero": True}
    return SimpleNamespace(**{**state, "loggers": [Logger(), Logger()], **changes})


def callback(images, **settings):
    return TheodoliteCallback(images[:200], t=10.0, bent=0, **settings)


def test_one_probe_an_epoch_by_either_hook(small, images):
    watch, run = callback(images), trainer()
    for epoch in range(3):
        run.current_epoch, run.global_step = epoch, 10 * epoch + 9
        if epoch != 1:
            watch.on_validation_epoch_end(run, small)
        watch.on_train_epoch_end(run, small)
    assert [epoch for epoch, _ in watch.history] == [0, 1, 2]
    for logger in run.loggers:
        assert [step for step, _ in logger.rows] == [9, 19, 29]
        for (_, row), (_, found) in zip(logger.rows, watch.history):
            assert row["theodolite/fi/t=10"] == found["fi"].value.item()


def test_a_second_training_is_watched_too(small, images):
    watch = callback(images)
    for _ in range(2):
        watch.on_fit_start(trainer(), small)
        watch.on_train_epoch_end(trainer(), small)
    assert [epoch for epoch, _ in watch.history] == [0, 0]


def test_it_keeps_quiet_where_it_should(small, images):
    watch = callback(images, every=2)
    watch.on_validation_epoch_end(trainer(sanity_checking=True), small)
    watch.on_train_epoch_end(trainer(is_global_zero=False), small)
    watch.on_train_epoch_end(trainer(current_epoch=1), small)
    assert watch.history == []
    watch.on_train_epoch_end(trainer(current_epoch=2), small)
    assert len(watch.history) == 1


def test_the_model_may_be_inside_the_module(small, images):
    watch = callback(images, model=lambda module: module.inner, prefix="latents")
    run = trainer()
    watch.on_train_epoch_end(run, SimpleNamespace(inner=small))
    assert "latents/fi/t=10" in run.loggers[0].rows[0][1]


def test_what_the_probe_refuses_does_not_stop_the_training(small, images):
    with torch.no_grad():
        small.encoder[1].weight.fill_(torch.nan)
    watch, run = callback(images), trainer()
    with pytest.warns(UserWarning, match=r"no probe at epoch 0: finite `latents` expected"):
        watch.on_train_epoch_end(run, small)
    assert watch.history == []
    assert run.loggers[0].rows == []


@pytest.fixture
def lightning(monkeypatch):
    """A stand-in for Lightning with a base class of callbacks."""
    module = ModuleType("lightning.pytorch")
    module.Callback = type("Callback", (), {"on_fit_start": lambda self, trainer, pl_module: None})
    monkeypatch.setitem(sys.modules, "lightning.pytorch", module)
    return module


def test_where_lightning_is_loaded_it_is_one_of_its_callbacks(small, images, lightning):
    watch = callback(images)
    assert isinstance(watch, lightning.Callback)
    assert isinstance(watch, TheodoliteCallback)
    assert type(watch).__name__ == "TheodoliteCallback"
    watch.on_fit_start(None, None)
    watch.on_train_epoch_end(trainer(), small)
    for twin in (pickle.loads(pickle.dumps(watch)), copy.deepcopy(watch)):
        assert isinstance(twin, lightning.Callback)
        assert len(twin.history) == 1
        assert torch.equal(twin.images, images[:200])


def test_without_lightning_nothing_is_imported(images):
    assert type(callback(images)) is TheodoliteCallback


def test_a_real_trainer_calls_it(small, images):
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.inner = small

        def training_step(self, batch, index):
            return (small.decode(small.encode(batch)[0]) - batch).square().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    watch = callback(images, model=lambda module: module.inner)
    run = lightning.Trainer(
        max_epochs=2, callbacks=[watch], logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    run.fit(Module(), torch.utils.data.DataLoader(images, 100))
    assert [epoch for epoch, _ in watch.history] == [0, 1]


def test_bad_settings_are_refused_before_the_training(images):
    for settings, message in (({"every": 0}, "`every`"), ({"steps": 3}, "got steps")):
        with pytest.raises(InputError, match=message):
            callback(images, **settings)
    with pytest.raises(InputError, match="`images` expected"):
        TheodoliteCallback(images[0])
    with pytest.raises(InputError, match="noise variances"):
        TheodoliteCallback(images, t=0.0)
