"""`theodolite guide`: samples of a diffusion model pulled towards higher or lower local scaling, beside controls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from theodolite.cli import options, terminal
from theodolite.cli.listed import listed

__all__ = ["guide", "print_guidance"]

_COLUMNS = {
    "local_scaling_change": "change of scaling",
    "local_scaling_step": "step",
    "diversity": "diversity",
    "frechet_distance": "Fréchet",
    "confidence": "confidence",
    "accuracy": "accuracy",
}


@click.command(cls=listed("--rho"), short_help="Guide a diffusion model by its local scaling, beside controls.")
@click.argument("model")
@click.option("--out", required=True, metavar="FOLDER", help="Run folder; a guidance run in it is replaced.")
@click.option(
    "--rho",
    type=float,
    multiple=True,
    default=(-0.4, -0.2, 0.0, 0.2, 0.4),
    metavar="NUMBERS",
    help="Scales of either sign, one after the other; by default -0.4 -0.2 0 0.2 0.4.",
)
@click.option(
    "--control",
    multiple=True,
    default=("contrast", "random"),
    metavar="NAME",
    help="Compare with guidance by brightness, contrast or detail of images, or in a random direction; repeatable.",
)
@click.option("--reward", metavar="FILE", help="A reward.safetensors of another run, in place of a training.")
@click.option("--norm", default="unit", show_default=True, metavar="NAME", help="Length of gradients: unit or raw.")
@click.option("--clean", type=int, default=400, show_default=True, metavar="N", help="Samples to fit rewards to.")
@click.option("--training", type=int, default=400, show_default=True, metavar="STEPS", help="Of every reward.")
@click.option("--samples", type=int, default=64, show_default=True, metavar="N", help="Samples a scale.")
@click.option("--measured", type=int, default=16, show_default=True, metavar="N", help="Of these, with local scaling.")
@click.option("--steps", type=int, default=12, show_default=True, help="Of the sampler.")
@click.option("--guidance", type=float, default=1.5, show_default=True, help="Classifier-free, of the zoo's models.")
@click.option(
    "--level",
    type=float,
    default=0.1,
    show_default=True,
    help="Of pixel models: noise at which the denoiser is the map.",
)
@options.chosen(options.SEED, options.DEVICE, *options.REPOSITORY, *options.ANSWER)
def guide(model: str, out: str, as_json: bool, quiet: bool, no_report: bool, **settings: Any) -> None:
    """Fit a reward of local scaling to samples of MODEL, guide it at every scale, and measure what came of it.

    True local scaling, diversity, and with a classifier the Fréchet distance and confidence are set beside controls
    that push as hard. MODEL is zoo:coloured-latent, zoo:coloured-pixels, or the folder or hub id of an unconditional
    diffusers pipeline. The report is in FOLDER, a strip of samples for every reward and scale in FOLDER/strips.

    \b
    Examples:
      theodolite guide zoo:coloured-latent --rho -0.4 -0.2 -0.1 0.1 0.2 0.4 --out runs/guided
      theodolite guide zoo:coloured-latent --reward runs/guided/reward.safetensors --rho -0.3 0.3 --out runs/again
    """  # noqa: D301
    from theodolite.surveys.guided import measure_guidance

    terminal.run_with_progress(
        lambda progress: measure_guidance(model, out=out, progress=progress, **settings),
        lambda: _conclude(out, as_json, quiet, with_report=not no_report),
        out,
        quiet,
        "a fitted reward is kept, and so are rewards that were done at every scale",
    )


def _conclude(out: str, as_json: bool, quiet: bool, *, with_report: bool) -> None:
    from theodolite.surveys.guided_store import read_guidance

    read_guidance(out)
    report = _written(out) if with_report else None
    if as_json or not quiet:
        print_guidance(out, as_json, report)
        if not as_json:
            terminal.say(out if report is None else report)


def _written(out: str) -> Path | None:
    """The report, or a notice and None where the packages it needs are not installed."""
    if terminal.lacks_for_reports(out):
        return None
    from theodolite.report.guidance import write_guidance_report

    return write_guidance_report(out)


def print_guidance(run: str, as_json: bool, report: Path | None = None) -> None:
    """What guidance did, as a table a reward or as one JSON object."""
    from theodolite.surveys.guided_store import read_guidance

    found = read_guidance(run)
    info = found.info
    if as_json:
        kept = {name: info[name] for name in ("model", "settings", "status", "rises", "held_out")}
        more = {
            "self_check": info.get("self_check"),
            "quantities": found.rows,
            "report": None if report is None else str(report),
        }
        terminal.say(json.dumps(terminal.as_plain({"run": run, **kept, **more}), indent=1))
        return
    terminal.warn(info)
    cells = {(row["reward"], row["rho"], row["quantity"]): row for row in found.rows}
    for name, rises in info["rises"].items():
        verdict = (
            "true local scaling rises at every step" if rises else "true local scaling does not rise at every step"
        )
        _print_reward(f"{info['model']['name']} guided by {name}: {verdict}", name, cells)
    if "scaling" in info["held_out"]:
        terminal.say(_read_from_noise(info["held_out"]["scaling"]))


def _print_reward(title: str, name: str, cells: Mapping[tuple[str, float, str], Mapping[str, Any]]) -> None:
    rhos = sorted({rho for reward, rho, _ in cells if reward == name})
    shown = [quantity for quantity in _COLUMNS if (name, rhos[-1], quantity) in cells]
    table = [(f"{rho:+g}", *(_cell(cells.get((name, rho, quantity))) for quantity in shown)) for rho in rhos]
    columns = ("rho", *(_COLUMNS[quantity] for quantity in shown))
    terminal.print_table(title, columns, table, "", spare=("accuracy", "step"))


def _cell(row: Mapping[str, Any] | None) -> str:
    from theodolite.estimates import NOT_NUMBERS

    if row is None:
        return ""
    if row["status"] in NOT_NUMBERS:
        return f"– ({row['status']})"
    return f"{row['value']:.3g} ± {row['stderr']:.2g}"


def _read_from_noise(held_out: Mapping[str, Sequence[float]]) -> str:
    columns = zip(held_out["sigma"], held_out["spearman"], held_out["stderr"])
    words = ", ".join(f"{value:.2f} ± {error:.2f} at {sigma:.2g}" for sigma, value, error in columns)
    return f"Spearman correlation of the reward with local scaling, held out, by noise level: {words}."
