"""What forecasts how well diffusion trains in a latent space: autoencoders, truth, predictors, page.

    python -m studies.prediction list [--block crossed]               designs, and what has been made of each
    python -m studies.prediction autoencoders [--block seeds]         train what is missing
    python -m studies.prediction truth [--network convolutional] [--seed 0] [--steps 2000]
    python -m studies.prediction predictors [--group cloud ...]       measure what is missing
    python -m studies.prediction library                              the library's own predictors
    python -m studies.prediction calibrate                            the forecast that ships, from the outcomes
    python -m studies.prediction collect                              docs/prediction.md from the outcomes

Every verb may be stopped at any time and goes on where it was. Weights and states of training lie in `parts`, which git
ignores; outcomes are JSON files in `outcomes`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from studies.prediction import page, truth
from studies.prediction.autoencoders import KIND, Training, train_autoencoder, train_classifier
from studies.prediction.calibrate import write_calibration
from studies.prediction.data import images_of
from studies.prediction.designs import BLOCKS, Design, in_random_order
from studies.prediction.library import measure_library
from studies.prediction.measuring import GROUPS, Sizes, measure
from studies.prediction.store import Store


def main(arguments: Sequence[str] | None = None, store: Store | None = None) -> None:
    """Do what the command line says, in this process and on one thread."""
    options = _options(arguments)
    torch.set_num_threads(1)
    _VERBS[options.verb](in_random_order(BLOCKS[options.block]), options, store or Store())


def _list(designs: Sequence[Design], options: argparse.Namespace, store: Store) -> None:
    for design in designs:
        run = truth.run_name(design, options.network, options.seed)
        steps = ", ".join(sorted(store.read(truth.KIND, run).get("checkpoints", {}), key=int)) or "-"
        groups = ", ".join(store.read("predictors", design.name).get("groups", {})) or "-"
        trained = "trained" if store.read(KIND, design.autoencoder) else "-------"
        print(f"{trained} {design.name}: truth {steps}; predictors {groups}")


def _autoencoders(designs: Sequence[Design], options: argparse.Namespace, store: Store) -> None:
    for design in designs:
        _trained(design, store)


def _truth(designs: Sequence[Design], options: argparse.Namespace, store: Store) -> None:
    """Autoencoders that are missing are trained first, design by design: what is finished is a random part of all."""
    checkpoints = [step for step in truth.CHECKPOINTS if step <= options.steps]
    for design in designs:
        _trained(design, store)
        budget = _budget(design)
        truth.measure_truth(design, store, options.network, options.seed, checkpoints, budget, _tell)


def _budget(design: Design) -> truth.Budget:
    """As many samples as planned, or as there are images to judge by: a distance depends on the number."""
    planned = truth.Budget()
    return truth.Budget(samples=min(planned.samples, len(images_of(design.data).judge[0])))


def _predictors(designs: Sequence[Design], options: argparse.Namespace, store: Store) -> None:
    for design in designs:
        if not store.weights(KIND, design.autoencoder).exists():
            _tell(f"{design.name}: no autoencoder yet")
            continue
        outcome = measure(design, store, Sizes(), options.group, options.again)
        _tell(f"{design.name}: {len(outcome['numbers'])} numbers")


def _library(designs: Sequence[Design], options: argparse.Namespace, store: Store) -> None:
    for design in designs:
        if store.weights(KIND, design.autoencoder).exists():
            measure_library(design, store, again=options.again)
            _tell(f"{design.name}: measured")


def _calibrate(designs: Sequence[Design], options: argparse.Namespace, store: Store) -> None:
    _tell(f"{write_calibration(store).name} written")


def _collect(designs: Sequence[Design], options: argparse.Namespace, store: Store) -> None:
    page.collect(store, options.network)
    _tell(f"{page.PAGE.name} written")


def _trained(design: Design, store: Store) -> None:
    if store.weights(KIND, design.autoencoder).exists():
        return
    train_classifier(design.data, store, Training())
    outcome = train_autoencoder(design, store, Training())
    _tell(f"{design.autoencoder}: error {outcome['train_mse']:.4f}, {outcome['cpu_seconds']:.0f} s")


def _tell(line: str) -> None:
    print(line, flush=True)


_VERBS = {
    "list": _list,
    "autoencoders": _autoencoders,
    "truth": _truth,
    "predictors": _predictors,
    "library": _library,
    "calibrate": _calibrate,
    "collect": _collect,
}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies.prediction", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=_VERBS)
    parser.add_argument("--block", choices=tuple(BLOCKS), default="crossed", help="of designs")
    parser.add_argument("--network", choices=truth.NETWORKS, default="convolutional", help="of the truth")
    parser.add_argument("--seed", type=int, default=0, help="of the truth")
    parser.add_argument("--steps", type=int, default=2000, help="the last checkpoint of the truth")
    parser.add_argument("--group", nargs="+", choices=tuple(GROUPS), default=tuple(GROUPS), help="of predictors")
    parser.add_argument("--again", action="store_true", help="measure predictors anew")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
