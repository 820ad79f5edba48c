"""Write the generated references: `python scripts/reference.py`, or with `--check` only compare them.

`docs/cli.md` has every verb of every experiment: summary, arguments and settings. `docs/quantities.md` has, between two
markers, the quantities of every experiment, and `docs/predictors.md` the predictors. They come from the declarations in
`theodolite.experiments` and `theodolite.diffusability.predictors`, so that a setting or a quantity is described once.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from theodolite.cli.main import main as group
from theodolite.estimates.quantity import Quantity
from theodolite.experiments import SUMMARIES
from theodolite.runs.experiment import Experiment
from theodolite.runs.registry import experiment_of
from theodolite.runs.settings import Setting

DOCS = Path(__file__).resolve().parents[1] / "docs"
START, END = "<!-- quantities: written by scripts/reference.py -->", "<!-- end of the written part -->"
COMMON = (
    "--out",
    "--workers",
    "--engine",
    "--ray-address",
    "--gpus-per-worker",
    "--shard",
    "--log",
    "--dry-run",
    "--json",
    "--quiet",
    "--no-report",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files, and write nothing")
    check = parser.parse_args().check
    stale = [path for path, text in references().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{path.name} differs; run python scripts/reference.py" if check else f"{path.name} written")
        if not check:
            path.write_text(references()[path])
    return int(check and bool(stale))


def references() -> dict[Path, str]:
    """The text of every generated file by its path."""
    tables = {DOCS / "quantities.md": quantity_tables(), DOCS / "predictors.md": predictor_table()}
    return {DOCS / "cli.md": command_line(), **{page: with_part(page.read_text(), own) for page, own in tables.items()}}


def command_line() -> str:
    """The page of all verbs."""
    parts = [
        "# The command line",
        "Written by `scripts/reference.py` from the settings of the experiments. `theodolite VERB --help` says the "
        "same. The Python function of an experiment has its name and its settings: "
        '`theodolite.survey("./my-vae", "photos", "runs/mine", budget="quick")`.',
        "Lists are separated by commas: `--sigma 0.1,0.4`. An option that is given again adds to its list.",
        table(("verb", "what it does"), [(f"[`{kind}`](#{kind})", text) for kind, text in SUMMARIES.items()]),
        "## Options of every experiment",
        table(("option", "what it is"), _common()),
        *(_verb(experiment_of(kind)) for kind in SUMMARIES),
        *(_plain(name) for name in ("merge", "show", "report", "explore", "verify", "gate", "demo")),
    ]
    return "\n\n".join(parts) + "\n"


def with_part(page: str, part: str) -> str:
    """A page with what is between the markers made anew."""
    head, _, rest = page.partition(START)
    _, _, tail = rest.partition(END)
    return f"{head}{START}\n\n{part}\n\n{END}{tail}"


def predictor_table() -> str:
    """One row a predictor of this package."""
    from theodolite.diffusability import PREDICTORS

    added = PREDICTORS.added()
    rows = [_quantity(own.quantity) for name, own in PREDICTORS.items() if name not in added]
    return table(("quantity", "label", "unit", "formula", "meaning", "source"), rows)


def quantity_tables() -> str:
    """One table an experiment; what an earlier table describes in the same words is named below."""
    seen: dict[str, Quantity] = {}
    parts = []
    for kind in SUMMARIES:
        quantities = experiment_of(kind).quantities()
        new = {name: item for name, item in quantities.items() if seen.get(name) != item}
        again = [f"`{name}`" for name in quantities if name not in new]
        parts.append(f"### `{kind}`")
        if new:
            rows = [_quantity(item) for item in new.values()]
            parts.append(table(("quantity", "label", "unit", "formula", "meaning", "source"), rows))
        if again:
            parts.append(f"As above: {', '.join(again)}.")
        seen |= new
    return "\n\n".join(parts)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; line breaks and bars inside cells are taken care of."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _quantity(item: Quantity) -> tuple[str, ...]:
    meaning = item.meaning[:1].upper() + item.meaning[1:]
    return (f"`{item.name}`", item.label, item.unit, _code(item.formula), meaning.rstrip("."), item.source)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _common() -> list[tuple[str, str]]:
    command = group.get_command(click.Context(group), next(iter(SUMMARIES)))
    assert command is not None
    options = [item for item in command.params if isinstance(item, click.Option)]
    return [(_spelt(item), item.help or "") for item in options if item.opts[0] in COMMON]


def _spelt(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    return f"`{option.opts[0]}{value}`"


def _verb(experiment: type[Experiment]) -> str:
    text, examples = _text(experiment)
    parts = [f"## `{experiment.kind}`", experiment.summary, *text]
    parts.append(table(("argument", "what it is"), [(f"`{a.name.upper()}`", a.help) for a in experiment.arguments]))
    parts.append(table(("option", "default", "what it is"), [*map(_setting, experiment.settings)]))
    if experiment.demonstration():
        parts.append("`--demo` measures what ships with the package.")
    if examples:
        parts.append("\n".join(["```bash", *examples, "```"]))
    return "\n\n".join(parts)


def _text(experiment: type[Experiment]) -> tuple[list[str], list[str]]:
    """The paragraphs of the docstring, and its examples, one a line."""
    text, _, rest = (inspect.getdoc(experiment) or "").partition("\nExamples:")
    text = text.partition("\nAttributes:")[0]
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    return paragraphs, [line.strip() for line in rest.splitlines() if line.strip().startswith("theodolite")]


def _setting(setting: Setting) -> tuple[str, str, str]:
    dashed = setting.name.replace("_", "-")
    if setting.kind is bool:
        name = f"`--{dashed}`, `--no-{dashed}`"
    else:
        value = setting.metavar or {int: "N", float: "X"}.get(setting.kind, "NAME")
        name = f"`--{dashed} {value}{',...' if setting.many else ''}`"
    choices = f" One of {', '.join(f'`{word}`' for word in setting.words)}." if setting.words else ""
    return name, _default(setting), f"{setting.help}{choices}"


def _default(setting: Setting) -> str:
    if setting.required:
        return "required"
    words = replace(setting, default=None).as_words(setting.checked_default())
    if setting.kind is bool:
        return "" if setting.default is None else f"`{words[0]}`"
    return f"`{words[1]}`" if len(words) > 1 else ""


def _plain(name: str) -> str:
    """A verb that is no experiment, from its command."""
    command = group.commands[name]
    paragraphs = [" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n")]
    examples = [part for part in paragraphs if part.startswith("\b")]
    lines = [f"theodolite {line}".rstrip() for part in examples for line in part.split("theodolite ")[1:]]
    options: list[Any] = [item for item in command.params if isinstance(item, click.Option)]
    parts = [f"## `{name}`", *(part for part in paragraphs if part not in examples)]
    parts.append(table(("option", "what it is"), [(_spelt(item), item.help or "") for item in options]))
    return "\n\n".join([*parts, "\n".join(["```bash", *lines, "```"])])


if __name__ == "__main__":
    sys.exit(main())
