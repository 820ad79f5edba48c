"""The `theodolite` command: its verbs, and how it fails."""

from __future__ import annotations

from typing import Any

import click

import theodolite
from theodolite.cli import terminal
from theodolite.cli.demo import demo
from theodolite.cli.explore import explore
from theodolite.cli.gate import gate
from theodolite.cli.merge import merge
from theodolite.cli.models import models
from theodolite.cli.report import report
from theodolite.cli.show import show
from theodolite.cli.verbs import verb_of
from theodolite.cli.verify import verify
from theodolite.errors import InputError

__all__ = ["main"]


class _Theodolite(click.Group):
    """A group whose verbs end in one line, not a traceback, when the user made a mistake or pressed Ctrl-C."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The experiments, then what is done with their runs; none of them is imported for this."""
        from theodolite.runs.registry import kinds

        return list(dict.fromkeys([*kinds(), *self.commands]))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb of an experiment, made when it is asked for."""
        from theodolite.runs.registry import experiment_of, kinds

        if name in kinds():
            return verb_of(experiment_of(name))
        return super().get_command(ctx, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and summaries, without importing what they name."""
        from theodolite.runs.registry import kinds

        summaries = kinds()
        rows = [
            (name, summaries.get(name) or self.commands[name].get_short_help_str(90))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise _refused(str(error)) from error
        except click.UsageError as error:
            verb = error.ctx.command_path if error.ctx else "theodolite"
            raise _refused(f"{error.format_message()} (see {verb} --help)") from error
        except KeyboardInterrupt as error:
            terminal.notice("interrupted")
            raise click.exceptions.Exit(130) from error


def _refused(message: str) -> click.exceptions.Exit:
    terminal.notice(f"error: {' '.join(message.split())}")
    return click.exceptions.Exit(2)


@click.group(cls=_Theodolite, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(theodolite.__version__, prog_name="theodolite")
def main() -> None:
    """Survey the geometry of a generative model's latent space, every number with an error bar.

    \b
    Examples:
      theodolite demo
      theodolite survey stabilityai/sd-vae-ft-mse --data photos --out runs/first --size 128 --limit 16
      theodolite rank ./first-vae ./second-vae --data photos --out runs/order
      theodolite detect ./my-vae --reference photos --test others --out runs/odd
      theodolite decouple zoo:coloured-latent --out runs/claims
      theodolite hotspots ./my-vae --data photos --out runs/hotspots
      theodolite phases zoo:ising --out runs/ising
      theodolite path ./my-vae cat.png dog.png --out runs/cat-dog
      theodolite guide zoo:coloured-latent --rho -0.4,-0.2,0.2,0.4 --out runs/guided
      theodolite traverse plane ./my-vae --anchor a.png,b.png,c.png --out runs/plane
      theodolite survey ./my-vae --data photos --out runs/second --workers 4
      theodolite models ./my-vae
      theodolite show runs/first
      theodolite verify runs/first
      theodolite explore runs/first
      theodolite gate runs/first --file theodolite.toml

    Exit codes: 0 done (also when the reader of a pipe stops early, as `head` does), 1 a bug, a run that `verify`
    contradicts, or a bound that `gate` finds broken, 2 bad input or a disk that refuses (one line says what), 3 a bound
    that `gate` cannot decide, 130 interrupted.
    """  # noqa: D301


for verb in (demo, explore, gate, merge, models, report, show, verify):
    main.add_command(verb)
